"""A review outlives its request: stored, found, due and verified whatever has become of that."""

from collections.abc import Callable

import pytest

from governor.domain.approval import BreakGlass, Plan, Requirement, Step, Target
from governor.domain.break_glass import Emergency, ReviewStatus
from governor.domain.decision import Category
from governor.domain.emergency import review_overdue, reviewed
from governor.domain.policy import Effect, Verdict
from governor.domain.request import MutationRequest, Status
from governor.domain.values import Identity, Micros, Reason, RequestId, TargetKind
from governor.domain.workflow import Advance, canceled, expired, submitted, superseded
from governor.storage.findings import Fault, Finding
from governor.storage.store import SqlStore
from governor.storage.verify import verify
from governor.usecases.commits import Commit
from governor.usecases.questions import DecisionFilter
from tests.support.backends import Backend, Opener
from tests.support.builders import ALICE, START, decode_entry, make_request, moved

OWNERS = Target(kind=TargetKind.GROUP, name="owners")
OLGA = Identity(id="olga", person="olga", groups=frozenset({"owners"}))
PLAN = Plan(steps=(Step(name="owner", requirements=(Requirement(id="one", targets=(OWNERS,)),)),))
DUE = Micros(START + 1_000)
ENDS: dict[str, Callable[[MutationRequest], Advance]] = {
    "canceled": lambda request: canceled(request, actor=ALICE, now=START, comment=""),
    "superseded": lambda request: superseded(request, by=RequestId("r-2"), actor=ALICE, now=START),
    "expired": lambda request: expired(request, now=START),
}


async def put(store: SqlStore, step: Advance) -> MutationRequest:
    commit = Commit(requests=(step.request,), decisions=step.decisions)
    return (await store.commit(commit)).requests[0]


async def broken(store: SqlStore, id: str = "r") -> MutationRequest:
    """A request that went past its approval and has not ended."""
    return await put(
        store,
        submitted(
            moved(make_request(id), Status.CREATED),
            verdict=Verdict(effect=Effect.DEFER, rules=("ask",), plan=PLAN),
            waits=(),
            actor=ALICE,
            now=START,
            emergency=Emergency(
                broken=BreakGlass(by=ALICE, justification="it burns", at=START),
                review_due_at=DUE,
            ),
        ),
    )


def given(request: MutationRequest, *, justified: bool = True) -> Advance:
    return reviewed(
        request,
        reviewer=OLGA,
        seen_digest=request.progress.digest,
        justified=justified,
        reason=Reason(code="REAL"),
        now=DUE,
    )


async def owed(store: SqlStore) -> list[str]:
    found = await store.overdue_reviews("acme", requester="alice", until=DUE, limit=9)
    return [request.id for request in found]


async def faults(backend: Backend) -> set[Fault]:
    said = [said async for said in verify(backend.url, decode=decode_entry)]
    return {finding.fault for finding in said if isinstance(finding, Finding)}


@pytest.mark.parametrize("end", ENDS)
async def test_a_review_goes_on_after_the_end_and_is_a_clock_until_it_is_overdue(
    store: SqlStore, backend: Backend, end: str
) -> None:
    """It is owed, due, overdue, and given, all of it on a request that has ended."""
    ended = await put(store, ENDS[end](await broken(store)))
    assert ended.is_terminal
    assert await store.next_due() == DUE
    assert await owed(store) == ["r"]
    assert await faults(backend) == set()

    overdue = await put(store, review_overdue(ended, now=DUE))
    assert await store.due(until=Micros(DUE + 1), limit=9) == ()
    assert await owed(store) == ["r"]
    assert await faults(backend) == set()

    after = await put(store, given(overdue))
    assert await owed(store) == []
    assert after.status is ended.status
    assert after.revision > overdue.revision > ended.revision
    assert await store.request(after.id) == after
    assert await faults(backend) == set()


async def test_a_review_is_read_back_by_the_next_process(store: SqlStore, opened: Opener) -> None:
    """With who gave it, what they held and what they found."""
    ended = await put(store, ENDS["canceled"](await broken(store)))
    after = await put(store, given(ended, justified=False))
    await store.close()

    read = await (await opened()).request(after.id)

    assert read == after
    assert read is not None
    review = read.progress.review
    assert review is not None
    assert (review.status, review.reviewer) == (ReviewStatus.UNJUSTIFIED, OLGA)


async def test_decisions_about_emergencies_are_found_by_their_category(store: SqlStore) -> None:
    """In their order, among all that is decided about the request."""
    request = await put(store, ENDS["canceled"](await broken(store)))
    await put(store, given(await put(store, review_overdue(request, now=DUE))))

    found = await store.entries(
        after=request.submitted_revision,
        limit=9,
        filter=DecisionFilter(tenant="acme", categories=frozenset({Category.BREAK_GLASS})),
    )

    assert [entry.code for entry in found] == ["used", "review_overdue", "reviewed"]
    told = [decode_entry(entry.data).decision for entry in found]
    assert [one.status for one in told] == [Status.APPROVED, Status.CANCELED, Status.CANCELED]


@pytest.mark.parametrize(
    ("id", "old", "new"),
    [
        ("open", b'"review":{', b'"review":{"status":"JUSTIFIED",'),
        ("open", b'"review":{', b'"nothing":{'),
        ("given", b"UNJUSTIFIED", b"JUSTIFIED"),
        ("plain", b'"verdict":', b'"review":{"reviewers":[],"due_at":1},"verdict":'),
    ],
    ids=["given", "spared", "turned round", "made up"],
)
async def test_a_review_that_somebody_wrote_into_the_row_is_found(
    store: SqlStore, backend: Backend, id: str, old: bytes, new: bytes
) -> None:
    """Nobody gives themselves a review, or is spared one, by way of the database."""
    await put(store, ENDS["canceled"](await broken(store, "open")))
    ended = await put(store, ENDS["canceled"](await broken(store, "given")))
    await put(store, given(ended, justified=False))
    allowed = Verdict(effect=Effect.ALLOW, rules=("all",))
    plain = moved(make_request("plain"), Status.CREATED)
    await put(store, submitted(plain, verdict=allowed, waits=(), actor=ALICE, now=START))
    assert await faults(backend) == set()

    (row,) = await backend.run("SELECT progress FROM requests WHERE id = :id", id=id)
    assert old in row["progress"]
    await backend.run(
        "UPDATE requests SET progress = :progress WHERE id = :id",
        id=id,
        progress=row["progress"].replace(old, new),
    )

    assert Fault.REQUEST_REVIEW in await faults(backend)
