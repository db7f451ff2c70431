"""Every metric the sidecar has, declared in one place with its unit."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from opentelemetry.metrics import CallbackOptions, Meter, Observation
from opentelemetry.semconv._incubating.metrics.rpc_metrics import (
    RPC_CLIENT_CALL_DURATION,
    RPC_SERVER_CALL_DURATION,
)

from governor.domain.decision import Category, Code
from governor.domain.host_standing import HoldCode
from governor.domain.request import PendingReason
from governor.usecases.commits import Batch
from governor.usecases.ports import Circuit

CALL_SECONDS: Final = (
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10,
)  # fmt: skip  # the conventions' buckets, and two finer ones below
EXECUTION_SECONDS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)
COMMIT_SECONDS: Final = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1, 5)
BATCH_COMMITS: Final = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)

MICROS_PER_SECOND: Final = 1_000_000

OUTCOMES: Final[Mapping[str, str]] = {
    Code.EXECUTED.text: "executed",
    Code.REJECTED.text: "rejected",
    Code.CANCELED.text: "canceled",
    Code.EXPIRED.text: "expired",
    Code.SUPERSEDED.text: "superseded",
    Code.FAILED.text: "failed",
}
"""How a request can end, by the code of the decision that ends it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Streams:
    """How the open streams stand: how many there are, and how far the slowest is behind."""

    open: int
    lag: int


NO_STREAMS: Final = Streams(open=0, lag=0)


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreVitals:
    """How the store fares: what it did not answer, by cause, and how large its own log is, if it
    has one.
    """

    failures: Mapping[str, int]
    wal_bytes: int | None


UNKNOWN_VITALS: Final = StoreVitals(failures={}, wal_bytes=None)


@dataclass(frozen=True, slots=True, kw_only=True)
class HostHealth:
    """How the host stands: whether it is called, and why nothing is executed in it, if so."""

    circuit: Circuit
    hold: HoldCode | None


class Instruments:
    """Listens to the store's batches and is told the rest."""

    def __init__(self, meter: Meter) -> None:
        self.server_call = meter.create_histogram(
            RPC_SERVER_CALL_DURATION,
            unit="s",
            description="Duration of inbound calls.",
            explicit_bucket_boundaries_advisory=CALL_SECONDS,
        )
        self.client_call = meter.create_histogram(
            RPC_CLIENT_CALL_DURATION,
            unit="s",
            description="Duration of calls to the host.",
            explicit_bucket_boundaries_advisory=CALL_SECONDS,
        )
        self._submitted = meter.create_counter(
            "governor.requests.submitted",
            unit="{request}",
            description="Mutation requests that were submitted.",
        )
        self._ended = meter.create_counter(
            "governor.requests.ended",
            unit="{request}",
            description="Mutation requests that ended, by outcome.",
        )
        self._execution = meter.create_histogram(
            "governor.execution.duration",
            unit="s",
            description="From an execution's claim to its recorded outcome, by status.",
            explicit_bucket_boundaries_advisory=EXECUTION_SECONDS,
        )
        self._batch_commits = meter.create_histogram(
            "governor.store.batch.commits",
            unit="{commit}",
            description="How many commits became durable in one transaction.",
            explicit_bucket_boundaries_advisory=BATCH_COMMITS,
        )
        self._batch_seconds = meter.create_histogram(
            "governor.store.batch.duration",
            unit="s",
            description="How long the first commit of a transaction waited until it was durable.",
            explicit_bucket_boundaries_advisory=COMMIT_SECONDS,
        )
        meter.create_observable_gauge(
            "governor.requests.pending",
            callbacks=[self._observe_pending],
            unit="{request}",
            description="Requests that wait, by what for; waiting for two things counts twice.",
        )
        meter.create_observable_gauge(
            "governor.streams.open",
            callbacks=[self._observe_streams_open],
            unit="{stream}",
            description="Subscribers that are connected.",
        )
        meter.create_observable_gauge(
            "governor.streams.lag",
            callbacks=[self._observe_streams_lag],
            unit="{revision}",
            description="How many revisions the slowest subscriber is behind the ledger's head.",
        )
        meter.create_observable_counter(
            "governor.store.failures",
            callbacks=[self._observe_failures],
            unit="{failure}",
            description="Commits and reads that the store did not answer, by cause.",
        )
        meter.create_observable_gauge(
            "governor.store.wal.size",
            callbacks=[self._observe_wal_bytes],
            unit="By",
            description="The size of SQLite's write-ahead log.",
        )
        self._holds = meter.create_counter(
            "governor.host.holds",
            unit="{hold}",
            description="How often the host was held: by a changed lineage, a broken promise.",
        )
        self._circuit_openings = meter.create_counter(
            "governor.host.circuit.openings",
            unit="{opening}",
            description="How often the host was left alone because it did not answer.",
        )
        meter.create_observable_gauge(
            "governor.host.held",
            callbacks=[self._observe_hold],
            unit="{host}",
            description="1 while nothing is executed in the host, by why.",
        )
        meter.create_observable_gauge(
            "governor.host.circuit.state",
            callbacks=[self._observe_circuit],
            unit="{circuit}",
            description="1 for whether the host is being called, and 0 for what is not so.",
        )
        self._host: Callable[[], HostHealth] | None = None
        self._pending: Mapping[PendingReason, int] | None = None
        self._streams: Callable[[], Streams] = lambda: NO_STREAMS
        self._vitals: Callable[[], StoreVitals] = lambda: UNKNOWN_VITALS

    def published(self, batch: Batch) -> None:
        """A listener for Store.listen: counts what the batch made durable."""
        for entry in batch.entries:
            if entry.category is Category.LIFECYCLE:
                if entry.code == Code.SUBMITTED.text:
                    self._submitted.add(1)
                elif (outcome := OUTCOMES.get(entry.code)) is not None:
                    self._ended.add(1, {"governor.outcome": outcome})
            elif entry.category is Category.HOST and entry.code == Code.HOST_HELD.text:
                self._holds.add(1)
        for commit in batch.commits:
            for execution in commit.executions:
                # What has been compensated was recorded, and measured, long before.
                if execution.finished_at is not None and execution.compensated_by is None:
                    self._execution.record(
                        (execution.finished_at - execution.started_at) / MICROS_PER_SECOND,
                        {"governor.execution.status": execution.status.value},
                    )

    def committed(self, *, commits: int, seconds: float) -> None:
        """One transaction of the store became durable."""
        self._batch_commits.record(commits)
        self._batch_seconds.record(seconds)

    def pending_counted(self, counts: Mapping[PendingReason, int]) -> None:
        """What the store counts as pending now. Counted there rather than added up here, so that it
        is right after a restart and beside other replicas.
        """
        self._pending = counts

    def circuit_changed(self, circuit: Circuit) -> None:
        """The host is left alone, tried, or called again."""
        if circuit is Circuit.OPEN:
            self._circuit_openings.add(1)

    def observe_host(self, host: Callable[[], HostHealth]) -> None:
        """Says where to look when the backend asks; called on the exporter's thread."""
        self._host = host

    def observe_streams(self, streams: Callable[[], Streams]) -> None:
        """Says where to look when the backend asks; called on the exporter's thread."""
        self._streams = streams

    def observe_store(self, vitals: Callable[[], StoreVitals]) -> None:
        """Says where to look when the backend asks; called on the exporter's thread."""
        self._vitals = vitals

    def _observe_pending(self, _options: CallbackOptions) -> Iterable[Observation]:
        # Nothing is better than zero while the store has not been asked yet.
        if (counts := self._pending) is None:
            return
        for reason in PendingReason:
            yield Observation(counts.get(reason, 0), {"governor.pending_reason": reason.value})

    def _observe_hold(self, _options: CallbackOptions) -> Iterable[Observation]:
        if self._host is None:
            return
        hold = self._host().hold
        for code in HoldCode:
            yield Observation(int(code is hold), {"governor.host.hold": code.value})

    def _observe_circuit(self, _options: CallbackOptions) -> Iterable[Observation]:
        if self._host is None:
            return
        now = self._host().circuit
        for circuit in Circuit:
            yield Observation(int(circuit is now), {"governor.host.circuit": circuit.value})

    def _observe_streams_open(self, _options: CallbackOptions) -> Iterable[Observation]:
        yield Observation(self._streams().open)

    def _observe_streams_lag(self, _options: CallbackOptions) -> Iterable[Observation]:
        yield Observation(self._streams().lag)

    def _observe_failures(self, _options: CallbackOptions) -> Iterable[Observation]:
        for cause, failures in self._vitals().failures.items():
            yield Observation(failures, {"governor.store.cause": cause})

    def _observe_wal_bytes(self, _options: CallbackOptions) -> Iterable[Observation]:
        if (size := self._vitals().wal_bytes) is not None:
            yield Observation(size)
