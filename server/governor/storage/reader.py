"""Reads: every query of the Store port, answered by a pool of connections that never write."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Hashable, Mapping, Sequence
from typing import Any, Final, Generic, TypeVar

from sqlalchemy import Row, Select
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine

from governor.domain.errors import Overloaded, RequestIdReused, StoreUnavailable
from governor.domain.execution import Execution
from governor.domain.host_standing import HostStanding
from governor.domain.request import MutationRequest, PendingReason, Status
from governor.domain.values import ExecutionId, Micros, RequestId, Revision
from governor.storage import entry_pages, queries, request_pages, rows
from governor.storage.causes import cause_name
from governor.storage.snapshots import Snapshots
from governor.storage.transaction import log_failure, unavailable
from governor.usecases.commits import Committed, IdempotencyKey, StoredEntry
from governor.usecases.questions import (
    Cursor,
    DecisionFilter,
    Due,
    ExecutionQuery,
    RequestCounts,
    RequestQuery,
)

_K = TypeVar("_K", bound=Hashable)
_V = TypeVar("_V")

_SELECT_MAX: Final = 256
READS_WAITING_MAX: Final = 4_096
"""How many reads may wait for a connection, and how many names to be looked up. Callers are bounded
elsewhere, but a read goes on when its caller has left."""


class Gathered(Generic[_K, _V]):
    """Looks things up by name; what is asked for while one select runs shares the next.

    So a burst of callers costs two selects, and each answer comes from a select that began after
    it was asked for: nobody is told of a past older than their question.
    """

    def __init__(self, select: Callable[[Sequence[_K]], Awaitable[Mapping[_K, _V]]]) -> None:
        self._select = select
        self._asked: dict[_K, asyncio.Future[_V | None]] = {}
        self._running: asyncio.Task[None] | None = None

    async def get(self, key: _K) -> _V | None:
        future = self._asked.get(key)
        if future is None:
            if len(self._asked) >= READS_WAITING_MAX:
                raise Overloaded("READS_WAITING_MAX", READS_WAITING_MAX)
            future = self._asked[key] = asyncio.get_running_loop().create_future()
            if self._running is None:
                self._running = asyncio.create_task(self._run())
        return await asyncio.shield(future)

    async def _run(self) -> None:
        while self._asked:
            taken = dict(list(self._asked.items())[:_SELECT_MAX])
            for key in taken:
                del self._asked[key]
            try:
                found = await self._select(tuple(taken))
            except Exception as error:  # noqa: BLE001 - whatever it is, those who asked are told
                for future in taken.values():
                    future.set_exception(error)
                    future.exception()  # those who asked may all have left
            else:
                for key, future in taken.items():
                    future.set_result(found.get(key))
        self._running = None


class Reader:
    """Selects and maps. Raises StoreUnavailable, Overloaded and nothing of the driver's."""

    def __init__(self, engine: AsyncEngine, snapshots: Snapshots) -> None:
        self._engine = engine
        self._snapshots = snapshots
        self.failures: Counter[str] = Counter()
        self._requests = Gathered(self._read_requests)
        self._executions = Gathered(self._read_executions)
        self._reading: set[asyncio.Task[Sequence[Row[Any]]]] = set()

    async def request(self, id: RequestId) -> MutationRequest | None:
        return self._snapshots.requests.get(id) or await self._requests.get(id)

    async def execution(self, id: ExecutionId) -> Execution | None:
        return self._snapshots.executions.get(id) or await self._executions.get(id)

    async def replay(self, key: IdempotencyKey) -> Committed | None:
        found = await self._select(queries.earlier_answer_to(key))
        if not found:
            return None
        if found[0].fingerprint != key.fingerprint:
            raise RequestIdReused(key.request_id)
        return queries.earlier_answer(found[0])

    async def executions_of(self, id: RequestId) -> tuple[Execution, ...]:
        return await self._values(queries.executions_of(id), _execution)

    async def requests(self, query: RequestQuery) -> tuple[MutationRequest, ...]:
        return await self._values(request_pages.requests_page(query), rows.listed_request)

    async def executions(self, query: ExecutionQuery) -> tuple[Execution, ...]:
        return await self._values(queries.executions_page(query), _execution)

    async def entries(
        self, *, after: Revision, limit: int, filter: DecisionFilter | None = None
    ) -> tuple[StoredEntry, ...]:
        page = entry_pages.entries(after=after, limit=limit, filter=filter)
        return await self._values(page, rows.stored_entry)

    async def newest_entries(
        self, *, before: Revision | None, limit: int, filter: DecisionFilter
    ) -> tuple[StoredEntry, ...]:
        page = entry_pages.newest_entries(before=before, limit=limit, filter=filter)
        return await self._values(page, rows.stored_entry)

    async def host_standing(self) -> HostStanding:
        found = await self._select(queries.host_standing())
        return rows.host_standing_of(found[0] if found else None)

    async def due(self, *, until: Micros, limit: int, after: Due | None = None) -> tuple[Due, ...]:
        found = await self._select(queries.due(until=until, limit=limit, after=after))
        return tuple(Due(at=Micros(row.due_at), id=row.id) for row in found)

    async def next_due(self) -> Micros | None:
        ((moment,),) = await self._select(queries.next_due())
        return None if moment is None else Micros(moment)

    async def pending_counts(self) -> Mapping[PendingReason, int]:
        """How many requests wait for each reason; one that waits for two is counted twice."""
        counts: Counter[PendingReason] = Counter()
        for row in await self._select(queries.pending_masks()):
            for reason in rows.reasons_in(row.pending_mask):
                counts[reason] += row.requests
        return counts

    async def overdue_reviews(
        self, tenant: str, *, requester: str, until: Micros, limit: int
    ) -> tuple[MutationRequest, ...]:
        page = queries.overdue_reviews(tenant, requester=requester, until=until, limit=limit)
        return await self._values(page, rows.listed_request)

    async def request_counts(self, tenant: str, *, now: Micros) -> RequestCounts:
        statuses: dict[Status, int] = {}
        pending: Counter[PendingReason] = Counter()
        reviews = [0, 0]
        for row in await self._select(queries.request_counts(tenant, now=now)):
            if row.kind == "status":
                statuses[Status(row.name)] = row.requests
            elif row.kind == "pending":
                for reason in rows.reasons_in(row.number):
                    pending[reason] += row.requests
            else:
                reviews[row.number] = row.requests
        return RequestCounts(
            statuses=statuses,
            pending=dict(pending),
            reviews_open=reviews[0],
            reviews_overdue=reviews[1],
        )

    async def unfinished(self, *, after: Cursor | None, limit: int) -> tuple[MutationRequest, ...]:
        return await self._values(queries.unfinished(after=after, limit=limit), rows.listed_request)

    async def dependents(self, id: RequestId) -> tuple[RequestId, ...]:
        found = await self._select(queries.dependents(id))
        return tuple(row.id for row in found)

    async def close(self) -> None:
        await asyncio.gather(*self._reading, return_exceptions=True)
        await self._engine.dispose()

    # ------------------------------------------------------------ selects behind the snapshots

    async def _read_requests(self, ids: Sequence[RequestId]) -> Mapping[RequestId, MutationRequest]:
        recent = self._snapshots.requests
        with recent.expecting(ids):
            read = await self._values(queries.whole_requests(ids), rows.whole_request)
            found = {request.id: request for request in read}
            recent.read(found)
        return found

    async def _read_executions(self, ids: Sequence[ExecutionId]) -> Mapping[ExecutionId, Execution]:
        recent = self._snapshots.executions
        with recent.expecting(ids):
            read = await self._values(queries.whole_executions(ids), _execution)
            found = {execution.id: execution for execution in read}
            recent.read(found)
        return found

    async def _values(
        self, statement: Select[Any], value_of: Callable[[Row[Any]], _V]
    ) -> tuple[_V, ...]:
        """A row whose bytes are no value is damage like any other."""
        found = await self._select(statement)
        try:
            return tuple(map(value_of, found))
        except ValueError as error:
            log_failure("a row cannot be read", error)
            raise self._unanswered(error) from error

    async def _select(self, statement: Select[Any]) -> Sequence[Row[Any]]:
        """A caller who leaves does not interrupt the read: drivers lose connections that way."""
        if len(self._reading) >= READS_WAITING_MAX:
            raise Overloaded("READS_WAITING_MAX", READS_WAITING_MAX)
        reading = asyncio.create_task(self._read(statement))
        self._reading.add(reading)
        reading.add_done_callback(self._read_ended)
        try:
            return await asyncio.shield(reading)
        except (SQLAlchemyError, OSError) as error:
            raise self._unanswered(error) from error

    def _unanswered(self, error: Exception) -> StoreUnavailable:
        told = unavailable(error)
        self.failures[cause_name(told)] += 1
        return told

    def _read_ended(self, reading: asyncio.Task[Sequence[Row[Any]]]) -> None:
        self._reading.discard(reading)
        if not reading.cancelled() and (error := reading.exception()) is not None:
            log_failure("a read failed", error)

    async def _read(self, statement: Select[Any]) -> Sequence[Row[Any]]:
        """A connection that died in the pool is noticed once; the pool then makes a new one."""
        try:
            return await self._read_once(statement)
        except DBAPIError as error:
            if not error.connection_invalidated:
                raise
            return await self._read_once(statement)

    async def _read_once(self, statement: Select[Any]) -> Sequence[Row[Any]]:
        async with self._engine.connect() as connection:
            found: Sequence[Row[Any]] = (await connection.execute(statement)).all()
            return found


def _execution(row: Row[Any]) -> Execution:
    return rows.execution_of(row.body)
