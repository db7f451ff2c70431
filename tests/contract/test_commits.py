"""A commit is durable whole or not at all, and takes its place in the one order."""

import asyncio
from itertools import pairwise

import pytest

from governor.domain.compensation import Compensation, CompensationKind, CompensationTrigger
from governor.domain.errors import Conflict, StateBusy, StoreUnavailable
from governor.domain.execution import Applied, ExecutionStatus
from governor.domain.request import Status
from governor.domain.values import Micros, Revision
from governor.storage.store import SqlStore
from governor.usecases.commits import Batch, Commit, Committed
from governor.usecases.questions import RequestQuery
from tests.support.backends import Backend, Opener, Turnstile
from tests.support.builders import (
    change,
    decode_entry,
    make_execution,
    make_key,
    make_request,
    moved,
    standing,
    submission,
)


async def counts(backend: Backend) -> dict[str, int]:
    """How many rows every table has."""
    tables = ("requests", "request_tags", "executions", "ledger", "idempotency")
    return {
        table: (await backend.run(f"SELECT count(*) AS rows FROM {table}"))[0]["rows"]
        for table in tables
    }


async def test_everything_in_a_commit_is_written_and_takes_its_revisions(store: SqlStore) -> None:
    """A request takes the first revision as its submission's, and everything takes the last."""
    request = make_request(tags=("a", "b"))
    committed = await store.commit(submission(request, key=make_key()))
    assert committed.revision == 3
    assert committed.requests == (request.but(submitted_revision=1, revision=3),)
    assert await store.request(request.id) == committed.requests[0]

    execution = make_execution(committed.requests[0])
    claimed = await store.commit(change(moved(committed.requests[0], Status.EXECUTING), execution))
    assert claimed.executions == (execution.but(submitted_revision=4, revision=5),)
    assert claimed.requests[0].submitted_revision == 1
    assert claimed.requests[0].revision == 5
    assert await store.execution(execution.id) == claimed.executions[0]
    assert store.head.revision == 5


async def test_what_undoing_takes_and_what_undoes_are_read_as_they_were_written(
    store: SqlStore,
) -> None:
    """Tokens are any bytes; a change that has none is stored as before there were any."""
    original = (await store.commit(submission(make_request("original")))).requests[0]
    applied = Applied(
        resulting_version="2", undo_token=bytes(range(256)), undo_expires_at=Micros(9)
    )
    execution = make_execution(original, status=ExecutionStatus.APPLIED, applied=applied)
    await store.commit(change(moved(original, Status.EXECUTED), execution))
    stored = await store.execution(execution.id)
    assert stored is not None
    assert stored.applied == applied

    plain = make_request("rollback")
    compensation = Compensation(
        request_id=original.id,
        execution_id=execution.id,
        kind=CompensationKind.ROLLBACK,
        trigger=CompensationTrigger.BATCH_FAILURE,
        undo_token=applied.undo_token,
    )
    rollback = plain.but(content=plain.content.but(compensation=compensation))
    await store.commit(submission(rollback))
    read = await store.request(rollback.id)
    assert read is not None
    assert read.content == rollback.content


async def test_a_commit_that_loses_leaves_nothing_behind(store: SqlStore, backend: Backend) -> None:
    """The second part of the commit is stale; its first part, its key and its entries vanish."""
    old = (await store.commit(submission(make_request("old")))).requests[0]
    await store.commit(change(moved(old, Status.CANCELED)))
    before = await counts(backend)
    new = make_request("new", tags=("a",))
    stale = submission(new, key=make_key()).but(requests=(new, moved(old, Status.SUPERSEDED)))
    with pytest.raises(Conflict):
        await store.commit(stale)
    assert await counts(backend) == before
    assert await store.request(new.id) is None
    assert await store.replay(make_key()) is None


async def test_of_two_who_read_the_same_revision_one_wins(store: SqlStore) -> None:
    """A and B load revision 3; A writes; B, still holding 3, is told and may look again."""
    read = (await store.commit(submission())).requests[0]
    won = await store.commit(change(moved(read, Status.CANCELED)))
    with pytest.raises(Conflict) as lost:
        await store.commit(change(moved(read, Status.EXPIRED)))
    assert lost.value.facts["id"] == read.id
    assert await store.request(read.id) == won.requests[0]


async def test_of_two_in_one_batch_who_read_the_same_revision_the_first_wins(
    store: SqlStore, turnstile: Turnstile
) -> None:
    """Both were queued before either was written: the later one must see the earlier one's row."""
    read = (await store.commit(submission())).requests[0]
    first, second = await turnstile.together(
        store, change(moved(read, Status.CANCELED)), change(moved(read, Status.EXPIRED))
    )
    assert isinstance(first, Committed)
    assert isinstance(second, Conflict)
    assert (await store.request(read.id)) == first.requests[0]


async def test_a_new_request_must_not_exist(store: SqlStore, turnstile: Turnstile) -> None:
    """An id is taken once: by a commit before, or by one before it in the same batch."""
    await store.commit(submission(make_request("taken")))
    stored, first, second = await turnstile.together(
        store,
        submission(make_request("taken")),
        submission(make_request("free")),
        submission(make_request("free")),
    )
    assert isinstance(stored, Conflict)
    assert isinstance(first, Committed)
    assert isinstance(second, Conflict)


async def test_a_change_of_what_is_not_there_conflicts(store: SqlStore) -> None:
    """Revision 7 of a request that was never written cannot be what anybody read."""
    ghost = make_request("ghost").but(revision=Revision(7))
    with pytest.raises(Conflict):
        await store.commit(change(ghost))


async def test_an_execution_is_guarded_by_its_revision_as_well(store: SqlStore) -> None:
    """The owner and a recovering process both settle it; the second finds another revision."""
    request = (await store.commit(submission())).requests[0]
    claimed = await store.commit(change(moved(request, Status.EXECUTING), make_execution(request)))
    running = claimed.executions[0]
    settled = running.but(status=ExecutionStatus.APPLIED)
    await store.commit(change(moved(claimed.requests[0], Status.EXECUTED), settled))
    late = running.but(status=ExecutionStatus.REFUSED)
    with pytest.raises(Conflict):
        await store.commit(Commit(decisions=(standing(request, late),), executions=(late,)))


async def test_a_guard_holds_a_commit_to_a_request_that_it_only_read(store: SqlStore) -> None:
    """B depends on A's approval; A is cancelled between B's look and B's commit."""
    a = (await store.commit(submission(make_request("a")))).requests[0]
    b = (await store.commit(submission(make_request("b")))).requests[0]
    guarded = change(moved(b, Status.EXECUTING), guards=((a.id, a.revision),))
    await store.commit(change(moved(a, Status.CANCELED)))
    with pytest.raises(Conflict) as lost:
        await store.commit(guarded)
    assert lost.value.facts["id"] == "a"
    current = await store.request(a.id)
    assert current is not None
    await store.commit(guarded.but(guards=((a.id, current.revision),)))


async def test_a_guard_on_absence_holds_until_somebody_appears(store: SqlStore) -> None:
    """Revision 0 stands for a request that must not be there."""
    absent = ((make_request("later").id, Revision(0)),)
    await store.commit(submission(make_request("one")).but(guards=absent))
    await store.commit(submission(make_request("later")))
    with pytest.raises(Conflict):
        await store.commit(submission(make_request("two")).but(guards=absent))


# ---------------------------------------------------------------- one execution per state


async def test_one_state_has_one_active_execution(store: SqlStore) -> None:
    """Two approved requests for one state are claimed; the second must wait for the first."""
    first = (await store.commit(submission(make_request("first", state="flag")))).requests[0]
    second = (await store.commit(submission(make_request("second", state="flag")))).requests[0]
    claimed = await store.commit(change(moved(first, Status.EXECUTING), make_execution(first)))
    claim = change(moved(second, Status.EXECUTING), make_execution(second))
    with pytest.raises(StateBusy) as busy:
        await store.commit(claim)
    assert busy.value.facts["execution_id"] == claimed.executions[0].id
    over = claimed.executions[0].but(status=ExecutionStatus.APPLIED)
    await store.commit(change(moved(claimed.requests[0], Status.EXECUTED), over))
    await store.commit(claim)


async def test_an_execution_in_doubt_still_holds_its_state(store: SqlStore) -> None:
    """Nobody knows whether it was applied: a second one could apply on top of it."""
    first = (await store.commit(submission(make_request("first", state="flag")))).requests[0]
    second = (await store.commit(submission(make_request("second", state="flag")))).requests[0]
    claimed = await store.commit(change(moved(first, Status.EXECUTING), make_execution(first)))
    doubted = claimed.executions[0].but(status=ExecutionStatus.IN_DOUBT)
    await store.commit(change(moved(claimed.requests[0], Status.PENDING), doubted))
    with pytest.raises(StateBusy):
        await store.commit(change(moved(second, Status.EXECUTING), make_execution(second)))


async def test_of_two_claims_in_one_batch_the_first_gets_the_state(
    store: SqlStore, turnstile: Turnstile
) -> None:
    """Neither is in the database when the other is decided."""
    first = (await store.commit(submission(make_request("first", state="flag")))).requests[0]
    second = (await store.commit(submission(make_request("second", state="flag")))).requests[0]
    won, lost = await turnstile.together(
        store,
        change(moved(first, Status.EXECUTING), make_execution(first)),
        change(moved(second, Status.EXECUTING), make_execution(second)),
    )
    assert isinstance(won, Committed)
    assert isinstance(lost, StateBusy)


async def test_a_state_set_free_in_a_batch_can_be_taken_in_the_same_batch(
    store: SqlStore, turnstile: Turnstile
) -> None:
    """The end of one execution and the claim of the next become durable together."""
    first = (await store.commit(submission(make_request("first", state="flag")))).requests[0]
    second = (await store.commit(submission(make_request("second", state="flag")))).requests[0]
    claimed = await store.commit(change(moved(first, Status.EXECUTING), make_execution(first)))
    over = claimed.executions[0].but(status=ExecutionStatus.APPLIED)
    ended, taken = await turnstile.together(
        store,
        change(moved(claimed.requests[0], Status.EXECUTED), over),
        change(moved(second, Status.EXECUTING), make_execution(second)),
    )
    assert isinstance(ended, Committed)
    assert isinstance(taken, Committed)


async def test_one_commit_can_pass_a_state_from_one_execution_to_the_next(store: SqlStore) -> None:
    """What it sets free itself is free for it."""
    request = (await store.commit(submission())).requests[0]
    claimed = await store.commit(change(moved(request, Status.EXECUTING), make_execution(request)))
    over = claimed.executions[0].but(status=ExecutionStatus.NOT_APPLIED)
    again = make_execution(claimed.requests[0], "again")
    passed = await store.commit(change(claimed.requests[0], over, again))
    assert [execution.is_active for execution in passed.executions] == [False, True]


async def test_the_same_state_of_another_tenant_is_another_state(store: SqlStore) -> None:
    """Names of states belong to their tenants."""
    for tenant in ("acme", "bolt"):
        request = make_request(f"of-{tenant}", tenant=tenant, state="flag")
        await store.commit(submission(request).but(executions=(make_execution(request),)))


# ---------------------------------------------------------------- the one order


async def test_many_writers_leave_a_ledger_without_gaps_in_the_order_of_their_commits(
    store: SqlStore,
) -> None:
    """200 commits race. Each gets a contiguous run of revisions, and whoever was answered earlier
    has the lower ones; half of them fight over the same requests and most of those lose.
    """
    contested = [
        (await store.commit(submission(make_request(f"contested-{number}")))).requests[0]
        for number in range(10)
    ]
    answered: list[Committed] = []

    async def writer(number: int) -> None:
        commit = (
            submission(make_request(f"own-{number}"))
            if number % 2
            else change(moved(contested[number % 10], Status.CANCELED))
        )
        try:
            answered.append(await store.commit(commit))
        except Conflict:
            return

    await asyncio.gather(*(writer(number) for number in range(200)))

    assert len(answered) == 100 + 5  # the even numbers name five of the contested ones
    entries = await store.entries(after=Revision(0), limit=10_000)
    assert [entry.revision for entry in entries] == list(range(1, store.head.revision + 1))
    assert all(decode_entry(entry.data).revision == entry.revision for entry in entries)
    revisions = [committed.revision for committed in answered]
    assert revisions == sorted(revisions)
    runs: dict[str, list[int]] = {}
    for entry in entries:
        if entry.request_id.startswith("own-"):
            runs.setdefault(entry.request_id, []).append(entry.revision)
    assert all(b == a + 1 for run in runs.values() for a, b in pairwise(run))


async def test_losers_in_a_batch_do_not_disturb_the_others(
    store: SqlStore, turnstile: Turnstile
) -> None:
    """Winners before, between and after the losers take one gap-free run of revisions."""
    read = (await store.commit(submission(make_request("read")))).requests[0]
    await store.commit(change(moved(read, Status.CANCELED)))
    seen: list[Batch] = []
    store.listen(seen.append)
    answers = await turnstile.together(
        store,
        submission(make_request("a")),
        change(moved(read, Status.EXPIRED)),
        submission(make_request("b")),
        submission(make_request("a")),
        submission(make_request("c")),
    )
    assert [isinstance(answer, Committed) for answer in answers] == [True, False, True, False, True]
    batch = seen[-1]
    assert [commit.requests[0].id for commit in batch.commits] == ["a", "b", "c"]
    first = batch.entries[0].revision
    assert [entry.revision for entry in batch.entries] == list(range(first, first + 9))
    assert store.head.revision == first + 8


async def test_a_value_that_cannot_be_written_fails_its_own_commit_alone(
    store: SqlStore, turnstile: Turnstile
) -> None:
    """A number beyond 64 bits reaches the driver in the middle of a batch, which is then written
    commit by commit; the neighbours do not notice.
    """
    poison = make_request("poison", submitted_at=Micros(2**70))
    before, poisoned, after = await turnstile.together(
        store,
        submission(make_request("before")),
        submission(poison),
        submission(make_request("after")),
    )
    assert isinstance(before, Committed)
    assert isinstance(poisoned, StoreUnavailable)
    assert isinstance(after, Committed)
    assert await store.request(poison.id) is None
    listed = await store.requests(RequestQuery(tenant="acme"))
    assert [request.id for request in listed] == ["after", "before"]


async def test_a_commit_without_a_decision_is_refused(store: SqlStore) -> None:
    """Nothing changes without the ledger saying so."""
    with pytest.raises(ValueError, match="at least one decision"):
        await store.commit(Commit(decisions=(), requests=(make_request(),)))


async def test_a_reopened_store_holds_everything(opened: Opener) -> None:
    """Everything that was answered is there for the next process, and the order goes on."""
    first = await opened()
    request = (await first.commit(submission(key=make_key()))).requests[0]
    claimed = await first.commit(change(moved(request, Status.EXECUTING), make_execution(request)))
    head = first.head
    await first.close()

    second = await opened()
    assert second.head == head
    assert await second.request(request.id) == claimed.requests[0]
    assert await second.executions_of(request.id) == claimed.executions
    assert (await second.commit(submission(make_request("next")))).revision == head.revision + 3
