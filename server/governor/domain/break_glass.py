"""Break-glass: an approval that was skipped in an emergency, and the review that is owed for it."""

from enum import StrEnum

from governor.domain.approval import Approval, BreakGlass, Plan, Requirement, Target, is_target
from governor.domain.values import Identity, Micros, Reason, Value


class ReviewStatus(StrEnum):
    """Where a mandatory review stands."""

    OPEN = "OPEN"
    OVERDUE = "OVERDUE"
    JUSTIFIED = "JUSTIFIED"
    UNJUSTIFIED = "UNJUSTIFIED"


class Review(Value, frozen=True, kw_only=True):
    """The look that others owe to a request whose approval was skipped, by `due_at`."""

    reviewers: tuple[Target, ...]
    due_at: Micros
    status: ReviewStatus = ReviewStatus.OPEN
    reviewer: Identity | None = None
    reviewed_at: Micros | None = None
    reason: Reason | None = None

    @property
    def is_open(self) -> bool:
        """Whether nobody has given it yet."""
        return self.status in (ReviewStatus.OPEN, ReviewStatus.OVERDUE)

    @property
    def is_awaited(self) -> bool:
        """Whether its time has still to come."""
        return self.status is ReviewStatus.OPEN

    def asks(self, identity: Identity) -> bool:
        """Whether the person is one of the reviewers, by what they hold."""
        return is_target(identity, Requirement(id="review", targets=self.reviewers))


class Emergency(Value, frozen=True, kw_only=True):
    """Somebody's word that a change cannot wait, to be looked at by `review_due_at`."""

    broken: BreakGlass
    review_due_at: Micros

    def past(self, plan: Plan) -> tuple[Approval, Review]:
        """The plan's approval, skipped, and the review owed for that by all whom the plan asks."""
        asked = (
            target
            for step in plan.steps
            for requirement in step.requirements
            for target in requirement.targets
        )
        review = Review(reviewers=tuple(dict.fromkeys(asked)), due_at=self.review_due_at)
        return Approval(plan=plan, break_glass=self.broken), review
