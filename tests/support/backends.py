"""The two databases as a test sees them: where the store is, how it is tampered with and held."""

import asyncio
import threading
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from shutil import copyfile
from typing import Any, Protocol

from sqlalchemy import make_url, text
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine
from sqlalchemy.pool import NullPool

from governor.storage.open import migrate
from governor.storage.store import SqlStore
from governor.usecases.commits import Commit, Committed
from tests.support.builders import make_request, submission

WAIT_SECONDS_MAX = 30.0


@dataclass(frozen=True, slots=True)
class Backend:
    """One database, for one test."""

    name: str
    url: str

    @property
    def is_sqlite(self) -> bool:
        return self.name == "sqlite"

    @asynccontextmanager
    async def intruder(self) -> AsyncIterator[AsyncConnection]:
        """A connection of somebody who does not go through the store; commits at the end."""
        driver = "sqlite+aiosqlite" if self.is_sqlite else "postgresql+asyncpg"
        engine = create_async_engine(make_url(self.url).set(drivername=driver), poolclass=NullPool)
        try:
            async with engine.begin() as connection:
                yield connection
        finally:
            await engine.dispose()

    async def run(self, statement: str, **values: Any) -> list[Mapping[str, Any]]:
        """What an intruder's statement answers."""
        async with self.intruder() as connection:
            result = await connection.execute(text(statement), values)
            return [dict(row) for row in result.mappings()] if result.returns_rows else []

    async def unguard_the_ledger(self) -> None:
        """Takes the triggers away, as anyone who owns the database can."""
        if not self.is_sqlite:
            await self.run("DROP TRIGGER ledger_not_changed ON ledger")
            return
        for name in ("ledger_not_updated", "ledger_not_deleted", "ledger_only_appended"):
            await self.run(f"DROP TRIGGER {name}")


class Origin(Protocol):
    """Where stores come from."""

    def fresh(self, folder: Path, *, migrated: bool = True) -> AbstractAsyncContextManager[Backend]:
        """A new database for as long as it is needed; `folder` is the test's own."""
        ...


class SqliteFolder:
    """Copies one migrated file: migrating each anew would be most of a suite's time."""

    def __init__(self, template: Path) -> None:
        self._template = template

    @classmethod
    def make(cls, folder: Path) -> "SqliteFolder":
        template = folder / "template.db"
        asyncio.run(migrate(f"sqlite:///{template}"))
        return cls(template)

    @asynccontextmanager
    async def fresh(self, folder: Path, *, migrated: bool = True) -> AsyncIterator[Backend]:
        path = folder / "store.db"
        if migrated:
            copyfile(self._template, path)
        yield Backend(name="sqlite", url=f"sqlite:///{path}")


class Opener(Protocol):
    """Opens the backend's store; whoever made it closes what it opened."""

    async def __call__(self, **options: Any) -> SqlStore: ...


class Turnstile:
    """A failpoint that holds the writer back, so that what is committed meanwhile is one batch.

    A writer with a thread of its own is made to wait between two batches. A writer that is a task
    takes everything that was queued in one turn of the loop, without help.
    """

    def __init__(self, backend: Backend) -> None:
        self._holds = backend.is_sqlite
        self._reached = threading.Event()
        self._open = threading.Event()
        self._open.set()
        self._used = 0

    def __call__(self, name: str) -> None:
        if self._holds and name == "store.batch.before_begin":
            self._reached.set()
            self._open.wait(WAIT_SECONDS_MAX)

    async def together(self, store: SqlStore, *commits: Commit) -> list[Committed | BaseException]:
        """Commits all of them in one transaction, in this order; answers what became of each."""
        self._used += 1
        before = asyncio.create_task(
            store.commit(submission(make_request(f"before-{self._used}", tenant="turnstile")))
        )
        if self._holds:
            self._reached.clear()
            self._open.clear()
            await asyncio.to_thread(self._reached.wait, WAIT_SECONDS_MAX)
        else:
            await before
        tasks = [asyncio.create_task(store.commit(commit)) for commit in commits]
        await asyncio.sleep(0)
        self._open.set()
        await before
        return await asyncio.gather(*tasks, return_exceptions=True)
