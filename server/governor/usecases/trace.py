"""TraceRequest: everything that came of a request, and all that it came of, as far as links go."""

import asyncio
from collections import deque
from collections.abc import Iterator
from typing import Final

from governor.domain.request import MutationRequest
from governor.domain.values import RequestId, Revision, Value
from governor.usecases.access import authorised_request
from governor.usecases.app import App
from governor.usecases.commands import Caller
from governor.usecases.query import reach
from governor.usecases.questions import Link, LinkKind, RequestQuery

FOLLOWED: Final = (
    LinkKind.COMPENSATES,
    LinkKind.SUPERSEDES,
    LinkKind.DEPENDS_ON,
    LinkKind.CAUSATION,
    LinkKind.MEMBER_OF,
)
"""The links that lead from one request to another. A correlation is what many share, and no link
between any two of them."""


class RequestLink(Value, frozen=True, kw_only=True):
    """`source` depends on, replaced, was caused by, compensates, or is a member of `target`."""

    kind: LinkKind
    source: RequestId
    target: RequestId


class Trace(Value, frozen=True, kw_only=True):
    """Requests, nearest first, with every link among them. `truncated`: there is more."""

    requests: tuple[MutationRequest, ...]
    links: tuple[RequestLink, ...]
    truncated: bool


async def trace_request(
    app: App, caller: Caller, id: RequestId, *, requests_max: int, min_revision: int
) -> Trace:
    """Walks the links both ways, breadth first, within the request's tenant.

    Raises NotFound, MissingRole, RevisionAhead.
    """
    await reach(app, Revision(min_revision))
    first, _ = await authorised_request(app, caller, id, "TraceRequest")
    walk = _Walk(app, first, requests_max)
    return await walk.finish()


class _Walk:
    """One traversal. What is found takes its place at once; what has no place left is more."""

    def __init__(self, app: App, first: MutationRequest, requests_max: int) -> None:
        self._app = app
        self._tenant = first.tenant
        self._requests_max = requests_max
        self._found: dict[RequestId, MutationRequest] = {first.id: first}
        self._ahead: deque[MutationRequest] = deque((first,))
        self._truncated = False

    async def finish(self) -> Trace:
        while self._ahead:
            request = self._ahead.popleft()
            for named in await self._named_by(request):
                self._meet(named)
            for naming in await self._naming(request):
                self._meet(naming)
        requests = tuple(self._found.values())
        links = (link for request in requests for link in links_of(request))
        return Trace(
            requests=requests,
            links=tuple(link for link in links if link.target in self._found),
            truncated=self._truncated,
        )

    def _meet(self, request: MutationRequest) -> None:
        if request.id in self._found:
            return
        if len(self._found) >= self._requests_max:
            self._truncated = True
            return
        self._found[request.id] = request
        self._ahead.append(request)

    async def _named_by(self, request: MutationRequest) -> list[MutationRequest]:
        """What it names; a causation may be the name of anything."""
        ids = dict.fromkeys(link.target for link in links_of(request))
        read = await asyncio.gather(*(self._app.store.request(id) for id in ids))
        return [one for one in read if one is not None and one.tenant == self._tenant]

    async def _naming(self, request: MutationRequest) -> list[MutationRequest]:
        """What names it. One more of each kind than there is room for tells that there is more."""
        pages = await asyncio.gather(
            *(
                self._app.store.requests(
                    RequestQuery(
                        tenant=self._tenant,
                        link=Link(kind=kind, id=request.id),
                        limit=self._requests_max + 1,
                    )
                )
                for kind in FOLLOWED
            )
        )
        return [one for page in pages for one in reversed(page)]


def links_of(request: MutationRequest) -> Iterator[RequestLink]:
    """The links that the request itself has, each once."""
    content = request.content
    if content.compensation is not None:
        yield _link(LinkKind.COMPENSATES, request, content.compensation.request_id)
    if request.supersedes is not None:
        yield _link(LinkKind.SUPERSEDES, request, request.supersedes)
    for id in dict.fromkeys(content.depends_on):
        yield _link(LinkKind.DEPENDS_ON, request, id)
    if content.context.causation_id:
        yield _link(LinkKind.CAUSATION, request, RequestId(content.context.causation_id))
    if content.batch is not None:
        yield _link(LinkKind.MEMBER_OF, request, content.batch.batch_id)


def _link(kind: LinkKind, source: MutationRequest, target: RequestId) -> RequestLink:
    return RequestLink(kind=kind, source=source.id, target=target)
