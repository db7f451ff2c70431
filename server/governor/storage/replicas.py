"""Who shares a store: a lease per replica by the database's clock, and what the dead have left.

A lease says who sees to a request next, and never who may write: whoever writes holds the revision
that it read against the row's, and every order to the host carries a fencing token. So a replica
that is paused past its lease, or whose clock is wrong, costs time and nothing else.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Any, Final, Protocol, TypeVar

from sqlalchemy import (
    ColumnElement,
    Connection,
    Row,
    Select,
    delete,
    insert,
    select,
    text,
    tuple_,
    update,
)

from governor.domain.request import MutationRequest
from governor.domain.values import RequestId, Revision
from governor.storage import rows, tables
from governor.storage.reader import Reader
from governor.usecases.questions import Cursor

logger = logging.getLogger(__name__)

_T = TypeVar("_T")

MICROS: Final = 1_000_000
LEASE_SHARE: Final = 0.5
"""A replica's lease is this part of an execution's: what one that has died left is found, taken
over and settled while the other part runs."""

RENEWALS_PER_LEASE: Final = 4
FORGOTTEN_AFTER_LEASES: Final = 20

_requests: Final = tables.requests.c
_replicas: Final = tables.replicas.c
# As text, because the index's condition has to be repeated to the letter.
_UNFINISHED: Final = text("requests.unfinished")
_PLACE: Final = (_requests.submitted_revision, _requests.id)

Running = Callable[[Callable[[Connection], _T]], Awaitable[_T]]
"""Runs some work in a transaction of its own."""

DatabaseTime = Callable[[], ColumnElement[int]]
"""The database's clock as an expression, in microseconds."""


class Membership(Protocol):
    """A process among those that share a store."""

    @property
    def is_shared(self) -> bool:
        """Whether there may be others."""
        ...

    @property
    def leads(self) -> bool:
        """Whether it does what one of them does for all."""
        ...

    async def adopt(self, *, limit: int) -> tuple[MutationRequest, ...]:
        """See Store.adopt."""
        ...

    async def owns(self, id: RequestId) -> bool:
        """See Store.owns."""
        ...

    async def leave(self) -> None:
        """Gives up what it sees to."""
        ...


class Alone:
    """The only process there is: what any former one left is its own."""

    is_shared = False
    leads = True

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._after: Cursor | None = None
        self._is_done = False

    async def adopt(self, *, limit: int) -> tuple[MutationRequest, ...]:
        if self._is_done:
            return ()
        page = await self._reader.unfinished(after=self._after, limit=limit)
        if page:
            self._after = _end_of(page)
        self._is_done = not page
        return page

    async def owns(self, id: RequestId) -> bool:  # noqa: ARG002 - whatever it is, there is nobody else
        return True

    async def leave(self) -> None:
        """There is nobody to leave it to."""


class Replica:
    """One of several. Create, `join`, and `leave` in the end."""

    is_shared = True

    def __init__(
        self, *, id: str, lease_seconds: float, run: Running[Any], now: DatabaseTime
    ) -> None:
        self.id = id
        self._lease_us = round(lease_seconds * LEASE_SHARE * MICROS)
        self._renewal_seconds = lease_seconds * LEASE_SHARE / RENEWALS_PER_LEASE
        self._run = run
        self._now = now
        self._loop = asyncio.get_running_loop()
        self._leads = False
        self._leads_until = 0.0  # in the loop's time
        self._task: asyncio.Task[None] | None = None
        # An adoption that was not answered may have happened: then our own are read again.
        self._is_unsure = False
        self._own_after: Cursor | None = None

    @property
    def leads(self) -> bool:
        """The oldest does, as long as it is sure to be alive."""
        return self._leads and self._loop.time() < self._leads_until

    async def join(self) -> None:
        """Alive from now on, until `leave`."""
        await self._renew()
        self._task = asyncio.create_task(self._keep_alive(), name="governor-lease")

    async def leave(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        gone = delete(tables.replicas).where(_replicas.id == self.id)
        with suppress(Exception):  # the lease runs out by itself
            await self._run(lambda connection: connection.execute(gone))

    async def adopt(self, *, limit: int) -> tuple[MutationRequest, ...]:
        if self._is_unsure:
            page = _listed(await self._run(lambda connection: self._own(connection, limit)))
            if page:
                self._own_after = _end_of(page)
                return page
            self._is_unsure, self._own_after = False, None
        try:
            found = await self._run(lambda connection: self._orphans(connection, limit))
        except BaseException:
            self._is_unsure = True
            raise
        return _listed(found)

    async def owns(self, id: RequestId) -> bool:
        owner = select(_requests.owner).where(_requests.id == id)
        found = await self._run(lambda connection: connection.scalars(owner).one_or_none())
        return bool(found == self.id)

    # ------------------------------------------------------------ the lease

    async def _keep_alive(self) -> None:
        while True:
            await asyncio.sleep(self._renewal_seconds)
            try:
                await self._renew()
            except Exception as error:
                logger.warning("the lease of this replica was not renewed", exc_info=error)

    async def _renew(self) -> None:
        asked_at = self._loop.time()
        leader = await self._run(self._renewed)
        self._leads = leader == self.id
        self._leads_until = asked_at + self._lease_us / MICROS

    def _renewed(self, connection: Connection) -> str:
        """Renews the lease, or takes one, and answers who is the oldest of the living."""
        now = self._now()
        until = now + self._lease_us
        mine = update(tables.replicas).where(_replicas.id == self.id).values(lease_until=until)
        if not connection.execute(mine).rowcount:
            row = {"id": self.id, "started_at": now, "lease_until": until}
            connection.execute(insert(tables.replicas).values(row))
        forgotten = now - FORGOTTEN_AFTER_LEASES * self._lease_us
        connection.execute(delete(tables.replicas).where(_replicas.lease_until < forgotten))
        oldest = self._living().order_by(_replicas.started_at, _replicas.id).limit(1)
        leader: str = connection.scalars(oldest).one()
        return leader

    def _living(self) -> Select[Any]:
        return select(_replicas.id).where(_replicas.lease_until > self._now())

    # ------------------------------------------------------------ what nobody sees to

    def _orphans(self, connection: Connection, limit: int) -> Sequence[Row[Any]]:
        """Marked as ours and answered. What another replica is about to take is passed over.

        As a common table expression, so that it is looked for once.
        """
        orphans = (
            select(_requests.id)
            .where(_UNFINISHED, _requests.owner.not_in(self._living()))
            .order_by(*_PLACE)
            .limit(limit)
            .with_for_update(skip_locked=True)
            .cte("orphans")
        )
        taken = (
            update(tables.requests)
            .where(_requests.id.in_(select(orphans.c.id)))
            .values(owner=self.id)
            .returning(*rows.LISTED_REQUEST)
        )
        return connection.execute(taken).all()

    def _own(self, connection: Connection, limit: int) -> Sequence[Row[Any]]:
        page = select(*rows.LISTED_REQUEST).where(_UNFINISHED, _requests.owner == self.id)
        if (after := self._own_after) is not None:
            page = page.where(tuple_(*_PLACE) > tuple_(after.revision, after.id))
        return connection.execute(page.order_by(*_PLACE).limit(limit)).all()


def _listed(found: Sequence[Row[Any]]) -> tuple[MutationRequest, ...]:
    """Oldest first: rows come back from an UPDATE in no order."""
    requests = map(rows.listed_request, found)
    return tuple(sorted(requests, key=lambda one: (one.submitted_revision, one.id)))


def _end_of(page: Sequence[MutationRequest]) -> Cursor:
    return Cursor(revision=Revision(page[-1].submitted_revision), id=page[-1].id)
