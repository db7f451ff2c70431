"""Every question that is asked of the store, and the pages that answer it."""

import asyncio
from collections.abc import Sequence

import pytest

from governor.domain.decision import Category, Code, decide
from governor.domain.execution import ExecutionStatus
from governor.domain.request import MutationRequest, PendingReason, Status
from governor.domain.values import ExecutionId, Identity, Micros, RequestId, Revision
from governor.storage.store import SqlStore, StoreLimits
from governor.usecases.commits import Commit, StoredEntry
from governor.usecases.questions import Cursor, DecisionFilter, Due, ExecutionQuery, RequestQuery
from tests.support.backends import Opener
from tests.support.builders import (
    START,
    change,
    make_execution,
    make_request,
    moved,
    submission,
)


async def put(store: SqlStore, *requests: MutationRequest) -> list[MutationRequest]:
    """Submits them one after the other."""
    return [(await store.commit(submission(request))).requests[0] for request in requests]


def ids(found: Sequence[MutationRequest]) -> list[str]:
    return [request.id for request in found]


async def test_unknown_names_answer_nothing(store: SqlStore) -> None:
    """Absence is an answer, not an error."""
    assert await store.request(RequestId("none")) is None
    assert await store.execution(ExecutionId("none")) is None
    assert await store.executions_of(RequestId("none")) == ()
    assert await store.dependents(RequestId("none")) == ()
    assert await store.requests(RequestQuery(tenant="none")) == ()
    assert await store.executions(ExecutionQuery(tenant="none")) == ()
    assert await store.entries(after=Revision(0), limit=10) == ()
    assert await store.next_due() is None


async def test_a_request_read_from_the_database_is_the_one_that_was_committed(
    opened: Opener,
) -> None:
    """Every field comes back, empty payload and none alike."""
    full = make_request(
        "full",
        payload=bytes(range(256)),
        expected_version="7",
        justification="because",
        metadata={"ticket": "1"},
        tags=("b", "a", "b"),
        execute_after=Micros(START + 5),
    ).but(supersedes=RequestId("older"), traceparent="00-1-2-01")
    writer = await opened()
    written = await put(writer, full, make_request("empty", payload=b""))
    await writer.close()
    reader = await opened()
    for request in written:
        assert await reader.request(request.id) == request


# ---------------------------------------------------------------- lists of requests


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ({}, ["e", "d", "c", "b", "a"]),
        ({"statuses": (Status.PENDING,)}, ["d", "b"]),
        ({"statuses": (Status.PENDING, Status.CANCELED)}, ["e", "d", "b"]),
        ({"pending_reasons": (PendingReason.APPROVAL,)}, ["b"]),
        ({"pending_reasons": (PendingReason.APPROVAL, PendingReason.SCHEDULE)}, ["d", "b"]),
        ({"pending_reasons": (PendingReason.AUDIT,)}, []),
        ({"state_type": "flag"}, ["e", "d", "c", "b", "a"]),
        ({"state_type": "flag", "state_id": "shared"}, ["d", "c"]),
        ({"actor": "bob"}, ["c"]),
        ({"category": "config"}, ["e", "a"]),
        ({"tag": "blue"}, ["e", "c"]),
        ({"tag": "blue", "actor": "bob"}, ["c"]),
        ({"submitted_from": START + 2}, ["e", "d", "c"]),
        ({"submitted_until": START + 2}, ["b", "a"]),
        ({"submitted_from": START + 1, "submitted_until": START + 3}, ["c", "b"]),
        ({"tag": "blue", "statuses": (Status.CANCELED,), "category": "config"}, ["e"]),
    ],
)
async def test_a_list_holds_what_matches_every_filter_newest_first(
    store: SqlStore, filters: dict[str, object], expected: list[str]
) -> None:
    """Filters that are left empty match everything; another tenant's requests never show."""
    await put(
        store,
        make_request("a", category="config", submitted_at=Micros(START)),
        make_request(
            "b",
            status=Status.PENDING,
            waits_for=(PendingReason.APPROVAL, PendingReason.DEPENDENCY),
            submitted_at=Micros(START + 1),
        ),
        make_request(
            "c", actor="bob", state="shared", tags=("blue",), submitted_at=Micros(START + 2)
        ),
        make_request(
            "d",
            status=Status.PENDING,
            waits_for=(PendingReason.SCHEDULE,),
            state="shared",
            submitted_at=Micros(START + 3),
        ),
        make_request(
            "e",
            status=Status.CANCELED,
            category="config",
            tags=("red", "blue"),
            submitted_at=Micros(START + 4),
        ),
        make_request("f", tenant="bolt", category="config", tags=("blue",)),
    )
    query = RequestQuery(tenant="acme").but(**filters)
    assert ids(await store.requests(query)) == expected


async def test_a_list_says_how_requests_stand_now_without_their_payloads(store: SqlStore) -> None:
    """The payload may be a megabyte; a page of them is not what a list is for."""
    (request,) = await put(store, make_request(payload=b"a megabyte"))
    now = (await store.commit(change(moved(request, Status.CANCELED)))).requests[0]
    (listed,) = await store.requests(RequestQuery(tenant="acme"))
    content = now.content
    assert listed == now.but(content=content.but(payload=content.payload.but(data=b"")))


async def paged(store: SqlStore, query: RequestQuery) -> list[str]:
    """All pages, one after the other."""
    found: list[str] = []
    while page := await store.requests(query):
        found.extend(ids(page))
        last = page[-1]
        query = query.but(after=Cursor(revision=last.submitted_revision, id=last.id))
    return found


async def test_pages_follow_one_another_without_gap_or_repeat(store: SqlStore) -> None:
    """Also through the requests of one commit, which share their submitted revision."""
    together = submission(make_request("m-0", tags=("t",)))
    more = tuple(make_request(f"m-{number}", tags=("t",)) for number in range(1, 5))
    await store.commit(together.but(requests=(*together.requests, *more)))
    await put(store, *(make_request(f"n-{number}", tags=("t",)) for number in range(4)))
    expected = ["n-3", "n-2", "n-1", "n-0", "m-4", "m-3", "m-2", "m-1", "m-0"]
    for size in (1, 2, 3, 9):
        assert await paged(store, RequestQuery(tenant="acme", limit=size)) == expected
        assert await paged(store, RequestQuery(tenant="acme", tag="t", limit=size)) == expected


async def test_pages_hold_still_while_requests_are_written(store: SqlStore) -> None:
    """New ones appear before the first page, changed ones keep their place: a reader who began
    earlier sees each of the old ones exactly once.
    """
    old = await put(store, *(make_request(f"old-{number:02}") for number in range(20)))
    query = RequestQuery(tenant="acme", limit=3)
    found: list[str] = []
    number = 0
    while page := await store.requests(query):
        found.extend(ids(page))
        last = page[-1]
        query = query.but(after=Cursor(revision=last.submitted_revision, id=last.id))
        await put(store, make_request(f"new-{number}"))
        await store.commit(change(moved(old[number], Status.CANCELED)))
        number += 1
    assert found == [f"old-{number:02}" for number in reversed(range(20))]


# ---------------------------------------------------------------- executions


async def test_executions_are_found_by_everything_they_are_listed_by(store: SqlStore) -> None:
    """Newest first; those of one request oldest first."""
    first, second = await put(store, make_request("first"), make_request("second", state="s"))
    one = make_execution(first, "one", status=ExecutionStatus.NOT_APPLIED)
    await store.commit(change(first, one))
    now = await store.request(first.id)
    assert now is not None
    two = make_execution(first, "two")
    await store.commit(change(moved(now, Status.EXECUTING), two))
    await store.commit(
        change(second, make_execution(second, "three", status=ExecutionStatus.APPLIED))
    )

    async def found(**filters: object) -> list[str]:
        query = ExecutionQuery(tenant="acme").but(**filters)
        return [execution.id for execution in await store.executions(query)]

    assert await found() == ["three", "two", "one"]
    assert await found(request_id="first") == ["two", "one"]
    assert await found(statuses=(ExecutionStatus.RUNNING,)) == ["two"]
    assert await found(statuses=(ExecutionStatus.RUNNING, ExecutionStatus.APPLIED)) == [
        "three",
        "two",
    ]
    assert await found(state_type="flag", state_id="s") == ["three"]
    assert await found(limit=2) == ["three", "two"]
    last = await store.execution(ExecutionId("two"))
    assert last is not None
    assert await found(after=Cursor(revision=last.submitted_revision, id=last.id)) == ["one"]
    of_first = await store.executions_of(first.id)
    assert [execution.id for execution in of_first] == ["one", "two"]
    assert await store.executions(ExecutionQuery(tenant="bolt")) == ()


# ---------------------------------------------------------------- the ledger


async def test_entries_follow_a_revision_in_order(store: SqlStore) -> None:
    """Exclusive of it, oldest first, as many as are asked for, none of them missing."""
    await put(store, *(make_request(f"request-{number}") for number in range(4)))
    assert await revisions(store, after=0, limit=5) == [1, 2, 3, 4, 5]
    assert await revisions(store, after=5, limit=5) == [6, 7, 8, 9, 10]
    assert await revisions(store, after=10, limit=5) == [11, 12]
    assert await revisions(store, after=12, limit=5) == []


async def revisions(
    store: SqlStore, *, after: int, limit: int, filter: DecisionFilter | None = None
) -> list[int]:
    found = await store.entries(after=Revision(after), limit=limit, filter=filter)
    return [entry.revision for entry in found]


async def test_a_filter_finds_in_the_database_what_it_matches_in_memory(store: SqlStore) -> None:
    """A subscriber is served from the tail or from the database, and must not notice which."""
    alice, bob = await put(store, make_request("a"), make_request("b", actor="bob"))
    await put(store, make_request("c", tenant="bolt"))
    await store.commit(change(moved(alice, Status.EXECUTING), make_execution(alice)))
    await store.commit(change(moved(bob, Status.CANCELED)))
    (voted,) = await put(store, make_request("v", submitted_at=Micros(START + 5)))
    said = [
        decide(code, voted, actor=Identity(id=id, person=id), at=Micros(START + 5))
        for code in (Code.APPROVAL_GRANTED, Code.CHECK_PASSED)
        for id in ("alice", "bob")
    ]
    await store.commit(Commit(requests=(voted,), decisions=tuple(said)))
    everything = await store.entries(after=Revision(0), limit=100)
    plain = DecisionFilter(tenant="acme")
    filters = [
        plain,
        DecisionFilter(tenant="bolt"),
        DecisionFilter(tenant="none"),
        plain.but(request_ids=frozenset({"a"})),
        plain.but(request_ids=frozenset({"a", "b", "c"})),
        plain.but(categories=frozenset({Category.LIFECYCLE})),
        plain.but(categories=frozenset({Category.POLICY, Category.EXECUTION})),
        plain.but(codes=frozenset({"canceled", "claimed"})),
        plain.but(actor="bob"),
        plain.but(actor="governor", categories=frozenset({Category.LIFECYCLE})),
        plain.but(execution_id="execution-of-a"),
        plain.but(categories=frozenset({Category.APPROVAL}), actor="bob"),
        plain.but(categories=frozenset({Category.APPROVAL, Category.CHECK})),
        plain.but(codes=frozenset({"granted", "rejected"})),
        plain.but(codes=frozenset({"granted"}), actor="bob"),
        plain.but(codes=frozenset({"passed"}), include_host=True),
        plain.but(from_time=Micros(START + 5)),
        plain.but(until_time=Micros(START + 5)),
        plain.but(from_time=START, until_time=Micros(START + 5), actor="alice"),
    ]
    for filter in filters:
        matching = tuple(entry for entry in everything if filter.matches(entry))
        assert await store.entries(after=Revision(0), limit=100, filter=filter) == matching
        assert await walked(store, filter) == matching
        assert await walked_back(store, filter) == matching[::-1]
    assert len(await walked(store, plain)) == 16


async def walked(store: SqlStore, filter: DecisionFilter) -> tuple[StoredEntry, ...]:
    """What a subscriber with small pages gets."""
    found: list[StoredEntry] = []
    after = Revision(0)
    while page := await store.entries(after=after, limit=2, filter=filter):
        found.extend(page)
        after = page[-1].revision
    return tuple(found)


async def walked_back(store: SqlStore, filter: DecisionFilter) -> tuple[StoredEntry, ...]:
    """The same from the other end."""
    found: list[StoredEntry] = []
    before: Revision | None = None
    while page := await store.newest_entries(before=before, limit=2, filter=filter):
        found.extend(page)
        before = page[-1].revision
    return tuple(found)


# ---------------------------------------------------------------- what must be looked at


async def test_due_requests_come_earliest_first(store: SqlStore) -> None:
    """Expired at that very moment counts as due; what has ended is never due again."""
    late, early, ended = await put(
        store,
        make_request("late", expires_at=Micros(START + 20)),
        make_request("early", expires_at=Micros(START + 10)),
        make_request("ended", expires_at=Micros(START + 5)),
    )
    await put(store, make_request("never", status=Status.EXECUTING, expires_at=Micros(START + 1)))
    await store.commit(change(moved(ended, Status.CANCELED)))
    assert await store.next_due() == START + 10
    assert await store.due(until=Micros(START + 9), limit=10) == ()
    first, last = Due(at=Micros(START + 10), id=early.id), Due(at=Micros(START + 20), id=late.id)
    assert await store.due(until=first.at, limit=10) == (first,)
    assert await store.due(until=last.at, limit=10) == (first, last)
    assert await store.due(until=last.at, limit=1) == (first,)
    await store.commit(change(moved(early, Status.EXPIRED)))
    assert await store.next_due() == START + 20


async def test_a_page_of_due_requests_begins_after_the_last_one(store: SqlStore) -> None:
    """Also in the middle of those that fall due in one moment, and when that one is gone."""
    at = (10, 20, 20, 20, 30)
    await put(
        store,
        *(
            make_request(f"r-{place}", expires_at=Micros(START + due))
            for place, due in enumerate(at)
        ),
    )
    found, after = [], None
    while page := await store.due(until=Micros(START + 30), limit=2, after=after):
        found.append([due.id for due in page])
        after = page[-1]
    assert found == [["r-0", "r-1"], ["r-2", "r-3"], ["r-4"]]
    gone = Due(at=Micros(START + 20), id=RequestId("r-1x"))
    rest = await store.due(until=Micros(START + 30), limit=9, after=gone)
    assert [due.id for due in rest] == ["r-2", "r-3", "r-4"]


async def test_pending_requests_are_counted_by_every_reason_they_wait_for(
    store: SqlStore,
) -> None:
    """One that waits for two counts for both; nobody else counts, in whichever tenant."""
    (waiting,) = await put(
        store,
        make_request(
            "both",
            status=Status.PENDING,
            waits_for=(PendingReason.APPROVAL, PendingReason.SCHEDULE),
        ),
    )
    await put(
        store,
        make_request(
            "one", tenant="bolt", status=Status.PENDING, waits_for=(PendingReason.APPROVAL,)
        ),
        make_request("none"),
    )
    assert await store.pending_counts() == {PendingReason.APPROVAL: 2, PendingReason.SCHEDULE: 1}
    await store.commit(change(moved(waiting, Status.CANCELED)))
    assert await store.pending_counts() == {PendingReason.APPROVAL: 1}


async def test_the_dependents_of_a_request_are_those_that_still_wait(store: SqlStore) -> None:
    """Oldest first; one that has ended waits for nothing."""
    base, other = await put(store, make_request("base"), make_request("other"))
    waiting = (PendingReason.DEPENDENCY,)
    _, gone = await put(
        store,
        make_request(
            "second",
            status=Status.PENDING,
            waits_for=waiting,
            depends_on=(base.id, other.id, base.id),
        ),
        make_request("gone", status=Status.PENDING, waits_for=waiting, depends_on=(base.id,)),
    )
    await put(store, make_request("third", depends_on=(base.id,)))
    await store.commit(change(moved(gone, Status.CANCELED)))
    assert await store.dependents(base.id) == ("second", "third")
    assert await store.dependents(other.id) == ("second",)
    assert await store.dependents(gone.id) == ()


async def test_readers_who_leave_take_no_connection_along(opened: Opener) -> None:
    """A hundred calls are cancelled in the middle of a read, over a pool of two."""
    store = await opened(limits=StoreLimits(readers_max=2))
    await put(store, *(make_request(f"request-{number}") for number in range(5)))
    for _ in range(10):
        reads = [
            asyncio.create_task(store.requests(RequestQuery(tenant="acme"))) for _ in range(10)
        ]
        await asyncio.wait(reads, return_when=asyncio.FIRST_COMPLETED)
        for read in reads:
            read.cancel()
        await asyncio.gather(*reads, return_exceptions=True)
    pages = await asyncio.gather(*(store.requests(RequestQuery(tenant="acme")) for _ in range(10)))
    assert all(len(page) == 5 for page in pages)


async def test_reads_go_on_while_commits_are_written(store: SqlStore) -> None:
    """Readers neither wait for the writer nor see half of what it writes."""
    done = asyncio.Event()

    async def writer() -> None:
        for number in range(60):
            await store.commit(submission(make_request(f"request-{number}", tags=("t",))))
        done.set()

    async def reader() -> None:
        while not done.is_set():
            listed = await store.requests(RequestQuery(tenant="acme", tag="t", limit=1_000))
            entries = await store.entries(after=Revision(0), limit=1_000)
            assert len(entries) >= 3 * len(listed)
            assert len(entries) % 3 == 0

    await asyncio.gather(writer(), reader(), reader())
