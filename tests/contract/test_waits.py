"""What the store knows of people: whom a request waits for, and who owes a review since when."""

from collections.abc import Iterable

from governor.domain.approval import (
    Approval,
    Plan,
    Requirement,
    Step,
    Target,
    Vote,
    VoteKind,
)
from governor.domain.break_glass import Review, ReviewStatus
from governor.domain.gates import Gate
from governor.domain.policy import Effect, Verdict
from governor.domain.request import MutationRequest, Pending, PendingReason, Status
from governor.domain.values import Identity, Micros, RequestId, TargetKind
from governor.storage.store import SqlStore
from governor.usecases.questions import Due, RequestCounts
from tests.support.backends import Backend
from tests.support.builders import START, change, make_request, moved, submission

OWNERS = Target(kind=TargetKind.GROUP, name="owners")
SECURITY = Target(kind=TargetKind.ROLE, name="security")


def two_steps() -> Approval:
    return Approval(
        plan=Plan(
            steps=tuple(
                Step(name=target.name, requirements=(Requirement(id="r", targets=(target,)),))
                for target in (OWNERS, SECURITY)
            )
        )
    )


def pending(
    id: str, *reasons: PendingReason, approval: Approval | None = None, gates: Iterable[Gate] = ()
) -> MutationRequest:
    request = make_request(id, status=Status.PENDING)
    waits = tuple(
        Pending(reason=reason, since=START, name="gate" if reason in _GATED else "")
        for reason in reasons
    )
    verdict = Verdict(effect=Effect.ALLOW, gates=tuple(gates))
    progress = request.progress.but(pending=waits, approval=approval, verdict=verdict)
    return request.but(progress=progress)


_GATED = (PendingReason.EXTERNAL_CHECK, PendingReason.QUOTA, PendingReason.MANUAL_REVIEW)


async def put(store: SqlStore, request: MutationRequest) -> MutationRequest:
    return (await store.commit(submission(request))).requests[0]


async def waits(backend: Backend) -> dict[str, list[str]]:
    """Whom each request waits for, as the database has it."""
    found: dict[str, list[str]] = {}
    for row in await backend.run("SELECT request_id, target FROM request_waits ORDER BY target"):
        found.setdefault(row["request_id"], []).append(row["target"])
    return found


async def test_a_request_waits_for_those_whom_its_open_step_asks(
    store: SqlStore, backend: Backend
) -> None:
    """A satisfied step asks nobody any more, and the next asks others; in the end it asks none."""
    request = await put(store, pending("r", PendingReason.APPROVAL, approval=two_steps()))
    assert await waits(backend) == {"r": ["GROUP:owners"]}
    ann = Identity(id="ann", person="ann", groups=frozenset({"owners"}))
    vote = Vote(voter=ann, kind=VoteKind.APPROVE, digest=b"", round=1, step=0, at=START)
    voted = two_steps().but(votes=(vote,), open_step=1)
    progress = request.progress.but(approval=voted)
    request = (await store.commit(change(request.but(progress=progress)))).requests[0]
    assert await waits(backend) == {"r": ["ROLE:security"]}
    await store.commit(change(moved(request, Status.APPROVED)))
    assert await waits(backend) == {}


async def test_a_gate_waits_for_its_resolvers_or_for_those_who_may_resolve_any(
    store: SqlStore, backend: Backend
) -> None:
    """Time and other requests wait for nobody; a doubt waits for who operates the host."""
    named = Gate(reason="QUOTA", name="gate", resolvers=(SECURITY,))
    await put(store, pending("named", PendingReason.QUOTA, gates=(named,)))
    open_to_all = Gate(reason="EXTERNAL_CHECK", name="gate")
    await put(store, pending("unnamed", PendingReason.EXTERNAL_CHECK, gates=(open_to_all,)))
    await put(store, pending("late", PendingReason.SCHEDULE, PendingReason.DEPENDENCY))
    await put(store, pending("doubt", PendingReason.AUDIT))
    assert await waits(backend) == {
        "named": ["ROLE:security"],
        "unnamed": ["ROLE:admin", "ROLE:checker", "ROLE:operator"],
        "doubt": ["ROLE:admin", "ROLE:operator"],
    }


async def test_a_review_waits_for_its_reviewers_also_after_the_request_has_ended(
    store: SqlStore, backend: Backend
) -> None:
    """Open and overdue alike; once given it is nobody's."""
    request = await put(store, reviewed("r", due_at=START, status=Status.EXECUTED))
    assert await waits(backend) == {"r": ["ROLE:security"]}
    request = await in_review(store, request, ReviewStatus.OVERDUE)
    assert await waits(backend) == {"r": ["ROLE:security"]}
    await in_review(store, request, ReviewStatus.JUSTIFIED)
    assert await waits(backend) == {}


def reviewed(
    id: str,
    *,
    due_at: int,
    person: str = "alice",
    tenant: str = "acme",
    status: Status = Status.APPROVED,
) -> MutationRequest:
    """A request that went past its approval."""
    request = make_request(id, tenant=tenant, status=status)
    review = Review(reviewers=(SECURITY,), due_at=Micros(due_at))
    return request.but(requester=person, progress=request.progress.but(review=review))


async def in_review(
    store: SqlStore, request: MutationRequest, status: ReviewStatus
) -> MutationRequest:
    """The same, its review in another status."""
    review = request.progress.review
    assert review is not None
    progress = request.progress.but(review=review.but(status=status))
    return (await store.commit(change(request.but(progress=progress)))).requests[0]


async def test_overdue_reviews_are_those_that_a_person_owes_the_longest_first(
    store: SqlStore,
) -> None:
    """Due at that very moment counts; another person's, another tenant's and those given do not."""
    await put(store, reviewed("second", due_at=START + 20))
    first = await put(store, reviewed("first", due_at=START + 10))
    given = await put(store, reviewed("given", due_at=START + 5))
    await put(store, reviewed("later", due_at=START + 40))
    await put(store, reviewed("other", due_at=START, person="bob"))
    await put(store, reviewed("elsewhere", due_at=START, tenant="bolt"))
    await in_review(store, first, ReviewStatus.OVERDUE)
    await in_review(store, given, ReviewStatus.UNJUSTIFIED)

    async def owed(until: int, limit: int = 10) -> list[str]:
        found = await store.overdue_reviews(
            "acme", requester="alice", until=Micros(START + until), limit=limit
        )
        return [request.id for request in found]

    assert await owed(9) == []
    assert await owed(10) == ["first"]
    assert await owed(30) == ["first", "second"]
    assert await owed(30, limit=1) == ["first"]


async def test_what_is_due_goes_on_after_a_place(store: SqlStore) -> None:
    """Of those due at the same moment the ids tell which come later."""
    for id, at in (("b", 10), ("a", 10), ("c", 20), ("d", 5)):
        await put(store, make_request(id, expires_at=Micros(START + at)))
    until = Micros(START + 100)

    async def due(limit: int, after: Due | None = None) -> list[str]:
        return [one.id for one in await store.due(until=until, limit=limit, after=after)]

    assert await due(9) == ["d", "a", "b", "c"]
    place = Due(at=Micros(START + 10), id=RequestId("a"))
    assert await due(9, place) == ["b", "c"]
    assert await due(1, place) == ["b"]


async def test_requests_are_counted_where_they_stand(store: SqlStore) -> None:
    """One that waits for two reasons counts for both, another tenant's for none."""
    await put(store, pending("both", PendingReason.AUDIT, PendingReason.SCHEDULE))
    await put(store, pending("one", PendingReason.AUDIT))
    await put(store, make_request("elsewhere", tenant="bolt"))
    await put(store, reviewed("late", due_at=START, status=Status.EXECUTED))
    await put(store, reviewed("open", due_at=START + 1, status=Status.EXECUTED))
    given = await put(store, reviewed("given", due_at=START, status=Status.FAILED))
    await in_review(store, given, ReviewStatus.JUSTIFIED)
    counts = await store.request_counts("acme", now=START)
    assert counts == RequestCounts(
        statuses={Status.PENDING: 2, Status.EXECUTED: 2, Status.FAILED: 1},
        pending={PendingReason.AUDIT: 2, PendingReason.SCHEDULE: 1},
        reviews_open=1,
        reviews_overdue=1,
    )
    assert await store.request_counts("none", now=START) == RequestCounts()
