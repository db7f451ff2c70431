"""What follows when a gate is answered, or time has run out on it: checks, quotas and reviews."""

from governor.domain.approval import Requirement, is_target
from governor.domain.decision import Code, decide
from governor.domain.errors import DigestMismatch, NotEligible, NotWaiting
from governor.domain.gates import Gate
from governor.domain.lifecycle import Trigger, check
from governor.domain.request import MutationRequest, Pending, PendingReason
from governor.domain.values import GOVERNOR, Identity, Micros, Reason
from governor.domain.whom import waited_for
from governor.domain.workflow import Advance, ended, released

GATED = frozenset({PendingReason.EXTERNAL_CHECK, PendingReason.QUOTA, PendingReason.MANUAL_REVIEW})
"""The reasons that somebody answers by name."""


def gate_answered(
    request: MutationRequest,
    *,
    reason: PendingReason,
    name: str,
    passed: bool,
    seen_digest: bytes,
    actor: Identity,
    finding: Reason,
    now: Micros,
) -> Advance:
    """Somebody who may answers a gate: it is passed, or the request is REJECTED.

    Raises IllegalTransition when requests that stand where this one does wait for nothing,
    NotWaiting when this one does not wait for that, DigestMismatch when another content was looked
    at, NotEligible for the requester and for one whom the gate does not ask.
    """
    check(request, Trigger.REASON_RESOLVED if passed else Trigger.CHECK_FAILED)
    pending = _waited_for(request, reason, name)
    digest = request.progress.digest
    if seen_digest != digest:
        raise DigestMismatch(expected=digest.hex(), got=seen_digest.hex())
    _check_may_answer(request, pending, actor)
    facts = {"reason": reason.value, "name": name}
    if passed:
        step = released(request, reason, name=name, now=now)
        said = decide(
            Code.CHECK_PASSED, step.request, actor=actor, at=now, reason=finding, facts=facts
        )
    else:
        # Governor's own reason; the finder's code is a fact in it and can overwrite nothing.
        why = Reason(
            code="CHECK_FAILED",
            message=finding.message,
            metadata=facts | {"by": actor.id, "code": finding.code},
        )
        step = ended(request, Trigger.CHECK_FAILED, actor=GOVERNOR, now=now, reason=why)
        said = decide(
            Code.CHECK_FAILED, step.request, actor=actor, at=now, reason=finding, facts=facts
        )
    return Advance(request=step.request, decisions=(said, *step.decisions))


def gate_timed_out(request: MutationRequest, pending: Pending, *, now: Micros) -> Advance:
    """Nobody has answered in time: a quota has room again, everything else is a no.

    Raises IllegalTransition and NotWaiting as an answer does.
    """
    is_quota = pending.reason is PendingReason.QUOTA
    check(request, Trigger.REASON_RESOLVED if is_quota else Trigger.CHECK_FAILED)
    _waited_for(request, pending.reason, pending.name)
    facts = {"reason": pending.reason.value, "name": pending.name}
    if is_quota:
        step = released(request, pending.reason, name=pending.name, now=now)
        reason = Reason(code="QUOTA_REFRESHED", message="the quota was refreshed in the meantime")
        code = Code.CHECK_PASSED
    else:
        reason = Reason(
            code="CHECK_TIMED_OUT",
            message=f"{pending.reason} {pending.name!r} was not answered in time",
            metadata=facts,
        )
        step = ended(request, Trigger.CHECK_FAILED, actor=GOVERNOR, now=now, reason=reason)
        code = Code.CHECK_TIMED_OUT
    said = decide(code, step.request, actor=GOVERNOR, at=now, reason=reason, facts=facts)
    return Advance(request=step.request, decisions=(said, *step.decisions))


def calls_waiting(request: MutationRequest) -> tuple[Pending, ...]:
    """The checks it waits for that Governor itself asks for."""
    progress = request.progress
    if not request.waits_for(PendingReason.EXTERNAL_CHECK) or progress.verdict is None:
        return ()
    called = {gate.name for gate in progress.verdict.gates if gate.called and _is_check(gate)}
    return tuple(
        pending
        for pending in progress.pending
        if pending.reason is PendingReason.EXTERNAL_CHECK and pending.name in called
    )


def _is_check(gate: Gate) -> bool:
    return gate.reason == PendingReason.EXTERNAL_CHECK


def _waited_for(request: MutationRequest, reason: PendingReason, name: str) -> Pending:
    if reason in GATED:
        for pending in request.progress.pending:
            if pending.reason is reason and pending.name == name:
                return pending
    raise NotWaiting(reason, name)


def _check_may_answer(request: MutationRequest, pending: Pending, actor: Identity) -> None:
    if actor.person == request.requester:
        raise NotEligible(
            actor.id, "the requester never answers for their own request", act="answer"
        )
    targets = waited_for(request, pending)
    asked = Requirement(id=pending.name, targets=targets)
    if actor != GOVERNOR and targets and not is_target(actor, asked):
        raise NotEligible(
            actor.id, f"{pending.reason} {pending.name!r} does not ask them", act="answer"
        )
