"""Cancel: withdraw a request, fencing its execution in the host first where there is one."""

from governor.domain.digest import fingerprint
from governor.domain.request import MutationRequest
from governor.domain.workflow import Advance, canceled
from governor.usecases.access import authorised_request
from governor.usecases.app import App
from governor.usecases.commands import Caller, Cancel, Changed
from governor.usecases.once import once
from governor.usecases.ports import Commit, Committed, IdempotencyKey
from governor.usecases.withdraw import withdraw


async def cancel(app: App, caller: Caller, command: Cancel) -> Changed:
    """Raises NotFound, MissingRole, EtagMismatch, IllegalTransition (also when the execution turned
    out to be applied), HostUnavailable when it cannot be fenced, RequestIdReused, Conflict.
    """
    request, identity = await authorised_request(app, caller, command.id, "Cancel")
    key = IdempotencyKey(
        tenant=request.tenant,
        actor=caller.actor,
        rpc="Cancel",
        request_id=command.request_id,
        fingerprint=fingerprint(command.id, command.etag, command.comment),
    )

    def end(current: MutationRequest) -> Advance:
        return canceled(current, actor=identity, now=app.clock.now(), comment=command.comment)

    async def attempt() -> Committed:
        return await withdraw(
            app,
            command.id,
            etag=command.etag,
            actor=identity,
            end=end,
            commit=Commit(decisions=(), key=key),
        )

    committed = await once(app, key, attempt)
    return Changed(request=committed.requests[0], revision=committed.revision)
