"""Copies a SQLite store while it is being written, page by page, and verifies the copy.

The copy is made under a name of its own and renamed into place when it is whole and on disk, so
that what bears a backup's name is one.
"""

import asyncio
import os
import sqlite3
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Final
from urllib.parse import quote

from governor.domain.ledger import Checkpoint
from governor.storage import sqlite
from governor.storage.errors import (
    BackedUpElsewhere,
    CopyFailed,
    FileRefused,
    NoSuchStore,
    Occupied,
)
from governor.storage.findings import EntryDecoder, Finding
from governor.storage.open import is_sqlite, parse
from governor.storage.verify import Verified, sqlite_snapshot, verify_snapshot

CHECKPOINT_SUFFIX: Final = ".checkpoint"

_PAGES_PER_STEP: Final = 1_024  # after each of which the progress is told
_SIDES: Final = ("-wal", "-shm", "-journal")  # what SQLite keeps beside a file

Progress = Callable[[int, int], None]
"""Told how many pages have been copied, of how many. Called on another thread."""


async def back_up(
    url: str,
    target: Path,
    *,
    decode: EntryDecoder,
    report: Callable[[Finding], None],
    progress: Progress,
) -> Verified:
    """Makes `target`, with a checkpoint beside it, of the store as of one moment.

    Nothing is made of a copy in which something was found; every fault is reported. Raises
    StoreRefused or StoreUnavailable.
    """
    parsed = parse(url)
    if not is_sqlite(parsed):
        raise BackedUpElsewhere
    source = sqlite.database_path(parsed)
    checkpoint_file = target.with_name(target.name + CHECKPOINT_SUFFIX)
    for path in (target, checkpoint_file):
        if path.exists():
            raise Occupied(str(path))
    with draft_beside(target) as draft:
        await asyncio.to_thread(copy, _in_use(source), draft, progress)
        verified = await verify_copy(draft, decode=decode, report=report)
        if verified.findings:
            return verified
        # The checkpoint first: a backup that is there has its own beside it.
        with draft_beside(checkpoint_file) as note:
            note.write_text(checkpoint_of(verified).to_text())
            put_in_place(note, checkpoint_file)
        put_in_place(draft, target)
    return verified


def checkpoint_of(verified: Verified) -> Checkpoint:
    """What a store was found to be, to hold it to later."""
    return Checkpoint(origin=verified.store_id, size=verified.size, root=verified.root)


async def verify_copy(
    path: Path,
    *,
    decode: EntryDecoder,
    report: Callable[[Finding], None],
    checkpoint: Checkpoint | None = None,
) -> Verified:
    """Verifies a file that nobody writes to, and leaves nothing beside it."""
    ends: list[Verified] = []
    snapshot = sqlite_snapshot(path, immutable=True)
    async for item in verify_snapshot(snapshot, decode=decode, checkpoint=checkpoint):
        if isinstance(item, Verified):
            ends.append(item)
        else:
            report(item)
    return ends[0]


def copy(source: str, draft: Path, progress: Progress) -> None:
    """Every page of a file, named by its URI, as of one moment. Raises CopyFailed.

    One transaction around all steps holds the moment; without it, each commit of the writer would
    make the copying start over.
    """
    try:
        with (
            closing(sqlite3.connect(source, uri=True, isolation_level=None)) as original,
            closing(sqlite3.connect(draft, isolation_level=None)) as made,
        ):
            for name, wanted in sqlite.READER_PRAGMAS.items():
                original.execute(f"PRAGMA {name} = {wanted}")
            # Until it is whole it is nothing; then it is made durable as a file.
            made.execute("PRAGMA journal_mode = OFF")
            made.execute("PRAGMA synchronous = OFF")
            original.execute("BEGIN")
            original.execute("SELECT count(*) FROM sqlite_master").fetchone()
            original.backup(
                made,
                pages=_PAGES_PER_STEP,
                progress=lambda _, left, pages: progress(pages - left, pages),
            )
    except sqlite3.Error as error:
        raise CopyFailed(str(draft.parent), error) from error


def _in_use(source: Path) -> str:
    """Read through a connection that cannot write: it runs no checkpoint, also not as it closes."""
    if not source.is_file():
        raise NoSuchStore(str(source))
    return f"file:{quote(str(source))}?mode=ro"


def put_away(source: Path) -> str:
    """A backup, which may lie where nothing can be written beside it. One that has a log beside it
    is somebody's store, and read like one.
    """
    settled = "" if beside(source, "-wal").exists() else "&immutable=1"
    return f"{_in_use(source)}{settled}"


def beside(path: Path, side: str) -> Path:
    """One of SQLite's own files of a database file."""
    return path.with_name(path.name + side)


# ---------------------------------------------------------------- files in the making


@contextmanager
def draft_beside(target: Path) -> Iterator[Path]:
    """A file for its owner's eyes in the target's folder, gone at the end unless put in place."""
    try:
        handle, name = tempfile.mkstemp(prefix=f"{target.name}.", suffix=".new", dir=target.parent)
    except OSError as error:
        raise FileRefused(str(target), error) from error
    os.close(handle)
    draft = Path(name)
    try:
        yield draft
    except OSError as error:
        raise FileRefused(str(target), error) from error
    finally:
        for side in ("", *_SIDES):
            beside(draft, side).unlink(missing_ok=True)


def put_in_place(draft: Path, target: Path) -> None:
    """Makes the draft durable, then its name."""
    sync(draft)
    draft.replace(target)
    sync(target.parent)


def sync(path: Path) -> None:
    """Returns when a file, or the names in a folder, are on disk."""
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
