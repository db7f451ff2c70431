"""What only the embedded backend promises: its pragmas, its file, its lock, its one writer."""

import asyncio
import os
import signal
import sqlite3
import stat
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, cast

import pytest
import pytest_asyncio
from sqlalchemy import Connection, Select, create_engine, event, make_url, text
from sqlalchemy.dialects import sqlite as sqlite_dialect
from sqlalchemy.exc import OperationalError

from governor.domain.errors import StoreUnavailable
from governor.domain.execution import ExecutionStatus
from governor.domain.request import PendingReason, Status
from governor.domain.values import Micros, RequestId, Revision
from governor.storage import queries, sqlite
from governor.storage.dialect import BulkRow, SqliteDialect, _SqliteBulk
from governor.storage.entry_pages import entries
from governor.storage.errors import (
    FileRefused,
    NoSuchStore,
    NotDurable,
    PragmaRefused,
    StoreInUse,
    StoreRefused,
    UnknownStore,
)
from governor.storage.migrate import newest
from governor.storage.open import migrate, open_store
from governor.storage.request_pages import requests_page
from governor.storage.statements import Statements
from governor.storage.transaction import Settlement, Transactions
from governor.usecases.questions import Cursor, DecisionFilter, Due, ExecutionQuery, RequestQuery
from tests.support.backends import WAIT_SECONDS_MAX, Backend, Opener, SqliteFolder
from tests.support.builders import (
    START,
    change,
    encode_entry,
    make_execution,
    make_key,
    make_request,
    moved,
    submission,
)

HOLDER = """
import asyncio, sys
from governor.storage.migrate import newest
from governor.storage.open import open_store
from tests.support.builders import encode_entry, submission

async def hold():
    store = await open_store(sys.argv[1], encode=encode_entry)
    await store.commit(submission())
    print("ready", flush=True)
    await asyncio.to_thread(sys.stdin.read)
    await store.close()

asyncio.run(hold())
"""


@pytest_asyncio.fixture
async def backend(sqlite_folder: SqliteFolder, tmp_path: Path) -> AsyncIterator[Backend]:
    """SQLite alone."""
    async with sqlite_folder.fresh(tmp_path) as fresh:
        yield fresh


def path_of(backend: Backend) -> Path:
    return sqlite.database_path(make_url(backend.url))


# ---------------------------------------------------------------- pragmas


def test_every_pragma_of_the_writer_is_in_force(tmp_path: Path) -> None:
    """Said and read back: a setting that SQLite ignores is as good as none."""
    engine = sqlite.writer_engine(tmp_path / "store.db")
    with engine.connect() as connection:
        in_force = {
            name: connection.exec_driver_sql(f"PRAGMA {name}").scalar()
            for name in sqlite.WRITER_PRAGMAS
        }
        page_bytes = connection.exec_driver_sql("PRAGMA page_size").scalar()
    assert in_force == sqlite.WRITER_PRAGMAS
    assert in_force["journal_mode"] == "wal"
    assert in_force["synchronous"] == 2
    assert in_force["foreign_keys"] == 1
    assert page_bytes == 8_192


def test_a_transaction_of_the_writer_holds_the_lock_before_it_reads(tmp_path: Path) -> None:
    """What a batch reads to decide is still true when it is written."""
    path = tmp_path / "store.db"
    with (
        sqlite.writer_engine(path).connect() as connection,
        connection.begin(),
        closing(sqlite3.connect(path, timeout=0)) as intruder,
        pytest.raises(sqlite3.OperationalError, match="locked"),
    ):
        intruder.execute("BEGIN IMMEDIATE")


def test_a_file_that_does_not_take_a_pragma_is_refused(tmp_path: Path) -> None:
    """A database without a log of its own could not be read while it is written."""
    engine = create_engine(f"sqlite:///{tmp_path}/store.db")
    event.listen(engine, "connect", sqlite.set_up({"journal_mode": "unheard_of"}))
    with pytest.raises(PragmaRefused) as refused, engine.connect():
        pass
    assert refused.value.facts["pragma"] == "journal_mode"


async def test_readers_neither_write_nor_run_checkpoints(backend: Backend) -> None:
    """One connection runs every checkpoint, and it is not one of theirs."""
    store = await open_store(backend.url, encode=encode_entry)
    await store.commit(submission())
    engine = sqlite.reader_engine(path_of(backend), connections_max=1)
    for statement in ("DELETE FROM requests", "PRAGMA wal_checkpoint(TRUNCATE)"):
        async with engine.connect() as connection:
            with pytest.raises(OperationalError):
                await connection.execute(text(statement))
    await engine.dispose()
    await store.close()


async def test_a_closed_store_is_one_file(backend: Backend) -> None:
    """The writer's connection closes last, runs the last checkpoint and removes the log."""
    store = await open_store(backend.url, encode=encode_entry)
    await store.commit(submission())
    assert await store.requests(RequestQuery(tenant="acme"))
    names = {"store.db", "store.db-wal", "store.db-shm", "store.db.lock"}
    assert {found.name for found in path_of(backend).parent.glob("store.db*")} == names
    await store.close()
    assert {found.name for found in path_of(backend).parent.glob("store.db*")} == {
        "store.db",
        "store.db.lock",
    }


async def test_a_batch_that_finds_no_room_leaves_nothing_and_the_next_one_that_does_goes_on(
    backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SQLite's own word for a full disk, in the middle of a transaction. The same key makes one
    request, once there is room.
    """
    pages = path_of(backend).stat().st_size // 8_192
    monkeypatch.setitem(sqlite.WRITER_PRAGMAS, "max_page_count", pages + 4)
    store = await open_store(backend.url, encode=encode_entry)
    kept = await store.commit(submission())
    large = make_request("large", payload=b"x" * 100_000)
    asked = submission(large, key=make_key("large"))
    for _ in range(2):
        with pytest.raises(StoreUnavailable, match="the store's disk is full") as refused:
            await store.commit(asked)
        assert refused.value.facts == {"cause": "DISK_FULL"}
    assert store.head.revision == kept.revision
    assert await store.request(RequestId("large")) is None
    monkeypatch.setitem(sqlite.WRITER_PRAGMAS, "max_page_count", pages + 400)
    first = await store.commit(asked)
    again = await store.commit(asked)
    assert (first.revision, again.revision) == (kept.revision + 3, first.revision)
    assert again.replayed
    assert store.vitals.failures == {"DISK_FULL": 2}
    await store.close()


# ---------------------------------------------------------------- the file


async def test_the_files_are_their_owners_alone(tmp_path: Path) -> None:
    """Payloads may be secrets, whatever the umask says."""
    before = os.umask(0)
    try:
        store = await open_store(f"sqlite:///{tmp_path}/new.db", encode=encode_entry, migrate=True)
        await store.commit(submission())
        modes = [stat.S_IMODE(found.stat().st_mode) for found in os.scandir(tmp_path)]
        assert modes == [0o600] * 4
        await store.close()
    finally:
        os.umask(before)


@pytest.mark.parametrize("url", ["sqlite://", "sqlite:///", "sqlite:///:memory:"])
async def test_a_database_in_memory_is_refused(url: str) -> None:
    """It would forget what it acknowledged."""
    with pytest.raises(NotDurable):
        await open_store(url, encode=encode_entry, migrate=True)
    with pytest.raises(NotDurable):
        await migrate(url)


@pytest.mark.parametrize(
    "name", ["file:x?mode=memory&uri=true", "x.db?mode=memory", "x.db?nolock=1", "file:x.db"]
)
async def test_options_that_could_take_durability_away_are_refused(name: str) -> None:
    """A store is a plain path."""
    with pytest.raises(StoreRefused):
        await open_store(f"sqlite:///{name}", encode=encode_entry, migrate=True)


async def test_a_file_that_is_not_there_is_made_only_by_a_migration(tmp_path: Path) -> None:
    """A mistyped name must not become an empty store."""
    url = f"sqlite:///{tmp_path}/none.db"
    with pytest.raises(NoSuchStore):
        await open_store(url, encode=encode_entry)
    assert not any(os.scandir(tmp_path))
    with pytest.raises(NoSuchStore):
        await migrate(f"sqlite:///{tmp_path}/no/folder/none.db")


async def test_a_file_that_the_system_withholds_is_refused_by_name(tmp_path: Path) -> None:
    """The system's word for it is told: whoever started the server can do something about it."""
    (tmp_path / "folder.db").mkdir()
    with pytest.raises(FileRefused, match=r"folder\.db cannot be used: Is a directory"):
        await open_store(f"sqlite:///{tmp_path}/folder.db", encode=encode_entry, migrate=True)


async def test_a_file_that_is_no_database_is_refused_and_left_alone(tmp_path: Path) -> None:
    """In our words: the driver's stay in the log."""
    path = tmp_path / "letter.db"
    path.write_text("Dear Sir or Madam, " * 500)
    with pytest.raises(StoreUnavailable, match="or is no database") as refused:
        await open_store(f"sqlite:///{path}", encode=encode_entry, migrate=True)
    assert refused.value.facts == {"cause": "DAMAGED"}
    assert path.read_text().startswith("Dear Sir or Madam, Dear")


@pytest.mark.parametrize("url", ["mysql://x/y", "nonsense", "oracle+x://y", ""])
async def test_what_is_neither_database_is_refused_by_name(url: str) -> None:
    """The message says which there are, and never repeats a password."""
    with pytest.raises(UnknownStore, match="postgresql"):
        await open_store(url, encode=encode_entry)


async def test_a_path_with_odd_characters_is_that_path(tmp_path: Path) -> None:
    """The readers name the file by a URI, in which a percent sign or a question mark is special."""
    folder = tmp_path / "100% of #1"
    folder.mkdir()
    store = await open_store(f"sqlite:///{folder}/store.db", encode=encode_entry, migrate=True)
    await store.commit(submission())
    assert len(await store.requests(RequestQuery(tenant="acme"))) == 1
    await store.close()


# ---------------------------------------------------------------- one process


async def test_a_second_process_is_refused_and_told_who_holds_the_file(backend: Backend) -> None:
    """Two writers on one file would each believe a ledger of their own. Both ways round, also for
    a migration; through a symbolic link it is the same file.
    """
    with holder(backend.url) as process:
        link = path_of(backend).with_name("link.db")
        link.symlink_to(path_of(backend))
        for url in (backend.url, f"sqlite:///{link}"):
            with pytest.raises(StoreInUse, match=f"process {process.pid}"):
                await open_store(url, encode=encode_entry)
        with pytest.raises(StoreInUse):
            await migrate(backend.url)
        process.communicate(timeout=30)
    store = await open_store(backend.url, encode=encode_entry)
    refused = await asyncio.create_subprocess_exec(
        sys.executable, "-c", HOLDER, backend.url, stderr=asyncio.subprocess.PIPE
    )
    _, words = await refused.communicate()
    assert refused.returncode != 0
    assert f"process {os.getpid()}" in words.decode()
    await store.close()


async def test_a_killed_process_leaves_no_lock_and_everything_it_acknowledged(
    backend: Backend,
) -> None:
    """SIGKILL runs no handler; the kernel gives the lock back, and the log is replayed."""
    with holder(backend.url) as process:
        process.send_signal(signal.SIGKILL)
        process.wait(timeout=30)
    store = await open_store(backend.url, encode=encode_entry)
    assert store.head.revision == 3
    assert await store.request(RequestId("request-1")) is not None
    await store.close()


def holder(url: str) -> subprocess.Popen[str]:
    """Another process that has the store open, until its input ends."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, url],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


async def test_a_store_is_opened_once_in_a_process(backend: Backend) -> None:
    """Also by the process that holds it already; after a close it is free."""
    store = await open_store(backend.url, encode=encode_entry)
    with pytest.raises(StoreInUse):
        await open_store(backend.url, encode=encode_entry)
    await store.close()
    again = await open_store(backend.url, encode=encode_entry)
    await again.close()


async def test_a_refused_open_leaves_the_file_free(backend: Backend) -> None:
    """Whoever mends what was wrong can open it."""
    await backend.run("UPDATE governor_schema SET version_num = '9999'")
    with pytest.raises(StoreRefused):
        await open_store(backend.url, encode=encode_entry)
    await backend.run(f"UPDATE governor_schema SET version_num = '{newest()}'")
    store = await open_store(backend.url, encode=encode_entry)
    await store.close()


# ---------------------------------------------------------------- plans

TENANT = RequestQuery(tenant="acme", after=Cursor(revision=9, id="x"))
EXECUTIONS = ExecutionQuery(tenant="acme", after=Cursor(revision=9, id="x"))
FILTER = DecisionFilter(tenant="acme")
AFTER = Revision(5)


@pytest.mark.parametrize(
    ("statement", "index"),
    [
        (requests_page(TENANT), "requests_by_tenant"),
        (requests_page(TENANT.but(statuses=(Status.PENDING,))), "requests_by_status"),
        (
            requests_page(TENANT.but(pending_reasons=(PendingReason.APPROVAL,))),
            "requests_by_status",
        ),
        (requests_page(TENANT.but(state_type="t", state_id="s")), "requests_by_state"),
        (requests_page(TENANT.but(actor="a")), "requests_by_actor"),
        (requests_page(TENANT.but(category="c")), "requests_by_category"),
        (requests_page(TENANT.but(submitted_from=START)), "requests_by_tenant"),
        (requests_page(TENANT.but(tag="t")), "request_tags USING PRIMARY KEY"),
        (queries.executions_page(EXECUTIONS), "executions_by_tenant"),
        (
            queries.executions_page(EXECUTIONS.but(statuses=(ExecutionStatus.RUNNING,))),
            "executions_by_status",
        ),
        (queries.executions_page(EXECUTIONS.but(request_id="r")), "executions_by_request"),
        (
            queries.executions_page(EXECUTIONS.but(state_type="t", state_id="s")),
            "executions_by_state",
        ),
        (queries.executions_of(RequestId("r")), "executions_by_request"),
        (entries(after=AFTER, limit=9, filter=None), "INTEGER PRIMARY KEY"),
        (entries(after=AFTER, limit=9, filter=FILTER), "ledger_by_tenant"),
        (
            entries(after=AFTER, limit=9, filter=FILTER.but(codes=frozenset({"claimed"}))),
            "ledger_by_tenant",
        ),
        (
            entries(after=AFTER, limit=9, filter=FILTER.but(request_ids=frozenset({"r"}))),
            "ledger_by_request",
        ),
        (
            entries(after=AFTER, limit=9, filter=FILTER.but(actor="a")),
            "ledger_by_actor",
        ),
        (
            entries(after=AFTER, limit=9, filter=FILTER.but(execution_id="x")),
            "ledger_by_execution",
        ),
        (queries.last_about_the_host(), "ledger_by_tenant"),
        (queries.due(until=Micros(1), limit=9), "requests_due"),
        (
            queries.due(until=Micros(1), limit=9, after=Due(at=Micros(0), id=RequestId("r"))),
            "requests_due",
        ),
        (queries.next_due(), "requests_due"),
        (queries.unfinished(after=Cursor(revision=9, id="x"), limit=9), "requests_unfinished"),
        (queries.dependents(RequestId("r")), "request_dependencies USING PRIMARY KEY"),
        (queries.earlier_answer_to(make_key()), "sqlite_autoindex_idempotency_1"),
    ],
)
async def test_every_query_walks_an_index_in_the_order_it_answers(
    backend: Backend, statement: Select[Any], index: str
) -> None:
    """No table is scanned, and only the dependents of one request are sorted."""
    compiled = statement.compile(
        dialect=sqlite_dialect.dialect(), compile_kwargs={"render_postcompile": True}
    )
    plan = "; ".join(plan_of(backend, str(compiled)))
    assert index in plan
    assert "SCAN" not in plan.replace("SCAN requests USING COVERING INDEX requests_due", "")
    assert "TEMP B-TREE" not in plan or "request_dependencies" in plan


async def test_decisions_about_the_host_cost_two_bounded_ranges_and_no_sorted_tenant(
    backend: Backend,
) -> None:
    """What is sorted are two pages, never the ranges they are taken from."""
    asked = entries(after=AFTER, limit=9, filter=FILTER.but(include_host=True))
    compiled = asked.compile(
        dialect=sqlite_dialect.dialect(), compile_kwargs={"render_postcompile": True}
    )
    plan = plan_of(backend, str(compiled))
    assert sum("SEARCH ledger USING INDEX ledger_by_tenant" in step for step in plan) == 2, plan
    assert not any(step.startswith("SCAN ledger") for step in plan)
    sorted_at = [at for at, step in enumerate(plan) if "TEMP B-TREE" in step]
    assert all(plan[at - 1].startswith("SCAN anon") for at in sorted_at), plan


async def test_every_bulk_statement_looks_rows_up_and_scans_no_table(backend: Backend) -> None:
    """Only the list of rows itself is walked."""
    statements = Statements(SqliteDialect())
    said = Recorder()
    for bulk in (
        statements.request_revisions,
        statements.execution_revisions,
        statements.busy_states,
        statements.keys,
        statements.update_requests,
        statements.update_executions,
        statements.delete_waits,
    ):
        row = (None,) * 9  # more columns than any of them has
        bulk.execute(cast("Connection", said), [row] * 3)
    for statement in said.statements:
        scanned = {step for step in plan_of(backend, statement) if step.startswith("SCAN")}
        assert scanned <= {"SCAN v", "SCAN 3 CONSTANT ROWS"}, statement


async def test_a_request_that_never_waits_for_people_costs_no_statement_more(
    opened: Opener, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whom a request waits for is looked at by those that wait, or did until now."""
    said: list[str] = []
    execute = _SqliteBulk.execute

    def note(bulk: _SqliteBulk, connection: Connection, rows: Sequence[BulkRow]) -> None:
        if rows:
            said.append(bulk._texts[1])
        execute(bulk, connection, rows)

    def about_waits() -> int:
        found = sum("request_waits" in one or "request_labels" in one for one in said)
        said.clear()
        return found

    monkeypatch.setattr(_SqliteBulk, "execute", note)
    store = await opened()
    plain = (await store.commit(submission(make_request("plain")))).requests[0]
    plain = (await store.commit(change(plain, make_execution(plain)))).requests[0]
    await store.commit(change(moved(plain, Status.EXECUTED)))
    assert said
    assert about_waits() == 0
    asked = make_request("asked", status=Status.PENDING, waits_for=(PendingReason.AUDIT,))
    asked = (await store.commit(submission(asked))).requests[0]
    assert about_waits() == 1
    asked = (await store.commit(change(asked))).requests[0]
    assert about_waits() == 2
    asked = (await store.commit(change(moved(asked, Status.APPROVED)))).requests[0]
    assert about_waits() == 1
    await store.commit(change(moved(asked, Status.EXECUTED)))
    assert about_waits() == 0


def plan_of(backend: Backend, statement: str) -> list[str]:
    """How SQLite would answer, whatever the values are."""
    values = (None,) * statement.count("?")
    with closing(sqlite3.connect(path_of(backend))) as connection:
        steps = connection.execute(f"EXPLAIN QUERY PLAN {statement}", values)
        return [detail for *_, detail in steps]


class Recorder:
    """A connection and its cursor, which take down what they are told to run."""

    def __init__(self) -> None:
        self.statements: list[str] = []
        self.connection = self

    def cursor(self) -> "Recorder":
        return self

    def execute(self, statement: str, _: object) -> None:
        self.statements.append(statement)


async def test_the_event_loop_goes_on_while_a_batch_is_written(backend: Backend) -> None:
    """The writer waits for the disk on a thread of its own."""
    reached, let_go = threading.Event(), threading.Event()

    def failpoint(name: str) -> None:
        if name == "store.batch.before_commit":
            reached.set()
            let_go.wait(30)

    store = await open_store(backend.url, encode=encode_entry, failpoints=failpoint)
    task = asyncio.create_task(store.commit(submission(make_request())))
    await asyncio.to_thread(reached.wait, 30)
    assert not task.done()
    assert store.head.revision == 0
    assert await store.requests(RequestQuery(tenant="acme")) == ()
    let_go.set()
    await task
    assert len(await store.requests(RequestQuery(tenant="acme"))) == 1
    await store.close()


# ---------------------------------------------------------------- a COMMIT without an answer


async def test_a_store_that_cannot_look_for_what_it_made_durable_looks_again(
    opened: Opener, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk fails after a COMMIT and while the store looks for what became of it."""
    looks: list[int] = []
    catch_up = Transactions.catch_up

    def look(transactions: Transactions, connection: Connection) -> Settlement | None:
        looks.append(1)
        if len(looks) < 3:
            raise sqlite3.OperationalError("disk I/O error")
        return catch_up(transactions, connection)

    def fail_once(name: str) -> None:
        if name == "store.batch.after_commit" and not looks:
            raise sqlite3.OperationalError("disk I/O error")

    monkeypatch.setattr(Transactions, "catch_up", look)
    monkeypatch.setattr(sqlite, "LOOK_SECONDS", 0.001)
    store = await opened(failpoints=fail_once)
    told = asyncio.Event()
    store.listen(lambda _: told.set())
    with pytest.raises(StoreUnavailable):
        await store.commit(submission())

    async with asyncio.timeout(WAIT_SECONDS_MAX):
        await told.wait()
    assert store.head.revision == 3
