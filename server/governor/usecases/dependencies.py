"""Requests that wait for other requests: what follows when those have ended."""

import asyncio
import logging
from collections.abc import Sequence

from governor.domain.decision import Category
from governor.domain.errors import Conflict, IllegalTransition
from governor.domain.request import DependencyFailure, MutationRequest, PendingReason, Status
from governor.domain.values import RequestId
from governor.domain.workflow import Advance, dependencies_ended
from governor.usecases.app import App
from governor.usecases.commits import Batch, Commit
from governor.usecases.depending import REPLACEMENTS_MAX, replacement_of
from governor.usecases.patience import persistently

log = logging.getLogger(__name__)


class Dependencies:
    """Who waits for whom. Learns of it from the store's batches, and from what is adopted.

    One task looks at one request after another, so that the end of a request on which thousands
    wait is no burst.
    """

    def __init__(self) -> None:
        self._app: App
        self._waiting: dict[RequestId, set[RequestId]] = {}
        self._dependents: dict[RequestId, set[RequestId]] = {}
        # In the order in which they are to be looked at, each once. Bounded by those who wait.
        self._to_look_at: dict[RequestId, None] = {}
        self._task: asyncio.Task[None] | None = None

    def attach(self, app: App) -> None:
        """Ties it to its application and begins to listen to the store."""
        self._app = app
        app.store.listen(self._notice)

    def take_up(self, requests: Sequence[MutationRequest]) -> None:
        """Looks at everything that waited for whoever saw to it before."""
        for request in requests:
            if request.waits_for(PendingReason.DEPENDENCY):
                self._remember(request)
                self._look_at(request.id)

    async def stop(self) -> None:
        """Leaves the rest for the next start."""
        self._to_look_at.clear()
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    def waiting_for(self, id: RequestId) -> frozenset[RequestId]:
        """Who is to be looked at when this request ends."""
        return frozenset(self._dependents.get(id, ()))

    # --- What the batches say -------------------------------------------------------------------

    def _notice(self, batch: Batch) -> None:
        if not batch.commits:
            self._notice_entries(batch)
        for commit in batch.commits:
            if commit.replayed:
                continue
            for request in commit.requests:
                if not request.waits_for(PendingReason.DEPENDENCY):
                    self._forget(request.id)
                elif request.id not in self._waiting:
                    self._remember(request)
                    self._look_at(request.id)  # what it names may have been superseded long ago
                if request.is_terminal:
                    for dependent in sorted(self._dependents.get(request.id, ())):
                        self._look_at(dependent)

    def _notice_entries(self, batch: Batch) -> None:
        """What another process has changed is read again, if anybody here waits for it."""
        for entry in batch.entries:
            if entry.category is Category.LIFECYCLE:
                if entry.request_id in self._waiting:
                    self._look_at(entry.request_id)
                for dependent in sorted(self._dependents.get(entry.request_id, ())):
                    self._look_at(dependent)

    def _remember(self, request: MutationRequest) -> None:
        self._waiting.setdefault(request.id, set())
        for id in request.content.depends_on:
            self._watch(request.id, id)

    def _watch(self, dependent: RequestId, id: RequestId) -> None:
        if dependent in self._waiting:
            self._waiting[dependent].add(id)
            self._dependents.setdefault(id, set()).add(dependent)

    def _forget(self, dependent: RequestId) -> None:
        """It waits no longer; what it depended on may have ended long ago, or go on for ever."""
        for id in self._waiting.pop(dependent, ()):
            dependents = self._dependents.get(id, set())
            dependents.discard(dependent)
            if not dependents:
                self._dependents.pop(id, None)

    # --- Looking again --------------------------------------------------------------------------

    def _look_at(self, dependent: RequestId) -> None:
        self._to_look_at[dependent] = None
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._run())

    async def _run(self) -> None:
        while self._to_look_at:
            dependent = next(iter(self._to_look_at))
            del self._to_look_at[dependent]
            try:
                await self._look_again(dependent)
            except Exception:
                log.exception("a dependency could not be looked at", extra={"request": dependent})

    async def _look_again(self, id: RequestId) -> None:
        while True:
            request = await persistently(self._app, self._app.store.request, id)
            if request is None or not request.waits_for(PendingReason.DEPENDENCY):
                self._forget(id)
                return
            step = await persistently(self._app, self._step, request)
            if step is None:
                return
            commit = Commit(requests=(step.request,), decisions=step.decisions)
            self._app.failpoints("dependency.before_commit")
            try:
                await persistently(self._app, self._app.store.commit, commit)
                self._app.failpoints("dependency.after_commit")
            except (Conflict, IllegalTransition):
                continue
            return

    async def _step(self, request: MutationRequest) -> Advance | None:
        """What follows for `request`; None while it still has to wait."""
        rejects = request.content.on_dependency_failure is DependencyFailure.REJECT
        now, waits = self._app.clock.now(), False
        failed: dict[RequestId, Status] = {}
        for id in request.content.depends_on:
            dependency = await self._follow(request.id, id)
            if dependency is None or not dependency.is_terminal:
                waits = True
            elif dependency.status is not Status.EXECUTED:
                failed[dependency.id] = dependency.status
                if rejects:
                    break
        if waits and not (failed and rejects):
            return None
        return dependencies_ended(request, failed=failed, now=now)

    async def _follow(self, dependent: RequestId, id: RequestId) -> MutationRequest | None:
        """The dependency, or what has taken its place; whose end is looked for as well.

        It is watched before it is read, so that an end in between is not missed.
        """
        request = None
        for _ in range(REPLACEMENTS_MAX + 1):
            self._watch(dependent, id)
            request = await self._app.store.request(id)
            replacement = replacement_of(request) if request is not None else None
            if replacement is None:
                break
            id = replacement
        return request
