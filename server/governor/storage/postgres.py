"""The server backend: group commit as a task, and what a network between us and the disk adds."""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import asyncpg
from sqlalchemy import URL, Connection
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from tenacity import AsyncRetrying, retry_if_exception, stop_after_attempt, wait_random_exponential

from governor.storage.batch import Written
from governor.storage.dialect import PostgresDialect
from governor.storage.errors import StoreRefused
from governor.storage.snapshots import Snapshots
from governor.storage.transaction import CommitUnknown, Settlement, Transactions
from governor.storage.writer import GroupCommit, Waiter, taken_from
from governor.usecases.ports import Commit, Head

_APPLICATION_NAME: Final = "governor"
_ATTEMPTS_MAX: Final = 5
_BACKOFF_SECONDS: Final = 0.02
_BACKOFF_SECONDS_MAX: Final = 1.0


# ---------------------------------------------------------------- connections


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """A database server as its URL names it.

    The options of the pool and of waiting are ours; all others, TLS among them, are libpq's and
    reach the driver as they stand in the URL.
    """

    dsn: str
    pool_size: int = 5
    pool_timeout_seconds: float = 10.0
    pool_recycle_seconds: int = -1
    connect_timeout_seconds: float = 10.0
    command_timeout_seconds: float = 30.0

    @classmethod
    def of(cls, url: URL) -> "Server":
        """Raises StoreRefused for an option that is no number."""
        query = dict(url.query)
        query.setdefault("application_name", _APPLICATION_NAME)
        own: dict[str, Any] = {}
        for option, (name, kind) in _OPTIONS.items():
            if option in query:
                own[name] = _number(option, query.pop(option), kind)
        plain = url.set(drivername="postgresql", query=query)
        return cls(dsn=plain.render_as_string(hide_password=False), **own)

    def engine(self, *, isolation_level: str, pool_size: int | None = None) -> AsyncEngine:
        """A pool of connections to it, made when needed."""
        return create_async_engine(
            "postgresql+asyncpg://",
            async_creator=self._connect,
            isolation_level=isolation_level,
            pool_size=pool_size or self.pool_size,
            max_overflow=0,
            pool_timeout=self.pool_timeout_seconds,
            pool_recycle=self.pool_recycle_seconds,
            hide_parameters=True,
        )

    async def _connect(self) -> asyncpg.Connection:
        connection: asyncpg.Connection = await asyncpg.connect(
            self.dsn,
            timeout=self.connect_timeout_seconds,
            command_timeout=self.command_timeout_seconds,
        )
        try:
            await connection.execute(_ON_DISK)
        except BaseException:
            connection.terminate()
            raise
        return connection


# A server may be set up to acknowledge before the disk has it; what we acknowledge is on disk.
# Stronger settings, which also wait for standbys, are left alone.
_ON_DISK: Final = """
    SELECT set_config('synchronous_commit', 'on', false)
    WHERE current_setting('synchronous_commit') = 'off'
"""

_OPTIONS: Final[dict[str, tuple[str, type[int] | type[float]]]] = {
    "pool_size": ("pool_size", int),
    "pool_timeout": ("pool_timeout_seconds", float),
    "pool_recycle": ("pool_recycle_seconds", int),
    "connect_timeout": ("connect_timeout_seconds", float),
    "command_timeout": ("command_timeout_seconds", float),
}


def _number(option: str, text: str | tuple[str, ...], kind: type[int] | type[float]) -> int | float:
    try:
        return kind(text if isinstance(text, str) else text[-1])
    except ValueError:
        raise StoreRefused(f"the option {option} of the store's URL is no number") from None


def writer_engine(server: Server) -> AsyncEngine:
    """READ COMMITTED by name, whatever the server's default: each read under the lock on the head
    must see everything committed before the lock was granted.
    """
    return server.engine(isolation_level="READ COMMITTED", pool_size=1)


def reader_engine(server: Server) -> AsyncEngine:
    """Each statement is a transaction of its own, without a round trip to begin and end it."""
    return server.engine(isolation_level="AUTOCOMMIT")


def snapshot_engine(server: Server) -> AsyncEngine:
    """One connection whose transaction sees the database as of its first read, and cannot write."""
    engine = server.engine(isolation_level="REPEATABLE READ", pool_size=1)
    return engine.execution_options(postgresql_readonly=True)


# ---------------------------------------------------------------- the writer


class PostgresWriter(GroupCommit):
    """One task takes what is queued, writes it, and tries again what a passing failure undid."""

    def __init__(
        self,
        *,
        engine: AsyncEngine,
        dialect: PostgresDialect,
        transactions: Transactions,
        snapshots: Snapshots,
        head: Head,
        waiting_max: int,
        batch_max: int,
    ) -> None:
        super().__init__(snapshots=snapshots, head=head, waiting_max=waiting_max)
        self._engine = engine
        self._dialect = dialect
        self._transactions = transactions
        self._batch_max = batch_max
        # Unbounded by itself: `waiting_max` bounds what is put in.
        self._queue: deque[Waiter] = deque()
        self._woken = asyncio.Event()
        self._task = asyncio.create_task(self._run(), name="governor-store")

    def _enqueue(self, waiter: Waiter) -> None:
        self._queue.append(waiter)
        self._woken.set()

    async def _drain(self) -> None:
        self._woken.set()
        await self._task
        await self._engine.dispose()

    async def _run(self) -> None:
        while self._queue or not self._closed:
            await self._woken.wait()
            self._woken.clear()
            while self._queue:
                waiters = taken_from(self._queue.popleft(), self._following, self._batch_max)
                try:
                    settlement = await self._settle([waiter.commit for waiter in waiters])
                except Exception as error:  # noqa: BLE001 - whatever it is, the callers are told
                    self._failed(waiters, error)
                else:
                    self._settled(waiters, settlement)

    def _following(self) -> Waiter | None:
        return self._queue.popleft() if self._queue else None

    async def _settle(self, commits: Sequence[Commit]) -> Settlement:
        """A COMMIT that did not answer is looked up before the batch is written again."""
        unknown: Written | None = None

        def settle(connection: Connection) -> Settlement:
            nonlocal unknown
            if unknown is not None:
                landed = self._transactions.landed(connection, unknown)
                if landed is not None:
                    return landed
                unknown = None
            try:
                return self._transactions.settle(connection, commits)
            except CommitUnknown as error:
                unknown = error.written
                raise

        attempts = AsyncRetrying(
            retry=retry_if_exception(self._is_passing),
            stop=stop_after_attempt(_ATTEMPTS_MAX),
            wait=wait_random_exponential(multiplier=_BACKOFF_SECONDS, max=_BACKOFF_SECONDS_MAX),
            reraise=True,
        )
        return await attempts(self._on_a_connection, settle)

    async def _on_a_connection(self, settle: Callable[[Connection], Settlement]) -> Settlement:
        async with self._engine.connect() as connection:
            return await connection.run_sync(settle)

    def _is_passing(self, error: BaseException) -> bool:
        cause = error.__cause__ if isinstance(error, CommitUnknown) else error
        return isinstance(cause, Exception) and self._dialect.is_passing(cause)
