"""What follows from each event in a request's life up to its execution, as pure functions.

Each takes the request as it stands and answers an Advance: the request as it will stand and the
decisions that say so. The status moves through the transition table alone; an event the table does
not know raises IllegalTransition and nothing has happened.
"""

from collections.abc import Sequence
from typing import assert_never

from governor.domain.approval import Approval
from governor.domain.counting import deadline
from governor.domain.decision import Code, Decision, decide
from governor.domain.digest import request_digest
from governor.domain.errors import IllegalTransition
from governor.domain.execution import Execution
from governor.domain.lifecycle import Trigger, check
from governor.domain.policy import Effect, Verdict
from governor.domain.request import MutationRequest, Pending, PendingReason, Progress, Status
from governor.domain.values import GOVERNOR, Identity, Micros, Reason, RequestId, Value

_VERDICT_CODES = {
    Effect.ALLOW: Code.POLICY_ALLOWED,
    Effect.DENY: Code.POLICY_DENIED,
    Effect.DEFER: Code.POLICY_DEFERRED,
}


_RESOLVED_BY_THE_WORLD = frozenset({PendingReason.SCHEDULE, PendingReason.DEPENDENCY})


class Advance(Value, frozen=True, kw_only=True):
    """One step forward: the request after it, and the decisions that record it."""

    request: MutationRequest
    decisions: tuple[Decision, ...]


def submitted(
    request: MutationRequest,
    *,
    verdict: Verdict,
    waits: Sequence[Pending],
    actor: Identity,
    now: Micros,
) -> Advance:
    """A new request meets policy. `waits` is what holds it beside approval (schedule, dependency).

    `request` is CREATED; it becomes APPROVED, PENDING or REJECTED. Raises IllegalTransition when it
    is anything else.
    """
    if request.status is not Status.CREATED:
        raise IllegalTransition(request.status, Trigger.MUST_WAIT)
    content = request.content
    created = request.but(
        progress=Progress(
            expected_version=content.expected_version,
            digest=request_digest(content, content.expected_version),
            verdict=verdict,
            updated_at=now,
        )
    )
    match verdict.effect:
        case Effect.DENY:
            after = advance(created, Trigger.POLICY_DENIED, now, status_reason=verdict.reason)
        case Effect.DEFER | Effect.ALLOW:
            approval = None
            if verdict.plan is not None:
                approval = Approval(plan=verdict.plan, step_opened_at=now)
            pending = (*((approval_wait(approval, now),) if approval else ()), *waits)
            trigger = Trigger.MUST_WAIT if pending else Trigger.POLICY_ALLOWED
            after = advance(created, trigger, now, pending=pending, approval=approval)
        case _:
            assert_never(verdict.effect)
    return Advance(
        request=after,
        decisions=(
            decide(Code.SUBMITTED, after, actor=actor, at=now),
            verdict_decision(after, verdict, now),
            *standing(after, now, reason=after.progress.status_reason),
        ),
    )


def reason_resolved(request: MutationRequest, reason: PendingReason, *, now: Micros) -> Advance:
    """A schedule has come due or a dependency is executed.

    Raises IllegalTransition when the request does not wait for `reason`, and for every reason that
    only votes, a revalidation or an audit resolve.
    """
    if reason not in _RESOLVED_BY_THE_WORLD:
        raise IllegalTransition(request.status, Trigger.REASON_RESOLVED)
    return released(request, reason, now=now)


def dependency_failed(
    request: MutationRequest, *, on: RequestId, status: Status, now: Micros
) -> Advance:
    """A request that had to be executed first has ended otherwise.

    Raises IllegalTransition unless the request waits for a dependency.
    """
    if not request.waits_for(PendingReason.DEPENDENCY):
        raise IllegalTransition(request.status, Trigger.DEPENDENCY_FAILED)
    reason = Reason(
        code="DEPENDENCY_FAILED",
        message=f"the request {on} ended as {status}",
        metadata={"depends_on": on, "status": status.value},
    )
    return ended(request, Trigger.DEPENDENCY_FAILED, actor=GOVERNOR, now=now, reason=reason)


def canceled(request: MutationRequest, *, actor: Identity, now: Micros, comment: str) -> Advance:
    """Somebody withdraws the request. An EXECUTING one must have been fenced in the host first."""
    reason = Reason(code="CANCELED", message=comment, metadata={"by": actor.id})
    return ended(request, Trigger.CANCELED, actor=actor, now=now, reason=reason)


def superseded(request: MutationRequest, *, by: RequestId, actor: Identity, now: Micros) -> Advance:
    """Another request takes its place; its votes die with it."""
    reason = Reason(code="SUPERSEDED", message=f"replaced by {by}", metadata={"by": actor.id})
    return ended(request, Trigger.SUPERSEDED, actor=actor, now=now, reason=reason, superseded_by=by)


def expired(request: MutationRequest, *, now: Micros) -> Advance:
    """Its time has passed before it was claimed."""
    reason = Reason(code="EXPIRED", message="the request was not claimed before its expire_time")
    return ended(request, Trigger.EXPIRED, actor=GOVERNOR, now=now, reason=reason)


def released(
    request: MutationRequest, reason: PendingReason, *, now: Micros, **changes: object
) -> Advance:
    """One pending reason is gone; with the last one the request becomes APPROVED."""
    if not request.waits_for(reason):
        raise IllegalTransition(request.status, Trigger.REASON_RESOLVED)
    left = tuple(pending for pending in request.progress.pending if pending.reason is not reason)
    trigger = Trigger.REASON_RESOLVED if left else Trigger.LAST_REASON_RESOLVED
    after = advance(request, trigger, now, pending=left, **changes)
    facts = {"resolved": reason.value}
    code = Code.PENDING if left else Code.APPROVED
    return Advance(
        request=after,
        decisions=(decide(code, after, actor=GOVERNOR, at=now, facts=facts | _waits(after)),),
    )


def ended(
    request: MutationRequest,
    trigger: Trigger,
    *,
    actor: Identity,
    now: Micros,
    reason: Reason | None,
    **changes: object,
) -> Advance:
    """The request reaches a terminal status for `reason`."""
    after = advance(request, trigger, now, pending=(), status_reason=reason, **changes)
    return Advance(request=after, decisions=standing(after, now, actor=actor, reason=reason))


def advance(
    request: MutationRequest, trigger: Trigger, now: Micros, **changes: object
) -> MutationRequest:
    """The request one row further in the transition table, with `changes` to its progress."""
    status = check(request, trigger)
    return request.but(progress=request.progress.but(status=status, updated_at=now, **changes))


def standing(
    request: MutationRequest,
    now: Micros,
    *,
    actor: Identity = GOVERNOR,
    reason: Reason | None = None,
    execution: Execution | None = None,
) -> tuple[Decision, ...]:
    """The lifecycle decision for where the request stands, and the approval it asks for.

    `execution` is the one that led there.
    """
    decisions = [
        decide(
            _STANDING_CODES[request.progress.status],
            request,
            actor=actor,
            at=now,
            execution=execution,
            reason=reason,
            facts=_waits(request),
        )
    ]
    approval = request.progress.approval
    if approval is not None and request.waits_for(PendingReason.APPROVAL):
        decisions.append(approval_requested(request, approval, now, execution))
    return tuple(decisions)


def verdict_decision(request: MutationRequest, verdict: Verdict, now: Micros) -> Decision:
    """The policy decision for `verdict`."""
    return decide(
        _VERDICT_CODES[verdict.effect],
        request,
        actor=GOVERNOR,
        at=now,
        reason=verdict.reason,
        facts={"rules": ",".join(verdict.rules), "policy_sha256": verdict.policy_sha256.hex()},
    )


def approval_wait(approval: Approval, now: Micros) -> Pending:
    """The request waits for votes, until the first deadline of the open step."""
    return Pending(reason=PendingReason.APPROVAL, since=now, until=deadline(approval))


def approval_requested(
    request: MutationRequest, approval: Approval, now: Micros, execution: Execution | None = None
) -> Decision:
    """The open step asks its people."""
    facts = {"round": str(approval.round), "step": approval.plan.steps[approval.open_step].name}
    until = deadline(approval)
    if until is not None:
        facts["until"] = str(until)
    return decide(
        Code.APPROVAL_REQUESTED,
        request,
        actor=GOVERNOR,
        at=now,
        execution=execution,
        facts=facts,
    )


def _waits(request: MutationRequest) -> dict[str, str]:
    pending = request.progress.pending
    return {"waits_for": ",".join(p.reason.value for p in pending)} if pending else {}


_STANDING_CODES = {
    Status.PENDING: Code.PENDING,
    Status.APPROVED: Code.APPROVED,
    Status.EXECUTED: Code.EXECUTED,
    Status.REJECTED: Code.REJECTED,
    Status.CANCELED: Code.CANCELED,
    Status.EXPIRED: Code.EXPIRED,
    Status.SUPERSEDED: Code.SUPERSEDED,
    Status.FAILED: Code.FAILED,
}
