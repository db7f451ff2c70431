"""Approval plans and votes: who must agree, who has, and whether that is enough.

A plan is a sequence of steps; a step holds requirements, all or any of which must be met; a
requirement is a quorum of different people out of its targets. One person counts once in the whole
plan, and the requester never counts. Votes are matched to the quorums of the open step as a
maximum bipartite matching, so a person who could serve two requirements never blocks either.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from enum import StrEnum
from itertools import product
from typing import TypeVar, assert_never

from governor.domain.errors import DigestMismatch, NotEligible, UnsatisfiableApproval
from governor.domain.values import Identity, Micros, Reason, TargetKind, Value

_K = TypeVar("_K")

_Need = tuple[_K, int, frozenset[str]]
"""What needs votes, how many, and the people who could give them."""


class StepMode(StrEnum):
    """How many of a step's requirements must be met."""

    ALL_OF = "ALL_OF"
    ANY_OF = "ANY_OF"


class VoteKind(StrEnum):
    """What a person said."""

    APPROVE = "APPROVE"
    REJECT = "REJECT"
    REVIEW = "REVIEW"


class Target(Value, frozen=True, kw_only=True):
    """Names people: one actor, or everyone with a role or in a group."""

    kind: TargetKind
    name: str


class Requirement(Value, frozen=True, kw_only=True):
    """`quorum` different people out of `targets`.

    `meaning` is the kind of vote that it asks for, `rejections` how many of its targets end it by
    saying no, `deadline_seconds` how long it may take from the opening of its step.
    """

    id: str
    targets: tuple[Target, ...]
    quorum: int = 1
    meaning: VoteKind = VoteKind.APPROVE
    rejections: int = 1
    deadline_seconds: int | None = None


class Step(Value, frozen=True, kw_only=True):
    """One stage; the next opens when it is satisfied."""

    name: str
    requirements: tuple[Requirement, ...]
    mode: StepMode = StepMode.ALL_OF


class Plan(Value, frozen=True, kw_only=True):
    """The steps, in order. One person counts once in the plan, or with `repeat_voters` per step."""

    steps: tuple[Step, ...]
    repeat_voters: bool = False


class Vote(Value, frozen=True, kw_only=True):
    """One person's word on exactly one digest under one plan, with what they held at that moment.

    `on_behalf_of` is who has delegated to them, if they voted in that person's place. Once revoked
    by them or voided by Governor it stays as history and never counts.
    """

    voter: Identity
    kind: VoteKind
    digest: bytes
    round: int
    step: int
    at: Micros
    reason: Reason | None = None
    plan_digest: bytes = b""
    on_behalf_of: Identity | None = None
    revoked_at: Micros | None = None
    voided_at: Micros | None = None
    void_reason: str = ""


class BreakGlass(Value, frozen=True, kw_only=True):
    """Who went past an approval in an emergency, and why it could not wait."""

    by: Identity
    justification: str
    at: Micros


class Approval(Value, frozen=True, kw_only=True):
    """The workflow of one request. Votes of earlier rounds stay as history and never count.

    `expired` are the requirements of the open step whose deadline has passed.
    """

    plan: Plan
    round: int = 1
    open_step: int = 0
    votes: tuple[Vote, ...] = ()
    step_opened_at: Micros = Micros(0)
    expired: tuple[str, ...] = ()
    break_glass: BreakGlass | None = None

    @property
    def is_satisfied(self) -> bool:
        """Whether every step is, or the glass was broken and none has to be."""
        return self.break_glass is not None or self.open_step == len(self.plan.steps)

    def counts(self, vote: Vote) -> bool:
        """Whether a vote is of this round, and neither revoked nor voided."""
        return vote.round == self.round and vote.revoked_at is None and vote.voided_at is None

    def current_votes(self) -> tuple[Vote, ...]:
        """The votes that count."""
        return tuple(vote for vote in self.votes if self.counts(vote))

    def renewed(self) -> "Approval":
        """The same plan in a new round, in which no vote counts yet, nor a glass broken before."""
        return self.but(round=self.round + 1, open_step=0, break_glass=None)


def cast(
    approval: Approval,
    *,
    voter: Identity,
    requester: str,
    kind: VoteKind,
    seen_digest: bytes,
    digest: bytes,
    at: Micros,
    reason: Reason | None = None,
) -> Approval:
    """The workflow with one more vote; a satisfied step opens the next.

    Raises DigestMismatch when another content was seen, and NotEligible for the requester, for a
    person who voted in this round already, for one the open step does not ask, and for everybody
    once every step is satisfied.
    """
    if seen_digest != digest:
        raise DigestMismatch(expected=digest.hex(), got=seen_digest.hex())
    if voter.person == requester:
        raise NotEligible(voter.id, "the requester never approves or rejects their own request")
    if any(vote.voter.person == voter.person for vote in approval.current_votes()):
        raise NotEligible(voter.id, "this person has voted in this round already")
    if approval.is_satisfied:
        raise NotEligible(voter.id, "no vote is asked for any more")
    step = approval.plan.steps[approval.open_step]
    if not any(is_target(voter, requirement) for requirement in step.requirements):
        raise NotEligible(voter.id, f"step {step.name!r} does not ask them")
    vote = Vote(
        voter=voter,
        kind=kind,
        digest=digest,
        round=approval.round,
        step=approval.open_step,
        at=at,
        reason=reason,
    )
    voted = approval.but(votes=(*approval.votes, vote))
    return voted.but(open_step=voted.open_step + 1) if not open_requirements(voted) else voted


def open_requirements(approval: Approval) -> tuple[str, ...]:
    """Ids of the requirements that keep the open step open; empty when nothing does.

    For ANY_OF, all of them until one is met.
    """
    if approval.is_satisfied:
        return ()
    step = approval.plan.steps[approval.open_step]
    voters = [
        vote.voter
        for vote in approval.current_votes()
        if vote.step == approval.open_step and vote.kind is VoteKind.APPROVE
    ]
    match step.mode:
        case StepMode.ALL_OF:
            return _unmet(step.requirements, voters)
        case StepMode.ANY_OF:
            unmet = [_unmet((requirement,), voters) for requirement in step.requirements]
            return tuple(id for ids in unmet for id in ids) if all(unmet) else ()
        case _:
            assert_never(step.mode)


def is_target(voter: Identity, requirement: Requirement) -> bool:
    """Whether the voter is among the requirement's targets, by what they hold."""
    return any(_names(target, voter) for target in requirement.targets)


def check_satisfiable(
    plan: Plan, *, members: Callable[[Target], Iterable[str]], requester: str
) -> None:
    """Raises UnsatisfiableApproval unless different people other than the requester can fill it.

    `members` answers the persons that a target names now.
    """
    if not plan.steps:
        raise UnsatisfiableApproval(step="", requirement="")
    for step in plan.steps:
        if not step.requirements:
            raise UnsatisfiableApproval(step=step.name, requirement="")
        for requirement in step.requirements:
            if requirement.quorum < 1:
                raise UnsatisfiableApproval(step=step.name, requirement=requirement.id)

    def candidates(requirement: Requirement) -> frozenset[str]:
        people = (person for target in requirement.targets for person in members(target))
        return frozenset(people) - {requester}

    def needs(step: Step, chosen: Sequence[Requirement]) -> list[_Need[tuple[str, str]]]:
        return [((step.name, item.id), item.quorum, candidates(item)) for item in chosen]

    blamed = ("", "")
    for way in product(*([needs(step, chosen) for chosen in _ways(step)] for step in plan.steps)):
        unfilled = _unfilled([need for of_step in way for need in of_step])
        if not unfilled:
            return
        blamed = unfilled[0]
    raise UnsatisfiableApproval(step=blamed[0], requirement=blamed[1])


def _ways(step: Step) -> Iterator[tuple[Requirement, ...]]:
    """The sets of requirements of which meeting one satisfies the step."""
    match step.mode:
        case StepMode.ALL_OF:
            yield step.requirements
        case StepMode.ANY_OF:
            for requirement in step.requirements:
                yield (requirement,)
        case _:
            assert_never(step.mode)


def _names(target: Target, voter: Identity) -> bool:
    match target.kind:
        case TargetKind.ACTOR:
            return target.name in (voter.id, voter.person)
        case TargetKind.ROLE:
            return target.name in voter.roles
        case TargetKind.GROUP:
            return target.name in voter.groups
        case _:
            assert_never(target.kind)


def _unmet(requirements: Sequence[Requirement], voters: Sequence[Identity]) -> tuple[str, ...]:
    needs = [
        (
            item.id,
            item.quorum,
            frozenset(voter.person for voter in voters if is_target(voter, item)),
        )
        for item in requirements
    ]
    return tuple(dict.fromkeys(_unfilled(needs)))


def _unfilled(needs: Iterable[_Need[_K]]) -> list[_K]:
    """One key per vote that is missing when different people fill as many needs as can be.

    A maximum matching by augmenting paths (Kuhn 1955, as in Hopcroft and Karp 1973, without the
    layering): each slot takes a free candidate, or one whose present slot can move to another.
    """
    slots = [(key, people) for key, quorum, people in needs for _ in range(quorum)]
    slot_of: dict[str, int] = {}

    def place(slot: int, tried: set[str]) -> bool:
        for person in sorted(slots[slot][1] - tried):
            tried.add(person)
            if person not in slot_of or place(slot_of[person], tried):
                slot_of[person] = slot
                return True
        return False

    return [key for index, (key, _) in enumerate(slots) if not place(index, set())]
