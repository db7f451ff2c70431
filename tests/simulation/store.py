"""The embedded store without its threads: every transaction and every read runs inline, at a moment
that chance decides, and fails where chance wants it to.

What is written and read is the production code's; only the thread of the writer and the driver of
the readers are replaced.
"""

import asyncio
import sqlite3
from collections import deque
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, Final, Self, cast

from sqlalchemy import (
    URL,
    Connection,
    Engine,
    Row,
    Select,
    StaticPool,
    create_engine,
    event,
    text,
)
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine

from governor.domain.errors import StoreUnavailable
from governor.domain.values import Revision
from governor.storage import migrate, queries
from governor.storage.dialect import SqliteDialect
from governor.storage.reader import Reader
from governor.storage.replicas import Alone
from governor.storage.snapshots import Snapshots
from governor.storage.sqlite import LOOK_SECONDS, READER_PRAGMAS, set_up, writer_engine
from governor.storage.store import SqlStore, StoreLimits
from governor.storage.transaction import CommitUnknown, Transactions
from governor.storage.writer import GroupCommit, Waiter, taken_from
from governor.usecases.commits import Head
from tests.simulation.chance import Chance
from tests.support.builders import encode_entry

HOP_SECONDS: Final = 0.0003
READ_SECONDS: Final = 0.001
DISK_SECONDS: Final = 0.004
STORE_ID: Final = "simulated"

LIMITS: Final = StoreLimits(
    commits_per_transaction_max=4,
    snapshot_bytes_max=64 * 1_024,
    lease_seconds=8.0,
    ledger_poll_seconds_max=1.0,
)
"""Small enough for batches to be cut, and for snapshots to fall out of memory."""


class Database:
    """One file, made anew for every run out of a template; no power is ever lost here."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "governor.db"
        template = folder / "template.db"
        engine = _engine(template)
        with engine.connect() as connection:
            migrate.upgrade(connection)
            with connection.begin():
                connection.execute(text("UPDATE head SET store_id = :id"), {"id": STORE_ID})
        self._empty = template.read_bytes()
        # One pair of engines for all runs: what they have compiled once is used again.
        self._writes = _engine(self._path)
        self._reads = _reading_engine(self._path)
        self._written_on: list[Connection] = []

    def renew(self) -> None:
        """Forgets everything, and closes what processes that died have left open."""
        self._reads.dispose()
        while self._written_on:
            discard(self._written_on.pop())
        for suffix in ("", "-wal", "-shm"):
            self._path.with_name(self._path.name + suffix).unlink(missing_ok=True)
        self._path.write_bytes(self._empty)

    def open(self, chance: Chance) -> SqlStore:
        """The store of a process that is alone, over what the file holds."""
        head, snapshots = self.head(), Snapshots(bytes_max=LIMITS.snapshot_bytes_max)
        transactions = Transactions(
            dialect=SqliteDialect(), encode=encode_entry, failpoints=Disk(chance), head=head
        )
        writer = InlineWriter(
            database=self,
            transactions=transactions,
            chance=chance,
            snapshots=snapshots,
            head=head,
        )
        reader = self.reader(chance, snapshots)
        return SqlStore(
            reader=reader, writer=writer, membership=Alone(reader), release=nothing_to_release
        )

    def head(self) -> Head:
        with self._reads.connect() as connection:
            row = connection.execute(queries.head()).one()
        return Head(store_id=row.store_id, revision=Revision(row.size), root=row.root)

    def reader(self, chance: Chance, snapshots: Snapshots) -> Reader:
        # It has what the reader uses of an engine, and nothing else of one.
        return Reader(cast(AsyncEngine, _InlineReads(self._reads, chance)), snapshots)

    def write(self) -> Connection:
        """A connection of its own, on which each transaction is one call."""
        connection = self._writes.connect()
        self._written_on.append(connection)
        return connection


async def nothing_to_release() -> None:
    """The file stays for the next life."""


def _engine(path: Path) -> Engine:
    engine = writer_engine(path)
    event.listen(engine, "connect", _never_loses_power)
    return engine


def _reading_engine(path: Path) -> Engine:
    """One connection, on which each select is a transaction of its own."""
    url = URL.create("sqlite+pysqlite", database=str(path))
    engine = create_engine(url, poolclass=StaticPool, isolation_level="AUTOCOMMIT")
    event.listen(engine, "connect", set_up(READER_PRAGMAS))
    return engine


def _never_loses_power(connection: DBAPIConnection, _: object) -> None:
    connection.cursor().execute("PRAGMA synchronous = OFF")


class Disk:
    """The failpoints of the store: where a transaction may fail."""

    def __init__(self, chance: Chance) -> None:
        self._chance = chance

    def __call__(self, name: str) -> None:
        if self._chance.strikes("unwritable"):
            raise sqlite3.OperationalError(f"the disk failed at {name}")


# ---------------------------------------------------------------- the writer


class InlineWriter(GroupCommit):
    """A task that does what the writer's thread does, with its hops as delays."""

    def __init__(
        self,
        *,
        database: Database,
        transactions: Transactions,
        chance: Chance,
        snapshots: Snapshots,
        head: Head,
    ) -> None:
        super().__init__(
            snapshots=snapshots,
            head=head,
            waiting_max=LIMITS.commits_waiting_max,
            waiting_bytes_max=LIMITS.commits_waiting_bytes_max,
        )
        self._database = database
        self._transactions = transactions
        self._chance = chance
        self._gathered: deque[Waiter] = deque()
        self._woken = asyncio.Event()
        self._batch_over = asyncio.Event()
        self._is_writing = False
        self._is_unsure = False
        self._connection: Connection | None = None
        self._task = asyncio.create_task(self._run())

    async def refresh(self, since: Revision) -> bool:
        if self._is_writing or self._gathered:
            await self._batch_over.wait()
        return await super().refresh(since)

    def _enqueue(self, waiter: Waiter) -> None:
        self._gathered.append(waiter)
        self._woken.set()

    async def _drain(self) -> None:
        self._woken.set()
        await self._task

    async def _run(self) -> None:
        try:
            while self._gathered or not self._closed:
                if not await self._is_woken():
                    await self._look()
                while self._gathered:
                    await self._write_next()
        finally:
            self._let_go()

    async def _is_woken(self) -> bool:
        """Whether there is something to write; when not, it is time to look again."""
        try:
            async with asyncio.timeout(LOOK_SECONDS if self._is_unsure else None):
                await self._woken.wait()
        except TimeoutError:
            return False
        self._woken.clear()
        return True

    async def _write_next(self) -> None:
        self._is_writing = True
        first = self._gathered.popleft()
        waiters = taken_from(first, self._following, LIMITS.commits_per_transaction_max)
        await self._chance.delay(HOP_SECONDS)
        try:
            self._connection = self._connection or self._database.write()
            settlement = self._transactions.settle(
                self._connection, [waiter.commit for waiter in waiters]
            )
        except Exception as error:  # noqa: BLE001 - whatever it is, the callers are told
            self._chance.note(f"store: a batch of {len(waiters)} failed")
            self._let_go()
            self._is_unsure = self._is_unsure or isinstance(error, CommitUnknown)
            await self._look()
            self._failed(waiters, error)
        else:
            self._chance.note(f"store: {len(waiters)} commits, head {settlement.head.revision}")
            self._is_unsure = any(isinstance(one, StoreUnavailable) for one in settlement.answers)
            await self._chance.delay(DISK_SECONDS)
            self._settled(waiters, settlement)
        self._is_writing = False
        over, self._batch_over = self._batch_over, asyncio.Event()
        over.set()

    async def _look(self) -> None:
        if not self._is_unsure:
            return
        await self._chance.delay(DISK_SECONDS)
        if self._chance.strikes("unreadable"):
            return
        with self._database.write() as connection:
            settlement = self._transactions.catch_up(connection)
        self._is_unsure = False
        await self._chance.delay(DISK_SECONDS)
        if settlement is not None:
            self._caught_up(settlement)

    def _following(self) -> Waiter | None:
        return self._gathered.popleft() if self._gathered else None

    def _let_go(self) -> None:
        discard(self._connection)
        self._connection = None


def discard(connection: Connection | None) -> None:
    """What failed once is not trusted again."""
    if connection is not None:
        with suppress(SQLAlchemyError):
            connection.invalidate()
            connection.close()


# ---------------------------------------------------------------- the readers


class _InlineReads:
    """What a Reader asks of its engine: connections that execute one select each."""

    def __init__(self, engine: Engine, chance: Chance) -> None:
        self._engine = engine
        self._chance = chance

    @asynccontextmanager
    async def connect(self) -> AsyncIterator[Self]:
        yield self

    async def execute(self, statement: Select[Any]) -> "_Found":
        """As of one moment between the question and the answer."""
        await self._chance.delay(READ_SECONDS)
        if self._chance.strikes("unreadable"):
            raise OSError("the disk cannot be read")
        with self._engine.connect() as connection:
            found = _Found(connection.execute(statement).all())
        await self._chance.delay(READ_SECONDS)
        return found

    async def dispose(self) -> None:
        """Nothing is kept."""


class _Found:
    def __init__(self, rows: Sequence[Row[Any]]) -> None:
        self._rows = rows

    def all(self) -> Sequence[Row[Any]]:
        return self._rows
