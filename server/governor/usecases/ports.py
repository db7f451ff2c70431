"""What the use cases need from the world: the protocols that adapters implement."""

from collections.abc import Callable
from enum import StrEnum
from typing import Protocol

from governor.domain.approval import Target
from governor.domain.decision import Decision
from governor.domain.execution import (
    ApplyAnswer,
    Change,
    Execution,
    LookupAnswer,
)
from governor.domain.host_standing import HostStanding
from governor.domain.policy import Facts, Verdict
from governor.domain.request import (
    MutationRequest,
    Reversibility,
    StateRef,
)
from governor.domain.values import (
    AuditId,
    ExecutionId,
    Identity,
    Micros,
    Reason,
    RequestId,
    Revision,
    Value,
)
from governor.usecases.commits import Batch, Commit, Committed, Head, IdempotencyKey, StoredEntry
from governor.usecases.questions import (
    DecisionFilter,
    Due,
    ExecutionQuery,
    RequestCounts,
    RequestQuery,
)

# --- The store ----------------------------------------------------------------------------------


class Store(Protocol):
    """The durable state. Every method may raise StoreUnavailable; no driver text ever leaves it."""

    async def commit(self, commit: Commit) -> Committed:
        """Makes `commit` durable, together with whatever else is queued; on disk on return.

        Raises Conflict (a revision or guard no longer holds), StateBusy (another execution is
        active on the state), RequestIdReused (the key has another fingerprint), Overloaded (the
        queue is full). A key that is known with this fingerprint answers as before, `replayed`. A
        caller's cancellation does not cancel the commit.
        """
        ...

    async def replay(self, key: IdempotencyKey) -> Committed | None:
        """The earlier answer under `key`, if any. Raises RequestIdReused."""
        ...

    async def request(self, id: RequestId) -> MutationRequest | None:
        """The request as last committed, or None."""
        ...

    async def execution(self, id: ExecutionId) -> Execution | None:
        """The execution as last committed, or None."""
        ...

    async def executions_of(self, id: RequestId) -> tuple[Execution, ...]:
        """The executions of a request, oldest first."""
        ...

    async def requests(self, query: RequestQuery) -> tuple[MutationRequest, ...]:
        """A page of requests, newest first, their payloads' data left empty."""
        ...

    async def executions(self, query: ExecutionQuery) -> tuple[Execution, ...]:
        """A page of executions, newest first."""
        ...

    async def entries(
        self, *, after: Revision, limit: int, filter: DecisionFilter | None = None
    ) -> tuple[StoredEntry, ...]:
        """Entries after a revision, oldest first; without a filter there are no gaps."""
        ...

    async def newest_entries(
        self, *, before: Revision | None, limit: int, filter: DecisionFilter
    ) -> tuple[StoredEntry, ...]:
        """Entries before a revision, or from the end of the ledger, newest first."""
        ...

    async def host_standing(self) -> HostStanding:
        """Whether the host is trusted, as last committed."""
        ...

    async def due(self, *, until: Micros, limit: int, after: Due | None = None) -> tuple[Due, ...]:
        """Requests whose due_at is not later than `until`, earliest first; a page of them, which
        begins after the place `after` in that order.
        """
        ...

    async def next_due(self) -> Micros | None:
        """The earliest due_at there is."""
        ...

    async def overdue_reviews(
        self, tenant: str, *, requester: str, until: Micros, limit: int
    ) -> tuple[MutationRequest, ...]:
        """A person's requests whose review is still owed and was due by `until`, longest due first,
        their payloads' data left empty.
        """
        ...

    async def request_counts(self, tenant: str, *, now: Micros) -> RequestCounts:
        """How many requests of a tenant stand where, all as of one moment."""
        ...

    async def adopt(self, *, limit: int) -> tuple[MutationRequest, ...]:
        """Takes over unfinished requests that no living process sees to, and answers them.

        Unfinished are: EXECUTING; APPROVED and AUTOMATIC; PENDING on REVALIDATION, on DEPENDENCY,
        or on an EXTERNAL_CHECK that is called.
        Oldest first, their payloads' data left empty; none when there are none left. What a process
        writes it sees to by itself. One may be answered twice after a StoreUnavailable.
        """
        ...

    async def owns(self, id: RequestId) -> bool:
        """Whether this process sees to the request: the last to write or adopt it."""
        ...

    async def refresh(self, since: Revision) -> bool:
        """Catches up with what other processes have made durable before this call; `head` and
        everything read afterwards is as new. Answers whether any of that lies beyond `since`.
        """
        ...

    @property
    def is_shared(self) -> bool:
        """Whether other processes may write to it."""
        ...

    @property
    def leads(self) -> bool:
        """Whether this process does what one of those that share the store does for all of them.

        None may for the time of a lease, and two for a moment; what they do is committed once.
        """
        ...

    async def dependents(self, id: RequestId) -> tuple[RequestId, ...]:
        """Non-terminal requests that depend on `id`."""
        ...

    @property
    def head(self) -> Head:
        """The end of the ledger as this process knows it; never behind an answer it gave."""
        ...

    def listen(self, listener: Callable[[Batch], None]) -> None:
        """Calls `listener` on the event loop after each transaction, in ledger order, before the
        commits' callers go on. It must not raise and must not block.
        """
        ...

    async def close(self) -> None:
        """Finishes what is queued, then closes."""
        ...


# --- The host -----------------------------------------------------------------------------------


class Capabilities(Value, frozen=True, kw_only=True):
    """What the host promises; absence is the weakest promise."""

    contract_version: str
    host_name: str = ""
    lineage_id: str = ""
    exactly_once: bool = False
    compare_and_apply: bool = False
    payload_bytes_max: int = 0
    mutation_types: tuple[str, ...] = ()
    # What the host says of each of its types; one that it says nothing of is left out.
    reversibility: dict[str, Reversibility] = {}  # noqa: RUF012 - msgspec copies it per struct
    rollback: bool = False
    # Unless the outcome says otherwise. None: for ever.
    undo_retention_seconds: int | None = None


class Validation(Value, frozen=True, kw_only=True):
    """The host's opinion of a mutation."""

    violations: tuple[Reason, ...] = ()
    preview: tuple[Change, ...] = ()
    current_version: str = ""
    plan_digest: bytes = b""


class Order(Value, frozen=True, kw_only=True):
    """What is sent to the host: the request as approved, under one execution."""

    request: MutationRequest
    execution: Execution
    approvers: tuple[str, ...] = ()


class Circuit(StrEnum):
    """Whether the host is being called."""

    CLOSED = "CLOSED"
    OPEN = "OPEN"
    PROBING = "PROBING"


class HostCondition(Value, frozen=True, kw_only=True):
    """How the host has answered of late. `reached_at` is None until it has."""

    circuit: Circuit = Circuit.CLOSED
    reached_at: Micros | None = None


class Host(Protocol):
    """The service that owns the state. Every call has a deadline.

    `traceparent` is the W3C trace context to send along; empty sends none.
    """

    async def capabilities(self) -> Capabilities:
        """What it promises, cached while connected. Raises HostUnavailable."""
        ...

    @property
    def known_capabilities(self) -> Capabilities | None:
        """What it promised when last asked; None until it has been reached."""
        ...

    @property
    def condition(self) -> HostCondition:
        """How it has answered of late."""
        ...

    def listen(self, listener: Callable[[Capabilities], None]) -> None:
        """Calls `listener` on the event loop each time that the promises have been read, before
        anybody goes on who asked for them. It must not raise and must not block.
        """
        ...

    async def state_version(self, tenant: str, state: StateRef) -> str:
        """The current version; empty when there is no such state. Raises HostUnavailable."""
        ...

    async def validate(self, request: MutationRequest) -> Validation:
        """Whether the mutation would be accepted now. Raises HostUnavailable."""
        ...

    async def apply(self, order: Order, *, traceparent: str) -> ApplyAnswer:
        """Orders the change. Never raises for an answer or the lack of one."""
        ...

    async def lookup(self, execution: Execution, *, fence: bool, traceparent: str) -> LookupAnswer:
        """What became of an execution; with `fence`, decides it. Never raises."""
        ...


# --- Checks -------------------------------------------------------------------------------------


class CheckOutcome(StrEnum):
    """How a check was answered. NOBODY: there is nobody to call. NONE: nothing came of the call."""

    PASSED = "PASSED"
    FAILED = "FAILED"
    LATER = "LATER"
    NOBODY = "NOBODY"
    NONE = "NONE"


class CheckAnswer(Value, frozen=True, kw_only=True):
    """The answer of an outside service, with its words."""

    outcome: CheckOutcome
    reason: Reason = Reason(code="")


class Checks(Protocol):
    """The outside services that answer named checks. Every call has a deadline."""

    async def ask(self, name: str, request: MutationRequest) -> CheckAnswer:
        """Whether the request passes the check. Never raises for an answer or the lack of one."""
        ...


class NobodyToAsk:
    """No check is answered by a service."""

    async def ask(self, name: str, request: MutationRequest) -> CheckAnswer:  # noqa: ARG002 - a port
        return CheckAnswer(outcome=CheckOutcome.NOBODY)


# --- Everything else ----------------------------------------------------------------------------


class Policy(Protocol):
    """Answers allow, deny or defer. A failure of its own is a denial."""

    def evaluate(self, facts: Facts) -> Verdict:
        """What policy says about a mutation with these facts."""
        ...


class Directory(Protocol):
    """Who there is, and what they hold."""

    def identity(self, actor: str, tenant: str) -> Identity | None:
        """The actor with its roles and groups in the tenant; None when it has no place there."""
        ...

    def members(self, target: Target, tenant: str) -> frozenset[str]:
        """The persons a target names in a tenant."""
        ...

    def delegators(self, actor: str, tenant: str, at: Micros) -> tuple[Identity, ...]:
        """Those who have a place in the tenant and in whose place the actor may vote there at that
        time, each with what they hold themselves: what was delegated to them is not among it.
        """
        ...


class Clock(Protocol):
    """Time as the sidecar sees it."""

    def now(self) -> Micros:
        """The present."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Returns after that long."""
        ...


class Ids(Protocol):
    """New names. Unique, and increasing enough in time to keep indexes compact."""

    def request_id(self) -> RequestId: ...

    def execution_id(self) -> ExecutionId: ...

    def audit_id(self) -> AuditId: ...


class Tracing(Protocol):
    """What the execution manager says to the tracing backend."""

    def current_traceparent(self) -> str:
        """The W3C traceparent of the span at hand; empty when there is none."""
        ...

    def execution_started(self, request: MutationRequest) -> "ExecutionTrace":
        """A new root span for one execution, linked to the submission, to the approvals, and to the
        request and the execution that it compensates.
        """
        ...


class ExecutionTrace(Protocol):
    """The span of one execution."""

    @property
    def traceparent(self) -> str:
        """To be sent to the host and stored with the execution; empty when tracing is off."""
        ...

    def finish(self, execution: Execution) -> None:
        """Ends the span with what became of the execution."""
        ...


EntryEncoder = Callable[[Decision, Revision], bytes]
"""Makes the bytes of a ledger entry; injected into the store, which never looks inside."""

Failpoints = Callable[[str], None]
"""Called with the name of a step as it is passed; does nothing but in crash tests."""


def no_failpoints(name: str) -> None:
    """Passes every step."""
