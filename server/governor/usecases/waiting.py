"""Callers that wait, for a bounded time, until a request has changed."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from governor.domain.errors import Overloaded
from governor.domain.gating import calls_waiting
from governor.domain.request import ExecutionMode, MutationRequest, PendingReason, Status
from governor.domain.values import RequestId
from governor.usecases.app import App
from governor.usecases.commits import Batch


class Watch:
    """One caller's sight of a request: the newest that it was shown."""

    def __init__(self, request: MutationRequest) -> None:
        self.request = request
        self.is_behind = False
        self._changed = asyncio.Event()

    def show(self, request: MutationRequest) -> None:
        """What is older than what was shown before is passed over."""
        if request.revision > self.request.revision:
            self.request = request
            self._changed.set()

    def show_that_it_changed(self) -> None:
        """Another process has changed it; what it is now has to be read."""
        self.is_behind = True
        self._changed.set()

    async def change(self) -> None:
        """Returns when something newer was shown since the last call."""
        await self._changed.wait()
        self._changed.clear()


class Waiters:
    """Who waits for which request. Fed by the store's batches."""

    def __init__(self, *, waiters_max: int) -> None:
        self._waiters_max = waiters_max
        self._watches: dict[RequestId, dict[Watch, None]] = {}  # in the order of their coming
        self._count = 0

    def publish(self, batch: Batch) -> None:
        """Shows everybody who waits for a request of the batch what became of it."""
        if not self._watches:
            return
        if not batch.commits:
            for entry in batch.entries:
                for watch in self._watches.get(entry.request_id, ()):
                    watch.show_that_it_changed()
        for commit in batch.commits:
            if commit.replayed:
                continue
            for request in commit.requests:
                for watch in self._watches.get(request.id, ()):
                    watch.show(request)

    def look_again(self) -> None:
        """Everybody who waits asks anew whether there is something to wait for."""
        for watches in self._watches.values():
            for watch in watches:
                watch.show_that_it_changed()

    @contextmanager
    def watching(self, request: MutationRequest) -> Iterator[Watch]:
        """Sees every change that is published from now on. Raises Overloaded."""
        if self._count >= self._waiters_max:
            raise Overloaded("waiters_max", self._waiters_max)
        watch = Watch(request)
        watches = self._watches.setdefault(request.id, {})
        watches[watch] = None
        self._count += 1
        try:
            yield watch
        finally:
            self._count -= 1
            del watches[watch]
            if not watches:
                self._watches.pop(request.id, None)


async def wait_until(
    app: App,
    request: MutationRequest,
    enough: Callable[[MutationRequest], bool],
    *,
    timeout_seconds: float,
) -> tuple[MutationRequest, bool]:
    """The request as soon as it is `enough`, and whether it is; or as it stands in the end.

    Raises Overloaded when too many wait already.
    """
    if enough(request) or timeout_seconds <= 0:
        return request, enough(request)
    with app.waiters.watching(request) as watch:
        try:
            async with asyncio.timeout(timeout_seconds):
                # Whatever was published between reading `request` and watching is found here.
                watch.show(await app.store.request(request.id) or request)
                while not enough(watch.request):
                    await watch.change()
                    if watch.is_behind:
                        watch.is_behind = False
                        watch.show(await app.store.request(request.id) or request)
        except TimeoutError:
            return watch.request, False
        return watch.request, True


async def come_to_rest(app: App, request: MutationRequest, seconds: float) -> MutationRequest:
    """The request once it has ended or waits for somebody, at the latest after `seconds`."""
    # It may be an earlier call's answer: start from what stands now.
    current = await app.store.request(request.id) or request

    def rests(now: MutationRequest) -> bool:
        # Of a server that goes down, only what executes already may still come to something.
        return is_at_rest(now) or (
            app.executions.is_stopping and now.status is not Status.EXECUTING
        )

    rested, _ = await wait_until(
        app, current, rests, timeout_seconds=min(seconds, app.limits.wait_seconds_max)
    )
    return rested


def is_at_rest(request: MutationRequest) -> bool:
    """Whether nothing more happens to it unless somebody acts or a time comes."""
    match request.status:
        case Status.EXECUTING:
            return False
        case Status.APPROVED:
            return request.content.execution_mode is ExecutionMode.ON_EXECUTE
        case Status.PENDING:
            pending = request.progress.pending
            if request.waits_for(PendingReason.REVALIDATION):
                return False
            return len(calls_waiting(request)) < len(pending)  # Governor is not asking for it all
        case _:
            return True
