"""Break-glass: an approval that was skipped in an emergency, and the review that is owed for it."""

from enum import StrEnum

from governor.domain.approval import Target
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
