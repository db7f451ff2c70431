"""A store has this program's schema or is not opened; a migration that fails changes nothing."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection

from governor.storage import migrate as migrations
from governor.storage import tables
from governor.storage.errors import MigrationFailed, SchemaNewer, SchemaOlder
from governor.storage.open import migrate, open_store
from tests.support.backends import Backend, Origin
from tests.support.builders import encode_entry, make_key, make_request, submission

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
