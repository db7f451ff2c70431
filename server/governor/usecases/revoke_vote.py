"""RevokeVote: somebody takes their own vote back, until the request is claimed."""

from governor.domain.digest import fingerprint
from governor.domain.voting import revoked
from governor.usecases.access import authorised_request
from governor.usecases.app import App
from governor.usecases.commands import Caller, Changed, RevokeVote
from governor.usecases.commits import Commit, Committed, IdempotencyKey
from governor.usecases.once import check_etag, once


async def revoke_vote(app: App, caller: Caller, command: RevokeVote) -> Changed:
    """Raises NotFound, MissingRole, EtagMismatch, IllegalTransition, NoVote, RequestIdReused,
    Conflict.

    The commit compares the revision that was seen, and so does the claim: one of the two wins.
    """
    request, _ = await authorised_request(app, caller, command.id, "RevokeVote")
    reason = command.reason
    key = IdempotencyKey(
        tenant=request.tenant,
        actor=caller.actor,
        rpc="RevokeVote",
        request_id=command.request_id,
        fingerprint=fingerprint(
            command.id,
            command.etag,
            reason.code,
            reason.message,
            reason.category,
            *(part for item in sorted(reason.metadata.items()) for part in item),
        ),
    )

    async def attempt() -> Committed:
        current, actor = await authorised_request(app, caller, command.id, "RevokeVote")
        check_etag(current, command.etag)
        step = revoked(current, actor=actor, reason=reason, now=app.clock.now())
        return await app.store.commit(
            Commit(requests=(step.request,), decisions=step.decisions, key=key)
        )

    committed = await once(app, key, attempt)
    return Changed(request=committed.requests[0], revision=committed.revision)
