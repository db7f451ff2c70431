"""The journal in the host's own SQLite database, so that effect and outcome share a commit."""

import sqlite3
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Final, TypeVar

from governor.hostkit import law
from governor.hostkit.errors import HostBusy, InDoubt
from governor.hostkit.failpoints import APPLY, INQUIRY, Failpoint, Failpoints, reach
from governor.hostkit.group_commit import GroupCommit
from governor.hostkit.journal import (
    Claim,
    Conclusion,
    Decided,
    Image,
    Inquiry,
    Past,
    Record,
    Settled,
)
from governor.hostkit.locks import exclusive
from governor.hostkit.model import State

SCHEMA_VERSION: Final = 1
LOCK_WAIT_SECONDS: Final = 1.0

_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS governor_journal (
    only_row INTEGER PRIMARY KEY CHECK (only_row = 1),
    schema_version INTEGER NOT NULL,
    lineage_id TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS governor_execution (
    execution_id TEXT PRIMARY KEY,
    fencing_token INTEGER NOT NULL,
    fenced INTEGER NOT NULL,
    request_digest BLOB,
    outcome BLOB,
    CHECK ((request_digest IS NULL) = (outcome IS NULL)),
    CHECK (outcome IS NULL OR NOT fenced)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS governor_image (
    execution_id TEXT PRIMARY KEY,
    tenant TEXT NOT NULL,
    mutation_type TEXT NOT NULL,
    state_type TEXT NOT NULL,
    state_id TEXT NOT NULL,
    before BLOB NOT NULL,
    taken_at INTEGER NOT NULL,
    expires_at INTEGER
);
CREATE INDEX IF NOT EXISTS governor_image_expires ON governor_image (expires_at)
    WHERE expires_at IS NOT NULL;
"""
_FOUND: Final = """
INSERT INTO governor_journal VALUES (1, ?, lower(hex(randomblob(16)))) ON CONFLICT DO NOTHING
"""
_RECALL: Final = """
SELECT fencing_token, fenced, request_digest, outcome FROM governor_execution WHERE execution_id = ?
"""
_REMEMBER: Final = """
INSERT INTO governor_execution VALUES (?, ?, ?, ?, ?) ON CONFLICT (execution_id) DO UPDATE SET
    fencing_token = excluded.fencing_token, fenced = excluded.fenced,
    request_digest = excluded.request_digest, outcome = excluded.outcome
"""
_KEEP: Final = "INSERT INTO governor_image VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
_SEE: Final = """
SELECT tenant, mutation_type, state_type, state_id, before, taken_at, expires_at
FROM governor_image WHERE execution_id = ?
"""
_FORGET: Final = """
DELETE FROM governor_image WHERE execution_id IN (
    SELECT execution_id FROM governor_image WHERE expires_at <= ? ORDER BY expires_at LIMIT ?
)
"""
# More than one for each that is kept, so that what has expired gets less and less.
FORGOTTEN_PER_IMAGE_MAX: Final = 16
# What would end or split the transaction that effect and outcome share.
_TRANSACTION_CONTROL: Final = frozenset(
    {"BEGIN", "COMMIT", "END", "ROLLBACK", "SAVEPOINT", "RELEASE", "ATTACH", "DETACH", "PRAGMA"}
)
# Primary result codes that speak of the machine and not of the statement.
_SHORTAGES: Final = frozenset(
    {
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_LOCKED,
        sqlite3.SQLITE_NOMEM,
        sqlite3.SQLITE_READONLY,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_CANTOPEN,
    }
)
_PRIMARY_CODE_MASK: Final = 0xFF

Parameters = Sequence[object] | Mapping[str, object]
AnswerT = TypeVar("AnswerT")


class Transaction:
    """What an author's function gets to write with: statements, but not the transaction's end."""

    __slots__ = ("_connection",)

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def execute(self, sql: str, parameters: Parameters = ()) -> sqlite3.Cursor:
        if sql.split(None, 1)[0].upper() in _TRANSACTION_CONTROL:
            raise ValueError("the transaction belongs to the journal")
        try:
            return self._connection.execute(sql, parameters)
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & _PRIMARY_CODE_MASK in _SHORTAGES:
                raise HostBusy("the database cannot be written to") from error
            raise


class SqliteJournal:
    """Implements `Journal[Transaction]`; made by `sqlite_journal`."""

    def __init__(
        self, connection: sqlite3.Connection, group_commit: GroupCommit, failpoints: Failpoints
    ) -> None:
        self._connection = connection
        self._group_commit = group_commit
        self._failpoints = failpoints
        self._transaction = Transaction(connection)
        self.lineage_id: str = connection.execute(
            "SELECT lineage_id FROM governor_journal"
        ).fetchone()[0]

    async def settle(self, claim: Claim, decide: Callable[[Transaction], Decided]) -> Settled:
        return await self._group_commit.run(lambda: self._settle(claim, decide), around=APPLY)

    async def inquire(self, inquiry: Inquiry) -> Record:
        return await self._group_commit.run(lambda: self._inquire(inquiry), around=INQUIRY)

    async def observe(self, question: Callable[[Transaction], AnswerT]) -> AnswerT:
        return await self._group_commit.run(lambda: self._observe(question))

    def recall(self, transaction: Transaction, execution_id: str) -> Past:
        record = self._recall(execution_id)
        return Past(
            conclusion=None if record is None else record.conclusion,
            image=self._image(execution_id),
        )

    def _settle(self, claim: Claim, decide: Callable[[Transaction], Decided]) -> Settled:
        known = self._recall(claim.execution_id)
        record = law.admit(known, claim)
        if record.conclusion is not None:
            if record != known:
                self._remember(record)
            return Settled(outcome=record.conclusion.outcome, replayed=True)
        reach(self._failpoints, Failpoint.BEFORE_APPLY)
        self._connection.execute("SAVEPOINT effect")
        try:
            decided = decide(self._transaction)
            self._require_transaction()
            if not decided.keeps_effect:
                self._undo_effect()
            self._remember(law.conclude(claim, decided.outcome))
            if decided.keeps_effect and decided.image is not None:
                self._keep(claim.execution_id, decided.image)
        except BaseException:
            self._undo_effect()
            raise
        finally:
            self._release_effect()
        return Settled(outcome=decided.outcome, replayed=False)

    def _inquire(self, inquiry: Inquiry) -> Record:
        known = self._recall(inquiry.execution_id)
        record = law.inquire(known, inquiry)
        if record != known:
            self._remember(record)
        return record

    def _observe(self, question: Callable[[Transaction], AnswerT]) -> AnswerT:
        self._connection.execute("SAVEPOINT effect")
        try:
            return question(self._transaction)
        finally:
            self._undo_effect()
            self._release_effect()

    def _require_transaction(self) -> None:
        # A full disk, for example, makes SQLite give the whole transaction up by itself. Writing on
        # would keep an outcome whose effect is gone.
        if not self._connection.in_transaction:
            raise InDoubt("the transaction was lost")

    def _undo_effect(self) -> None:
        if self._connection.in_transaction:
            self._connection.execute("ROLLBACK TO effect")

    def _release_effect(self) -> None:
        if self._connection.in_transaction:
            self._connection.execute("RELEASE effect")

    def _recall(self, execution_id: str) -> Record | None:
        row = self._connection.execute(_RECALL, (execution_id,)).fetchone()
        if row is None:
            return None
        fencing_token, fenced, request_digest, outcome = row
        return Record(
            execution_id=execution_id,
            fencing_token=fencing_token,
            fenced=bool(fenced),
            conclusion=(
                None
                if outcome is None
                else Conclusion(request_digest=request_digest, outcome=outcome)
            ),
        )

    def _remember(self, record: Record) -> None:
        concluded = record.conclusion
        digest, outcome = (
            (None, None) if concluded is None else (concluded.request_digest, concluded.outcome)
        )
        self._connection.execute(
            _REMEMBER,
            (record.execution_id, record.fencing_token, record.fenced, digest, outcome),
        )

    def _keep(self, execution_id: str, image: Image) -> None:
        """Keep the image, and forget some of those that are good for nothing any more."""
        self._connection.execute(_FORGET, (image.taken_at, FORGOTTEN_PER_IMAGE_MAX))
        self._connection.execute(
            _KEEP,
            (
                *(execution_id, image.tenant, image.mutation_type),
                *(image.state.type, image.state.id),
                *(image.before, image.taken_at, image.expires_at),
            ),
        )

    def _image(self, execution_id: str) -> Image | None:
        row = self._connection.execute(_SEE, (execution_id,)).fetchone()
        if row is None:
            return None
        tenant, mutation_type, state_type, state_id, before, taken_at, expires_at = row
        return Image(
            tenant=tenant,
            mutation_type=mutation_type,
            state=State(type=state_type, id=state_id),
            before=before,
            taken_at=taken_at,
            expires_at=expires_at,
        )


@asynccontextmanager
async def sqlite_journal(
    database: Path | str,
    *,
    schema: str = "",
    failpoints: Failpoints | None = None,
    lock_wait_seconds: float = LOCK_WAIT_SECONDS,
) -> AsyncIterator[SqliteJournal]:
    """Open the database, creating the kit's tables and those of `schema`, until the block ends.

    `schema` is SQL that may run at every start, such as `CREATE TABLE IF NOT EXISTS`. While another
    process holds the database's write lock, calls wait `lock_wait_seconds` and are then told to
    come again.
    """
    with exclusive(Path(database)):
        connection = _connect(database, schema, lock_wait_seconds)
        failpoints = failpoints or {}
        group_commit = GroupCommit(connection, failpoints=failpoints)
        try:
            yield SqliteJournal(connection, group_commit, failpoints)
        finally:
            await group_commit.close()


def begin_new_lineage(database: Path | str) -> None:
    """Say that the data went back in time. To be called after an older backup was restored."""
    with exclusive(Path(database)), closing(_connect(database)) as connection:
        connection.execute("UPDATE governor_journal SET lineage_id = lower(hex(randomblob(16)))")


def _connect(
    database: Path | str, schema: str = "", lock_wait_seconds: float = LOCK_WAIT_SECONDS
) -> sqlite3.Connection:
    connection = sqlite3.connect(
        database,
        timeout=lock_wait_seconds,
        isolation_level=None,
        # Prepared here, then owned by the writer's thread alone.
        check_same_thread=False,
    )
    try:
        _prepare(connection, schema)
    except BaseException:
        connection.close()
        raise
    return connection


def _prepare(connection: sqlite3.Connection, schema: str) -> None:
    connection.execute("PRAGMA journal_mode = WAL")
    # NORMAL would lose commits that were already answered when the power fails.
    connection.execute("PRAGMA synchronous = FULL")
    connection.executescript(_SCHEMA + schema)
    connection.execute(_FOUND, (SCHEMA_VERSION,))
    (found,) = connection.execute("SELECT schema_version FROM governor_journal").fetchone()
    if found > SCHEMA_VERSION:
        raise ValueError(f"the database was written by a newer kit: its journal has schema {found}")
