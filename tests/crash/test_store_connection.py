"""What a network may do to a batch on its way to PostgreSQL: nothing lost, nothing twice."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import asyncpg
import pytest
from sqlalchemy import make_url

from governor.domain.request import Status
from governor.domain.values import Revision
from governor.storage.open import open_store
from governor.storage.store import SqlStore, StoreLimits
from governor.usecases.commits import Committed
from tests.support.backends import WAIT_SECONDS_MAX, Backend
from tests.support.builders import change, encode_entry, make_request, moved, submission
from tests.support.fault_proxy import FaultProxy, Link, Trap, Way, fault_proxy
from tests.support.postgres import PostgresServer, postgres_server

__all__ = ["postgres_server"]  # a fixture: found here by its name

COMMIT = b"COMMIT"
COMMAND_SECONDS_MAX = 1.0
LEASE_SECONDS = 1.0
WAITING = """
    SELECT count(*) AS waiting FROM pg_stat_activity
    WHERE datname = current_database() AND wait_event_type = 'Lock'
"""


@asynccontextmanager
async def behind_a_proxy(
    server: PostgresServer, folder: Path
) -> AsyncIterator[tuple[SqlStore, FaultProxy, Backend]]:
    """A store that reaches its database through a proxy; the backend goes there directly."""
    async with (
        server.fresh(folder) as backend,
        fault_proxy(f"unix:{server.socket_folder}/.s.PGSQL.5432") as proxy,
    ):
        port = int(proxy.address.rpartition(":")[2])
        url = make_url(backend.url).set(host="127.0.0.1", port=port)
        url = url.set(query={"command_timeout": str(COMMAND_SECONDS_MAX), "sslmode": "disable"})
        store = await open_store(
            url.render_as_string(hide_password=False),
            encode=encode_entry,
            limits=StoreLimits(lease_seconds=LEASE_SECONDS),
        )
        try:
            yield store, proxy, backend
        finally:
            await store.close()


def before_its_commit(proxy: FaultProxy, id: str, *, holds: Way) -> asyncio.Future[Trap]:
    """A trap on the COMMIT of the batch that holds the request `id`, once that is under way."""
    armed: asyncio.Future[Trap] = asyncio.get_running_loop().create_future()

    async def arm(link: Link) -> None:
        armed.set_result(proxy.trap(Way.TO_SERVER, COMMIT, holds=holds, link=link))

    proxy.watch(Way.TO_SERVER, id.encode(), arm)
    return armed


async def the_ledger(backend: Backend) -> list[str]:
    """Whose the entries are, in their order, as an intruder reads them."""
    rows = await backend.run("SELECT request_id FROM ledger ORDER BY revision")
    return [row["request_id"] for row in rows]


def is_once(committed: Committed, ledger: list[str], id: str) -> bool:
    """Three decisions, where the answer says that they are, and nowhere else."""
    found = [number for number, entry in enumerate(ledger, start=1) if entry == id]
    return found == list(range(committed.revision - 2, committed.revision + 1))


async def test_a_commit_whose_answer_is_cut_off_is_done_once(
    postgres_server: PostgresServer, tmp_path: Path
) -> None:
    """The server has made it durable and said so; the connection is reset before that arrives."""
    async with behind_a_proxy(postgres_server, tmp_path) as (store, proxy, backend):
        armed = before_its_commit(proxy, "request-1", holds=Way.TO_CLIENT)
        task = asyncio.create_task(store.commit(submission()))
        link = await (await armed).sprung()
        await link.to_client.holds()
        assert await the_ledger(backend) == ["request-1"] * 3
        await link.reset()
        assert is_once(await task, await the_ledger(backend), "request-1")


async def test_a_commit_that_never_arrives_is_made_again(
    postgres_server: PostgresServer, tmp_path: Path
) -> None:
    """The connection is reset while COMMIT is on the way: the server has rolled back."""
    async with behind_a_proxy(postgres_server, tmp_path) as (store, proxy, backend):
        armed = before_its_commit(proxy, "request-1", holds=Way.TO_SERVER)
        task = asyncio.create_task(store.commit(submission()))
        link = await (await armed).sprung()
        await link.to_server.holds()
        assert await the_ledger(backend) == []
        await link.reset()
        assert is_once(await task, await the_ledger(backend), "request-1")


async def test_a_commit_that_arrives_after_its_connection_was_given_up_is_found(
    postgres_server: PostgresServer, tmp_path: Path
) -> None:
    """The store looks on another connection, and the lock on the head makes it wait until the old
    transaction has ended, which it then does by becoming durable.
    """
    async with behind_a_proxy(postgres_server, tmp_path) as (store, proxy, backend):
        armed = before_its_commit(proxy, "request-1", holds=Way.TO_SERVER)
        task = asyncio.create_task(store.commit(submission()))
        link = await (await armed).sprung()
        await link.to_server.holds()
        await link.abandon_client()
        await until_somebody_waits(backend)
        await link.to_server.release()
        assert is_once(await task, await the_ledger(backend), "request-1")


async def test_a_batch_that_is_reset_in_the_middle_is_written_whole(
    postgres_server: PostgresServer, tmp_path: Path
) -> None:
    """Some of its rows were written, on a connection that is gone."""
    async with behind_a_proxy(postgres_server, tmp_path) as (store, proxy, backend):
        trap = proxy.trap(Way.TO_SERVER, b"request-2", holds=Way.TO_CLIENT)
        ids = [f"request-{number}" for number in range(5)]
        tasks = [asyncio.create_task(store.commit(submission(make_request(id)))) for id in ids]
        link = await trap.sprung()
        await link.to_client.holds()
        await link.reset()
        answers = await asyncio.gather(*tasks)
        ledger = await the_ledger(backend)
        assert len(ledger) == 3 * len(ids)
        for id, committed in zip(ids, answers, strict=True):
            assert is_once(committed, ledger, id)


async def test_a_connection_that_swallows_everything_is_given_up_in_time(
    postgres_server: PostgresServer, tmp_path: Path
) -> None:
    """Nobody says that it is broken: the bound on a command does, and another one is made."""
    async with behind_a_proxy(postgres_server, tmp_path) as (store, proxy, backend):
        first = await store.commit(submission())
        for link in proxy.links:
            await link.to_server.drop()
        second = await store.commit(submission(make_request("request-2")))
        ledger = await the_ledger(backend)
        assert is_once(first, ledger, "request-1")
        assert is_once(second, ledger, "request-2")


async def test_a_transaction_that_a_network_has_orphaned_does_not_hold_the_head_for_long(
    postgres_server: PostgresServer, tmp_path: Path
) -> None:
    """The server hears nothing more of a client that has taken the lock on the head, not even that
    it has gone. Without a bound on its side, no replica would write until the network says so.
    """
    async with behind_a_proxy(postgres_server, tmp_path) as (store, proxy, backend):
        armed = before_its_commit(proxy, "request-1", holds=Way.TO_SERVER)
        task = asyncio.create_task(store.commit(submission()))
        link = await (await armed).sprung()
        await link.to_server.drop()
        (answer,) = await asyncio.gather(task, return_exceptions=True)
        assert isinstance(answer, Committed), answer
        assert is_once(answer, await the_ledger(backend), "request-1")


@pytest.mark.parametrize("state", ["40001", "40P01", "57P01", "08006"])
async def test_what_passes_is_tried_again_as_a_whole_batch(
    postgres_server: PostgresServer, tmp_path: Path, state: str
) -> None:
    """Serialization failure, deadlock, shutdown and lost connection, each said once by the server
    in the middle of a batch.
    """
    async with postgres_server.fresh(tmp_path) as backend:
        await backend.run("CREATE SEQUENCE tries")  # which no rollback takes back
        await backend.run(
            f"""
            CREATE FUNCTION fail_once() RETURNS trigger LANGUAGE plpgsql AS $$
            BEGIN
                IF nextval('tries') = 1 THEN
                    RAISE EXCEPTION 'on purpose' USING ERRCODE = '{state}';
                END IF;
                RETURN NULL;
            END $$
            """
        )
        await backend.run(
            "CREATE TRIGGER fails_once AFTER INSERT ON ledger "
            "FOR EACH STATEMENT EXECUTE FUNCTION fail_once()"
        )
        store = await open_store(backend.url, encode=encode_entry)
        ids = [f"request-{number}" for number in range(5)]
        answers = await asyncio.gather(*(store.commit(submission(make_request(id))) for id in ids))
        ledger = await the_ledger(backend)
        await store.close()
        tries = await backend.run("SELECT last_value FROM tries")
    assert len(ledger) == 3 * len(ids)
    assert all(is_once(committed, ledger, id) for id, committed in zip(ids, answers, strict=True))
    assert tries[0]["last_value"] == 2, "one transaction failed, and one was enough"


async def test_a_real_deadlock_costs_a_batch_nothing_but_time(
    postgres_server: PostgresServer, tmp_path: Path
) -> None:
    """Somebody holds the request's row and then wants the head, which the batch holds as it waits
    for the row. The server picks the batch as its victim.
    """
    async with postgres_server.fresh(tmp_path) as backend:
        store = await open_store(backend.url, encode=encode_entry)
        first = await store.commit(submission())
        intruder = await asyncpg.connect(backend.url)
        try:
            await intruder.execute("SET deadlock_timeout = '1min'")
            async with intruder.transaction():
                await intruder.execute("SELECT * FROM requests FOR UPDATE")
                canceled = change(moved(first.requests[0], Status.CANCELED))
                task = asyncio.create_task(store.commit(canceled))
                await until_somebody_waits(backend)
                await intruder.execute("SELECT * FROM head FOR UPDATE")
            second = await task
        finally:
            await intruder.close()
        ledger = await the_ledger(backend)
        entries = await store.entries(after=Revision(0), limit=10)
        await store.close()
    assert second.revision == len(ledger) == len(entries)
    assert ledger == ["request-1"] * len(ledger)


async def until_somebody_waits(backend: Backend) -> None:
    """Returns when a transaction waits for a lock."""
    async with asyncio.timeout(WAIT_SECONDS_MAX):
        while not (await backend.run(WAITING))[0]["waiting"]:
            pass  # asking takes its own time
