"""Durable timers: what is due is done when its time has come, or at the start after downtime."""

import asyncio
import logging

from governor.domain.emergency import review_due, review_overdue
from governor.domain.errors import Conflict, Overloaded, StoreUnavailable
from governor.domain.request import MutationRequest, PendingReason, Status
from governor.domain.values import Micros, RequestId
from governor.domain.workflow import Advance, expired, reason_resolved
from governor.usecases.app import App
from governor.usecases.ports import Batch, Commit

log = logging.getLogger(__name__)

MICROS = 1_000_000


class Timers:
    """Expiry, schedules and reviews. The rows are the timers; this only looks at them in time.

    Of several replicas one looks, for all: should two believe that they are the one, each thing is
    still done once, because it is committed on the revision that was seen. What another replica
    makes due is found by looking, Limits.timer_poll_seconds_max late at most.
    """

    def __init__(self) -> None:
        self._app: App
        self._postponed: dict[RequestId, Micros] = {}
        self._next: Micros | None = None
        self._sooner = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def attach(self, app: App) -> None:
        """Ties the timers to their application and begins to listen to the store."""
        self._app = app
        app.store.listen(self._notice)

    def start(self) -> None:
        """Begins with everything that came due while nobody looked."""
        self._task = asyncio.get_running_loop().create_task(self._run())

    async def stop(self) -> None:
        """Leaves the rest for the next start."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def run_due(self) -> int:
        """Does everything that is due now, earliest first; answers how many things were done.

        One item's failure is logged, postpones that item alone and leaves the others be.
        """
        done = 0
        while True:
            now = self._app.clock.now()
            self._postponed = {id: t for id, t in self._postponed.items() if t > now}
            page = self._app.limits.timer_page + len(self._postponed)
            ids = await self._app.store.due(until=now, limit=page)
            fresh = [id for id in ids if id not in self._postponed]
            if not fresh:
                return done
            for id in fresh:
                done += await self._fire(id, now)

    async def next_moment(self) -> Micros | None:
        """When to look next. None: nothing is due at any time.

        What is postponed stays due all the while, and hides what is due next: then the longest
        pause brings that about.
        """
        due_at = await self._app.store.next_due()
        if due_at is None or not self._postponed:
            return due_at
        return max(due_at, min(self._postponed.values()))

    async def _fire(self, id: RequestId, now: Micros) -> bool:
        try:
            request = await self._app.store.request(id)
            step = what_is_due(request, now) if request is not None else None
            if step is None:
                return False
            self._app.failpoints("timer.before_fire")
            await self._app.store.commit(Commit(requests=(step.request,), decisions=step.decisions))
            self._app.failpoints("timer.after_fire")
        except Conflict:
            return False  # somebody changed it meanwhile: the next look decides anew
        except (StoreUnavailable, Overloaded):
            raise  # no fault of this item: the next look begins where this one ends
        except Exception:
            pause = round(self._app.limits.timer_retry_seconds * MICROS)
            self._postponed[id] = Micros(now + pause)
            log.exception("a timer failed and is tried again later", extra={"request": id})
            return False
        return True

    async def _run(self) -> None:
        while True:
            self._next = None  # unless somebody looks, and finds one
            try:
                if self._app.store.leads:
                    await self.run_due()
                    self._next = await self.next_moment()
            except Exception:
                log.exception("the timers could not look at the store; they try again")
            await self._pause()

    async def _pause(self) -> None:
        """Until the next thing is due, something sooner comes up, or the longest pause is over.

        The bound on the pause makes up for a wall clock that is set.
        """
        longest = self._app.limits.timer_poll_seconds_max
        if self._next is not None:
            longest = min(longest, max(0.0, (self._next - self._app.clock.now()) / MICROS))
        self._sooner.clear()
        try:
            async with asyncio.timeout(max(longest, 0.001)):
                await self._sooner.wait()
        except TimeoutError:
            return

    def _notice(self, batch: Batch) -> None:
        for commit in batch.commits:
            for request in commit.requests:
                due_at = request.due_at
                if due_at is not None and (self._next is None or due_at < self._next):
                    self._next = due_at
                    self._sooner.set()


def what_is_due(request: MutationRequest, now: Micros) -> Advance | None:
    """What its time brings a request: expiry before anything else that is not due before it. None:
    nothing yet.
    """
    due_at = request.due_at
    if due_at is None or due_at > now:
        return None
    if review_due(request) == due_at:
        return review_overdue(request, now=now)
    if request.expires_at <= now:
        return expired(request, now=now)
    if request.status is Status.PENDING and request.waits_for(PendingReason.SCHEDULE):
        return reason_resolved(request, PendingReason.SCHEDULE, now=now)
    return None
