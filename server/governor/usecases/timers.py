"""Durable timers: what is due is done when its time has come, or at the start after downtime."""

import asyncio
import logging
from heapq import heappop, heappush

from governor.domain.clocks import what_is_due
from governor.domain.errors import Conflict, Overloaded, StoreUnavailable
from governor.domain.request import MutationRequest
from governor.domain.values import Micros, RequestId
from governor.domain.workflow import Advance
from governor.usecases.app import App
from governor.usecases.batch_ends import whole
from governor.usecases.commits import Batch, Commit
from governor.usecases.questions import Due

log = logging.getLogger(__name__)

MICROS = 1_000_000

POSTPONED_MAX = 1_000
"""How many requests that failed to move are remembered; further ones are tried at each look."""

TOGETHER_MAX = 32
"""How many of them are in memory, with their payloads, and on their way to the disk at once."""

_Place = tuple[Micros, RequestId]
"""In the order of what falls due."""


class Timers:
    """All the clocks of domain/clocks.py. The rows are the timers; this looks at them in time.

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
        while moved := await self._pass_over():
            done += moved
        return done

    async def next_moment(self) -> Micros | None:
        """When to look next. None: nothing is due at any time.

        What is postponed stays due all the while, and hides what is due next: then the longest
        pause brings that about.
        """
        due_at = await self._app.store.next_due()
        if due_at is None or not self._postponed:
            return due_at
        return max(due_at, min(self._postponed.values()))

    async def _pass_over(self) -> int:
        """One pass over what is due, in the order of its moments, page by page.

        A page begins after the last one, so that none grows with what is postponed. What a step
        makes due by now has its place among the rest of the page, or on a later one.
        """
        done, after = 0, None
        self._forget_postponed()
        while page := await self._due_after(after):
            after = page[-1]
            ahead = [(due.at, due.id) for due in page]
            while ahead:
                done += await self._wave(ahead, until=(after.at, after.id))
        return done

    async def _due_after(self, after: Due | None) -> tuple[Due, ...]:
        page = self._app.limits.timer_page
        return await self._app.store.due(until=self._app.clock.now(), limit=page, after=after)

    async def _wave(self, ahead: list[_Place], *, until: _Place) -> int:
        """Takes the first of what lies ahead, up to what has to wait for one of them.

        Each is a commit of its own. They are read together, and handed to the store in their order
        and together, so that they are not a wait for the disk each.
        """
        taken = self._take(ahead)
        requests = await asyncio.gather(*(self._app.store.request(id) for _, id in taken))
        commits: dict[RequestId, asyncio.Task[bool]] = {}
        for number, (place, request) in enumerate(zip(taken, requests, strict=True)):
            if ahead and ahead[0] < place:
                for later in taken[number:]:
                    heappush(ahead, later)
                break
            step = self._due_step(place[1], request)
            if step is None:
                continue
            commits[place[1]] = asyncio.create_task(self._fire(step))
            next_at = step.request.due_at
            if next_at is not None and (next_at, place[1]) <= until:
                heappush(ahead, (next_at, place[1]))
        outcomes = await asyncio.gather(*commits.values(), return_exceptions=True)
        done = 0
        for id, outcome in zip(commits, outcomes, strict=True):
            done += await self._again(id) if isinstance(outcome, Conflict) else outcome is True
        for outcome in outcomes:
            if isinstance(outcome, BaseException) and not isinstance(outcome, Conflict):
                raise outcome  # the next look begins where this one ends
        return done

    def _take(self, ahead: list[_Place]) -> list[_Place]:
        """The first places of different requests, but for what is postponed."""
        taken: list[_Place] = []
        ids: set[RequestId] = set()
        while ahead and len(taken) < TOGETHER_MAX and ahead[0][1] not in ids:
            place = heappop(ahead)
            if place[1] not in self._postponed:
                taken.append(place)
                ids.add(place[1])
        return taken

    async def _again(self, id: RequestId) -> bool:
        """Somebody changed it in that moment: once more, within the usual bound."""
        for _ in range(self._app.limits.conflict_retries_max):
            step = self._due_step(id, await self._app.store.request(id))
            if step is None:
                return False
            try:
                return await self._fire(step)
            except Conflict:
                continue
        self._postpone(id)
        return False

    def _due_step(self, id: RequestId, request: MutationRequest | None) -> Advance | None:
        """What its time brings a request now; None when that is nothing, or goes wrong."""
        try:
            return what_is_due(request, self._app.clock.now()) if request is not None else None
        except Exception as fault:  # noqa: BLE001 - whatever it is, it is this item's alone
            self._failed(id, fault)
            return None

    async def _fire(self, step: Advance) -> bool:
        """Whether it is committed. A fault of this item postpones it; others are raised."""
        try:
            self._app.failpoints("timer.before_fire")
            commit = Commit(requests=(step.request,), decisions=step.decisions)
            await self._app.store.commit(await whole(self._app, commit))
            self._app.failpoints("timer.after_fire")
        except (Conflict, StoreUnavailable, Overloaded):
            raise
        except Exception as fault:  # noqa: BLE001 - whatever it is, it is this item's alone
            self._failed(step.request.id, fault)
            return False
        return True

    def _failed(self, id: RequestId, fault: Exception) -> None:
        self._postpone(id)
        told = {"request": id}
        log.error("a timer failed and is tried again later", extra=told, exc_info=fault)

    def _postpone(self, id: RequestId) -> None:
        if len(self._postponed) < POSTPONED_MAX:
            self._postponed[id] = Micros(self._app.clock.now() + self._retry_us)

    def _forget_postponed(self) -> None:
        """Those whose pause is over; also those that a clock which was set back makes wait longer
        than a pause.
        """
        now = self._app.clock.now()
        latest = now + self._retry_us
        self._postponed = {id: t for id, t in self._postponed.items() if now < t <= latest}

    @property
    def _retry_us(self) -> int:
        return round(self._app.limits.timer_retry_seconds * MICROS)

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
