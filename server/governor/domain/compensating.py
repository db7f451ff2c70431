"""What follows when a change is to be made good, and when it has been, as pure functions.

The original stays EXECUTED through all of it: that it was applied, once, stays true. What it gains
are the decisions, and the links, which are written together with what they speak of.
"""

from governor.domain.compensation import (
    CompensatedBy,
    Compensation,
    Irreversible,
)
from governor.domain.decision import Code, decide
from governor.domain.errors import (
    AlreadyCompensated,
    NotExecuted,
    NotReversible,
    UndoExpired,
)
from governor.domain.executing import Progression
from governor.domain.execution import Execution, ExecutionStatus
from governor.domain.lifecycle import Trigger
from governor.domain.request import MutationRequest, Reversibility, Status
from governor.domain.values import GOVERNOR, Identity, Micros, Reason, Value, rfc3339
from governor.domain.workflow import Advance, ended

_NO_WAY_BACK = frozenset({Reversibility.COMPENSABLE, Reversibility.IRREVERSIBLE})


class HostsWord(Value, frozen=True, kw_only=True):
    """What the host says of taking back: at all, and for changes of the original's type."""

    rollback: bool
    reversibility: Reversibility = Reversibility.UNSPECIFIED


def check_compensable(
    original: MutationRequest, earlier: MutationRequest | None, execution: Execution | None
) -> Execution:
    """The applied execution that a compensation of `original` makes good.

    `earlier` is the latest request that was to compensate it. One that ended without being applied
    frees the way for another. Raises NotExecuted and AlreadyCompensated.
    """
    if (
        original.status is not Status.EXECUTED
        or execution is None
        or execution.status is not ExecutionStatus.APPLIED
    ):
        raise NotExecuted(original.status)
    if earlier is not None and (not earlier.is_terminal or earlier.status is Status.EXECUTED):
        raise AlreadyCompensated(earlier.id, earlier.status)
    return execution


def undo_token(
    original: MutationRequest, execution: Execution, host: HostsWord, now: Micros
) -> bytes:
    """What the host needs to take back what `execution` did. Raises NotReversible, UndoExpired.

    What the caller said of the change binds as what the host says of it does. The end of a token is
    by the host's clock, which has the last word when the order reaches it.
    """
    if original.content.intent.reversibility in _NO_WAY_BACK:
        said = original.content.intent.reversibility
        raise NotReversible(Irreversible.INTENT, f"its requester has called it {said}")
    if not host.rollback:
        raise NotReversible(Irreversible.HOST, "the host takes nothing back")
    if host.reversibility in _NO_WAY_BACK:
        raise NotReversible(
            Irreversible.TYPE,
            f"the host calls {original.content.mutation_type} {host.reversibility}",
        )
    applied = execution.applied
    if applied is None or not applied.undo_token:
        raise NotReversible(Irreversible.OUTCOME, "the host gave no undo token with its outcome")
    if applied.undo_expires_at is not None and applied.undo_expires_at <= now:
        raise UndoExpired(rfc3339(applied.undo_expires_at))
    return applied.undo_token


def requested(
    original: MutationRequest, compensation: MutationRequest, *, actor: Identity, now: Micros
) -> Advance:
    """Somebody asks for the original's change to be made good: no second one may, until this ends.

    Raises ValueError where `compensation` is none of the original.
    """
    asked = _of(compensation, original)
    after = original.but(
        progress=original.progress.but(compensation_id=compensation.id, updated_at=now)
    )
    decision = decide(
        Code.COMPENSATION_REQUESTED,
        after,
        actor=actor,
        at=now,
        reason=asked.reason,
        facts=_facts(asked) | {"compensation": compensation.id},
    )
    return Advance(request=after, decisions=(decision,))


class Completion(Value, frozen=True, kw_only=True):
    """An outcome with its links: the compensation's half, and the original's."""

    compensation: Progression
    original: Progression


def completed(
    step: Progression, original: MutationRequest, execution: Execution, *, now: Micros
) -> Completion:
    """The compensation in `step` has been applied: both sides come to know of each other.

    Raises ValueError where it is none of the original, or was not applied.
    """
    asked = _of(step.request, original)
    if step.execution.status is not ExecutionStatus.APPLIED:
        raise ValueError("only what was applied has compensated anything")
    own = step.execution.but(compensates=execution.audit_id)
    theirs = execution.but(compensated_by=own.audit_id)
    by = CompensatedBy(
        request_id=step.request.id,
        execution_id=own.id,
        execution_audit_id=own.audit_id,
        kind=asked.kind,
        trigger=asked.trigger,
        at=now,
    )
    after = original.but(progress=original.progress.but(compensated_by=by, updated_at=now))
    facts = _facts(asked)
    done = decide(
        Code.COMPENSATION_COMPLETED,
        step.request,
        actor=GOVERNOR,
        at=now,
        execution=own,
        reason=asked.reason,
        facts=facts | {"compensates": original.id, "execution_audit_id": execution.audit_id},
    )
    compensated = decide(
        Code.COMPENSATED,
        after,
        actor=GOVERNOR,
        at=now,
        execution=theirs,
        reason=asked.reason,
        facts=facts | {"compensation": step.request.id, "execution_audit_id": own.audit_id},
    )
    return Completion(
        compensation=step.but(execution=own, decisions=(*step.decisions, done)),
        original=Progression(request=after, execution=theirs, decisions=(compensated,)),
    )


def rollback_impossible(request: MutationRequest, *, now: Micros) -> Advance:
    """It is a rollback's turn, and the host takes nothing back any more.

    Raises IllegalTransition unless it is approved.
    """
    reason = Reason(
        code="NOT_REVERSIBLE",
        message="the host takes nothing back any more",
        metadata={"cause": Irreversible.HOST.value},
    )
    return ended(request, Trigger.NOT_REVERSIBLE, actor=GOVERNOR, now=now, reason=reason)


def _of(compensation: MutationRequest, original: MutationRequest) -> Compensation:
    asked = compensation.content.compensation
    if asked is None or asked.request_id != original.id:
        raise ValueError(f"{compensation.id} is no compensation of {original.id}")
    return asked


def _facts(asked: Compensation) -> dict[str, str]:
    return {"kind": asked.kind.value, "trigger": asked.trigger.value}
