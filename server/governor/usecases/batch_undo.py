"""Taking a member of a batch back: a request like any compensation, under the batch's approval."""

from collections.abc import Mapping
from typing import Final

from governor.domain.batches import Conducted, spec_of, taking_back
from governor.domain.compensating import requested
from governor.domain.compensation import CompensationKind, CompensationTrigger
from governor.domain.errors import (
    Conflict,
    GovernorError,
    InvalidField,
    NotExecuted,
    NotReversible,
    UndoExpired,
)
from governor.domain.execution import Applied, Execution
from governor.domain.policy import NO_RULE_MATCHED, Effect, Verdict
from governor.domain.request import Content, Membership, MutationRequest
from governor.domain.values import GOVERNOR, Identity, Reason
from governor.domain.workflow import submitted
from governor.usecases.app import App
from governor.usecases.commands import Caller, Compensate
from governor.usecases.compensate import (
    content_of,
    expires_at_of,
    to_compensate,
    traceparents_of,
)
from governor.usecases.submit import expiry_of, facts_of, lifetime_of


async def taken_back(
    app: App, batch: MutationRequest, member: MutationRequest
) -> Conducted | Reason:
    """The request that takes a member back, approved because its batch was: whoever approved that
    approved its failure mode, which its digest covers. Not committed yet. Or why there is none.
    """
    try:
        return await _taken_back(app, batch, member)
    except (NotExecuted, NotReversible, UndoExpired, InvalidField) as refusal:
        return Reason(
            code=_CODES[type(refusal)], message=refusal.message, metadata=dict(refusal.facts)
        )


_CODES: Final[Mapping[type[GovernorError], str]] = {
    NotExecuted: "NOT_EXECUTED",
    NotReversible: "NOT_REVERSIBLE",
    UndoExpired: "UNDO_EXPIRED",
    InvalidField: "INVALID_FIELD",
}


async def _taken_back(
    app: App, batch: MutationRequest, member: MutationRequest
) -> Conducted | Reason:
    execution = await to_compensate(app, member)
    progress, now = batch.progress, app.clock.now()
    stopped = progress.batch.stopped if progress.batch is not None else None
    command = Compensate(
        request_id="",
        id=member.id,
        kind=CompensationKind.ROLLBACK,
        trigger=CompensationTrigger.BATCH_FAILURE,
        reason=stopped or Reason(code="BATCH_FAILED"),
        justification=batch.content.justification,
    )
    caller = Caller(actor=batch.content.context.actor, traceparent=batch.traceparent)
    content = await content_of(app, caller, command, member, execution)
    place = len(spec_of(batch).member_ids) + _position(member)
    content = content.but(
        batch=Membership(batch_id=batch.id, position=place),
        expected_version=await _version(app, batch, member, execution),
    )
    denial = _denial(app, batch, content)
    if denial is not None:
        return denial
    request = MutationRequest(
        id=app.ids.request_id(),
        audit_id=app.ids.audit_id(),
        content=content,
        requester=batch.requester,
        submitted_at=now,
        expires_at=expiry_of(
            lifetime_of(app), content, expires_at_of(app, command, execution), now
        ),
        traceparent=batch.traceparent,
        compensated_traceparents=traceparents_of(member, execution),
    )
    verdict = Verdict(
        effect=Effect.ALLOW,
        rules=(f"batch:{batch.id}",),
        policy_sha256=progress.verdict.policy_sha256 if progress.verdict is not None else b"",
    )
    ask = submitted(request, verdict=verdict, waits=(), actor=GOVERNOR, now=now)
    return taking_back(batch, ask, requested(member, request, actor=GOVERNOR, now=now), now)


def _denial(app: App, batch: MutationRequest, content: Content) -> Reason | None:
    """Policy's no to a rollback, which no approval passes. The batch's approval stands for every
    yes; that no rule speaks of the rollback is no denial, since the batch's approval does.
    """
    actor = content.context.actor
    asking = app.directory.identity(actor, batch.tenant)
    verdict = app.policy.evaluate(
        facts_of(content, asking or Identity(id=actor, person=batch.requester))
    )
    if verdict.effect is not Effect.DENY or verdict.reason is None:
        return None
    return None if verdict.reason.code == NO_RULE_MATCHED else verdict.reason


def _position(member: MutationRequest) -> int:
    membership = member.content.batch
    return membership.position if membership is not None else 0


async def _version(
    app: App, batch: MutationRequest, member: MutationRequest, execution: Execution
) -> str | None:
    """What the state must be at: what the member has led to, or where that was overwritten by a
    later member alone, what taking that one back has led to.

    Anything else that changed the state in between makes the rollback stale.
    """
    applied = execution.applied
    version = applied.resulting_version if applied is not None else None
    undone = batch.progress.batch.undone if batch.progress.batch is not None else ()
    for id in reversed(undone):
        later = await app.store.request(id)
        if later is None:
            raise Conflict(f"the member {id} cannot be read back")
        if later.slot != member.slot:
            continue
        before, after = await _outcome(app, later), later.progress.compensated_by
        back = await app.store.execution(after.execution_id) if after is not None else None
        is_next = before is not None and before.previous_version == version
        if is_next and back is not None and back.applied is not None:
            return back.applied.resulting_version
        break
    return version


async def _outcome(app: App, request: MutationRequest) -> Applied | None:
    id = request.progress.execution_id
    execution = await app.store.execution(id) if id is not None else None
    return execution.applied if execution is not None else None
