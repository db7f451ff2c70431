"""The ledger is append-only, and its head is the root of the tree over it."""

import asyncio

import pytest
from sqlalchemy.exc import DBAPIError

from governor.domain.ledger import EMPTY_ROOT, Frontier, leaf_hash, root_over
from governor.domain.values import Revision
from governor.storage.store import SqlStore
from tests.support.backends import Backend, Opener
from tests.support.builders import decode_entry, make_request, submission

ENTRY = "INSERT INTO ledger VALUES (:at, 't', 'r', NULL, 'c', 'c', 'a', 1, :bytes, :bytes)"


async def test_an_empty_store_has_the_empty_root_and_a_name_of_its_own(
    store: SqlStore, opened: Opener
) -> None:
    """The name tells checkpoints of different stores apart."""
    assert store.head.revision == 0
    assert store.head.root == EMPTY_ROOT
    assert len(store.head.store_id) >= 32


async def test_the_head_is_the_root_over_the_stored_bytes(
    store: SqlStore, backend: Backend
) -> None:
    """Recomputed naively after every round of racing commits: in memory, and in its row."""
    for round_number in range(5):
        await asyncio.gather(
            *(
                store.commit(submission(make_request(f"request-{round_number}-{number}")))
                for number in range(7)
            )
        )
        entries = await store.entries(after=Revision(0), limit=10_000)
        leaves = [leaf_hash(entry.data) for entry in entries]
        assert store.head.revision == len(leaves)
        assert store.head.root == root_over(leaves)
        (row,) = await backend.run("SELECT size, root, frontier, store_id FROM head")
        assert row["size"] == len(leaves)
        assert row["root"] == store.head.root
        assert row["frontier"] == Frontier().extend(leaves).to_bytes()
        assert row["store_id"] == store.head.store_id


async def test_the_stored_bytes_are_those_that_were_encoded(store: SqlStore) -> None:
    """Nothing is serialised a second time: what is streamed is what is hashed."""
    commit = submission()
    await store.commit(commit)
    entries = await store.entries(after=Revision(0), limit=10)
    assert tuple(decode_entry(entry.data).decision for entry in entries) == commit.decisions


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE ledger SET entry = entry WHERE revision = 2",
        "DELETE FROM ledger WHERE revision = 3",
        "DELETE FROM ledger",
        "UPDATE ledger SET revision = revision + 100",
    ],
)
async def test_no_entry_is_changed_or_removed(
    store: SqlStore, backend: Backend, statement: str
) -> None:
    """Not by mistake, that is: who owns the database can drop the triggers, and then verification
    is what finds it.
    """
    await store.commit(submission())
    with pytest.raises(DBAPIError, match="append-only"):
        await backend.run(statement)
    await untouched(store)


async def untouched(store: SqlStore) -> None:
    entries = await store.entries(after=Revision(0), limit=10)
    assert root_over([leaf_hash(entry.data) for entry in entries]) == store.head.root


async def test_no_entry_is_replaced_by_an_insert(store: SqlStore, backend: Backend) -> None:
    """INSERT OR REPLACE removes the old row without asking a trigger on DELETE; PostgreSQL's
    ON CONFLICT DO UPDATE is an UPDATE.
    """
    await store.commit(submission())
    replace = (
        ENTRY.replace("INSERT", "INSERT OR REPLACE")
        if backend.is_sqlite
        else f"{ENTRY} ON CONFLICT (revision) DO UPDATE SET entry = excluded.entry"
    )
    with pytest.raises(DBAPIError, match="append-only"):
        await backend.run(replace, at=2, bytes=b"x")
    await untouched(store)


async def test_no_entry_is_put_where_one_is(store: SqlStore, backend: Backend) -> None:
    """A revision is given out once."""
    await store.commit(submission())
    with pytest.raises(DBAPIError):
        await backend.run(ENTRY, at=2, bytes=b"x")
    await untouched(store)


async def test_the_ledger_is_not_emptied_at_once(store: SqlStore, backend: Backend) -> None:
    """PostgreSQL has a statement for that, which no trigger on rows would see."""
    await store.commit(submission())
    statement = "DELETE FROM ledger" if backend.is_sqlite else "TRUNCATE ledger"
    with pytest.raises(DBAPIError, match="append-only"):
        await backend.run(statement)
    await untouched(store)


async def test_the_head_has_one_row(store: SqlStore, backend: Backend) -> None:
    """Two would be two ledgers."""
    with pytest.raises(DBAPIError):
        await backend.run("INSERT INTO head SELECT 2, store_id, size, root, frontier FROM head")


async def test_two_active_executions_on_a_state_are_impossible_in_the_database(
    store: SqlStore, backend: Backend
) -> None:
    """The unique index is the last line, behind every decision of ours."""
    await store.commit(submission())
    insert = (
        "INSERT INTO executions VALUES (:id, 't', 'request-1', 'RUNNING', TRUE, 'flag', 'f',"
        " 1, 1, :body)"
    )
    await backend.run(insert, id="one", body=b"{}")
    with pytest.raises(DBAPIError):
        await backend.run(insert, id="two", body=b"{}")
