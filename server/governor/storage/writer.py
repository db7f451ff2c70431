"""Group commit: everything that queued while the last transaction became durable is the next one.

A commit that finds the store idle starts at once and alone; the more callers there are, the more of
them share one fsync. Nothing is delayed to make a batch larger.
"""

import asyncio
import logging
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, ParamSpec

from governor.domain.errors import Overloaded, StoreUnavailable
from governor.domain.values import Revision
from governor.storage.batch import Answer
from governor.storage.causes import cause_name
from governor.storage.snapshots import Snapshots
from governor.storage.transaction import Settlement, log_failure, unavailable
from governor.usecases.commits import Batch, Commit, Committed, Head

logger = logging.getLogger(__name__)

_P = ParamSpec("_P")

Listener = Callable[[Batch], None]
Observer = Callable[[int, float], None]
"""Told of every transaction: how many commits, and how many seconds the first one waited."""


PAYLOAD_BYTES_PER_BATCH: Final = 16 * 1_048_576
"""No further commit joins a batch whose payloads come to this: what it binds lies in memory."""


@dataclass(frozen=True, slots=True)
class Waiter:
    """A commit and who waits for it."""

    commit: Commit
    future: asyncio.Future[Committed]
    since: float  # in the loop's time
    payload_bytes: int  # nearly all of the memory it takes, where it takes much


def taken_from(
    first: Waiter, following: Callable[[], Waiter | None], commits_max: int
) -> list[Waiter]:
    """The next batch: `first`, and what is queued after it as far as the bounds let it join."""
    waiters = [first]
    payload_bytes = first.payload_bytes
    while len(waiters) < commits_max and payload_bytes < PAYLOAD_BYTES_PER_BATCH:
        waiter = following()
        if waiter is None:
            break
        waiters.append(waiter)
        payload_bytes += waiter.payload_bytes
    return waiters


class GroupCommit(ABC):
    """The event loop's side of the one writer; a backend brings the other side."""

    def __init__(
        self, *, snapshots: Snapshots, head: Head, waiting_max: int, waiting_bytes_max: int
    ) -> None:
        self.head = head
        self.failures: Counter[str] = Counter()
        self._loop = asyncio.get_running_loop()
        self._snapshots = snapshots
        self._waiting = 0
        self._waiting_max = waiting_max
        self._waiting_bytes = 0
        self._waiting_bytes_max = waiting_bytes_max
        self._listeners: list[Listener] = []
        self._observer: Observer | None = None
        self._closed = False
        self._told_of_others = Revision(0)

    @property
    def wal_bytes(self) -> int | None:
        """How large the log is that the backend keeps beside its database; None for none."""
        return None

    def listen(self, listener: Listener) -> None:
        self._listeners.append(listener)

    def observe(self, observer: Observer) -> None:
        """Tells `observer` of every transaction that succeeds, on the event loop."""
        self._observer = observer

    async def commit(self, commit: Commit) -> Committed:
        """See Store.commit. The future is the caller's alone: cancelling it touches no batch."""
        if not commit.decisions:
            raise ValueError("a commit appends at least one decision")
        if self._closed:
            raise StoreUnavailable("the store is closed")
        if self._waiting >= self._waiting_max:
            raise Overloaded("commits_waiting_max", self._waiting_max)
        payload_bytes = sum(len(request.content.payload.data) for request in commit.requests)
        # Counted here and not by the call alone: a caller who leaves leaves the commit behind.
        if self._waiting and self._waiting_bytes + payload_bytes > self._waiting_bytes_max:
            raise Overloaded("commits_waiting_bytes_max", self._waiting_bytes_max)
        self._waiting += 1
        self._waiting_bytes += payload_bytes
        future: asyncio.Future[Committed] = self._loop.create_future()
        self._enqueue(Waiter(commit, future, self._loop.time(), payload_bytes))
        return await future

    async def refresh(self, since: Revision) -> bool:
        """See Store.refresh. Nobody else writes to a store that is not shared."""
        return self._told_of_others > since

    async def close(self) -> None:
        """Finishes what is queued; later commits are refused."""
        self._closed = True
        await self._drain()

    @abstractmethod
    def _enqueue(self, waiter: Waiter) -> None:
        """Hands a commit to the writer; never blocks."""

    @abstractmethod
    async def _drain(self) -> None:
        """Returns when everything queued is settled and the connection is closed."""

    # ------------------------------------------------------------ called on the event loop

    def _settled(self, waiters: Sequence[Waiter], settlement: Settlement) -> None:
        """Publishes first: when a caller goes on, every listener knows what it knows."""
        self._caught_up(settlement)
        self._answer(waiters, settlement.answers)
        if self._observer is not None:
            _tell(self._observer, len(waiters), self._loop.time() - waiters[0].since)

    def _caught_up(self, settlement: Settlement) -> None:
        self.head = settlement.head
        for batch in settlement.batches:
            self._publish(batch)

    def _failed(self, waiters: Sequence[Waiter], error: Exception) -> None:
        """Nothing is published and the head stays: the next transaction tells what became true."""
        log_failure(f"a batch of {len(waiters)} commits failed", error)
        self._answer(waiters, [unavailable(error) for _ in waiters])

    def _publish(self, batch: Batch) -> None:
        if batch.commits:
            self._snapshots.keep(batch)
        else:
            self._snapshots.forget_entries(batch.entries)
            self._told_of_others = batch.entries[-1].revision
        for listener in self._listeners:
            _tell(listener, batch)

    def _answer(self, waiters: Sequence[Waiter], answers: Sequence[Answer]) -> None:
        self._waiting -= len(waiters)
        self._waiting_bytes -= sum(waiter.payload_bytes for waiter in waiters)
        for waiter, answer in zip(waiters, answers, strict=True):
            if isinstance(answer, StoreUnavailable):
                self.failures[cause_name(answer)] += 1
            if not isinstance(answer, Committed):
                # What a loser believed may be what misled it: the next look is at the database.
                self._snapshots.forget_commit(waiter.commit)
            if waiter.future.done():
                continue  # its caller was cancelled and has left
            if isinstance(answer, Committed):
                waiter.future.set_result(answer)
            else:
                waiter.future.set_exception(answer)


def _tell(listener: Callable[_P, None], *args: _P.args, **kwargs: _P.kwargs) -> None:
    """One listener's fault must keep neither the others nor the callers waiting."""
    try:
        listener(*args, **kwargs)
    except Exception:
        logger.exception("a listener failed on a batch")
