"""The statements of the write path, made once from the tables for one dialect."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Column, Table

from governor.storage import rows, tables
from governor.storage.dialect import Bulk, Dialect


class Statements:
    """Everything a batch says to the database.

    Nothing in these texts comes from a caller: they are made of the names in storage/tables.py, and
    of `owner`, the id that this process gave itself: the requests that it writes are its own.
    """

    def __init__(self, dialect: Dialect, owner: str = "") -> None:
        self.lock_head = dialect.lock_head
        self.write_head = dialect.bulk(_update(tables.head, _HEAD), _HEAD)
        # What admission asks.
        self.request_revisions = _lookup(
            dialect, tables.requests, (tables.requests.c.id,), "t.id, t.revision, t.waits"
        )
        self.execution_revisions = _lookup(
            dialect, tables.executions, (tables.executions.c.id,), "t.id, t.revision"
        )
        self.busy_states = _lookup(
            dialect,
            tables.executions,
            _SLOT,
            "t.tenant, t.state_type, t.state_id, t.id",
            "AND t.active",
        )
        self.keys = _lookup(
            dialect,
            tables.idempotency,
            (tables.idempotency.c.digest,),
            "t.digest, t.fingerprint",
        )
        # What a batch writes.
        self.insert_requests = dialect.bulk(_insert_owned(owner), rows.NEW_REQUEST)
        self.update_requests = dialect.bulk(
            _update(tables.requests, rows.CHANGED_REQUEST, f"owner = '{owner}'"),
            rows.CHANGED_REQUEST,
        )
        self.insert_tags = _insert(dialect, tuple(tables.request_tags.c))
        self.insert_dependencies = _insert(dialect, tuple(tables.request_dependencies.c))
        self.insert_labels = _insert(
            dialect, tuple(tables.request_labels.c), "ON CONFLICT DO NOTHING"
        )
        self.delete_waits = dialect.bulk(_DELETE_WAITS, (tables.request_waits.c.request_id,))
        self.insert_waits = _insert(dialect, tuple(tables.request_waits.c))
        self.insert_executions = _insert(dialect, rows.NEW_EXECUTION)
        self.update_executions = dialect.bulk(
            _update(tables.executions, rows.CHANGED_EXECUTION), rows.CHANGED_EXECUTION
        )
        self.insert_standing = _insert(dialect, rows.HOST_STANDING)
        self.update_standing = dialect.bulk(
            _update(tables.host_standing, rows.HOST_STANDING), rows.HOST_STANDING
        )
        self.insert_entries = _insert(dialect, rows.NEW_ENTRY)
        self.insert_keys = _insert(dialect, rows.NEW_KEY)


_HEAD = (tables.head.c.id, tables.head.c.size, tables.head.c.root, tables.head.c.frontier)
_SLOT = (
    tables.executions.c.tenant,
    tables.executions.c.state_type,
    tables.executions.c.state_id,
)


_DELETE_WAITS = (
    "WITH v (request_id) AS ({rows}) "
    "DELETE FROM request_waits WHERE request_id IN (SELECT request_id FROM v)"
)


def _insert(dialect: Dialect, columns: Sequence[Column[Any]], more: str = "") -> Bulk:
    table = columns[0].table.description
    return dialect.bulk(f"INSERT INTO {table} ({_names(columns)}) {{rows}} {more}", columns)


def _insert_owned(owner: str) -> str:
    names = _names(rows.NEW_REQUEST)
    return (
        f"WITH v ({names}) AS ({{rows}}) INSERT INTO requests ({names}, owner) "  # noqa: S608 - our names
        f"SELECT {names}, '{owner}' FROM v"
    )


def _update(table: Table, columns: Sequence[Column[Any]], *more: str) -> str:
    """The first column finds the row, the others are set."""
    key, *changed = columns
    assignments = ", ".join((*(f"{column.name} = v.{column.name}" for column in changed), *more))
    return (
        f"WITH v ({_names(columns)}) AS ({{rows}}) UPDATE {table.name} "  # noqa: S608 - our names
        f"SET {assignments} FROM v WHERE {table.name}.{key.name} = v.{key.name}"
    )


def _lookup(
    dialect: Dialect, table: Table, columns: Sequence[Column[Any]], wanted: str, more: str = ""
) -> Bulk:
    """CROSS JOIN keeps SQLite from scanning the table for the rows instead of looking each up."""
    matches = " AND ".join(f"t.{column.name} = v.{column.name}" for column in columns)
    return dialect.bulk(
        f"WITH v ({_names(columns)}) AS ({{rows}}) SELECT {wanted} "  # noqa: S608 - our names
        f"FROM v CROSS JOIN {table.name} t WHERE {matches} {more}",
        columns,
    )


def _names(columns: Sequence[Column[Any]]) -> str:
    return ", ".join(column.name for column in columns)
