"""Several processes on one PostgreSQL: who sees to what, and how each learns of the others."""

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
import pytest_asyncio

from governor.domain.request import MutationRequest, Status
from governor.domain.values import RequestId, Revision
from governor.storage import hints, transaction
from governor.storage.store import SqlStore, StoreLimits
from governor.usecases.commits import Batch
from tests.support.backends import WAIT_SECONDS_MAX, Backend, Opener
from tests.support.builders import change, make_request, moved, submission
from tests.support.postgres import PostgresServer

NEVER = 3_600.0
"""A poll or a lease that no test lives to see."""

UNHEARD = StoreLimits(lease_seconds=NEVER, ledger_poll_seconds_max=NEVER)
POLLING = StoreLimits(lease_seconds=NEVER, ledger_poll_seconds_max=0.01)
SHORT_LEASES = StoreLimits(lease_seconds=0.2, ledger_poll_seconds_max=NEVER)
LEASES = StoreLimits(lease_seconds=2.0, ledger_poll_seconds_max=NEVER)
"""Renewed often enough to be looked at in a test, and not lost where the machine is busy."""


@pytest_asyncio.fixture
async def backend(postgres_server: PostgresServer, tmp_path: Path) -> AsyncIterator[Backend]:
    """PostgreSQL alone."""
    async with postgres_server.fresh(tmp_path) as fresh:
        yield fresh


async def put(store: SqlStore, id: str = "request-1") -> MutationRequest:
    return (await store.commit(submission(make_request(id)))).requests[0]


async def adopted(store: SqlStore) -> list[RequestId]:
    return [request.id for request in await store.adopt(limit=100)]


async def comes_true(claim: Callable[[], object]) -> None:
    """Returns when something that happens by itself has happened."""
    async with asyncio.timeout(WAIT_SECONDS_MAX):
        while not claim():  # noqa: ASYNC110 - what comes true has no event to wait for
            await asyncio.sleep(0)


def revisions_told_to(store: SqlStore) -> list[Revision]:
    """Grows with every entry that the store tells its listeners of."""
    told: list[Revision] = []

    def hear(batch: Batch) -> None:
        told.extend(entry.revision for entry in batch.entries)

    store.listen(hear)
    return told


# ---------------------------------------------------------------- who sees to what


async def test_nobody_adopts_what_a_living_replica_sees_to(opened: Opener) -> None:
    """It wrote the request, so the request is its own, as long as its lease runs."""
    a, b = await opened(limits=UNHEARD), await opened(limits=UNHEARD)
    await put(a)
    assert await adopted(b) == []
    assert await a.owns(RequestId("request-1"))
    assert not await b.owns(RequestId("request-1"))


async def test_a_replica_whose_lease_ran_out_loses_what_it_saw_to(
    opened: Opener, backend: Backend
) -> None:
    """By the database's clock, whatever its own says."""
    a, b = await opened(limits=UNHEARD), await opened(limits=UNHEARD)
    await put(a)
    oldest = "(SELECT min(started_at) FROM replicas)"
    await backend.run(f"UPDATE replicas SET lease_until = 1 WHERE started_at = {oldest}")
    assert await adopted(b) == ["request-1"]
    assert await b.owns(RequestId("request-1"))
    assert not await a.owns(RequestId("request-1"))


async def test_a_replica_that_lives_renews_its_lease(opened: Opener, backend: Backend) -> None:
    """Many times over: what it sees to stays its own."""
    a, b = await opened(limits=SHORT_LEASES), await opened(limits=SHORT_LEASES)
    await put(a)
    question = "SELECT min(lease_until) AS until FROM replicas"
    first = last = (await backend.run(question))[0]["until"]
    async with asyncio.timeout(WAIT_SECONDS_MAX):
        while last < first + 3 * 100_000:
            assert await adopted(b) == []
            last = (await backend.run(question))[0]["until"]


async def test_a_replica_that_goes_leaves_its_requests_at_once(opened: Opener) -> None:
    """A rolling restart stalls nothing until a lease runs out."""
    a, b = await opened(limits=UNHEARD), await opened(limits=UNHEARD)
    await put(a)
    await a.close()
    assert await adopted(b) == ["request-1"]


async def test_whoever_writes_a_request_sees_to_it_from_then_on(opened: Opener) -> None:
    """B has recorded the last vote: what follows from it is B's to do."""
    a, b = await opened(limits=UNHEARD), await opened(limits=UNHEARD)
    request = await put(a)
    await b.commit(change(moved(request, Status.EXECUTING)))
    assert await b.owns(request.id)
    await a.close()
    assert await adopted(b) == [], "it is in b's hands already"


async def test_replicas_that_adopt_at_once_share_without_overlap(opened: Opener) -> None:
    """Each takes what the others have not locked; together they take everything."""
    gone = await opened(limits=UNHEARD)
    for number in range(60):
        await put(gone, f"request-{number:02}")
    await gone.close()
    stores = [await opened(limits=UNHEARD) for _ in range(3)]

    async def adopt_all(store: SqlStore) -> list[RequestId]:
        found: list[RequestId] = []
        while page := await store.adopt(limit=7):
            found.extend(request.id for request in page)
        return found

    shares = await asyncio.gather(*(adopt_all(store) for store in stores))
    together = [id for share in shares for id in share]
    rest = [id for store in stores for id in await adopt_all(store)]
    assert sorted(together + rest) == [f"request-{number:02}" for number in range(60)]


async def test_an_adoption_that_was_not_answered_is_answered_the_next_time(
    opened: Opener, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may have happened: then the requests are ours, and nobody else will ever see to them."""
    gone, b = await opened(limits=UNHEARD), await opened(limits=UNHEARD)
    await put(gone)
    await gone.close()
    membership = b._membership
    run = membership._run  # type: ignore[attr-defined]  # a Replica, here

    async def unanswered(work: object) -> object:
        await run(work)
        raise ConnectionResetError

    with monkeypatch.context() as patched:
        patched.setattr(membership, "_run", unanswered)
        with pytest.raises(Exception, match="the store does not answer"):
            await b.adopt(limit=100)
    assert await adopted(b) == ["request-1"]
    assert await adopted(b) == []


# ---------------------------------------------------------------- who leads


async def test_the_oldest_replica_leads_and_when_it_goes_the_next_does(opened: Opener) -> None:
    """One of them fires the timers."""
    a, b = await opened(limits=LEASES), await opened(limits=LEASES)
    assert (a.leads, b.leads) == (True, False)
    await a.close()
    await comes_true(lambda: b.leads)


async def test_a_leader_that_cannot_renew_its_lease_leads_no_longer(
    opened: Opener, backend: Backend
) -> None:
    """It may be the only one to whom the database does not answer."""
    a = await opened(limits=SHORT_LEASES)
    assert a.leads
    await backend.run("ALTER TABLE replicas RENAME TO replicas_gone")
    await comes_true(lambda: not a.leads)
    await backend.run("ALTER TABLE replicas_gone RENAME TO replicas")
    await comes_true(lambda: a.leads)


# ---------------------------------------------------------------- how they learn of each other


async def test_a_replica_that_writes_nothing_hears_of_the_others_by_their_hints(
    opened: Opener,
) -> None:
    """Without a poll: B is notified as A's commit is durable."""
    a, b = await opened(limits=UNHEARD), await opened(limits=UNHEARD)
    told = revisions_told_to(b)
    await b.refresh(Revision(0))
    await put(a)
    await comes_true(lambda: told == [1, 2, 3])
    assert b.head == a.head


async def test_without_any_hint_it_hears_of_them_by_looking(
    opened: Opener, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Behind a pooler that lends sessions out, a notification reaches nobody."""
    monkeypatch.setattr(hints.Hints, "tell", lambda _: None)
    a, b = await opened(limits=UNHEARD), await opened(limits=POLLING)
    told = revisions_told_to(b)
    await put(a)
    await comes_true(lambda: told == [1, 2, 3])
    assert b.head == a.head


async def test_a_refresh_shows_what_was_durable_before_it_was_asked_for(
    opened: Opener, monkeypatch: pytest.MonkeyPatch
) -> None:
    """B remembers the request as it was; A has changed it; after a refresh B reads it anew."""
    monkeypatch.setattr(hints.Hints, "tell", lambda _: None)
    a, b = await opened(limits=UNHEARD), await opened(limits=UNHEARD)
    request = await put(b)
    assert await a.refresh(Revision(0))
    changed = await a.commit(change(moved(request, Status.CANCELED)))
    assert await b.request(request.id) == request
    assert await b.refresh(request.revision)
    assert await b.request(request.id) == changed.requests[0]
    assert b.head == a.head
    assert not await b.refresh(changed.revision), "nothing is news twice"


async def test_much_is_caught_up_with_in_stretches_and_in_order(
    opened: Opener, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A replica that was paused for long must neither take all at once nor keep its callers waiting
    behind it.
    """
    monkeypatch.setattr(hints.Hints, "tell", lambda _: None)
    monkeypatch.setattr(transaction, "_MISSED_PAGE", 4)
    monkeypatch.setattr(transaction, "_MISSED_AT_ONCE_MAX", 8)
    a, b = await opened(limits=UNHEARD), await opened(limits=UNHEARD)
    told = revisions_told_to(b)
    for number in range(10):
        await put(a, f"request-{number}")
    looked = asyncio.create_task(b.refresh(Revision(0)))
    own = await b.commit(submission(make_request("mine")))
    assert await looked
    assert told == list(range(1, 34))
    assert own.revision == b.head.revision == 33
