"""Claims about plans and votes: who may vote, what counts, when it is enough, and what never is."""

from collections.abc import Iterable, Iterator
from contextlib import suppress
from itertools import permutations, product

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
    VoteKind,
    is_target,
)
from governor.domain.ballots import cast
from governor.domain.counting import check_satisfiable, open_requirements
from governor.domain.digest import plan_digest
from governor.domain.errors import DigestMismatch, NotEligible, UnsatisfiableApproval
from governor.domain.values import Identity, Reason, TargetKind
from tests.support.domain_builders import T0, actor_target, person, plan, requirement, step

DIGEST = b"\x0d" * 32
ANN, BOB, CAROL, DAVE = (person(name) for name in ("ann", "bob", "carol", "dave"))
ann, bob, carol, dave = (actor_target(name) for name in ("ann", "bob", "carol", "dave"))


def votes(approval: Approval, *voters: Identity, kind: VoteKind = VoteKind.APPROVE) -> Approval:
    for voter in voters:
        approval = cast(
            approval,
            voter=voter,
            requester="rita",
            kind=kind,
            seen_digest=DIGEST,
            digest=DIGEST,
            seen_plan=plan_digest(approval.plan, approval.round),
            at=T0,
        )
    return approval


def opened(*steps: Step) -> Approval:
    return Approval(plan=plan(*steps))


# ---------------------------------------------------------------- who may vote


@pytest.mark.parametrize(
    ("target", "voter", "expected"),
    [
        (ann, ANN, True),
        (ann, person("ann-laptop", alias_of="ann"), True),
        (actor_target("ann-laptop"), person("ann-laptop", alias_of="ann"), True),
        (actor_target("ann-laptop"), ANN, False),
        (ann, person("bob", roles=["ann"], groups=["ann"]), False),
        (Target(kind=TargetKind.ROLE, name="lead"), person("ann", roles=["lead"]), True),
        (Target(kind=TargetKind.ROLE, name="lead"), person("ann", groups=["lead"]), False),
        (Target(kind=TargetKind.ROLE, name="lead"), person("lead"), False),
        (Target(kind=TargetKind.GROUP, name="lead"), person("ann", groups=["lead"]), True),
        (Target(kind=TargetKind.GROUP, name="lead"), person("ann", roles=["lead"]), False),
        (Target(kind=TargetKind.GROUP, name=""), ANN, False),
    ],
)
def test_a_target_names_people_by_exactly_its_kind(
    target: Target, voter: Identity, expected: bool
) -> None:
    assert is_target(voter, requirement("r", target)) is expected
    assert is_target(voter, requirement("r", carol, target)) is expected


def test_a_requirement_without_targets_asks_nobody() -> None:
    assert not is_target(ANN, Requirement(id="r", targets=()))


@pytest.mark.parametrize("kind", VoteKind)
@pytest.mark.parametrize("name", ["rita", "rita-robot"])
def test_the_requester_never_votes_under_any_of_their_names(kind: VoteKind, name: str) -> None:
    asked = opened(step("s", requirement("r", actor_target("rita"), actor_target("rita-robot"))))
    with pytest.raises(NotEligible) as refusal:
        votes(asked, person(name, alias_of="rita"), kind=kind)
    assert refusal.value.facts["actor"] == name


@pytest.mark.parametrize("kind", VoteKind)
def test_whom_the_open_step_does_not_ask_has_no_vote(kind: VoteKind) -> None:
    asked = opened(step("first", requirement("a", ann)), step("second", requirement("b", bob)))
    for voter in (BOB, CAROL):
        with pytest.raises(NotEligible):
            votes(asked, voter, kind=kind)


@pytest.mark.parametrize("alias", ["ann", "ann-laptop"])
def test_one_person_votes_once_in_the_whole_round(alias: str) -> None:
    asked = opened(
        step("first", requirement("two", ann, bob, quorum=2)), step("second", requirement("a", ann))
    )
    again = person(alias, alias_of="ann")
    with pytest.raises(NotEligible):
        votes(asked, ANN, again)
    with pytest.raises(NotEligible):
        votes(asked, ANN, BOB, again)


def test_once_every_step_is_satisfied_nobody_votes_any_more() -> None:
    done = votes(opened(step("s", requirement("a", ann, bob))), ANN)
    assert done.is_satisfied
    with pytest.raises(NotEligible):
        votes(done, BOB)


@pytest.mark.parametrize("seen", [b"", b"\x0e" * 32, DIGEST + b"\x00", DIGEST[:-1]])
def test_a_vote_is_for_exactly_one_digest(seen: bytes) -> None:
    asked = opened(step("s", requirement("a", ann)))
    with pytest.raises(DigestMismatch):
        cast(
            asked,
            voter=ANN,
            requester="rita",
            kind=VoteKind.APPROVE,
            seen_digest=seen,
            digest=DIGEST,
            seen_plan=plan_digest(asked.plan, 1),
            at=T0,
        )


def test_a_vote_records_who_on_what_where_and_when() -> None:
    words = Reason(code="FINE")
    asked = opened(step("s", requirement("a", ann, quorum=1), requirement("b", bob)))
    after = cast(
        asked,
        voter=ANN,
        requester="rita",
        kind=VoteKind.APPROVE,
        seen_digest=DIGEST,
        digest=DIGEST,
        seen_plan=plan_digest(asked.plan, 1),
        at=T0,
        reason=words,
    )
    (vote,) = after.votes
    assert (vote.voter, vote.kind, vote.digest) == (ANN, VoteKind.APPROVE, DIGEST)
    assert (vote.round, vote.step, vote.at, vote.reason) == (1, 0, T0, words)
    assert (vote.plan_digest, vote.requirements) == (plan_digest(asked.plan, 1), ("a",))


def test_a_refused_vote_leaves_the_workflow_as_it_was() -> None:
    asked = votes(opened(step("s", requirement("two", ann, bob, quorum=2))), ANN)
    before = asked.but()
    for voter in (ANN, CAROL, person("rita")):
        with pytest.raises(NotEligible):
            votes(asked, voter)
    assert asked == before


# ---------------------------------------------------------------- when it is enough


@pytest.mark.parametrize(
    ("quorum", "approvals", "enough"),
    [(1, 0, False), (1, 1, True), (2, 1, False), (2, 2, True), (4, 3, False), (4, 4, True)],
)
def test_a_quorum_is_met_by_that_many_people_and_not_one_less(
    quorum: int, approvals: int, enough: bool
) -> None:
    asked = opened(step("s", requirement("r", ann, bob, carol, dave, quorum=quorum)))
    after = votes(asked, *(ANN, BOB, CAROL, DAVE)[:approvals])
    assert after.is_satisfied is enough
    assert open_requirements(after) == (() if enough else ("r",))


def test_a_rejection_fills_no_quorum() -> None:
    two = requirement("two", ann, bob, carol, quorum=2).but(rejections=2)
    asked = opened(step("s", two))
    after = votes(votes(asked, ANN), BOB, kind=VoteKind.REJECT)
    assert not after.is_satisfied
    assert votes(after, CAROL).is_satisfied


@pytest.mark.parametrize("order", list(permutations((ANN, BOB))))
@pytest.mark.parametrize("swapped", [False, True])
def test_a_person_who_could_serve_two_requirements_blocks_neither(
    order: tuple[Identity, ...], swapped: bool
) -> None:
    requirements = [requirement("either", ann, bob), requirement("ann only", ann)]
    asked = opened(step("s", *(reversed(requirements) if swapped else requirements)))
    assert votes(asked, *order).is_satisfied


def test_a_chain_of_people_moves_up_to_make_room() -> None:
    asked = opened(
        step(
            "s",
            requirement("1", ann, bob),
            requirement("2", bob, carol),
            requirement("3", carol, dave),
            requirement("4", ann),
        )
    )
    for order in permutations((ANN, BOB, CAROL, DAVE)):
        assert votes(asked, *order).is_satisfied


def test_one_person_does_not_fill_two_requirements() -> None:
    asked = opened(step("s", requirement("a", ann, bob), requirement("b", ann, bob)))
    after = votes(asked, ANN)
    assert not after.is_satisfied
    assert len(open_requirements(after)) == 1


def test_any_of_is_met_by_one_requirement_alone_and_not_by_parts_of_two() -> None:
    asked = opened(
        step(
            "s",
            requirement("two leads", ann, bob, quorum=2),
            requirement("two owners", carol, dave, quorum=2),
            mode=StepMode.ANY_OF,
        )
    )
    parts = votes(asked, ANN, CAROL)
    assert not parts.is_satisfied
    assert open_requirements(parts) == ("two leads", "two owners")
    assert votes(parts, DAVE).is_satisfied


def test_steps_are_satisfied_in_order() -> None:
    asked = opened(step("first", requirement("a", ann)), step("second", requirement("b", bob)))
    assert (asked.open_step, open_requirements(asked)) == (0, ("a",))
    second = votes(asked, ANN)
    assert (second.open_step, open_requirements(second)) == (1, ("b",))
    done = votes(second, BOB)
    assert (done.open_step, open_requirements(done), done.is_satisfied) == (2, (), True)


def test_a_vote_given_in_one_step_does_not_count_in_the_next() -> None:
    both = requirement("both", ann, bob, quorum=2)
    asked = opened(step("first", requirement("a", ann)), step("second", both))
    after = votes(asked, ANN, BOB)
    assert not after.is_satisfied


def test_a_new_round_counts_nothing_of_the_old_one() -> None:
    asked = opened(step("s", requirement("two", ann, bob, quorum=2)))
    renewed = votes(asked, ANN, BOB).renewed(T0)
    assert renewed.current_votes() == ()
    assert len(renewed.votes) == 2
    assert open_requirements(renewed) == ("two",)
    once = votes(renewed, ANN)
    assert [vote.round for vote in once.votes] == [1, 1, 2]
    assert not once.is_satisfied
    assert votes(once, BOB).is_satisfied


# ---------------------------------------------------------------- what can never be enough


def members_of(people: Iterable[Identity]) -> "Members":
    return Members(tuple(people))


class Members:
    """A directory of a few people, answering by what they hold."""

    def __init__(self, people: tuple[Identity, ...]) -> None:
        self._people = people

    def __call__(self, target: Target) -> Iterator[str]:
        for someone in self._people:
            holds = {
                TargetKind.ACTOR: {someone.id, someone.person},
                TargetKind.ROLE: someone.roles,
                TargetKind.GROUP: someone.groups,
            }
            if target.name in holds[target.kind]:
                yield someone.person


EVERYBODY = members_of((ANN, BOB, CAROL, DAVE, person("rita")))


@pytest.mark.parametrize(
    ("unsatisfiable", "blamed"),
    [
        (plan(), ("", "")),
        (plan(step("s")), ("s", "")),
        (plan(step("s", mode=StepMode.ANY_OF)), ("s", "")),
        (plan(step("fine", requirement("a", ann)), step("s")), ("s", "")),
        (plan(step("s", requirement("r", ann, quorum=0))), ("s", "r")),
        (plan(step("s", requirement("r", ann, quorum=-1))), ("s", "r")),
        (plan(step("s", Requirement(id="r", targets=()))), ("s", "r")),
        (plan(step("s", requirement("r", actor_target("nobody")))), ("s", "r")),
        (plan(step("s", requirement("r", actor_target("rita")))), ("s", "r")),
        (plan(step("s", requirement("r", ann, actor_target("rita"), quorum=2))), ("s", "r")),
        (plan(step("s", requirement("r", ann, ann, quorum=2))), ("s", "r")),
        (plan(step("s", requirement("a", ann), requirement("b", ann))), ("s", "b")),
        (plan(step("s", requirement("a", ann)), step("t", requirement("b", ann))), ("t", "b")),
    ],
)
def test_a_plan_that_nobody_can_meet_is_refused_by_name(
    unsatisfiable: Plan, blamed: tuple[str, str]
) -> None:
    with pytest.raises(UnsatisfiableApproval) as refusal:
        check_satisfiable(unsatisfiable, members=EVERYBODY, requester="rita")
    assert (refusal.value.facts["step"], refusal.value.facts["requirement"]) == blamed


def test_steps_that_share_a_name_are_still_different_steps() -> None:
    """Each rule that defers brings its own steps, and two rules may call theirs the same."""
    same_names = plan(
        step("review", requirement("r", actor_target("nobody"))),
        step("review", requirement("r", ann)),
    )
    with pytest.raises(UnsatisfiableApproval):
        check_satisfiable(same_names, members=EVERYBODY, requester="rita")


def test_aliases_of_one_person_are_one_person() -> None:
    directory = members_of((ANN, person("ann-laptop", alias_of="ann")))
    both = requirement("r", ann, actor_target("ann-laptop"), quorum=2)
    with pytest.raises(UnsatisfiableApproval):
        check_satisfiable(plan(step("s", both)), members=directory, requester="rita")


def test_any_of_needs_only_one_way_that_can_be_met() -> None:
    either = step(
        "s",
        requirement("impossible", actor_target("nobody")),
        requirement("possible", ann),
        mode=StepMode.ANY_OF,
    )
    check_satisfiable(plan(either), members=EVERYBODY, requester="rita")


def test_any_of_takes_the_way_that_leaves_people_for_the_next_step() -> None:
    either = step("s", requirement("a", ann), requirement("b", bob), mode=StepMode.ANY_OF)
    check_satisfiable(
        plan(either, step("t", requirement("c", ann))), members=EVERYBODY, requester="rita"
    )


# ---------------------------------------------------------------- against brute force

NAMES = ("ann", "bob", "carol", "dave", "rita")
PEOPLE = tuple(person(name) for name in NAMES)
GUESTS = st.lists(st.sampled_from(NAMES), max_size=4, unique=True)
REQUIREMENTS = st.builds(
    lambda names, quorum: (
        requirement("?", *map(actor_target, names), quorum=quorum)
        if names
        else Requirement(id="?", targets=(), quorum=quorum)
    ),
    GUESTS,
    st.integers(1, 2),
)


@st.composite
def steps(draw: st.DrawFn, requirements_max: int = 2) -> Step:
    drawn = draw(st.lists(REQUIREMENTS, min_size=1, max_size=requirements_max))
    numbered = (item.but(id=str(number)) for number, item in enumerate(drawn))
    return step("s", *numbered, mode=draw(st.sampled_from(StepMode)))


PLANS = st.lists(steps(), min_size=1, max_size=3).map(lambda drawn: plan(*drawn))


def ways(asked: Step) -> list[tuple[Requirement, ...]]:
    if asked.mode is StepMode.ALL_OF:
        return [asked.requirements]
    return [(item,) for item in asked.requirements]


def names_of(item: Requirement) -> set[str]:
    return {target.name for target in item.targets}


def fillings(needed: list[set[str]], there: Iterable[str]) -> Iterator[tuple[str | None, ...]]:
    """Every way to give each slot a different person whom it asks, or nobody."""
    options: list[list[str | None]] = [
        [None, *(name for name in there if name in asked)] for asked in needed
    ]
    for filling in product(*options):
        given_away = [name for name in filling if name is not None]
        if len(given_away) == len(set(given_away)):
            yield filling


def refusal_of(asked: Plan) -> UnsatisfiableApproval | None:
    try:
        check_satisfiable(asked, members=members_of(PEOPLE), requester="rita")
    except UnsatisfiableApproval as refusal:
        return refusal
    return None


def can_be_voted_through(approval: Approval) -> bool:
    """Whether any order of votes of the people there are satisfies it, by trying all of them."""
    if approval.is_satisfied:
        return True
    for voter in PEOPLE:
        try:
            after = votes(approval, voter)
        except NotEligible:
            continue
        if can_be_voted_through(after):
            return True
    return False


@settings(deadline=None)  # trying every order of votes takes its time
@given(PLANS)
def test_a_plan_is_satisfiable_exactly_when_some_order_of_votes_satisfies_it(asked: Plan) -> None:
    assert (refusal_of(asked) is None) is can_be_voted_through(Approval(plan=asked))


@settings(deadline=None)  # the brute force is what takes time
@given(PLANS)
def test_a_plan_is_satisfiable_exactly_when_different_people_fill_one_of_its_ways(
    asked: Plan,
) -> None:
    others = set(NAMES) - {"rita"}
    slots_of_ways = [
        [names_of(item) for of_step in way for item in of_step for _ in range(item.quorum)]
        for way in product(*map(ways, asked.steps))
    ]
    possible = any(
        all(name in slot for name, slot in zip(people, slots, strict=True))
        for slots in slots_of_ways
        for people in permutations(others, len(slots))
    )
    refusal = refusal_of(asked)
    assert (refusal is None) is possible
    if refusal is not None:
        assert refusal.facts["requirement"] in {
            item.id for of_step in asked.steps for item in of_step.requirements
        }


@settings(deadline=None)  # the brute force is what takes time
@given(steps(requirements_max=3), st.permutations(PEOPLE[:4]), st.integers(0, 4))
def test_what_is_open_is_what_a_fullest_filling_leaves_empty(
    asked: Step, order: list[Identity], count: int
) -> None:
    approval = opened(asked, step("next", requirement("r", actor_target("nobody"))))
    there: list[str] = []
    for voter in order[:count]:
        with suppress(NotEligible):
            approval = votes(approval, voter)
            there.append(voter.person)
    enough = any(
        all(filling)
        for way in ways(asked)
        for filling in fillings([names_of(item) for item in way for _ in range(item.quorum)], there)
    )
    assert (approval.open_step == 1) is enough
    if enough:
        return
    left = open_requirements(approval)
    if asked.mode is StepMode.ANY_OF:
        assert left == tuple(item.id for item in asked.requirements)
        return
    slots = [(item.id, names_of(item)) for item in asked.requirements for _ in range(item.quorum)]
    every = list(fillings([names for _, names in slots], there))
    fullest = max(sum(name is not None for name in filling) for filling in every)
    leavings = {
        frozenset(id for (id, _), name in zip(slots, filling, strict=True) if name is None)
        for filling in every
        if sum(name is not None for name in filling) == fullest
    }
    assert frozenset(left) in leavings
    assert len(left) == len(set(left))
