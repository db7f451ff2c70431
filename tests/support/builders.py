"""Time, names, requests and commits for tests that need whole ones and care for few fields."""

import asyncio
from collections.abc import Iterable
from heapq import heappop, heappush
from typing import Any

import msgspec

from governor.domain.decision import Code, Decision, decide
from governor.domain.digest import fingerprint, request_digest
from governor.domain.execution import Execution, ExecutionStatus
from governor.domain.request import (
    Content,
    ExecutionMode,
    Intent,
    MutationRequest,
    Payload,
    Pending,
    PendingReason,
    Progress,
    RuntimeContext,
    StateRef,
    Status,
)
from governor.domain.values import (
    GOVERNOR,
    AuditId,
    ExecutionId,
    Identity,
    Micros,
    Reason,
    RequestId,
    Revision,
    Value,
)
from governor.usecases.commits import Commit, Entry, IdempotencyKey

MICROS_PER_SECOND = 1_000_000
START = Micros(1_700_000_000 * MICROS_PER_SECOND)
LIFETIME_US = 3_600 * MICROS_PER_SECOND
LEASE_US = 30 * MICROS_PER_SECOND

ALICE = Identity(id="alice", person="alice")


class ManualClock:
    """A clock that stands still until it is moved; those who sleep wake when it passes them."""

    def __init__(self, start: Micros = START) -> None:
        self._now = start
        self._sleepers: list[tuple[Micros, int, asyncio.Future[None]]] = []
        self._slept = 0

    def now(self) -> Micros:
        return self._now

    @property
    def next_wake(self) -> Micros | None:
        """When the first of those who sleep is to wake."""
        return min((wake for wake, _, woken in self._sleepers if not woken.done()), default=None)

    async def sleep(self, seconds: float) -> None:
        wake_at = Micros(self._now + round(seconds * MICROS_PER_SECOND))
        woken = asyncio.get_running_loop().create_future()
        self._slept += 1
        heappush(self._sleepers, (wake_at, self._slept, woken))
        await woken

    def advance(self, seconds: float) -> None:
        """Moves on, and wakes whoever's time has come, in the order of their times."""
        self._now = Micros(self._now + round(seconds * MICROS_PER_SECOND))
        while self._sleepers and self._sleepers[0][0] <= self._now:
            _, _, woken = heappop(self._sleepers)
            if not woken.done():
                woken.set_result(None)


class SequentialIds:
    """Names that count upwards, each kind by itself."""

    def __init__(self) -> None:
        self._last: dict[str, int] = {}

    def request_id(self) -> RequestId:
        return RequestId(self._next("request"))

    def execution_id(self) -> ExecutionId:
        return ExecutionId(self._next("execution"))

    def audit_id(self) -> AuditId:
        return AuditId(self._next("audit"))

    def _next(self, kind: str) -> str:
        self._last[kind] = self._last.get(kind, 0) + 1
        return f"{kind}-{self._last[kind]:06}"


# ---------------------------------------------------------------- requests and executions


def make_request(
    id: str = "request-1",
    *,
    tenant: str = "acme",
    actor: str = "alice",
    state: str = "",
    category: str = "",
    payload: bytes = b'{"on":true}',
    status: Status = Status.APPROVED,
    waits_for: Iterable[PendingReason] = (),
    mode: ExecutionMode = ExecutionMode.AUTOMATIC,
    submitted_at: Micros = START,
    expires_at: Micros | None = None,
    **content: Any,
) -> MutationRequest:
    """A request as it stands in `status`, on a state of its own unless one is named."""
    asked = Content(
        context=RuntimeContext(tenant=tenant, actor=actor, environment="test"),
        mutation_type="flag.set",
        state=StateRef(type="flag", id=state or f"state-of-{id}"),
        payload=Payload(content_type="application/json", data=payload),
        intent=Intent(category=category),
        execution_mode=mode,
        **content,
    )
    return MutationRequest(
        id=RequestId(id),
        audit_id=AuditId(f"audit-{id}"),
        content=asked,
        requester=actor,
        submitted_at=submitted_at,
        expires_at=expires_at if expires_at is not None else Micros(submitted_at + LIFETIME_US),
        progress=Progress(
            status=status,
            pending=tuple(Pending(reason=reason, since=submitted_at) for reason in waits_for),
            expected_version=asked.expected_version,
            digest=request_digest(asked, asked.expected_version),
            updated_at=submitted_at,
        ),
    )


def moved(request: MutationRequest, status: Status, **progress: Any) -> MutationRequest:
    """The request in another status; which transitions are lawful is not this one's business."""
    return request.but(progress=request.progress.but(status=status, pending=(), **progress))


def make_execution(
    request: MutationRequest,
    id: str = "",
    *,
    status: ExecutionStatus = ExecutionStatus.RUNNING,
    **fields: Any,
) -> Execution:
    """An execution of the request."""
    name = id or f"execution-of-{request.id}"
    return Execution(
        id=ExecutionId(name),
        audit_id=AuditId(f"audit-{name}"),
        request_id=request.id,
        request_audit_id=request.audit_id,
        tenant=request.tenant,
        state=request.state,
        digest=request.progress.digest,
        started_by=GOVERNOR.id,
        started_at=request.submitted_at,
        lease_expires_at=Micros(request.submitted_at + LEASE_US),
        status=status,
        **fields,
    )


# ---------------------------------------------------------------- commits


def submission(
    request: MutationRequest | None = None,
    *,
    key: IdempotencyKey | None = None,
    **fields: Any,
) -> Commit:
    """A new request with three decisions, the last of which says where it stands."""
    new = request or make_request(**fields)
    actor = Identity(id=new.content.context.actor, person=new.requester)
    said = [
        decide(code, new, actor=actor, at=new.submitted_at)
        for code in (Code.SUBMITTED, Code.POLICY_ALLOWED)
    ]
    return Commit(decisions=(*said, standing(new)), requests=(new,), key=key)


def standing(request: MutationRequest, execution: Execution | None = None) -> Decision:
    """The decision that says where the request stands."""
    code = _STANDING.get(request.status, Code.CHECK_PASSED)
    return decide(code, request, actor=GOVERNOR, at=request.submitted_at, execution=execution)


def change(
    request: MutationRequest,
    *executions: Execution,
    guards: tuple[tuple[RequestId, Revision], ...] = (),
    key: IdempotencyKey | None = None,
) -> Commit:
    """The request as it now stands, with executions of it and one decision for each."""
    said = [
        decide(_SAID[execution.status], request, actor=GOVERNOR, at=START, execution=execution)
        for execution in executions
    ]
    return Commit(
        decisions=(*said, standing(request)),
        requests=(request,),
        executions=executions,
        guards=guards,
        key=key,
    )


def make_key(
    request_id: str = "call-1",
    *,
    tenant: str = "acme",
    actor: str = "alice",
    rpc: str = "Submit",
    content: str = "",
) -> IdempotencyKey:
    """An idempotency key; `content` is what the call asked."""
    return IdempotencyKey(
        tenant=tenant,
        actor=actor,
        rpc=rpc,
        request_id=request_id,
        fingerprint=fingerprint(content),
    )


_STANDING = {
    Status.PENDING: Code.PENDING,
    Status.APPROVED: Code.APPROVED,
    Status.EXECUTED: Code.EXECUTED,
    Status.REJECTED: Code.REJECTED,
    Status.CANCELED: Code.CANCELED,
    Status.EXPIRED: Code.EXPIRED,
    Status.SUPERSEDED: Code.SUPERSEDED,
    Status.FAILED: Code.FAILED,
}
_SAID = {
    ExecutionStatus.RUNNING: Code.CLAIMED,
    ExecutionStatus.APPLIED: Code.APPLIED,
    ExecutionStatus.REFUSED: Code.REFUSED,
    ExecutionStatus.STALE: Code.VERSION_REJECTED_AS_STALE,
    ExecutionStatus.NOT_APPLIED: Code.RESOLVED,
    ExecutionStatus.IN_DOUBT: Code.IN_DOUBT,
}

# ---------------------------------------------------------------- entries, where there is no wire


class _PlainEntry(Value, frozen=True, kw_only=True):
    """A decision at its place, its code by name: JSON knows no enum of pairs."""

    revision: Revision
    code: str
    actor: Identity
    at: Micros
    tenant: str
    request_id: RequestId
    request_audit_id: AuditId
    status: Status | None
    digest: bytes
    state: StateRef
    mutation_type: str
    execution_id: ExecutionId | None
    execution_audit_id: AuditId | None
    reason: Reason | None
    facts: dict[str, str]


def encode_entry(decision: Decision, revision: Revision) -> bytes:
    """The bytes of an entry, as JSON."""
    fields = msgspec.structs.asdict(decision) | {"code": decision.code.name, "revision": revision}
    return msgspec.json.encode(fields)


def decode_entry(data: bytes) -> Entry:
    """The entry with these bytes. Raises ValueError for any others."""
    plain = msgspec.json.decode(data, type=_PlainEntry)
    fields = msgspec.structs.asdict(plain)
    revision = fields.pop("revision")
    code = Code[fields.pop("code")]
    return Entry(revision=revision, decision=Decision(code=code, **fields), data=data)
