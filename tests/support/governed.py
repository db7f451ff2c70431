"""The whole application over a real store in a folder and a host in memory, one life after another.

Composed as the composition root does it. Time is the test's: nothing happens by itself, and
`pass_time` brings about, in order, whatever falls due.
"""

import asyncio
import itertools
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from governor.domain.approval import VoteKind
from governor.domain.compensation import CompensationKind
from governor.domain.decision import Category
from governor.domain.digest import plan_digest
from governor.domain.execution import Execution
from governor.domain.request import (
    Content,
    Intent,
    MutationRequest,
    Payload,
    PendingReason,
    Risk,
    RuntimeContext,
    StateRef,
)
from governor.domain.values import Micros, Reason, RequestId, Revision
from governor.storage.open import open_store
from governor.usecases import cancel as canceling
from governor.usecases import compensate as compensating
from governor.usecases import execute as executing
from governor.usecases import resolve as resolving
from governor.usecases import resolve_pending as answering
from governor.usecases import review as reviewing
from governor.usecases import revoke_vote as revoking
from governor.usecases import submit as submitting
from governor.usecases import submit_batch as batching
from governor.usecases import supersede as superseding
from governor.usecases import trust as trusting
from governor.usecases import vote as voting
from governor.usecases.adoption import Adoption
from governor.usecases.app import App, Limits
from governor.usecases.batches import Batches
from governor.usecases.checks import Checking
from governor.usecases.commands import (
    BatchSubmitted,
    Caller,
    Cancel,
    CastVote,
    Changed,
    Compensate,
    Execute,
    ResolveExecution,
    ResolvePending,
    ReviewBreakGlass,
    RevokeVote,
    Submit,
    SubmitBatch,
    Submitted,
    Supersede,
    Trusted,
    TrustHost,
)
from governor.usecases.commits import Entry
from governor.usecases.dependencies import Dependencies
from governor.usecases.execution_manager import ExecutionManager
from governor.usecases.host_standing import Standing
from governor.usecases.tail import Tail
from governor.usecases.timers import Timers
from governor.usecases.trace import Trace, trace_request
from governor.usecases.waiting import Waiters
from tests.support.builders import (
    MICROS_PER_SECOND,
    ManualClock,
    SequentialIds,
    decode_entry,
    encode_entry,
)
from tests.support.people import AUDREY, RITA, TENANT, PlainDirectory, PlainPolicy
from tests.support.recording import RecordingTracing
from tests.support.scripted_checks import ScriptedChecks
from tests.support.scripted_host import ScriptedHost
from tests.support.watched_store import WatchedStore

# Between two calls of store or host, a use case takes a few turns of the loop: a task's start, a
# wake-up, a shield. After so many turns without a call, nobody is about to make one.
_TURNS_TO_BE_SURE = 12
_LEDGER_MAX = 100_000


class CrashError(Exception):
    """What a step meets at a failpoint."""


@dataclass(slots=True)
class _End:
    """Where a step is to end, or the process with it."""

    failpoint: str
    passings_left: int
    is_deadly: bool


class Governed:
    """The sidecar, its callers, and what surrounds it."""

    def __init__(
        self,
        folder: Path,
        limits: Limits,
        host: ScriptedHost,
        *,
        url: str = "",
        beside: "Governed | None" = None,
    ) -> None:
        """On a store of its own in `folder`, or at `url`; `beside` another it shares time, names
        and keys with that one.
        """
        self._url = url or f"sqlite:///{folder}/governor.db"
        self._limits = limits
        self._calls: Iterator[int] = beside._calls if beside else itertools.count(1)
        self._outside: set[asyncio.Task[Any]] = set()
        self.host = host
        self.clock: ManualClock = beside.clock if beside else ManualClock()
        self.ids: SequentialIds = beside.ids if beside else SequentialIds()
        self.policy = PlainPolicy()
        self.directory = PlainDirectory()
        self.tracing = RecordingTracing()
        self.checks: ScriptedChecks = beside.checks if beside else ScriptedChecks()
        self._ends: deque[_End] = deque()
        self.is_dead = asyncio.Event()
        self.app: App
        self.store: WatchedStore
        self.standing: Standing
        self.executions: ExecutionManager
        self.timers: Timers
        self.dependencies: Dependencies
        self.batches: Batches
        self.checking: Checking
        self.adoption: Adoption

    # --- Its lives ------------------------------------------------------------------------------

    async def open(self) -> None:
        """Composes the application over what the store's file holds; nothing is taken up yet."""
        self._outside = asyncio.all_tasks()
        self._loop = asyncio.get_running_loop()
        self.is_dead.clear()
        real = await open_store(
            self._url, encode=encode_entry, failpoints=self._pass_by, migrate=True
        )
        self.store = WatchedStore(real)
        tail = Tail(
            head=self.store.head.revision,
            entries_max=self._limits.tail_entries_max,
            bytes_max=self._limits.tail_bytes_max,
        )
        waiters = Waiters(waiters_max=self._limits.waiters_max)
        self.standing = Standing()
        self.executions, self.timers, self.dependencies, self.checking, self.adoption = (
            ExecutionManager(),
            Timers(),
            Dependencies(),
            Checking(),
            Adoption(),
        )
        self.batches = Batches()
        self.app = App(
            store=self.store,
            host=self.host,
            policy=self.policy,
            directory=self.directory,
            clock=self.clock,
            ids=self.ids,
            tracing=self.tracing,
            executions=self.executions,
            standing=self.standing,
            waiters=waiters,
            tail=tail,
            checks=self.checks,
            limits=self._limits,
            failpoints=self._pass_by,
        )
        self.store.listen(tail.publish)
        self.store.listen(waiters.publish)
        self.standing.attach(self.app)
        self.executions.attach(self.app)
        self.dependencies.attach(self.app)
        self.batches.attach(self.app)
        self.checking.attach(self.app)
        self.timers.attach(self.app)
        self.adoption.attach(
            self.app,
            self.executions.take_up,
            self.dependencies.take_up,
            self.batches.take_up,
            self.checking.take_up,
        )

    async def start(self) -> None:
        """Takes up what a former life left."""
        await self.standing.start()
        await self.adoption.start()
        if self.host.is_reachable:
            await self.host.capabilities()

    async def freeze(self) -> None:
        """Dies beside others that live on: whatever it was doing, it never goes on."""
        self._die()
        await self.is_dead.wait()
        await self.store.at_rest()

    async def close(self) -> None:
        """Goes down as it should, or is tidied away."""
        if not self.store.is_dead:
            await self.quiet()
        self.app.tail.close()
        await self.adoption.stop()
        await self.timers.stop()
        await self.checking.stop()
        await self.dependencies.stop()
        await self.batches.stop()
        await self.executions.drain(0)
        await self.standing.stop()
        await self.store.close()

    async def crash(self) -> None:
        """Dies where it stands; nothing is finished, and nobody is told."""
        self._die()
        await self.is_dead.wait()
        await self.store.at_rest()
        while running := asyncio.all_tasks() - self._outside - {asyncio.current_task()}:
            for task in running:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)
        await self.store.close()
        self.host.forget_sidecar()

    async def restart(self) -> None:
        """A crash, and the next life."""
        await self.crash()
        await self.open()
        await self.start()

    def die_at(self, failpoint: str, *, passing: int = 1) -> None:
        """The process dies where it passes that place; after an earlier death, in that life."""
        self._ends.append(_End(failpoint, passing, is_deadly=True))

    def fail_at(self, failpoint: str, *, passing: int = 1) -> None:
        """The step is to fail there, and the process to live on."""
        self._ends.append(_End(failpoint, passing, is_deadly=False))

    def forget_ends(self) -> None:
        """Nothing is to fail any more, and nobody to die."""
        self._ends.clear()

    async def unless_it_dies(self, doing: Coroutine[Any, Any, object]) -> None:
        """Returns when something is done, or the process has died, which nobody is told."""
        task, dying = asyncio.ensure_future(doing), asyncio.ensure_future(self.is_dead.wait())
        await asyncio.wait((task, dying), return_when=asyncio.FIRST_COMPLETED)
        dying.cancel()
        if not self.is_dead.is_set():
            await task

    def _pass_by(self, name: str) -> None:
        if not self._ends or self._ends[0].failpoint != name:
            return
        end = self._ends[0]
        end.passings_left -= 1
        if end.passings_left:
            return
        self._ends.popleft()
        if end.is_deadly:
            self._die()
        if end.is_deadly and not name.startswith("store."):
            raise asyncio.CancelledError
        raise CrashError(name)  # in the store: its thread goes on to be closed

    def _die(self) -> None:
        """Once per life; the next one must not be told of it."""
        if not self.store.is_dead:
            self.store.is_dead = True
            self._loop.call_soon_threadsafe(self.is_dead.set)

    # --- Time -----------------------------------------------------------------------------------

    async def quiet(self) -> None:
        """Returns when nothing more happens unless time passes, somebody acts or the host does."""
        turns = 0
        while turns < _TURNS_TO_BE_SURE:
            if self.store.on_their_way and not self.store.is_dead:
                await self.store.at_rest()
                turns = 0
            await asyncio.sleep(0)
            turns += 1

    async def pass_time(self, seconds: float) -> None:
        """Time passes: sleepers wake and timers fire in their order, each at its moment.

        A process that dies meanwhile stays in that moment.
        """
        await self.unless_it_dies(self._pass_time(seconds))

    async def _pass_time(self, seconds: float) -> None:
        end = Micros(self.clock.now() + round(seconds * MICROS_PER_SECOND))
        await self.quiet()
        while (moment := await self._next_moment()) is not None and moment <= end:
            await self._reach(moment)
        await self._reach(end)

    async def _next_moment(self) -> Micros | None:
        due_at = await self.timers.next_moment()
        moments = [
            max(moment, self.clock.now())
            for moment in (self.clock.next_wake, due_at)
            if moment is not None
        ]
        return min(moments, default=None)

    async def _reach(self, moment: Micros) -> None:
        self.clock.advance((moment - self.clock.now()) / MICROS_PER_SECOND)
        await self.timers.run_due()
        await self.quiet()

    # --- What callers do ------------------------------------------------------------------------

    async def submit_batch(
        self, *members: Content, actor: str = RITA, key: str | None = None, **options: Any
    ) -> BatchSubmitted:
        """The whole answer. `options` are fields of the command."""
        command = SubmitBatch(request_id=key or self.next_key(), members=members, **options)
        return await batching.submit_batch(self.app, Caller(actor=actor), command)

    async def submit(self, actor: str = RITA, **fields: Any) -> MutationRequest:
        """The request as the answer shows it."""
        return (await self.submitted(actor, **fields)).request

    async def submitted(
        self, actor: str = RITA, *, key: str | None = None, **fields: Any
    ) -> Submitted:
        """The whole answer. `fields` are those of the command, or else of its content."""
        names = ("break_glass", "expires_at", "validate_only", "wait_seconds")
        options = {name: fields.pop(name) for name in names if name in fields}
        command = Submit(
            request_id=key or self.next_key(), content=content(actor, **fields), **options
        )
        return await submitting.submit(self.app, caller(actor), command)

    async def vote(
        self,
        voter: str,
        request: MutationRequest,
        kind: VoteKind = VoteKind.APPROVE,
        *,
        key: str | None = None,
        **options: Any,
    ) -> Changed:
        """Votes on what `request` shows."""
        command = CastVote(
            request_id=key or self.next_key(),
            id=request.id,
            kind=kind,
            digest=request.progress.digest,
            **{"plan_digest": plan_digest_of(request)} | options,
        )
        return await voting.vote(self.app, caller(voter), command)

    async def approve(self, voter: str, request: MutationRequest) -> MutationRequest:
        return (await self.vote(voter, request)).request

    async def reject(self, voter: str, request: MutationRequest) -> MutationRequest:
        return (await self.vote(voter, request, VoteKind.REJECT)).request

    async def revoke(
        self, actor: str, request: MutationRequest, *, key: str | None = None, **options: Any
    ) -> MutationRequest:
        """Takes the actor's vote back."""
        command = RevokeVote(
            request_id=key or self.next_key(),
            id=request.id,
            **{"reason": Reason(code="ON_SECOND_THOUGHT")} | options,
        )
        return (await revoking.revoke_vote(self.app, caller(actor), command)).request

    async def answer_gate(
        self,
        actor: str,
        request: MutationRequest,
        name: str,
        *,
        passed: bool = True,
        key: str | None = None,
        **options: Any,
    ) -> MutationRequest:
        """Answers the check, quota or review of that name that `request` waits for."""
        reasons = [one.reason for one in request.progress.pending if one.name == name]
        plain = ResolvePending(
            request_id=key or self.next_key(),
            id=request.id,
            reason=reasons[0] if reasons else PendingReason.EXTERNAL_CHECK,
            name=name,
            digest=request.progress.digest,
            passed=passed,
            finding=Reason(code="LOOKED", message="looked"),
        )
        command = plain.but(**options)
        return (await answering.resolve_pending(self.app, caller(actor), command)).request

    async def review(
        self,
        reviewer: str,
        request: MutationRequest,
        *,
        key: str | None = None,
        **options: Any,
    ) -> Changed:
        """Reviews the emergency that `request` shows; justified unless `options` say otherwise."""
        said: dict[str, Any] = {
            "digest": request.progress.digest,
            "justified": True,
            "reason": Reason(code="REAL", message="it was on fire"),
        }
        command = ReviewBreakGlass(
            request_id=key or self.next_key(), id=request.id, **said | options
        )
        return await reviewing.review_break_glass(self.app, caller(reviewer), command)

    async def cancel(
        self, actor: str, request: MutationRequest, *, key: str | None = None, **options: Any
    ) -> MutationRequest:
        command = Cancel(request_id=key or self.next_key(), id=request.id, **options)
        return (await canceling.cancel(self.app, caller(actor), command)).request

    async def supersede(
        self,
        actor: str,
        request: MutationRequest,
        *,
        key: str | None = None,
        etag: str = "",
        **fields: Any,
    ) -> Changed:
        """Replaces `request`; `fields` are those of the new content."""
        command = Supersede(
            request_id=key or self.next_key(),
            id=request.id,
            content=content(actor, **{"state": request.state, **fields}),
            etag=etag,
        )
        return await superseding.supersede(self.app, caller(actor), command)

    async def execute(
        self, actor: str, request: MutationRequest, *, key: str | None = None, **options: Any
    ) -> Changed:
        command = Execute(request_id=key or self.next_key(), id=request.id, **options)
        return await executing.execute(self.app, caller(actor), command)

    async def resolve(
        self,
        actor: str,
        execution: Execution,
        resulting_version: str | None,
        *,
        key: str | None = None,
        **options: Any,
    ) -> Changed:
        command = ResolveExecution(
            request_id=key or self.next_key(),
            execution_id=execution.id,
            resulting_version=resulting_version,
            reason=Reason(code="LOOKED"),
            **options,
        )
        return await resolving.resolve_execution(self.app, caller(actor), command)

    async def compensate(
        self,
        actor: str,
        request: MutationRequest,
        kind: CompensationKind = CompensationKind.ROLLBACK,
        *,
        key: str | None = None,
        **options: Any,
    ) -> MutationRequest:
        """Asks for `request` to be made good."""
        said: dict[str, Any] = {"reason": Reason(code="WRONG", message="it was wrong")}
        command = Compensate(
            request_id=key or self.next_key(), id=request.id, kind=kind, **said | options
        )
        return (await compensating.compensate(self.app, caller(actor), command)).request

    async def trace(self, request: MutationRequest, requests_max: int = 50) -> Trace:
        """What hangs together with `request`, as an auditor sees it."""
        return await trace_request(
            self.app, caller(AUDREY), request.id, requests_max=requests_max, min_revision=0
        )

    async def trust(self, actor: str, lineage_id: str, *, key: str | None = None) -> Trusted:
        """Says that somebody has looked at the host."""
        command = TrustHost(
            request_id=key or self.next_key(),
            tenant=TENANT,
            lineage_id=lineage_id,
            reason=Reason(code="LOOKED"),
        )
        return await trusting.trust_host(self.app, caller(actor), command)

    def next_key(self) -> str:
        """An idempotency key that nobody used."""
        return f"call-{next(self._calls)}"

    # --- What stands ----------------------------------------------------------------------------

    async def now(self, request: MutationRequest) -> MutationRequest:
        """The request as it stands by now."""
        found = await self.store.request(request.id)
        assert found is not None
        return found

    async def executions_of(self, request: MutationRequest) -> tuple[Execution, ...]:
        """Its executions, oldest first."""
        return await self.store.executions_of(request.id)

    async def execution_of(self, request: MutationRequest) -> Execution:
        """Its latest execution."""
        return (await self.executions_of(request))[-1]

    async def ledger(self, after: int = 0) -> list[Entry]:
        """All entries, oldest first."""
        stored = await self.store.entries(after=Revision(after), limit=_LEDGER_MAX)
        return [decode_entry(entry.data) for entry in stored]

    async def about_the_host(self) -> list[str]:
        """The decisions about the host, as `code REASON`."""
        return [
            f"{entry.decision.code.text} {entry.decision.reason.code}"
            for entry in await self.ledger()
            if entry.decision.code.category is Category.HOST and entry.decision.reason
        ]

    async def history(self, request: MutationRequest | RequestId) -> list[str]:
        """The decisions about a request, as `CATEGORY code`."""
        id = request.id if isinstance(request, MutationRequest) else request
        return [
            f"{entry.decision.code.category} {entry.decision.code.text}"
            for entry in await self.ledger()
            if entry.decision.request_id == id
        ]

    async def changes_nothing(self, call: Awaitable[object], refusal: type[Exception]) -> Exception:
        """Awaits a call that must be refused and must leave the ledger as it was."""
        before = self.store.head
        try:
            await call
        except refusal as refused:
            assert self.store.head == before, "a refused call has written"
            return refused
        raise AssertionError(f"the call was not refused with {refusal.__name__}")


@asynccontextmanager
async def governed(
    folder: Path,
    *,
    limits: Limits | None = None,
    host: ScriptedHost | None = None,
    prepare: Callable[[Governed], object] = lambda _: None,
) -> AsyncIterator[Governed]:
    """A running application, closed at the end; `prepare` sees it before it is opened."""
    sidecar = Governed(folder, limits or Limits(), host or ScriptedHost())
    prepare(sidecar)
    await sidecar.open()
    try:
        await sidecar.start()
        yield sidecar
    finally:
        if sidecar.is_dead.is_set():
            await sidecar.crash()
        else:
            await sidecar.close()


def plan_digest_of(request: MutationRequest) -> bytes:
    """The plan that a voter sees in the request; nothing where there is none."""
    approval = request.progress.approval
    return plan_digest(approval.plan, approval.round) if approval is not None else b""


def caller(actor: str) -> Caller:
    return Caller(actor=actor, traceparent=f"00-{actor}")


def content(actor: str = RITA, **changes: Any) -> Content:
    """A low-risk change of the flag `checkout`, or of the state called `flag`."""
    state = changes.pop("state", StateRef(type="flag", id=changes.pop("flag", "checkout")))
    plain = Content(
        context=RuntimeContext(tenant=changes.pop("tenant", TENANT), actor=actor),
        mutation_type="flag.set",
        state=state,
        payload=Payload(content_type="application/json", data=b'{"on":true}'),
        intent=Intent(risk=changes.pop("risk", Risk.LOW)),
    )
    return plain.but(**changes)
