"""Every test of this suite runs on every backend."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from governor.storage.open import open_store
from governor.storage.store import SqlStore
from tests.support.backends import Backend, Opener, Origin, SqliteFolder, Turnstile
from tests.support.builders import encode_entry
from tests.support.postgres import postgres_server

__all__ = ["postgres_server"]  # a fixture: found here by its name


@pytest.fixture(scope="session")
def sqlite_folder(tmp_path_factory: pytest.TempPathFactory) -> SqliteFolder:
    """Where SQLite stores come from."""
    return SqliteFolder.make(tmp_path_factory.mktemp("template"))


@pytest.fixture(params=["sqlite_folder", "postgres_server"], ids=["sqlite", "postgresql"])
def origin(request: pytest.FixtureRequest) -> Origin:
    """Where stores come from, on each database in turn."""
    made: Origin = request.getfixturevalue(request.param)
    return made


@pytest_asyncio.fixture
async def backend(origin: Origin, tmp_path: Path) -> AsyncIterator[Backend]:
    """A migrated and empty store."""
    async with origin.fresh(tmp_path) as backend:
        yield backend


@pytest_asyncio.fixture
async def opened(backend: Backend) -> AsyncIterator[Opener]:
    """Opens the store as often as a test likes, and closes what it left open."""
    stores: list[SqlStore] = []

    async def open_one(**options: Any) -> SqlStore:
        store = await open_store(backend.url, encode=encode_entry, **options)
        stores.append(store)
        return store

    yield open_one
    for store in stores:
        await store.close()


@pytest.fixture
def turnstile(backend: Backend) -> Turnstile:
    """Makes one batch of what a test commits together."""
    return Turnstile(backend)


@pytest_asyncio.fixture
async def store(opened: Opener, turnstile: Turnstile) -> SqlStore:
    """The backend's store, opened with the turnstile in it."""
    return await opened(failpoints=turnstile)
