"""Cancel: withdraw a request, fencing its execution in the host first where there is one."""

from governor.domain.batches import stopped
from governor.domain.digest import fingerprint
from governor.domain.request import MutationRequest, Status
from governor.domain.workflow import Advance, canceled
from governor.usecases.access import authorised_request
from governor.usecases.app import App
from governor.usecases.batch_ends import check_cancelable
from governor.usecases.commands import Caller, Cancel, Changed
from governor.usecases.commits import Commit, Committed, IdempotencyKey
from governor.usecases.once import check_etag, once
from governor.usecases.withdraw import withdraw


async def cancel(app: App, caller: Caller, command: Cancel) -> Changed:
    """Raises NotFound, MissingRole, EtagMismatch, IllegalTransition (also when the execution turned
    out to be applied), HostUnavailable when it cannot be fenced, BatchGoverns for a member whose
    turn has not come, RequestIdReused, Conflict.

    A batch that is executed is stopped: nothing further of it is begun, and it goes on to its end.
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
        current = await app.store.request(command.id)
        if current is not None:
            check_etag(current, command.etag)
            check_cancelable(current)
            if current.is_batch and current.status is Status.EXECUTING:
                stop = stopped(
                    current, actor=identity, now=app.clock.now(), comment=command.comment
                )
                return await app.store.commit(
                    Commit(requests=(stop.request,), decisions=stop.decisions, key=key)
                )
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
