"""Claims about making a change good: once, where it can be, with both ends knowing of it."""

from copy import deepcopy

import pytest

from governor.domain.compensating import (
    HostsWord,
    check_compensable,
    completed,
    requested,
    undo_token,
)
from governor.domain.compensation import Compensation, CompensationKind, CompensationTrigger
from governor.domain.decision import Code
from governor.domain.errors import AlreadyCompensated, NotExecuted, NotReversible, UndoExpired
from governor.domain.executing import Progression
from governor.domain.execution import Applied
from governor.domain.request import TERMINAL, Intent, MutationRequest, Reversibility, Status
from governor.domain.values import Reason, RequestId
from tests.support.domain_builders import OPERATOR, STAGES, T0, Stage, later

TAKES_BACK = HostsWord(rollback=True)
REASON = Reason(code="WRONG", message="it was")


def undoable() -> Stage:
    """Executed, with what taking it back needs."""
    at = STAGES["executed"]()
    applied = Applied(resulting_version="8", undo_token=b"token", undo_expires_at=later(60))
    return Stage(request=at.request, execution=at.running.but(applied=applied))


def compensation_of(original: Stage, at: Stage, id: str = "r-9") -> Stage:
    """The same stage in the life of a request that is to make `original` good."""
    asked = Compensation(
        request_id=original.request.id,
        execution_id=original.running.id,
        kind=CompensationKind.ROLLBACK,
        trigger=CompensationTrigger.OPERATOR,
        undo_token=b"token",
        reason=REASON,
    )
    request = at.request.but(id=RequestId(id), content=at.request.content.but(compensation=asked))
    return Stage(request=request, execution=at.execution)


@pytest.mark.parametrize("name", STAGES)
def test_only_what_was_applied_is_compensated(name: str) -> None:
    at = STAGES[name]()
    if name == "executed":
        assert check_compensable(at.request, None, at.running) == at.running
        return
    with pytest.raises(NotExecuted) as refusal:
        check_compensable(at.request, None, at.execution)
    assert refusal.value.facts == {"status": at.request.status}


@pytest.mark.parametrize("name", [name for name in STAGES if name != "created"])
def test_a_compensation_that_ended_without_being_applied_frees_the_way(name: str) -> None:
    original, earlier = undoable(), STAGES[name]().request
    if earlier.status in TERMINAL - {Status.EXECUTED}:
        check_compensable(original.request, earlier, original.execution)
        return
    with pytest.raises(AlreadyCompensated) as refusal:
        check_compensable(original.request, earlier, original.execution)
    assert refusal.value.facts == {"id": earlier.id, "status": earlier.status}


@pytest.mark.parametrize("said", Reversibility)
@pytest.mark.parametrize("by", ["INTENT", "TYPE"])
def test_what_is_called_irreversible_or_only_to_be_put_right_is_not_taken_back(
    said: Reversibility, by: str
) -> None:
    at, host = undoable(), TAKES_BACK
    request = at.request
    if by == "INTENT":
        request = request.but(content=request.content.but(intent=Intent(reversibility=said)))
    else:
        host = host.but(reversibility=said)
    if said in (Reversibility.UNSPECIFIED, Reversibility.REVERSIBLE):
        assert undo_token(request, at.running, host, T0) == b"token"
        return
    with pytest.raises(NotReversible) as refusal:
        undo_token(request, at.running, host, T0)
    assert refusal.value.facts == {"cause": by}


def test_without_a_host_that_takes_back_or_a_token_nothing_is() -> None:
    at = undoable()
    with pytest.raises(NotReversible) as by_host:
        undo_token(at.request, at.running, HostsWord(rollback=False), T0)
    with pytest.raises(NotReversible) as by_outcome:
        undo_token(at.request, STAGES["executed"]().running, TAKES_BACK, T0)
    assert [by_host.value.facts["cause"], by_outcome.value.facts["cause"]] == ["HOST", "OUTCOME"]


@pytest.mark.parametrize(("seconds", "is_good"), [(59, True), (60, False), (61, False)])
def test_a_token_is_good_before_its_end_and_not_at_it(seconds: int, *, is_good: bool) -> None:
    at = undoable()
    if is_good:
        assert undo_token(at.request, at.running, TAKES_BACK, later(seconds)) == b"token"
        return
    with pytest.raises(UndoExpired):
        undo_token(at.request, at.running, TAKES_BACK, later(seconds))


def test_the_original_stays_executed_and_says_who_was_to_make_it_good_and_who_has() -> None:
    original = undoable()
    before = deepcopy(original)
    asked = compensation_of(original, STAGES["asked"]())
    step = requested(original.request, asked.request, actor=OPERATOR, now=later(1))
    done = compensation_of(original, STAGES["executed"]())
    end = completed(progression(done), step.request, original.running, now=later(2))

    assert step.request.status is end.original.request.status is Status.EXECUTED
    assert step.request.progress.compensation_id == "r-9"
    by = end.original.request.progress.compensated_by
    assert by is not None
    assert (by.request_id, by.execution_id, by.at) == ("r-9", done.running.id, later(2))
    codes = [one.code for one in (*step.decisions, *end.compensation.decisions)]
    assert codes == [Code.COMPENSATION_REQUESTED, Code.COMPENSATION_COMPLETED]
    assert [one.code for one in end.original.decisions] == [Code.COMPENSATED]
    for decision in (*step.decisions, *end.original.decisions):
        assert (decision.request_id, decision.reason) == (original.request.id, REASON)
        assert decision.digest == original.request.progress.digest
    assert original == before


def test_nothing_is_linked_to_what_it_does_not_compensate_or_before_it_was_applied() -> None:
    original, other = undoable(), undoable()
    stranger = Stage(request=other.request.but(id=RequestId("r-7")), execution=other.execution)
    done = compensation_of(original, STAGES["executed"]())
    with pytest.raises(ValueError, match="no compensation of r-7"):
        completed(progression(done), stranger.request, stranger.running, now=T0)
    with pytest.raises(ValueError, match="no compensation of r-7"):
        requested(stranger.request, done.request, actor=OPERATOR, now=T0)
    running = compensation_of(original, STAGES["executing"]())
    with pytest.raises(ValueError, match="applied"):
        completed(progression(running), original.request, original.running, now=T0)


def progression(at: Stage) -> Progression:
    return Progression(request=at.request, execution=at.running, decisions=())


def test_an_ordinary_request_is_no_rollback() -> None:
    original = undoable()
    requests: list[MutationRequest] = [
        original.request,
        compensation_of(original, STAGES["asked"]()).request,
    ]
    assert [request.is_rollback for request in requests] == [False, True]
