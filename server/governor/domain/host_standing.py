"""Whether the host is trusted, and as which lineage; what makes it held, and what lifts that.

A host that went back in time, or broke a promise, can no longer be asked what became of an order:
its answers prove nothing. So it is held, durably, and a person decides. Each function answers the
standing as it will be and the decision that says so; the ledger alone can tell them again.
"""

from enum import StrEnum
from typing import assert_never

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
from governor.domain.request import StateRef
from governor.domain.values import (
    GOVERNOR,
    AuditId,
    Identity,
    Micros,
    Reason,
    RequestId,
    Revision,
    Value,
)

FIRST_SEEN = "FIRST_SEEN"
TRUSTED_LINEAGE = "trusted_lineage_id"
STATUS_FACT = "status"
"""Stands among the facts of a refusal that came as an error, which no host has to remember."""


class HoldCode(StrEnum):
    """Why nothing is executed in the host."""

    LINEAGE_CHANGED = "LINEAGE_CHANGED"
    PROMISE_BROKEN = "PROMISE_BROKEN"
    STORE_RESTORED = "STORE_RESTORED"


class Hold(Value, frozen=True, kw_only=True):
    """What a person has to look at before anything is executed again."""

    code: HoldCode
    since: Micros
    detail: str
    facts: dict[str, str] = {}


class HostStanding(Value, frozen=True, kw_only=True):
    """The lineage that is trusted, empty before one was seen, and the hold if there is one.

    `revision` is that of its last change, 0 before the first.
    """

    lineage_id: str = ""
    hold: Hold | None = None
    revision: Revision = Revision(0)


UNMET = HostStanding()
"""Before any host with a lineage was reached."""


class Stance(Value, frozen=True, kw_only=True):
    """The standing after an event, and the decision that records it."""

    standing: HostStanding
    decision: Decision


def seen(standing: HostStanding, lineage_id: str, *, now: Micros) -> Stance | None:
    """A host that announces `lineage_id` answers. None: that changes nothing.

    The first lineage is taken at its word. Another one than that, or none any more, holds the host.
    Whoever is held stays so, whatever it announces next: a person decides.
    """
    if standing.hold is not None or lineage_id == standing.lineage_id:
        return None
    if not standing.lineage_id:
        reason = Reason(code=FIRST_SEEN, message="the first host to be reached")
        return _trusted(lineage_id, standing, GOVERNOR, reason, now)
    detail = "the host announces another lineage than the trusted one: its memory is another's"
    facts = {"expected_lineage_id": standing.lineage_id, "found_lineage_id": lineage_id}
    return _held(
        standing, Hold(code=HoldCode.LINEAGE_CHANGED, since=now, detail=detail, facts=facts)
    )


def promise_broken(
    standing: HostStanding, execution: Execution, detail: str, *, now: Micros
) -> Stance | None:
    """The host said of `execution` what its promises rule out. None: this hold stands already."""
    hold = standing.hold
    facts = {"execution_id": str(execution.id)}
    if hold is not None and hold.code is HoldCode.PROMISE_BROKEN and hold.facts == facts:
        return None
    found = Hold(code=HoldCode.PROMISE_BROKEN, since=now, detail=detail, facts=facts)
    return _held(standing, found, execution)


def store_restored(standing: HostStanding, *, now: Micros) -> Stance:
    """Governor's own store went back in time: what it does not know of may have been executed."""
    detail = "the store was restored: the host may have executed what the store has forgotten"
    return _held(standing, Hold(code=HoldCode.STORE_RESTORED, since=now, detail=detail))


def trusted(
    standing: HostStanding,
    lineage_id: str,
    *,
    announced: str,
    actor: Identity,
    reason: Reason,
    now: Micros,
) -> Stance:
    """A person has looked, and takes the host as it is now.

    Raises LineageMismatch when that is not what the host announces, HostNotHeld when nothing is
    to be lifted.
    """
    if lineage_id != announced:
        raise LineageMismatch(named=lineage_id, announced=announced)
    if standing.hold is None:
        raise HostNotHeld(standing.lineage_id)
    return _trusted(lineage_id, standing, actor, reason, now)


def standing_told(decision: Decision, revision: Revision) -> HostStanding:
    """The standing as a HOST decision tells it. Raises ValueError for what none could say."""
    if decision.code is Code.HOST_TRUSTED:
        return HostStanding(lineage_id=decision.facts["lineage_id"], revision=revision)
    if decision.code is not Code.HOST_HELD or decision.reason is None:
        raise ValueError(f"{decision.code} says nothing about the host")
    facts = dict(decision.facts)
    lineage_id = facts.pop(TRUSTED_LINEAGE, "")
    hold = Hold(
        code=HoldCode(decision.reason.code),
        since=decision.at,
        detail=decision.reason.message,
        facts=facts,
    )
    return HostStanding(lineage_id=lineage_id, hold=hold, revision=revision)


def contradiction(recorded: Execution, said: Outcome | NotSeen) -> str | None:
    """How an answer of the host contradicts what was recorded of the execution; None: it does not.

    What a person found out is no word of the host. A refusal that came as an error is not
    remembered, so another owner may have been answered otherwise.
    """
    if recorded.is_active or recorded.resolved_by or _fits(recorded, said):
        return None
    known = f" at version {recorded.applied.resulting_version!r}" if recorded.applied else ""
    return f"the host says {_words(said)} of what its answers had made {recorded.status}{known}"


def _fits(recorded: Execution, said: Outcome | NotSeen) -> bool:
    match said:
        case Applied(resulting_version=version):
            return recorded.applied is not None and recorded.applied.resulting_version == version
        case Refused(reason=reason):
            unapplied = (ExecutionStatus.REFUSED, ExecutionStatus.NOT_APPLIED)
            return recorded.status in unapplied or STATUS_FACT in reason.metadata
        case VersionMismatch():
            unapplied = (ExecutionStatus.STALE, ExecutionStatus.NOT_APPLIED)
            by_error = recorded.error is not None and STATUS_FACT in recorded.error.metadata
            return recorded.status in unapplied or by_error
        case NotSeen(fenced=fenced):
            return not fenced or recorded.status is not ExecutionStatus.APPLIED
        case _:
            assert_never(said)


def _words(said: Outcome | NotSeen) -> str:
    match said:
        case Applied(resulting_version=version):
            return f"applied at version {version!r}"
        case Refused():
            return "refused"
        case VersionMismatch():
            return "version mismatch"
        case NotSeen():
            return "never to be applied"
        case _:
            assert_never(said)


def _trusted(
    lineage_id: str, standing: HostStanding, actor: Identity, reason: Reason, now: Micros
) -> Stance:
    facts = {"lineage_id": lineage_id}
    if standing.hold is not None:
        facts["lifted"] = standing.hold.code.value
    return Stance(
        standing=standing.but(lineage_id=lineage_id, hold=None),
        decision=_about_the_host(Code.HOST_TRUSTED, actor, now, reason, facts),
    )


def _held(standing: HostStanding, hold: Hold, execution: Execution | None = None) -> Stance:
    """A later hold takes the place of an earlier one; the ledger has both."""
    facts = {**hold.facts, TRUSTED_LINEAGE: standing.lineage_id}
    reason = Reason(code=hold.code.value, message=hold.detail)
    return Stance(
        standing=standing.but(hold=hold),
        decision=_about_the_host(Code.HOST_HELD, GOVERNOR, hold.since, reason, facts, execution),
    )


def _about_the_host(
    code: Code,
    actor: Identity,
    at: Micros,
    reason: Reason,
    facts: dict[str, str],
    execution: Execution | None = None,
) -> Decision:
    """It is about no request, and belongs to no tenant: all of them share the host."""
    return Decision(
        code=code,
        actor=actor,
        at=at,
        tenant="",
        request_id=RequestId(""),
        request_audit_id=AuditId(""),
        status=None,
        digest=b"",
        state=StateRef(type="", id=""),
        mutation_type="",
        execution_id=execution.id if execution else None,
        execution_audit_id=execution.audit_id if execution else None,
        reason=reason,
        facts=facts,
    )
