"""Execute: start the execution of an approved request because somebody says so."""

from governor.domain.digest import fingerprint
from governor.domain.errors import NotFound
from governor.domain.lifecycle import Trigger, check
from governor.usecases.access import authorised_request
from governor.usecases.app import App
from governor.usecases.commands import Caller, Changed, Execute
from governor.usecases.commits import Committed, IdempotencyKey
from governor.usecases.once import check_etag, once
from governor.usecases.waiting import come_to_rest


async def execute(app: App, caller: Caller, command: Execute) -> Changed:
    """Raises NotFound, MissingRole, EtagMismatch, IllegalTransition, StateBusy, HostUnavailable,
    HostHeld, Overloaded, RequestIdReused, Conflict.
    """
    request, starter = await authorised_request(app, caller, command.id, "Execute")
    key = IdempotencyKey(
        tenant=request.tenant,
        actor=caller.actor,
        rpc="Execute",
        request_id=command.request_id,
        fingerprint=fingerprint(command.id, command.etag),
    )

    async def attempt() -> Committed:
        current = await app.store.request(command.id)
        if current is None:
            raise NotFound("mutation request", command.id)
        check_etag(current, command.etag)
        check(current, Trigger.CLAIMED)
        return await app.executions.claim_on_demand(current, starter, key)

    committed = await once(app, key, attempt)
    request = committed.requests[0]
    execution = committed.executions[0] if committed.executions else None
    if command.wait_seconds is not None:
        request = await come_to_rest(app, request, command.wait_seconds)
        if execution is not None:
            execution = await app.store.execution(execution.id)
    return Changed(request=request, revision=committed.revision, execution=execution)
