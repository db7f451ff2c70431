"""Holding the host to its word: what it says of an execution against what it said, or promised."""

from governor.domain.errors import HostUnavailable
from governor.domain.execution import (
    Execution,
    ExecutionStatus,
    InDoubt,
    LookupAnswer,
    NotSeen,
    Outcome,
)
from governor.domain.host_standing import contradiction
from governor.domain.values import Micros, Reason
from governor.usecases.app import App
from governor.usecases.patience import persistently

ANOTHER_DIGEST = "EXECUTION_DIGEST_MISMATCH"
UNFENCED_MAX = 3
"""How often a host may answer a look-up that fences without fencing."""


async def look_up(app: App, execution: Execution, *, fence: bool, traceparent: str) -> LookupAnswer:
    """What the host says became of the execution, if its word counts. Raises HostHeld."""
    try:
        await app.standing.vouch()
    except HostUnavailable as unavailable:
        return InDoubt(reason=not_asked(unavailable))
    answer = await app.host.lookup(execution, fence=fence, traceparent=traceparent)
    check_digest(app, execution, answer)
    return answer


def not_asked(unavailable: HostUnavailable) -> Reason:
    """Why nothing was sent."""
    return Reason(code="HOST_UNAVAILABLE", message=unavailable.message)


def check_digest(app: App, execution: Execution, answer: LookupAnswer) -> None:
    """Under one execution id there is one digest, or the host's memory is not what it promised."""
    if isinstance(answer, InDoubt) and answer.reason.code == ANOTHER_DIGEST:
        app.standing.report_broken(execution, "the host has another digest under the execution id")


def check_fences(app: App, execution: Execution, unfenced: int) -> None:
    """A host that promised to fence, was asked to, answered, and did not."""
    if unfenced >= UNFENCED_MAX:
        detail = f"the host answered {unfenced} look-ups that fence without fencing"
        app.standing.report_broken(execution, detail)


async def check_word(
    app: App, execution: Execution, said: Outcome | NotSeen, *, until: Micros
) -> None:
    """Compares what the host told a former owner with what its new owner recorded.

    That may still be to come: it is waited for until then.
    """
    recorded = await persistently(app, app.store.execution, execution.id)
    while (
        recorded is not None
        and recorded.status is ExecutionStatus.RUNNING
        and app.clock.now() < until
    ):
        await app.clock.sleep(app.limits.backoff_seconds_max)
        recorded = await persistently(app, app.store.execution, execution.id)
    if recorded is not None and (detail := contradiction(recorded, said)) is not None:
        app.standing.report_broken(recorded, detail)
