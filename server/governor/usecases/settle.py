"""Carrying one execution out and settling what became of it.

The answer decides: what is known is recorded; busy and not seen are ordered again with the same
key; doubt is looked up; and when patience ends, the execution is fenced under a higher token. What
even the fence cannot tell waits for a person. Nothing is ever guessed. A host that is held is not
asked: what may have been ordered waits for a person, and what was not goes back into its line.
"""

import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress

from tenacity import (
    AsyncRetrying,
    RetryCallState,
    retry_if_result,
    wait_random_exponential,
)

from governor.domain.approval import VoteKind
from governor.domain.errors import Conflict, HostHeld, HostUnavailable, IllegalTransition
from governor.domain.executing import Progression, in_doubt, not_applied, reclaimed, settled
from governor.domain.execution import (
    Applied,
    Busy,
    Execution,
    Fenced,
    InDoubt,
    LookupAnswer,
    NotSeen,
    Outcome,
    Refused,
    VersionMismatch,
)
from governor.domain.request import MutationRequest
from governor.domain.values import Micros, Reason
from governor.usecases.app import App
from governor.usecases.batch_ends import batch_of
from governor.usecases.fencing import ask_for_fence, is_final
from governor.usecases.outcomes import outcome_commit
from governor.usecases.patience import persistently
from governor.usecases.ports import Capabilities, ExecutionTrace, Order
from governor.usecases.promises import (
    check_digest,
    look_up,
    not_asked,
)

log = logging.getLogger(__name__)

MICROS = 1_000_000

NEWS_MAX = 8
"""How often an outcome is committed anew because a review, of its request or of the one that it
compensates, came first. Each has two at most."""


_Asking = Callable[[], Awaitable[LookupAnswer]]
_Step = Callable[[], Progression]


class LeaseLost(Exception):
    """Somebody else carries this execution on; whatever we know is theirs to find out."""


class Settlement:
    """One owner's work on one execution, under one fencing token at a time."""

    def __init__(
        self,
        app: App,
        request: MutationRequest,
        execution: Execution,
        trace: ExecutionTrace,
        capabilities: Capabilities,
    ) -> None:
        self._app = app
        self._capabilities = capabilities
        self._request = request
        self._execution = execution
        self._trace = trace
        self._attempts = 0
        # Whether an order that was not answered may have been carried out, or may yet be.
        self._may_have_landed = False
        patience_us = round(app.limits.in_doubt_seconds_max * MICROS)
        self._patience_ends = Micros(app.clock.now() + patience_us)

    @property
    def execution(self) -> Execution:
        """As this owner last committed it."""
        return self._execution

    async def carry_out(self) -> None:
        """Orders the change and records what became of it."""
        await self._guarded(self._apply)

    async def look_up_and_settle(self) -> None:
        """Finds out what became of an execution taken over from somebody, and records that."""
        self._may_have_landed = True
        await self._guarded(self._ask)

    async def _guarded(self, first: _Asking) -> None:
        try:
            await self._settle(await first())
        except HostHeld as held:
            await self._leave(held)
        except LeaseLost:
            log.info(
                "the lease on an execution is lost; its new owner settles it",
                extra={"execution_audit_id": self._execution.audit_id},
            )
        finally:
            self._trace.finish(self._execution)

    async def _leave(self, held: HostHeld) -> None:
        """Nothing more is asked of a host whose word proves nothing by now."""
        reason = Reason(code=f"HOST_{held.facts['hold']}", message=held.facts["detail"])
        with suppress(LeaseLost):
            if self._may_have_landed:
                await self._doubt(reason)
            else:
                await self._release(reason)

    async def _settle(self, answer: LookupAnswer) -> None:
        if not self._is_final(answer):
            answer = await self._ask_until_known(answer)
        if isinstance(answer, Fenced):
            answer = await self._fenced_by_whom()
        match answer:
            case Applied() | Refused() | VersionMismatch():
                await self._record(answer)
            case NotSeen(fenced=True) if self._capabilities.exactly_once:
                await self._release_fenced("the host never applied it")
            case _:
                await self._give_up(answer)

    # --- Asking ---------------------------------------------------------------------------------

    async def _apply(self) -> LookupAnswer:
        await self._hold_lease()
        try:
            await self._app.standing.vouch()
        except HostUnavailable as unavailable:
            return Busy(reason=not_asked(unavailable))
        await self._hold_lease()
        self._attempts += 1
        self._app.failpoints("execute.before_apply")
        approvers = _approvers(self._request)
        batch = await batch_of(self._app, self._request)
        if batch is not None:
            approvers = (*_approvers(batch), *approvers)
        answer = await self._app.host.apply(
            Order(request=self._request, execution=self._execution, approvers=approvers),
            traceparent=self._trace.traceparent,
        )
        self._app.failpoints("execute.after_apply")
        if isinstance(answer, InDoubt | Fenced):
            self._may_have_landed = True
        check_digest(self._app, self._execution, answer)
        return answer

    async def _ask(self) -> LookupAnswer:
        """Looks the execution up; what the host has not seen is ordered, with the same key.

        Only where that is a promise: another host's "not seen" proves nothing, and it would carry a
        second order out.
        """
        await self._hold_lease()
        answer = await look_up(
            self._app, self._execution, fence=False, traceparent=self._trace.traceparent
        )
        if answer == NotSeen(fenced=False) and self._capabilities.exactly_once:
            return await self._apply()
        return answer

    async def _ask_until_known(self, first: LookupAnswer) -> LookupAnswer:
        """Asks again, with growing pauses, until the host knows or patience ends."""
        limits = self._app.limits
        growing = wait_random_exponential(
            multiplier=limits.backoff_seconds_initial, max=limits.backoff_seconds_max
        )
        last = first

        def asked_for() -> float | None:
            if isinstance(last, Busy) and last.retry_after_us is not None:
                return min(last.retry_after_us / MICROS, limits.backoff_seconds_max)
            return None

        def pause(state: RetryCallState) -> float:
            return asked_for() or growing(state)

        async def again() -> LookupAnswer:
            nonlocal last
            # After nothing but Busy, nothing has happened: order again. Doubt is looked up first.
            last = await (self._ask() if self._may_have_landed else self._apply())
            return last

        def is_over(_: RetryCallState) -> bool:
            return self._app.clock.now() >= self._patience_ends

        await self._app.clock.sleep(asked_for() or limits.backoff_seconds_initial)
        retrying = AsyncRetrying(
            sleep=self._app.clock.sleep,
            wait=pause,
            stop=is_over,
            retry=retry_if_result(lambda answer: not self._is_final(answer)),
            retry_error_callback=lambda _: last,
        )
        return await retrying(again)

    async def _fenced_by_whom(self) -> LookupAnswer:
        """The host has seen a higher token, or a tombstone of our own whose answer was lost."""
        stored = await self._app.store.execution(self._execution.id)
        if stored is None or stored.fencing_token != self._execution.fencing_token:
            raise LeaseLost
        await self._extend()
        return await look_up(
            self._app, self._execution, fence=True, traceparent=self._trace.traceparent
        )

    async def _give_up(self, answer: LookupAnswer) -> None:
        """Asking has told nothing: a fence under a higher token decides, or else a person must."""
        if not self._may_have_landed:
            message = "the host was busy for too long, and applied nothing"
            await self._release(Reason(code="BUSY", message=message))
            return
        unknown = Reason(code="UNKNOWN", message="the host does not say what it did")
        doubt = answer.reason if isinstance(answer, InDoubt) else unknown
        if not self._capabilities.exactly_once:
            await self._doubt(doubt)
            return
        await self._extend()
        self._app.failpoints("execute.before_fence")
        match await ask_for_fence(self._app, self._execution, self._trace.traceparent):
            case Applied() | Refused() | VersionMismatch() as outcome:
                await self._record(outcome)
            case NotSeen(fenced=True):
                await self._release_fenced("the host gave no outcome in time and was fenced")
            case _:
                await self._doubt(doubt)

    def _is_final(self, answer: LookupAnswer) -> bool:
        """Whether asking again cannot tell more, or would be more than the host can bear.

        A host without the promises is only ordered again, and only while it was nothing but busy.
        """
        if self._capabilities.exactly_once:
            return is_final(answer)
        return self._may_have_landed or not isinstance(answer, Busy)

    # --- The lease ------------------------------------------------------------------------------

    async def _hold_lease(self) -> None:
        """Makes sure that the lease outlasts one call to the host."""
        call_us = round(self._app.limits.apply_seconds_max * MICROS)
        if self._app.clock.now() + call_us >= self._execution.lease_expires_at:
            await self._extend()

    async def _extend(self) -> None:
        lease_us = round(self._app.limits.lease_seconds * MICROS)
        await self._commit(
            lambda: reclaimed(
                self._request,
                self._execution,
                now=self._app.clock.now(),
                lease_us=lease_us,
            )
        )

    # --- Recording ------------------------------------------------------------------------------

    async def _record(self, outcome: Outcome) -> None:
        self._app.failpoints("execute.before_outcome")
        try:
            await self._commit(
                lambda: settled(
                    self._request,
                    self._execution,
                    outcome,
                    attempts=self._attempts,
                    now=self._app.clock.now(),
                )
            )
        except LeaseLost:
            self._compare(outcome)
            raise
        self._app.failpoints("execute.after_outcome")

    async def _release_fenced(self, message: str) -> None:
        try:
            await self._release(Reason(code="FENCED", message=message))
        except LeaseLost:
            self._compare(NotSeen(fenced=True))
            raise

    def _compare(self, said: Outcome | NotSeen) -> None:
        """What the host told us is not ours to record; it must be what it told the new owner."""
        self._app.standing.hold_to(said, self._execution, until=self._patience_ends)

    async def _release(self, reason: Reason) -> None:
        self._app.failpoints("execute.before_release")
        await self._commit(
            lambda: not_applied(
                self._request,
                self._execution,
                attempts=self._attempts,
                now=self._app.clock.now(),
                reason=reason,
            )
        )
        self._app.failpoints("execute.after_release")

    async def _doubt(self, reason: Reason) -> None:
        self._app.failpoints("execute.before_doubt")
        await self._commit(
            lambda: in_doubt(
                self._request,
                self._execution,
                attempts=self._attempts,
                now=self._app.clock.now(),
                reason=reason,
            )
        )

    async def _commit(self, step: _Step, attempts_left: int = NEWS_MAX) -> None:
        """Commits a step under our token; a conflict means that the token is no longer ours.

        Unless nobody has written the execution: then it was the request's review that came first,
        or something has come to be known of the original that a compensation has to be linked to.
        """
        try:
            progress = step()
            commit = await persistently(self._app, outcome_commit, self._app, progress)
            committed = await persistently(self._app, self._app.store.commit, commit)
        except (Conflict, IllegalTransition) as conflict:
            if not attempts_left or not await self._is_still_ours():
                raise LeaseLost from conflict
            await self._commit(step, attempts_left - 1)
            return
        self._request, self._execution = committed.requests[0], committed.executions[0]

    async def _is_still_ours(self) -> bool:
        """Takes the request as it stands now, if all that has changed about it is its review, or of
        a compensation nothing at all: then it was the original that changed.
        """
        app = self._app
        execution = await persistently(app, app.store.execution, self._execution.id)
        request = await persistently(app, app.store.request, self._request.id)
        if (
            execution is None
            or request is None
            or execution.revision != self._execution.revision
            or (
                request.progress.review == self._request.progress.review
                and (
                    request.content.compensation is None
                    or request.revision != self._request.revision
                )
            )
        ):
            return False
        self._request = request
        return True


def _approvers(request: MutationRequest) -> tuple[str, ...]:
    """Whose votes for a request count."""
    approval = request.progress.approval
    votes = approval.current_votes() if approval is not None else ()
    return tuple(vote.voter.id for vote in votes if vote.kind is VoteKind.APPROVE)
