"""The one thread that owns the connection: it makes whatever has queued durable in one commit.

Nothing is delayed to fill a batch. While one commit waits for the disk the next batch gathers, so a
lone call costs one commit and a crowd shares them.
"""

import asyncio
import contextvars
import logging
import sqlite3
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from queue import Empty, SimpleQueue
from typing import Any, Final, TypeVar

from governor.hostkit.errors import HostBusy, HostFault, HostKitError, InDoubt
from governor.hostkit.failpoints import AroundCommit, Failpoints, reach

PENDING_MAX: Final = 4096
BATCH_MAX: Final = 256
RETRY_AFTER_SECONDS: Final = 0.2
CLOSE_SECONDS_MAX: Final = 10.0

ResultT = TypeVar("ResultT")
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Work:
    run: Callable[[], Any]
    future: asyncio.Future[Any]
    # The failpoints around the commit that concern it.
    around: AroundCommit | None


@dataclass(frozen=True, slots=True)
class _Result:
    future: asyncio.Future[Any]
    value: Any = None
    error: HostKitError | None = None


class GroupCommit:
    """Runs functions inside shared transactions of one SQLite connection.

    A function that raises must have undone its own part; the others of its batch are not disturbed.
    No function's result is delivered before the commit that holds it.
    """

    def __init__(self, connection: sqlite3.Connection, *, failpoints: Failpoints) -> None:
        self._connection = connection
        self._failpoints = failpoints
        self._loop = asyncio.get_running_loop()
        self._queue: SimpleQueue[_Work | None] = SimpleQueue()
        self._closed = False
        # A daemon, because a host that hangs at a failpoint must still end when told to.
        self._thread = threading.Thread(target=self._work, name="governor-hostkit", daemon=True)
        self._thread.start()

    async def run(
        self, function: Callable[[], ResultT], *, around: AroundCommit | None = None
    ) -> ResultT:
        """Run the function in the next transaction and return once that is durable.

        A caller that is cancelled before its function was begun is taken out of the queue; after
        that, the function runs to its end.
        """
        if self._closed or self._queue.qsize() >= PENDING_MAX:
            raise HostBusy("too many calls wait", retry_after_seconds=RETRY_AFTER_SECONDS)
        future: asyncio.Future[ResultT] = self._loop.create_future()
        # The thread runs it in the caller's context, so that spans and logs join the call's.
        run = partial(contextvars.copy_context().run, function)
        self._queue.put(_Work(run, future, around))
        return await future

    async def close(self) -> None:
        """Make durable what has queued, then stop."""
        self._closed = True
        self._queue.put(None)
        await asyncio.to_thread(self._thread.join, CLOSE_SECONDS_MAX)
        if self._thread.is_alive():
            _log.error("the writer did not stop; what it was doing is lost with the process")
            return
        self._connection.close()

    def _work(self) -> None:
        open_ended = True
        while open_ended:
            batch, open_ended = self._gather()
            if batch:
                self._loop.call_soon_threadsafe(_deliver, self._commit(batch))

    def _gather(self) -> tuple[list[_Work], bool]:
        batch: list[_Work] = []
        try:
            work = self._queue.get()
            while work is not None:
                if not work.future.cancelled():
                    batch.append(work)
                if len(batch) == BATCH_MAX:
                    return batch, True
                work = self._queue.get_nowait()
        except Empty:
            return batch, True
        return batch, False

    def _commit(self, batch: Sequence[_Work]) -> list[_Result]:
        try:
            self._connection.execute("BEGIN IMMEDIATE")
        except sqlite3.Error as error:
            _log.warning("the database cannot be written to: %s", error)
            return [_Result(work.future, error=_unwritable()) for work in batch]
        around = dict.fromkeys(work.around for work in batch if work.around is not None)
        try:
            results = [self._attempt(work) for work in batch]
            for places in around:
                reach(self._failpoints, places.before)
            self._connection.execute("COMMIT")
        except sqlite3.IntegrityError:
            # A deferred constraint of the author's was broken, so nothing was committed. Only the
            # call that broke it shall fail.
            self._roll_back()
            if len(batch) > 1:
                return [result for work in batch for result in self._commit([work])]
            _log.exception("a deferred constraint was broken")
            return [_Result(work.future, error=_fault()) for work in batch]
        except (sqlite3.Error, InDoubt):
            _log.exception("a transaction of %d calls failed", len(batch))
            self._roll_back()
            return [_Result(work.future, error=_in_doubt()) for work in batch]
        for places in around:
            reach(self._failpoints, places.after)
        return results

    def _attempt(self, work: _Work) -> _Result:
        try:
            result = _Result(work.future, value=work.run())
        except HostKitError as error:
            result = _Result(work.future, error=error)
        except BaseException:  # noqa: BLE001 - the thread outlives whatever an author raises
            _log.exception("a call failed")
            result = _Result(work.future, error=_fault())
        if not self._connection.in_transaction:
            # SQLite gave it up by itself, and the next function would write outside of any.
            raise InDoubt("the transaction was lost")
        return result

    def _roll_back(self) -> None:
        if self._connection.in_transaction:
            with suppress(sqlite3.Error):  # the next BEGIN will find out, and say so
                self._connection.execute("ROLLBACK")


def _deliver(results: Sequence[_Result]) -> None:
    for result in results:
        if result.future.done():  # the caller has gone
            continue
        if result.error is None:
            result.future.set_result(result.value)
        else:
            result.future.set_exception(result.error)


def _unwritable() -> HostBusy:
    return HostBusy("the database is not writable now", retry_after_seconds=RETRY_AFTER_SECONDS)


def _fault() -> HostFault:
    return HostFault("the host failed; see its log")


def _in_doubt() -> InDoubt:
    return InDoubt("the commit failed; look the execution up")
