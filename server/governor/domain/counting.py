"""What votes amount to: which steps they fill, what is still open, and what can still be filled.

Each place of a plan is filled by one vote of its step, and each person fills one place at most: in
the whole plan, or with `repeat_voters` in each step. Which of the places is never fixed: a person
whose vote a step can do without is free for a later one, so a vote that is not needed uses nobody
up. Who has voted in somebody else's place has one voice together with them.
"""

from collections.abc import Callable, Iterable
from sys import maxsize
from typing import assert_never

from governor.domain.approval import (
    Approval,
    Plan,
    Requirement,
    Step,
    StepMode,
    Target,
    Vote,
    VoteKind,
    is_target,
)
from governor.domain.errors import UnsatisfiableApproval
from governor.domain.matching import Need, Way, fullest
from governor.domain.values import Micros

MICROS = 1_000_000

Members = Callable[[Target], Iterable[str]]
"""The persons that a target names now."""

_Candidates = Callable[[int, Requirement], frozenset[str]]
"""The voices that may fill the places of a requirement of the step with that number."""


def steps_filled(approval: Approval) -> int:
    """How many steps the votes fill, from the first one on, each person counting once."""
    return fullest(_ways(approval, _given(approval))).step


def open_requirements(approval: Approval) -> tuple[str, ...]:
    """Ids of the requirements that keep the open step open; empty when nothing does.

    For ANY_OF, all of them that are left, until one is met. What must be met first is filled first.
    """
    if approval.is_satisfied:
        return ()
    step = approval.plan.steps[approval.open_step]
    match step.mode:
        case StepMode.ALL_OF:
            ways = _ways(approval, _given(approval))
            return tuple(dict.fromkeys(fullest(ways[: approval.open_step + 1]).missing))
        case StepMode.ANY_OF:
            return tuple(item.id for item in standing(approval, approval.open_step))
        case _:
            assert_never(step.mode)


def lacking(approval: Approval) -> tuple[int, ...]:
    """How many votes each way through the open step lacks, whoever else is counted before it."""
    ways = _ways(approval, _given(approval))
    before, open_step = ways[: approval.open_step], approval.open_step
    fillings = [fullest([*before, [way]]) for way in ways[open_step]]
    return tuple(
        len(filling.missing) if filling.step >= open_step else maxsize for filling in fillings
    )


def counts_elsewhere(approval: Approval, persons: frozenset[str]) -> bool:
    """Whether another step counts on one of these persons: an earlier one that needs their vote, or
    a later one, open before, that they have voted in.
    """
    if approval.plan.repeat_voters:
        return False
    theirs = [vote for vote in approval.current_votes() if not vote.persons.isdisjoint(persons)]
    if any(vote.step > approval.open_step for vote in theirs):
        return True
    others = tuple(vote for vote in approval.votes if vote not in theirs)
    return steps_filled(approval.but(votes=others)) < approval.open_step


# --- Requirements that have fallen ---------------------------------------------------------------


def standing(approval: Approval, number: int) -> tuple[Requirement, ...]:
    """The requirements of a step that neither rejections nor their deadline have ended."""
    fallen = rejected(approval, number)
    if number == approval.open_step:
        fallen = fallen.union(approval.expired)
    return tuple(item for item in approval.plan.steps[number].requirements if item.id not in fallen)


def rejected(approval: Approval, number: int) -> frozenset[str]:
    """Ids of the requirements of a step that so many have rejected that it ends them."""
    against = [
        id
        for vote in approval.current_votes()
        if vote.step == number and vote.kind is VoteKind.REJECT
        for id in bears_on(approval, vote)
    ]
    return frozenset(
        item.id
        for item in approval.plan.steps[number].requirements
        if against.count(item.id) >= item.rejections
    )


def bears_on(approval: Approval, vote: Vote) -> tuple[str, ...]:
    """Ids of the requirements that a vote counts for, or against."""
    return vote.requirements or tuple(
        item.id
        for item in approval.plan.steps[vote.step].requirements
        if is_target(vote.holder, item) and vote.kind in (item.meaning, VoteKind.REJECT)
    )


def deadline_of(approval: Approval, requirement: Requirement) -> Micros | None:
    """When a requirement of the open step expires. None: not before the request does."""
    if requirement.deadline_seconds is None:
        return None
    return Micros(approval.step_opened_at + requirement.deadline_seconds * MICROS)


def deadline(approval: Approval) -> Micros | None:
    """The earliest deadline of what keeps the open step open."""
    return min((moment for moment, _ in _deadlines(approval)), default=None)


def overdue(approval: Approval, now: Micros) -> tuple[str, ...]:
    """Ids of the requirements that keep the open step open and whose deadline has come, by time."""
    return tuple(id for moment, id in sorted(_deadlines(approval)) if moment <= now)


def _deadlines(approval: Approval) -> list[tuple[Micros, str]]:
    if approval.is_satisfied:
        return []
    step = approval.plan.steps[approval.open_step]
    if all(item.deadline_seconds is None for item in step.requirements):
        return []
    left = open_requirements(approval)
    moments = ((deadline_of(approval, item), item.id) for item in step.requirements)
    return [(moment, id) for moment, id in moments if moment is not None and id in left]


# --- What can still be filled --------------------------------------------------------------------


def is_within_reach(
    approval: Approval, *, members: Members, requester: str, at: Micros, spent: bool = False
) -> bool:
    """Whether the people there are can still satisfy it, by votes that nobody has given yet.

    With `spent`, also if the open step should use up all those who have voted in it. A step that
    keeps to that never leads into a dead end, in whatever order its people vote.
    """
    possible = _possible(approval, members, requester, at, spent=spent)
    ways = _ways(approval, possible, only_standing=True)
    return fullest(ways).step == len(ways)


def check_satisfiable(plan: Plan, *, members: Members, requester: str) -> None:
    """Raises UnsatisfiableApproval unless different people other than the requester can fill it.

    This is so exactly when some order of votes satisfies it.
    """
    if not plan.steps:
        raise UnsatisfiableApproval(step="", requirement="")
    for step in plan.steps:
        if not step.requirements:
            raise UnsatisfiableApproval(step=step.name, requirement="")
        for item in step.requirements:
            if not _makes_sense(item):
                raise UnsatisfiableApproval(step=step.name, requirement=item.id)
    fresh = Approval(plan=plan)
    filling = fullest(_ways(fresh, _possible(fresh, members, requester, fresh.step_opened_at)))
    if filling.missing:
        blamed = plan.steps[filling.step].name
        raise UnsatisfiableApproval(step=blamed, requirement=filling.missing[0])


def _makes_sense(requirement: Requirement) -> bool:
    """Whether it asks for anything, can be met at all, and is not rejected before it is asked."""
    return (
        requirement.quorum >= 1
        and requirement.rejections >= 1
        and requirement.meaning is not VoteKind.REJECT
        and (requirement.deadline_seconds is None or requirement.deadline_seconds >= 1)
    )


# --- Ways and voices -----------------------------------------------------------------------------


def _ways(
    approval: Approval, candidates: _Candidates, *, only_standing: bool = False
) -> list[list[Way]]:
    """For each step the sets of needs of which meeting one satisfies it."""
    return [
        _ways_through(approval, number, step, candidates, only_standing=only_standing)
        for number, step in enumerate(approval.plan.steps)
    ]


def _ways_through(
    approval: Approval, number: int, step: Step, candidates: _Candidates, *, only_standing: bool
) -> list[Way]:
    def need(item: Requirement) -> Need:
        return Need(id=item.id, count=item.quorum, voices=candidates(number, item))

    left = standing(approval, number)
    match step.mode:
        case StepMode.ALL_OF:
            if only_standing and len(left) < len(step.requirements):
                return []
            by_deadline = sorted(step.requirements, key=lambda it: it.deadline_seconds or maxsize)
            return [tuple(need(item) for item in by_deadline)]
        case StepMode.ANY_OF:
            return [(need(item),) for item in left]
        case _:
            assert_never(step.mode)


def _given(approval: Approval) -> _Candidates:
    """Who has voted for a requirement."""
    voices = _Voices(approval)
    given: dict[tuple[int, str], set[str]] = {}
    for vote in approval.current_votes():
        if vote.kind is not VoteKind.REJECT:
            for id in bears_on(approval, vote):
                voice = voices.of(vote.step, vote.voter.person)
                given.setdefault((vote.step, id), set()).add(voice)
    return lambda number, item: frozenset(given.get((number, item.id), ()))


def _possible(
    approval: Approval, members: Members, requester: str, at: Micros, *, spent: bool = False
) -> _Candidates:
    """Who has voted for a requirement, or still can."""
    given, voices = _given(approval), _Voices(approval)
    busy = frozenset(
        voices.of(vote.step, vote.voter.person)
        for vote in approval.current_votes()
        if spent and vote.step == approval.open_step
    )
    silent = {
        number: silent_persons(approval, number) | {requester}
        for number in range(len(approval.plan.steps))
    }

    def candidates(number: int, item: Requirement) -> frozenset[str]:
        if number < approval.open_step:
            return given(number, item)
        if number == approval.open_step:
            until = deadline_of(approval, item)
            if until is not None and until <= at:
                return given(number, item)
        people = {person for target in item.targets for person in members(target)}
        free = frozenset(voices.of(number, person) for person in people - silent[number])
        able = given(number, item) | free
        return able if number == approval.open_step else able - busy

    return candidates


def silent_persons(approval: Approval, number: int) -> frozenset[str]:
    """Who may not vote in a step (any more): they have, or they have said no before."""
    once = not approval.plan.repeat_voters
    return frozenset(
        person
        for vote in approval.current_votes()
        if vote.step == number or (once and vote.kind is VoteKind.REJECT)
        for person in vote.persons
    )


class _Voices:
    """Who counts as one: a person by themselves, and with whom they voted in another's place."""

    def __init__(self, approval: Approval) -> None:
        self._repeat = approval.plan.repeat_voters
        self._of: dict[str, str] = {}
        for vote in approval.current_votes():
            if vote.on_behalf_of is not None:
                self._join(vote.step, vote.voter.person, vote.on_behalf_of.person)

    def of(self, step: int, person: str) -> str:
        """The name of the voice that a person has in a step."""
        alone = f"{step if self._repeat else 0}/{person}"
        return self._of.get(alone, alone)

    def _join(self, step: int, *persons: str) -> None:
        old = {self.of(step, person) for person in persons}
        members = {alone for alone, voice in self._of.items() if voice in old} | old
        self._of.update(dict.fromkeys(members, min(old)))
