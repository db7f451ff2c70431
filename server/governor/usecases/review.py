"""ReviewBreakGlass: somebody else looks at an emergency, whatever has become of the request."""

from governor.domain.digest import fingerprint
from governor.domain.emergency import reviewed
from governor.domain.values import Reason, RequestId
from governor.usecases.access import authorised_request
from governor.usecases.app import App
from governor.usecases.commands import Caller, Changed, ReviewBreakGlass
from governor.usecases.commits import Commit, Committed, IdempotencyKey
from governor.usecases.once import check_etag, once

_RPC = "ReviewBreakGlass"


async def review_break_glass(app: App, caller: Caller, command: ReviewBreakGlass) -> Changed:
    """Raises NotFound, MissingRole, EtagMismatch, NoReviewOpen, DigestMismatch, NotEligible,
    RequestIdReused, Conflict.
    """
    request, _ = await authorised_request(app, caller, command.id, _RPC)
    key = IdempotencyKey(
        tenant=request.tenant,
        actor=caller.actor,
        rpc=_RPC,
        request_id=command.request_id,
        fingerprint=fingerprint(
            command.id, command.etag, command.digest, command.justified, *_said(command.reason)
        ),
    )

    async def attempt() -> Committed:
        current, reviewer = await authorised_request(app, caller, RequestId(command.id), _RPC)
        check_etag(current, command.etag)
        step = reviewed(
            current,
            reviewer=reviewer,
            seen_digest=command.digest,
            justified=command.justified,
            reason=command.reason,
            now=app.clock.now(),
        )
        return await app.store.commit(
            Commit(requests=(step.request,), decisions=step.decisions, key=key)
        )

    committed = await once(app, key, attempt)
    return Changed(request=committed.requests[0], revision=committed.revision)


def _said(reason: Reason) -> tuple[str, ...]:
    metadata = (part for item in sorted(reason.metadata.items()) for part in item)
    return (reason.code, reason.category, reason.message, *metadata)
