"""Puts a backup in a store's place, and gives what was restored an id of its own.

The ledger of a restored store goes back in time, and from there another way: revisions are given
out again. Under a new id nobody can take the one history for the other, and the table of former
stores says up to where they are the same.
"""

import asyncio
import logging
import os
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Final

from sqlalchemy import URL, Connection, insert, select, update
from sqlalchemy.exc import SQLAlchemyError

from governor.domain.ledger import Checkpoint
from governor.domain.values import Micros, Value
from governor.storage import migrate, postgres, sqlite, tables
from governor.storage.backup import (
    Progress,
    beside,
    copy,
    draft_beside,
    put_away,
    put_in_place,
    sync,
    verify_copy,
)
from governor.storage.dialect import PostgresDialect, SqliteDialect
from governor.storage.errors import (
    NoSuchStore,
    Occupied,
    RestoredElsewhere,
    StoreRefused,
    WrittenMeanwhile,
)
from governor.storage.findings import EntryDecoder, Finding
from governor.storage.open import is_sqlite, on_postgres, on_sqlite, parse
from governor.storage.standing import hold_after_restore
from governor.storage.verify import Verified, verify
from governor.usecases.ports import EntryEncoder

logger = logging.getLogger(__name__)

MICROS_PER_SECOND: Final = 1_000_000


class Restored(Value, frozen=True, kw_only=True):
    """What was put in place: `verified` is what it was, under the id it had until then."""

    verified: Verified
    store_id: str
    replaced: Path | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Restoration:
    """What is asked of a restoration, and what it needs from the world."""

    store_id: str  # the new one
    at: Micros
    encode: EntryEncoder
    decode: EntryDecoder
    report: Callable[[Finding], None]
    progress: Progress
    checkpoint: Checkpoint | None = None
    replace: bool = False

    async def from_backup(self, backup: Path, url: str) -> Restored | Verified:
        """Puts a copy of `backup` where `url` says; with `replace`, in place of what is there.

        Answers Verified, and has changed nothing, if something was found in the copy; every fault
        was reported then. Raises StoreRefused or StoreUnavailable, likewise.
        """
        parsed = parse(url)
        if not is_sqlite(parsed):
            raise RestoredElsewhere
        path, source = sqlite.database_path(parsed), put_away(backup)
        lock = sqlite.ProcessLock(path)
        lock.acquire()
        try:
            aside = self._aside(path)
            with draft_beside(path) as draft:
                await asyncio.to_thread(copy, source, draft, self.progress)
                await on_sqlite(draft, migrate.upgrade)
                verified = await verify_copy(
                    draft, decode=self.decode, report=self.report, checkpoint=self.checkpoint
                )
                if verified.findings:
                    return verified
                await on_sqlite(draft, partial(self._renew, verified=verified))
                if aside is not None:
                    await asyncio.to_thread(put_aside, path, aside)
                put_in_place(draft, path)
        finally:
            lock.release()
        return Restored(verified=verified, store_id=self.store_id, replaced=aside)

    async def in_place(self, url: str) -> Restored | Verified:
        """Renews the id of a store that was put where it is by other means, after verifying it.

        Answers and raises like `from_backup`.
        """
        parsed = parse(url)
        if not is_sqlite(parsed):
            return await self._in_place(url, parsed)
        path = sqlite.database_path(parsed)
        if not path.is_file():
            raise NoSuchStore(str(path))
        lock = sqlite.ProcessLock(path)
        lock.acquire()
        try:
            return await self._in_place(url, parsed)
        finally:
            lock.release()

    async def _in_place(self, url: str, parsed: URL) -> Restored | Verified:
        ends: list[Verified] = []
        async for item in verify(url, decode=self.decode, checkpoint=self.checkpoint):
            if isinstance(item, Verified):
                ends.append(item)
            else:
                self.report(item)
        (verified,) = ends
        if verified.findings:
            return verified
        renew = partial(self._renew, verified=verified)
        if is_sqlite(parsed):
            await on_sqlite(sqlite.database_path(parsed), renew)
        else:
            await on_postgres(postgres.Server.of(parsed), renew)
        return Restored(verified=verified, store_id=self.store_id)

    def _renew(self, connection: Connection, *, verified: Verified) -> None:
        """One transaction: the new id, and the host held until a person has looked."""
        head, former = tables.head, tables.former_stores
        with connection.begin():
            found = connection.execute(select(head).with_for_update()).one()
            if (found.store_id, found.size, found.root) != (
                verified.store_id,
                verified.size,
                verified.root,
            ):
                raise WrittenMeanwhile(found.store_id)
            connection.execute(
                insert(former).values(store_id=found.store_id, size=found.size, ended_at=self.at)
            )
            connection.execute(update(head).values(store_id=self.store_id))
            is_sqlite_file = connection.dialect.name == "sqlite"
            dialect = SqliteDialect() if is_sqlite_file else PostgresDialect()
            hold_after_restore(connection, now=self.at, dialect=dialect, encode=self.encode)

    def _aside(self, path: Path) -> Path | None:
        """Where what is there is to be kept; None if nothing is. Raises Occupied."""
        if not any(beside(path, side).exists() for side in ("", "-wal")):
            return None
        if not self.replace:
            raise Occupied(str(path), ": --replace keeps what is there under another name")
        moment = datetime.fromtimestamp(self.at / MICROS_PER_SECOND, UTC)
        aside = path.with_name(f"{path.name}.replaced-{moment:%Y%m%dT%H%M%SZ}")
        if aside.exists():
            raise Occupied(str(aside))
        return aside


def put_aside(path: Path, aside: Path) -> None:
    """Keeps a store that nobody has open under another name, as one file if it can be.

    While the old file has both names, the new one takes the first in a single step: there is no
    moment without a store, in which a server that is started would make an empty one.
    """
    try:
        # Ours is the only connection, as the lock says; closing it takes the log into the file.
        with sqlite.writer_engine(path).connect() as connection:
            connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
    except (SQLAlchemyError, StoreRefused) as error:
        logger.warning("what is replaced cannot be opened, and is kept as it is", exc_info=error)
    # A log must never meet a file that it is not of.
    log = beside(path, "-wal")
    if log.exists():
        log.rename(beside(aside, "-wal"))
    beside(path, "-shm").unlink(missing_ok=True)
    if path.exists():
        try:
            os.link(path, aside)
        except OSError:  # a file system without second names
            path.rename(aside)
    sync(path.parent)
