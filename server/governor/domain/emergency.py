"""What follows from a broken glass, as pure functions: its review, and the loss of its ground.

A review changes no status. It is the one thing that may still change once a request has ended, and
its decisions carry the status in which the request stands.
"""

from governor.domain.break_glass import Review, ReviewStatus
from governor.domain.decision import Code, decide
from governor.domain.errors import DigestMismatch, IllegalTransition, NoReviewOpen, NotEligible
from governor.domain.lifecycle import Trigger
from governor.domain.request import MutationRequest
from governor.domain.values import GOVERNOR, Identity, Micros, Reason, rfc3339
from governor.domain.waits import approval_wait
from governor.domain.workflow import Advance, advance, standing

NO_REVIEW = "NONE"
"""How NoReviewOpen names the status of a review that nobody owes."""


def reviewed(
    request: MutationRequest,
    *,
    reviewer: Identity,
    seen_digest: bytes,
    justified: bool,
    reason: Reason,
    now: Micros,
) -> Advance:
    """Somebody else has looked, and says whether the emergency was one.

    Raises NoReviewOpen, also for a second review; DigestMismatch when another content was seen;
    NotEligible for the requester and for everybody whom the skipped plan did not ask.
    """
    review = request.progress.review
    if review is None or not review.is_open:
        raise NoReviewOpen(NO_REVIEW if review is None else review.status)
    digest = request.progress.digest
    if seen_digest != digest:
        raise DigestMismatch(expected=digest.hex(), got=seen_digest.hex())
    if reviewer.person == request.requester:
        raise NotEligible(reviewer.id, "nobody reviews their own emergency", act="review")
    if not review.asks(reviewer):
        raise NotEligible(reviewer.id, "the skipped plan does not ask them", act="review")
    after = _with_review(
        request,
        review.but(
            status=ReviewStatus.JUSTIFIED if justified else ReviewStatus.UNJUSTIFIED,
            reviewer=reviewer,
            reviewed_at=now,
            reason=reason,
        ),
        now,
    )
    facts = {
        "justified": str(justified).lower(),
        "person": reviewer.person,
        "review_due": rfc3339(review.due_at),
    }
    decision = decide(
        Code.BREAK_GLASS_REVIEWED, after, actor=reviewer, at=now, reason=reason, facts=facts
    )
    return Advance(request=after, decisions=(decision,))


def review_due(request: MutationRequest) -> Micros | None:
    """When its review becomes overdue; None while none is awaited."""
    review = request.progress.review
    return review.due_at if review is not None and review.is_awaited else None


def review_overdue(request: MutationRequest, *, now: Micros) -> Advance:
    """The review's time has passed and nobody has given it.

    Raises NoReviewOpen unless it was still awaited.
    """
    review = request.progress.review
    if review is None or not review.is_awaited:
        raise NoReviewOpen(NO_REVIEW if review is None else review.status)
    after = _with_review(request, review.but(status=ReviewStatus.OVERDUE), now)
    facts = {"review_due": rfc3339(review.due_at)}
    decision = decide(Code.BREAK_GLASS_REVIEW_OVERDUE, after, actor=GOVERNOR, at=now, facts=facts)
    return Advance(request=after, decisions=(decision,))


def glass_lost(request: MutationRequest, *, now: Micros) -> Advance:
    """Who broke the glass may not do so any more: the approval is waited for after all.

    The review stays owed: that nobody was asked is not undone by asking now.

    Raises IllegalTransition unless an approved request stands on a broken glass.
    """
    approval = request.progress.approval
    if approval is None or approval.break_glass is None:
        raise IllegalTransition(request.status, Trigger.APPROVAL_LOST)
    broken = approval.break_glass
    asked = approval.but(break_glass=None, step_opened_at=now)
    after = advance(
        request,
        Trigger.APPROVAL_LOST,
        now,
        pending=(approval_wait(asked, now),),
        approval=asked,
        execute_before=None,
    )
    reason = Reason(
        code="BREAK_GLASS_ROLE_LOST",
        message=f"{broken.by.id} may not break the glass any more",
        metadata={"by": broken.by.id},
    )
    facts = {"round": str(approval.round), "voters": ""}
    void = decide(Code.APPROVAL_VOIDED, after, actor=GOVERNOR, at=now, reason=reason, facts=facts)
    return Advance(request=after, decisions=(void, *standing(after, now)))


def _with_review(request: MutationRequest, review: Review, now: Micros) -> MutationRequest:
    return request.but(progress=request.progress.but(review=review, updated_at=now))
