"""The host's standing is durable like everything else, and held against the ledger."""

import pytest

from governor.domain.decision import Category, Code, Decision, decide
from governor.domain.errors import Conflict
from governor.domain.host_standing import (
    UNMET,
    HoldCode,
    HostStanding,
    Stance,
    promise_broken,
    seen,
    store_restored,
    trusted,
)
from governor.domain.values import GOVERNOR, Reason, Revision
from governor.storage.dialect import PostgresDialect, SqliteDialect
from governor.storage.findings import Fault
from governor.storage.standing import hold_after_restore
from governor.storage.store import SqlStore
from governor.usecases.commits import Batch, Commit, Committed
from governor.usecases.questions import DecisionFilter
from tests.contract.test_verify import examine, faults
from tests.support.backends import Backend, Opener, Turnstile
from tests.support.builders import (
    ALICE,
    START,
    change,
    encode_entry,
    make_execution,
    make_key,
    make_request,
    submission,
)


def commit_of(stance: Stance | None) -> Commit:
    assert stance is not None
    return Commit(decisions=(stance.decision,), standing=stance.standing)


async def see(store: SqlStore, lineage_id: str) -> HostStanding:
    """A host of that lineage answers."""
    stance = seen(await store.host_standing(), lineage_id, now=START)
    committed = await store.commit(commit_of(stance))
    assert committed.standing is not None
    return committed.standing


async def test_before_a_host_was_met_it_stands_nowhere(store: SqlStore) -> None:
    assert await store.host_standing() == UNMET


async def test_a_standing_is_read_as_it_was_committed(opened: Opener) -> None:
    """Trusted, then held: each takes the revision of its decision, also in the next process."""
    writer = await opened()
    first = await see(writer, "one")
    assert first == HostStanding(lineage_id="one", revision=Revision(1))
    held = await see(writer, "two")
    assert held.hold is not None
    assert held.revision == 2
    await writer.close()
    assert await (await opened()).host_standing() == held


async def test_of_two_who_judge_the_same_host_one_wins(
    store: SqlStore, turnstile: Turnstile
) -> None:
    """Two replicas meet it at once; the loser reads what the other said."""
    stance = seen(UNMET, "one", now=START)
    won, lost = await turnstile.together(store, commit_of(stance), commit_of(stance))
    assert isinstance(won, Committed)
    assert isinstance(lost, Conflict)
    assert lost.facts["id"] == "host"
    with pytest.raises(Conflict):
        await store.commit(commit_of(stance))
    assert await store.host_standing() == won.standing


async def test_a_trust_given_to_an_older_hold_is_refused(store: SqlStore) -> None:
    """Between the person's look and their word the host broke a promise as well."""
    await see(store, "one")
    looked_at = await see(store, "two")
    trust = trusted(
        looked_at, "two", announced="two", actor=ALICE, reason=Reason(code="LOOKED"), now=START
    )
    execution = make_execution(make_request())
    await store.commit(commit_of(promise_broken(looked_at, execution, "otherwise", now=START)))
    with pytest.raises(Conflict):
        await store.commit(commit_of(trust))
    assert (await store.host_standing()).hold is not None


async def test_a_repeated_trust_gets_the_first_answer(store: SqlStore) -> None:
    """Its key leads to the revision, though no request is part of it."""
    await store.commit(commit_of(store_restored(UNMET, now=START)))
    trust = trusted(
        await store.host_standing(),
        "",
        announced="",
        actor=ALICE,
        reason=Reason(code="LOOKED"),
        now=START,
    )
    key = make_key(rpc="TrustHost")
    first = await store.commit(commit_of(trust).but(key=key))
    again = await store.replay(key)
    assert again is not None
    assert (again.revision, again.requests, again.replayed) == (first.revision, (), True)


async def test_a_standing_that_loses_leaves_nothing_behind(store: SqlStore) -> None:
    """One commit, whole or not at all: its request is stale, so the host is not held either."""
    await see(store, "one")
    request = (await store.commit(submission())).requests[0]
    await store.commit(change(request))
    stance = seen(await store.host_standing(), "two", now=START)
    assert stance is not None
    stale = change(request).but(standing=stance.standing)
    with pytest.raises(Conflict):
        await store.commit(stale)
    assert (await store.host_standing()).hold is None


async def test_listeners_are_told_of_a_new_standing(store: SqlStore) -> None:
    batches: list[Batch] = []
    store.listen(batches.append)
    standing = await see(store, "one")
    (batch,) = batches
    assert batch.commits[0].standing == standing
    assert [entry.category for entry in batch.entries] == [Category.HOST]


# ---------------------------------------------------------------- who sees the decisions


async def lives(store: SqlStore) -> None:
    """Two tenants, and a host that is met between their requests and held after them."""
    await store.commit(submission(make_request("a")))
    await see(store, "one")
    await store.commit(submission(make_request("b", tenant="bolt")))
    await store.commit(submission(make_request("c")))
    await see(store, "two")


async def test_what_is_decided_about_the_host_is_seen_by_those_who_ask(store: SqlStore) -> None:
    """In its place in the order, whatever tenant they belong to; nobody else sees it."""
    await lives(store)
    everything = await store.entries(after=Revision(0), limit=100)
    for tenant in ("acme", "bolt", "elsewhere"):
        for include_host in (False, True):
            filter = DecisionFilter(tenant=tenant, include_host=include_host)
            found = await store.entries(after=Revision(0), limit=100, filter=filter)
            assert found == tuple(entry for entry in everything if filter.matches(entry))
            about_it = [entry for entry in found if entry.category is Category.HOST]
            assert len(about_it) == (2 if include_host else 0)


async def test_pages_with_the_host_among_them_leave_nothing_out(store: SqlStore) -> None:
    await lives(store)
    filter = DecisionFilter(tenant="acme", include_host=True)
    whole = await store.entries(after=Revision(0), limit=100, filter=filter)
    pages: list[Revision] = []
    after = Revision(0)
    while page := await store.entries(after=after, limit=3, filter=filter):
        pages.extend(entry.revision for entry in page)
        after = page[-1].revision
    assert pages == [entry.revision for entry in whole]
    assert len(pages) == 8


async def test_other_filters_apply_to_the_host_as_well(store: SqlStore) -> None:
    await lives(store)
    for changes, codes in (
        ({"categories": frozenset({Category.HOST})}, ["trusted", "held"]),
        ({"codes": frozenset({"held", "submitted"})}, ["submitted", "submitted", "held"]),
        ({"categories": frozenset({Category.POLICY})}, ["allowed", "allowed"]),
        ({"actor": "alice"}, ["submitted", "allowed"] * 2),
    ):
        filter = DecisionFilter(tenant="acme", include_host=True).but(**changes)
        found = await store.entries(after=Revision(0), limit=100, filter=filter)
        assert [entry.code for entry in found] == codes
        assert all(filter.matches(entry) for entry in found)


# ---------------------------------------------------------------- verification


async def test_a_host_that_was_trusted_and_held_is_verified(
    store: SqlStore, backend: Backend
) -> None:
    await lives(store)
    assert (await examine(backend))[0] == []


@pytest.mark.parametrize(
    ("tampering", "fault"),
    [
        ("DELETE FROM host_standing", Fault.HOST_MISSING),
        ("UPDATE host_standing SET revision = 3", Fault.HOST_STANDING),
        ("UPDATE host_standing SET body = :lifted", Fault.HOST_STANDING),
        ("UPDATE host_standing SET body = :garbage", Fault.HOST_UNREADABLE),
    ],
)
async def test_a_standing_that_is_not_what_was_decided_is_found(
    store: SqlStore, backend: Backend, tampering: str, fault: Fault
) -> None:
    """Whoever lifts a hold behind Governor's back is found out by the ledger."""
    await lives(store)
    standing = await store.host_standing()
    bodies = {
        "lifted": b'{"lineage_id":"two","revision":%d}' % standing.revision,
        "garbage": b"{",
    }
    named = {name: body for name, body in bodies.items() if f":{name}" in tampering}
    await backend.run(tampering, **named)
    assert faults((await examine(backend))[0]) == {fault}


async def test_a_standing_of_which_nothing_was_decided_is_found(
    store: SqlStore, backend: Backend
) -> None:
    await backend.run(
        "INSERT INTO host_standing (id, revision, body) VALUES (1, 1, :body)",
        body=b'{"lineage_id":"one","revision":1}',
    )
    assert faults((await examine(backend))[0]) == {Fault.HOST_UNRECORDED}


def without_a_request(code: Code) -> Decision:
    decision = seen(UNMET, "one", now=START)
    assert decision is not None
    return decision.decision.but(code=code)


async def test_an_entry_about_nothing_is_found(store: SqlStore, backend: Backend) -> None:
    """Only the host is decided about without a request."""
    await store.commit(Commit(decisions=(without_a_request(Code.CLAIMED),)))
    assert Fault.ENTRY_SUBJECT in faults((await examine(backend))[0])


async def test_an_entry_about_the_host_that_names_a_request_is_found(
    store: SqlStore, backend: Backend
) -> None:
    request = (await store.commit(submission())).requests[0]
    decision = decide(Code.HOST_HELD, request, actor=GOVERNOR, at=START)
    await store.commit(change(request).but(decisions=(decision,)))
    assert Fault.ENTRY_SUBJECT in faults((await examine(backend))[0])


# ---------------------------------------------------------------- after a restoration


@pytest.mark.parametrize("was_met", [False, True], ids=["never met", "trusted before"])
async def test_a_restored_store_is_left_with_its_host_held(
    opened: Opener, backend: Backend, was_met: bool
) -> None:
    """Before anybody opens it: so nobody is given the time to execute anything."""
    before = await opened()
    if was_met:
        await see(before, "one")
    size = before.head.revision
    await before.close()

    dialect = SqliteDialect() if backend.is_sqlite else PostgresDialect()
    async with backend.intruder() as connection:
        written = await connection.run_sync(
            hold_after_restore, now=START, dialect=dialect, encode=encode_entry
        )
    restored = await opened()
    assert restored.head == written.head
    assert restored.head.revision == size + 1
    standing = await restored.host_standing()
    assert standing.hold is not None
    assert standing.hold.code is HoldCode.STORE_RESTORED
    assert standing.lineage_id == ("one" if was_met else "")
    assert (await examine(backend))[0] == []
