"""Votes that are given, taken back, taken out, and too late: what each makes of an approval."""

from collections.abc import Collection, Mapping
from functools import partial

from governor.domain.approval import (
    Approval,
    Requirement,
    StepMode,
    Vote,
    VoteKind,
    is_target,
)
from governor.domain.counting import (
    Members,
    counts_elsewhere,
    deadline_of,
    is_within_reach,
    lacking,
    overdue,
    silent_persons,
    standing,
    steps_filled,
)
from governor.domain.digest import plan_digest
from governor.domain.errors import DigestMismatch, NotEligible, NoVote, Overloaded, PlanMismatch
from governor.domain.values import Identity, Micros, Reason, Value

VOTES_MAX = 2_000
"""Of one request, in all its rounds, also those that were taken back."""

NOT_ELIGIBLE_ANY_MORE = "NOT_ELIGIBLE_ANY_MORE"
"""Why Governor takes a vote out."""


class Lapse(Value, frozen=True, kw_only=True):
    """What the deadlines that have passed make of an approval; `is_over`: it cannot go on."""

    approval: Approval
    expired: tuple[str, ...] = ()
    is_over: bool = False


def cast(
    approval: Approval,
    *,
    voter: Identity,
    requester: str,
    kind: VoteKind,
    seen_digest: bytes,
    digest: bytes,
    seen_plan: bytes,
    at: Micros,
    reason: Reason | None = None,
    on_behalf_of: Identity | None = None,
    members: Members | None = None,
) -> Approval:
    """The workflow with one more vote; a satisfied step opens the next.

    A vote is taken where it is needed: it must bring the open step nearer to its end, and leave
    the people there are (`members`, where they are known) able to fill the rest.

    Raises DigestMismatch and PlanMismatch when something else was seen, and NotEligible for the
    requester, for whom the open step does not ask, for who has had their say, for a vote that
    nothing is gained by, and for everybody once every step is satisfied; Overloaded at VOTES_MAX.
    """
    if seen_digest != digest:
        raise DigestMismatch(expected=digest.hex(), got=seen_digest.hex())
    seen = plan_digest(approval.plan, approval.round)
    if seen_plan != seen:
        raise PlanMismatch(expected=seen.hex(), got=seen_plan.hex())
    if voter.person == requester:
        raise NotEligible(voter.id, "the requester never approves or rejects their own request")
    if approval.is_satisfied:
        raise NotEligible(voter.id, "no vote is asked for any more")
    if len(approval.votes) >= VOTES_MAX:
        raise Overloaded("VOTES_MAX", VOTES_MAX)
    vote = Vote(
        voter=voter,
        kind=kind,
        digest=digest,
        round=approval.round,
        step=approval.open_step,
        at=at,
        reason=reason,
        plan_digest=seen_plan,
        on_behalf_of=on_behalf_of,
    )
    _check_say(approval, vote, requester)
    asked = tuple(item.id for item in _asked(approval, vote))
    voted = approval.but(votes=(*approval.votes, vote.but(requirements=asked)))
    if kind is VoteKind.REJECT:
        if counts_elsewhere(approval, vote.persons):
            raise NotEligible(voter.id, "they count in another step; take that vote back first")
        return voted
    lacks = zip(lacking(approval), lacking(voted), strict=True)
    if all(after >= before for before, after in lacks):
        raise NotEligible(voter.id, "the open step needs no vote of theirs")
    counted = recounted(voted, at)
    if members is not None:
        possible = partial(is_within_reach, members=members, requester=requester, at=at, spent=True)
        if possible(approval) and not possible(counted):
            raise NotEligible(voter.id, "a later step cannot do without them")
    return counted


def is_asked(
    approval: Approval,
    voter: Identity,
    *,
    requester: str,
    at: Micros,
    on_behalf_of: Identity | None = None,
) -> bool:
    """Whether a vote of theirs for it would be taken, whoever else could fill the later steps."""
    seen = plan_digest(approval.plan, approval.round)
    for kind in (VoteKind.APPROVE, VoteKind.REVIEW):
        try:
            cast(
                approval,
                voter=voter,
                requester=requester,
                kind=kind,
                seen_digest=b"",
                digest=b"",
                seen_plan=seen,
                at=at,
                on_behalf_of=on_behalf_of,
            )
        except NotEligible:
            continue
        return True
    return False


def taken_back(approval: Approval, who: Identity, at: Micros) -> tuple[Approval, Vote]:
    """The approval without their last vote that counts, and that vote. It is not counted anew.

    It is theirs under any of their names, and also when it was given in their place. Raises NoVote.
    """
    for number, vote in reversed(list(enumerate(approval.votes))):
        if approval.counts(vote) and who.person in vote.persons:
            return _with(approval, {number: vote.but(revoked_at=at)}), vote
    raise NoVote(who.id)


def taken_out(approval: Approval, numbers: Collection[int], at: Micros) -> Approval:
    """The approval without votes whose voters are not eligible any more. It is not counted anew."""
    void = {"voided_at": at, "void_reason": NOT_ELIGIBLE_ANY_MORE}
    return _with(approval, {number: approval.votes[number].but(**void) for number in numbers})


def recounted(approval: Approval, at: Micros) -> Approval:
    """The approval at the first step that the votes do not fill. One that opens, opens anew."""
    open_step = steps_filled(approval)
    if open_step == approval.open_step:
        return approval
    return approval.but(open_step=open_step, step_opened_at=at, expired=())


def lapsed(approval: Approval, now: Micros) -> Lapse:
    """The approval without what was not met by its deadline."""
    expired = overdue(approval, now)
    if not expired:
        return Lapse(approval=approval)
    after = approval.but(expired=(*approval.expired, *expired))
    step = approval.plan.steps[approval.open_step]
    is_over = step.mode is StepMode.ALL_OF or not standing(after, after.open_step)
    return Lapse(approval=after, expired=expired, is_over=is_over)


def _check_say(approval: Approval, vote: Vote, requester: str) -> None:
    """Raises NotEligible when one of those whose voice this is has none."""
    voter = vote.voter
    if vote.on_behalf_of is not None:
        if vote.on_behalf_of.person == requester:
            raise NotEligible(voter.id, "nobody votes in the requester's place")
        if vote.on_behalf_of.person == voter.person:
            raise NotEligible(voter.id, "nobody votes in their own place")
    if not vote.persons.isdisjoint(silent_persons(approval, vote.step)):
        raise NotEligible(voter.id, "this person has voted in this round already")


def _asked(approval: Approval, vote: Vote) -> tuple[Requirement, ...]:
    """The requirements of the open step that it counts for, or against. Raises NotEligible."""
    step = approval.plan.steps[vote.step]
    names = [item for item in standing(approval, vote.step) if is_target(vote.holder, item)]
    if not names:
        raise NotEligible(vote.voter.id, f"step {step.name!r} does not ask them")
    in_time = [item for item in names if not _is_late(approval, item, vote.at)]
    if not in_time:
        raise NotEligible(vote.voter.id, f"the time to vote on {names[0].id!r} has passed")
    asked = [item for item in in_time if vote.kind in (item.meaning, VoteKind.REJECT)]
    if not asked:
        raise NotEligible(vote.voter.id, f"step {step.name!r} asks them for {in_time[0].meaning}")
    return tuple(asked)


def _is_late(approval: Approval, requirement: Requirement, at: Micros) -> bool:
    until = deadline_of(approval, requirement)
    return until is not None and until <= at


def _with(approval: Approval, changed: Mapping[int, Vote]) -> Approval:
    votes = tuple(changed.get(number, vote) for number, vote in enumerate(approval.votes))
    return approval.but(votes=votes)
