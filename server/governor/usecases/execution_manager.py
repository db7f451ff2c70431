"""The execution manager: the only way to the host. It has approved requests claimed in their turn,
carried out, and settled.

It learns of work from the store's batches and of nothing else, so whatever is committed is carried
out, whoever committed it and whether or not that caller is still there. Per state there is one
execution at a time, and approved requests take their turns in the order of their approval.
"""

import asyncio
import logging
from collections import Counter, deque
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from typing import Any

from governor.domain.errors import (
    Conflict,
    HostHeld,
    IllegalTransition,
    Overloaded,
    StateBusy,
)
from governor.domain.executing import Progression
from governor.domain.execution import ACTIVE, Execution, ExecutionStatus
from governor.domain.lifecycle import Trigger
from governor.domain.request import ExecutionMode, MutationRequest, PendingReason, Slot, Status
from governor.domain.values import GOVERNOR, ExecutionId, Identity, RequestId
from governor.domain.waits import is_claimable
from governor.usecases.app import App
from governor.usecases.claiming import Claims
from governor.usecases.commits import Batch, Committed, IdempotencyKey
from governor.usecases.fencing import fence
from governor.usecases.patience import persistently
from governor.usecases.ports import Capabilities, Circuit, ExecutionTrace
from governor.usecases.questions import ExecutionQuery
from governor.usecases.revalidate import revalidate
from governor.usecases.settle import Settlement
from governor.usecases.turns import Turns

log = logging.getLogger(__name__)

MICROS = 1_000_000

_Chore = Callable[[], Coroutine[Any, Any, None]]


class ExecutionManager:
    """Created by the composition root, attached to its App, started after the store is open."""

    def __init__(self) -> None:
        self._app: App
        self._claims: Claims
        self._turns = Turns()
        # What is to be done beside the turns, and before them: it holds states, or decides.
        self._chores: deque[_Chore] = deque()
        self._tasks: set[asyncio.Task[None]] = set()
        # How many of us hold an execution: a task that settles it, callers that withdraw it.
        self._hands: Counter[ExecutionId] = Counter()
        self._overtaken: set[ExecutionId] = set()
        self._running = 0
        self._claiming = 0
        self._stopping = False

    # --- Life -----------------------------------------------------------------------------------

    def attach(self, app: App) -> None:
        """Ties the manager to its application and begins to listen to the store."""
        self._app = app
        self._claims = Claims(app)
        app.store.listen(self._notice)
        app.standing.when_lifted(self._pump)

    def take_up(self, requests: Sequence[MutationRequest]) -> None:
        """Sees to what nobody saw to: first to what was executing. What is in hand stays so."""
        requests = [request for request in requests if not request.is_batch]
        for request in requests:
            if request.status is Status.EXECUTING and request.progress.execution_id is not None:
                self._turns.occupy(request.slot, request.progress.execution_id)
                self._chores.append(
                    partial(self._take_up, request.id, request.progress.execution_id)
                )
        # A request's last change, while it is APPROVED, is its approval: the order of the lines.
        # Save where that was skipped and has been reviewed: then it stands further back.
        for request in sorted(requests, key=lambda request: request.revision):
            self._enqueue(request)
        self._pump()

    async def drain(self, seconds: float) -> None:
        """Starts nothing more and gives what runs that long; the rest is left for recovery."""
        self._stopping = True
        self._app.waiters.look_again()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=seconds)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    @property
    def is_stopping(self) -> bool:
        """Whether nothing new may be started."""
        return self._stopping

    # --- Claiming -------------------------------------------------------------------------------

    @contextmanager
    def inline_claim(self, request: MutationRequest) -> Iterator[Progression | None]:
        """A claim to commit together with the submission of an approved request, if it may run now.

        None when it must wait its turn. A host without compare_and_apply is asked for the version
        first, which no submission waits for.
        """
        slot = request.slot
        self._turns.begin_submission(slot)
        try:
            if not self._may_claim_inline(request, slot):
                yield None
                return
            claim = self._claims.propose(request, GOVERNOR)
            with self._room_taken():
                yield claim
            # The batch that made the claim durable has taken the trace along. If the caller hangs
            # up, that batch is still to come.
            self._claims.trace_of(claim.execution.id)
        finally:
            self._turns.end_submission(slot)

    async def claim_on_demand(
        self, request: MutationRequest, starter: Identity, key: IdempotencyKey
    ) -> Committed:
        """A claim that somebody asks for. Raises what Claims.claim does, and Overloaded."""
        if not self._has_room():
            raise Overloaded("executions_running_max", self._app.limits.executions_running_max)
        with self._room_taken():
            return await self._claims.claim(request, starter, key)

    @asynccontextmanager
    async def fenced(
        self, request: MutationRequest, actor: Identity
    ) -> AsyncIterator[tuple[MutationRequest, Execution]]:
        """The request with its execution, which the host has promised never to apply.

        The block commits their end. Whenever it does not, the manager takes the execution back.
        Raises IllegalTransition when it was applied after all (which is then recorded),
        HostUnavailable when the host does not say, HostHeld when its word proves nothing.
        """
        capabilities = await self._app.standing.vouch()
        if not capabilities.exactly_once:
            raise IllegalTransition(request.status, Trigger.CANCELED)
        taken = await self._claims.take_over(request, actor=actor, lease_lost=False)
        self._hands[taken.execution.id] += 1
        has_ended = False
        try:
            await fence(self._app, taken.request, taken.execution)
            yield taken.request, taken.execution
            has_ended = True
        finally:
            self._let_go(taken.execution, has_ended=has_ended)

    def _may_claim_inline(self, request: MutationRequest, slot: Slot) -> bool:
        capabilities = self._app.host.known_capabilities
        return (
            capabilities is not None
            and capabilities.compare_and_apply
            and (capabilities.rollback or not request.is_rollback)
            and request.content.execution_mode is ExecutionMode.AUTOMATIC
            and is_claimable(request, self._app.clock.now())
            and not self._stopping
            and self._app.standing.allows
            and self._app.host.condition.circuit is Circuit.CLOSED
            and self._turns.may_jump_in(slot)
            and self._has_room()
        )

    def _has_room(self) -> bool:
        return self._running + self._claiming < self._app.limits.executions_running_max

    @contextmanager
    def _room_taken(self) -> Iterator[None]:
        """Counts a claim on its way to the store among what runs."""
        self._claiming += 1
        try:
            yield
        finally:
            self._claiming -= 1
            self._pump()

    # --- What the batches say -------------------------------------------------------------------

    def _notice(self, batch: Batch) -> None:
        if not batch.commits:
            self._notice_entries(batch)
        for commit in batch.commits:
            if commit.replayed:
                continue
            if commit.requests and commit.requests[0].is_batch:
                self._notice_batch(commit)
                continue
            for execution in commit.executions:
                self._notice_execution(execution, commit)
            for request in commit.requests:
                if request.status is Status.EXECUTING and not commit.executions:
                    self._notice_review(request)
                self._enqueue(request)
        self._pump()

    def _notice_batch(self, commit: Committed) -> None:
        """Its execution is conducted, see batches.py; what it lets go has its turn like others."""
        for request in commit.requests[1:]:
            self._enqueue(request)

    def _notice_entries(self, batch: Batch) -> None:
        """Another process has written: what it ended may be what somebody here waits for."""
        for entry in batch.entries:
            id = entry.execution_id
            if id is not None and id not in self._overtaken and self._turns.held_by(id):
                self._overtaken.add(id)
                self._spawn(self._look_at_holder(id))

    def _notice_execution(self, execution: Execution, commit: Committed) -> None:
        if not execution.is_active:
            self._turns.free(execution.slot, execution.id)
            return
        self._turns.occupy(execution.slot, execution.id)
        is_new = execution.status is ExecutionStatus.RUNNING and execution.fencing_token == 1
        if is_new and not self._stopping:
            request = next(r for r in commit.requests if r.id == execution.request_id)
            trace = self._claims.trace_of(execution.id)
            self._spawn(
                self._carry_out(
                    request, execution, trace or self._app.tracing.execution_started(request)
                )
            )

    def _notice_review(self, request: MutationRequest) -> None:
        """A request that executes has changed, and its execution has not: it was reviewed.

        Who writes a request sees to it, so that it may be ours now while another process executes
        it. That process makes it its own again with its next word, or is gone with its lease.
        """
        id = request.progress.execution_id
        if id is not None and id not in self._hands and not self._stopping:
            self._spawn(self._outlast(request.id, id))

    def _enqueue(self, request: MutationRequest) -> None:
        """Puts a request in line for what it needs next, if that is ours to do."""
        if request.waits_for(PendingReason.REVALIDATION):
            self._chores.append(partial(self._revalidate, request.id))
        elif (
            request.status is Status.APPROVED
            and request.content.execution_mode is ExecutionMode.AUTOMATIC
            and request.progress.executions < self._app.limits.executions_per_request_max
        ):
            self._turns.join(request.slot, request.id)

    def _pump(self) -> None:
        """Starts as much as there is room for, and no turn while the host is held."""
        while self._has_room() and not self._stopping:
            if self._chores:
                self._spawn(self._chores.popleft()())
            elif self._app.standing.allows and (turn := self._turns.take()):
                self._spawn(self._take_turn(*turn))
            else:
                return

    # --- What runs ------------------------------------------------------------------------------

    async def _take_turn(self, slot: Slot, id: RequestId) -> None:
        """Claims the request at the head of its line. What is committed then runs by itself."""
        app = self._app
        try:
            await persistently(app, app.host.capabilities)
            while True:
                request = await persistently(app, app.store.request, id)
                if request is None or request.status is not Status.APPROVED:
                    break
                try:
                    await persistently(app, self._claims.claim, request, GOVERNOR)
                    break
                except StateBusy:
                    await self._yield_turn(slot, id)
                    return
                except HostHeld:
                    self._turns.rejoin(slot, id)
                    break
                except IllegalTransition:
                    break
                except Conflict:
                    continue
        finally:
            self._turns.free(slot, id)
            self._pump()

    async def _yield_turn(self, slot: Slot, id: RequestId) -> None:
        """The state is held by an execution in doubt, whose end will free it: back to the line."""
        tenant, state_type, state_id = slot
        query = ExecutionQuery(
            tenant=tenant,
            state_type=state_type,
            state_id=state_id,
            statuses=tuple(sorted(ACTIVE)),
            limit=1,
        )
        holders = await persistently(self._app, self._app.store.executions, query)
        self._turns.rejoin(slot, id)
        if not holders:
            self._turns.free(slot, id)
            return
        # First say who holds it, then look whether they still do: an end in between is not missed.
        self._turns.occupy(slot, holders[0].id)
        holder = await persistently(self._app, self._app.store.execution, holders[0].id)
        if holder is None or not holder.is_active:
            self._turns.free(slot, holders[0].id)

    async def _look_at_holder(self, id: ExecutionId) -> None:
        self._overtaken.discard(id)  # what is written from here on is looked at again
        execution = await persistently(self._app, self._app.store.execution, id)
        slot = self._turns.held_by(id)
        if slot is not None and (execution is None or not execution.is_active):
            self._turns.free(slot, id)

    async def _carry_out(
        self, request: MutationRequest, execution: Execution, trace: ExecutionTrace
    ) -> None:
        self._hands[execution.id] += 1
        await self._settle(request, execution, trace, Settlement.carry_out)

    async def _settle(
        self,
        request: MutationRequest,
        execution: Execution,
        trace: ExecutionTrace,
        work: Callable[[Settlement], Awaitable[None]],
    ) -> None:
        """Has `work` done on an execution that is in our hands, and lets go of it."""
        has_ended = False
        try:
            settlement = Settlement(
                self._app, request, execution, trace, await self._capabilities()
            )
            await work(settlement)
            has_ended = settlement.execution.status is not ExecutionStatus.RUNNING
        except Exception:
            log.exception(
                "an execution lost its owner and is taken back", extra={"request": request.id}
            )
        finally:
            self._let_go(execution, has_ended=has_ended)

    def _let_go(self, execution: Execution, *, has_ended: bool) -> None:
        self._hands[execution.id] -= 1
        if self._hands[execution.id]:
            return
        del self._hands[execution.id]
        if not has_ended:
            self._spawn(self._take_back(execution))

    async def _take_up(self, id: RequestId, execution_id: ExecutionId) -> None:
        """Recovers what was executing as it was read; it may have ended since, and told nobody who
        knew that it held its state.
        """
        await self._look_at_holder(execution_id)
        await self._recover(id)

    async def _take_back(self, held: Execution) -> None:
        """Recovers what nobody holds any more and nobody has ended.

        That is so after a fault of ours, after a withdrawal that came to nothing, and when a commit
        was not answered and had become durable: then it looks as if somebody else had made it.
        """
        app = self._app
        await app.clock.sleep(app.limits.backoff_seconds_initial)
        execution = await persistently(app, app.store.execution, held.id)
        if execution is not None and execution.status is ExecutionStatus.RUNNING:
            await self._recover(held.request_id)

    async def _outlast(self, id: RequestId, execution_id: ExecutionId) -> None:
        """Recovers an execution whose owner has said nothing more within its lease, nor after the
        longest pause that it may have been making at its end.
        """
        app = self._app
        execution = await persistently(app, app.store.execution, execution_id)
        if execution is None or execution.status is not ExecutionStatus.RUNNING:
            return
        left_us = execution.lease_expires_at - app.clock.now()
        await app.clock.sleep(max(0, left_us) / MICROS + app.limits.backoff_seconds_max)
        await self._recover(id)

    async def _recover(self, id: RequestId) -> None:
        """Settles an execution that has lost its owner, by the look-up and under a higher token.

        Not one that somebody here holds, or another process sees to: they would lose it to us,
        fenced as it may be, and it would be released and executed anew.
        """
        app = self._app
        await app.standing.restoration_looked_at()
        request = await persistently(app, app.store.request, id)
        if request is None or request.status is not Status.EXECUTING:
            return
        execution_id = request.progress.execution_id
        if execution_id in self._hands or not await persistently(app, app.store.owns, id):
            return
        await self._capabilities()
        app.failpoints("recover.before_reclaim")
        try:
            taken = await persistently(
                app, self._claims.take_over, request, actor=GOVERNOR, lease_lost=True
            )
        except Conflict:
            self._spawn(self._recover(id))
            return
        self._hands[taken.execution.id] += 1
        app.failpoints("recover.after_reclaim")
        trace = app.tracing.execution_started(taken.request)
        await self._settle(taken.request, taken.execution, trace, Settlement.look_up_and_settle)

    async def _capabilities(self) -> Capabilities:
        """The host's promises, as soon as it has been reached."""
        known = self._app.host.known_capabilities
        if known is not None:
            return known
        return await persistently(self._app, self._app.host.capabilities)

    async def _revalidate(self, id: RequestId) -> None:
        await persistently(self._app, revalidate, self._app, id)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        if self._stopping:
            work.close()  # the next start takes it up
            return
        task = asyncio.get_running_loop().create_task(work)
        self._running += 1
        self._tasks.add(task)
        task.add_done_callback(self._finished)

    def _finished(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._running -= 1
        if not task.cancelled() and (failure := task.exception()) is not None:
            log.error("an execution task failed; recovery takes it up", exc_info=failure)
        self._pump()
