"""The RPCs that change something: each decodes, asks one use case, and encodes its answer."""

from typing import Final, TypeVar

from governance.v1 import governance_service_pb2 as wire
from governance.v1 import mutation_pb2, request_pb2
from governor.domain.approval import VoteKind
from governor.domain.errors import InvalidField
from governor.domain.values import ExecutionId, Reason, RequestId
from governor.usecases import (
    cancel,
    compensate,
    execute,
    resolve,
    resolve_pending,
    review,
    revoke_vote,
    submit,
    submit_batch,
    supersede,
    trust,
    vote,
)
from governor.usecases.app import App
from governor.usecases.commands import (
    Caller,
    Cancel,
    CastVote,
    Changed,
    Compensate,
    Execute,
    ResolveExecution,
    ResolvePending,
    ReviewBreakGlass,
    RevokeVote,
    Submit,
    SubmitBatch,
    Supersede,
    TrustHost,
)
from governor.wire.codec import enums, submission, values
from governor.wire.codec.execution import put_execution, put_validation
from governor.wire.codec.request import put_request

APPROVED: Final = "APPROVED"
"""The code of an approver's comment; only rejections choose their own."""


async def submit_mutation(
    app: App, caller: Caller, request: wire.SubmitRequest
) -> wire.SubmitResponse:
    _check_actor(request.context, caller, "context.actor")
    done = await submit.submit(
        app,
        caller,
        Submit(
            request_id=request.request_id,
            content=submission.content(request, caller.actor),
            expires_at=submission.optional_moment(request, "expire_time"),
            break_glass=(
                request.break_glass.justification if request.HasField("break_glass") else None
            ),
            validate_only=request.validate_only,
            wait_seconds=values.span_seconds(request.wait) if request.HasField("wait") else None,
        ),
    )
    response = wire.SubmitResponse(revision=done.revision)
    put_request(response.request, done.request)
    if done.preview is not None:
        put_validation(response.preview, done.preview)
    return response


async def submit_batch_of(
    app: App, caller: Caller, request: wire.SubmitBatchRequest
) -> wire.SubmitBatchResponse:
    for position, member in enumerate(request.members):
        _check_actor(member.context, caller, f"members[{position}].context.actor")
    done = await submit_batch.submit_batch(
        app,
        caller,
        SubmitBatch(
            request_id=request.request_id,
            members=tuple(submission.content(one, caller.actor) for one in request.members),
            ordering=enums.BATCH_ORDERING.to_domain[request.ordering],
            failure_mode=enums.BATCH_FAILURE_MODE.to_domain[request.failure_mode],
            decision_mode=enums.BATCH_DECISION_MODE.to_domain[request.decision_mode],
            expires_at=submission.optional_moment(request, "expire_time"),
            justification=request.justification,
        ),
    )
    response = wire.SubmitBatchResponse(revision=done.revision)
    put_request(response.batch, done.batch)
    for one in done.members:
        put_request(response.members.add(), one, with_data=False)
    return response


async def approve(app: App, caller: Caller, request: wire.ApproveRequest) -> wire.ApproveResponse:
    comment = request.comment
    changed = await vote.vote(
        app,
        caller,
        CastVote(
            request_id=request.request_id,
            id=RequestId(request.id),
            kind=enums.VOTE_KIND.to_domain[request.meaning or request_pb2.VOTE_KIND_APPROVE],
            digest=request.request_digest,
            plan_digest=request.plan_digest,
            etag=request.etag,
            reason=Reason(code=APPROVED, message=comment) if comment else None,
            on_behalf_of=request.on_behalf_of,
        ),
    )
    return _changed(wire.ApproveResponse(), changed)


async def reject(app: App, caller: Caller, request: wire.RejectRequest) -> wire.RejectResponse:
    changed = await vote.vote(
        app,
        caller,
        CastVote(
            request_id=request.request_id,
            id=RequestId(request.id),
            kind=VoteKind.REJECT,
            digest=request.request_digest,
            plan_digest=request.plan_digest,
            etag=request.etag,
            reason=values.reason(request.reason),
            on_behalf_of=request.on_behalf_of,
        ),
    )
    return _changed(wire.RejectResponse(), changed)


async def revoke(
    app: App, caller: Caller, request: wire.RevokeVoteRequest
) -> wire.RevokeVoteResponse:
    changed = await revoke_vote.revoke_vote(
        app,
        caller,
        RevokeVote(
            request_id=request.request_id,
            id=RequestId(request.id),
            reason=values.reason(request.reason),
            etag=request.etag,
        ),
    )
    return _changed(wire.RevokeVoteResponse(), changed)


async def review_break_glass(
    app: App, caller: Caller, request: wire.ReviewBreakGlassRequest
) -> wire.ReviewBreakGlassResponse:
    changed = await review.review_break_glass(
        app,
        caller,
        ReviewBreakGlass(
            request_id=request.request_id,
            id=RequestId(request.id),
            digest=request.request_digest,
            justified=request.justified,
            reason=values.reason(request.reason),
            etag=request.etag,
        ),
    )
    return _changed(wire.ReviewBreakGlassResponse(), changed)


async def resolve_pending_reason(
    app: App, caller: Caller, request: wire.ResolvePendingRequest
) -> wire.ResolvePendingResponse:
    changed = await resolve_pending.resolve_pending(
        app,
        caller,
        ResolvePending(
            request_id=request.request_id,
            id=RequestId(request.id),
            etag=request.etag,
            digest=request.request_digest,
            reason=enums.PENDING_REASON.to_domain[request.reason],
            name=request.name,
            passed=request.outcome == wire.PENDING_OUTCOME_PASSED,
            finding=values.reason(request.finding),
        ),
    )
    return _changed(wire.ResolvePendingResponse(), changed)


async def cancel_request(
    app: App, caller: Caller, request: wire.CancelRequest
) -> wire.CancelResponse:
    changed = await cancel.cancel(
        app,
        caller,
        Cancel(
            request_id=request.request_id,
            id=RequestId(request.id),
            etag=request.etag,
            comment=request.comment,
        ),
    )
    return _changed(wire.CancelResponse(), changed)


async def supersede_request(
    app: App, caller: Caller, request: wire.SupersedeRequest
) -> wire.SupersedeResponse:
    replacement = request.replacement
    _check_actor(replacement.context, caller, "replacement.context.actor")
    changed = await supersede.supersede(
        app,
        caller,
        Supersede(
            request_id=request.request_id,
            id=RequestId(request.id),
            content=submission.content(replacement, caller.actor),
            expires_at=submission.optional_moment(replacement, "expire_time"),
            etag=request.etag,
        ),
    )
    response = _changed(wire.SupersedeResponse(), changed)
    if changed.superseded is not None:
        put_request(response.superseded, changed.superseded)
    return response


async def execute_request(
    app: App, caller: Caller, request: wire.ExecuteRequest
) -> wire.ExecuteResponse:
    changed = await execute.execute(
        app,
        caller,
        Execute(
            request_id=request.request_id,
            id=RequestId(request.id),
            etag=request.etag,
            wait_seconds=values.span_seconds(request.wait) if request.HasField("wait") else None,
        ),
    )
    response = _changed(wire.ExecuteResponse(), changed)
    if changed.execution is not None:
        put_execution(response.execution, changed.execution)
    return response


async def resolve_execution(
    app: App, caller: Caller, request: wire.ResolveExecutionRequest
) -> wire.ResolveExecutionResponse:
    found = enums.OUTCOME_CLAIM.to_domain[request.outcome]
    changed = await resolve.resolve_execution(
        app,
        caller,
        ResolveExecution(
            request_id=request.request_id,
            execution_id=ExecutionId(request.execution_id),
            resulting_version=request.resulting_version if found is enums.Found.APPLIED else None,
            reason=values.reason(request.reason),
            etag=request.etag,
        ),
    )
    response = _changed(wire.ResolveExecutionResponse(), changed)
    if changed.execution is not None:
        put_execution(response.execution, changed.execution)
    return response


async def compensate_request(
    app: App, caller: Caller, request: wire.CompensateRequest
) -> wire.CompensateResponse:
    changed = await compensate.compensate(
        app,
        caller,
        Compensate(
            request_id=request.request_id,
            id=RequestId(request.id),
            etag=request.etag,
            kind=enums.COMPENSATION_KIND.to_domain[request.kind],
            trigger=enums.COMPENSATION_TRIGGER.to_domain[request.trigger],
            reason=values.reason(request.reason),
            justification=request.justification,
            stale_strategy=enums.STALE_STRATEGY.to_domain[request.stale_strategy],
            expires_at=submission.optional_moment(request, "expire_time"),
            execution_mode=enums.EXECUTION_MODE.to_domain[request.execution_mode],
            payload=submission.payload(request.payload) if request.HasField("payload") else None,
            mutation_type=request.mutation_type or None,
            expected_version=(
                request.expected_version if request.HasField("expected_version") else None
            ),
        ),
    )
    return _changed(wire.CompensateResponse(), changed)


async def trust_host(
    app: App, caller: Caller, request: wire.TrustHostRequest
) -> wire.TrustHostResponse:
    trusted = await trust.trust_host(
        app,
        caller,
        TrustHost(
            request_id=request.request_id,
            tenant=request.tenant,
            lineage_id=request.lineage_id,
            reason=values.reason(request.reason),
        ),
    )
    return wire.TrustHostResponse(lineage_id=trusted.lineage_id, revision=trusted.revision)


_Changed = TypeVar(
    "_Changed",
    wire.ApproveResponse,
    wire.RejectResponse,
    wire.RevokeVoteResponse,
    wire.ResolvePendingResponse,
    wire.ReviewBreakGlassResponse,
    wire.CancelResponse,
    wire.SupersedeResponse,
    wire.ExecuteResponse,
    wire.ResolveExecutionResponse,
    wire.CompensateResponse,
)


def _changed(response: _Changed, changed: Changed) -> _Changed:
    put_request(response.request, changed.request)
    response.revision = changed.revision
    return response


def _check_actor(context: mutation_pb2.RuntimeContext, caller: Caller, field: str) -> None:
    if context.actor and context.actor != caller.actor:
        raise InvalidField(field, "is not the caller; leave it empty")
