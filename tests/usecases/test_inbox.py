"""What waits for the caller: what they can do something about now, and nothing else."""

import pytest

from governor.domain.approval import (
    Approval,
    Plan,
    Requirement,
    Step,
    Target,
    Vote,
    VoteKind,
)
from governor.domain.break_glass import Review
from governor.domain.gates import Gate
from governor.domain.policy import Effect, Verdict
from governor.domain.request import MutationRequest, Pending, PendingReason, Risk, Status
from governor.domain.values import Identity, TargetKind
from governor.domain.whom import who_can_act
from governor.usecases import inbox
from governor.usecases.access import APPROVER, AUDITOR, OPERATOR, ROLES
from governor.usecases.inbox import Inbox, can_act, waiting_for
from governor.usecases.questions import RequestQuery
from tests.support.builders import START, make_request
from tests.support.governed import Governed, caller
from tests.support.people import TENANT

OWNERS = Target(kind=TargetKind.GROUP, name="owners")
ANN = Identity(id="ann", person="ann", roles=frozenset({APPROVER}), groups=frozenset({"owners"}))
BOB = ANN.but(id="bob", person="bob")
CLEO = ANN.but(id="cleo", person="cleo")
DAN = Identity(id="dan", person="dan", roles=frozenset({APPROVER}))
OTTO = Identity(id="otto", person="otto", roles=frozenset({OPERATOR}))


async def waiting(sidecar: Governed, actor: str, **filters: object) -> list[str]:
    query = RequestQuery(tenant=TENANT).but(**filters)
    found: list[str] = []
    while True:
        page = await waiting_for(sidecar.app, caller(actor), query, 0)
        found.extend(request.id for request in page.requests)
        if page.goes_on_after is None:
            return found
        query = query.but(after=page.goes_on_after)


async def test_a_vote_is_waited_for_until_it_is_given(sidecar: Governed) -> None:
    """Newest first; whoever is asked sees it, and whoever has voted no longer does."""
    first, second = [await sidecar.submit(flag=f, risk=Risk.HIGH) for f in ("a", "b")]
    assert await waiting(sidecar, "ann") == [second.id, first.id]
    await sidecar.approve("ann", second)
    assert await waiting(sidecar, "ann") == [first.id]
    assert await waiting(sidecar, "bob") == [second.id, first.id]
    await sidecar.approve("bob", second)
    await sidecar.quiet()
    assert await waiting(sidecar, "cleo") == [first.id]


async def test_nobody_waits_for_themselves(sidecar: Governed) -> None:
    """A robot of the requester's holds the group, and is the same person."""
    await sidecar.submit(risk=Risk.HIGH)
    assert await waiting(sidecar, "robot") == []
    assert await waiting(sidecar, "rita") == []
    assert await waiting(sidecar, "audrey") == []


async def test_other_filters_hold_as_well(sidecar: Governed) -> None:
    await sidecar.submit(flag="a", risk=Risk.HIGH)
    medium = await sidecar.submit(flag="b", risk=Risk.MEDIUM)
    assert await waiting(sidecar, "ann", risks=(Risk.MEDIUM,)) == [medium.id]


async def test_a_page_that_cannot_be_filled_in_time_says_where_it_goes_on(
    sidecar: Governed, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Many requests ask the caller's group and have their vote already: looking through them is
    bounded, and nothing is left out.
    """
    monkeypatch.setattr(inbox, "INBOX_PAGES_MAX", 1)
    made = [await sidecar.submit(flag=f"f-{n}", risk=Risk.HIGH) for n in range(5)]
    for request in made[1:]:
        await sidecar.approve("ann", request)
    query = RequestQuery(tenant=TENANT, limit=2)
    page = await waiting_for(sidecar.app, caller("ann"), query, 0)
    assert page.requests == ()
    assert page.goes_on_after is not None
    assert await waiting(sidecar, "ann", limit=2) == [made[0].id]


async def test_an_empty_inbox_is_the_last_page(sidecar: Governed) -> None:
    page = await waiting_for(sidecar.app, caller("ann"), RequestQuery(tenant=TENANT), 0)
    assert page == Inbox(requests=())


# ---------------------------------------------------------------- one request and one person


def pending(reason: PendingReason, *resolvers: Target) -> MutationRequest:
    request = make_request(status=Status.PENDING)
    gate = Gate(reason=reason.value, name="gate", resolvers=resolvers)
    waits = (Pending(reason=reason, since=START, name="gate"),)
    verdict = Verdict(effect=Effect.ALLOW, gates=(gate,))
    return request.but(progress=request.progress.but(pending=waits, verdict=verdict))


def asked(*votes: Vote, repeat_voters: bool = False) -> MutationRequest:
    """Two steps of the owners; bob's vote has filled the first, and the second is open."""
    steps = tuple(
        Step(name=name, requirements=(Requirement(id=name, targets=(OWNERS,)),))
        for name in ("first", "second")
    )
    plan = Plan(steps=steps, repeat_voters=repeat_voters)
    request = make_request(status=Status.PENDING, waits_for=(PendingReason.APPROVAL,))
    approval = Approval(plan=plan, open_step=1, votes=(vote(BOB), *votes))
    return request.but(progress=request.progress.but(approval=approval))


def vote(voter: Identity, **fields: object) -> Vote:
    said = Vote(voter=voter, kind=VoteKind.APPROVE, digest=b"", round=1, step=0, at=START)
    return said.but(**fields)


GATED = (PendingReason.EXTERNAL_CHECK, PendingReason.QUOTA, PendingReason.MANUAL_REVIEW)


@pytest.mark.parametrize("reason", GATED)
def test_a_gate_waits_for_who_may_answer_it(reason: PendingReason) -> None:
    """Being named is not enough without the role, and the role is not where others are named."""
    assert can_act(pending(reason), (OTTO,), START)
    assert not can_act(pending(reason), (ANN,), START)
    assert not can_act(pending(reason, OWNERS), (OTTO,), START)
    assert not can_act(pending(reason, OWNERS), (ANN,), START)
    both = ANN.but(roles=frozenset({"checker"}))
    assert can_act(pending(reason, OWNERS), (both,), START)


@pytest.mark.parametrize(
    "reason", [PendingReason.SCHEDULE, PendingReason.DEPENDENCY, PendingReason.REVALIDATION]
)
def test_time_and_other_requests_wait_for_nobody(reason: PendingReason) -> None:
    assert not can_act(pending(reason), (ANN, OTTO), START)


def test_what_is_left_to_nobody_in_particular_is_for_whom_the_rpc_admits() -> None:
    """The store finds by these targets whom a request waits for; the roles stand elsewhere."""
    for reason, rpc in (
        *((one, "ResolvePending") for one in GATED),
        (PendingReason.AUDIT, "ResolveExecution"),
    ):
        named = who_can_act(pending(reason), Pending(reason=reason, since=START, name="gate"))
        assert {target.name for target in named} == ROLES[rpc]
        assert {target.kind for target in named} == {TargetKind.ROLE}


def test_a_doubt_waits_for_an_operator() -> None:
    assert can_act(pending(PendingReason.AUDIT), (OTTO,), START)
    assert not can_act(pending(PendingReason.AUDIT), (ANN,), START)


def test_who_is_counted_in_an_earlier_step_is_asked_again_only_where_the_plan_says_so() -> None:
    assert can_act(asked(), (ANN,), START)
    assert not can_act(asked(), (BOB,), START)
    assert can_act(asked(repeat_voters=True), (BOB,), START)


def test_a_vote_that_an_earlier_step_can_do_without_uses_nobody_up() -> None:
    """Either of two filled the first step, so the other is free for the second."""
    assert can_act(asked(vote(ANN)), (ANN,), START)
    assert not can_act(asked(vote(ANN, step=1), repeat_voters=True), (ANN,), START)


def test_a_vote_that_no_longer_counts_may_be_given_again() -> None:
    assert can_act(asked(vote(ANN, step=1, revoked_at=START)), (ANN,), START)
    assert can_act(asked(vote(ANN, step=1, round=0)), (ANN,), START)


def test_somebody_elses_place_is_taken_for_votes_alone() -> None:
    """Never the requester's, nor twice, and only by who may vote at all and has not."""
    assert not can_act(asked(), (DAN,), START)
    assert can_act(asked(), (DAN, ANN), START)
    assert not can_act(asked(), (OTTO, ANN), START)
    assert not can_act(asked(vote(ANN, step=1)), (DAN, ANN), START)
    assert not can_act(asked(vote(DAN, step=1, on_behalf_of=CLEO)), (DAN, ANN), START)
    assert not can_act(asked(vote(DAN, step=1, on_behalf_of=ANN)), (ANN,), START)
    assert not can_act(asked().but(requester="ann"), (DAN, ANN), START)
    assert not can_act(pending(PendingReason.QUOTA), (DAN, OTTO), START)


def test_an_open_review_waits_for_its_reviewers() -> None:
    ended = make_request(status=Status.EXECUTED)
    owed = Review(reviewers=(OWNERS,), due_at=START)
    request = ended.but(progress=ended.progress.but(review=owed))
    assert can_act(request, (ANN,), START)
    assert can_act(request, (ANN.but(roles=frozenset({AUDITOR})),), START)
    assert not can_act(request, (ANN.but(roles=frozenset({OPERATOR})),), START)
    assert not can_act(request, (OTTO,), START)
    assert not can_act(request.but(requester="ann"), (ANN,), START)
