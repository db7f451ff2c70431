"""The server backend: group commit as a task, and what a network between us and the disk adds."""

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeVar

import asyncpg
from sqlalchemy import URL, BigInteger, ColumnElement, Connection, literal_column
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from tenacity import AsyncRetrying, retry_if_exception, stop_after_attempt, wait_random_exponential

from governor.domain.errors import StoreUnavailable
from governor.domain.values import Revision
from governor.storage.batch import Written
from governor.storage.dialect import PostgresDialect
from governor.storage.errors import StoreRefused
from governor.storage.snapshots import Snapshots
from governor.storage.transaction import CommitUnknown, Settlement, Transactions, unavailable
from governor.storage.writer import GroupCommit, Waiter, taken_from
from governor.usecases.commits import Commit, Head

logger = logging.getLogger(__name__)

_T = TypeVar("_T")

_APPLICATION_NAME: Final = "governor"
_ATTEMPTS_MAX: Final = 5
_BACKOFF_SECONDS: Final = 0.02
_BACKOFF_SECONDS_MAX: Final = 1.0
_MOMENT_POLLS: Final = 10


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
            async_creator=self.connect,
            isolation_level=isolation_level,
            pool_size=pool_size or self.pool_size,
            max_overflow=0,
            pool_timeout=self.pool_timeout_seconds,
            pool_recycle=self.pool_recycle_seconds,
            hide_parameters=True,
        )

    async def connect(self) -> asyncpg.Connection:
        """A connection of its own, outside every pool."""
        connection: asyncpg.Connection = await asyncpg.connect(
            self.dsn,
            timeout=self.connect_timeout_seconds,
            command_timeout=self.command_timeout_seconds,
        )
        return connection


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


def member_engine(server: Server) -> AsyncEngine:
    """One connection for the lease, which must not wait for a batch to be written."""
    return server.engine(isolation_level="READ COMMITTED", pool_size=1)


def reader_engine(server: Server) -> AsyncEngine:
    """Each statement is a transaction of its own, without a round trip to begin and end it."""
    return server.engine(isolation_level="AUTOCOMMIT")


def database_time() -> ColumnElement[int]:
    """The server's clock, in microseconds, as it is when the statement runs."""
    return literal_column("(extract(epoch FROM clock_timestamp()) * 1000000)::bigint", BigInteger())


def snapshot_engine(server: Server) -> AsyncEngine:
    """One connection whose transaction sees the database as of its first read, and cannot write."""
    engine = server.engine(isolation_level="REPEATABLE READ", pool_size=1)
    return engine.execution_options(postgresql_readonly=True)


# ---------------------------------------------------------------- the writer


class PostgresWriter(GroupCommit):
    """One task takes what is queued, writes it, and tries again what a passing failure undid.

    It also looks for what other replicas have written, so that everything is published from one
    place and in ledger order: every `poll_seconds`, and when somebody hints or asks.
    """

    def __init__(
        self,
        *,
        engine: AsyncEngine,
        dialect: PostgresDialect,
        transactions: Transactions,
        snapshots: Snapshots,
        head: Head,
        waiting_max: int,
        waiting_bytes_max: int,
        batch_max: int,
        poll_seconds: float,
    ) -> None:
        super().__init__(
            snapshots=snapshots,
            head=head,
            waiting_max=waiting_max,
            waiting_bytes_max=waiting_bytes_max,
        )
        self._engine = engine
        self._dialect = dialect
        self._transactions = transactions
        self._batch_max = batch_max
        self._poll_seconds = poll_seconds
        # Unbounded by itself: `waiting_max` and `waiting_bytes_max` bound what is put in.
        self._queue: deque[Waiter] = deque()
        self._woken = asyncio.Event()
        self._should_look = False
        self._looked_at = self._loop.time()
        self._asking: list[asyncio.Future[None]] = []
        self._tell_others: Callable[[], None] = lambda: None
        self._is_blind = False
        self._task = asyncio.create_task(self._run(), name="governor-store")
        self._polling = asyncio.create_task(self._poll(), name="governor-poll")

    def look(self) -> None:
        """There may be something new in the ledger."""
        self._should_look = True
        self._woken.set()

    def tell_others_by(self, tell: Callable[[], None]) -> None:
        """`tell` is called whenever something of ours became durable."""
        self._tell_others = tell

    async def refresh(self, since: Revision) -> bool:
        """See Store.refresh: a look that begins after it was asked for."""
        if self._closed:
            raise StoreUnavailable("the store is closed")
        asked: asyncio.Future[None] = self._loop.create_future()
        self._asking.append(asked)
        self.look()
        await asked
        return await super().refresh(since)

    def _enqueue(self, waiter: Waiter) -> None:
        self._queue.append(waiter)
        self._woken.set()

    async def _drain(self) -> None:
        self._polling.cancel()
        self._woken.set()
        await asyncio.gather(self._polling, self._task, return_exceptions=True)
        await self._engine.dispose()

    async def _poll(self) -> None:
        while True:
            await asyncio.sleep(self._poll_seconds)
            self.look()

    async def _run(self) -> None:
        while self._queue or self._asking or not self._closed:
            await self._woken.wait()
            self._woken.clear()
            while self._queue or self._should_look:
                if self._should_look and not (self._queue and self._writing_shows_enough()):
                    await self._look()
                if self._queue:
                    await self._write()

    def _following(self) -> Waiter | None:
        return self._queue.popleft() if self._queue else None

    # ------------------------------------------------------------ what others have written

    def _writing_shows_enough(self) -> bool:
        """A batch catches up, too: with little, since somebody has looked a moment ago."""
        moments = _MOMENT_POLLS * self._poll_seconds
        return not self._asking and self._loop.time() < self._looked_at + moments

    async def _look(self) -> None:
        """Another stretch is looked at after what is queued has had its turn."""
        self._should_look = False
        asking, self._asking = self._asking, []
        try:
            settlement = await self._persistently(self._transactions.catch_up)
        except Exception as error:  # noqa: BLE001 - whatever it is, those who asked are told
            self._sees(error)
            _answer_all(asking, error)
            return
        self._sees(None)
        self._looked_at = self._loop.time()
        if settlement is not None:
            self._caught_up(settlement)
        if self._transactions.is_behind:
            self._asking.extend(asking)
            self.look()
        else:
            _answer_all(asking, None)

    def _sees(self, error: Exception | None) -> None:
        """Says once that others cannot be followed, and once that they can be again."""
        if error is not None and not self._is_blind:
            logger.error("what other replicas write cannot be followed", exc_info=error)
        elif error is None and self._is_blind:
            logger.info("what other replicas write can be followed again")
        self._is_blind = error is not None

    # ------------------------------------------------------------ what is queued

    async def _write(self) -> None:
        waiters = taken_from(self._queue.popleft(), self._following, self._batch_max)
        try:
            settlement = await self._settle([waiter.commit for waiter in waiters])
        except Exception as error:  # noqa: BLE001 - whatever it is, the callers are told
            self._failed(waiters, error)
        else:
            self._settled(waiters, settlement)
            self._looked_at = self._loop.time()
            self._should_look = bool(self._asking)
            self._tell_others()

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

        return await self._persistently(settle)

    async def _persistently(self, work: Callable[[Connection], _T]) -> _T:
        attempts = AsyncRetrying(
            retry=retry_if_exception(self._is_passing),
            stop=stop_after_attempt(_ATTEMPTS_MAX),
            wait=wait_random_exponential(multiplier=_BACKOFF_SECONDS, max=_BACKOFF_SECONDS_MAX),
            reraise=True,
        )
        return await attempts(self._on_a_connection, work)

    async def _on_a_connection(self, work: Callable[[Connection], _T]) -> _T:
        async with self._engine.connect() as connection:
            return await connection.run_sync(work)

    def _is_passing(self, error: BaseException) -> bool:
        cause = error.__cause__ if isinstance(error, CommitUnknown) else error
        return isinstance(cause, Exception) and self._dialect.is_passing(cause)


def _answer_all(asking: Sequence[asyncio.Future[None]], error: Exception | None) -> None:
    for asked in asking:
        if asked.done():
            continue  # whoever asked was cancelled and has left
        if error is None:
            asked.set_result(None)
        else:
            asked.set_exception(unavailable(error))
