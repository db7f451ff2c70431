"""Requests in great number whose clocks have run, each of another kind in turn."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from itertools import islice
from typing import Final

from governor.domain.approval import Approval, Plan, Requirement, Step, Target
from governor.domain.break_glass import Review
from governor.domain.decision import Code
from governor.domain.policy import Effect, Verdict
from governor.domain.request import (
    ExecutionMode,
    MutationRequest,
    Pending,
    PendingReason,
    Progress,
    Status,
)
from governor.domain.values import Micros, TargetKind
from governor.usecases.commits import Commit
from tests.support.builders import MICROS_PER_SECOND, make_request, submission

_REVIEWERS: Final = Target(kind=TargetKind.GROUP, name="reviewers")
_IN_TIME: Final = Requirement(id="in-time", targets=(_REVIEWERS,), deadline_seconds=60)
_PLAN: Final = Plan(steps=(Step(name="review", requirements=(_IN_TIME,)),))
_SPREAD_SECONDS: Final = 50
_COMMITS_AT_ONCE: Final = 500

CLOCKS: Final = {
    "schedule": Code.APPROVED,
    "requirement": Code.EXPIRED,
    "check": Code.REJECTED,
    "quota": Code.APPROVED,
    "review": Code.BREAK_GLASS_REVIEW_OVERDUE,
    "lifetime": Code.EXPIRED,
    "execution window": Code.EXPIRED,
}
"""Each clock, and what is decided last when it rings."""


def clock_of(number: int) -> str:
    """Which of its clocks rings for the request with that number."""
    return tuple(CLOCKS)[number % len(CLOCKS)]


def due_requests(count: int, *, submitted_at: Micros) -> Iterator[MutationRequest]:
    """One of each clock in turn; all have rung two minutes after the submission."""
    for number in range(count):
        at = Micros(submitted_at + (60 + number % _SPREAD_SECONDS) * MICROS_PER_SECOND)
        clock = clock_of(number)
        request = make_request(
            f"r-{number:05}",
            status=Status.PENDING,
            mode=ExecutionMode.ON_EXECUTE,
            submitted_at=submitted_at,
            expires_at=at if clock == "lifetime" else Micros(at + 10**6 * MICROS_PER_SECOND),
        )
        yield request.but(progress=_waiting(request.progress, clock, at))


def _waiting(progress: Progress, clock: str, at: Micros) -> Progress:
    def waits(reason: PendingReason, name: str = "") -> tuple[Pending, ...]:
        return (Pending(reason=reason, since=progress.updated_at, until=at, name=name),)

    progress = progress.but(verdict=Verdict(effect=Effect.ALLOW))
    match clock:
        case "schedule":
            return progress.but(pending=waits(PendingReason.SCHEDULE))
        case "requirement":
            opened_at = Micros(at - 60 * MICROS_PER_SECOND)
            approval = Approval(plan=_PLAN, step_opened_at=opened_at)
            return progress.but(pending=waits(PendingReason.APPROVAL), approval=approval)
        case "check":
            return progress.but(pending=waits(PendingReason.EXTERNAL_CHECK, "scan"))
        case "quota":
            return progress.but(pending=waits(PendingReason.QUOTA, "daily"))
        case "review":
            review = Review(reviewers=(_REVIEWERS,), due_at=at)
            return progress.but(status=Status.CANCELED, review=review)
        case "execution window":
            return progress.but(status=Status.APPROVED, execute_before=at)
        case _:
            look = Pending(reason=PendingReason.MANUAL_REVIEW, since=at, name="look")
            return progress.but(pending=(look,))


async def put_all(
    commit: Callable[[Commit], Awaitable[object]], requests: Iterator[MutationRequest]
) -> None:
    """Commits them, some hundreds together."""
    while some := list(islice(requests, _COMMITS_AT_ONCE)):
        await asyncio.gather(*(commit(submission(request)) for request in some))
