"""What is counted: what the store made durable, and what it says is pending."""

from governor.domain.decision import Category, Code
from governor.domain.execution import ExecutionStatus
from governor.domain.host_standing import HoldCode
from governor.domain.request import PendingReason
from governor.domain.values import AuditId, Micros, RequestId, Revision
from governor.telemetry.instruments import OUTCOMES, HostHealth, StoreVitals, Streams
from governor.usecases.commits import Batch, Committed, StoredEntry
from governor.usecases.ports import Circuit
from tests.support.builders import make_execution, make_request
from tests.telemetry.recorded import recorded


def entry(code: Code) -> StoredEntry:
    return StoredEntry(
        revision=Revision(1),
        tenant="acme",
        request_id=RequestId("mr-1"),
        execution_id=None,
        category=code.category,
        code=code.text,
        actor="ann",
        at=Micros(0),
        data=b"",
    )


def test_requests_are_counted_as_they_come_and_as_they_end() -> None:
    told = recorded()
    ends = (Code.EXECUTED, Code.EXECUTED, Code.REJECTED, Code.EXPIRED)
    others = (Code.PENDING, Code.APPROVED, Code.APPROVAL_REJECTED, Code.CHECK_FAILED)
    told.instruments.published(
        Batch(commits=(), entries=tuple(map(entry, (Code.SUBMITTED, *ends, *others))))
    )
    assert told.points("governor.requests.submitted")[0].value == 1
    assert told.values("governor.requests.ended", "governor.outcome") == {
        "executed": 2,
        "rejected": 1,
        "expired": 1,
    }


def test_every_end_of_a_request_is_an_outcome() -> None:
    lifecycle = {code.text for code in Code if code.category is Category.LIFECYCLE}
    assert lifecycle - set(OUTCOMES) == {
        "submitted",
        "pending",
        "approved",
        "compensated",
    }


def test_an_execution_is_measured_once_when_its_outcome_is_recorded() -> None:
    told = recorded()
    running = make_execution(make_request())
    done = running.but(
        status=ExecutionStatus.APPLIED, finished_at=Micros(running.started_at + 1_500_000)
    )
    linked = done.but(compensated_by=AuditId("audit-after"))
    for execution in (running, done, linked):
        commit = Committed(requests=(), executions=(execution,), revision=Revision(1))
        told.instruments.published(Batch(commits=(commit,), entries=()))
    (point,) = told.points("governor.execution.duration")
    assert (point.count, point.sum) == (1, 1.5)
    assert point.attributes["governor.execution.status"] == "APPLIED"


def test_a_transaction_is_measured() -> None:
    told = recorded()
    told.instruments.committed(commits=7, seconds=0.002)
    assert told.points("governor.store.batch.commits")[0].sum == 7
    assert told.points("governor.store.batch.duration")[0].sum == 0.002


def test_nothing_is_said_of_what_is_pending_before_it_was_counted() -> None:
    """Zero after a restart would look like a queue that has drained."""
    told = recorded()
    assert told.points("governor.requests.pending") == []
    told.instruments.pending_counted({PendingReason.APPROVAL: 3})
    counts = told.values("governor.requests.pending", "governor.pending_reason")
    assert counts["APPROVAL"] == 3
    assert set(counts) == {reason.value for reason in PendingReason}
    told.instruments.pending_counted({})
    assert told.values("governor.requests.pending", "governor.pending_reason")["APPROVAL"] == 0


def test_a_hold_is_counted_and_shown_by_why() -> None:
    """Nothing is said before there is a host to look at."""
    told = recorded()
    assert told.points("governor.host.held") == []
    entries = tuple(map(entry, (Code.HOST_TRUSTED, Code.HOST_HELD)))
    told.instruments.published(Batch(commits=(), entries=entries))
    assert told.points("governor.host.holds")[0].value == 1
    told.instruments.observe_host(
        lambda: HostHealth(circuit=Circuit.CLOSED, hold=HoldCode.LINEAGE_CHANGED)
    )
    assert told.values("governor.host.held", "governor.host.hold") == {
        "LINEAGE_CHANGED": 1,
        "PROMISE_BROKEN": 0,
        "STORE_RESTORED": 0,
    }


def test_the_circuit_is_shown_as_it_stands_and_its_openings_are_counted() -> None:
    told = recorded()
    for circuit in (Circuit.OPEN, Circuit.PROBING, Circuit.OPEN, Circuit.CLOSED):
        told.instruments.circuit_changed(circuit)
    assert told.points("governor.host.circuit.openings")[0].value == 2
    told.instruments.observe_host(lambda: HostHealth(circuit=Circuit.OPEN, hold=None))
    assert told.values("governor.host.circuit.state", "governor.host.circuit") == {
        "CLOSED": 0,
        "OPEN": 1,
        "PROBING": 0,
    }
    assert set(told.values("governor.host.held", "governor.host.hold").values()) == {0}


def test_streams_are_looked_at_when_the_backend_asks() -> None:
    told = recorded()
    assert told.points("governor.streams.open")[0].value == 0
    told.instruments.observe_streams(lambda: Streams(open=2, lag=40))
    assert told.points("governor.streams.open")[0].value == 2
    assert told.points("governor.streams.lag")[0].value == 40


def test_the_store_is_looked_at_when_the_backend_asks() -> None:
    """A database server's log is not ours to measure, and then nothing is said of it."""
    told = recorded()
    assert told.points("governor.store.wal.size") == []
    told.instruments.observe_store(lambda: StoreVitals(failures={"DISK_FULL": 2}, wal_bytes=9))
    assert told.points("governor.store.wal.size")[0].value == 9
    assert told.values("governor.store.failures", "governor.store.cause") == {"DISK_FULL": 2}
    told.instruments.observe_store(lambda: StoreVitals(failures={}, wal_bytes=None))
    assert told.points("governor.store.wal.size") == []


def test_every_metric_has_a_unit() -> None:
    told = recorded()
    told.instruments.committed(commits=1, seconds=1)
    told.instruments.observe_store(lambda: StoreVitals(failures={"DAMAGED": 1}, wal_bytes=1))
    for name, unit in (
        ("governor.store.batch.commits", "{commit}"),
        ("governor.store.batch.duration", "s"),
        ("governor.store.failures", "{failure}"),
        ("governor.store.wal.size", "By"),
        ("governor.streams.open", "{stream}"),
        ("governor.streams.lag", "{revision}"),
    ):
        assert told.unit(name) == unit
