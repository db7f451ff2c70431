"""A store has this program's schema or is not opened; a migration that fails changes nothing."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection

from governor.domain.approval import Approval, Plan, Requirement, Step, Target
from governor.domain.execution import Applied, ExecutionStatus, Severity, SideEffect
from governor.domain.request import BlastRadius, Intent, PendingReason, Risk, Status
from governor.domain.values import RequestId, TargetKind
from governor.storage import migrate as migrations
from governor.storage import tables
from governor.storage.errors import MigrationFailed, SchemaNewer, SchemaOlder
from governor.storage.open import migrate, open_store
from tests.support.backends import Backend, Origin
from tests.support.builders import (
    change,
    encode_entry,
    make_execution,
    make_key,
    make_request,
    submission,
)

NEXT = """
import sqlalchemy as sa
from alembic import op

revision = "9999"
down_revision = "{newest}"
branch_labels = None
depends_on = None

def upgrade():
    op.create_table("novelty", sa.Column("id", sa.Integer, primary_key=True))
    op.add_column("requests", sa.Column("novelty", sa.Integer))
    op.execute("INSERT INTO novelty (id) VALUES (1)")
    {last}
"""


@pytest_asyncio.fixture
async def empty(origin: Origin, tmp_path: Path) -> AsyncIterator[Backend]:
    """A database in which nothing has been made."""
    async with origin.fresh(tmp_path, migrated=False) as backend:
        yield backend


async def schema(backend: Backend) -> list[dict[str, Any]]:
    """Everything that is in the database by name, and how it is made."""
    statement = (
        "SELECT type, name, sql FROM sqlite_master ORDER BY type, name"
        if backend.is_sqlite
        else "SELECT table_name, column_name, data_type FROM information_schema.columns"
        " WHERE table_schema = 'public' ORDER BY table_name, ordinal_position"
    )
    return [dict(row) for row in await backend.run(statement)]


def step(folder: Path, *, last: str = "pass") -> tuple[Path, ...]:
    """The packaged migrations and one more."""
    versions = folder / "versions"
    versions.mkdir()
    newest = migrations.newest()
    (versions / "v9999_next.py").write_text(NEXT.format(newest=newest, last=last))
    return (migrations.PACKAGED, versions)


async def test_migrating_makes_the_schema_that_the_program_is_written_for(
    empty: Backend,
) -> None:
    """The steps, each written out by itself, lead to what storage/tables.py says."""
    assert await migrate(empty.url) == migrations.newest()

    def differences(connection: Connection) -> list[Any]:
        context = MigrationContext.configure(
            connection, opts={"version_table": migrations.VERSION_TABLE}
        )
        found: list[Any] = compare_metadata(context, tables.metadata)
        return found

    async with empty.intruder() as connection:
        assert await connection.run_sync(differences) == []


async def test_migrating_twice_changes_nothing(empty: Backend) -> None:
    """The store keeps its name and what is in it."""
    await migrate(empty.url)
    store = await open_store(empty.url, encode=encode_entry)
    await store.commit(submission())
    head = store.head
    await store.close()
    before = await schema(empty)
    await migrate(empty.url)
    assert await schema(empty) == before
    again = await open_store(empty.url, encode=encode_entry)
    assert again.head == head
    await again.close()


async def test_an_open_that_may_migrate_makes_the_store(empty: Backend) -> None:
    """The embedded default: the first start needs no other command."""
    store = await open_store(empty.url, encode=encode_entry, migrate=True)
    await store.commit(submission())
    await store.close()


async def test_two_new_stores_have_different_names(
    empty: Backend, origin: Origin, tmp_path: Path
) -> None:
    """A checkpoint of one never fits the other."""
    await migrate(empty.url)
    one = await open_store(empty.url, encode=encode_entry)
    (tmp_path / "other").mkdir()
    async with origin.fresh(tmp_path / "other", migrated=False) as other:
        two = await open_store(other.url, encode=encode_entry, migrate=True)
        assert one.head.store_id != two.head.store_id
        await two.close()
    await one.close()


async def test_a_newer_schema_is_refused_by_name(backend: Backend, tmp_path: Path) -> None:
    """A later Governor has migrated the store; the earlier one cannot know what that means."""
    await migrate(backend.url, step(tmp_path))
    for attempt in (
        open_store(backend.url, encode=encode_entry),
        open_store(backend.url, encode=encode_entry, migrate=True),
        migrate(backend.url),
    ):
        with pytest.raises(SchemaNewer) as refused:
            await attempt
        assert refused.value.facts == {"found": "9999", "newest": migrations.newest()}
        assert "9999" in str(refused.value)


async def test_a_store_without_the_schema_is_refused_by_name(backend: Backend) -> None:
    """PostgreSQL is never migrated by chance; the message says what to run."""
    await backend.run("DELETE FROM governor_schema")
    with pytest.raises(SchemaOlder, match="governor migrate"):
        await open_store(backend.url, encode=encode_entry)


@pytest.mark.parametrize(
    "last", ['raise RuntimeError("halfway")', 'op.execute("SELECT * FROM nowhere")']
)
async def test_a_migration_that_fails_leaves_the_schema_unchanged(
    backend: Backend, tmp_path: Path, last: str
) -> None:
    """It made a table, changed another and wrote a row before it failed; all of that is gone, and
    the store goes on as it was.
    """
    before = await schema(backend)
    with pytest.raises(MigrationFailed) as failed:
        await migrate(backend.url, step(tmp_path, last=last))
    assert not {"halfway", "nowhere"} & set(str(failed.value).split())
    assert await schema(backend) == before
    store = await open_store(backend.url, encode=encode_entry)
    await store.commit(submission(make_request(), key=make_key()))
    await store.close()


async def test_a_database_that_is_somebody_elses_keeps_its_tables(empty: Backend) -> None:
    """A table of ours already there stops the migration, and nothing else is made."""
    await empty.run("CREATE TABLE ledger (id INTEGER)")
    before = await schema(empty)
    with pytest.raises(MigrationFailed):
        await migrate(empty.url)
    assert await schema(empty) == before


# ---------------------------------------------------------------- what earlier versions have left

KEPT = {
    "requests": (
        "id, tenant, status, pending_mask, state_type, state_id, actor, category, submitted_at, "
        "submitted_revision, due_at, unfinished, revision, owner, fixed, content, payload, progress"
    ),
    "executions": (
        "id, tenant, request_id, status, active, state_type, state_id, submitted_revision, "
        "revision, body"
    ),
}
ADDED = (
    "SELECT id, requester, risk, blast_radius, review_due_at, waits FROM requests ORDER BY id",
    "SELECT * FROM request_labels ORDER BY kind, label, request_id",
    "SELECT * FROM request_waits ORDER BY target, request_id",
)


async def test_a_store_of_the_second_version_is_found_by_what_its_requests_say(
    empty: Backend, origin: Origin, tmp_path: Path
) -> None:
    """What it held in JSON alone stands in columns and rows afterwards, as if it had been written
    by this program.
    """
    second = tmp_path / "second"
    second.mkdir()
    for name in ("v0001_first.py", "v0002_replicas.py"):
        (second / name).write_text((migrations.PACKAGED / name).read_text())
    await migrate(empty.url, (second,))
    (tmp_path / "new").mkdir()
    async with origin.fresh(tmp_path / "new") as new:
        await fill(new.url)
        for table, columns in KEPT.items():
            for row in await new.run(f"SELECT {columns} FROM {table}"):
                names = ", ".join(f":{name}" for name in row)
                await empty.run(f"INSERT INTO {table} ({columns}) VALUES ({names})", **row)
        await migrate(empty.url)
        for statement in ADDED:
            expected = await new.run(statement)
            assert expected
            assert await empty.run(statement) == expected


async def fill(url: str) -> None:
    """Requests that say everything that is looked for, and one that the host has executed."""
    store = await open_store(url, encode=encode_entry)
    asked = make_request(
        "asked",
        status=Status.PENDING,
        waits_for=(PendingReason.APPROVAL,),
        metadata={"ticket": "OPS-1", "long": "é" * 900, "odd": "a=b"},
        depends_on=("one", "two"),
    )
    intent = Intent(category="config", risk=Risk.HIGH, blast_radius=BlastRadius.REGION)
    context = asked.content.context.but(correlation_id="c", causation_id="d")
    asked = asked.but(
        content=asked.content.but(intent=intent, context=context),
        supersedes=RequestId("before"),
        requester="alice-herself",
        progress=asked.progress.but(approval=Approval(plan=PLAN)),
    )
    doubted = make_request("doubted", status=Status.PENDING, waits_for=(PendingReason.AUDIT,))
    applied = make_request("applied", status=Status.EXECUTED)
    effects = (
        SideEffect(type="mail", severity=Severity.CRITICAL),
        SideEffect(type="nul\0", severity=Severity.INFO),
        SideEffect(type="plain"),
    )
    execution = make_execution(
        applied,
        status=ExecutionStatus.APPLIED,
        applied=Applied(resulting_version="2", side_effects=effects),
    )
    for name in ("one", "two"):
        await store.commit(submission(make_request(name)))
    await store.commit(submission(asked))
    await store.commit(submission(doubted))
    stored = (await store.commit(submission(applied))).requests[0]
    await store.commit(change(stored, execution))
    await store.close()


PLAN = Plan(
    steps=(
        Step(
            name="only",
            requirements=(
                Requirement(
                    id="security",
                    targets=(
                        Target(kind=TargetKind.GROUP, name="security"),
                        Target(kind=TargetKind.ACTOR, name="n" * 200),
                    ),
                ),
            ),
        ),
    )
)
