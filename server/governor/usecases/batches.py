"""Conducting batches: what follows for a batch whenever one of its members has ended.

A batch is claimed like any request, but its execution is never ordered from the host and takes no
room among those that are: it is the sequence of its members' executions. Each step is one commit
that rests on the revision of the batch, and follows from what is stored alone, so that it is taken
once, whoever takes it and however often anybody dies over it.
"""

import asyncio
import logging
from collections.abc import Sequence

from governor.domain.batches import (
    Conducted,
    conducted,
    given_up,
    next_to_undo,
    not_put_right,
    put_right,
    spec_of,
    undone,
)
from governor.domain.decision import Category
from governor.domain.errors import Conflict, IllegalTransition
from governor.domain.execution import Execution
from governor.domain.request import MutationRequest, PendingReason, Status
from governor.domain.values import GOVERNOR, ExecutionId, Reason, RequestId
from governor.usecases.app import App
from governor.usecases.batch_ends import batch_id_of, members_of
from governor.usecases.batch_undo import taken_back
from governor.usecases.claiming import Claims
from governor.usecases.commits import Batch, Commit
from governor.usecases.patience import persistently
from governor.usecases.ports import ExecutionTrace

log = logging.getLogger(__name__)


class Batches:
    """Which batches are conducted here. Learns of it from the store, and from what is adopted.

    One task looks at one batch after another. What is remembered is bounded by the members of the
    batches that are executed, each BATCH_MEMBERS_MAX at most.
    """

    def __init__(self) -> None:
        self._app: App
        self._claims: Claims
        self._watched: dict[RequestId, set[RequestId]] = {}
        self._batch_of: dict[RequestId, RequestId] = {}
        self._traces: dict[ExecutionId, ExecutionTrace] = {}
        # In the order in which they are to be looked at, each once.
        self._to_look_at: dict[RequestId, None] = {}
        self._task: asyncio.Task[None] | None = None

    def attach(self, app: App) -> None:
        """Ties it to its application and begins to listen to the store."""
        self._app = app
        self._claims = Claims(app)
        app.store.listen(self._notice)

    def take_up(self, requests: Sequence[MutationRequest]) -> None:
        """Goes on with every batch that somebody else conducted before."""
        for request in requests:
            if request.is_batch:
                self._notice_batch(request)

    async def stop(self) -> None:
        """Leaves the rest for the next start."""
        self._to_look_at.clear()
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    @property
    def conducted_now(self) -> frozenset[RequestId]:
        """The batches that are conducted here."""
        return frozenset(self._watched)

    # --- What the store says --------------------------------------------------------------------

    def _notice(self, batch: Batch) -> None:
        if not batch.commits:
            self._notice_entries(batch)
        for commit in batch.commits:
            if commit.replayed:
                continue
            for request in commit.requests:
                if request.is_batch:
                    self._notice_batch(request)
                elif request.content.batch is not None and request.is_terminal:
                    self._look_at(request.content.batch.batch_id)

    def _notice_batch(self, batch: MutationRequest) -> None:
        if batch.status in (Status.APPROVED, Status.EXECUTING):
            self._watch(batch.id, spec_of(batch).member_ids)
            self._look_at(batch.id)
        else:
            self._forget(batch.id)

    def _notice_entries(self, batch: Batch) -> None:
        """What another process has changed is read again, if it belongs to a batch of ours."""
        for entry in batch.entries if self._watched else ():
            if entry.category is Category.LIFECYCLE:
                id = self._batch_of.get(entry.request_id, entry.request_id)
                if id in self._watched:
                    self._look_at(id)

    def _watch(self, id: RequestId, members: Sequence[RequestId]) -> None:
        self._watched.setdefault(id, set()).update(members)
        for member in members:
            self._batch_of[member] = id

    def _forget(self, id: RequestId) -> None:
        for member in self._watched.pop(id, ()):
            self._batch_of.pop(member, None)

    # --- Looking --------------------------------------------------------------------------------

    def _look_at(self, id: RequestId) -> None:
        self._to_look_at[id] = None
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._run())

    async def _run(self) -> None:
        while self._to_look_at:
            id = next(iter(self._to_look_at))
            del self._to_look_at[id]
            try:
                while await self._go_on(id):
                    pass
            except Exception:
                log.exception("a batch could not be looked at", extra={"request": id})

    async def _go_on(self, id: RequestId) -> bool:
        """Takes the next step of a batch, if there is one; answers whether to look again."""
        batch = await persistently(self._app, self._app.store.request, id)
        if batch is None or not batch.is_batch or batch.is_terminal:
            self._forget(id)
            return False
        try:
            match batch.status:
                case Status.PENDING:
                    return await self._give_up(batch)
                case Status.APPROVED:
                    return await self._begin(batch)
                case _:
                    return await self._conduct(batch)
        except Conflict:
            return True

    async def _give_up(self, batch: MutationRequest) -> bool:
        if not batch.waits_for(PendingReason.AUDIT):
            members = await persistently(self._app, members_of, self._app, batch)
            step = given_up(batch, members, self._app.clock.now())
            if step is not None:
                await self._commit(step)
        return False

    async def _begin(self, batch: MutationRequest) -> bool:
        """Claims it. Time may have run out on it, or its window be closed: then it waits again."""
        self._app.failpoints("batch.before_claim")
        try:
            claimed = await persistently(self._app, self._claims.claim, batch, GOVERNOR)
        except IllegalTransition:
            return False  # its time is over, which the timers say
        for execution in claimed.executions:
            trace = self._claims.trace_of(execution.id)
            if trace is not None:
                self._traces[execution.id] = trace
        self._app.failpoints("batch.after_claim")
        return claimed.requests[0].status is not Status.PENDING

    async def _conduct(self, batch: MutationRequest) -> bool:
        app, id = self._app, batch.progress.execution_id
        execution = await persistently(app, app.store.execution, id) if id is not None else None
        if execution is None:
            raise Conflict(f"the batch {batch.id} has no execution")
        members = await persistently(app, members_of, app, batch)
        step = conducted(batch, execution, members, app.clock.now())
        if step is None and all(member.is_terminal for member in members):
            step = await persistently(app, self._put_right, batch, execution, members)
        if step is None:
            return False
        await self._commit(step)
        return True

    async def _put_right(
        self, batch: MutationRequest, execution: Execution, members: Sequence[MutationRequest]
    ) -> Conducted | None:
        """The next step of the plan by which what was applied is taken back. None: nothing yet.

        Where it stands is read off the members alone: each names the request that takes it back.
        """
        app, id = self._app, next_to_undo(batch)
        now = app.clock.now()
        if id is None:
            return undone(batch, execution, now)
        member = next(one for one in members if one.id == id)
        asked = member.progress.compensation_id
        rollback = await app.store.request(asked) if asked is not None else None
        if rollback is not None and rollback.status is Status.EXECUTED:
            return put_right(batch, id, now)
        if rollback is not None and not rollback.is_terminal:
            self._watch(batch.id, (rollback.id,))
            return None
        if rollback is not None and batch_id_of(rollback) == batch.id:
            why = rollback.progress.status_reason or Reason(code=rollback.status.value)
            return not_put_right(batch, execution, id, why, now)
        answer = await taken_back(app, batch, member)
        if isinstance(answer, Reason):
            return not_put_right(batch, execution, id, answer, now)
        return answer

    async def _commit(self, step: Conducted) -> None:
        app = self._app
        executions = (step.execution,) if step.execution is not None else ()
        commit = Commit(requests=step.requests, executions=executions, decisions=step.decisions)
        app.failpoints("batch.before_step")
        committed = await persistently(app, app.store.commit, commit)
        for execution in committed.executions:
            trace = self._traces.pop(execution.id, None)
            if trace is not None:
                trace.finish(execution)
        app.failpoints("batch.after_step")
