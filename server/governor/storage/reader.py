"""Reads: every query of the Store port, answered by a pool of connections that never write."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Hashable, Mapping, Sequence
from typing import Any, Final, Generic, TypeVar

from sqlalchemy import Row, Select
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine

from governor.domain.errors import RequestIdReused
from governor.domain.execution import Execution
from governor.domain.request import MutationRequest, PendingReason
from governor.domain.values import ExecutionId, Micros, RequestId, Revision
from governor.storage import queries, rows
from governor.storage.snapshots import Snapshots
from governor.storage.transaction import logger, unavailable
from governor.usecases.ports import (
    Committed,
    Cursor,
    DecisionFilter,
    ExecutionQuery,
    IdempotencyKey,
    RequestQuery,
    StoredEntry,
)

_K = TypeVar("_K", bound=Hashable)
_V = TypeVar("_V")

_SELECT_MAX: Final = 256


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
    """Selects and maps. Raises StoreUnavailable and nothing of the driver's."""

    def __init__(self, engine: AsyncEngine, snapshots: Snapshots) -> None:
        self._engine = engine
        self._snapshots = snapshots
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
        found = await self._select(queries.executions_of(id))
        return tuple(rows.execution_of(row.body) for row in found)

    async def requests(self, query: RequestQuery) -> tuple[MutationRequest, ...]:
        found = await self._select(queries.requests_page(query))
        return tuple(map(rows.listed_request, found))

    async def executions(self, query: ExecutionQuery) -> tuple[Execution, ...]:
        found = await self._select(queries.executions_page(query))
        return tuple(rows.execution_of(row.body) for row in found)

    async def entries(
        self, *, after: Revision, limit: int, filter: DecisionFilter | None = None
    ) -> tuple[StoredEntry, ...]:
        found = await self._select(queries.entries(after=after, limit=limit, filter=filter))
        return tuple(map(rows.stored_entry, found))

    async def due(self, *, until: Micros, limit: int) -> tuple[RequestId, ...]:
        found = await self._select(queries.due(until=until, limit=limit))
        return tuple(row.id for row in found)

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

    async def unfinished(self, *, after: Cursor | None, limit: int) -> tuple[MutationRequest, ...]:
        found = await self._select(queries.unfinished(after=after, limit=limit))
        return tuple(map(rows.listed_request, found))

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
            read = await self._select(queries.whole_requests(ids))
            found = {row.id: rows.whole_request(row) for row in read}
            recent.read(found)
        return found

    async def _read_executions(self, ids: Sequence[ExecutionId]) -> Mapping[ExecutionId, Execution]:
        recent = self._snapshots.executions
        with recent.expecting(ids):
            read = await self._select(queries.whole_executions(ids))
            found = {row.id: rows.execution_of(row.body) for row in read}
            recent.read(found)
        return found

    async def _select(self, statement: Select[Any]) -> Sequence[Row[Any]]:
        """A caller who leaves does not interrupt the read: drivers lose connections that way."""
        reading = asyncio.create_task(self._read(statement))
        self._reading.add(reading)
        reading.add_done_callback(self._read_ended)
        try:
            return await asyncio.shield(reading)
        except (SQLAlchemyError, OSError) as error:
            raise unavailable(error) from error

    def _read_ended(self, reading: asyncio.Task[Sequence[Row[Any]]]) -> None:
        self._reading.discard(reading)
        if not reading.cancelled() and (error := reading.exception()) is not None:
            logger.error("a read failed", exc_info=error)

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
