"""Reads a whole store, changes nothing, and names everything that does not agree.

Four things are held against each other: the entries' bytes, the tree over them, the rows of
requests, executions and the host's standing, and a checkpoint that was kept outside. Whoever can
write the database can make the first three agree; only the last is out of their reach. SQLite's
file is held against itself as well: hashes do not reach the pages of its indexes.
"""

from collections import Counter
from collections.abc import AsyncIterator, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from pathlib import Path
from typing import Any, Final, TypeVar

from sqlalchemy import Column, Row, Select, Table, func, select, text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from governor.domain.ledger import EMPTY_ROOT, Checkpoint
from governor.domain.request import MutationRequest
from governor.domain.values import RequestId, Value
from governor.storage import labels, migrate, postgres, queries, rows, sqlite, tables
from governor.storage.causes import Cause, cause_of
from governor.storage.errors import NoSuchStore
from governor.storage.findings import (
    EntryDecoder,
    Fault,
    Finding,
    FormerStore,
    LedgerCheck,
    check_execution,
    check_request,
    check_standing,
)
from governor.storage.open import is_sqlite, only_our_words, parse
from governor.storage.transaction import log_failure
from governor.usecases.commits import Entry, Head

_T = TypeVar("_T")

_ENTRIES_PER_PAGE: Final = 1_000
_REQUESTS_PER_PAGE: Final = 100  # with their payloads
_ROWS_AT_ONCE: Final = 500  # of a list, each of them looked up by all that it holds
_DAMAGES_MAX: Final = 100  # of the file; one that has so many is not looked at further
_NO_DAMAGE: Final = ("ok", "*** in database main ***")


class Verified(Value, frozen=True, kw_only=True):
    """What was looked at. `root` is the one recomputed over all entries there are."""

    store_id: str
    size: int
    root: bytes
    requests: int
    executions: int
    findings: int


_NOTHING: Final = Verified(
    store_id="", size=0, root=EMPTY_ROOT, requests=0, executions=0, findings=1
)


async def verify(
    url: str, *, decode: EntryDecoder, checkpoint: Checkpoint | None = None
) -> AsyncIterator[Finding | Verified]:
    """Every fault there is, then what was looked at; all as of one moment.

    Raises StoreRefused or StoreUnavailable if it cannot begin. Once begun it goes on to the end:
    what cannot be read is itself a finding.
    """
    async for item in verify_snapshot(_snapshot(url), decode=decode, checkpoint=checkpoint):
        yield item


async def verify_snapshot(
    snapshot: AbstractAsyncContextManager[AsyncConnection],
    *,
    decode: EntryDecoder,
    checkpoint: Checkpoint | None,
) -> AsyncIterator[Finding | Verified]:
    """The same of a store that somebody else has opened."""
    with only_our_words():
        try:
            async with snapshot as connection:
                verification = _Verification(connection, decode, checkpoint)
                async for finding in verification.findings():
                    yield finding
                yield verification.verified()
        except SQLAlchemyError as error:
            if cause_of(error) is not Cause.DAMAGED:
                raise
            log_failure("nothing of the store can be read", error)
            yield Finding(fault=Fault.FILE_DAMAGED)
            yield _NOTHING


class _Verification:
    """One pass over each table, a page at a time."""

    def __init__(
        self, connection: AsyncConnection, decode: EntryDecoder, checkpoint: Checkpoint | None
    ) -> None:
        self._connection = connection
        self._decode = decode
        self._ledger = LedgerCheck(decode, checkpoint)
        self._store_id = ""
        self._requests = self._executions = self._findings = 0

    async def findings(self) -> AsyncIterator[Finding]:
        """The parts one after another; one that cannot be read does not stop the next."""
        for name, part in (
            ("the file", self._check_file),
            ("the ledger", self._check_ledger),
            ("the requests", self._check_requests),
            ("what requests are found by", self._check_lists),
            ("the executions", self._check_executions),
            ("what only the ledger tells of", self._check_missing),
            ("the host's standing", self._check_standing),
        ):
            try:
                # After an error PostgreSQL takes nothing more but the way back to a savepoint.
                async with self._connection.begin_nested():
                    async for finding in part():
                        self._findings += 1
                        yield finding
            except Exception as error:  # noqa: BLE001 - what damage makes of a value is anything
                log_failure(f"a part of the store cannot be read, {name}", error)
                self._findings += 1
                is_damage = cause_of(error) is Cause.DAMAGED
                fault = Fault.FILE_DAMAGED if is_damage else Fault.STORE_UNREADABLE
                yield Finding(fault=fault, detail=name)

    def verified(self) -> Verified:
        tree = self._ledger.tree
        return Verified(
            store_id=self._store_id,
            size=tree.size,
            root=tree.root(),
            requests=self._requests,
            executions=self._executions,
            findings=self._findings,
        )

    async def _check_file(self) -> AsyncIterator[Finding]:
        """Every page of it, and every index against its table. PostgreSQL has tools for its own.

        Streamed, because SQLite may say much and then find that it cannot go on.
        """
        if self._connection.dialect.name != "sqlite":
            return
        statement = text(f"PRAGMA integrity_check({_DAMAGES_MAX})")
        async for (said,) in await self._connection.stream(statement):
            for damage in said.splitlines():
                if damage not in _NO_DAMAGE:
                    yield Finding(fault=Fault.FILE_DAMAGED, detail=damage)

    async def _check_ledger(self) -> AsyncIterator[Finding]:
        async for page in self._pages(rows.NEW_ENTRY, _ENTRIES_PER_PAGE):
            for finding in self._ledger.entries(page):
                yield finding
        heads = await self._select(select(tables.head))
        if not heads:
            yield Finding(fault=Fault.HEAD_SIZE, detail="there is none")
            return
        (row,) = heads
        self._store_id = row.store_id
        head = Head(store_id=row.store_id, revision=row.size, root=row.root)
        earlier = await self._select(select(tables.former_stores))
        former = [FormerStore(store_id=one.store_id, size=one.size) for one in earlier]
        for finding in self._ledger.end(head, row.frontier, former):
            yield finding

    async def _check_requests(self) -> AsyncIterator[Finding]:
        async for page in self._pages(rows.NEW_REQUEST, _REQUESTS_PER_PAGE):
            self._requests += len(page)
            told = await self._told(tables.requests, tables.ledger.c.request_id, page)
            for row in page:
                for finding in check_request(row, told.get(row.id, ())):
                    yield finding

    async def _check_lists(self) -> AsyncIterator[Finding]:
        """That each request is found by all that it says, and no list holds anything else.

        Whom a request waits for may be more than it says: a migration asks everybody of the open
        step. None may be left of one that waits for nobody.
        """
        held: Counter[Table] = Counter()
        async for page in self._pages(rows.LISTED_REQUEST, _REQUESTS_PER_PAGE):
            for table, expected in (await self._said(page)).items():
                found = await self._those_in(table, expected)
                held[table] += len(found)
                for row in sorted(expected - found):
                    finding = Finding(fault=Fault.REQUEST_UNLISTED, detail=table.name)
                    yield finding.but(request_id=RequestId(str(row[-1])))
        for table in (tables.request_tags, tables.request_labels):
            ((total,),) = await self._select(select(func.count()).select_from(table))
            if total != held[table]:
                detail = f"{total - held[table]} of {table.name}"
                yield Finding(fault=Fault.REQUEST_LISTED, detail=detail)
        for row in await self._select(queries.waits_of_nobody()):
            finding = Finding(fault=Fault.REQUEST_LISTED, detail=tables.request_waits.name)
            yield finding.but(request_id=row.request_id)

    async def _said(self, page: Sequence[Row[Any]]) -> dict[Table, set[tuple[object, ...]]]:
        """The rows by which the requests of a page are to be found."""
        said: dict[Table, set[tuple[object, ...]]] = {
            tables.request_tags: set(),
            tables.request_labels: set(),
            tables.request_waits: set(),
        }
        requests: dict[str, MutationRequest] = {}
        for row in page:
            with suppress(ValueError):  # which the requests' own check has found already
                request = requests[row.id] = rows.listed_request(row)
                said[tables.request_tags].update(labels.new_tags(request))
                said[tables.request_labels].update(labels.new_labels(request))
                said[tables.request_labels].update(labels.left_behind_labels(request))
                said[tables.request_waits].update(labels.new_waits(request))
        for row in await self._select(queries.applied_executions(page[0].id, page[-1].id)):
            with suppress(ValueError, KeyError):  # which their own check will find
                execution = rows.execution_of(row.body)
                effects = labels.effect_labels(requests[execution.request_id], execution)
                said[tables.request_labels].update(effects)
        return said

    async def _those_in(
        self, table: Table, expected: Collection[tuple[object, ...]]
    ) -> set[tuple[object, ...]]:
        """Which of these rows the table holds."""
        found: set[tuple[object, ...]] = set()
        for some in batches(sorted(expected, key=str), _ROWS_AT_ONCE):
            held = await self._select(queries.those_in(table, some))
            found.update(tuple(row) for row in held)
        return found

    async def _check_executions(self) -> AsyncIterator[Finding]:
        async for page in self._pages(rows.NEW_EXECUTION, _REQUESTS_PER_PAGE):
            self._executions += len(page)
            told = await self._told(tables.executions, tables.ledger.c.execution_id, page)
            for row in page:
                for finding in check_execution(row, told.get(row.id, ())):
                    yield finding

    async def _check_missing(self) -> AsyncIterator[Finding]:
        """What only the ledger still tells of."""
        entry = tables.ledger.c
        for row in await self._select(_untold(entry.request_id, tables.requests)):
            yield Finding(fault=Fault.REQUEST_MISSING, request_id=row.id, revision=row.revision)
        for row in await self._select(_untold(entry.execution_id, tables.executions)):
            yield Finding(fault=Fault.EXECUTION_MISSING, execution_id=row.id, revision=row.revision)

    async def _check_standing(self) -> AsyncIterator[Finding]:
        found = await self._select(queries.host_standing())
        told = await self._select(queries.last_about_the_host())
        with suppress(ValueError):  # which the ledger's own check has found already
            last = self._decode(told[0].entry) if told else None
            for finding in check_standing(found[0] if found else None, last):
                yield finding

    async def _told(
        self, table: Table, named: Column[Any], page: Sequence[Row[Any]]
    ) -> Mapping[str, Sequence[Entry]]:
        """The entries about each row of the page, oldest first, as far as they can be read."""
        entry = tables.ledger.c
        about = (entry.tenant == table.c.tenant) & (named == table.c.id)
        found = await self._select(
            select(named.label("id"), entry.entry)
            .join_from(table, tables.ledger, about)
            .where(table.c.id >= page[0].id, table.c.id <= page[-1].id)
            .order_by(entry.revision)
        )
        told: dict[str, list[Entry]] = {}
        for row in found:
            with suppress(ValueError):  # which the ledger's own check has found already
                told.setdefault(row.id, []).append(self._decode(row.entry))
        return told

    async def _pages(
        self, columns: Sequence[Column[Any]], size: int
    ) -> AsyncIterator[Sequence[Row[Any]]]:
        """All rows, in the order of the first of the columns."""
        key = columns[0]
        statement = select(*columns).order_by(key).limit(size)
        page = await self._select(statement)
        while page:
            yield page
            page = await self._select(statement.where(key > page[-1][0]))

    async def _select(self, statement: Select[Any]) -> Sequence[Row[Any]]:
        found: Sequence[Row[Any]] = (await self._connection.execute(statement)).all()
        return found


def batches(values: Sequence[_T], size: int) -> Iterator[Sequence[_T]]:
    """The values in order, at most so many at once."""
    return (values[at : at + size] for at in range(0, len(values), size))


def _untold(named: Column[Any], table: Table) -> Select[Any]:
    """What the ledger names and the table does not hold, with the first entry that names it."""
    return (
        select(named.label("id"), func.min(tables.ledger.c.revision).label("revision"))
        .outerjoin_from(tables.ledger, table, table.c.id == named)
        .where(named.is_not(None), named != "", table.c.id.is_(None))
        .group_by(named)
        .order_by(named)
    )


def _snapshot(url: str) -> AbstractAsyncContextManager[AsyncConnection]:
    """A connection that reads everything as of one moment, and can write nothing."""
    parsed = parse(url)
    if is_sqlite(parsed):
        return sqlite_snapshot(sqlite.database_path(parsed))
    return _on_one_connection(postgres.snapshot_engine(postgres.Server.of(parsed)))


def sqlite_snapshot(
    path: Path, *, immutable: bool = False
) -> AbstractAsyncContextManager[AsyncConnection]:
    """The same of a file; with `immutable`, of one that nobody writes to."""
    if not path.is_file():
        raise NoSuchStore(str(path))
    return _on_one_connection(sqlite.snapshot_engine(path, immutable=immutable))


@asynccontextmanager
async def _on_one_connection(engine: AsyncEngine) -> AsyncIterator[AsyncConnection]:
    try:
        async with engine.connect() as connection:
            await connection.run_sync(migrate.check)
            async with connection.begin():
                yield connection
    finally:
        await engine.dispose()
