"""Claims about what votes amount to, each held against trying everything."""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from governor.domain.approval import (
    Approval,
    Plan,
    Requirement,
    Step,
    StepMode,
    Target,
    Vote,
    VoteKind,
)
from governor.domain.ballots import VOTES_MAX, cast, lapsed, recounted, taken_back, taken_out
from governor.domain.counting import (
    bears_on,
    check_satisfiable,
    deadline,
    is_within_reach,
    lacking,
    open_requirements,
    standing,
    steps_filled,
)
from governor.domain.digest import plan_digest
from governor.domain.errors import (
    NotEligible,
    NoVote,
    Overloaded,
    PlanMismatch,
    UnsatisfiableApproval,
)
from governor.domain.values import Identity
from tests.support.domain_builders import T0, actor_target, later, person, plan, requirement, step

DIGEST = b"\x0d" * 32
NAMES = ("ann", "bob", "carol", "dave")
PEOPLE = tuple(person(name) for name in NAMES)
ANN, BOB, CAROL, DAVE = PEOPLE
ann, bob, carol, dave = (actor_target(name) for name in NAMES)
YES = (VoteKind.APPROVE, VoteKind.REVIEW)


def members(target: Target) -> tuple[str, ...]:
    """Everybody is there, and the requester too."""
    return tuple(name for name in (*NAMES, "rita") if name == target.name)


def voted(
    approval: Approval,
    voter: Identity,
    kind: VoteKind = VoteKind.APPROVE,
    *,
    in_place_of: Identity | None = None,
    with_members: bool = False,
    seconds: int = 0,
) -> Approval:
    return cast(
        approval,
        voter=voter,
        requester="rita",
        kind=kind,
        seen_digest=DIGEST,
        digest=DIGEST,
        seen_plan=plan_digest(approval.plan, approval.round),
        at=later(seconds),
        on_behalf_of=in_place_of,
        members=members if with_members else None,
    )


def opened(*steps: Step, repeat_voters: bool = False) -> Approval:
    asked = Plan(steps=steps, repeat_voters=repeat_voters)
    return Approval(plan=asked, step_opened_at=T0)


def reach(approval: Approval, seconds: int = 0, *, spent: bool = False) -> bool:
    return is_within_reach(
        approval, members=members, requester="rita", at=later(seconds), spent=spent
    )


# ---------------------------------------------------------------- plans and votes to try


@st.composite
def requirements(draw: st.DrawFn, id: str) -> Requirement:
    names = draw(st.lists(st.sampled_from(NAMES), min_size=1, max_size=3, unique=True))
    return requirement(id, *map(actor_target, names), quorum=draw(st.integers(1, 2))).but(
        meaning=draw(st.sampled_from((*[VoteKind.APPROVE] * 3, VoteKind.REVIEW))),
        rejections=draw(st.integers(1, 2)),
    )


@st.composite
def plans(draw: st.DrawFn, steps_max: int = 2) -> Plan:
    steps = []
    for number in range(draw(st.integers(1, steps_max))):
        asked = [draw(requirements(id)) for id in "ab"[: draw(st.integers(1, 2))]]
        steps.append(step(f"s{number}", *asked, mode=draw(st.sampled_from(StepMode))))
    return Plan(steps=tuple(steps), repeat_voters=draw(st.booleans()))


@st.composite
def histories(draw: st.DrawFn, *, rejecting: bool = False) -> Approval:
    """A plan and what came of people who tried to vote."""
    approval = Approval(plan=draw(plans()), step_opened_at=T0)
    kinds = (*YES, VoteKind.REJECT) if rejecting else YES
    tries = st.tuples(st.sampled_from(PEOPLE), st.sampled_from(kinds))
    for voter, kind in draw(st.lists(tries, max_size=6)):
        with suppress(NotEligible):
            approval = voted(approval, voter, kind)
        if has_fallen(approval):
            break
    return approval


def has_fallen(approval: Approval) -> bool:
    """Rejections have ended the open step."""
    if approval.is_satisfied:
        return False
    left = standing(approval, approval.open_step)
    asked = approval.plan.steps[approval.open_step]
    return not left if asked.mode is StepMode.ANY_OF else len(left) < len(asked.requirements)


@st.composite
def heaps(draw: st.DrawFn, *, delegating: bool = False) -> Approval:
    """A plan with any votes at all, in any step, each person once per step at most."""
    asked = draw(plans(steps_max=3))
    votes = []
    for number in range(len(asked.steps)):
        silent = set(draw(st.sets(st.sampled_from(NAMES))))
        for voter in PEOPLE:
            if voter.person in silent:
                continue
            silent.add(voter.person)
            giver = None
            left = [other for other in PEOPLE if other.person not in silent]
            if delegating and left and draw(st.booleans()):
                giver = draw(st.sampled_from(left))
                silent.add(giver.person)
            votes.append(
                Vote(
                    voter=voter,
                    on_behalf_of=giver,
                    kind=draw(st.sampled_from(YES)),
                    digest=DIGEST,
                    round=1,
                    step=number,
                    at=T0,
                )
            )
    return Approval(plan=asked, votes=tuple(votes), step_opened_at=T0)


# ---------------------------------------------------------------- trying everything


def ways(asked: Step) -> list[tuple[Requirement, ...]]:
    if asked.mode is StepMode.ALL_OF:
        return [asked.requirements]
    return [(item,) for item in asked.requirements]


def seatings(
    approval: Approval, places: Sequence[tuple[int, Requirement]], used: frozenset[object]
) -> Iterator[None]:
    """Every way to give each place a vote of its step that is about it, nobody counting twice."""
    if not places:
        yield
        return
    (number, item), *rest = places
    for vote in approval.current_votes():
        if vote.step != number or item.id not in bears_on(approval, vote):
            continue
        once: frozenset[object] = (
            frozenset((number, name) for name in vote.persons)
            if approval.plan.repeat_voters
            else frozenset[object](vote.persons)
        )
        if once.isdisjoint(used):
            yield from seatings(approval, rest, used | once)


def fills(approval: Approval, steps: int) -> bool:
    choices = product(*(ways(asked) for asked in approval.plan.steps[:steps]))
    return any(
        next(seatings(approval, places, frozenset()), True) is None
        for way in choices
        for places in [
            [
                (number, item)
                for number, chosen in enumerate(way)
                for item in chosen
                for _ in range(item.quorum)
            ]
        ]
    )


def most_filled(approval: Approval) -> int:
    return max(n for n in range(len(approval.plan.steps) + 1) if fills(approval, n))


def can_be_voted_through(approval: Approval, seen: set[object]) -> bool:
    """Whether some order of votes satisfies it, by trying them all."""
    key = frozenset((vote.voter.id, vote.step, vote.kind) for vote in approval.votes)
    if approval.is_satisfied or key in seen:
        return approval.is_satisfied
    seen.add(key)
    for voter, kind in product(PEOPLE, YES):
        with suppress(NotEligible):
            if can_be_voted_through(voted(approval, voter, kind), seen):
                return True
    return False


@settings(deadline=None)  # the brute force is what takes time
@given(heaps())
def test_as_many_steps_are_filled_as_different_people_can_fill(approval: Approval) -> None:
    assert steps_filled(approval) == most_filled(approval)


@settings(deadline=None)  # the brute force is what takes time
@given(heaps(delegating=True))
def test_a_voice_that_two_persons_share_never_counts_for_more_than_they_could(
    approval: Approval,
) -> None:
    assert steps_filled(approval) <= most_filled(approval)


@settings(deadline=None)  # the brute force is what takes time
@given(heaps(delegating=True), st.data())
def test_a_vote_less_never_fills_more(approval: Approval, data: st.DataObject) -> None:
    if approval.votes:
        gone = data.draw(st.integers(0, len(approval.votes) - 1))
        alone = [vote for vote in approval.votes if vote.on_behalf_of is None]
        if approval.votes[gone] in alone:
            assert steps_filled(taken_out(approval, {gone}, T0)) <= steps_filled(approval)


@settings(deadline=None)  # the brute force is what takes time
@given(histories(rejecting=True))
def test_what_some_order_of_votes_reaches_is_within_reach(approval: Approval) -> None:
    """And what is so even if everybody who has voted were used up, is reached by some order."""
    possible = not has_fallen(approval) and can_be_voted_through(approval, set())
    assert reach(approval) or not possible
    assert possible or not reach(approval, spent=True)


@settings(deadline=None)  # the brute force is what takes time
@given(plans())
def test_a_plan_is_satisfiable_exactly_when_it_can_be_voted_through(asked: Plan) -> None:
    try:
        check_satisfiable(asked, members=members, requester="rita")
        satisfiable = True
    except UnsatisfiableApproval:
        satisfiable = False
    assert satisfiable is can_be_voted_through(Approval(plan=asked, step_opened_at=T0), set())


@settings(deadline=None)  # every person tries again and again
@given(plans(steps_max=3), st.data())
def test_no_order_of_approvals_leads_into_a_dead_end(asked: Plan, data: st.DataObject) -> None:
    """Whoever votes first, and whatever for: what the people there could satisfy, they still can,
    and they do once nobody has a vote left that is taken.
    """
    approval = Approval(plan=asked, step_opened_at=T0)
    possible = reach(approval)
    while True:
        after = []
        for voter, kind in product(PEOPLE, YES):
            with suppress(NotEligible):
                after.append(voted(approval, voter, kind, with_members=True))
        if not after:
            break
        approval = data.draw(st.sampled_from(after))
        assert reach(approval) is possible
    assert approval.is_satisfied is possible


@settings(deadline=None)  # the brute force is what takes time
@given(histories(), st.sampled_from(PEOPLE), st.sampled_from(YES))
def test_a_vote_is_taken_exactly_when_it_brings_the_open_step_nearer(
    approval: Approval, voter: Identity, kind: VoteKind
) -> None:
    if approval.is_satisfied:
        return
    silent = {name for vote in approval.votes for name in vote.persons if is_here(approval, vote)}
    tried = Vote(voter=voter, kind=kind, digest=DIGEST, round=1, step=approval.open_step, at=T0)
    with_it = approval.but(votes=(*approval.votes, tried))
    nearer = voter.person not in silent and any(
        most_places(with_it, way) > most_places(approval, way)
        for way in ways(approval.plan.steps[approval.open_step])
    )
    try:
        voted(approval, voter, kind)
        taken = True
    except NotEligible:
        taken = False
    assert taken is nearer


def is_here(approval: Approval, vote: Vote) -> bool:
    return vote.step == approval.open_step


def most_places(approval: Approval, way: tuple[Requirement, ...]) -> int:
    """How many places of this way the votes fill at most, once the steps before are filled."""
    before = product(*(ways(asked) for asked in approval.plan.steps[: approval.open_step]))
    places = [(approval.open_step, item) for item in way for _ in range(item.quorum)]
    best = 0
    for chosen in before:
        first = [
            (number, item)
            for number, items in enumerate(chosen)
            for item in items
            for _ in range(item.quorum)
        ]
        for picked in product((False, True), repeat=len(places)):
            some = [place for place, pick in zip(places, picked, strict=True) if pick]
            if next(seatings(approval, [*first, *some], frozenset()), True) is None:
                best = max(best, len(some))
    return best


# ---------------------------------------------------------------- nobody is used up for nothing


def test_a_vote_that_a_step_does_not_need_is_refused() -> None:
    asked = opened(step("s", requirement("either", ann, bob), requirement("c", carol)))
    with pytest.raises(NotEligible, match="needs no vote of theirs"):
        voted(voted(asked, ANN), BOB)


def test_who_is_needed_later_is_not_taken_before() -> None:
    asked = opened(step("s", requirement("either", ann, bob)), step("t", requirement("ann", ann)))
    with pytest.raises(NotEligible, match="a later step cannot do without them"):
        voted(asked, ANN, with_members=True)
    done = voted(voted(asked, BOB, with_members=True), ANN, with_members=True)
    assert done.is_satisfied


def test_a_vote_for_the_alternative_that_was_not_taken_uses_nobody_up() -> None:
    either = step(
        "s",
        requirement("pair", ann, bob, quorum=2),
        requirement("carol", carol),
        mode=StepMode.ANY_OF,
    )
    asked = opened(either, step("t", requirement("ann", ann)))
    second = voted(voted(asked, ANN), CAROL)
    assert second.open_step == 1
    assert voted(second, ANN).is_satisfied


def test_with_repeat_voters_one_person_counts_once_in_each_step() -> None:
    steps = (step("s", requirement("a", ann, bob)), step("t", requirement("a", ann, bob)))
    check_satisfiable(
        Plan(steps=(step("s", requirement("a", ann)),) * 2, repeat_voters=True),
        members=members,
        requester="rita",
    )
    assert voted(voted(opened(*steps, repeat_voters=True), ANN), ANN).is_satisfied
    with pytest.raises(NotEligible):
        voted(voted(opened(*steps), ANN), ANN)


@pytest.mark.parametrize(
    "change",
    [{"rejections": 0}, {"quorum": 0}, {"meaning": VoteKind.REJECT}, {"deadline_seconds": 0}],
)
def test_what_asks_for_nothing_or_for_the_impossible_is_unsatisfiable(
    change: dict[str, object],
) -> None:
    odd = plan(step("s", requirement("a", ann).but(**change)))
    with pytest.raises(UnsatisfiableApproval):
        check_satisfiable(odd, members=members, requester="rita")


@pytest.mark.parametrize("seen", [b"", b"\x00" * 32])
def test_a_vote_is_for_exactly_one_plan_in_one_round(seen: bytes) -> None:
    asked = opened(step("s", requirement("a", ann)))
    for plan_seen in (seen, plan_digest(asked.plan, 2)):
        with pytest.raises(PlanMismatch):
            cast(
                asked,
                voter=ANN,
                requester="rita",
                kind=VoteKind.APPROVE,
                seen_digest=DIGEST,
                digest=DIGEST,
                seen_plan=plan_seen,
                at=T0,
            )


# ---------------------------------------------------------------- taken back, taken out


def test_a_step_that_lost_a_vote_opens_again_and_the_later_votes_are_kept() -> None:
    asked = opened(step("s", requirement("a", ann, bob)), step("t", requirement("c", carol)))
    done = voted(voted(asked, ANN), CAROL)
    left, vote = taken_back(done, ANN, later(7))
    again = recounted(left, later(7))
    assert (vote.voter, again.open_step, again.step_opened_at) == (ANN, 0, later(7))
    assert [one.voter for one in again.current_votes()] == [CAROL]
    assert voted(again, BOB).is_satisfied


def test_the_last_vote_is_taken_back_first_and_then_there_is_none() -> None:
    steps = (step("s", requirement("a", ann, bob)), step("t", requirement("a", ann, bob)))
    done = voted(voted(opened(*steps, repeat_voters=True), ANN), ANN)
    once, _ = taken_back(done, ANN, T0)
    assert recounted(once, T0).open_step == 1
    twice, _ = taken_back(once, ANN, T0)
    assert recounted(twice, T0).open_step == 0
    with pytest.raises(NoVote):
        taken_back(twice, ANN, T0)


def test_a_step_that_nothing_was_taken_from_keeps_its_clock() -> None:
    asked = opened(step("s", requirement("two", ann, bob, quorum=2).but(deadline_seconds=9)))
    left, _ = taken_back(voted(asked, ANN), ANN, later(7))
    assert deadline(recounted(left, later(7))) == later(9)


def test_votes_that_are_given_and_taken_back_without_end_come_to_one() -> None:
    asked = opened(step("s", requirement("two", ann, bob, quorum=2)))
    once, _ = taken_back(voted(asked, ANN), ANN, T0)
    full = once.but(votes=once.votes * VOTES_MAX)
    with pytest.raises(Overloaded):
        voted(full, ANN)
    assert voted(full.but(votes=full.votes[1:]), ANN).current_votes()


# ---------------------------------------------------------------- rejections


def test_who_says_no_once_says_it_for_the_round() -> None:
    two = requirement("two", ann, bob, carol).but(rejections=2)
    after = voted(voted(opened(step("s", two), step("t", two)), ANN, VoteKind.REJECT), BOB)
    assert after.open_step == 1
    with pytest.raises(NotEligible):
        voted(after, ANN)
    repeated = opened(step("s", two), step("t", two), repeat_voters=True)
    again = voted(voted(repeated, ANN, VoteKind.REJECT), BOB)
    assert voted(again, ANN).is_satisfied


def test_who_counts_in_an_earlier_step_rejects_nothing_later() -> None:
    asked = opened(step("s", requirement("a", ann)), step("t", requirement("either", ann, bob)))
    with pytest.raises(NotEligible, match="take that vote back first"):
        voted(voted(asked, ANN), ANN, VoteKind.REJECT)


# ---------------------------------------------------------------- deadlines


def soon(id: str, *targets: Target, quorum: int = 1, seconds: int = 10) -> Requirement:
    return requirement(id, *targets, quorum=quorum).but(deadline_seconds=seconds)


def test_a_vote_at_the_deadline_is_too_late_and_one_before_it_is_not() -> None:
    asked = opened(step("s", soon("a", ann)))
    assert voted(asked, ANN, seconds=9).is_satisfied
    for seconds in (10, 11):
        with pytest.raises(NotEligible, match="has passed"):
            voted(asked, ANN, seconds=seconds)


def test_what_is_met_by_its_deadline_does_not_expire_while_others_are_waited_for() -> None:
    asked = opened(step("s", soon("first", ann, bob), requirement("then", bob, carol)))
    for voter in (ANN, BOB):
        met = voted(asked, voter, seconds=5)
        assert open_requirements(met) == ("then",)
        assert deadline(met) is None
        assert lapsed(met, later(60)).expired == ()


def test_the_next_deadline_is_that_of_what_is_still_open() -> None:
    asked = opened(step("s", soon("a", ann), soon("b", bob, seconds=20), requirement("c", carol)))
    assert deadline(asked) == later(10)
    assert deadline(voted(asked, ANN)) == later(20)
    assert deadline(voted(voted(asked, ANN), BOB)) is None


def test_a_missed_deadline_ends_all_of_and_takes_one_away_from_any_of() -> None:
    both = soon("a", ann, bob, quorum=2), soon("c", carol, seconds=20)
    over = lapsed(opened(step("s", *both)), later(10))
    assert (over.expired, over.is_over) == (("a",), True)

    either = voted(opened(step("s", *both, mode=StepMode.ANY_OF)), ANN)
    first = lapsed(either, later(10))
    assert (first.expired, first.is_over) == (("a",), False)
    assert open_requirements(first.approval) == ("c",)
    with pytest.raises(NotEligible):
        voted(first.approval, BOB, seconds=11)
    assert lapsed(first.approval, later(20)).is_over
    assert lapsed(either, later(20)).expired == ("a", "c")


def test_a_vote_counts_for_the_alternatives_that_are_in_time_alone() -> None:
    """Ann's vote comes after the first alternative's end and never fills it."""
    either = step(
        "s",
        soon("pair", ann, bob, quorum=2),
        requirement("two", ann, carol, quorum=2),
        mode=StepMode.ANY_OF,
    )
    half = voted(opened(either), BOB)
    late = voted(lapsed(half, later(10)).approval, ANN, seconds=11)
    assert late.votes[-1].requirements == ("two",)
    assert lacking(late) == (1,)
    done = voted(late, CAROL, seconds=12)
    assert done.is_satisfied
    left, _ = taken_back(done, CAROL, later(13))
    assert recounted(left, later(13)).open_step == 0


def test_an_earlier_step_runs_on_its_own_clock() -> None:
    asked = opened(step("s", soon("a", ann)), step("t", soon("b", bob)))
    second = voted(asked, ANN, seconds=8)
    assert deadline(second) == later(18)
    assert reach(second, 17)
    assert not reach(second, 18)
