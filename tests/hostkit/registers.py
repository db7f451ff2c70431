"""A host of registers, whose changes can be taken back, and some whose cannot."""

import json
from pathlib import Path
from typing import Final

from governance.v1 import mutation_engine_pb2
from governor.hostkit import (
    Applied,
    Change,
    Host,
    MutationType,
    Order,
    Refused,
    State,
    Transaction,
    Undo,
)
from tests.hostkit.support import apply_request, database, read_rows

SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS register (id TEXT PRIMARY KEY, value TEXT, version INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS effect (execution_id TEXT);
"""
RETENTION_SECONDS: Final = 60
FORBIDDEN: Final = "forbidden"


def version(transaction: Transaction, tenant: str, state: State) -> str:
    row = transaction.execute("SELECT version FROM register WHERE id = ?", (state.id,)).fetchone()
    return "" if row is None else str(row[0])


def value_of(transaction: Transaction, state: State) -> str | None:
    row = transaction.execute("SELECT value FROM register WHERE id = ?", (state.id,)).fetchone()
    return None if row is None else row[0]


def make(transaction: Transaction, order: Order, after: str | None) -> Applied | Refused:
    """Write first, so that a refusal has something to undo."""
    before = value_of(transaction, order.state)
    transaction.execute(
        "INSERT INTO register VALUES (?, ?, 1) ON CONFLICT (id)"
        " DO UPDATE SET value = excluded.value, version = version + 1",
        (order.state.id, after),
    )
    transaction.execute("INSERT INTO effect VALUES (?)", (order.execution_id,))
    if before == FORBIDDEN:
        return Refused(code="FORBIDDEN")
    return Applied(changes=[Change(path="value", before=before, after=after)])


def set_value(transaction: Transaction, order: Order) -> Applied | Refused:
    return make(transaction, order, order.payload.decode())


def capture(transaction: Transaction, tenant: str, state: State) -> bytes:
    return json.dumps(value_of(transaction, state)).encode()


def restore(transaction: Transaction, order: Order, image: bytes) -> Applied | Refused:
    return make(transaction, order, json.loads(image))


def capture_nothing(transaction: Transaction, tenant: str, state: State) -> None:
    return None


def capture_hugely(transaction: Transaction, tenant: str, state: State) -> bytes:
    return b"x" * (1024 * 1024 + 1)


def fail(transaction: Transaction, *_: object) -> bytes:
    transaction.execute("INSERT INTO effect VALUES ('failed')")
    raise RuntimeError("swordfish")


def fail_to_restore(transaction: Transaction, order: Order, image: bytes) -> Applied:
    fail(transaction)
    return Applied()


REGISTERS: Final[Host[Transaction]] = Host(
    name="registers",
    version=version,
    mutations={
        "register.set": MutationType(apply=set_value, undo=Undo(capture=capture, restore=restore)),
        "register.set_for_good": MutationType(apply=set_value),
        "register.set_unseen": MutationType(
            apply=set_value, undo=Undo(capture=capture_nothing, restore=restore)
        ),
        "register.set_hugely": MutationType(
            apply=set_value, undo=Undo(capture=capture_hugely, restore=restore)
        ),
        "register.fail_to_capture": MutationType(
            apply=set_value, undo=Undo(capture=fail, restore=restore)
        ),
        "register.fail_to_restore": MutationType(
            apply=set_value, undo=Undo(capture=capture, restore=fail_to_restore)
        ),
    },
    undo_retention_seconds=RETENTION_SECONDS,
)


def setting(
    value: str,
    execution_id: str = "execution-1",
    *,
    mutation_type: str = "register.set",
    state_id: str = "a",
    token: int = 1,
    expected_version: str | None = None,
) -> mutation_engine_pb2.ApplyMutationRequest:
    return apply_request(
        execution_id,
        token=token,
        mutation_type=mutation_type,
        state_type="register",
        state_id=state_id,
        payload=value.encode(),
        expected_version=expected_version,
    )


def values(folder: Path) -> dict[str, str | None]:
    return dict(read_rows(database(folder), "SELECT id, value FROM register"))


def images(folder: Path) -> set[str]:
    rows = read_rows(database(folder), "SELECT execution_id FROM governor_image")
    return {execution_id for (execution_id,) in rows}
