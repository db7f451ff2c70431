"""What follows when a person has found out what became of an execution in doubt."""

from governor.domain.decision import Code, decide
from governor.domain.errors import NotInDoubt
from governor.domain.executing import Progression, check_current, outcome_digest
from governor.domain.execution import Applied, Execution, ExecutionStatus
from governor.domain.lifecycle import Trigger
from governor.domain.request import MutationRequest
from governor.domain.values import Identity, Micros, Reason
from governor.domain.workflow import advance, standing


def audited(
    request: MutationRequest,
    execution: Execution,
    *,
    found: Applied | None,
    actor: Identity,
    now: Micros,
    reason: Reason,
) -> Progression:
    """`found` is what the execution did, None when it did nothing.

    Raises NotInDoubt when there is no doubt.
    """
    if execution.status is not ExecutionStatus.IN_DOUBT:
        raise NotInDoubt(execution.status)
    check_current(request, execution)
    over = execution.but(finished_at=now, resolved_by=actor.id)
    if found is not None:
        trigger, end = Trigger.AUDITED_APPLIED, None
        over = over.but(status=ExecutionStatus.APPLIED, applied=found, error=None)
        facts = {
            "outcome": "applied",
            "resulting_version": found.resulting_version,
            "outcome_sha256": outcome_digest(found),
        }
    else:
        trigger, end = Trigger.AUDITED_NOT_APPLIED, _nothing_applied(actor, reason)
        over = over.but(status=ExecutionStatus.NOT_APPLIED, error=reason)
        facts = {"outcome": "not_applied"}
    after = advance(request, trigger, now, pending=(), status_reason=end)
    resolved = decide(
        Code.RESOLVED, after, actor=actor, at=now, execution=over, reason=reason, facts=facts
    )
    ending = standing(after, now, actor=actor, reason=end, execution=over)
    return Progression(request=after, execution=over, decisions=(resolved, *ending))


def _nothing_applied(actor: Identity, reason: Reason) -> Reason:
    """Governor's own reason; the person's code is a fact in it and can overwrite nothing."""
    return Reason(
        code="AUDITED_NOT_APPLIED",
        message=reason.message,
        metadata={"by": actor.id, "code": reason.code},
    )
