"""What follows from each event in a request's life up to its execution, as pure functions.

Each takes the request as it stands and answers an Advance: the request as it will stand and the
decisions that say so. The status moves through the transition table alone; an event the table does
not know raises IllegalTransition and nothing has happened.
"""

from collections.abc import Mapping, Sequence
from typing import assert_never

from governor.domain.approval import Approval, Plan
from governor.domain.break_glass import Emergency, Review
from governor.domain.counting import deadline
from governor.domain.decision import Code, Decision, decide
from governor.domain.digest import request_digest
from governor.domain.errors import IllegalTransition
from governor.domain.execution import Execution
from governor.domain.lifecycle import Trigger, check
from governor.domain.policy import Effect, Verdict
from governor.domain.request import (
    DependencyFailure,
    MutationRequest,
    Pending,
    PendingReason,
    Progress,
    Status,
)
from governor.domain.values import GOVERNOR, Identity, Micros, Reason, RequestId, Value, rfc3339
from governor.domain.waits import (
    approval_wait,
    dependency_review,
    execute_before_of,
    gates_wait,
    scheduled,
    window_wait,
)
from governor.domain.windows import is_open

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
    emergency: Emergency | None = None,
) -> Advance:
    """A new request meets policy. `waits` is what holds it for its own sake (schedule, dependency);
    policy's gates and windows join them.

    An `emergency` skips the approval that policy asks for, and nothing else. Where it asks for none
    nothing is skipped, and no review is owed.

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
            approval, review = _approval_of(verdict.plan, emergency, now)
            votes = (
                () if approval is None or approval.is_satisfied else (approval_wait(approval, now),)
            )
            pending = scheduled(verdict, (*votes, *waits, *gates_wait(verdict.gates, now)), now)
            trigger = Trigger.MUST_WAIT if pending else Trigger.POLICY_ALLOWED
            execute_before = None if pending else execute_before_of(verdict, now)
            after = advance(
                created,
                trigger,
                now,
                pending=pending,
                approval=approval,
                review=review,
                execute_before=execute_before,
            )
        case _:
            assert_never(verdict.effect)
    return Advance(
        request=after,
        decisions=(
            _submission_decision(after, actor, now),
            verdict_decision(after, verdict, now),
            *_glass_broken(after, now),
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


def dependencies_ended(
    request: MutationRequest, *, failed: Mapping[RequestId, Status], now: Micros
) -> Advance:
    """Everything that had to be executed first has ended, some of it otherwise.

    Raises IllegalTransition unless the request waits for a dependency.
    """
    facts = {"failed": ",".join(failed)} if failed else {}
    match request.content.on_dependency_failure:
        case DependencyFailure.REJECT if failed:
            on, status = next(iter(failed.items()))
            return dependency_failed(request, on=on, status=status, now=now)
        case DependencyFailure.REVIEW if failed:
            added: tuple[Pending, ...] = (dependency_review(failed, now),)
        case _:
            added = ()
    return released(request, PendingReason.DEPENDENCY, now=now, added=added, facts=facts)


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


def execution_window_passed(request: MutationRequest, *, now: Micros) -> Advance:
    """It was approved, and not claimed within the time that policy gives it from there."""
    reason = Reason(
        code="EXECUTION_WINDOW_PASSED",
        message="the request was not claimed within its execution window after the approval",
    )
    return ended(request, Trigger.EXPIRED, actor=GOVERNOR, now=now, reason=reason)


def window_closed(request: MutationRequest, *, now: Micros) -> Advance:
    """It is its turn, but its maintenance window has closed: it waits for the next one."""
    wait = window_wait(request.progress.verdict, now)
    after = advance(request, Trigger.WINDOW_CLOSED, now, pending=(wait,), execute_before=None)
    reason = Reason(code="WINDOW_CLOSED", message=wait.detail)
    return Advance(request=after, decisions=standing(after, now, reason=reason))


def released(
    request: MutationRequest,
    reason: PendingReason,
    *,
    now: Micros,
    name: str = "",
    added: Sequence[Pending] = (),
    facts: Mapping[str, str] | None = None,
    actor: Identity = GOVERNOR,
    **changes: object,
) -> Advance:
    """One pending reason is gone, and perhaps others have come; without any left, the request
    becomes APPROVED, or waits for the next of its maintenance windows.

    Raises IllegalTransition when it does not wait for that.
    """
    pending = request.progress.pending
    gone = [one for one in pending if one.reason is reason and one.name == name]
    if not gone:
        raise IllegalTransition(request.status, Trigger.REASON_RESOLVED)
    changed = request.progress.but(**changes)
    left = (*(one for one in pending if one not in gone), *added)
    if not left and changed.verdict is not None and not is_open(changed.verdict.windows, now):
        left = (window_wait(changed.verdict, now),)
    if left:
        after = advance(request, Trigger.REASON_RESOLVED, now, pending=left, **changes)
    else:
        before = execute_before_of(changed.verdict, now)
        after = advance(
            request,
            Trigger.LAST_REASON_RESOLVED,
            now,
            pending=(),
            execute_before=before,
            **changes,
        )
    said = {"resolved": reason.value} | ({"name": name} if name else {}) | dict(facts or {})
    code = Code.PENDING if left else Code.APPROVED
    return Advance(
        request=after,
        decisions=(decide(code, after, actor=actor, at=now, facts=said | _waits(after)),),
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


def _approval_of(
    plan: Plan | None, emergency: Emergency | None, now: Micros
) -> tuple[Approval | None, Review | None]:
    """What policy's plan asks for, or in an emergency the review owed in its stead."""
    if plan is None:
        return None, None
    if emergency is not None:
        return emergency.past(plan)
    return Approval(plan=plan, step_opened_at=now), None


def _submission_decision(request: MutationRequest, actor: Identity, now: Micros) -> Decision:
    """That it was asked for, and of a compensation what it makes good, how, and why."""
    asked = request.content.compensation
    if asked is None:
        return decide(Code.SUBMITTED, request, actor=actor, at=now)
    facts = {
        "compensates": asked.request_id,
        "kind": asked.kind.value,
        "trigger": asked.trigger.value,
    }
    return decide(Code.SUBMITTED, request, actor=actor, at=now, reason=asked.reason, facts=facts)


def _glass_broken(request: MutationRequest, now: Micros) -> tuple[Decision, ...]:
    """That an approval was skipped, if one was."""
    approval, review = request.progress.approval, request.progress.review
    if approval is None or approval.break_glass is None or review is None:
        return ()
    broken = approval.break_glass
    facts = {
        "review_due": rfc3339(review.due_at),
        "skipped_steps": ",".join(step.name for step in approval.plan.steps),
    }
    reason = Reason(code="BREAK_GLASS", message=broken.justification)
    return (
        decide(Code.BREAK_GLASS_USED, request, actor=broken.by, at=now, reason=reason, facts=facts),
    )


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
