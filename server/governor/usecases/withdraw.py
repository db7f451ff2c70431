"""Ending a request that may be executing: what cancel and supersede have in common."""

import asyncio
from collections.abc import Callable

from governor.domain.errors import NotFound
from governor.domain.executing import withdrawn
from governor.domain.request import MutationRequest, Status
from governor.domain.values import Identity, RequestId
from governor.domain.workflow import Advance
from governor.usecases.app import App
from governor.usecases.batch_ends import whole
from governor.usecases.commits import Commit, Committed
from governor.usecases.once import check_etag


async def withdraw(
    app: App,
    id: RequestId,
    *,
    etag: str,
    actor: Identity,
    end: Callable[[MutationRequest], Advance],
    commit: Commit,
) -> Committed:
    """Commits `end` of the request together with what `commit` holds already.

    Raises IllegalTransition when the request has ended, also when fencing its execution brought to
    light that it was applied; HostUnavailable when the host could not be asked.
    """
    request = await app.store.request(id)
    if request is None:
        raise NotFound("mutation request", id)
    check_etag(request, etag)
    if request.status is not Status.EXECUTING:
        return await app.store.commit(await whole(app, _with(commit, end(request))))
    # Once begun, fencing runs to its end even if the caller hangs up: the execution must not be
    # left without an owner.
    fencing = asyncio.ensure_future(_fence_and_commit(app, request, actor, end, commit))
    fencing.add_done_callback(_refused)
    return await asyncio.shield(fencing)


async def _fence_and_commit(
    app: App,
    request: MutationRequest,
    actor: Identity,
    end: Callable[[MutationRequest], Advance],
    commit: Commit,
) -> Committed:
    end(request)  # refuses before the host is troubled
    async with app.executions.fenced(request, actor) as (standing, execution):
        step = withdrawn(execution, end(standing), attempts=0, now=app.clock.now())
        return await app.store.commit(
            commit.but(
                requests=(*commit.requests, step.request),
                executions=(step.execution,),
                decisions=(*commit.decisions, *step.decisions),
            )
        )


def _with(commit: Commit, step: Advance) -> Commit:
    return commit.but(
        requests=(*commit.requests, step.request),
        decisions=(*commit.decisions, *step.decisions),
    )


def _refused(fencing: asyncio.Future[Committed]) -> None:
    """Whoever has hung up is told of no refusal, and it is no fault that they are not."""
    if not fencing.cancelled():
        fencing.exception()
