"""Every difference between the two databases that SQL text shows, each with its reason.

A Bulk is one statement over many rows, written once with `{rows}` where they go in. Its text is
made from the tables at the start and handed to the driver as it is: building, binding and wrapping
a Core statement costs more than SQLite needs to run it, and this is the path of every commit.
"""

import sqlite3
from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Any, Final, Protocol

from sqlalchemy import Column, Connection
from sqlalchemy.exc import DBAPIError, EmulatedDBAPIException, SQLAlchemyError

BulkRow = Sequence[object]
FoundRow = tuple[Any, ...]

_HEAD: Final = "SELECT size, frontier, store_id FROM head"
# A server may be set up to acknowledge before the disk has it; what we acknowledge is on disk.
# Stronger settings, which also wait for standbys, are left alone. Said in every transaction that
# writes: what is said once to a session is lost behind a pooler that lends sessions out.
_LOCKED_HEAD: Final = """
    SELECT size, frontier, store_id,
           CASE current_setting('synchronous_commit')
           WHEN 'off' THEN set_config('synchronous_commit', 'on', true) END,
           set_config('idle_in_transaction_session_timeout', $1, true)
    FROM head FOR UPDATE
"""


_BOUND_IDLENESS: Final = "SELECT set_config('idle_in_transaction_session_timeout', $1, true)"


class Bulk(Protocol):
    """One prepared statement over any number of rows."""

    def execute(self, connection: Connection, rows: Sequence[BulkRow]) -> None:
        """Runs it; nothing to do for no rows."""
        ...

    def select(self, connection: Connection, rows: Sequence[BulkRow]) -> list[FoundRow]:
        """Runs it and answers what it found."""
        ...


class Dialect(Protocol):
    """What a backend says in its own words."""

    def lock_head(self, connection: Connection) -> FoundRow:
        """The head's size, frontier and store id; until the transaction ends they are ours."""
        ...

    def blames_content(self, error: Exception) -> bool:
        """Whether a failed statement failed for a value in it, and not for the database."""
        ...

    def bulk(self, template: str, columns: Sequence[Column[Any]]) -> Bulk:
        """A statement whose `{rows}` have these columns."""
        ...


# ---------------------------------------------------------------- SQLite


class SqliteDialect:
    """SQLite has one writer by nature: BEGIN IMMEDIATE is the lock on the head, and on all else."""

    def lock_head(self, connection: Connection) -> FoundRow:
        cursor = connection.connection.cursor()
        cursor.execute(_HEAD)
        (head,) = cursor.fetchall()
        return tuple(head)

    def blames_content(self, error: Exception) -> bool:
        """The driver refuses a value it cannot bind with InterfaceError or ProgrammingError."""
        blamed = (
            sqlite3.DataError,
            sqlite3.IntegrityError,
            sqlite3.InterfaceError,
            sqlite3.ProgrammingError,
        )
        others = (sqlite3.Error, SQLAlchemyError, OSError)
        return isinstance(error, blamed) or not isinstance(error, others)

    def bulk(self, template: str, columns: Sequence[Column[Any]]) -> Bulk:
        return _SqliteBulk(template, len(columns))


class _SqliteBulk:
    """The rows are a VALUES list of placeholders, run on the driver's own cursor.

    Not executemany: the driver lets go of the interpreter's lock around every single step, and a
    busy event loop gives it back five milliseconds later. One statement steps once. Few lengths of
    lists are ever prepared: powers of two, and three times those, as commits have three decisions.
    """

    lengths: Final = (256, 192, 128, 96, 64, 48, 32, 24, 16, 12, 8, 6, 4, 3, 2, 1)

    def __init__(self, template: str, width: int) -> None:
        self._texts = {
            length: template.format(rows=_values(length, width)) for length in self.lengths
        }

    def execute(self, connection: Connection, rows: Sequence[BulkRow]) -> None:
        for text, parameters in self._steps(rows):
            connection.connection.cursor().execute(text, parameters)

    def select(self, connection: Connection, rows: Sequence[BulkRow]) -> list[FoundRow]:
        found: list[FoundRow] = []
        for text, parameters in self._steps(rows):
            cursor = connection.connection.cursor()
            cursor.execute(text, parameters)
            found.extend(cursor.fetchall())
        return found

    def _steps(self, rows: Sequence[BulkRow]) -> Iterator[tuple[str, tuple[object, ...]]]:
        at, left = 0, len(rows)
        for length in self.lengths:
            while length <= left:
                yield self._texts[length], tuple(chain.from_iterable(rows[at : at + length]))
                at += length
                left -= length


def _values(rows: int, width: int) -> str:
    row = f"({', '.join('?' * width)})"
    return f"VALUES {', '.join([row] * rows)}"


# ---------------------------------------------------------------- PostgreSQL


class PostgresDialect:
    """PostgreSQL has many writers: the head's row is locked first, once per batch.

    Under that lock nothing else commits, in any replica, so that what a batch reads to decide is
    still true when it is written. Taken per commit the lock would be held across as many fsyncs.
    """

    def __init__(self, *, idle_seconds_max: float = 30.0) -> None:
        """`idle_seconds_max` is how long the server bears with a transaction of ours that says
        nothing. A process that is paused, or that the network has cut off without telling the
        server, would keep the head from everybody else for as long as that lasts.
        """
        self._idle_milliseconds = str(max(1, round(idle_seconds_max * 1_000)))

    def lock_head(self, connection: Connection) -> FoundRow:
        found = connection.exec_driver_sql(_LOCKED_HEAD, (self._idle_milliseconds,)).one()
        size, frontier, store_id, *_ = found
        return size, frontier, store_id

    def bound_idleness(self, connection: Connection) -> None:
        """The same bound for a transaction that locks other rows than the head."""
        connection.exec_driver_sql(_BOUND_IDLENESS, (self._idle_milliseconds,))

    def blames_content(self, error: Exception) -> bool:
        """The driver checks values itself; what passes it the server may refuse by SQLSTATE."""
        if isinstance(error, DBAPIError):
            state = sqlstate(error)
            return state[:2] in _CONTENT_STATES or isinstance(_driver_error(error), ValueError)
        return not isinstance(error, (SQLAlchemyError, OSError))

    def is_passing(self, error: Exception) -> bool:
        """Whether the same transaction may well succeed on another try or another connection."""
        if isinstance(error, DBAPIError):
            state = sqlstate(error)
            lost = error.connection_invalidated or state[:2] in _LOST_STATES
            return lost or state in _RETRY_STATES
        return isinstance(error, OSError)  # which a timeout is as well

    def bulk(self, template: str, columns: Sequence[Column[Any]]) -> Bulk:
        return _PostgresBulk(template, columns)


_CONTENT_STATES: Final = frozenset({"22", "23"})  # data exceptions, integrity violations
_LOST_STATES: Final = frozenset({"08", "57"})  # connections, operator intervention
# Serialization failure, deadlock, and a transaction that was idle for too long.
_RETRY_STATES: Final = frozenset({"40001", "40P01", "25P03"})


def sqlstate(error: DBAPIError) -> str:
    """The server's own word for what went wrong; empty when it did not come to that."""
    return getattr(_driver_error(error), "sqlstate", None) or ""


def _driver_error(error: DBAPIError) -> BaseException | None:
    """What the driver raised, which the library dresses up as a DBAPI exception."""
    return error.orig.orig if isinstance(error.orig, EmulatedDBAPIException) else error.orig


_ARRAYS: Final[dict[type, str]] = {
    int: "bigint[]",
    str: "text[]",
    bytes: "bytea[]",
    bool: "boolean[]",
}


class _PostgresBulk:
    """The rows are one array per column: one round trip and one plan for any number of them."""

    def __init__(self, template: str, columns: Sequence[Column[Any]]) -> None:
        arrays = (
            f"${position}::{_ARRAYS[column.type.python_type]}"
            for position, column in enumerate(columns, start=1)
        )
        unnested = f"SELECT * FROM unnest({', '.join(arrays)})"  # noqa: S608 - made of constants
        self._text = template.format(rows=unnested)

    def execute(self, connection: Connection, rows: Sequence[BulkRow]) -> None:
        if rows:
            connection.exec_driver_sql(self._text, _columns(rows))

    def select(self, connection: Connection, rows: Sequence[BulkRow]) -> list[FoundRow]:
        if not rows:
            return []
        return [tuple(row) for row in connection.exec_driver_sql(self._text, _columns(rows))]


def _columns(rows: Sequence[BulkRow]) -> tuple[list[object], ...]:
    return tuple(list(column) for column in zip(*rows, strict=True))
