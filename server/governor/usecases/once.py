"""Running a mutating call once per idempotency key, whoever else is writing."""

from collections.abc import Awaitable, Callable

from governor.domain.errors import (
    Conflict,
    DirectoryUnavailable,
    EtagMismatch,
    GovernorError,
    HostUnavailable,
    Overloaded,
    RequestIdReused,
    StateBusy,
    StoreUnavailable,
)
from governor.domain.request import MutationRequest
from governor.usecases.app import App
from governor.usecases.commands import etag_of
from governor.usecases.commits import Committed, IdempotencyKey

_NOT_FOR_WHAT_WAS_READ = (
    StoreUnavailable,
    HostUnavailable,
    DirectoryUnavailable,
    Overloaded,
    RequestIdReused,
)
"""Refusals that do not depend on what a request looked like."""


async def once(
    app: App, key: IdempotencyKey, attempt: Callable[[], Awaitable[Committed]]
) -> Committed:
    """The answer of `attempt`, or the one that an earlier call with this key was given.

    `attempt` loads what it needs and commits under `key`; it runs again after a Conflict, a bounded
    number of times. Only when it is refused is an earlier answer looked for, so that the ordinary
    call pays nothing for it; and, once, whether what it was refused for was news of yesterday,
    because another replica has written since.
    """
    has_looked = False
    for _ in range(app.limits.conflict_retries_max):
        seen = app.store.head.revision
        try:
            return await attempt()
        except StateBusy as busy:
            return await _earlier(app, key, busy)
        except Conflict:
            continue
        except GovernorError as refusal:
            if not has_looked and not isinstance(refusal, _NOT_FOR_WHAT_WAS_READ):
                has_looked = True
                if await app.store.refresh(seen):
                    continue
            return await _earlier(app, key, refusal)
    raise Conflict("too many writers on the same request; nothing was done")


async def _earlier(app: App, key: IdempotencyKey, refusal: GovernorError) -> Committed:
    earlier = await app.store.replay(key)
    if earlier is None:
        raise refusal
    return earlier


def check_etag(request: MutationRequest, etag: str) -> None:
    """Raises EtagMismatch when `etag` is given and is not the request's."""
    if etag and etag != etag_of(request):
        raise EtagMismatch(etag)
