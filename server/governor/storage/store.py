"""The Store port as a whole: what the reader answers, what the writer does, and their bounds."""

from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from sqlalchemy.exc import SQLAlchemyError

from governor.domain.request import MutationRequest
from governor.domain.values import RequestId
from governor.storage.reader import Reader
from governor.storage.replicas import Membership
from governor.storage.transaction import unavailable
from governor.storage.writer import GroupCommit
from governor.usecases.commits import Head


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreLimits:
    """Every bound of the store; the configuration reference documents each.

    `snapshot_bytes_max` is an estimate of memory. `readers_max` and `wal_bytes_alarm` are SQLite's;
    PostgreSQL takes `pool_size` from its URL. `lease_seconds` is an execution's; a replica's own is
    a part of it.
    """

    commits_waiting_max: int = 4_096
    commits_waiting_bytes_max: int = 256 * 1_048_576
    commits_per_transaction_max: int = 512
    snapshot_bytes_max: int = 64 * 1_048_576
    readers_max: int = 4
    lease_seconds: float = 30.0
    ledger_poll_seconds_max: float = 0.5
    wal_bytes_alarm: int = 256 * 1_048_576


@dataclass(frozen=True, slots=True, kw_only=True)
class Vitals:
    """How the store fares: what it did not answer, by cause, and the size of its log, if it has
    one of its own.
    """

    failures: Mapping[str, int]
    wal_bytes: int | None


class SqlStore:
    """See governor.usecases.ports.Store."""

    def __init__(
        self,
        *,
        reader: Reader,
        writer: GroupCommit,
        membership: Membership,
        release: Callable[[], Awaitable[None]],
    ) -> None:
        self._writer = writer
        self._reader = reader
        self._membership = membership
        self._release = release
        self.request = reader.request
        self.execution = reader.execution
        self.replay = reader.replay
        self.executions_of = reader.executions_of
        self.requests = reader.requests
        self.executions = reader.executions
        self.entries = reader.entries
        self.newest_entries = reader.newest_entries
        self.host_standing = reader.host_standing
        self.due = reader.due
        self.next_due = reader.next_due
        self.request_counts = reader.request_counts
        self.overdue_reviews = reader.overdue_reviews
        self.dependents = reader.dependents
        self.pending_counts = reader.pending_counts
        self.commit = writer.commit
        self.refresh = writer.refresh
        self.listen = writer.listen
        self.observe = writer.observe

    @property
    def head(self) -> Head:
        """The end of the ledger as this process knows it."""
        return self._writer.head

    @property
    def is_shared(self) -> bool:
        """Whether other processes may write to it."""
        return self._membership.is_shared

    @property
    def leads(self) -> bool:
        """Whether this process does what one of those that share the store does for all."""
        return self._membership.leads

    async def adopt(self, *, limit: int) -> tuple[MutationRequest, ...]:
        """See Store.adopt."""
        with _only_our_words():
            return await self._membership.adopt(limit=limit)

    async def owns(self, id: RequestId) -> bool:
        """See Store.owns."""
        with _only_our_words():
            return await self._membership.owns(id)

    @property
    def vitals(self) -> Vitals:
        """As of now; may be asked from any thread."""
        # Each copied in one step of the interpreter: the event loop goes on counting.
        failures = Counter(self._writer.failures) + Counter(self._reader.failures)
        return Vitals(failures=failures, wal_bytes=self._writer.wal_bytes)

    async def close(self) -> None:
        """The writer's connection closes last, and tidies the log away as it does.

        Until then this process is alive to the others: what it still writes is its own.
        """
        try:
            await self._reader.close()
            await self._writer.close()
            await self._membership.leave()
        finally:
            await self._release()


@contextmanager
def _only_our_words() -> Iterator[None]:
    try:
        yield
    except (SQLAlchemyError, OSError) as error:
        raise unavailable(error) from error
