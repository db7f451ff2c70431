"""Batches: requests whose members are requests, decided on together and conducted in their order.

A batch is itself a request. Its payload is a manifest of its members, so that its digest covers the
exact ordered set; what it is executed as is the sequence of its members' executions. Everything
here is a value out of values; who asks, and when, is in usecases/batches.py.
"""

import json
from collections.abc import Sequence
from hashlib import sha256
from typing import Final

from governor.domain.decision import Code, Decision, decide
from governor.domain.executing import in_doubt, settled
from governor.domain.execution import Applied, Execution, ExecutionStatus
from governor.domain.lifecycle import Trigger
from governor.domain.policy import Effect, Verdict
from governor.domain.request import (
    BatchFailureMode,
    BatchOrdering,
    BatchProgress,
    BatchSpec,
    MutationRequest,
    Payload,
    Pending,
    PendingReason,
    Status,
)
from governor.domain.values import GOVERNOR, Identity, Micros, Reason, RequestId, Value
from governor.domain.workflow import Advance, advance, ended, released, standing

RESERVED: Final = "governor."
"""What the types of Governor's own mutations and states begin with, and no other's."""

BATCH_TYPE: Final = "governor.batch"
MANIFEST_TYPE: Final = "application/vnd.governor.batch+json"
BATCH_MEMBERS_MAX: Final = 100


class Conducted(Value, frozen=True, kw_only=True):
    """One step of a batch: everything that changes in it, the batch first."""

    requests: tuple[MutationRequest, ...]
    decisions: tuple[Decision, ...]
    execution: Execution | None = None


def spec_of(batch: MutationRequest) -> BatchSpec:
    """What a batch was submitted as. Raises ValueError for a request that is none."""
    spec = batch.content.batch_spec
    if spec is None:
        raise ValueError(f"the request {batch.id} is no batch")
    return spec


# --- Its submission -----------------------------------------------------------------------------


def manifest(spec: BatchSpec, digests: Sequence[bytes]) -> Payload:
    """The payload of a batch: JSON in one spelling, without spaces, its keys in alphabetical order.

    It names each member by its place, its id and its request digest.
    """
    members = [
        {"digest": digest.hex(), "id": id, "position": position}
        for position, (id, digest) in enumerate(zip(spec.member_ids, digests, strict=True))
    ]
    said = {
        "decision_mode": spec.decision_mode.value,
        "failure_mode": spec.failure_mode.value,
        "members": members,
        "ordering": spec.ordering.value,
    }
    data = json.dumps(said, separators=(",", ":"), sort_keys=True).encode()
    return Payload(
        content_type=MANIFEST_TYPE, data=data, size_bytes=len(data), sha256=sha256(data).digest()
    )


def turn(batch_id: RequestId, now: Micros) -> Pending:
    """A member waits until its batch lets it go."""
    return Pending(reason=PendingReason.BATCH, since=now, detail=batch_id)


def verdict_within(verdict: Verdict) -> Verdict:
    """What is left for a member of policy's verdict once the batch answers for it.

    People and gates are asked for the whole; when a member is claimed, its own windows are open.
    """
    if verdict.effect is not Effect.DEFER:
        return verdict
    effect = Effect.DEFER if verdict.windows else Effect.ALLOW
    return verdict.but(effect=effect, plan=None, gates=(), execution_window_seconds=None)


def is_covered(verdict: Verdict, by: Verdict) -> bool:
    """Whether whatever a verdict demands of people and gates was demanded by another one."""
    asked = set(by.plan.steps) if by.plan is not None else set()
    steps = verdict.plan.steps if verdict.plan is not None else ()
    gates = {(gate.reason, gate.name) for gate in by.gates}
    return asked.issuperset(steps) and all(
        (gate.reason, gate.name) in gates for gate in verdict.gates
    )


# --- Its end before it has begun ----------------------------------------------------------------


def members_ended(
    batch: MutationRequest, members: Sequence[MutationRequest], now: Micros
) -> tuple[Advance, ...]:
    """What becomes of the members of a batch that has ended and never begun: none is executed."""
    reason = Reason(
        code="BATCH_ENDED",
        message=f"the batch {batch.id} ended as {batch.status}",
        metadata={"batch_id": batch.id, "status": batch.status.value},
    )
    return tuple(_canceled(member, reason, now) for member in members if not member.is_terminal)


def given_up(
    batch: MutationRequest, members: Sequence[MutationRequest], now: Micros
) -> Conducted | None:
    """The end of a batch that still waits, once it cannot be executed whole. None: it can."""
    lost = [member for member in members if _has_failed(member)]
    if not lost or spec_of(batch).failure_mode is BatchFailureMode.CONTINUE:
        return None
    reason = Reason(
        code="BATCH_MEMBER_FAILED",
        message=f"the member {lost[0].id} ended as {lost[0].status}",
        metadata={"failed": ",".join(member.id for member in lost)},
    )
    end = ended(batch, Trigger.CANCELED, actor=GOVERNOR, now=now, reason=reason)
    ends = members_ended(end.request, members, now)
    return Conducted(
        requests=(end.request, *(step.request for step in ends)),
        decisions=(*end.decisions, *(one for step in ends for one in step.decisions)),
    )


# --- While it is executed -----------------------------------------------------------------------


def stopped(batch: MutationRequest, *, actor: Identity, now: Micros, comment: str) -> Advance:
    """Somebody stops a batch that is executed: nothing further of it is begun.

    Raises IllegalTransition unless it is.
    """
    reason = Reason(code="CANCELED", message=comment, metadata={"by": actor.id})
    progress = batch.progress.batch or BatchProgress()
    if progress.stopped is None:
        progress = progress.but(stopped=reason)
    after = advance(batch, Trigger.BATCH_ADVANCED, now, batch=progress)
    said = decide(Code.BATCH_STOPPED, after, actor=actor, at=now, reason=reason)
    return Advance(request=after, decisions=(said,))


def conducted(
    batch: MutationRequest, execution: Execution, members: Sequence[MutationRequest], now: Micros
) -> Conducted | None:
    """What follows for an executing batch from how its members stand. None: nothing yet.

    A member whose outcome is in doubt holds the batch where it is.
    """
    spec, before = spec_of(batch), batch.progress.batch
    progress = _seen(before or BatchProgress(), members)
    if progress.stopped is None and spec.failure_mode is not BatchFailureMode.CONTINUE:
        progress = progress.but(stopped=_failure(members))
    if progress.stopped is not None:
        steps = _withheld(batch, members, now)
    else:
        steps = _begun(spec, members, now)
    changed = {step.request.id: step.request for step in steps}
    members = [changed.get(member.id, member) for member in members]
    progress = _seen(progress, members)
    said = tuple(one for step in steps for one in step.decisions)
    if all(member.is_terminal for member in members):
        end = _concluded(batch, execution, progress, now)
        if end is None:
            end = _to_be_put_right(batch, progress, now)
    elif steps or progress != before:
        end = _advanced(batch, progress, now)
    else:
        return None
    if end is None:
        return None
    return end.but(requests=(*end.requests, *changed.values()), decisions=(*end.decisions, *said))


def taking_back(batch: MutationRequest, ask: Advance, original: Advance, now: Micros) -> Conducted:
    """A member is to be taken back by the request in `ask`; `original` knows of it from now on."""
    after = advance(batch, Trigger.BATCH_ADVANCED, now)
    facts: dict[str, str] = {"member": original.request.id, "compensation": ask.request.id}
    said = decide(Code.BATCH_ADVANCED, after, actor=GOVERNOR, at=now, facts=facts)
    return Conducted(
        requests=(after, ask.request, original.request),
        decisions=(said, *ask.decisions, *original.decisions),
    )


def put_right(batch: MutationRequest, member: RequestId, now: Micros) -> Conducted:
    """A member that was applied has been put right again."""
    progress = batch.progress.batch or BatchProgress()
    after = advance(
        batch,
        Trigger.BATCH_ADVANCED,
        now,
        batch=progress.but(undone=(*progress.undone, member)),
    )
    facts = {"member": member} | _counts(after.progress.batch)
    said = decide(Code.BATCH_PUT_RIGHT, after, actor=GOVERNOR, at=now, facts=facts)
    return Conducted(requests=(after,), decisions=(said,))


def undone(batch: MutationRequest, execution: Execution, now: Micros) -> Conducted:
    """Everything that was applied has been put right: the batch has FAILED, and left nothing."""
    progress = batch.progress.batch or BatchProgress()
    reason = Reason(
        code="BATCH_COMPENSATED",
        message=f"all {len(progress.applied)} applied members were put right again",
        metadata=_facts(progress),
    )
    return _failed(batch, execution, progress, reason, now)


def not_put_right(
    batch: MutationRequest, execution: Execution, member: RequestId, why: Reason, now: Micros
) -> Conducted:
    """A member cannot be put right: a person must look, at what was and what was not."""
    progress = (batch.progress.batch or BatchProgress()).but(is_broken=True)
    left = [id for id in progress.applied if id not in progress.undone]
    reason = Reason(
        code="BATCH_NOT_COMPENSATED",
        message=f"the member {member} was not put right: {why.message or why.code}",
        metadata=_facts(progress)
        | {"not_put_right": ",".join(left), "member": member, "code": why.code},
    )
    marked = batch.but(progress=batch.progress.but(batch=progress))
    step = in_doubt(marked, execution, attempts=0, now=now, reason=reason)
    return Conducted(requests=(step.request,), execution=step.execution, decisions=step.decisions)


def next_to_undo(batch: MutationRequest) -> RequestId | None:
    """Which member is to be put right now, the last that was applied first. None: none."""
    progress = batch.progress.batch
    if progress is None or progress.stopped is None:
        return None
    if spec_of(batch).failure_mode is not BatchFailureMode.COMPENSATE:
        return None
    return next((id for id in reversed(progress.applied) if id not in progress.undone), None)


# --- Its parts ----------------------------------------------------------------------------------


def _has_failed(member: MutationRequest) -> bool:
    return member.is_terminal and member.status is not Status.EXECUTED


def _seen(progress: BatchProgress, members: Sequence[MutationRequest]) -> BatchProgress:
    """The progress with those who have ended since, in the order of their ends."""
    new = sorted(
        (one for one in members if one.status is Status.EXECUTED),
        key=lambda one: one.progress.updated_at,
    )
    applied = tuple(dict.fromkeys((*progress.applied, *(one.id for one in new))))
    failed = (one.id for one in members if _has_failed(one))
    return progress.but(applied=applied, failed=tuple(dict.fromkeys((*progress.failed, *failed))))


def _failure(members: Sequence[MutationRequest]) -> Reason | None:
    """Why the rest of a batch is not begun, as soon as one of its members has failed."""
    for member in members:
        if _has_failed(member):
            why = member.progress.status_reason
            return Reason(
                code="MEMBER_FAILED",
                message=f"the member {member.id} ended as {member.status}",
                metadata={
                    "member": member.id,
                    "status": member.status.value,
                    "code": why.code if why is not None else "",
                },
            )
    return None


def _withheld(
    batch: MutationRequest, members: Sequence[MutationRequest], now: Micros
) -> tuple[Advance, ...]:
    """The members that do not execute yet never do. One in doubt is left to whoever finds out."""
    reason = Reason(
        code="BATCH_STOPPED",
        message=f"the batch {batch.id} was stopped before its turn",
        metadata={"batch_id": batch.id},
    )
    return tuple(_canceled(member, reason, now) for member in members if _is_idle(member))


def _is_idle(member: MutationRequest) -> bool:
    return member.status is Status.APPROVED or (
        member.status is Status.PENDING and not member.waits_for(PendingReason.AUDIT)
    )


def _begun(spec: BatchSpec, members: Sequence[MutationRequest], now: Micros) -> tuple[Advance, ...]:
    """Those whose turn it is."""
    held = [member for member in members if member.waits_for(PendingReason.BATCH)]
    if spec.ordering is BatchOrdering.SEQUENTIAL:
        going = any(not member.is_terminal and member not in held for member in members)
        held = [] if going else held[:1]
    return tuple(released(member, PendingReason.BATCH, now=now) for member in held)


def _canceled(member: MutationRequest, reason: Reason, now: Micros) -> Advance:
    return ended(member, Trigger.CANCELED, actor=GOVERNOR, now=now, reason=reason)


def _advanced(batch: MutationRequest, progress: BatchProgress, now: Micros) -> Conducted:
    after = advance(batch, Trigger.BATCH_ADVANCED, now, batch=progress)
    before = batch.progress.batch
    stops = progress.stopped is not None and (before is None or before.stopped is None)
    said = decide(
        Code.BATCH_STOPPED if stops else Code.BATCH_ADVANCED,
        after,
        actor=GOVERNOR,
        at=now,
        reason=progress.stopped if stops else None,
        facts=_counts(progress),
    )
    return Conducted(requests=(after,), decisions=(said,))


def _to_be_put_right(
    batch: MutationRequest, progress: BatchProgress, now: Micros
) -> Conducted | None:
    """The plan is on record before the first of its steps; None: it is already."""
    if progress == batch.progress.batch:
        return None
    after = advance(batch, Trigger.BATCH_ADVANCED, now, batch=progress)
    said = decide(
        Code.BATCH_COMPENSATING,
        after,
        actor=GOVERNOR,
        at=now,
        reason=progress.stopped,
        facts={"plan": ",".join(reversed(progress.applied))} | _counts(progress),
    )
    return Conducted(requests=(after,), decisions=(said,))


def _concluded(
    batch: MutationRequest, execution: Execution, progress: BatchProgress, now: Micros
) -> Conducted | None:
    """The end of a batch whose members have ended; None where they are to be put right first."""
    spec = spec_of(batch)
    if len(progress.applied) == len(spec.member_ids):
        whole = batch.but(progress=batch.progress.but(batch=progress.but(stopped=None)))
        count = str(len(progress.applied))
        outcome = Applied(resulting_version=count, previous_version="0")
        step = settled(whole, execution, outcome, attempts=0, now=now)
        return Conducted(
            requests=(step.request,), execution=step.execution, decisions=step.decisions
        )
    if progress.applied and spec.failure_mode is BatchFailureMode.COMPENSATE:
        return None
    reason = Reason(
        code="BATCH_FAILED",
        message=f"{len(progress.applied)} of {len(spec.member_ids)} members were applied",
        metadata=_facts(progress),
    )
    broken = progress.but(is_broken=bool(progress.applied))
    return _failed(batch, execution, broken, reason, now)


def _failed(
    batch: MutationRequest,
    execution: Execution,
    progress: BatchProgress,
    reason: Reason,
    now: Micros,
) -> Conducted:
    over = execution.but(status=ExecutionStatus.REFUSED, finished_at=now, error=reason)
    after = advance(batch, Trigger.BATCH_FAILED, now, status_reason=reason, batch=progress)
    refused = decide(Code.REFUSED, after, actor=GOVERNOR, at=now, execution=over, reason=reason)
    end = standing(after, now, reason=reason, execution=over)
    return Conducted(requests=(after,), execution=over, decisions=(refused, *end))


def _counts(progress: BatchProgress | None) -> dict[str, str]:
    if progress is None:
        return {}
    return {
        "applied": str(len(progress.applied)),
        "failed": str(len(progress.failed)),
        "undone": str(len(progress.undone)),
    }


def _facts(progress: BatchProgress) -> dict[str, str]:
    """Which members became what."""
    facts = {"applied": ",".join(progress.applied), "failed": ",".join(progress.failed)}
    if progress.undone:
        facts["put_right"] = ",".join(progress.undone)
    if progress.stopped is not None:
        facts["cause"] = progress.stopped.code
    return facts
