"""Requests that wait for other requests: let go, or rejected, when those have ended."""

import asyncio
import logging

from governor.domain.errors import Conflict, IllegalTransition
from governor.domain.request import MutationRequest, PendingReason, Status
from governor.domain.values import RequestId
from governor.domain.workflow import Advance, dependency_failed, reason_resolved
from governor.usecases.app import App
from governor.usecases.patience import persistently
from governor.usecases.ports import Batch, Commit, Cursor

log = logging.getLogger(__name__)

RECOVERY_PAGE = 200


class Dependencies:
    """Who waits for whom. Learns of it from the store's batches, and from the store at start."""

    def __init__(self) -> None:
        self._app: App
        self._dependents: dict[RequestId, set[RequestId]] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def attach(self, app: App) -> None:
        """Ties it to its application and begins to listen to the store."""
        self._app = app
        app.store.listen(self._notice)

    async def start(self) -> None:
        """Looks at everything that waited when the former process stopped."""
        cursor: Cursor | None = None
        while page := await self._app.store.unfinished(after=cursor, limit=RECOVERY_PAGE):
            for request in page:
                if request.waits_for(PendingReason.DEPENDENCY):
                    self._remember(request)
                    self._spawn(request.id)
            cursor = Cursor(revision=page[-1].submitted_revision, id=page[-1].id)

    async def stop(self) -> None:
        """Leaves the rest for the next start."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def waiting_for(self, id: RequestId) -> frozenset[RequestId]:
        """Who is to be looked at when this request ends."""
        return frozenset(self._dependents.get(id, ()))

    def _notice(self, batch: Batch) -> None:
        for commit in batch.commits:
            if commit.replayed:
                continue
            for request in commit.requests:
                if request.waits_for(PendingReason.DEPENDENCY):
                    self._remember(request)
                else:
                    self._forget(request)
                if request.is_terminal:
                    for dependent in sorted(self._dependents.pop(request.id, ())):
                        self._spawn(dependent)

    def _remember(self, request: MutationRequest) -> None:
        for id in request.content.depends_on:
            self._dependents.setdefault(id, set()).add(request.id)

    def _forget(self, request: MutationRequest) -> None:
        """It waits no longer; what it depended on may have ended long ago, or go on for ever."""
        for id in request.content.depends_on:
            dependents = self._dependents.get(id, set())
            dependents.discard(request.id)
            if not dependents:
                self._dependents.pop(id, None)

    def _spawn(self, dependent: RequestId) -> None:
        task = asyncio.get_running_loop().create_task(self._look_again(dependent))
        self._tasks.add(task)
        task.add_done_callback(self._finished)

    def _finished(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (failure := task.exception()) is not None:
            log.error("a dependency could not be looked at", exc_info=failure)

    async def _look_again(self, id: RequestId) -> None:
        while True:
            request = await persistently(self._app, self._app.store.request, id)
            if request is None or not request.waits_for(PendingReason.DEPENDENCY):
                return
            step = await persistently(self._app, self._step, request)
            if step is None:
                return
            commit = Commit(requests=(step.request,), decisions=step.decisions)
            try:
                await persistently(self._app, self._app.store.commit, commit)
            except (Conflict, IllegalTransition):
                continue
            return

    async def _step(self, request: MutationRequest) -> Advance | None:
        """What follows for `request`; None while it still has to wait."""
        now = self._app.clock.now()
        waits = False
        for id in request.content.depends_on:
            dependency = await self._app.store.request(id)
            if dependency is None or not dependency.is_terminal:
                waits = True
            elif dependency.status is not Status.EXECUTED:
                return dependency_failed(request, on=id, status=dependency.status, now=now)
        return None if waits else reason_resolved(request, PendingReason.DEPENDENCY, now=now)
