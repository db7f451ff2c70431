"""The clocks of a request: what time decides, and in which order. One table, a line for each."""

from collections.abc import Callable, Collection, Sequence
from typing import Final

from governor.domain.emergency import review_due, review_overdue
from governor.domain.gating import GATED, gate_timed_out
from governor.domain.request import MutationRequest, Pending, PendingReason, Status
from governor.domain.values import Micros, Value
from governor.domain.voting import approval_lapsed
from governor.domain.workflow import Advance, execution_window_passed, expired, reason_resolved

Moment = Callable[[MutationRequest], Micros | None]
"""When the clock rings for a request as it stands; None while it does not run."""

Ring = Callable[[MutationRequest, Micros], Advance]
"""What follows when it rings, at the given present, which may be much later."""


class Clock(Value, frozen=True, kw_only=True):
    """One clock. Together their first moment is MutationRequest.due_at."""

    name: str
    moment: Moment
    ring: Ring


def what_is_due(request: MutationRequest, now: Micros) -> Advance | None:
    """What the first of its clocks that has rung brings a request. None: none has.

    After a downtime several may have: each has its turn, in the order of their moments, and of
    those that rang together the one that stands first in the table.
    """
    rung = [
        (moment, place)
        for place, clock in enumerate(CLOCKS)
        if (moment := clock.moment(request)) is not None and moment <= now
    ]
    if not rung:
        return None
    _, place = min(rung)
    return CLOCKS[place].ring(request, now)


def first_moment(request: MutationRequest) -> Micros | None:
    """When the first of its clocks rings."""
    moments = (clock.moment(request) for clock in CLOCKS)
    return min((moment for moment in moments if moment is not None), default=None)


def _gate_runs_out(request: MutationRequest, now: Micros) -> Advance:
    first = min(_timed(request, GATED), key=lambda pending: pending.until or 0)
    return gate_timed_out(request, first, now=now)


def _requirements_lapse(request: MutationRequest, now: Micros) -> Advance:
    lapse = approval_lapsed(request, now=now)
    if lapse is None:
        raise ValueError("the clock of a requirement has rung, and none has run out of time")
    return lapse


def _until(request: MutationRequest, reasons: Collection[PendingReason]) -> Micros | None:
    """The first moment at which time decides one of these reasons."""
    if not _may_expire(request):
        return None
    moments = (pending.until for pending in _timed(request, reasons) if pending.until is not None)
    return min(moments, default=None)


def _timed(request: MutationRequest, reasons: Collection[PendingReason]) -> list[Pending]:
    """What it waits for among these reasons that time decides."""
    return [
        pending
        for pending in request.progress.pending
        if pending.reason in reasons and pending.until is not None
    ]


def _execution_window(request: MutationRequest) -> Micros | None:
    return request.progress.execute_before if request.status is Status.APPROVED else None


def _may_expire(request: MutationRequest) -> bool:
    """Neither executing, nor ended, nor perhaps applied."""
    return request.status in (Status.PENDING, Status.APPROVED) and not request.waits_for(
        PendingReason.AUDIT
    )


CLOCKS: Final[Sequence[Clock]] = (
    Clock(
        name="review",
        moment=review_due,
        ring=lambda request, now: review_overdue(request, now=now),
    ),
    Clock(
        name="lifetime",
        moment=lambda request: (
            request.expires_at
            if _may_expire(request) and not request.waits_for(PendingReason.BATCH)
            else None
        ),
        ring=lambda request, now: expired(request, now=now),
    ),
    Clock(
        name="execution window",
        moment=_execution_window,
        ring=lambda request, now: execution_window_passed(request, now=now),
    ),
    Clock(
        name="requirements",
        moment=lambda request: _until(request, {PendingReason.APPROVAL}),
        ring=_requirements_lapse,
    ),
    Clock(
        name="gates",
        moment=lambda request: _until(request, GATED),
        ring=_gate_runs_out,
    ),
    Clock(
        name="schedule",
        moment=lambda request: _until(request, {PendingReason.SCHEDULE}),
        ring=lambda request, now: reason_resolved(request, PendingReason.SCHEDULE, now=now),
    ),
)
"""First in time is first done; of those that ring together, the first in this order."""
