"""Supersede: replace a request by a new one without votes, in one commit."""

from governor.domain.digest import fingerprint, submission_fingerprint
from governor.domain.errors import Conflict, InvalidField
from governor.domain.lifecycle import Trigger, check
from governor.domain.request import MutationRequest
from governor.domain.workflow import Advance, superseded
from governor.usecases.access import authorised_request
from governor.usecases.app import App
from governor.usecases.batch_ends import check_supersedable
from governor.usecases.commands import Caller, Changed, Supersede
from governor.usecases.commits import Commit, Committed, IdempotencyKey
from governor.usecases.depending import check_no_circle
from governor.usecases.once import check_etag, once
from governor.usecases.submit import check_ordinary, propose
from governor.usecases.withdraw import withdraw


async def supersede(app: App, caller: Caller, command: Supersede) -> Changed:
    """Raises what submit and cancel raise, InvalidField for another tenant or state, and
    DependencyCycle.
    """
    request, identity = await authorised_request(app, caller, command.id, "Supersede")
    check_supersedable(request)
    _check_same_state(request, command)
    check_ordinary(command.content, "replacement.mutation")
    key = IdempotencyKey(
        tenant=request.tenant,
        actor=caller.actor,
        rpc="Supersede",
        request_id=command.request_id,
        fingerprint=fingerprint(
            command.id, command.etag, submission_fingerprint(command.content, command.expires_at)
        ),
    )

    async def attempt() -> Committed:
        current, _ = await authorised_request(app, caller, command.id, "Supersede")
        check_etag(current, command.etag)
        check(current, Trigger.SUPERSEDED)
        walked = await check_no_circle(app, command.id, command.content.depends_on)
        try:
            step, waits = await propose(
                app,
                caller,
                identity,
                command.content,
                command.expires_at,
                supersedes=command.id,
            )
        except InvalidField as invalid:
            raise InvalidField(f"replacement.{invalid.field}", invalid.fact) from None

        def end(standing: MutationRequest) -> Advance:
            return superseded(standing, by=step.request.id, actor=identity, now=app.clock.now())

        return await withdraw(
            app,
            command.id,
            etag=command.etag,
            actor=identity,
            end=end,
            commit=Commit(
                requests=(step.request,),
                decisions=step.decisions,
                guards=tuple(dict.fromkeys((*walked, *waits.guards))),
                key=key,
            ),
        )

    committed = await once(app, key, attempt)
    replaced = await app.store.request(command.id)
    if replaced is None:
        raise Conflict("the replaced request cannot be read back")
    return Changed(request=committed.requests[0], revision=committed.revision, superseded=replaced)


def _check_same_state(request: MutationRequest, command: Supersede) -> None:
    content = command.content
    if request.content.compensation is not None:
        # The replacement would be none, and the original free for another.
        raise InvalidField("id", "is a compensation: cancel it and compensate anew")
    if content.context.tenant != request.tenant:
        raise InvalidField("replacement.context.tenant", "is not the replaced request's")
    if content.state != request.state:
        raise InvalidField("replacement.mutation.state", "is not the replaced request's")
    if command.id in content.depends_on:
        raise InvalidField("replacement.depends_on", "names the request that is replaced")
