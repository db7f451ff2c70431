"""Whom a request waits for: who can act on each thing that holds it back."""

from typing import assert_never

from governor.domain.approval import Target
from governor.domain.counting import open_requirements
from governor.domain.request import MutationRequest, Pending, PendingReason
from governor.domain.values import TargetKind

_RESOLVERS = tuple(
    Target(kind=TargetKind.ROLE, name=role) for role in ("operator", "admin", "checker")
)
_DOUBT_RESOLVERS = _RESOLVERS[:2]


def waited_for(request: MutationRequest, pending: Pending) -> tuple[Target, ...]:
    """The targets who can act on `pending` now; none where nobody in particular can.

    For APPROVAL these are the targets of the requirements that the open step still lacks.
    """
    progress = request.progress
    if pending.reason is PendingReason.APPROVAL and progress.approval is not None:
        approval = progress.approval
        lacking = open_requirements(approval)
        step = approval.plan.steps[approval.open_step]
        named = (
            target
            for requirement in step.requirements
            if requirement.id in lacking
            for target in requirement.targets
        )
        return tuple(dict.fromkeys(named))
    gates = progress.verdict.gates if progress.verdict is not None else ()
    for gate in gates:
        if gate.reason == pending.reason and gate.name == pending.name:
            return gate.resolvers
    return ()


def acted_on_by(request: MutationRequest) -> tuple[Target, ...]:
    """Everybody who can do something about what the request waits for, its review among it.

    What `waited_for` leaves to nobody in particular is for the roles that the answer asks for.
    Time, other requests and the host are nobody.
    """
    progress = request.progress
    if not progress.pending and progress.review is None:
        return ()
    named = [target for pending in progress.pending for target in who_can_act(request, pending)]
    return tuple(dict.fromkeys((*named, *who_reviews(request))))


def who_reviews(request: MutationRequest) -> tuple[Target, ...]:
    """Who can give the review that the request still owes."""
    review = request.progress.review
    return review.reviewers if review is not None and review.is_open else ()


def who_can_act(request: MutationRequest, pending: Pending) -> tuple[Target, ...]:
    """Who can do something about one thing that it waits for."""
    match pending.reason:
        case PendingReason.APPROVAL:
            return waited_for(request, pending)
        case PendingReason.EXTERNAL_CHECK | PendingReason.QUOTA | PendingReason.MANUAL_REVIEW:
            return waited_for(request, pending) or _RESOLVERS
        case PendingReason.AUDIT:
            return _DOUBT_RESOLVERS
        case (
            PendingReason.SCHEDULE
            | PendingReason.DEPENDENCY
            | PendingReason.REVALIDATION
            | PendingReason.BATCH
        ):
            return ()
        case _:
            assert_never(pending.reason)
