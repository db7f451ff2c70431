"""A host in memory that keeps what it promises, and whose calls go wrong as a test says."""

import asyncio
from collections import Counter, deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import Enum, StrEnum

from governor.domain.compensation import Compensation
from governor.domain.errors import HostUnavailable
from governor.domain.execution import (
    Applied,
    ApplyAnswer,
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
from governor.domain.request import MutationRequest, Reversibility, Slot, StateRef
from governor.domain.values import ExecutionId, Micros, Reason, RequestId
from governor.usecases.ports import Capabilities, HostCondition, Order, Validation

EXACTLY_ONCE = Capabilities(contract_version="governance.v1", exactly_once=True)
COMPARING = EXACTLY_ONCE.but(compare_and_apply=True)
AT_MOST_ONCE = Capabilities(contract_version="governance.v1")
UNDOING = COMPARING.but(rollback=True)

UNHEARD = InDoubt(reason=Reason(code="UNAVAILABLE", message="the host does not answer"))
BUSY = Busy(reason=Reason(code="ABORTED", message="come again"))
NOT_ANNOUNCED = Busy(reason=Reason(code="ROLLBACK_NOT_ANNOUNCED"))
"""What the client of a host that does not take changes back says in its place."""
NO = Refused(reason=Reason(code="NO_SUCH_FLAG", message="there is no such flag"))


class Loss(Enum):
    """How a call can go wrong on its way. The caller hears nothing in any case."""

    ORDER = "it never arrives"
    ANSWER = "it is carried out, and the answer is lost"
    DELAY = "it arrives when `deliver` is called"
    SILENCE = "it never arrives, and the caller waits until the gate `deadlines` is opened"


class Kind(StrEnum):
    """What was called."""

    APPLY = "APPLY"
    LOOKUP = "LOOKUP"
    FENCE = "FENCE"


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One call as it was sent, also where it never arrived."""

    kind: Kind
    execution_id: ExecutionId
    fencing_token: int
    traceparent: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Effect:
    """One change that was really made."""

    execution_id: ExecutionId
    request_id: RequestId
    slot: Slot
    digest: bytes
    payload: bytes
    approvers: tuple[str, ...]
    version: str
    # What it takes back or puts right, if anything.
    compensation: Compensation | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """What a state held before an execution changed it; None: there was no such state."""

    slot: Slot
    mutation_type: str
    before: bytes | None


@dataclass(slots=True)
class Record:
    """What the host remembers of one execution."""

    fencing_token: int = 0
    tombstone: bool = False
    digest: bytes = b""
    outcome: Outcome | None = None


class Gate:
    """A place that calls pass, and wait at while it is shut."""

    def __init__(self, *, is_open: bool = True) -> None:
        self._open = asyncio.Event()
        self.waiting = 0
        if is_open:
            self.open()

    def shut(self) -> None:
        self._open.clear()

    def open(self) -> None:
        self._open.set()

    async def passed(self) -> None:
        self.waiting += 1
        try:
            await self._open.wait()
        finally:
            self.waiting -= 1


Turn = Loss | ApplyAnswer | LookupAnswer


@dataclass(slots=True)
class ScriptedHost:
    """Implements governor.usecases.ports.Host.

    Each call that arrives takes the next turn of `script`: a Loss, or an answer that is given as it
    stands and for which the host does nothing. Without a turn the host does what it promises. Calls
    of a kind in `deaf_to` never arrive.
    `effects` is the oracle: all that was ever really changed. `heard` is what callers were told.

    With `rollback` among its promises it gives an undo token with each change, but of types that it
    announces as COMPENSABLE or IRREVERSIBLE, and restores what `values` held before.
    """

    promises: Capabilities = COMPARING
    is_reachable: bool = True
    refusal: Refused | None = None
    refused_ids: set[str] = field(default_factory=set)
    violations: tuple[Reason, ...] = ()
    script: deque[Turn | None] = field(default_factory=deque)
    deaf_to: set[Kind] = field(default_factory=set)
    calls: list[Call] = field(default_factory=list)
    heard: list[LookupAnswer] = field(default_factory=list)
    effects: list[Effect] = field(default_factory=list)
    records: dict[ExecutionId, Record] = field(default_factory=dict)
    values: dict[Slot, bytes | None] = field(default_factory=dict)
    images: dict[ExecutionId, Image | None] = field(default_factory=dict)
    undo_expires_at: Micros | None = None
    orders: Gate = field(default_factory=Gate)
    answers: Gate = field(default_factory=Gate)
    deadlines: Gate = field(default_factory=lambda: Gate(is_open=False))
    applying: Counter[Slot] = field(default_factory=Counter)
    applying_max: int = 0
    applying_per_state_max: int = 0
    condition: HostCondition = field(default_factory=HostCondition)
    _listeners: list[Callable[[Capabilities], None]] = field(default_factory=list)
    _known: Capabilities | None = None
    _versions: Counter[Slot] = field(default_factory=Counter)
    _delayed: list[Callable[[], object]] = field(default_factory=list)

    # --- What a test does -----------------------------------------------------------------------

    def touch(self, slot: Slot) -> str:
        """Changes a state behind Governor's back; answers its new version."""
        self._versions[slot] += 1
        return self.version(slot)

    def version(self, slot: Slot) -> str:
        """The state's version; empty while there is no such state."""
        return str(self._versions[slot] or "")

    def forget_image(self, execution_id: ExecutionId) -> None:
        """From now on, what this execution has changed cannot be taken back any more."""
        self.images[execution_id] = None

    def deliver(self) -> None:
        """Everything that was delayed arrives now, in the order in which it was sent."""
        delayed, self._delayed = self._delayed, []
        for arrive in delayed:
            arrive()

    def sent(self, kind: Kind) -> list[Call]:
        """The calls of one kind, in order."""
        return [call for call in self.calls if call.kind is kind]

    def forget_sidecar(self) -> None:
        """A new sidecar has not asked for the promises yet."""
        self._known = None
        self._listeners.clear()

    # --- The port -------------------------------------------------------------------------------

    async def capabilities(self) -> Capabilities:
        self._reach()
        if self._known != self.promises:
            self._known = self.promises
            for listener in self._listeners:
                listener(self.promises)
        return self.promises

    def listen(self, listener: Callable[[Capabilities], None]) -> None:
        self._listeners.append(listener)

    @property
    def known_capabilities(self) -> Capabilities | None:
        return self._known

    async def state_version(self, tenant: str, state: StateRef) -> str:
        self._reach()
        return self.version((tenant, state.type, state.id))

    async def validate(self, request: MutationRequest) -> Validation:
        self._reach()
        found = None if self._understands(request) else NOT_ANNOUNCED.reason
        if found is None and isinstance(after := self._after(request), Refused):
            found = after.reason
        return Validation(
            violations=(*self.violations, *((found,) if found else ())),
            current_version=self.version(request.slot),
        )

    async def apply(self, order: Order, *, traceparent: str) -> ApplyAnswer:
        if not self._understands(order.request):
            return NOT_ANNOUNCED
        self._note(Kind.APPLY, order.execution, traceparent)
        with self._counted(order.execution.slot):
            answer = await self._take(Kind.APPLY, lambda: self._apply(order))
        assert not isinstance(answer, NotSeen), "no host answers an order with not seen"
        return answer

    async def lookup(self, execution: Execution, *, fence: bool, traceparent: str) -> LookupAnswer:
        kind = Kind.FENCE if fence else Kind.LOOKUP
        self._note(kind, execution, traceparent)
        return await self._take(kind, lambda: self._lookup(execution, fence))

    # --- The way there and back -----------------------------------------------------------------

    def _reach(self) -> None:
        if not self.is_reachable:
            raise HostUnavailable("the host does not answer")

    def _note(self, kind: Kind, execution: Execution, traceparent: str) -> None:
        self.calls.append(
            Call(
                kind=kind,
                execution_id=execution.id,
                fencing_token=execution.fencing_token,
                traceparent=traceparent,
            )
        )

    @contextmanager
    def _counted(self, slot: Slot) -> Iterator[None]:
        self.applying[slot] += 1
        self.applying_max = max(self.applying_max, self.applying.total())
        self.applying_per_state_max = max(self.applying_per_state_max, self.applying[slot])
        try:
            yield
        finally:
            self.applying[slot] -= 1

    async def _take(self, kind: Kind, handle: Callable[[], LookupAnswer]) -> LookupAnswer:
        if not self.is_reachable or kind in self.deaf_to:
            return UNHEARD
        await self.orders.passed()
        turn = self.script.popleft() if self.script else None
        if turn is Loss.SILENCE:
            await self.deadlines.passed()
        answer = self._answer(turn, handle)
        await self.answers.passed()
        self.heard.append(answer)
        return answer

    def _answer(self, turn: Turn | None, handle: Callable[[], LookupAnswer]) -> LookupAnswer:
        match turn:
            case None:
                return handle()
            case Loss.ORDER | Loss.SILENCE:
                return UNHEARD
            case Loss.ANSWER:
                handle()
                return UNHEARD
            case Loss.DELAY:
                self._delayed.append(handle)
                return UNHEARD
            case _:
                return turn

    # --- The promises ---------------------------------------------------------------------------

    def _apply(self, order: Order) -> ApplyAnswer:
        execution = order.execution
        if not self.promises.exactly_once:
            return self._conclude(order)
        record = self.records.setdefault(execution.id, Record())
        if execution.fencing_token < record.fencing_token or record.tombstone:
            return Fenced()
        record.fencing_token = execution.fencing_token
        if record.outcome is None:
            record.outcome, record.digest = self._conclude(order), execution.digest
        elif record.digest != execution.digest:
            return Refused(reason=Reason(code="EXECUTION_DIGEST_MISMATCH"))
        return record.outcome

    def _lookup(self, execution: Execution, fence: bool) -> LookupAnswer:
        if not self.promises.exactly_once:
            return NotSeen(fenced=fence)  # it remembers nothing, so it has never seen anything
        record = self.records.setdefault(execution.id, Record())
        if execution.fencing_token < record.fencing_token:
            return Fenced()
        record.fencing_token = execution.fencing_token
        if record.outcome is not None:
            return record.outcome
        record.tombstone = record.tombstone or fence
        return NotSeen(fenced=record.tombstone)

    def _conclude(self, order: Order) -> Outcome:
        if self.refusal is not None:
            return self.refusal
        if order.execution.state.id in self.refused_ids:
            return NO
        execution, slot, content = order.execution, order.execution.slot, order.request.content
        value = self._after(order.request)
        if isinstance(value, Refused):
            return value
        before = self.version(slot)
        if self.promises.compare_and_apply and execution.expected_version not in (None, before):
            return VersionMismatch(current_version=before)
        undo_token = b""
        if self._can_undo(content.mutation_type):
            undo_token = undo_token_of(execution.id)
            self.images[execution.id] = Image(
                slot=slot, mutation_type=content.mutation_type, before=self.values.get(slot)
            )
        self.values[slot] = value
        after = self.touch(slot)
        self.effects.append(
            Effect(
                execution_id=execution.id,
                request_id=execution.request_id,
                slot=slot,
                digest=execution.digest,
                payload=content.payload.data,
                approvers=order.approvers,
                version=after,
                compensation=content.compensation,
            )
        )
        return Applied(
            resulting_version=after,
            previous_version=before,
            undo_token=undo_token,
            undo_expires_at=self.undo_expires_at if undo_token else None,
        )

    # --- Taking back ----------------------------------------------------------------------------

    def _understands(self, request: MutationRequest) -> bool:
        compensation = request.content.compensation
        return self.promises.rollback or compensation is None or not compensation.is_rollback

    def _can_undo(self, mutation_type: str) -> bool:
        return self.promises.rollback and self.promises.reversibility.get(mutation_type) not in (
            Reversibility.COMPENSABLE,
            Reversibility.IRREVERSIBLE,
        )

    def _after(self, request: MutationRequest) -> bytes | Refused | None:
        """What the state will hold: the payload, or what was there before; or why not."""
        content = request.content
        compensation = content.compensation
        if compensation is None or not compensation.is_rollback:
            return content.payload.data
        execution_id = compensation.execution_id
        if not self._can_undo(content.mutation_type):
            return _refused("NOT_REVERSIBLE")
        if execution_id not in self.images:
            return _refused("UNKNOWN_EXECUTION")
        if compensation.undo_token != undo_token_of(execution_id):
            return _refused("UNKNOWN_EXECUTION")
        image = self.images[execution_id]
        if image is None:
            return _refused("UNDO_EXPIRED")
        if (image.slot, image.mutation_type) != (request.slot, content.mutation_type):
            return _refused("UNKNOWN_EXECUTION")
        return image.before


def undo_token_of(execution_id: ExecutionId) -> bytes:
    """The token that the host gives with an execution."""
    return b"undo " + execution_id.encode()


def _refused(code: str) -> Refused:
    return Refused(reason=Reason(code=code))
