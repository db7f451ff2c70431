"""Fencing an execution in the host: what makes it certain that it will never be applied."""

from tenacity import (
    AsyncRetrying,
    retry_if_result,
    stop_after_attempt,
    wait_random_exponential,
)

from governor.domain.errors import Conflict, HostUnavailable
from governor.domain.executing import settled
from governor.domain.execution import (
    Applied,
    Busy,
    Execution,
    Fenced,
    InDoubt,
    LookupAnswer,
    NotSeen,
    Refused,
    VersionMismatch,
)
from governor.domain.request import MutationRequest
from governor.usecases.app import App
from governor.usecases.outcomes import outcome_commit
from governor.usecases.promises import (
    check_fences,
    look_up,
)

FENCE_ATTEMPTS_MAX = 5


async def fence(app: App, request: MutationRequest, execution: Execution) -> None:
    """Returns when the host has promised that the execution was not and will not be applied.

    Raises Conflict when it has an outcome after all, which is then recorded; HostUnavailable when
    it does not say, HostHeld when its word proves nothing.
    """
    answer = await ask_for_fence(app, execution, execution.traceparent)
    match answer:
        case NotSeen(fenced=True):
            return
        case Applied() | Refused() | VersionMismatch():
            step = settled(request, execution, answer, attempts=0, now=app.clock.now())
            await app.store.commit(await outcome_commit(app, step))
            raise Conflict("the execution had an outcome before it could be fenced")
        case Fenced():
            raise Conflict("somebody else fences this execution")
        case _:
            raise HostUnavailable("the host does not say what became of the execution")


async def ask_for_fence(app: App, execution: Execution, traceparent: str) -> LookupAnswer:
    """The host's answer to a look-up that fences, asked a bounded number of times.

    Raises HostHeld.
    """
    limits = app.limits
    retrying = AsyncRetrying(
        sleep=app.clock.sleep,
        wait=wait_random_exponential(
            multiplier=limits.backoff_seconds_initial, max=limits.backoff_seconds_max
        ),
        stop=stop_after_attempt(FENCE_ATTEMPTS_MAX),
        retry=retry_if_result(lambda answer: not is_final(answer)),
        retry_error_callback=lambda state: state.outcome.result() if state.outcome else None,
    )

    unfenced = 0

    async def ask() -> LookupAnswer:
        nonlocal unfenced
        answer = await look_up(app, execution, fence=True, traceparent=traceparent)
        unfenced += answer == NotSeen(fenced=False)
        return answer

    answer: LookupAnswer = await retrying(ask)
    check_fences(app, execution, unfenced)
    return answer


def is_final(answer: LookupAnswer) -> bool:
    """Whether asking again cannot tell more."""
    match answer:
        case Busy() | InDoubt():
            return False
        case NotSeen(fenced=fenced):
            return fenced
        case _:
            return True
