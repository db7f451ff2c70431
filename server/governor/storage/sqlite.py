"""The embedded backend: one file, one process, one writer thread."""

import asyncio
import fcntl
import logging
import os
import queue
import socket
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Final
from urllib.parse import quote

from sqlalchemy import URL, Connection, Engine, NullPool, create_engine, event
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from governor.domain.errors import StoreUnavailable
from governor.domain.values import Revision
from governor.storage.errors import (
    FileRefused,
    NoSuchStore,
    NotDurable,
    PragmaRefused,
    StoreInUse,
    StoreRefused,
)
from governor.storage.snapshots import Snapshots
from governor.storage.transaction import CommitUnknown, Settlement, Transactions
from governor.storage.wal import LogWatch
from governor.storage.writer import GroupCommit, Waiter, taken_from
from governor.usecases.commits import Head

logger = logging.getLogger(__name__)

_BUSY_MILLISECONDS: Final = 5_000
_OWNER_ONLY: Final = 0o600
# A request's row fills a quarter of such a page; much of a smaller one would stay empty. Settled
# when the file is made: one that has another size keeps it.
_PAGE_BYTES: Final = 8_192
_PREPARED_MAX: Final = 256  # of the writer: every text of every Bulk that is in use

LOOK_SECONDS: Final = 1.0
"""How often a store that failed looks for what has become durable without an answer."""

WAL_BYTES_KEPT: Final = 67_108_864
"""How large a log that was started over stays at most."""

WRITER_PRAGMAS: Final[Mapping[str, str | int]] = {
    # Readers go on while the writer writes.
    "journal_mode": "wal",
    # 2 is FULL: COMMIT returns when the log is on disk. NORMAL can lose what was acknowledged.
    "synchronous": 2,
    "foreign_keys": 1,
    "busy_timeout": _BUSY_MILLISECONDS,
    # Triggers also see the deletion inside INSERT OR REPLACE.
    "recursive_triggers": 1,
    # In pages. Larger ones hardly write less, and the COMMIT that runs one takes longer.
    "wal_autocheckpoint": 1_000,
    # A log that a long reader has made grow is cut back.
    "journal_size_limit": WAL_BYTES_KEPT,
    # A page that contradicts itself is refused as it is read, before what it says spreads. Under a
    # microsecond for each page that is not in the cache.
    "cell_size_check": 1,
    # Negative means KiB: a batch is not spilled into the log before its COMMIT.
    "cache_size": -65_536,
    "temp_store": 2,
}

READER_PRAGMAS: Final[Mapping[str, str | int]] = {
    "busy_timeout": _BUSY_MILLISECONDS,
    "cell_size_check": 1,
    "query_only": 1,
}


# ---------------------------------------------------------------- the file


def database_path(url: URL) -> Path:
    """The file that a URL names. Raises NotDurable for a database in memory."""
    name = url.database or ""
    if name in ("", ":memory:") or "memory" in url.query.values():
        raise NotDurable
    if name.startswith("file:") or url.query:
        raise StoreRefused("a sqlite store is named by a plain path, without options")
    return Path(os.path.realpath(name))


def create_file(path: Path) -> None:
    """Makes sure that the file is there, for its owner's eyes; SQLite's other files follow it.

    Raises FileRefused for one that cannot be written: SQLite would open it all the same, and refuse
    the first commit.
    """
    if not path.parent.is_dir():
        raise NoSuchStore(str(path.parent))
    os.close(_opened(path))


def _opened(path: Path) -> int:
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, _OWNER_ONLY)
    except OSError as error:
        raise FileRefused(str(path), error) from error


class ProcessLock:
    """Held from open to close: two writers on one file would each believe a ledger of their own.

    It is the kernel's lock on a file of its own beside the database, so that it ends with the
    process, however that ends, and cannot be confused with SQLite's locks.
    """

    def __init__(self, database: Path) -> None:
        self._database = database
        self._path = database.with_name(f"{database.name}.lock")
        self._file: int | None = None

    def acquire(self) -> None:
        """Raises StoreInUse, which says who holds it."""
        file = _opened(self._path)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(file, 256, 0).decode(errors="replace").strip()
            os.close(file)
            raise StoreInUse(str(self._database), holder or "another process") from None
        self._file = file
        with suppress(OSError):  # on a full disk nobody is told who holds it, but held it is
            os.truncate(file, 0)
            os.pwrite(file, f"process {os.getpid()} on {socket.gethostname()}\n".encode(), 0)

    def release(self) -> None:
        """The file stays: removing it would let two processes each lock one of that name."""
        if self._file is not None:
            with suppress(OSError):
                os.truncate(self._file, 0)
            os.close(self._file)
            self._file = None


# ---------------------------------------------------------------- connections


def writer_engine(path: Path) -> Engine:
    """One connection at a time, with every pragma read back: a refused one refuses the store."""
    engine = create_engine(
        URL.create("sqlite+pysqlite", database=str(path)),
        poolclass=NullPool,
        connect_args={"cached_statements": _PREPARED_MAX},
        hide_parameters=True,
    )
    event.listen(engine, "connect", _set_page_size)
    event.listen(engine, "connect", set_up(WRITER_PRAGMAS))
    event.listen(engine, "begin", _begin_immediate)
    return engine


def reader_engine(path: Path, *, connections_max: int) -> AsyncEngine:
    """Connections that cannot write, and so never run a checkpoint, not even the last to close.

    Each statement is a transaction of its own: a reader holds no snapshot that would keep the log
    from being started over.
    """
    engine = create_async_engine(
        _read_only(path, "sqlite+aiosqlite"),
        pool_size=connections_max,
        max_overflow=0,
        pool_reset_on_return=None,
        isolation_level="AUTOCOMMIT",
        hide_parameters=True,
    )
    event.listen(engine.sync_engine, "connect", set_up(READER_PRAGMAS))
    return engine


def snapshot_engine(path: Path, *, immutable: bool = False) -> AsyncEngine:
    """One read-only connection whose transaction sees the database as of its first read.

    Of an `immutable` file, which nobody writes to, no lock is taken and no log is looked for.
    """
    options = {"immutable": "1"} if immutable else {}
    engine = create_async_engine(
        _read_only(path, "sqlite+aiosqlite", **options), poolclass=NullPool, hide_parameters=True
    )
    event.listen(engine.sync_engine, "connect", set_up(READER_PRAGMAS))
    event.listen(engine.sync_engine, "begin", _begin_deferred)
    return engine


def _read_only(path: Path, driver: str, **options: str) -> URL:
    query = {"mode": "ro", "uri": "true", **options}
    return URL.create(driver, database=f"file:{quote(str(path))}", query=query)


def set_up(pragmas: Mapping[str, str | int]) -> Callable[[DBAPIConnection, object], None]:
    """What a new connection is told, and held to: raises PragmaRefused."""

    def apply(connection: DBAPIConnection, _: object) -> None:
        # Transactions begin where we say so, not where the driver guesses.
        connection.isolation_level = None
        cursor = connection.cursor()
        for name, wanted in pragmas.items():
            cursor.execute(f"PRAGMA {name} = {wanted}")
            cursor.execute(f"PRAGMA {name}")
            (got,) = cursor.fetchone() or (None,)
            if got != wanted:
                raise PragmaRefused(name, wanted=str(wanted), got=str(got))
        cursor.close()

    return apply


def _set_page_size(connection: DBAPIConnection, _: object) -> None:
    cursor = connection.cursor()
    cursor.execute(f"PRAGMA page_size = {_PAGE_BYTES}")
    cursor.close()


def _begin_deferred(connection: Connection) -> None:
    connection.exec_driver_sql("BEGIN")


def _begin_immediate(connection: Connection) -> None:
    """A deferred transaction would learn only at its first write that it may not."""
    connection.connection.cursor().execute("BEGIN IMMEDIATE")


# ---------------------------------------------------------------- the writer


class SqliteWriter(GroupCommit):
    """One thread owns the write connection and everything done on it, checkpoints included."""

    def __init__(
        self,
        *,
        path: Path,
        transactions: Transactions,
        snapshots: Snapshots,
        head: Head,
        waiting_max: int,
        waiting_bytes_max: int,
        batch_max: int,
        wal_bytes_alarm: int,
    ) -> None:
        super().__init__(
            snapshots=snapshots,
            head=head,
            waiting_max=waiting_max,
            waiting_bytes_max=waiting_bytes_max,
        )
        self._engine = writer_engine(path)
        self._connection: Connection | None = None  # of the writer's thread
        self._is_unsure = False  # likewise: something may be durable that nobody was told of
        self._log = LogWatch(path, bytes_alarm=wal_bytes_alarm)
        self._transactions = transactions
        self._batch_max = batch_max
        # Unbounded by itself: `waiting_max` and `waiting_bytes_max` bound what is put in.
        self._gathered: deque[Waiter] = deque()
        self._idle = asyncio.Event()
        self._idle.set()
        self._queue: queue.SimpleQueue[list[Waiter] | None] = queue.SimpleQueue()
        self._finished = asyncio.Event()
        self._batch_over = asyncio.Event()
        # A daemon: a process that dies without closing the store must not wait for its writer.
        self._thread = threading.Thread(target=self._run, name="governor-store", daemon=True)
        self._thread.start()

    @property
    def wal_bytes(self) -> int | None:
        """As of the last transaction."""
        return self._log.bytes

    async def refresh(self, since: Revision) -> bool:
        """See Store.refresh: what is durable and not told yet is the batch that is under way."""
        if not self._idle.is_set():
            await self._batch_over.wait()
        return await super().refresh(since)

    def _enqueue(self, waiter: Waiter) -> None:
        """Whatever else this turn of the loop commits goes along.

        A writer that took the first commit it saw would write one and leave a burst waiting.
        """
        self._gathered.append(waiter)
        if self._idle.is_set():
            self._idle.clear()
            self._loop.call_soon(self._hand_over)

    def _hand_over(self) -> None:
        first = self._gathered.popleft()
        self._queue.put(taken_from(first, self._following, self._batch_max))

    def _following(self) -> Waiter | None:
        return self._gathered.popleft() if self._gathered else None

    def _settled(self, waiters: Sequence[Waiter], settlement: Settlement) -> None:
        try:
            super()._settled(waiters, settlement)
        finally:
            self._go_on()

    def _failed(self, waiters: Sequence[Waiter], error: Exception) -> None:
        try:
            super()._failed(waiters, error)
        finally:
            self._go_on()

    def _go_on(self) -> None:
        """After those who were answered have had their turn, which may commit more."""
        over, self._batch_over = self._batch_over, asyncio.Event()
        over.set()
        if self._gathered:
            self._loop.call_soon(self._hand_over)
        else:
            self._idle.set()

    async def _drain(self) -> None:
        await self._idle.wait()
        self._queue.put(None)
        await self._finished.wait()
        self._thread.join()

    # ------------------------------------------------------------ called on the writer's thread

    def _run(self) -> None:
        try:
            while (waiters := self._taken()) is not None:
                tell = self._write(waiters) if waiters else None
                if self._is_unsure:
                    self._look()
                self._log.look()
                if tell is not None:
                    self._loop.call_soon_threadsafe(tell)
            _discard(self._connection)
            self._loop.call_soon_threadsafe(self._finished.set)
        except RuntimeError:
            logger.warning("the event loop was closed before its store")

    def _taken(self) -> list[Waiter] | None:
        """The next batch; an empty one when it is time to look again."""
        try:
            return self._queue.get(timeout=LOOK_SECONDS if self._is_unsure else None)
        except queue.Empty:
            return []

    def _write(self, waiters: Sequence[Waiter]) -> Callable[[], None]:
        """Writes a batch; answers what is then to be told on the event loop."""
        commits = [waiter.commit for waiter in waiters]
        try:
            self._connection = self._connection or self._engine.connect()
            settlement = self._transactions.settle(self._connection, commits)
        except Exception as error:  # noqa: BLE001 - whatever it is, the callers are told
            _discard(self._connection)
            self._connection = None
            self._is_unsure = self._is_unsure or isinstance(error, CommitUnknown)
            return partial(self._failed, waiters, error)
        self._is_unsure = any(isinstance(one, StoreUnavailable) for one in settlement.answers)
        return partial(self._settled, waiters, settlement)

    def _look(self) -> None:
        """What became durable without an answer is told as soon as it can be read, and before those
        who were not answered: they may find it, and go on from there.
        """
        try:
            with self._engine.connect() as connection:
                settlement = self._transactions.catch_up(connection)
        except Exception:  # noqa: BLE001 - the log has why a batch failed; this is tried again
            return
        self._is_unsure = False
        if settlement is not None:
            self._loop.call_soon_threadsafe(self._caught_up, settlement)


def _discard(connection: Connection | None) -> None:
    """A connection on which something failed is not trusted again."""
    if connection is not None:
        with suppress(SQLAlchemyError):
            connection.invalidate()
            connection.close()
