"""What follows from each vote, and from what takes votes away, as pure functions.

Like those in workflow.py each takes the request as it stands and answers an Advance; an event that
the transition table does not know raises IllegalTransition and nothing has happened.
"""

from collections.abc import Callable, Iterable
from typing import Protocol

from governor.domain.approval import Approval, StepMode, Target, Vote, VoteKind
from governor.domain.ballots import (
    NOT_ELIGIBLE_ANY_MORE,
    Lapse,
    cast,
    lapsed,
    recounted,
    taken_back,
    taken_out,
)
from governor.domain.counting import bears_on, deadline, is_within_reach, rejected, standing
from governor.domain.decision import Code, Decision, decide
from governor.domain.errors import IllegalTransition, NotEligible, NoVote
from governor.domain.lifecycle import Trigger, check
from governor.domain.request import MutationRequest, Pending, PendingReason
from governor.domain.values import GOVERNOR, Identity, Micros, Reason
from governor.domain.waits import approval_wait
from governor.domain.workflow import (
    Advance,
    advance,
    approval_requested,
    ended,
    released,
)
from governor.domain.workflow import standing as stands


class Electorate(Protocol):
    """The people of the request's tenant, as they are now."""

    def members(self, target: Target) -> Iterable[str]:
        """The persons that a target names."""
        ...

    def fault(self, vote: Vote, request: MutationRequest) -> str:
        """What its voter has lost that the vote rests on; empty when it would be taken today."""
        ...


def voted(
    request: MutationRequest,
    *,
    voter: Identity,
    kind: VoteKind,
    seen_digest: bytes,
    seen_plan: bytes,
    now: Micros,
    reason: Reason | None,
    electorate: Electorate,
    on_behalf_of: Identity | None = None,
    traceparent: str = "",
) -> Advance:
    """A person approves, reviews or rejects. The last vote needed resolves APPROVAL.

    When a step's quorum closes, the votes of those who are not eligible any more are taken out, and
    the rest is counted again.

    Raises IllegalTransition unless the request waits for approval, and what ballots.cast raises.
    """
    trigger = Trigger.VOTED_DOWN if kind is VoteKind.REJECT else Trigger.VOTED
    check(request, trigger)
    approval = request.progress.approval
    if approval is None or not request.waits_for(PendingReason.APPROVAL):
        raise IllegalTransition(request.status, trigger)
    lapse = lapsed(approval, now)
    if lapse.is_over:
        raise NotEligible(voter.id, f"the time to vote on {lapse.expired[0]!r} has passed")
    after_vote = cast(
        lapse.approval,
        voter=voter,
        requester=request.requester,
        kind=kind,
        seen_digest=seen_digest,
        digest=request.progress.digest,
        seen_plan=seen_plan,
        at=now,
        reason=reason,
        on_behalf_of=on_behalf_of,
        members=electorate.members,
    )
    if traceparent:
        links = (*request.progress.approval_traceparents, traceparent)
        request = request.but(progress=request.progress.but(approval_traceparents=links))
    if kind is VoteKind.REJECT:
        return _voted_against(request, lapse, after_vote, electorate, now)
    return _voted_for(request, lapse, after_vote, electorate, now)


def revoked(request: MutationRequest, *, actor: Identity, reason: Reason, now: Micros) -> Advance:
    """Somebody takes their vote back, which they may until the request is claimed.

    Raises IllegalTransition from the claim on, and NoVote without a vote of theirs that counts.
    """
    check(request, Trigger.VOTE_REVOKED)
    approval = request.progress.approval
    if approval is None:
        raise NoVote(actor.id)
    left, vote = taken_back(approval, actor, now)

    def said(after: MutationRequest) -> tuple[Decision, ...]:
        facts = _vote_facts(approval, vote)
        return (
            decide(Code.APPROVAL_REVOKED, after, actor=actor, at=now, reason=reason, facts=facts),
        )

    return _lessened(request, recounted(left, now), now, said)


def eligibility_lost(
    request: MutationRequest, *, electorate: Electorate, now: Micros
) -> Advance | None:
    """The votes of those who are not eligible any more are taken out. None: all still are."""
    approval = request.progress.approval
    lost = _lost(request, approval, electorate) if approval is not None else {}
    if approval is None or not lost:
        return None
    left = recounted(taken_out(approval, lost, now), now)
    return _lessened(request, left, now, lambda after: _voided(after, approval, lost, now))


def approval_lapsed(request: MutationRequest, *, now: Micros) -> Advance | None:
    """Requirements were not met by their deadline: an alternative less, or the end of the request.

    Of several deadlines that have passed the earliest is dealt with, and the next one by the next
    call, so that whatever else has come due in between has its turn. None when none has passed.
    """
    approval = request.progress.approval
    if approval is None or not request.waits_for(PendingReason.APPROVAL):
        return None
    first = deadline(approval)
    if first is None or first > now:
        return None
    lapse = lapsed(approval, first)
    if not lapse.is_over:
        after = advance(
            request,
            Trigger.MUST_WAIT,
            now,
            approval=lapse.approval,
            pending=_waits(request, lapse.approval),
        )
        return Advance(request=after, decisions=_expired(after, lapse, now))
    names = ", ".join(lapse.expired)
    reason = Reason(
        code="APPROVAL_EXPIRED",
        message=f"not enough people voted in time on {names}",
        metadata={
            "requirement": ",".join(lapse.expired),
            "step": approval.plan.steps[approval.open_step].name,
        },
    )
    end = ended(
        request, Trigger.EXPIRED, actor=GOVERNOR, now=now, reason=reason, approval=lapse.approval
    )
    decisions = (*_expired(end.request, lapse, now), *end.decisions)
    return Advance(request=end.request, decisions=decisions)


def _voted_for(
    request: MutationRequest,
    lapse: Lapse,
    after_vote: Approval,
    electorate: Electorate,
    now: Micros,
) -> Advance:
    before, counted, lost = lapse.approval.open_step, after_vote, dict[int, str]()
    if after_vote.open_step > before:
        lost = _lost(request, after_vote, electorate)
        if lost:
            counted = recounted(taken_out(after_vote, lost, now), now)
    after = advance(request, Trigger.VOTED, now, approval=counted, pending=_waits(request, counted))
    decisions = [
        *_expired(after, lapse, now),
        _vote_decision(Code.APPROVAL_GRANTED, after, after_vote, now),
        *_voided(after, after_vote, lost, now),
    ]
    for step in counted.plan.steps[before : counted.open_step]:
        facts = {"step": step.name, "round": str(counted.round)}
        decisions.append(decide(Code.QUORUM_SATISFIED, after, actor=GOVERNOR, at=now, facts=facts))
    if counted.is_satisfied:
        resolved = released(after, PendingReason.APPROVAL, now=now)
        return Advance(request=resolved.request, decisions=(*decisions, *resolved.decisions))
    if counted.open_step != before:
        decisions.append(approval_requested(after, counted, now))
    return Advance(request=after, decisions=tuple(decisions))


def _voted_against(
    request: MutationRequest,
    lapse: Lapse,
    after_vote: Approval,
    electorate: Electorate,
    now: Micros,
) -> Advance:
    """The rejections of a requirement end it: the request with it, or one alternative of several.

    So do rejections that leave too few people for the rest.
    """
    fallen = rejected(after_vote, after_vote.open_step) - rejected(
        lapse.approval, after_vote.open_step
    )
    facts = {"requirement": ",".join(sorted(fallen))} if fallen else {}
    step = after_vote.plan.steps[after_vote.open_step]
    is_voted_down = bool(fallen) and (
        step.mode is StepMode.ALL_OF or not standing(after_vote, after_vote.open_step)
    )
    is_out_of_reach = not is_voted_down and not is_within_reach(
        after_vote, members=electorate.members, requester=request.requester, at=now
    )
    if is_out_of_reach:
        facts["out_of_reach"] = "true"
    if not is_voted_down and not is_out_of_reach:
        after = advance(
            request, Trigger.VOTED, now, approval=after_vote, pending=_waits(request, after_vote)
        )
        vote = _vote_decision(Code.APPROVAL_REJECTED, after, after_vote, now, facts)
        return Advance(request=after, decisions=(*_expired(after, lapse, now), vote))
    end = ended(
        request,
        Trigger.VOTED_DOWN,
        actor=GOVERNOR,
        now=now,
        reason=_rejection(after_vote, facts),
        approval=after_vote,
    )
    vote = _vote_decision(Code.APPROVAL_REJECTED, end.request, after_vote, now, facts)
    decisions = (*_expired(end.request, lapse, now), vote, *end.decisions)
    return Advance(request=end.request, decisions=decisions)


def _lessened(
    request: MutationRequest,
    left: Approval,
    now: Micros,
    said: Callable[[MutationRequest], tuple[Decision, ...]],
) -> Advance:
    """The request with fewer votes: what was approved may have to be approved again."""
    was_waiting = request.waits_for(PendingReason.APPROVAL)
    if was_waiting or left.is_satisfied:
        after = advance(
            request, Trigger.VOTE_REVOKED, now, approval=left, pending=_waits(request, left)
        )
        before = request.progress.approval
        reopened = before is not None and before.open_step != left.open_step
        asked = (approval_requested(after, left, now),) if was_waiting and reopened else ()
        return Advance(request=after, decisions=(*said(after), *asked))
    after = advance(
        request,
        Trigger.APPROVAL_LOST,
        now,
        approval=left,
        pending=(approval_wait(left, now), *request.progress.pending),
        execute_before=None,
    )
    return Advance(request=after, decisions=(*said(after), *stands(after, now)))


def _lost(request: MutationRequest, approval: Approval, electorate: Electorate) -> dict[int, str]:
    """The votes whose voters are not eligible any more, by number, with what they have lost."""
    faults = (
        (number, electorate.fault(vote, request))
        for number, vote in enumerate(approval.votes)
        if approval.counts(vote)
    )
    return {number: fault for number, fault in faults if fault}


def _waits(request: MutationRequest, approval: Approval) -> tuple[Pending, ...]:
    """What it waits for, the next deadline of its approval brought up to date."""
    until = deadline(approval)
    return tuple(
        pending.but(until=until) if pending.reason is PendingReason.APPROVAL else pending
        for pending in request.progress.pending
    )


def _vote_decision(
    code: Code,
    request: MutationRequest,
    approval: Approval,
    now: Micros,
    more: dict[str, str] | None = None,
) -> Decision:
    """About the vote that was cast last."""
    vote = approval.votes[-1]
    facts = _vote_facts(approval, vote) | (more or {})
    return decide(code, request, actor=vote.voter, at=now, reason=vote.reason, facts=facts)


def _voided(
    request: MutationRequest, approval: Approval, lost: dict[int, str], now: Micros
) -> tuple[Decision, ...]:
    votes = [(approval.votes[number], fault) for number, fault in lost.items()]
    return tuple(
        decide(
            Code.APPROVAL_VOIDED,
            request,
            actor=GOVERNOR,
            at=now,
            reason=Reason(code=NOT_ELIGIBLE_ANY_MORE, message=fault),
            facts=_vote_facts(approval, vote) | {"voter": vote.voter.id},
        )
        for vote, fault in votes
    )


def _expired(request: MutationRequest, lapse: Lapse, now: Micros) -> tuple[Decision, ...]:
    step = lapse.approval.plan.steps[lapse.approval.open_step].name if lapse.expired else ""
    facts = {"round": str(lapse.approval.round), "step": step}
    return tuple(
        decide(
            Code.APPROVAL_EXPIRED,
            request,
            actor=GOVERNOR,
            at=now,
            facts=facts | {"requirement": id},
        )
        for id in lapse.expired
    )


def _vote_facts(approval: Approval, vote: Vote) -> dict[str, str]:
    facts = {
        "person": vote.voter.person,
        "meaning": vote.kind.value,
        "round": str(vote.round),
        "step": approval.plan.steps[vote.step].name,
        "requirements": ",".join(bears_on(approval, vote)),
        "digest": vote.digest.hex(),
        "plan_digest": vote.plan_digest.hex(),
    }
    if vote.on_behalf_of is not None:
        facts["on_behalf_of"] = vote.on_behalf_of.person
    return facts


def _rejection(approval: Approval, facts: dict[str, str]) -> Reason:
    """Governor's own reason; the approver's code is a fact in it and can overwrite nothing.

    What they said is whole in their vote and in its decision.
    """
    vote = approval.votes[-1]
    given = vote.reason or Reason(code="")
    metadata = {"approver": vote.voter.id, "code": given.code} | facts
    if given.category:
        metadata["category"] = given.category
    if vote.on_behalf_of is not None:
        metadata["on_behalf_of"] = vote.on_behalf_of.person
    return Reason(code="APPROVER_REJECTED", message=given.message, metadata=metadata)
