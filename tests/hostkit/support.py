"""A scripted host, a caller that speaks plain values, and the oracle that counts effects."""

import sqlite3
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, cast

import grpc.aio
from google.rpc import error_details_pb2, status_pb2

from governance.v1 import (
    execution_pb2,
    mutation_engine_pb2,
    mutation_engine_pb2_grpc,
    mutation_pb2,
)
from governor.hostkit import (
    Applied,
    Change,
    Failpoints,
    Host,
    HostBusy,
    MutationType,
    Order,
    Refused,
    State,
    Transaction,
    served,
    sqlite_journal,
)
from governor.hostkit.tracing import Tracing

TENANT: Final = "acme"
DIGEST: Final = b"d" * 32
OTHER_DIGEST: Final = b"o" * 32
UNDO_DIGEST: Final = b"u" * 32
TIMEOUT_SECONDS: Final = 20.0

SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS counter (tenant TEXT, id TEXT, value INTEGER, PRIMARY KEY (tenant, id));
CREATE TABLE IF NOT EXISTS effect (execution_id TEXT);
CREATE TABLE IF NOT EXISTS parent (id TEXT PRIMARY KEY);
CREATE TABLE IF NOT EXISTS child (id TEXT REFERENCES parent DEFERRABLE INITIALLY DEFERRED);
PRAGMA foreign_keys = ON;
"""


def version(transaction: Transaction, tenant: str, state: State) -> str:
    row = transaction.execute(
        "SELECT value FROM counter WHERE tenant = ? AND id = ?", (tenant, state.id)
    ).fetchone()
    return "" if row is None else str(row[0])


def add(transaction: Transaction, order: Order) -> Applied:
    """Count up; every misbehaving mutation type does this first, so that there is much to undo."""
    before = version(transaction, order.tenant, order.state)
    transaction.execute(
        "INSERT INTO counter VALUES (?, ?, 1)"
        " ON CONFLICT (tenant, id) DO UPDATE SET value = value + 1",
        (order.tenant, order.state.id),
    )
    transaction.execute("INSERT INTO effect VALUES (?)", (order.execution_id,))
    after = version(transaction, order.tenant, order.state)
    return Applied(changes=[Change(path="value", before=before or None, after=after)])


def refuse(transaction: Transaction, order: Order) -> Refused:
    add(transaction, order)
    return Refused(code="NOT_TODAY", message="try a Monday", metadata={"day": "Sunday"})


def fail(transaction: Transaction, order: Order) -> Applied:
    add(transaction, order)
    raise RuntimeError("the secret name of the database is swordfish")


def be_busy(transaction: Transaction, order: Order) -> Applied:
    add(transaction, order)
    raise HostBusy("the nightly job runs", retry_after_seconds=2.5)


def commit(transaction: Transaction, order: Order) -> Applied:
    add(transaction, order)
    transaction.execute("COMMIT")
    return Applied()


def lose_transaction(transaction: Transaction, order: Order) -> Applied:
    """Do to the transaction what SQLite does by itself when the disk is full."""
    add(transaction, order)
    transaction._connection.execute("ROLLBACK")
    return Applied()


def break_constraint(transaction: Transaction, order: Order) -> Applied:
    add(transaction, order)
    transaction.execute("INSERT INTO child VALUES ('orphan')")
    return Applied()


def return_nothing(transaction: Transaction, order: Order) -> Applied:
    add(transaction, order)
    return cast("Applied", None)  # an author without a type checker


def answer_hugely(transaction: Transaction, order: Order) -> Applied:
    add(transaction, order)
    return Applied(changes=[Change(path="value", after="x" * 2_000_000)])


COUNTERS: Final[Host[Transaction]] = Host(
    name="counters",
    version=version,
    mutations={
        "counter.add": MutationType(apply=add, state_type="counter"),
        "counter.refuse": MutationType(apply=refuse),
        "counter.fail": MutationType(apply=fail),
        "counter.be_busy": MutationType(apply=be_busy),
        "counter.commit": MutationType(apply=commit),
        "counter.lose_transaction": MutationType(apply=lose_transaction),
        "counter.break_constraint": MutationType(apply=break_constraint),
        "counter.return_nothing": MutationType(apply=return_nothing),
        "counter.answer_hugely": MutationType(apply=answer_hugely),
    },
    payload_bytes_max=100,
)


def apply_request(
    execution_id: str = "execution-1",
    *,
    token: int = 1,
    digest: bytes = DIGEST,
    mutation_type: str = "counter.add",
    state_id: str = "visits",
    state_type: str = "counter",
    expected_version: str | None = None,
    payload: bytes = b"",
) -> mutation_engine_pb2.ApplyMutationRequest:
    return mutation_engine_pb2.ApplyMutationRequest(
        execution_id=execution_id,
        fencing_token=token,
        request_digest=digest,
        request_audit_id="request-audit-1",
        execution_audit_id="execution-audit-1",
        context=mutation_pb2.RuntimeContext(tenant=TENANT, actor="ada"),
        mutation=mutation_pb2.Mutation(
            type=mutation_type,
            state=mutation_pb2.StateRef(type=state_type, id=state_id),
            payload=mutation_pb2.Payload(content_type="application/json", data=payload),
            expected_version=expected_version,
        ),
    )


def rollback_request(
    original: mutation_engine_pb2.ApplyMutationRequest,
    applied: execution_pb2.Applied,
    execution_id: str = "rollback-1",
    *,
    token: int = 1,
    digest: bytes = UNDO_DIGEST,
    expected_version: str | None = None,
) -> mutation_engine_pb2.ApplyMutationRequest:
    """Order the original to be taken back, as its outcome says that this is done."""
    request = mutation_engine_pb2.ApplyMutationRequest()
    request.CopyFrom(original)
    request.execution_id, request.fencing_token = execution_id, token
    request.request_digest = digest
    request.mutation.payload.ClearField("data")
    request.mutation.ClearField("expected_version")
    if expected_version is not None:
        request.mutation.expected_version = expected_version
    request.compensation.CopyFrom(
        mutation_pb2.Compensation(
            mutation_request_id="request-1",
            execution_id=original.execution_id,
            kind=mutation_pb2.COMPENSATION_KIND_ROLLBACK,
            trigger=mutation_pb2.COMPENSATION_TRIGGER_OPERATOR,
            undo_token=applied.undo_token,
        )
    )
    return request


class Caller:
    """Speaks to a host as the sidecar would, through a real channel."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self.channel = channel
        self.stub = mutation_engine_pb2_grpc.MutationEngineStub(channel)

    async def apply(
        self, request: mutation_engine_pb2.ApplyMutationRequest
    ) -> mutation_engine_pb2.ApplyMutationResponse:
        return await self.stub.ApplyMutation(request, timeout=TIMEOUT_SECONDS)

    async def look_up(
        self, execution_id: str = "execution-1", *, token: int = 1, fence: bool = False
    ) -> mutation_engine_pb2.LookupMutationResponse:
        return await self.stub.LookupMutation(
            mutation_engine_pb2.LookupMutationRequest(
                execution_id=execution_id, fencing_token=token, fence=fence
            ),
            timeout=TIMEOUT_SECONDS,
        )

    async def validate(
        self, request: mutation_engine_pb2.ApplyMutationRequest
    ) -> mutation_engine_pb2.ValidateMutationResponse:
        return await self.stub.ValidateMutation(
            mutation_engine_pb2.ValidateMutationRequest(
                context=request.context,
                mutation=request.mutation,
                compensation=request.compensation if request.HasField("compensation") else None,
            ),
            timeout=TIMEOUT_SECONDS,
        )

    async def version(self, state_id: str = "visits") -> mutation_engine_pb2.GetStateResponse:
        return await self.stub.GetState(
            mutation_engine_pb2.GetStateRequest(
                tenant=TENANT, state=mutation_pb2.StateRef(type="counter", id=state_id)
            ),
            timeout=TIMEOUT_SECONDS,
        )

    async def capabilities(self) -> mutation_engine_pb2.GetCapabilitiesResponse:
        return await self.stub.GetCapabilities(
            mutation_engine_pb2.GetCapabilitiesRequest(contract_version="governance.v1"),
            timeout=TIMEOUT_SECONDS,
        )


@asynccontextmanager
async def connected(target: str) -> AsyncIterator[Caller]:
    # A pool of its own: channels to one target otherwise share their back-off, and a host that was
    # just restarted would be taken for the one that was just killed.
    options = [("grpc.use_local_subchannel_pool", 1)]
    async with grpc.aio.insecure_channel(target, options=options) as channel:
        yield Caller(channel)


@asynccontextmanager
async def running(
    folder: Path,
    *,
    host: Host[Transaction] = COUNTERS,
    schema: str = SCHEMA,
    failpoints: Failpoints | None = None,
    lock_wait_seconds: float = 1.0,
    tracing: Tracing | None = None,
    clock: Callable[[], float] = lambda: 0.0,
) -> AsyncIterator[Caller]:
    """Run the host on the folder's database; entering it again is a restart."""
    async with (
        sqlite_journal(
            database(folder),
            schema=schema,
            failpoints=failpoints,
            lock_wait_seconds=lock_wait_seconds,
        ) as journal,
        served(
            host, journal, listen=f"unix:{folder}/socket", tracing=tracing, clock=clock
        ) as target,
        connected(target) as caller,
    ):
        yield caller


def database(folder: Path) -> Path:
    return folder / "host.sqlite"


@dataclass(frozen=True, slots=True, kw_only=True)
class Ledger:
    """What the database holds, read past the host."""

    # How often each execution had its effect.
    effects: Mapping[str, int]
    # The executions with a recorded conclusion.
    concluded: frozenset[str]


def read_ledger(file: Path) -> Ledger:
    with closing(sqlite3.connect(f"{file.as_uri()}?mode=ro", uri=True)) as connection:
        return Ledger(
            effects=dict(
                connection.execute(
                    "SELECT execution_id, COUNT(*) FROM effect GROUP BY execution_id"
                )
            ),
            concluded=frozenset(
                execution_id
                for (execution_id,) in connection.execute(
                    "SELECT execution_id FROM governor_execution WHERE outcome IS NOT NULL"
                )
            ),
        )


def effects(folder: Path) -> Mapping[str, int]:
    return read_ledger(database(folder)).effects


def read_rows(file: Path, sql: str) -> list[tuple[Any, ...]]:
    """Read a host's database past the host."""
    with closing(sqlite3.connect(f"{file.as_uri()}?mode=ro", uri=True)) as connection:
        return connection.execute(sql).fetchall()


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """An error as the sidecar reads it; without a reason, it leaves the outcome in doubt."""

    code: grpc.StatusCode
    reason: str
    metadata: Mapping[str, str]
    fields: tuple[str, ...]
    retry_after_seconds: float | None
    text: str


def told(error: grpc.aio.AioRpcError) -> Told:
    raw = dict(error.trailing_metadata() or ()).get("grpc-status-details-bin", b"")
    status = status_pb2.Status.FromString(raw if isinstance(raw, bytes) else raw.encode())
    information = error_details_pb2.ErrorInfo()
    bad_request = error_details_pb2.BadRequest()
    retry = error_details_pb2.RetryInfo()
    unpacked = {
        type(message): detail.Unpack(message)
        for detail in status.details
        for message in (information, bad_request, retry)
        if detail.Is(message.DESCRIPTOR)
    }
    assert information.domain == ("governor" if information.reason else "")
    return Told(
        code=error.code(),
        reason=information.reason,
        metadata=dict(information.metadata),
        fields=tuple(violation.field for violation in bad_request.field_violations),
        retry_after_seconds=(
            retry.retry_delay.ToTimedelta().total_seconds()
            if error_details_pb2.RetryInfo in unpacked
            else None
        ),
        text=f"{error.details()} {status}",
    )
