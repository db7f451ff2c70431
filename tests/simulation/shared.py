"""A store that several sidecars share: PostgreSQL's writer, leases and polling, run inline over the
one file that all of them write to.

The file gives each transaction the lock that PostgreSQL gives it on the head. What a network adds
is here: connections that break before, at and after a COMMIT, hints that come late or never.
"""

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, Final, Self, TypeVar, cast

from sqlalchemy import BigInteger, ColumnElement, Connection, literal
from sqlalchemy.ext.asyncio import AsyncEngine

from governor.storage.dialect import PostgresDialect, SqliteDialect
from governor.storage.postgres import PostgresWriter
from governor.storage.replicas import Replica
from governor.storage.snapshots import Snapshots
from governor.storage.store import SqlStore
from governor.storage.transaction import Transactions
from tests.simulation.chance import Chance
from tests.simulation.loop import Process
from tests.simulation.store import DISK_SECONDS, LIMITS, Database, Disk, discard
from tests.support.builders import MICROS_PER_SECOND, START, encode_entry

_T = TypeVar("_T")

HINT_SECONDS: Final = 0.01


class PassingTroubleDialect(SqliteDialect):
    """SQLite's words, and PostgreSQL's opinion of what is worth another try."""

    def is_passing(self, error: Exception) -> bool:
        return isinstance(error, (sqlite3.OperationalError, OSError))


class Hints:
    """Who is told that somebody else has written: everybody, soon, or now and then nobody."""

    def __init__(self, world: Process, chance: Chance) -> None:
        self._world = world
        self._chance = chance
        self._writers: dict[Process, PostgresWriter] = {}

    def introduce(self, process: Process, writer: PostgresWriter) -> None:
        self._writers[process] = writer
        writer.tell_others_by(lambda: self._tell(process))

    def _tell(self, teller: Process) -> None:
        for process, writer in list(self._writers.items()):
            if process.is_dead:
                del self._writers[process]
            elif process is not teller and not self._chance.strikes("lost_hint"):
                self._world.start(self._carry(process, writer))

    async def _carry(self, process: Process, writer: PostgresWriter) -> None:
        await self._chance.delay(HINT_SECONDS)
        process.start(_heard(writer))


async def _heard(writer: PostgresWriter) -> None:
    writer.look()


async def open_shared(
    database: Database, process: Process, hints: Hints, chance: Chance
) -> SqlStore:
    """The store of one replica, which is alive to the others from now on."""
    head, snapshots = database.head(), Snapshots(bytes_max=LIMITS.snapshot_bytes_max)
    dialect = PassingTroubleDialect()
    members = InlineEngine(database, chance)
    replica = Replica(
        id=process.name,
        lease_seconds=LIMITS.lease_seconds,
        run=members.run,
        now=database_time,
    )
    await replica.join()
    writer = PostgresWriter(
        # Each has what the writer uses of an engine and of a dialect, and nothing else of one.
        engine=cast(AsyncEngine, InlineEngine(database, chance)),
        dialect=cast(PostgresDialect, dialect),
        transactions=Transactions(
            dialect=dialect,
            encode=encode_entry,
            failpoints=Disk(chance),
            head=head,
            owner=replica.id,
        ),
        snapshots=snapshots,
        head=head,
        waiting_max=LIMITS.commits_waiting_max,
        waiting_bytes_max=LIMITS.commits_waiting_bytes_max,
        batch_max=LIMITS.commits_per_transaction_max,
        poll_seconds=LIMITS.ledger_poll_seconds_max,
    )
    hints.introduce(process, writer)
    reader = database.reader(chance, snapshots)
    return SqlStore(reader=reader, writer=writer, membership=replica, release=members.dispose)


def database_time() -> ColumnElement[int]:
    """The one clock that all replicas go by, in microseconds."""
    now = START + round(asyncio.get_running_loop().time() * MICROS_PER_SECOND)
    return literal(now, BigInteger())


class InlineEngine:
    """One connection; whatever runs on it runs in one moment, between two delays."""

    def __init__(self, database: Database, chance: Chance) -> None:
        self._database = database
        self._chance = chance
        self._connection: Connection | None = None

    @asynccontextmanager
    async def connect(self) -> AsyncIterator[Self]:
        yield self

    async def run_sync(self, work: Callable[[Connection], _T]) -> _T:
        await self._chance.delay(DISK_SECONDS)
        if self._chance.strikes("lost_connection"):
            raise OSError("the connection is lost")
        try:
            self._connection = self._connection or self._database.write()
            done = work(self._connection)
        except Exception:
            self._discard()
            raise
        await self._chance.delay(DISK_SECONDS)
        return done

    async def run(self, work: Callable[[Connection], Any]) -> Any:
        """In a transaction of its own, which may have been committed although this raises."""
        done = await self.run_sync(lambda connection: _transacted(connection, work))
        if self._chance.strikes("lost_connection"):
            raise OSError("the connection is lost, and nobody knows what has been done")
        return done

    async def dispose(self) -> None:
        self._discard()

    def _discard(self) -> None:
        discard(self._connection)
        self._connection = None


def _transacted(connection: Connection, work: Callable[[Connection], _T]) -> _T:
    with connection.begin():
        return work(connection)
