"""What follows when the state has moved on since a request was decided, as pure functions.

The request's strategy says how to go on: rejected, approved again, or looked at again on the latest
version by policy and host.
"""

from collections.abc import Sequence

from governor.domain.approval import Approval
from governor.domain.decision import Code, Decision, decide
from governor.domain.digest import request_digest
from governor.domain.errors import IllegalTransition
from governor.domain.execution import Execution
from governor.domain.gates import Gate
from governor.domain.lifecycle import Trigger
from governor.domain.policy import Effect, Verdict
from governor.domain.request import MutationRequest, Pending, PendingReason, Status
from governor.domain.resolution import Resolution, stale
from governor.domain.values import GOVERNOR, Micros, Reason
from governor.domain.waits import approval_wait, gates_wait
from governor.domain.workflow import Advance, advance, ended, released, standing, verdict_decision

RESOLUTION_CODES = {
    Resolution.VALIDATED: Code.VERSION_VALIDATED,
    Resolution.UNVERSIONED: Code.VERSION_UNVERSIONED,
    Resolution.REJECTED_AS_STALE: Code.VERSION_REJECTED_AS_STALE,
    Resolution.RENEWED_APPROVAL_REQUIRED: Code.VERSION_RENEWED_APPROVAL_REQUIRED,
    Resolution.REVALIDATION_REQUIRED: Code.VERSION_REVALIDATION_REQUIRED,
}


class Overtaken(Advance, frozen=True, kw_only=True):
    """A step forward because the state has moved on, and the resolution that led to it."""

    resolution: Resolution


def stale_before_claim(request: MutationRequest, *, current_version: str, now: Micros) -> Overtaken:
    """GetState showed that the state has moved on; nothing was claimed."""
    if request.status is not Status.APPROVED:
        raise IllegalTransition(request.status, Trigger.STALE_REJECTED)
    return overtaken(request, current_version=current_version, now=now)


def overtaken(
    request: MutationRequest,
    *,
    current_version: str,
    now: Micros,
    execution: Execution | None = None,
) -> Overtaken:
    """The state is at `current_version`, which is not what the request expects."""
    facts = {"current_version": current_version}
    if request.progress.expected_version is not None:
        facts["expected_version"] = request.progress.expected_version
    approval = request.progress.approval
    resolution = stale(request.content.stale_strategy)
    reason = None
    if resolution is Resolution.REJECTED_AS_STALE:
        reason = Reason(
            code="STALE",
            message=f"the state has moved on to version {current_version!r}",
            metadata=facts,
        )
        after = advance(request, Trigger.STALE_REJECTED, now, status_reason=reason)
    elif resolution is Resolution.RENEWED_APPROVAL_REQUIRED and approval is not None:
        verdict = request.progress.verdict
        after = _reopened(
            request,
            Trigger.RENEWAL_REQUIRED,
            approval.renewed(now),
            current_version,
            now,
            gates=_asked_again(request, verdict) if verdict is not None else (),
        )
    else:
        # Where policy alone approved, policy is what renews.
        resolution = Resolution.REVALIDATION_REQUIRED
        wait = Pending(reason=PendingReason.REVALIDATION, since=now)
        after = advance(request, Trigger.REVALIDATION_REQUIRED, now, pending=(wait,))
    code = RESOLUTION_CODES[resolution]
    resolved = decide(code, after, actor=GOVERNOR, at=now, execution=execution, facts=facts)
    return Overtaken(
        request=after,
        decisions=(
            resolved,
            *_voided(request, after, now, execution),
            *standing(after, now, reason=reason, execution=execution),
        ),
        resolution=resolution,
    )


def revalidated(
    request: MutationRequest,
    *,
    verdict: Verdict,
    violation: Reason | None,
    current_version: str,
    now: Micros,
) -> Advance:
    """Policy and host looked at the request again, on the latest version.

    Clean means: the host objects to nothing, and policy allows, or defers to the very plan that is
    satisfied already. The digest stays: it covers the strategy that the approvers agreed to. A
    plan that is new or was not satisfied opens a new round on the latest version.

    What was answered is bound to the digest, as votes are: while it stays, only the gates wait that
    were not there before; when it changes, checks and reviews wait again. What a quota has given,
    it has given.

    Raises IllegalTransition unless the request waits for revalidation.
    """
    if not request.waits_for(PendingReason.REVALIDATION):
        raise IllegalTransition(request.status, Trigger.REASON_RESOLVED)
    if violation is not None:
        return _invalid(request, violation, now)
    if verdict.effect is Effect.DENY:
        denied = ended(
            request,
            Trigger.POLICY_DENIED,
            actor=GOVERNOR,
            now=now,
            reason=verdict.reason,
            verdict=verdict,
        )
        said = verdict_decision(denied.request, verdict, now)
        return Advance(request=denied.request, decisions=(said, *denied.decisions))
    approval, plan = request.progress.approval, verdict.plan
    if plan is None or (approval and approval.is_satisfied and approval.plan == plan):
        step = released(
            request,
            PendingReason.REVALIDATION,
            now=now,
            added=gates_wait(_not_passed(request, verdict), now),
            verdict=verdict,
            expected_version=current_version,
        )
    else:
        renewed = approval.renewed(now) if approval else Approval(plan=plan, step_opened_at=now)
        renewed = renewed.but(plan=plan)
        after = _reopened(
            request,
            Trigger.MUST_WAIT,
            renewed,
            current_version,
            now,
            gates=_asked_again(request, verdict),
            verdict=verdict,
        )
        decisions = (*_voided(request, after, now), *standing(after, now))
        step = Advance(request=after, decisions=decisions)
    passed = decide(
        Code.CHECK_PASSED,
        step.request,
        actor=GOVERNOR,
        at=now,
        facts={"current_version": current_version},
    )
    said = verdict_decision(step.request, verdict, now)
    return Advance(request=step.request, decisions=(passed, said, *step.decisions))


def _invalid(request: MutationRequest, violation: Reason, now: Micros) -> Advance:
    failed = ended(request, Trigger.VALIDATION_FAILED, actor=GOVERNOR, now=now, reason=violation)
    check = decide(Code.CHECK_FAILED, failed.request, actor=GOVERNOR, at=now, reason=violation)
    return Advance(request=failed.request, decisions=(check, *failed.decisions))


def _reopened(
    request: MutationRequest,
    trigger: Trigger,
    renewed: Approval,
    current_version: str,
    now: Micros,
    *,
    gates: Sequence[Gate],
    **changes: object,
) -> MutationRequest:
    """The request waits for a new round, whose votes are bound to the version as it is now."""
    return advance(
        request,
        trigger,
        now,
        pending=(approval_wait(renewed, now), *gates_wait(gates, now)),
        approval=renewed,
        expected_version=current_version,
        digest=request_digest(request.content, current_version),
        **changes,
    )


def _not_passed(request: MutationRequest, verdict: Verdict) -> tuple[Gate, ...]:
    """The gates of a new verdict that were not there before, and have therefore not been passed."""
    before = request.progress.verdict
    passed = {(gate.reason, gate.name) for gate in before.gates} if before is not None else set()
    return tuple(gate for gate in verdict.gates if (gate.reason, gate.name) not in passed)


def _asked_again(request: MutationRequest, verdict: Verdict) -> tuple[Gate, ...]:
    """The gates of a verdict that wait when the digest changes."""
    new = _not_passed(request, verdict)
    return tuple(
        gate for gate in verdict.gates if gate.reason != PendingReason.QUOTA or gate in new
    )


def _voided(
    before: MutationRequest, after: MutationRequest, now: Micros, execution: Execution | None = None
) -> tuple[Decision, ...]:
    old, new = before.progress.approval, after.progress.approval
    if old is None or new is None or old.round == new.round:
        return ()
    facts = {
        "round": str(old.round),
        "voters": ",".join(vote.voter.id for vote in old.current_votes()),
    }
    void = decide(
        Code.APPROVAL_VOIDED, after, actor=GOVERNOR, at=now, execution=execution, facts=facts
    )
    return (void,)
