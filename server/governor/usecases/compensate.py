"""Compensate: ask for a request that takes back, or puts right, what an executed one has done."""

from hashlib import sha256

from governor.domain.compensating import HostsWord, check_compensable, requested, undo_token
from governor.domain.compensation import Compensation, CompensationKind
from governor.domain.digest import fingerprint
from governor.domain.execution import Execution
from governor.domain.request import Content, MutationRequest, Payload, Reversibility, RuntimeContext
from governor.domain.values import Micros
from governor.usecases.access import authorised_request
from governor.usecases.app import App
from governor.usecases.commands import Caller, Changed, Compensate
from governor.usecases.commits import Commit, Committed, IdempotencyKey
from governor.usecases.once import check_etag, once
from governor.usecases.submit import commit_new, propose

MICROS = 1_000_000
_RPC = "Compensate"
_SHA256_OF_NOTHING = sha256(b"").digest()


async def compensate(app: App, caller: Caller, command: Compensate) -> Changed:
    """Raises NotFound, MissingRole, EtagMismatch, NotExecuted, AlreadyCompensated, NotReversible,
    UndoExpired, HostUnavailable where the host's promises are not known, and what submit raises.
    """
    original, _ = await authorised_request(app, caller, command.id, _RPC)
    key = IdempotencyKey(
        tenant=original.tenant,
        actor=caller.actor,
        rpc=_RPC,
        request_id=command.request_id,
        fingerprint=_fingerprint(command),
    )

    async def attempt() -> Committed:
        original, identity = await authorised_request(app, caller, command.id, _RPC)
        check_etag(original, command.etag)
        execution = await to_compensate(app, original)
        content = await content_of(app, caller, command, original, execution)
        step, waits = await propose(
            app,
            caller,
            identity,
            content,
            expires_at_of(app, command, execution),
            compensated_traceparents=traceparents_of(original, execution),
        )
        asked = requested(original, step.request, actor=identity, now=app.clock.now())
        return await commit_new(
            app,
            Commit(
                requests=(step.request, asked.request),
                decisions=(*step.decisions, *asked.decisions),
                guards=waits.guards,
                key=key,
            ),
        )

    committed = await once(app, key, attempt)
    return Changed(request=committed.requests[0], revision=committed.revision)


async def to_compensate(app: App, original: MutationRequest) -> Execution:
    """The execution that was applied, if nothing else makes it good already.

    Who comes second has lost the original's revision, comes again, and finds the first.
    """
    progress = original.progress
    earlier_id, execution_id = progress.compensation_id, progress.execution_id
    return check_compensable(
        original,
        await app.store.request(earlier_id) if earlier_id is not None else None,
        await app.store.execution(execution_id) if execution_id is not None else None,
    )


async def content_of(
    app: App, caller: Caller, command: Compensate, original: MutationRequest, execution: Execution
) -> Content:
    """What is asked: on the original's state, for the version that the original has led to."""
    content = original.content
    compensation = Compensation(
        request_id=original.id,
        execution_id=execution.id,
        kind=command.kind,
        trigger=command.trigger,
        reason=command.reason,
    )
    payload, mutation_type = command.payload, command.mutation_type
    expected_version = command.expected_version
    if compensation.is_rollback:
        token = await _undo_token(app, original, execution)
        compensation = compensation.but(undo_token=token)
        payload = mutation_type = expected_version = None
    if expected_version is None and execution.applied is not None:
        expected_version = execution.applied.resulting_version
    return Content(
        context=RuntimeContext(
            tenant=original.tenant,
            actor=caller.actor,
            environment=content.context.environment,
            service=content.context.service,
            region=content.context.region,
            correlation_id=content.context.correlation_id,
        ),
        mutation_type=mutation_type or content.mutation_type,
        state=original.state,
        payload=payload or _nothing(content.payload.content_type),
        expected_version=expected_version,
        stale_strategy=command.stale_strategy,
        intent=content.intent,
        justification=command.justification,
        execution_mode=command.execution_mode,
        compensation=compensation,
    )


async def _undo_token(app: App, original: MutationRequest, execution: Execution) -> bytes:
    capabilities = app.host.known_capabilities or await app.host.capabilities()
    host = HostsWord(
        rollback=capabilities.rollback,
        reversibility=capabilities.reversibility.get(
            original.content.mutation_type, Reversibility.UNSPECIFIED
        ),
    )
    return undo_token(original, execution, host, app.clock.now())


def expires_at_of(app: App, command: Compensate, execution: Execution) -> Micros | None:
    """When it expires, if that is not left to submission. A rollback lives no longer than its
    token, so that nobody approves what the host will refuse.
    """
    applied = execution.applied
    expires_at = command.expires_at
    is_rollback = command.kind is CompensationKind.ROLLBACK
    if not is_rollback or applied is None or applied.undo_expires_at is None:
        return expires_at
    if expires_at is None:
        lifetime_us = round(app.limits.request_lifetime_seconds * MICROS)
        expires_at = Micros(app.clock.now() + lifetime_us)
    return min(expires_at, applied.undo_expires_at)


def traceparents_of(original: MutationRequest, execution: Execution) -> tuple[str, ...]:
    """The traces that a compensation is linked to."""
    both = (original.traceparent, execution.traceparent)
    return tuple(traceparent for traceparent in both if traceparent)


def _nothing(content_type: str) -> Payload:
    """What a rollback has for an argument."""
    return Payload(content_type=content_type, sha256=_SHA256_OF_NOTHING)


def _fingerprint(command: Compensate) -> bytes:
    reason, payload = command.reason, command.payload
    return fingerprint(
        command.id,
        command.etag,
        command.kind,
        command.trigger,
        command.justification,
        command.stale_strategy,
        command.expires_at,
        command.execution_mode,
        payload.content_type if payload is not None else None,
        payload.data if payload is not None else None,
        command.mutation_type,
        command.expected_version,
        reason.code,
        reason.category,
        reason.message,
        *(part for item in sorted(reason.metadata.items()) for part in item),
    )
