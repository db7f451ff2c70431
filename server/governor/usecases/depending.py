"""Who waits for whom: what has taken a request's place, and whether requests wait in a circle."""

from collections.abc import Iterable
from typing import Final

from governor.domain.errors import DependencyCycle, Overloaded
from governor.domain.request import MutationRequest, PendingReason, Status
from governor.domain.values import RequestId, Revision
from governor.usecases.app import App

REPLACEMENTS_MAX: Final = 100
"""How often one request after the other may have been superseded. Beyond it counts as SUPERSEDED,
which is no execution."""

DEPENDENCIES_WALKED_MAX: Final = 1_000
"""How many requests are looked at before a replacement is taken to wait for nobody in a circle."""


def replacement_of(request: MutationRequest) -> RequestId | None:
    """The request that took its place; None while it stands for itself."""
    progress = request.progress
    return progress.superseded_by if progress.status is Status.SUPERSEDED else None


async def latest(app: App, id: RequestId) -> MutationRequest | None:
    """The request, or the last of those that took its place one after the other."""
    request = await app.store.request(id)
    for _ in range(REPLACEMENTS_MAX):
        replacement = replacement_of(request) if request is not None else None
        if replacement is None:
            break
        request = await app.store.request(replacement)
    return request


async def check_no_circle(
    app: App, replaced: RequestId, depends_on: Iterable[RequestId]
) -> tuple[tuple[RequestId, Revision], ...]:
    """Whether a request that takes the place of `replaced` may wait for `depends_on`.

    Answers the revisions that this rests on: two replacements at once must not close a circle
    between them. A new request is in none, because nobody can name it before it is there.

    Raises DependencyCycle, and Overloaded when there is more to look at than the bound.
    """
    guards: dict[RequestId, Revision] = {}
    ahead = [(id, id) for id in depends_on]
    while ahead:
        id, by_way_of = ahead.pop()
        request = await latest(app, id)
        if replaced in (id, request.id if request is not None else id):
            raise DependencyCycle(by_way_of)
        if request is None or request.is_terminal or request.id in guards:
            continue
        if len(guards) == DEPENDENCIES_WALKED_MAX:
            raise Overloaded("DEPENDENCIES_WALKED_MAX", DEPENDENCIES_WALKED_MAX)
        guards[request.id] = request.revision
        if request.waits_for(PendingReason.DEPENDENCY):
            ahead.extend((next_id, by_way_of) for next_id in request.content.depends_on)
    return tuple(guards.items())
