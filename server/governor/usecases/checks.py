"""Checks that outside services answer: each is asked for until there is an answer, or no time."""

import asyncio
import logging
from collections.abc import Sequence
from heapq import heappop, heappush
from typing import assert_never

from tenacity import AsyncRetrying, RetryCallState, wait_random_exponential

from governor.domain.decision import Category
from governor.domain.errors import Conflict, DigestMismatch, IllegalTransition, NotWaiting
from governor.domain.gating import calls_waiting, gate_answered
from governor.domain.request import MutationRequest, PendingReason
from governor.domain.values import GOVERNOR, Micros, Reason, RequestId
from governor.usecases.app import App
from governor.usecases.batch_ends import whole
from governor.usecases.commits import Batch, Commit
from governor.usecases.patience import persistently
from governor.usecases.ports import CheckAnswer, CheckOutcome

log = logging.getLogger(__name__)

MICROS = 1_000_000

Key = tuple[RequestId, str]
"""Which request waits for which check."""


class _Inquiry:
    """One check that a request waits for, since when, and how often it was asked for in vain."""

    __slots__ = ("failures", "is_in_hand", "is_parked", "retry_at", "since")

    def __init__(self, since: Micros) -> None:
        self.since = since
        self.failures = 0
        self.retry_at: Micros | None = None
        self.is_in_hand = False
        # The answer comes by ResolvePending, or there is nobody to ask: nothing is done but wait.
        self.is_parked = False


class Checking:
    """Asks for every check that is called, Limits.checks_running_max at once.

    It learns of them from the store's batches, and from what is adopted. What gives no answer is
    asked again after a pause that grows; the check's own clock ends that, by the timers, and then
    the answer is no. Of each check that is waited for there is a key and a few numbers in memory.
    """

    def __init__(self) -> None:
        self._app: App
        self._inquiries: dict[RequestId, dict[str, _Inquiry]] = {}
        # In the order in which they are asked for, each once.
        self._ready: dict[Key, None] = {}
        self._later: list[tuple[Micros, Key]] = []
        self._calls: set[asyncio.Task[None]] = set()
        self._alarm: asyncio.Task[None] | None = None
        self._is_stopping = False

    def attach(self, app: App) -> None:
        """Ties it to its application and begins to listen to the store."""
        self._app = app
        app.store.listen(self._notice)

    def take_up(self, requests: Sequence[MutationRequest]) -> None:
        """Asks for everything that whoever saw to it before has not been answered."""
        for request in requests:
            self._consider(request)
        self._pump()

    async def stop(self) -> None:
        """Leaves the rest for the next start; calls under way are given up."""
        self._is_stopping = True
        tasks = [*self._calls, *([self._alarm] if self._alarm else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    @property
    def waiting(self) -> int:
        """How many checks are waited for."""
        return sum(map(len, self._inquiries.values()))

    # --- What the batches say -------------------------------------------------------------------

    def _notice(self, batch: Batch) -> None:
        for commit in batch.commits:
            if commit.replayed:
                continue
            for request in commit.requests:
                self._consider(request)
        if not batch.commits and self._inquiries:
            self._notice_entries(batch)
        self._pump()

    def _notice_entries(self, batch: Batch) -> None:
        """What another process has changed is read again, if it is waited for here."""
        for entry in batch.entries:
            if entry.category is Category.LIFECYCLE and entry.request_id in self._inquiries:
                for name in self._inquiries[entry.request_id]:
                    self._ready[entry.request_id, name] = None

    def _consider(self, request: MutationRequest) -> None:
        waiting = calls_waiting(request)
        known = self._inquiries.get(request.id, {})
        if not waiting and not known:
            return
        inquiries: dict[str, _Inquiry] = {}
        for pending in waiting:
            inquiry = known.get(pending.name)
            if inquiry is None or inquiry.since != pending.since:
                inquiry = _Inquiry(pending.since)  # asked for anew: about another content, perhaps
                self._ready[request.id, pending.name] = None
            inquiries[pending.name] = inquiry
        if inquiries:
            self._inquiries[request.id] = inquiries
        else:
            del self._inquiries[request.id]

    # --- Asking ---------------------------------------------------------------------------------

    def _pump(self) -> None:
        while self._ready and not self._is_stopping:
            if len(self._calls) >= self._app.limits.checks_running_max:
                return
            id, name = next(iter(self._ready))
            del self._ready[id, name]
            inquiry = self._inquiries.get(id, {}).get(name)
            if inquiry is None or inquiry.is_in_hand:
                continue
            inquiry.is_in_hand, inquiry.retry_at = True, None
            task = asyncio.get_running_loop().create_task(self._ask(id, name, inquiry))
            self._calls.add(task)
            task.add_done_callback(self._finished)

    def _finished(self, task: asyncio.Task[None]) -> None:
        self._calls.discard(task)
        self._pump()

    async def _ask(self, id: RequestId, name: str, inquiry: _Inquiry) -> None:
        try:
            is_over = await self._ask_once(id, name, inquiry)
        except Exception:
            log.exception("a check could not be asked for", extra={"request": id, "check": name})
            is_over = False
        finally:
            inquiry.is_in_hand = False
        if not is_over:
            self._ask_again(id, name, inquiry)

    async def _ask_once(self, id: RequestId, name: str, inquiry: _Inquiry) -> bool:
        """Whether nothing more is to be done for now."""
        app = self._app
        request = await persistently(app, app.store.request, id)
        is_ours = await persistently(app, app.store.owns, id)
        if request is None or not is_ours or not _waits(request, name, inquiry):
            self._forget(id, name, inquiry)
            return True
        if inquiry.is_parked:
            return True
        answer = await app.checks.ask(name, request)
        match answer.outcome:
            case CheckOutcome.PASSED | CheckOutcome.FAILED:
                return await self._record(request, name, answer)
            case CheckOutcome.LATER | CheckOutcome.NOBODY:
                inquiry.is_parked = True
                return True
            case CheckOutcome.NONE:
                return False
            case _:
                assert_never(answer.outcome)

    async def _record(self, asked: MutationRequest, name: str, answer: CheckAnswer) -> bool:
        """Commits the answer to what was asked; one that comes too late changes nothing. Whether
        the check is over.
        """
        app = self._app
        while True:
            request = await persistently(app, app.store.request, asked.id)
            if request is None:
                return True
            try:
                step = gate_answered(
                    request,
                    reason=PendingReason.EXTERNAL_CHECK,
                    name=name,
                    passed=answer.outcome is CheckOutcome.PASSED,
                    seen_digest=asked.progress.digest,
                    actor=GOVERNOR,
                    finding=_finding(answer),
                    now=app.clock.now(),
                )
            except (IllegalTransition, NotWaiting):
                return True  # answered by somebody else, or ended
            except DigestMismatch:
                return False  # it is another content by now that is to be judged
            app.failpoints("check.before_commit")
            try:
                commit = Commit(requests=(step.request,), decisions=step.decisions)
                await persistently(app, app.store.commit, await whole(app, commit))
                app.failpoints("check.after_commit")
            except Conflict:
                continue
            return True

    def _forget(self, id: RequestId, name: str, inquiry: _Inquiry) -> None:
        inquiries = self._inquiries.get(id, {})
        if inquiries.get(name) is inquiry:
            del inquiries[name]
        if not inquiries:
            self._inquiries.pop(id, None)

    # --- Asking again ---------------------------------------------------------------------------

    def _ask_again(self, id: RequestId, name: str, inquiry: _Inquiry) -> None:
        if self._is_stopping:
            return
        inquiry.failures += 1
        pause = round(self._pause(inquiry.failures) * MICROS)
        inquiry.retry_at = Micros(self._app.clock.now() + pause)
        heappush(self._later, (inquiry.retry_at, (id, name)))
        if self._later[0][1] == (id, name) and self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None
        if self._alarm is None or self._alarm.done():
            self._alarm = asyncio.get_running_loop().create_task(self._wake())

    def _pause(self, failures: int) -> float:
        """Grows at random, so that those who were refused together do not come back together."""
        limits = self._app.limits
        grows = wait_random_exponential(
            multiplier=limits.check_pause_seconds_initial, max=limits.check_pause_seconds_max
        )
        state = RetryCallState(AsyncRetrying(), None, (), {})
        state.attempt_number = failures
        return grows(state)

    async def _wake(self) -> None:
        clock = self._app.clock
        while self._later:
            ahead = (self._later[0][0] - clock.now()) / MICROS
            if ahead > 0:
                # A clock that was set back makes nobody wait for longer than the longest pause.
                await clock.sleep(min(ahead, self._app.limits.check_pause_seconds_max))
            now = clock.now()
            while self._later and self._later[0][0] <= now:
                moment, (id, name) = heappop(self._later)
                inquiry = self._inquiries.get(id, {}).get(name)
                if inquiry is not None and inquiry.retry_at == moment:
                    self._ready[id, name] = None
            self._pump()


def _waits(request: MutationRequest, name: str, inquiry: _Inquiry) -> bool:
    return any(
        pending.name == name and pending.since == inquiry.since
        for pending in calls_waiting(request)
    )


def _finding(answer: CheckAnswer) -> Reason:
    return answer.reason if answer.reason.code else answer.reason.but(code=answer.outcome.value)
