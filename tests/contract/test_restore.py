"""Backups are whole or not there; what is restored has an id of its own, and its history holds."""

import asyncio
import os
import stat
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from shutil import copyfile
from typing import Any

import pytest
import pytest_asyncio
from sqlalchemy import make_url

from governor.domain.errors import StoreUnavailable
from governor.domain.host_standing import HoldCode
from governor.domain.ledger import Checkpoint
from governor.domain.values import RequestId
from governor.storage import migrate as migrations
from governor.storage import sqlite
from governor.storage.backup import Progress, back_up
from governor.storage.errors import (
    BackedUpElsewhere,
    CopyFailed,
    FileRefused,
    NoSuchStore,
    Occupied,
    RestoredElsewhere,
    StoreInUse,
    WrittenMeanwhile,
)
from governor.storage.findings import Fault, Finding
from governor.storage.open import migrate, open_store
from governor.storage.restore import Restoration, Restored
from governor.storage.store import SqlStore
from governor.storage.verify import Verified, verify
from governor.usecases.commits import Entry
from tests.support.backends import Backend, Opener, SqliteFolder
from tests.support.builders import START, decode_entry, encode_entry, make_request, submission
from tests.support.pages import Pages

NEW_ID = "f" * 32
ASIDE = "store.db.replaced-20231114T221320Z"  # at START


def unheard(done: int, pages: int) -> None:
    """Nobody watches."""


def bytes_of(path: Path) -> bytes:
    return path.read_bytes()


def restoration(reported: list[Finding] | None = None, **fields: Any) -> Restoration:
    wanted: dict[str, Any] = {
        "store_id": NEW_ID,
        "at": START,
        "encode": encode_entry,
        "decode": decode_entry,
        "report": (reported if reported is not None else []).append,
        "progress": unheard,
    }
    return Restoration(**(wanted | fields))


async def submit(store: SqlStore, *names: str) -> Checkpoint:
    """The ledger after these, for holding it to later."""
    for name in names:
        await store.commit(submission(make_request(name)))
    head = store.head
    return Checkpoint(origin=head.store_id, size=head.revision, root=head.root)


async def faults(url: str, checkpoint: Checkpoint | None = None) -> list[Fault]:
    said = [item async for item in verify(url, decode=decode_entry, checkpoint=checkpoint)]
    return [item.fault for item in said if isinstance(item, Finding)]


# ---------------------------------------------------------------- a new id, on every database


async def test_a_restored_store_holds_to_checkpoints_of_before_as_far_as_it_goes(
    backend: Backend, opened: Opener
) -> None:
    """It was put back to `kept`. What a former checkpoint tells of and is gone is a removed tail,
    also once the ledger has grown past it; what neither id wrote is another store's.
    """
    store = await opened()
    early = await submit(store, "one")
    kept = await submit(store, "two")
    lost = Checkpoint(origin=kept.origin, size=kept.size + 3, root=bytes(32))
    await store.close()
    outcome = await restoration().in_place(backend.url)
    assert isinstance(outcome, Restored)
    assert (outcome.store_id, outcome.verified.store_id) == (NEW_ID, kept.origin)
    store = await opened()
    assert store.head.store_id == NEW_ID
    later = await submit(store, "three", "four")
    for checkpoint in (early, kept, later):
        assert await faults(backend.url, checkpoint) == []
    assert await faults(backend.url, lost) == [Fault.TAIL_REMOVED]
    foreign = Checkpoint(origin="another", size=kept.size, root=kept.root)
    assert await faults(backend.url, foreign) == [Fault.CHECKPOINT_OF_ANOTHER_STORE]
    changed = Checkpoint(origin=kept.origin, size=early.size, root=kept.root)
    assert await faults(backend.url, changed) == [Fault.HISTORY_REWRITTEN]


async def test_a_store_that_is_restored_twice_remembers_both(
    backend: Backend, opened: Opener
) -> None:
    """Each of its former ids reaches as far as it did."""
    store = await opened()
    first = await submit(store, "one")
    await store.close()
    await restoration(store_id="a" * 32).in_place(backend.url)
    store = await opened()
    second = await submit(store, "two")
    await store.close()
    await restoration(store_id="b" * 32).in_place(backend.url)
    for checkpoint in (first, second):
        assert await faults(backend.url, checkpoint) == []
    beyond = Checkpoint(origin=first.origin, size=second.size, root=second.root)
    assert await faults(backend.url, beyond) == [Fault.TAIL_REMOVED]


async def test_a_size_that_the_ledger_never_reached_is_found(
    backend: Backend, opened: Opener
) -> None:
    """Whoever removes a tail cannot pass the rest off as restored."""
    store = await opened()
    await submit(store, "one")
    await store.close()
    await restoration().in_place(backend.url)
    await backend.run("UPDATE former_stores SET size = 99")
    assert await faults(backend.url) == [Fault.FORMER_STORE_SIZE]


async def test_a_store_with_a_fault_keeps_its_id(backend: Backend, opened: Opener) -> None:
    """The fault is told; what is to be done about it is for a person to decide."""
    store = await opened()
    checkpoint = await submit(store, "one")
    await store.close()
    await backend.run("UPDATE requests SET payload = :other", other=b"other")
    reported: list[Finding] = []
    outcome = await restoration(reported).in_place(backend.url)
    assert isinstance(outcome, Verified)
    assert [finding.fault for finding in reported] == [Fault.REQUEST_CONTENT]
    (head,) = await backend.run("SELECT store_id FROM head")
    assert head["store_id"] == checkpoint.origin
    assert await backend.run("SELECT * FROM former_stores") == []


async def test_a_store_that_does_not_agree_with_the_checkpoint_is_not_restored(
    backend: Backend, opened: Opener
) -> None:
    """An older backup than was meant, for example."""
    store = await opened()
    now = await submit(store, "one")
    await store.close()
    newer = Checkpoint(origin=now.origin, size=now.size + 1, root=bytes(32))
    reported: list[Finding] = []
    assert isinstance(await restoration(reported, checkpoint=newer).in_place(backend.url), Verified)
    assert [finding.fault for finding in reported] == [Fault.TAIL_REMOVED]
    assert await backend.run("SELECT * FROM former_stores") == []


async def test_a_store_that_was_written_while_it_was_verified_keeps_its_id(
    backend: Backend, opened: Opener
) -> None:
    """What would be noted as its size is not what was verified."""
    store = await opened()
    await submit(store, "one")
    await store.close()

    def decode(data: bytes) -> Entry:
        writes = backend.run("UPDATE head SET root = :root", root=os.urandom(32))
        writing = threading.Thread(target=asyncio.run, args=(writes,))
        writing.start()
        writing.join()
        return decode_entry(data)

    with pytest.raises(WrittenMeanwhile):
        await restoration(decode=decode).in_place(backend.url)
    assert await backend.run("SELECT * FROM former_stores") == []


async def test_a_governor_that_still_runs_on_it_writes_nothing_more(
    backend: Backend, opened: Opener
) -> None:
    """SQLite's file is held by it; a database server's is not, and it finds out as it commits."""
    store = await opened()
    await submit(store, "one")
    if backend.is_sqlite:
        with pytest.raises(StoreInUse):
            await restoration().in_place(backend.url)
        return
    await restoration().in_place(backend.url)
    with pytest.raises(StoreUnavailable):
        await submit(store, "two")
    assert await faults(backend.url) == []


async def test_a_database_server_is_backed_up_and_put_back_by_its_own_tools(tmp_path: Path) -> None:
    """Which ones is said."""
    with pytest.raises(BackedUpElsewhere, match="pg_dump"):
        await make_backup("postgresql://nowhere/x", tmp_path / "backup.db")
    with pytest.raises(RestoredElsewhere, match="pg_restore"):
        await restoration().from_backup(tmp_path / "backup.db", "postgresql://nowhere/x")


# ---------------------------------------------------------------- backups of a file


async def make_backup(
    url: str, target: Path, reported: list[Finding] | None = None, progress: Progress = unheard
) -> Verified:
    return await back_up(
        url,
        target,
        decode=decode_entry,
        report=(reported if reported is not None else []).append,
        progress=progress,
    )


@pytest_asyncio.fixture
async def file(sqlite_folder: SqliteFolder, tmp_path: Path) -> AsyncIterator[Backend]:
    """SQLite alone."""
    async with sqlite_folder.fresh(tmp_path) as fresh:
        yield fresh


def path_of(file: Backend) -> Path:
    return sqlite.database_path(make_url(file.url))


def names_in(folder: Path) -> set[str]:
    return {found.name for found in folder.iterdir()}


async def test_a_backup_is_one_moment_of_a_store_that_goes_on_writing(
    file: Backend, tmp_path: Path
) -> None:
    """After every step of the copying somebody commits, and is not made to wait for its end."""
    store = await open_store(file.url, encode=encode_entry)
    for number in range(20):
        large = make_request(f"large-{number}", payload=b"x" * 1_048_576)
        await store.commit(submission(large))
    moment = await submit(store, "last-before")
    loop, steps = asyncio.get_running_loop(), 0

    def progress(done: int, pages: int) -> None:
        nonlocal steps
        steps += 1
        assert steps < 100, "it starts over at every commit"
        asyncio.run_coroutine_threadsafe(submit(store, f"meanwhile-{steps}"), loop).result(30)

    verified = await make_backup(file.url, tmp_path / "backup.db", progress=progress)
    assert steps >= 3
    assert store.head.revision == moment.size + 3 * steps
    assert (verified.findings, verified.size, verified.root) == (0, moment.size, moment.root)
    written = (tmp_path / "backup.db.checkpoint").read_text()
    assert Checkpoint.from_text(written) == moment
    assert stat.S_IMODE((tmp_path / "backup.db").stat().st_mode) == 0o600
    await store.close()
    assert await faults(file.url) == []


async def test_a_backup_runs_no_checkpoint(file: Backend, tmp_path: Path) -> None:
    """One connection of one process may, and it is not this one's. The log stays as it was."""
    store = await open_store(file.url, encode=encode_entry)
    await submit(store, "one")
    database, log = path_of(file), path_of(file).with_name("store.db-wal")
    before = (database.stat().st_mtime_ns, log.stat().st_size)
    await make_backup(file.url, tmp_path / "backup.db")
    assert (database.stat().st_mtime_ns, log.stat().st_size) == before
    await store.close()


@pytest.mark.parametrize("there", ["backup.db", "backup.db.checkpoint"])
async def test_a_backup_overwrites_nothing(file: Backend, tmp_path: Path, there: str) -> None:
    """Neither an older one nor its checkpoint."""
    (tmp_path / there).write_text("precious")
    with pytest.raises(Occupied, match="not overwritten"):
        await make_backup(file.url, tmp_path / "backup.db")
    assert (tmp_path / there).read_text() == "precious"


async def test_no_backup_is_made_of_a_store_with_a_fault(file: Backend, tmp_path: Path) -> None:
    """Somebody might rely on it; nothing is left of the attempt."""
    store = await open_store(file.url, encode=encode_entry)
    await submit(store, "one")
    await store.close()
    await file.run("DELETE FROM requests")
    (tmp_path / "backups").mkdir()
    reported: list[Finding] = []
    verified = await make_backup(file.url, tmp_path / "backups" / "backup.db", reported)
    assert verified.findings == 1
    assert [finding.fault for finding in reported] == [Fault.REQUEST_MISSING]
    assert names_in(tmp_path / "backups") == set()


async def test_a_backup_that_cannot_be_made_is_refused_by_name(
    file: Backend, tmp_path: Path
) -> None:
    """No store, no folder to put it in, no database in the file."""
    with pytest.raises(NoSuchStore):
        await make_backup(f"sqlite:///{tmp_path}/none.db", tmp_path / "backup.db")
    with pytest.raises(FileRefused, match="No such file"):
        await make_backup(file.url, tmp_path / "none" / "backup.db")
    path_of(file).write_bytes(b"Dear Sir or Madam, " * 500)
    with pytest.raises(CopyFailed, match="SQLITE_NOTADB"):
        await make_backup(file.url, tmp_path / "backup.db")
    assert not (tmp_path / "backup.db").exists()


# ---------------------------------------------------------------- restoring a file


@pytest_asyncio.fixture
async def backup(file: Backend, tmp_path: Path) -> Path:
    """A backup of the file, which has been written to since."""
    store = await open_store(file.url, encode=encode_entry)
    await submit(store, "one", "two")
    (tmp_path / "backups").mkdir()
    path = tmp_path / "backups" / "backup.db"
    await make_backup(file.url, path)
    await submit(store, "after")
    await store.close()
    return path


async def test_a_restored_file_is_the_backup_under_a_new_id_and_can_be_written_on(
    backup: Path, tmp_path: Path
) -> None:
    """The backup itself stays as it is, and nothing is left beside it."""
    before = bytes_of(backup)
    url = f"sqlite:///{tmp_path}/restored.db"
    outcome = await restoration().from_backup(backup, url)
    assert isinstance(outcome, Restored)
    assert outcome.replaced is None
    assert bytes_of(backup) == before
    assert names_in(backup.parent) == {"backup.db", "backup.db.checkpoint"}
    assert stat.S_IMODE((tmp_path / "restored.db").stat().st_mode) == 0o600
    store = await open_store(url, encode=encode_entry)
    assert (store.head.store_id, store.head.revision) == (NEW_ID, 7), "the host is held as well"
    hold = (await store.host_standing()).hold
    assert hold is not None
    assert hold.code is HoldCode.STORE_RESTORED
    await submit(store, "onwards")
    await store.close()
    old = Checkpoint.from_text((backup.parent / "backup.db.checkpoint").read_text())
    assert await faults(url, old) == []


async def test_what_is_there_is_replaced_only_if_asked_for_and_kept_whole(
    file: Backend, backup: Path
) -> None:
    """With all that it was written since the backup, under its old id."""
    folder = path_of(file).parent
    before = path_of(file).read_bytes()
    with pytest.raises(Occupied, match="--replace"):
        await restoration().from_backup(backup, file.url)
    assert path_of(file).read_bytes() == before
    outcome = await restoration(replace=True).from_backup(backup, file.url)
    assert isinstance(outcome, Restored)
    assert outcome.replaced == folder / ASIDE
    assert names_in(folder) == {"store.db", "store.db.lock", ASIDE, "backups"}
    kept = await open_store(f"sqlite:///{folder / ASIDE}", encode=encode_entry)
    assert kept.head.store_id == outcome.verified.store_id
    assert await kept.request(RequestId("after")) is not None
    await kept.close()
    store = await open_store(file.url, encode=encode_entry)
    assert await store.request(RequestId("after")) is None
    await store.close()


async def test_the_log_of_a_store_that_was_killed_goes_with_it(
    file: Backend, backup: Path, tmp_path: Path
) -> None:
    """A log that met the restored file would be taken for its own. What it holds is kept."""
    path, log = path_of(file), path_of(file).with_name("store.db-wal")
    store = await open_store(file.url, encode=encode_entry)
    await submit(store, "in-the-log")
    database, logged = path.read_bytes(), log.read_bytes()
    await store.close()
    path.write_bytes(database)
    log.write_bytes(logged)
    await restoration(replace=True).from_backup(backup, file.url)
    assert not log.exists()
    assert await faults(file.url) == []
    kept = await open_store(f"sqlite:///{tmp_path / ASIDE}", encode=encode_entry)
    assert await kept.request(RequestId("in-the-log")) is not None
    await kept.close()


async def test_a_store_that_cannot_be_opened_is_replaced_and_kept_as_it_is(
    file: Backend, backup: Path, tmp_path: Path
) -> None:
    """It may be the reason for restoring."""
    path_of(file).write_bytes(b"no database" * 1_000)
    path_of(file).with_name("store.db-wal").write_bytes(b"no log")
    outcome = await restoration(replace=True).from_backup(backup, file.url)
    assert isinstance(outcome, Restored)
    assert (tmp_path / ASIDE).read_bytes() == b"no database" * 1_000
    assert not (tmp_path / "store.db-wal").exists()
    assert await faults(file.url) == []


async def test_a_log_without_its_file_is_not_adopted(backup: Path, tmp_path: Path) -> None:
    """Somebody removed the one and forgot the other."""
    (tmp_path / "new.db-wal").write_bytes(b"of whatever")
    with pytest.raises(Occupied):
        await restoration().from_backup(backup, f"sqlite:///{tmp_path}/new.db")
    await restoration(replace=True).from_backup(backup, f"sqlite:///{tmp_path}/new.db")
    assert not (tmp_path / "new.db-wal").exists()
    assert await faults(f"sqlite:///{tmp_path}/new.db") == []


async def test_a_backup_with_a_fault_replaces_nothing(
    file: Backend, backup: Path, tmp_path: Path
) -> None:
    """One byte of it was turned. The store that is there stays, and nothing lies around."""
    Pages(backup).flip(bytes_of(backup).index(b'"environment":"test"') + 16, bits=1)
    before, names = path_of(file).read_bytes(), names_in(tmp_path)
    reported: list[Finding] = []
    outcome = await restoration(reported, replace=True).from_backup(backup, file.url)
    assert isinstance(outcome, Verified)
    assert [finding.fault for finding in reported] == [Fault.REQUEST_CONTENT]
    assert path_of(file).read_bytes() == before
    assert names_in(tmp_path) == names


async def test_a_file_is_not_replaced_under_a_governor_that_runs(
    file: Backend, backup: Path
) -> None:
    """It would go on writing into the file that was put aside."""
    store = await open_store(file.url, encode=encode_entry)
    with pytest.raises(StoreInUse):
        await restoration(replace=True).from_backup(backup, file.url)
    await store.close()


async def test_a_copy_of_a_file_and_its_log_is_restored_with_what_is_in_the_log(
    file: Backend, tmp_path: Path
) -> None:
    """As a snapshot of the file system has them."""
    pair = tmp_path / "snapshot" / "store.db"
    pair.parent.mkdir()
    copyfile(path_of(file), pair)
    store = await open_store(file.url, encode=encode_entry)
    await submit(store, "in-the-log")
    copyfile(path_of(file).with_name("store.db-wal"), pair.with_name("store.db-wal"))
    await store.close()
    url = f"sqlite:///{tmp_path}/restored.db"
    assert isinstance(await restoration().from_backup(pair, url), Restored)
    store = await open_store(url, encode=encode_entry)
    assert await store.request(RequestId("in-the-log")) is not None
    await store.close()


async def test_an_older_backup_is_brought_up_to_date_as_it_is_restored(tmp_path: Path) -> None:
    """And stays as old as it is where it lies."""
    versions, backup = tmp_path / "versions", tmp_path / "old.db"
    versions.mkdir()
    copyfile(migrations.PACKAGED / "v0001_first.py", versions / "v0001_first.py")
    assert await migrate(f"sqlite:///{backup}", [versions]) == "0001"
    before = bytes_of(backup)
    url = f"sqlite:///{tmp_path}/restored.db"
    assert isinstance(await restoration().from_backup(backup, url), Restored)
    store = await open_store(url, encode=encode_entry)
    await submit(store, "one")
    await store.close()
    assert bytes_of(backup) == before


async def test_a_backup_that_is_not_there_makes_no_store(tmp_path: Path) -> None:
    """Nor does a store that is to be restored where it is."""
    url = f"sqlite:///{tmp_path}/restored.db"
    with pytest.raises(NoSuchStore):
        await restoration().from_backup(tmp_path / "none.db", url)
    with pytest.raises(NoSuchStore):
        await restoration().in_place(url)
    assert names_in(tmp_path) == set()
