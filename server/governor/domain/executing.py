"""What follows from each event of an execution, as pure functions on request and execution.

Each answers a Progression: both as they will stand, and the decisions that say so. How an answer of
the host is read is not decided here (see usecases/settle.py); what it means for the request is.
They raise IllegalTransition when the transition table knows no such event here, and Conflict when
the request is, by now, executed by another execution.
"""

from hashlib import sha256
from typing import assert_never

import msgspec

from governor.domain.decision import Code, Decision, decide
from governor.domain.errors import Conflict, IllegalTransition
from governor.domain.execution import (
    Applied,
    Execution,
    ExecutionStatus,
    Outcome,
    Refused,
    VersionMismatch,
)
from governor.domain.lifecycle import Trigger
from governor.domain.request import MutationRequest, Pending, PendingReason, Status
from governor.domain.resolution import CLEAN, Resolution
from governor.domain.staleness import RESOLUTION_CODES, overtaken
from governor.domain.values import (
    GOVERNOR,
    AuditId,
    ExecutionId,
    Identity,
    Micros,
    Reason,
    Value,
)
from governor.domain.waits import is_claimable
from governor.domain.workflow import Advance, advance, standing


class Progression(Value, frozen=True, kw_only=True):
    """One step of an execution: request and execution after it, and the decisions."""

    request: MutationRequest
    execution: Execution
    decisions: tuple[Decision, ...]


def claimed(
    request: MutationRequest,
    *,
    execution_id: ExecutionId,
    audit_id: AuditId,
    starter: Identity,
    now: Micros,
    lease_us: int,
    resolution: Resolution | None = None,
    current_version: str | None = None,
    traceparent: str = "",
) -> Progression:
    """The request is taken for execution. `resolution` is unset where the host compares itself.

    Raises ValueError for a resolution that lets nothing go on, and IllegalTransition when it is too
    late, or no maintenance window is open.
    """
    if resolution is not None and resolution not in CLEAN:
        raise ValueError(f"{resolution} lets no request be claimed")
    if not is_claimable(request, now):
        raise IllegalTransition(request.status, Trigger.CLAIMED)
    execution = Execution(
        id=execution_id,
        audit_id=audit_id,
        request_id=request.id,
        request_audit_id=request.audit_id,
        tenant=request.tenant,
        state=request.state,
        digest=request.progress.digest,
        started_by=starter.id,
        started_at=now,
        lease_expires_at=Micros(now + lease_us),
        expected_version=request.progress.expected_version,
        resolution=resolution,
        current_version=current_version,
        traceparent=traceparent,
    )
    after = advance(
        request,
        Trigger.CLAIMED,
        now,
        execution_id=execution_id,
        executions=request.progress.executions + 1,
    )
    return Progression(
        request=after,
        execution=execution,
        decisions=(
            *_resolution_decisions(after, execution, now),
            _claim(after, execution, starter, now),
        ),
    )


def reclaimed(
    request: MutationRequest,
    execution: Execution,
    *,
    now: Micros,
    lease_us: int,
    actor: Identity = GOVERNOR,
    lease_lost: bool = False,
) -> Progression:
    """The execution is taken over, or its lease extended, with the next fencing token.

    `lease_lost` records that its former holder is gone.
    """
    _check_running(request, execution, Trigger.RECLAIMED)
    after = advance(request, Trigger.RECLAIMED, now)
    taken = execution.but(
        fencing_token=execution.fencing_token + 1, lease_expires_at=Micros(now + lease_us)
    )
    decisions = [_claim(after, taken, actor, now)]
    if lease_lost:
        facts = {"fencing_token": str(execution.fencing_token)}
        lost = decide(Code.LEASE_LOST, after, actor=actor, at=now, execution=taken, facts=facts)
        decisions.insert(0, lost)
    return Progression(request=after, execution=taken, decisions=tuple(decisions))


def settled(
    request: MutationRequest, execution: Execution, outcome: Outcome, *, attempts: int, now: Micros
) -> Progression:
    """The outcome is known for good."""
    tried = execution.but(attempts=execution.attempts + attempts)
    match outcome:
        case Applied():
            return _applied(request, tried, outcome, now)
        case Refused():
            return _refused(request, tried, outcome, now)
        case VersionMismatch():
            return _mismatched(request, tried, outcome, now)
        case _:
            assert_never(outcome)


def not_applied(
    request: MutationRequest,
    execution: Execution,
    *,
    attempts: int,
    now: Micros,
    reason: Reason,
) -> Progression:
    """The host promised that this execution was not and will not be applied; another may start."""
    _check_running(request, execution, Trigger.NOT_APPLIED)
    finished = _finished(
        execution.but(attempts=execution.attempts + attempts),
        ExecutionStatus.NOT_APPLIED,
        now,
        error=reason,
    )
    after = advance(request, Trigger.NOT_APPLIED, now)
    return Progression(
        request=after,
        execution=finished,
        decisions=(_fenced_decision(after, finished, now, reason),),
    )


def withdrawn(fenced: Execution, ending: Advance, *, now: Micros, attempts: int = 0) -> Progression:
    """`ending` (a cancellation or supersession) of a request whose execution was fenced first."""
    check_current(ending.request, fenced)
    reason = Reason(code="FENCED", message="fenced in the host before it was applied")
    finished = _finished(
        fenced.but(attempts=fenced.attempts + attempts),
        ExecutionStatus.NOT_APPLIED,
        now,
        error=reason,
    )
    return Progression(
        request=ending.request,
        execution=finished,
        decisions=(
            _fenced_decision(ending.request, finished, now, reason),
            *_with_execution(ending.decisions, finished),
        ),
    )


def in_doubt(
    request: MutationRequest,
    execution: Execution,
    *,
    attempts: int,
    now: Micros,
    reason: Reason,
) -> Progression:
    """Nobody can tell what happened: a person must. The state stays taken until then."""
    _check_running(request, execution, Trigger.IN_DOUBT)
    doubtful = execution.but(
        status=ExecutionStatus.IN_DOUBT, error=reason, attempts=execution.attempts + attempts
    )
    audit = Pending(reason=PendingReason.AUDIT, since=now, detail=reason.message)
    after = advance(request, Trigger.IN_DOUBT, now, pending=(audit,), status_reason=reason)
    doubt = decide(Code.IN_DOUBT, after, actor=GOVERNOR, at=now, execution=doubtful, reason=reason)
    return Progression(
        request=after,
        execution=doubtful,
        decisions=(doubt, *standing(after, now, reason=reason, execution=doubtful)),
    )


def check_current(request: MutationRequest, execution: Execution) -> None:
    """Refuses an execution that is over, or that is not the one that the request has now."""
    if request.progress.execution_id != execution.id or not execution.is_active:
        raise Conflict(f"{execution.id} is not the execution that the request {request.id} has now")


def outcome_digest(outcome: Applied) -> str:
    """SHA-256, in hex, of the outcome as stored: binds the execution's row to the ledger."""
    return sha256(msgspec.json.encode(outcome, order="deterministic")).hexdigest()


def _applied(
    request: MutationRequest, execution: Execution, outcome: Applied, now: Micros
) -> Progression:
    _check_running(request, execution, Trigger.APPLIED)
    resolution = execution.resolution or (
        Resolution.UNVERSIONED if execution.expected_version is None else Resolution.VALIDATED
    )
    finished = _finished(execution, ExecutionStatus.APPLIED, now, applied=outcome).but(
        resolution=resolution,
        current_version=execution.current_version
        if execution.current_version is not None
        else outcome.previous_version,
    )
    after = advance(request, Trigger.APPLIED, now)
    facts = {
        "resulting_version": outcome.resulting_version,
        "fencing_token": str(execution.fencing_token),
        "outcome_sha256": outcome_digest(outcome),
    }
    resolved = () if execution.resolution else _resolution_decisions(after, finished, now)
    return Progression(
        request=after,
        execution=finished,
        decisions=(
            *resolved,
            decide(Code.APPLIED, after, actor=GOVERNOR, at=now, execution=finished, facts=facts),
            *standing(after, now, execution=finished),
        ),
    )


def _refused(
    request: MutationRequest, execution: Execution, outcome: Refused, now: Micros
) -> Progression:
    _check_running(request, execution, Trigger.REFUSED)
    finished = _finished(execution, ExecutionStatus.REFUSED, now, error=outcome.reason)
    reason = Reason(
        code="HOST_REFUSED",
        message=outcome.reason.message,
        metadata={**outcome.reason.metadata, "code": outcome.reason.code},
    )
    after = advance(request, Trigger.REFUSED, now, status_reason=reason)
    refusal = decide(
        Code.REFUSED, after, actor=GOVERNOR, at=now, execution=finished, reason=outcome.reason
    )
    end = standing(after, now, reason=reason, execution=finished)
    return Progression(request=after, execution=finished, decisions=(refusal, *end))


def _mismatched(
    request: MutationRequest, execution: Execution, outcome: VersionMismatch, now: Micros
) -> Progression:
    _check_running(request, execution, Trigger.STALE_REJECTED)
    error = Reason(
        code="VERSION_MISMATCH",
        message=f"the state is at version {outcome.current_version!r}",
        metadata={"current_version": outcome.current_version},
    )
    step = overtaken(request, current_version=outcome.current_version, now=now, execution=execution)
    finished = _finished(execution, ExecutionStatus.STALE, now, error=error).but(
        resolution=step.resolution, current_version=outcome.current_version
    )
    return Progression(request=step.request, execution=finished, decisions=step.decisions)


def _check_running(request: MutationRequest, execution: Execution, trigger: Trigger) -> None:
    """Refuses what is still said about an execution that is over, or no longer the one."""
    if request.status is not Status.EXECUTING:
        raise IllegalTransition(request.status, trigger)
    check_current(request, execution)


def _finished(
    execution: Execution,
    status: ExecutionStatus,
    now: Micros,
    *,
    error: Reason | None = None,
    applied: Applied | None = None,
) -> Execution:
    return execution.but(status=status, finished_at=now, error=error, applied=applied)


def _claim(
    request: MutationRequest, execution: Execution, actor: Identity, now: Micros
) -> Decision:
    facts = {"fencing_token": str(execution.fencing_token), "digest": execution.digest.hex()}
    return decide(Code.CLAIMED, request, actor=actor, at=now, execution=execution, facts=facts)


def _resolution_decisions(
    request: MutationRequest, execution: Execution, now: Micros
) -> tuple[Decision, ...]:
    if execution.resolution is None:
        return ()
    facts = {}
    if execution.expected_version is not None:
        facts["expected_version"] = execution.expected_version
    if execution.current_version is not None:
        facts["current_version"] = execution.current_version
    code = RESOLUTION_CODES[execution.resolution]
    return (decide(code, request, actor=GOVERNOR, at=now, execution=execution, facts=facts),)


def _fenced_decision(
    request: MutationRequest, execution: Execution, now: Micros, reason: Reason
) -> Decision:
    return decide(
        Code.RESOLVED,
        request,
        actor=GOVERNOR,
        at=now,
        execution=execution,
        reason=reason,
        facts={"outcome": "not_applied", "fencing_token": str(execution.fencing_token)},
    )


def _with_execution(decisions: tuple[Decision, ...], execution: Execution) -> tuple[Decision, ...]:
    return tuple(
        decision.but(execution_id=execution.id, execution_audit_id=execution.audit_id)
        for decision in decisions
    )
