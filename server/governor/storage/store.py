"""The Store port as a whole: what the reader answers, what the writer does, and their bounds."""

from collections.abc import Callable
from dataclasses import dataclass

from governor.storage.reader import Reader
from governor.storage.writer import GroupCommit
from governor.usecases.ports import Head


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreLimits:
    """Every bound of the store; the configuration reference documents each.

    `snapshot_bytes_max` is an estimate of memory. `readers_max` is SQLite's; PostgreSQL takes
    `pool_size` from its URL.
    """

    commits_waiting_max: int = 4_096
    commits_per_transaction_max: int = 512
    snapshot_bytes_max: int = 64 * 1_048_576
    readers_max: int = 4


class SqlStore:
    """See governor.usecases.ports.Store."""

    def __init__(self, *, reader: Reader, writer: GroupCommit, release: Callable[[], None]) -> None:
        self._writer = writer
        self._reader = reader
        self._release = release
        self.request = reader.request
        self.execution = reader.execution
        self.replay = reader.replay
        self.executions_of = reader.executions_of
        self.requests = reader.requests
        self.executions = reader.executions
        self.entries = reader.entries
        self.due = reader.due
        self.next_due = reader.next_due
        self.unfinished = reader.unfinished
        self.dependents = reader.dependents
        self.pending_counts = reader.pending_counts
        self.commit = writer.commit
        self.listen = writer.listen
        self.observe = writer.observe

    @property
    def head(self) -> Head:
        """The end of the ledger as this process knows it."""
        return self._writer.head

    async def close(self) -> None:
        """The writer's connection closes last, and tidies the log away as it does."""
        try:
            await self._reader.close()
            await self._writer.close()
        finally:
            self._release()
