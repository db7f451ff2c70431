"""What a network and other replicas add: lost connections, lost answers, a shared head."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest
import pytest_asyncio
from sqlalchemy import make_url, text
from sqlalchemy.exc import DBAPIError, EmulatedDBAPIException

from governor.domain.errors import Conflict, StoreUnavailable
from governor.domain.request import Status
from governor.domain.values import RequestId, Revision
from governor.storage import postgres
from governor.storage.dialect import PostgresDialect
from governor.storage.errors import StoreRefused
from governor.storage.open import open_store
from governor.storage.store import SqlStore
from governor.usecases.commits import Batch, Committed
from tests.support.backends import WAIT_SECONDS_MAX, Backend
from tests.support.builders import (
    change,
    encode_entry,
    make_key,
    make_request,
    moved,
    submission,
)
from tests.support.postgres import PostgresServer

KILL_ALL = """
    SELECT pg_terminate_backend(pid) FROM pg_stat_activity
    WHERE datname = current_database() AND pid <> pg_backend_pid()
"""
WAITING = """
    SELECT count(*) AS waiting FROM pg_stat_activity
    WHERE datname = current_database() AND wait_event_type = 'Lock'
"""


@pytest_asyncio.fixture
async def backend(postgres_server: PostgresServer, tmp_path: Path) -> AsyncIterator[Backend]:
    """PostgreSQL alone."""
    async with postgres_server.fresh(tmp_path) as fresh:
        yield fresh


# ---------------------------------------------------------------- lost connections and answers


async def test_connections_that_died_in_the_pool_are_replaced(
    store: SqlStore, backend: Backend
) -> None:
    """The server was restarted between two calls; neither a commit nor a read notices."""
    request = (await store.commit(submission())).requests[0]
    assert await store.executions_of(request.id) == ()
    await backend.run(KILL_ALL)
    assert await store.executions_of(request.id) == ()
    await backend.run(KILL_ALL)
    assert (await store.commit(submission(make_request("next")))).revision == 6


async def test_a_batch_whose_connection_dies_is_written_again_once(
    store: SqlStore, backend: Backend
) -> None:
    """It waits for the head, which somebody else holds, when its connection is killed; on the next
    connection it waits again, and is then written as a whole.
    """
    async with backend.intruder() as holder:
        await holder.execute(text("SELECT * FROM head FOR UPDATE"))
        waiting = asyncio.gather(
            *(store.commit(submission(make_request(f"request-{number}"))) for number in range(5))
        )
        await until_somebody_waits(backend)
        await holder.execute(
            text(KILL_ALL + " AND wait_event_type = 'Lock' AND application_name = 'governor'")
        )
    answers = await waiting
    assert [answer.replayed for answer in answers] == [False] * 5
    assert store.head.revision == 15
    assert len(await store.entries(after=Revision(0), limit=100)) == 15


async def until_somebody_waits(backend: Backend) -> None:
    """Returns when a transaction waits for a lock."""
    async with asyncio.timeout(WAIT_SECONDS_MAX):
        while not (await backend.run(WAITING))[0]["waiting"]:
            pass  # asking takes its own time


async def test_a_commit_whose_answer_was_lost_is_looked_up_and_not_repeated(
    backend: Backend,
) -> None:
    """The server made it durable, then the connection broke. The entries at its revisions are its
    own, so its callers are told that it is done; without a key it could not be told otherwise.
    """
    lost = [True]

    def failpoint(name: str) -> None:
        if name == "store.batch.after_commit" and lost.pop() if lost else False:
            raise ConnectionResetError

    store = await open_store(backend.url, encode=encode_entry, failpoints=failpoint)
    heard: list[Batch] = []
    store.listen(heard.append)
    committed = await store.commit(submission())
    assert not lost
    assert committed.revision == 3
    assert not committed.replayed
    assert heard[0].commits == (committed,)
    assert await store.entries(after=Revision(0), limit=10) == heard[0].entries
    await store.close()


async def test_a_commit_that_was_lost_with_its_connection_is_repeated(backend: Backend) -> None:
    """COMMIT did not reach the server, and another replica has taken the revisions meanwhile."""
    lost = [True]
    other = await open_store(backend.url, encode=encode_entry)

    def failpoint(name: str) -> None:
        if name == "store.batch.before_commit" and lost.pop() if lost else False:
            raise ConnectionResetError

    store = await open_store(backend.url, encode=encode_entry, failpoints=failpoint)
    mine, theirs = await asyncio.gather(
        store.commit(submission(make_request("mine"))),
        other.commit(submission(make_request("theirs"))),
    )
    assert {mine.revision, theirs.revision} == {3, 6}
    await store.close()
    await other.close()


async def test_a_failure_that_does_not_pass_is_told_after_a_bounded_number_of_tries(
    backend: Backend,
) -> None:
    """Nobody waits for ever, and the next call starts afresh."""
    tries: list[str] = []
    broken = [True]

    def failpoint(name: str) -> None:
        if name == "store.batch.before_begin" and broken[0]:
            tries.append(name)
            raise ConnectionResetError

    store = await open_store(backend.url, encode=encode_entry, failpoints=failpoint)
    with pytest.raises(StoreUnavailable):
        await store.commit(submission())
    assert len(tries) == 5
    broken[0] = False
    assert (await store.commit(submission())).revision == 3
    await store.close()


async def test_a_server_that_takes_no_writes_is_named_and_gone_on_with_once_it_does(
    postgres_server: PostgresServer, backend: Backend
) -> None:
    """As a standby does, before and after it is promoted. Reads are answered all the time."""
    store = await open_store(backend.url, encode=encode_entry)
    kept = await store.commit(submission(make_request("kept")))
    name = make_url(backend.url).database
    setting = f'ALTER DATABASE "{name}" SET default_transaction_read_only'
    await postgres_server.run(f"{setting} = on")
    await backend.run(KILL_ALL)
    for _ in range(2):
        with pytest.raises(StoreUnavailable) as refused:
            await store.commit(submission(make_request("refused")))
        assert refused.value.facts == {"cause": "READ_ONLY"}
        assert await store.request(RequestId("refused")) is None
    assert store.vitals.failures == {"READ_ONLY": 2}
    assert store.vitals.wal_bytes is None
    await postgres_server.run(f"{setting} = off")
    await backend.run(KILL_ALL)
    after = await store.commit(submission(make_request("refused")))
    assert after.revision == kept.revision + 3
    await store.close()


async def test_a_server_that_is_not_there_is_unavailable_in_our_words(tmp_path: Path) -> None:
    """No driver text, no host, no password."""
    url = f"postgresql://somebody:secret@/none?host={tmp_path}"
    with pytest.raises(StoreUnavailable) as failed:
        await open_store(url, encode=encode_entry)
    assert str(failed.value) == "the store does not answer"


@pytest.mark.parametrize(
    ("failure", "passes", "content"),
    [
        (asyncpg.SerializationError, True, False),
        (asyncpg.DeadlockDetectedError, True, False),
        (asyncpg.AdminShutdownError, True, False),
        (asyncpg.ConnectionFailureError, True, False),
        (asyncpg.NumericValueOutOfRangeError, False, True),
        (asyncpg.UniqueViolationError, False, True),
        (asyncpg.UndefinedTableError, False, False),
        (asyncpg.DiskFullError, False, False),
    ],
)
def test_failures_are_told_apart_by_the_servers_own_codes(
    failure: type[asyncpg.PostgresError], passes: bool, content: bool
) -> None:
    """Never by the words of a message."""
    error = DBAPIError("SELECT", None, EmulatedDBAPIException("words", failure("words")))
    assert PostgresDialect().is_passing(error) is passes
    assert PostgresDialect().blames_content(error) is content


# ---------------------------------------------------------------- replicas


async def test_replicas_share_one_gap_free_order(backend: Backend) -> None:
    """Two processes commit at once; each listener hears everything, also what the other replica
    wrote, once and in order.
    """
    stores = [await open_store(backend.url, encode=encode_entry) for _ in range(2)]
    batches: list[list[Batch]] = [[], []]
    for store, heard in zip(stores, batches, strict=True):
        store.listen(heard.append)
    await asyncio.gather(
        *(
            stores[number % 2].commit(submission(make_request(f"request-{number}")))
            for number in range(100)
        )
    )
    for number, store in enumerate(stores):  # a last word from each, to hear of the other's last
        await store.commit(submission(make_request(f"last-{number}")))
    first, second = (
        [entry.revision for batch in heard for entry in batch.entries] for heard in batches
    )
    assert first == list(range(1, first[-1] + 1))
    assert second == list(range(1, 307))
    entries = await stores[0].entries(after=Revision(0), limit=1_000)
    assert [entry.revision for entry in entries] == list(range(1, 307))
    for store in stores:
        await store.close()


async def test_a_snapshot_that_another_replica_has_overtaken_loses_and_is_read_again(
    backend: Backend,
) -> None:
    """A remembers the request as it was; B cancels it; A's commit conflicts, and A looks again."""
    a = await open_store(backend.url, encode=encode_entry)
    b = await open_store(backend.url, encode=encode_entry)
    request = (await a.commit(submission())).requests[0]
    seen = await b.request(request.id)
    assert seen is not None
    canceled = await b.commit(change(moved(seen, Status.CANCELED)))
    with pytest.raises(Conflict):
        await a.commit(change(moved(request, Status.EXECUTING)))
    assert await a.request(request.id) == canceled.requests[0]
    await a.close()
    await b.close()


async def test_what_a_batch_decides_on_is_read_under_the_lock_on_the_head(
    store: SqlStore, backend: Backend
) -> None:
    """Somebody who holds the head has changed the request and has not committed yet. Whoever comes
    after them sees the change, and loses to it.
    """
    request = (await store.commit(submission())).requests[0]
    async with backend.intruder() as holder:
        await holder.execute(text("SELECT * FROM head FOR UPDATE"))
        await holder.execute(text("UPDATE requests SET revision = revision + 1"))
        late = asyncio.create_task(store.commit(change(moved(request, Status.CANCELED))))
        await until_somebody_waits(backend)
    with pytest.raises(Conflict):
        await late


async def test_a_key_used_at_one_replica_is_known_at_the_other(backend: Backend) -> None:
    """The client's retry went to another address."""
    a = await open_store(backend.url, encode=encode_entry)
    b = await open_store(backend.url, encode=encode_entry)
    answers = await asyncio.gather(
        a.commit(submission(make_request("at-a"), key=make_key())),
        b.commit(submission(make_request("at-b"), key=make_key())),
    )
    assert sorted(answer.replayed for answer in answers) == [False, True]
    assert answers[0].requests == answers[1].requests
    assert a.head == b.head
    assert all(isinstance(answer, Committed) for answer in answers)
    await a.close()
    await b.close()


# ---------------------------------------------------------------- connections


async def shown(backend: Backend, setting: str) -> str:
    """A setting as it is in a transaction of the writer, once it has the head."""
    engine = postgres.writer_engine(postgres.Server.of(make_url(backend.url)))
    async with engine.begin() as connection:
        await connection.run_sync(PostgresDialect().lock_head)
        value = await connection.scalar(text(f"SHOW {setting}"))
    await engine.dispose()
    return str(value)


async def set_default(backend: Backend, setting: str, value: str) -> None:
    name = make_url(backend.url).database
    await backend.run(f"""ALTER DATABASE "{name}" SET {setting} = '{value}'""")


async def test_what_a_batch_reads_under_the_lock_is_what_is_committed(backend: Backend) -> None:
    """READ COMMITTED, whatever the server's default is: a stricter level would read as of before
    the lock was granted.
    """
    await set_default(backend, "default_transaction_isolation", "serializable")
    assert await shown(backend, "transaction_isolation") == "read committed"


@pytest.mark.parametrize(
    ("default", "used"), [("off", "on"), ("on", "on"), ("remote_apply", "remote_apply")]
)
async def test_an_acknowledged_commit_is_on_disk(backend: Backend, default: str, used: str) -> None:
    """A server set up to acknowledge early is overruled; one that waits for standbys is not."""
    await set_default(backend, "synchronous_commit", default)
    assert await shown(backend, "synchronous_commit") == used


def test_the_urls_options_are_ours_or_libpqs() -> None:
    """TLS and the rest reach the driver as they stand."""
    server = postgres.Server.of(
        make_url(
            "postgresql+asyncpg://u:p%40ss@db.example:6432/governor?pool_size=7&pool_timeout=2.5"
            "&command_timeout=4&sslmode=verify-full&sslrootcert=/etc/ca.pem"
        )
    )
    assert (server.pool_size, server.pool_timeout_seconds) == (7, 2.5)
    assert server.command_timeout_seconds == 4
    assert server.dsn == (
        "postgresql://u:p%40ss@db.example:6432/governor?application_name=governor"
        "&sslmode=verify-full&sslrootcert=%2Fetc%2Fca.pem"
    )
    with pytest.raises(StoreRefused, match="pool_size"):
        postgres.Server.of(make_url("postgresql://h/d?pool_size=many"))
