"""Opens, migrates and names stores: a URL in, a Store out, or the reason why not."""

import asyncio
import secrets
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TypeVar

from sqlalchemy import URL, Connection, make_url
from sqlalchemy.exc import ArgumentError
from sqlalchemy.ext.asyncio import AsyncEngine

from governor.domain.errors import GovernorError
from governor.domain.values import Revision
from governor.storage import migrate as migrations
from governor.storage import postgres, queries, sqlite
from governor.storage.dialect import PostgresDialect, SqliteDialect
from governor.storage.errors import NoSuchStore, UnknownStore
from governor.storage.hints import Hints
from governor.storage.reader import Reader
from governor.storage.replicas import LEASE_SHARE, Alone, Replica
from governor.storage.snapshots import Snapshots
from governor.storage.store import SqlStore, StoreLimits
from governor.storage.transaction import Transactions, log_failure, unavailable
from governor.usecases.commits import Head
from governor.usecases.ports import EntryEncoder, Failpoints, no_failpoints

_T = TypeVar("_T")


async def open_store(
    url: str,
    *,
    encode: EntryEncoder,
    failpoints: Failpoints = no_failpoints,
    limits: StoreLimits | None = None,
    migrate: bool = False,
) -> SqlStore:
    """The store at `url`: sqlite:///FILE or postgresql://.... Close it.

    With `migrate` its schema is brought up to date first, and a file that is not there is made.
    Raises StoreRefused by name, or StoreUnavailable.
    """
    parsed = parse(url)
    opener = _open_sqlite if is_sqlite(parsed) else _open_postgres
    return await opener(parsed, encode, failpoints, limits or StoreLimits(), migrate=migrate)


async def migrate(url: str, versions: Sequence[Path] = (migrations.PACKAGED,)) -> str:
    """Brings the schema up to date, making a SQLite file that is not there; answers its version.

    Raises StoreRefused by name, or StoreUnavailable.
    """

    def upgrade(connection: Connection) -> str:
        return migrations.upgrade(connection, versions)

    parsed = parse(url)
    if is_sqlite(parsed):
        path = sqlite.database_path(parsed)
        sqlite.create_file(path)
        lock = sqlite.ProcessLock(path)
        lock.acquire()
        try:
            return await on_sqlite(path, upgrade)
        finally:
            lock.release()
    return await on_postgres(postgres.Server.of(parsed), upgrade)


def parse(url: str) -> URL:
    """Raises UnknownStore for what names neither database."""
    try:
        parsed = make_url(url)
        backend = parsed.get_backend_name()
    except ArgumentError:
        raise UnknownStore(url.partition(":")[0]) from None
    if backend not in ("sqlite", "postgresql"):
        raise UnknownStore(backend)
    return parsed


def is_sqlite(url: URL) -> bool:
    return url.get_backend_name() == "sqlite"


async def _open_sqlite(
    url: URL, encode: EntryEncoder, failpoints: Failpoints, limits: StoreLimits, *, migrate: bool
) -> SqlStore:
    path = sqlite.database_path(url)
    if not migrate and not path.is_file():
        raise NoSuchStore(str(path))
    sqlite.create_file(path)
    lock = sqlite.ProcessLock(path)
    lock.acquire()

    async def release() -> None:
        lock.release()

    try:
        head = await on_sqlite(path, partial(_prepare, failpoints=failpoints, migrate=migrate))
        snapshots = Snapshots(bytes_max=limits.snapshot_bytes_max)
        writer = sqlite.SqliteWriter(
            path=path,
            transactions=Transactions(
                dialect=SqliteDialect(), encode=encode, failpoints=failpoints, head=head
            ),
            snapshots=snapshots,
            head=head,
            waiting_max=limits.commits_waiting_max,
            waiting_bytes_max=limits.commits_waiting_bytes_max,
            batch_max=limits.commits_per_transaction_max,
            wal_bytes_alarm=limits.wal_bytes_alarm,
        )
        engine = sqlite.reader_engine(path, connections_max=limits.readers_max)
    except BaseException:
        lock.release()
        raise
    reader = Reader(engine, snapshots)
    return SqlStore(reader=reader, writer=writer, membership=Alone(reader), release=release)


async def _open_postgres(
    url: URL, encode: EntryEncoder, failpoints: Failpoints, limits: StoreLimits, *, migrate: bool
) -> SqlStore:
    server = postgres.Server.of(url)
    head = await on_postgres(server, partial(_prepare, failpoints=failpoints, migrate=migrate))
    snapshots = Snapshots(bytes_max=limits.snapshot_bytes_max)
    dialect = PostgresDialect(idle_seconds_max=limits.lease_seconds * LEASE_SHARE)
    members = postgres.member_engine(server)
    replica = Replica(
        id=f"rp-{secrets.token_hex(8)}",
        lease_seconds=limits.lease_seconds,
        run=lambda work: _in_a_transaction(members, dialect, work),
        now=postgres.database_time,
    )
    try:
        with only_our_words():
            await replica.join()
    except BaseException:
        await members.dispose()
        raise
    writer = postgres.PostgresWriter(
        engine=postgres.writer_engine(server),
        dialect=dialect,
        transactions=Transactions(
            dialect=dialect, encode=encode, failpoints=failpoints, head=head, owner=replica.id
        ),
        snapshots=snapshots,
        head=head,
        waiting_max=limits.commits_waiting_max,
        waiting_bytes_max=limits.commits_waiting_bytes_max,
        batch_max=limits.commits_per_transaction_max,
        poll_seconds=limits.ledger_poll_seconds_max,
    )
    hints = Hints(server.connect, writer.look)
    writer.tell_others_by(hints.tell)

    async def release() -> None:
        await hints.close()
        await members.dispose()

    reader = Reader(postgres.reader_engine(server), snapshots)
    return SqlStore(reader=reader, writer=writer, membership=replica, release=release)


async def _in_a_transaction(
    engine: AsyncEngine, dialect: PostgresDialect, work: Callable[[Connection], _T]
) -> _T:
    async with engine.begin() as connection:
        await connection.run_sync(dialect.bound_idleness)
        return await connection.run_sync(work)


def _prepare(connection: Connection, *, failpoints: Failpoints, migrate: bool) -> Head:
    if migrate:
        migrations.upgrade(connection, failpoints=failpoints)
    else:
        migrations.check(connection)
    with connection.begin():
        row = connection.execute(queries.head()).one()
    return Head(store_id=row.store_id, revision=Revision(row.size), root=row.root)


async def on_sqlite(path: Path, work: Callable[[Connection], _T]) -> _T:
    """Does one piece of work on a writing connection, which is then closed. Hold the lock."""

    def run() -> _T:
        engine = sqlite.writer_engine(path)
        with engine.connect() as connection:
            return work(connection)

    with only_our_words():
        return await asyncio.to_thread(run)


async def on_postgres(server: postgres.Server, work: Callable[[Connection], _T]) -> _T:
    """The same on a server."""
    engine = postgres.writer_engine(server)
    try:
        with only_our_words():
            async with engine.connect() as connection:
                return await connection.run_sync(work)
    finally:
        await engine.dispose()


@contextmanager
def only_our_words() -> Iterator[None]:
    """Lets refusals through, and turns every other failure into StoreUnavailable."""
    try:
        yield
    except GovernorError:
        raise
    except Exception as error:
        log_failure("the store cannot be opened", error)
        raise unavailable(error) from error
