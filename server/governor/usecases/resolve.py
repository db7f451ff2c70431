"""ResolveExecution: a person says what became of an execution in doubt."""

from governor.domain.auditing import audited
from governor.domain.digest import fingerprint
from governor.domain.errors import Conflict, NotFound
from governor.domain.execution import Applied
from governor.usecases.access import authorised_request
from governor.usecases.app import App
from governor.usecases.commands import Caller, Changed, ResolveExecution
from governor.usecases.commits import Committed, IdempotencyKey
from governor.usecases.once import check_etag, once
from governor.usecases.outcomes import outcome_commit


async def resolve_execution(app: App, caller: Caller, command: ResolveExecution) -> Changed:
    """Raises NotFound, MissingRole, EtagMismatch, NotInDoubt, RequestIdReused, Conflict."""
    known = await app.store.execution(command.execution_id)
    if known is None or app.directory.identity(caller.actor, known.tenant) is None:
        raise NotFound("execution", command.execution_id)
    request, actor = await authorised_request(app, caller, known.request_id, "ResolveExecution")
    reason, version = command.reason, command.resulting_version
    key = IdempotencyKey(
        tenant=request.tenant,
        actor=caller.actor,
        rpc="ResolveExecution",
        request_id=command.request_id,
        fingerprint=fingerprint(
            command.execution_id,
            command.etag,
            version,
            reason.code,
            reason.message,
            *(part for item in sorted(reason.metadata.items()) for part in item),
        ),
    )

    async def attempt() -> Committed:
        current = await app.store.request(known.request_id)
        execution = await app.store.execution(command.execution_id)
        if current is None or execution is None:
            raise Conflict("the execution cannot be read back")
        check_etag(current, command.etag)
        step = audited(
            current,
            execution,
            found=None if version is None else Applied(resulting_version=version),
            actor=actor,
            now=app.clock.now(),
            reason=reason,
        )
        outcome = await outcome_commit(app, step)
        return await app.store.commit(outcome.but(key=key))

    committed = await once(app, key, attempt)
    return Changed(
        request=committed.requests[0],
        revision=committed.revision,
        execution=committed.executions[0],
    )
