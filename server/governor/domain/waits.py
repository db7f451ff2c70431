"""What a request waits for, as values: its gates, its schedule, and its time to be claimed."""

from collections.abc import Iterable, Mapping

from governor.domain.approval import Approval
from governor.domain.counting import deadline
from governor.domain.gates import DEPENDENCY_REVIEW, Gate
from governor.domain.policy import Verdict
from governor.domain.request import MutationRequest, Pending, PendingReason, Status
from governor.domain.values import Micros, RequestId
from governor.domain.windows import is_open, next_opening

MICROS = 1_000_000


def approval_wait(approval: Approval, now: Micros) -> Pending:
    """The request waits for votes, until the first deadline of the open step."""
    return Pending(reason=PendingReason.APPROVAL, since=now, until=deadline(approval))


def gates_wait(gates: Iterable[Gate], now: Micros) -> tuple[Pending, ...]:
    """What a request waits for because of these gates, from now on."""
    return tuple(
        Pending(
            reason=PendingReason(gate.reason),
            since=now,
            until=(
                Micros(now + gate.timeout_seconds * MICROS)
                if gate.timeout_seconds is not None
                else None
            ),
            detail=gate.detail,
            name=gate.name,
        )
        for gate in gates
    )


def dependency_review(failed: Mapping[RequestId, Status], now: Micros) -> Pending:
    """A person says whether to go on without what was to be executed first."""
    detail = ", ".join(f"{id} ended as {status}" for id, status in failed.items())
    return Pending(
        reason=PendingReason.MANUAL_REVIEW, since=now, detail=detail, name=DEPENDENCY_REVIEW
    )


def scheduled(verdict: Verdict, pending: tuple[Pending, ...], now: Micros) -> tuple[Pending, ...]:
    """What a new request waits for, its schedule moved to the next of its windows."""
    if not verdict.windows:
        return pending
    schedule = next((one for one in pending if one.reason is PendingReason.SCHEDULE), None)
    asked = schedule.until if schedule is not None else None
    begin = max(now, asked or now)
    if is_open(verdict.windows, begin):
        return pending
    others = (one for one in pending if one is not schedule)
    return (*others, window_wait(verdict, begin).but(since=now))


def window_wait(verdict: Verdict | None, now: Micros) -> Pending:
    """It waits for the next opening of its windows."""
    windows = verdict.windows if verdict is not None else ()
    return Pending(
        reason=PendingReason.SCHEDULE,
        since=now,
        until=next_opening(windows, now),
        detail="opens: " + ", ".join(window.name for window in windows),
    )


def execute_before_of(verdict: Verdict | None, now: Micros) -> Micros | None:
    """By when it must be claimed if it is approved now; None where policy sets no such time."""
    seconds = verdict.execution_window_seconds if verdict is not None else None
    return None if seconds is None else Micros(now + seconds * MICROS)


def is_claimable(request: MutationRequest, now: Micros) -> bool:
    """Whether time lets an approved request be claimed at this moment."""
    progress = request.progress
    return (
        now < request.expires_at
        and (progress.execute_before is None or now < progress.execute_before)
        and is_in_window(request, now)
    )


def is_in_window(request: MutationRequest, now: Micros) -> bool:
    """Whether it may be executed at this moment, as far as maintenance windows go."""
    verdict = request.progress.verdict
    return verdict is None or is_open(verdict.windows, now)
