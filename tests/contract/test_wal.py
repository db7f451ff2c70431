"""SQLite's write-ahead log: what it holds at every prefix, and that it does not grow unseen."""

import logging
import sqlite3
from collections.abc import AsyncIterator, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest
import pytest_asyncio
from sqlalchemy import make_url

from governor.domain.values import RequestId, Revision
from governor.storage import sqlite
from governor.storage.open import open_store
from governor.storage.store import StoreLimits
from governor.storage.verify import Verified, verify
from tests.support.backends import Backend, SqliteFolder
from tests.support.builders import (
    change,
    decode_entry,
    encode_entry,
    make_execution,
    make_key,
    make_request,
    submission,
)

HEADER_BYTES = 32
FRAME_HEADER_BYTES = 24
PAGE_BYTES = 8_192
FRAME_BYTES = FRAME_HEADER_BYTES + PAGE_BYTES
COMMITS = 6


@pytest_asyncio.fixture
async def backend(sqlite_folder: SqliteFolder, tmp_path: Path) -> AsyncIterator[Backend]:
    """SQLite alone."""
    async with sqlite_folder.fresh(tmp_path) as fresh:
        yield fresh


def path_of(backend: Backend) -> Path:
    return sqlite.database_path(make_url(backend.url))


def log_of(database: Path) -> Path:
    return database.with_name(f"{database.name}-wal")


# ---------------------------------------------------------------- every prefix


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """A database file, its whole log, and what was acknowledged at which size of the log."""

    database: bytes
    log: bytes
    acknowledged: tuple[tuple[int, Revision], ...]

    def floor(self, log_bytes: int) -> Revision:
        """The last revision that was acknowledged within so much of the log."""
        within = [revision for size, revision in self.acknowledged if size <= log_bytes]
        return within[-1] if within else Revision(0)


@pytest_asyncio.fixture
async def written(backend: Backend) -> Written:
    """Commits of every kind, and no checkpoint among them."""
    path = path_of(backend)
    # Read before the store is open: to open and close the file afterwards would take its locks.
    database = path.read_bytes()
    acknowledged = []
    store = await open_store(backend.url, encode=encode_entry)
    for number in range(COMMITS // 2):
        request = make_request(f"request-{number}", payload=b"x" * 4_000 * number)
        first = await store.commit(submission(request, key=make_key(f"call-{number}")))
        acknowledged.append((log_of(path).stat().st_size, first.revision))
        (stands,) = first.requests
        second = await store.commit(change(stands, make_execution(stands)))
        acknowledged.append((log_of(path).stat().st_size, second.revision))
    log = log_of(path).read_bytes()
    await store.close()
    assert (len(log) - HEADER_BYTES) % FRAME_BYTES == 0
    assert len(log) // FRAME_BYTES < int(sqlite.WRITER_PRAGMAS["wal_autocheckpoint"])
    assert len({size for size, _ in acknowledged}) == COMMITS
    return Written(database=database, log=log, acknowledged=tuple(acknowledged))


def prefixes(log: bytes) -> Iterator[bytes]:
    """The log cut before its header's end, at each frame's end and within some frames; and whole
    but for one byte of its last frame, as a torn write leaves it.
    """
    yield b""
    yield log[: HEADER_BYTES // 2]
    for start in range(HEADER_BYTES, len(log), FRAME_BYTES):
        yield log[:start]
    for start in range(HEADER_BYTES, len(log), 7 * FRAME_BYTES):
        yield log[: start + FRAME_HEADER_BYTES]
        yield log[: start + FRAME_BYTES // 2]
    for place in (FRAME_BYTES, FRAME_BYTES // 2, 1):
        torn = bytearray(log)
        torn[-place] ^= 0xFF
        yield bytes(torn)
    yield log


async def test_the_store_opens_at_every_prefix_of_the_log_with_all_that_was_acknowledged_in_it(
    written: Written, tmp_path: Path
) -> None:
    """A power cut may leave any prefix. Each is a consistent state, holds every acknowledged commit
    whole, none by half, and can be written on.
    """
    heads = set()
    commits = {Revision(0), *(revision for _, revision in written.acknowledged)}
    for number, log in enumerate(prefixes(written.log)):
        path = tmp_path / f"prefix-{number}" / "store.db"
        path.parent.mkdir()
        path.write_bytes(written.database)
        log_of(path).write_bytes(log)
        torn = len(log) == len(written.log) and log != written.log
        floor = written.floor(len(log) - torn * FRAME_BYTES)
        store = await open_store(f"sqlite:///{path}", encode=encode_entry)
        head = store.head.revision
        assert head >= floor, f"{len(log)} bytes of the log hold revision {floor}"
        assert head in commits, "a commit is there by half"
        heads.add(head)
        after = await store.commit(submission(make_request("written-on")))
        assert after.revision == head + 3
        assert await store.request(RequestId("written-on")) is not None
        await store.close()
        said = [item async for item in verify(f"sqlite:///{path}", decode=decode_entry)]
        assert [type(item) for item in said] == [Verified], said
    assert heads == commits


# ---------------------------------------------------------------- a log that grows

ALARM_BYTES = sqlite.WAL_BYTES_KEPT + 1_048_576
LARGE = b"x" * 4_194_304


async def test_a_log_that_a_long_reader_holds_is_alarmed_once_and_once_when_it_is_back(
    backend: Backend, caplog: pytest.LogCaptureFixture
) -> None:
    """A reader from outside begins and does not end; no checkpoint can start the log over. When it
    has ended, the log is cut back by itself.
    """
    caplog.set_level(logging.WARNING, logger="governor.storage.wal")
    limits = StoreLimits(wal_bytes_alarm=ALARM_BYTES)
    store = await open_store(backend.url, encode=encode_entry, limits=limits)
    await store.commit(submission())
    before = store.vitals.wal_bytes
    assert before
    number = 0
    with closing(sqlite3.connect(path_of(backend), isolation_level=None)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT size FROM head").fetchone()
        while (store.vitals.wal_bytes or 0) <= ALARM_BYTES + 2 * len(LARGE):
            assert number < 40
            number += 1
            await store.commit(submission(make_request(f"large-{number}", payload=LARGE)))
        (passed,) = caplog.records
        assert "more than wal_bytes_alarm" in passed.getMessage()
        assert reader.execute("SELECT size FROM head").fetchone() == (3,), "it was a long reader"
        reader.execute("ROLLBACK")
    for small in ("lets-the-checkpoint-finish", "starts-the-log-over", "sees-it"):
        await store.commit(submission(make_request(small)))
    _, back = caplog.records
    assert "is back at" in back.getMessage()
    assert store.vitals.wal_bytes == sqlite.WAL_BYTES_KEPT
    await store.close()
