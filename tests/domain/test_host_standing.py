"""Claims about the host's standing: whom it trusts, what holds it, and what the ledger can tell."""

import pytest

from governor.domain.decision import Code, Decision
from governor.domain.errors import HostNotHeld, LineageMismatch
from governor.domain.execution import (
    Applied,
    Execution,
    ExecutionStatus,
    NotSeen,
    Outcome,
    Refused,
    VersionMismatch,
)
from governor.domain.host_standing import (
    FIRST_SEEN,
    UNMET,
    HoldCode,
    HostStanding,
    Stance,
    contradiction,
    promise_broken,
    seen,
    standing_told,
    store_restored,
    trusted,
)
from governor.domain.values import GOVERNOR, Micros, Reason, Revision
from tests.support.builders import make_execution, make_request
from tests.support.domain_builders import OPERATOR, T0

LATER = Micros(T0 + 1)
EXECUTION = make_execution(make_request())
LOOKED = Reason(code="LOOKED", message="restored on purpose")
TRUSTED = HostStanding(lineage_id="one", revision=Revision(7))


def held(standing: HostStanding = TRUSTED) -> HostStanding:
    stance = seen(standing, "two", now=T0)
    assert stance is not None
    return stance.standing


def restored(standing: HostStanding = TRUSTED) -> HostStanding:
    return store_restored(standing, now=T0).standing


def trust(standing: HostStanding, lineage_id: str = "two", *, announced: str = "two") -> Stance:
    return trusted(
        standing, lineage_id, announced=announced, actor=OPERATOR, reason=LOOKED, now=LATER
    )


# ---------------------------------------------------------------- what is seen


def test_the_first_lineage_is_trusted_by_governor_itself() -> None:
    stance = seen(UNMET, "one", now=T0)
    assert stance is not None
    assert stance.standing == HostStanding(lineage_id="one")
    decision = stance.decision
    assert (decision.code, decision.actor, decision.at) == (Code.HOST_TRUSTED, GOVERNOR, T0)
    assert decision.reason is not None
    assert decision.reason.code == FIRST_SEEN


@pytest.mark.parametrize("standing", [UNMET, TRUSTED])
def test_what_is_known_already_is_not_recorded_again(standing: HostStanding) -> None:
    assert seen(standing, standing.lineage_id, now=T0) is None


@pytest.mark.parametrize("found", ["two", ""])
def test_another_lineage_than_the_trusted_one_holds_the_host(found: str) -> None:
    """Also none at all: a host that has lost its memory may have lost its name with it."""
    stance = seen(TRUSTED, found, now=T0)
    assert stance is not None
    hold = stance.standing.hold
    assert hold is not None
    assert (hold.code, hold.since) == (HoldCode.LINEAGE_CHANGED, T0)
    assert hold.facts == {"expected_lineage_id": "one", "found_lineage_id": found}
    assert stance.standing.lineage_id == "one", "nobody has trusted the other yet"


@pytest.mark.parametrize("found", ["one", "two", "three", ""])
@pytest.mark.parametrize("standing", [held(), restored(), restored(UNMET)])
def test_nothing_that_a_held_host_announces_lifts_the_hold(
    standing: HostStanding, found: str
) -> None:
    """Not even the trusted lineage: two hosts may be answering in turn."""
    assert seen(standing, found, now=LATER) is None


# ---------------------------------------------------------------- what else holds it


def test_a_broken_promise_holds_the_host_and_names_the_execution() -> None:
    stance = promise_broken(TRUSTED, EXECUTION, "it said otherwise", now=T0)
    assert stance is not None
    hold, decision = stance.standing.hold, stance.decision
    assert hold is not None
    assert (hold.code, hold.detail) == (HoldCode.PROMISE_BROKEN, "it said otherwise")
    assert hold.facts == {"execution_id": EXECUTION.id}
    assert decision.execution_id == EXECUTION.id
    assert decision.execution_audit_id == EXECUTION.audit_id


def test_each_execution_with_a_broken_promise_is_recorded_once() -> None:
    first = promise_broken(held(), EXECUTION, "it said otherwise", now=T0)
    assert first is not None
    assert promise_broken(first.standing, EXECUTION, "again", now=LATER) is None
    another = make_execution(make_request("another"))
    second = promise_broken(first.standing, another, "it too", now=LATER)
    assert second is not None
    assert second.standing.hold is not None
    assert second.standing.hold.facts == {"execution_id": another.id}


def test_a_restored_store_holds_the_host_whatever_it_was() -> None:
    for standing in (UNMET, TRUSTED, held()):
        hold = restored(standing).hold
        assert hold is not None
        assert hold.code is HoldCode.STORE_RESTORED


# ---------------------------------------------------------------- what lifts it


@pytest.mark.parametrize("standing", [held(), restored(), restored(UNMET)])
def test_a_person_lifts_the_hold_and_takes_the_lineage_there_is(standing: HostStanding) -> None:
    stance = trust(standing)
    assert stance.standing == standing.but(lineage_id="two", hold=None)
    decision = stance.decision
    assert (decision.code, decision.actor, decision.at) == (Code.HOST_TRUSTED, OPERATOR, LATER)
    assert decision.reason == LOOKED
    assert standing.hold is not None
    assert decision.facts == {"lineage_id": "two", "lifted": standing.hold.code.value}
    assert seen(stance.standing, "two", now=LATER) is None


def test_a_host_without_a_lineage_is_trusted_as_that() -> None:
    assert trust(restored(UNMET), "", announced="").standing == UNMET


@pytest.mark.parametrize("named", ["one", ""])
def test_a_lineage_that_is_not_announced_now_cannot_be_trusted(named: str) -> None:
    """It was looked at, and has changed since."""
    with pytest.raises(LineageMismatch) as refused:
        trust(held(), named)
    assert refused.value.facts == {"named": named, "announced": "two"}


def test_a_host_that_is_not_held_needs_no_trust() -> None:
    with pytest.raises(HostNotHeld):
        trust(TRUSTED, "one", announced="one")


# ---------------------------------------------------------------- what the ledger tells


def decisions() -> list[tuple[HostStanding, Decision]]:
    stances = [
        seen(UNMET, "one", now=T0),
        seen(TRUSTED, "two", now=T0),
        promise_broken(TRUSTED, EXECUTION, "it said otherwise", now=T0),
        store_restored(UNMET, now=T0),
        trust(held()),
    ]
    return [(stance.standing, stance.decision) for stance in stances if stance is not None]


@pytest.mark.parametrize(("standing", "decision"), decisions())
def test_the_last_decision_tells_the_whole_standing(
    standing: HostStanding, decision: Decision
) -> None:
    revision = Revision(9)
    assert standing_told(decision, revision) == standing.but(revision=revision)


@pytest.mark.parametrize(("_", "decision"), decisions())
def test_a_decision_about_the_host_is_about_no_request(_: HostStanding, decision: Decision) -> None:
    assert (decision.tenant, decision.request_id, decision.status) == ("", "", None)


def test_other_decisions_tell_nothing_of_it() -> None:
    (_, decision), *_ = decisions()
    with pytest.raises(ValueError, match="says nothing"):
        standing_told(decision.but(code=Code.CLAIMED), Revision(1))


# ---------------------------------------------------------------- what contradicts

APPLIED = EXECUTION.but(status=ExecutionStatus.APPLIED, applied=Applied(resulting_version="8"))
REFUSED = EXECUTION.but(status=ExecutionStatus.REFUSED, error=Reason(code="NO"))
REFUSED_BY_ERROR = REFUSED.but(error=Reason(code="NO", metadata={"status": "INVALID_ARGUMENT"}))
STALE = EXECUTION.but(status=ExecutionStatus.STALE)
FENCED = EXECUTION.but(status=ExecutionStatus.NOT_APPLIED, error=Reason(code="FENCED"))

SAYS_APPLIED = Applied(resulting_version="8")
SAYS_REFUSED = Refused(reason=Reason(code="NO"))
SAYS_REFUSED_BY_ERROR = Refused(reason=Reason(code="NO", metadata={"status": "INVALID_ARGUMENT"}))
SAYS_MISMATCH = VersionMismatch(current_version="9")


@pytest.mark.parametrize(
    ("recorded", "said"),
    [
        (APPLIED, Applied(resulting_version="9")),
        (APPLIED, SAYS_REFUSED),
        (APPLIED, SAYS_MISMATCH),
        (APPLIED, NotSeen(fenced=True)),
        (REFUSED, SAYS_APPLIED),
        (REFUSED, SAYS_MISMATCH),
        (REFUSED_BY_ERROR, SAYS_APPLIED),
        (STALE, SAYS_APPLIED),
        (STALE, SAYS_REFUSED),
        (FENCED, SAYS_APPLIED),
    ],
)
def test_what_a_host_that_keeps_its_promises_cannot_say(
    recorded: Execution, said: Outcome | NotSeen
) -> None:
    assert contradiction(recorded, said) is not None


@pytest.mark.parametrize(
    ("recorded", "said"),
    [
        (APPLIED, Applied(resulting_version="8", previous_version="7")),
        (APPLIED, NotSeen(fenced=False)),
        (APPLIED, SAYS_REFUSED_BY_ERROR),
        (REFUSED, Refused(reason=Reason(code="NO", message="in other words"))),
        (REFUSED_BY_ERROR, SAYS_MISMATCH),
        (STALE, VersionMismatch(current_version="10")),
        (FENCED, SAYS_REFUSED),
        (FENCED, NotSeen(fenced=True)),
        (EXECUTION, SAYS_APPLIED),
        (EXECUTION.but(status=ExecutionStatus.IN_DOUBT), SAYS_APPLIED),
        (FENCED.but(resolved_by="otto"), SAYS_APPLIED),
        (APPLIED.but(resolved_by="otto"), Applied(resulting_version="9")),
    ],
)
def test_what_breaks_no_promise(recorded: Execution, said: Outcome | NotSeen) -> None:
    """Nothing recorded yet, a person's word, errors that no host remembers, and the same again."""
    assert contradiction(recorded, said) is None
