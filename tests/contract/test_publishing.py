"""What a transaction made durable is told once, in order, before its callers go on."""

import asyncio
import logging

import pytest

from governor.domain.errors import Overloaded, StoreUnavailable
from governor.domain.request import Status
from governor.domain.values import ExecutionId, Revision
from governor.storage import reader as reading
from governor.storage.store import SqlStore, StoreLimits
from governor.storage.writer import PAYLOAD_BYTES_PER_BATCH
from governor.usecases.commits import Batch, Committed
from governor.usecases.questions import RequestQuery
from tests.support.backends import WAIT_SECONDS_MAX, Backend, Opener, Turnstile
from tests.support.builders import (
    change,
    make_execution,
    make_key,
    make_request,
    moved,
    submission,
)


class Failing:
    """A failpoint that raises once, where it is told to."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.armed = False

    def __call__(self, name: str) -> None:
        if self.armed and name == self.name:
            self.armed = False
            raise RuntimeError(f"stopped at {name}")


async def test_a_caller_goes_on_after_every_listener_has_heard(store: SqlStore) -> None:
    """Whoever submits and then looks at the stream's tail must find the submission in it."""
    heard: list[Revision] = []
    store.listen(lambda batch: heard.extend(entry.revision for entry in batch.entries))

    async def caller(number: int) -> None:
        committed = await store.commit(submission(make_request(f"request-{number}")))
        assert committed.revision in heard
        assert store.head.revision >= committed.revision

    await asyncio.gather(*(caller(number) for number in range(50)))
    assert heard == list(range(1, 151))


async def test_listeners_are_called_in_the_order_in_which_they_came(store: SqlStore) -> None:
    """The tail is filled before those who wait for it are woken."""
    calls: list[str] = []
    store.listen(lambda _: calls.append("first"))
    store.listen(lambda _: calls.append("second"))
    await store.commit(submission())
    assert calls == ["first", "second"]


async def test_a_batch_holds_what_was_committed_and_the_bytes_of_its_entries(
    store: SqlStore,
) -> None:
    """Subscribers stream exactly the bytes that the database holds."""
    batches: list[Batch] = []
    store.listen(batches.append)
    committed = await store.commit(submission())
    assert batches[0].commits == (committed,)
    assert batches[0].entries == await store.entries(after=Revision(0), limit=10)


async def test_a_listener_that_fails_does_not_keep_anybody_waiting(
    store: SqlStore, caplog: pytest.LogCaptureFixture
) -> None:
    """It must not raise; should it, the others still hear and the caller still goes on."""
    heard: list[Batch] = []

    def broken(_: Batch) -> None:
        raise RuntimeError("broken")

    store.listen(broken)
    store.listen(heard.append)
    with caplog.at_level(logging.ERROR):
        await store.commit(submission())
    assert len(heard) == 1
    assert "a listener failed on a batch" in caplog.text


async def test_the_observer_is_told_of_every_transaction(
    store: SqlStore, turnstile: Turnstile
) -> None:
    """How many commits it took on, losers included, and how long the first of them waited."""
    told: list[tuple[int, float]] = []
    store.observe(lambda commits, seconds: told.append((commits, seconds)))
    await turnstile.together(
        store,
        submission(make_request("a")),
        submission(make_request("a")),
        submission(make_request("b")),
    )
    assert [commits for commits, _ in told] == [1, 3]
    assert all(seconds > 0 for _, seconds in told)


async def test_the_commit_of_a_caller_who_left_is_whole(
    store: SqlStore, turnstile: Turnstile
) -> None:
    """Cancelled while its commit is queued: the request, its key and its entries are all there."""
    heard: list[Batch] = []
    store.listen(heard.append)
    left = asyncio.create_task(store.commit(submission(key=make_key())))
    await asyncio.sleep(0)
    left.cancel()
    with pytest.raises(asyncio.CancelledError):
        await left
    await store.commit(submission(make_request("next")))  # whatever was queued before it is done
    replayed = await store.replay(make_key())
    assert replayed is not None
    assert await store.request(make_request().id) == replayed.requests[0]
    assert heard[0].commits[0].requests == replayed.requests


async def test_a_failed_commit_fails_every_waiter_and_nothing_has_happened(opened: Opener) -> None:
    """COMMIT fails under twenty callers. Each is told that the store did not answer; the head is as
    before, the revisions are given out again, and each may retry under its key.
    """
    failing = Failing("store.batch.before_commit")
    store = await opened(failpoints=failing)
    await store.commit(submission(make_request("before")))
    head = store.head
    failing.armed = True
    calls = [
        submission(make_request(f"request-{number}"), key=make_key(f"call-{number}"))
        for number in range(20)
    ]
    answers = await asyncio.gather(*map(store.commit, calls), return_exceptions=True)
    failed = [answer for answer in answers if isinstance(answer, BaseException)]
    assert failed
    assert all(isinstance(failure, StoreUnavailable) for failure in failed)
    assert all("stopped" not in str(failure) for failure in failed)
    assert store.head.revision == head.revision + 3 * (20 - len(failed))

    again = await asyncio.gather(*map(store.commit, calls))
    assert [answer.replayed for answer in again] == [
        isinstance(answer, Committed) for answer in answers
    ]
    entries = await store.entries(after=Revision(0), limit=1_000)
    assert [entry.revision for entry in entries] == list(range(1, 64))


async def test_a_failed_batch_leaves_the_snapshots_as_they_were(opened: Opener) -> None:
    """The status that was not made durable is not what the next reader sees."""
    failing = Failing("store.batch.before_commit")
    store = await opened(failpoints=failing)
    request = (await store.commit(submission())).requests[0]
    failing.armed = True
    with pytest.raises(StoreUnavailable):
        await store.commit(change(moved(request, Status.CANCELED)))
    assert await store.request(request.id) == request
    await store.commit(change(moved(request, Status.CANCELED)))


async def test_what_became_durable_without_an_answer_is_told_with_the_next_batch(
    opened: Opener,
) -> None:
    """COMMIT succeeds and its answer is lost. The caller is told so and may retry; listeners hear
    of it, commits and all, before they hear of anything later: the stream has no gap.
    """
    failing = Failing("store.batch.after_commit")
    store = await opened(failpoints=failing)
    heard: list[Batch] = []
    store.listen(heard.append)
    request = (await store.commit(submission())).requests[0]
    failing.armed = True
    claim = change(moved(request, Status.EXECUTING), make_execution(request), key=make_key())
    with pytest.raises(StoreUnavailable):
        await store.commit(claim)

    replayed = await store.commit(claim)
    assert replayed.replayed
    assert store.head.revision == 5
    assert [commit.executions for commit in heard[1].commits] == [replayed.executions]
    await store.commit(submission(make_request("next")))
    revisions = [entry.revision for batch in heard for entry in batch.entries]
    assert revisions == list(range(1, 9))
    assert await store.request(request.id) == replayed.requests[0]


async def test_what_became_durable_without_an_answer_is_told_though_nobody_writes_any_more(
    opened: Opener,
) -> None:
    """Otherwise an approved request would wait, and streams with it, for somebody else's commit."""
    failing = Failing("store.batch.after_commit")
    store = await opened(failpoints=failing, limits=StoreLimits(ledger_poll_seconds_max=0.01))
    told = asyncio.Event()
    store.listen(lambda _: told.set())
    failing.armed = True
    with pytest.raises(StoreUnavailable):
        await store.commit(submission())

    async with asyncio.timeout(WAIT_SECONDS_MAX):
        await told.wait()
    assert store.head.revision == 3


async def test_an_answer_that_names_a_revision_can_be_read_at_it(opened: Opener) -> None:
    """The store did not answer, the caller finds the answer under its key and goes on from there:
    to the store, that revision does not lie ahead.
    """
    failing = Failing("store.batch.after_commit")
    store = await opened(failpoints=failing)
    failing.armed = True
    with pytest.raises(StoreUnavailable):
        await store.commit(submission(key=make_key()))

    replayed = await store.replay(make_key())
    assert replayed is not None
    await store.refresh(store.head.revision)
    assert store.head.revision >= replayed.revision


async def test_a_head_that_went_back_is_not_written_on(store: SqlStore, backend: Backend) -> None:
    """A standby that had not caught up takes over, or a backup is put in the file's place: its head
    is behind what callers were told. Nothing is written, and no revision is given out twice.
    """
    await store.commit(submission(make_request("before")))
    (behind,) = await backend.run("SELECT size, root, frontier FROM head")
    await store.commit(submission(make_request("after")))
    head = store.head
    await backend.run("UPDATE head SET size = :size, root = :root, frontier = :frontier", **behind)
    with pytest.raises(StoreUnavailable):
        await store.commit(submission(make_request("lost")))
    assert store.head == head
    assert await store.request(make_request("lost").id) is None
    await backend.run("UPDATE head SET store_id = 'another'")
    with pytest.raises(StoreUnavailable):
        await store.commit(submission(make_request("lost")))
    assert len(await store.entries(after=Revision(0), limit=100)) == 6


async def test_a_full_queue_turns_callers_away(opened: Opener) -> None:
    """The bound is on commits that have not been answered; the rest is not disturbed."""
    store = await opened(limits=StoreLimits(commits_waiting_max=8))
    answers = await asyncio.gather(
        *(store.commit(submission(make_request(f"request-{number}"))) for number in range(20)),
        return_exceptions=True,
    )
    assert [isinstance(answer, Committed) for answer in answers] == [True] * 8 + [False] * 12
    assert all(
        isinstance(answer, Overloaded) for answer in answers if not isinstance(answer, Committed)
    )
    await store.commit(submission(make_request("later")))


async def test_a_queue_full_of_bytes_turns_callers_away_also_for_callers_who_have_left(
    opened: Opener,
) -> None:
    """What a caller who hung up has left waits for the disk like anything else."""
    store = await opened(limits=StoreLimits(commits_waiting_bytes_max=10_000))
    large = [
        submission(make_request(f"request-{number}", payload=bytes(3_000))) for number in range(4)
    ]
    leaving = [asyncio.ensure_future(store.commit(commit)) for commit in large[:3]]
    await asyncio.sleep(0)
    for each in leaving:
        each.cancel()
    with pytest.raises(Overloaded, match="commits_waiting_bytes_max"):
        await store.commit(large[3])
    await store.commit(submission(make_request("small")))
    await store.commit(large[3])
    assert await store.request(large[0].requests[0].id) is not None


async def test_reads_whose_callers_have_left_are_bounded_as_well(
    store: SqlStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A read goes on without its caller, so that callers who hang up at once could pile them up."""
    monkeypatch.setattr(reading, "READS_WAITING_MAX", 3)
    request = (await store.commit(submission())).requests[0]
    leaving = [asyncio.ensure_future(store.executions_of(request.id)) for _ in range(3)]
    await asyncio.sleep(0)
    for each in leaving:
        each.cancel()
    with pytest.raises(Overloaded, match="READS_WAITING_MAX"):
        await store.executions_of(request.id)
    unknown = [asyncio.ensure_future(store.execution(ExecutionId(f"ex-{n}"))) for n in range(3)]
    await asyncio.sleep(0)
    with pytest.raises(Overloaded, match="READS_WAITING_MAX"):
        await store.execution(ExecutionId("ex-more"))
    await asyncio.gather(*leaving, *unknown, return_exceptions=True)
    async with asyncio.timeout(WAIT_SECONDS_MAX):
        while True:
            try:
                assert await store.executions_of(request.id) == ()
                break
            except Overloaded:
                await asyncio.sleep(0)


async def test_a_batch_has_a_largest_size(opened: Opener) -> None:
    """However many are queued, one transaction takes no more than that."""
    store = await opened(limits=StoreLimits(commits_per_transaction_max=4))
    sizes: list[int] = []
    store.listen(lambda batch: sizes.append(len(batch.commits)))
    await asyncio.gather(
        *(store.commit(submission(make_request(f"request-{number}"))) for number in range(30))
    )
    assert sum(sizes) == 30
    assert max(sizes) == 4


async def test_large_payloads_are_not_all_taken_into_one_transaction(
    store: SqlStore, turnstile: Turnstile
) -> None:
    """A batch lies in memory as a whole."""
    sizes: list[int] = []
    store.observe(lambda commits, _: sizes.append(commits))
    payload = bytes(PAYLOAD_BYTES_PER_BATCH // 4)
    await turnstile.together(
        store,
        *(submission(make_request(f"request-{number}", payload=payload)) for number in range(10)),
    )
    assert sizes == [1, 4, 4, 2]


async def test_closing_finishes_what_is_queued_and_refuses_what_comes_later(
    opened: Opener,
) -> None:
    """A shutdown must not lose what it had taken on."""
    store = await opened()
    queued = [
        asyncio.create_task(store.commit(submission(make_request(f"request-{number}"))))
        for number in range(20)
    ]
    await asyncio.sleep(0)
    await store.close()
    assert len(await asyncio.gather(*queued)) == 20
    with pytest.raises(StoreUnavailable):
        await store.commit(submission(make_request("late")))
    again = await opened()
    assert again.head.revision == 60


async def test_a_changed_request_out_of_a_list_keeps_its_payload(store: SqlStore) -> None:
    """Lists leave the payload out; a commit made from one must not empty it for the host."""
    request = (await store.commit(submission(make_request(payload=b"the payload")))).requests[0]
    (listed,) = await store.requests(RequestQuery(tenant="acme"))
    assert listed.content.payload.data == b""
    await store.commit(change(moved(listed, Status.CANCELED)))
    current = await store.request(request.id)
    assert current is not None
    assert current.content == request.content
    assert current.status is Status.CANCELED


async def test_a_store_whose_memory_is_too_small_for_snapshots_answers_from_the_database(
    opened: Opener,
) -> None:
    """What is forgotten is read again, and is the same."""
    store = await opened(limits=StoreLimits(snapshot_bytes_max=2 * 5_000))
    requests = [
        (await store.commit(submission(make_request(f"request-{number}")))).requests[0]
        for number in range(5)
    ]
    found = await asyncio.gather(*(store.request(request.id) for request in requests))
    assert list(found) == requests
