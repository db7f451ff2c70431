"""Approval plans and votes: who must agree, and who has.

A plan is a sequence of steps; a step holds requirements, all or any of which must be met; a
requirement is a quorum of different people out of its targets. One person counts once in the whole
plan, and the requester never counts. What the votes amount to is in counting.py.
"""

from enum import StrEnum
from typing import assert_never

from governor.domain.values import Identity, Micros, Reason, TargetKind, Value


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

    `requirements` are those of the step that it counts for, or against. `on_behalf_of` is who has
    delegated to them, if they voted in that person's place. Once revoked by them or voided by
    Governor it stays as history and never counts.
    """

    voter: Identity
    kind: VoteKind
    digest: bytes
    round: int
    step: int
    at: Micros
    reason: Reason | None = None
    plan_digest: bytes = b""
    requirements: tuple[str, ...] = ()
    on_behalf_of: Identity | None = None
    revoked_at: Micros | None = None
    voided_at: Micros | None = None
    void_reason: str = ""

    @property
    def holder(self) -> Identity:
        """By whose roles and groups it counts."""
        return self.on_behalf_of or self.voter

    @property
    def persons(self) -> frozenset[str]:
        """Whose voice it uses up."""
        if self.on_behalf_of is None:
            return frozenset((self.voter.person,))
        return frozenset((self.voter.person, self.on_behalf_of.person))


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

    def renewed(self, now: Micros) -> "Approval":
        """The same plan in a new round, in which no vote counts yet and every deadline runs anew.

        An emergency that skipped the old round does not skip this one.
        """
        return self.but(
            round=self.round + 1, open_step=0, step_opened_at=now, expired=(), break_glass=None
        )


def is_target(voter: Identity, requirement: Requirement) -> bool:
    """Whether the voter is among the requirement's targets, by what they hold."""
    return any(_names(target, voter) for target in requirement.targets)


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
