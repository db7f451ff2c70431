"""A service that owns feature flags, roles and notices, and acts only on Governor's orders."""

import argparse
import asyncio
import json
import logging
import os
import sqlite3
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_NAME, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

from governor.hostkit import (
    AlreadyInUse,
    Applied,
    CannotListen,
    Change,
    Failpoint,
    Failpoints,
    Host,
    MutationType,
    Order,
    Refused,
    Reversibility,
    Severity,
    SideEffect,
    State,
    Transaction,
    Undo,
    failpoints_from_arguments,
    serve,
    sqlite_journal,
)

# ---------------------------------------------------------------- the state

# A version outlives its state, so that a flag that was deleted and made anew never has a version
# that somebody may have seen before.
SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS version (
    tenant TEXT NOT NULL,
    type TEXT NOT NULL,
    id TEXT NOT NULL,
    number INTEGER NOT NULL,
    present INTEGER NOT NULL,
    PRIMARY KEY (tenant, type, id)
) STRICT;
CREATE TABLE IF NOT EXISTS flag (
    tenant TEXT NOT NULL,
    id TEXT NOT NULL,
    enabled INTEGER NOT NULL,
    rollout_percent INTEGER NOT NULL CHECK (rollout_percent BETWEEN 0 AND 100),
    locked INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (tenant, id)
) STRICT;
CREATE TABLE IF NOT EXISTS role_member (
    tenant TEXT NOT NULL,
    role TEXT NOT NULL,
    member TEXT NOT NULL,
    PRIMARY KEY (tenant, role, member)
) STRICT;
-- What was sent, for whoever delivers it. `corrects` is the execution that a notice puts right.
CREATE TABLE IF NOT EXISTS notice (
    tenant TEXT NOT NULL,
    id TEXT NOT NULL,
    number INTEGER NOT NULL,
    recipient TEXT NOT NULL,
    text TEXT NOT NULL,
    corrects TEXT,
    PRIMARY KEY (tenant, id, number)
) STRICT;
-- One row per effect, and deliberately without a key: were an order ever carried out twice, it
-- would show here.
CREATE TABLE IF NOT EXISTS effect (
    execution_id TEXT NOT NULL,
    tenant TEXT NOT NULL,
    state TEXT NOT NULL,
    version_after TEXT NOT NULL
) STRICT;
"""


def version(transaction: Transaction, tenant: str, state: State) -> str:
    row = transaction.execute(
        "SELECT number FROM version WHERE tenant = ? AND type = ? AND id = ? AND present",
        (tenant, state.type, state.id),
    ).fetchone()
    return "" if row is None else str(row[0])


def advance(transaction: Transaction, order: Order, *, present: bool = True) -> None:
    """Give the state its next version, and enter the effect that led to it."""
    (number,) = transaction.execute(
        "INSERT INTO version VALUES (?, ?, ?, 1, ?) ON CONFLICT (tenant, type, id)"
        " DO UPDATE SET number = number + 1, present = excluded.present RETURNING number",
        (order.tenant, order.state.type, order.state.id, present),
    ).fetchone()
    transaction.execute(
        "INSERT INTO effect VALUES (?, ?, ?, ?)",
        (order.execution_id, order.tenant, path(order), str(number) if present else ""),
    )


# ---------------------------------------------------------------- flags


def set_flag(transaction: Transaction, order: Order) -> Applied | Refused:
    wanted = read_payload(order, FLAG_RULES)
    if isinstance(wanted, Refused):
        return wanted
    return make_flag(transaction, order, wanted)


def delete_flag(transaction: Transaction, order: Order) -> Applied | Refused:
    unwanted = read_payload(order, {})
    if isinstance(unwanted, Refused):
        return unwanted
    if find_flag(transaction, order.tenant, order.state) is None:
        return Refused(code="FLAG_NOT_FOUND", message=f"there is no {path(order)}")
    return make_flag(transaction, order, None)


def capture_flag(transaction: Transaction, tenant: str, state: State) -> bytes:
    """The image from before a change: what the flag is set to, or null while there is none."""
    return json.dumps(find_flag(transaction, tenant, state)).encode()


def restore_flag(transaction: Transaction, order: Order, image: bytes) -> Applied | Refused:
    """Takes a change back: what was made goes, what was deleted comes back, under a new version."""
    return make_flag(transaction, order, json.loads(image))


def make_flag(
    transaction: Transaction, order: Order, wanted: dict[str, Any] | None
) -> Applied | Refused:
    """Makes the flag what is wanted, which is None for no flag at all."""
    if is_locked(transaction, order):
        return Refused(code="FLAG_LOCKED", message=f"{path(order)} is locked by its owner")
    before = find_flag(transaction, order.tenant, order.state)
    if wanted is None:
        transaction.execute(
            "DELETE FROM flag WHERE tenant = ? AND id = ?", (order.tenant, order.state.id)
        )
    else:
        transaction.execute(
            "INSERT INTO flag (tenant, id, enabled, rollout_percent) VALUES (?, ?, ?, ?)"
            " ON CONFLICT (tenant, id) DO UPDATE SET"
            " enabled = excluded.enabled, rollout_percent = excluded.rollout_percent",
            (order.tenant, order.state.id, wanted["enabled"], wanted["rollout_percent"]),
        )
    advance(transaction, order, present=wanted is not None)
    return Applied(
        changes=list(flag_changes(order, before or {}, wanted or {})),
        side_effects=[cache_invalidated(order)],
    )


def flag_changes(order: Order, before: dict[str, Any], after: dict[str, Any]) -> Iterator[Change]:
    for name in FLAG_RULES:
        if before.get(name) != after.get(name):
            yield Change(
                path=f"{path(order)}/{name}",
                before=json.dumps(before[name]) if before else None,
                after=json.dumps(after[name]) if after else None,
            )


def find_flag(transaction: Transaction, tenant: str, state: State) -> dict[str, Any] | None:
    row = transaction.execute(
        "SELECT enabled, rollout_percent FROM flag WHERE tenant = ? AND id = ?", (tenant, state.id)
    ).fetchone()
    return None if row is None else {"enabled": bool(row[0]), "rollout_percent": row[1]}


def is_locked(transaction: Transaction, order: Order) -> bool:
    found = transaction.execute(
        "SELECT 1 FROM flag WHERE tenant = ? AND id = ? AND locked", (order.tenant, order.state.id)
    )
    return found.fetchone() is not None


def cache_invalidated(order: Order) -> SideEffect:
    return SideEffect(
        type="cache.invalidated",
        description="clients fetch the flag again",
        data={"key": path(order)},
    )


# ---------------------------------------------------------------- roles


def grant_role(transaction: Transaction, order: Order) -> Applied | Refused:
    wanted = read_payload(order, {"member": is_name})
    if isinstance(wanted, Refused):
        return wanted
    member = wanted["member"]
    if is_member(transaction, order, member):
        return Refused(
            code="MEMBER_ALREADY_HAS_ROLE",
            message=f"{member} is in {path(order)}",
            metadata={"member": member},
        )
    transaction.execute(
        "INSERT INTO role_member VALUES (?, ?, ?)", (order.tenant, order.state.id, member)
    )
    advance(transaction, order)
    return Applied(
        changes=[Change(path=f"{path(order)}/members/{member}", after="member")],
        side_effects=[
            SideEffect(
                type="privilege.raised",
                severity=Severity.WARNING,
                description="whoever is an admin can change everything",
                data={"member": member},
            )
        ]
        if order.state.id == ADMIN
        else [],
    )


def revoke_role(transaction: Transaction, order: Order) -> Applied | Refused:
    unwanted = read_payload(order, {"member": is_name})
    if isinstance(unwanted, Refused):
        return unwanted
    member = unwanted["member"]
    if not is_member(transaction, order, member):
        return Refused(
            code="MEMBER_LACKS_ROLE",
            message=f"{member} is not in {path(order)}",
            metadata={"member": member},
        )
    transaction.execute(
        "DELETE FROM role_member WHERE tenant = ? AND role = ? AND member = ?",
        (order.tenant, order.state.id, member),
    )
    advance(transaction, order)
    return Applied(
        changes=[Change(path=f"{path(order)}/members/{member}", before="member")],
        side_effects=[
            SideEffect(
                type="sessions.ended",
                description="the member signs in again, without the role",
                data={"member": member},
            )
        ],
    )


def is_member(transaction: Transaction, order: Order, member: str) -> bool:
    found = transaction.execute(
        "SELECT 1 FROM role_member WHERE tenant = ? AND role = ? AND member = ?",
        (order.tenant, order.state.id, member),
    )
    return found.fetchone() is not None


# ---------------------------------------------------------------- notices


def send_notice(transaction: Transaction, order: Order) -> Applied | Refused:
    """Hands a notice over to be delivered. Once it is read, only another one can put it right."""
    wanted = read_payload(order, {"recipient": is_name, "text": is_text})
    if isinstance(wanted, Refused):
        return wanted
    corrects = None if order.compensation is None else order.compensation.execution_id
    (number,) = transaction.execute(
        "INSERT INTO notice SELECT ?1, ?2, COUNT(*) + 1, ?3, ?4, ?5 FROM notice"
        " WHERE tenant = ?1 AND id = ?2 RETURNING number",
        (order.tenant, order.state.id, wanted["recipient"], wanted["text"], corrects),
    ).fetchone()
    advance(transaction, order)
    return Applied(
        changes=[Change(path=f"{path(order)}/{number}", after=wanted["text"])],
        side_effects=[
            SideEffect(
                type="notice.sent" if corrects is None else "notice.corrected",
                severity=Severity.WARNING,
                description="what was read cannot be unread",
                data={"recipient": wanted["recipient"]}
                | ({"corrects": corrects} if corrects else {}),
            )
        ],
    )


# ---------------------------------------------------------------- payloads

ADMIN: Final = "admin"
JSON: Final = "application/json"
NAME_CHARACTERS_MAX: Final = 200
TEXT_CHARACTERS_MAX: Final = 2000
Rule = Callable[[object], bool]


def is_switch(value: object) -> bool:
    return isinstance(value, bool)


def is_percentage(value: object) -> bool:
    # A bool is an int to Python, and `true` is no percentage.
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= 100


def is_name(value: object) -> bool:
    return isinstance(value, str) and value.isprintable() and 1 <= len(value) <= NAME_CHARACTERS_MAX


def is_text(value: object) -> bool:
    return isinstance(value, str) and value.isprintable() and 1 <= len(value) <= TEXT_CHARACTERS_MAX


FLAG_RULES: Final[dict[str, Rule]] = {"enabled": is_switch, "rollout_percent": is_percentage}


def read_payload(order: Order, rules: dict[str, Rule]) -> dict[str, Any] | Refused:
    """Read a JSON object that has exactly these fields, each obeying its rule, in this order."""
    if order.content_type != JSON:
        return invalid(f"the content type must be {JSON}")
    try:
        payload = STRICT_JSON.decode(order.payload.decode())
    except (ValueError, RecursionError):
        return invalid("the payload is not one JSON value without duplicate names")
    if not isinstance(payload, dict) or payload.keys() != rules.keys():
        return invalid(
            f"the payload must be an object with exactly: {', '.join(rules) or 'nothing'}"
        )
    for name, rule in rules.items():
        if not rule(payload[name]):
            return invalid(f"{name} is out of its range or of another type")
    return {name: payload[name] for name in rules}


def no_duplicates(pairs: list[tuple[str, object]]) -> dict[str, object]:
    if len(dict(pairs)) != len(pairs):
        raise ValueError("a name occurs twice")
    return dict(pairs)


STRICT_JSON: Final = json.JSONDecoder(object_pairs_hook=no_duplicates)


def invalid(message: str) -> Refused:
    return Refused(code="INVALID_PAYLOAD", message=message)


def path(order: Order) -> str:
    return f"{order.state.type}/{order.state.id}"


# ---------------------------------------------------------------- the host

UNDO_RETENTION_SECONDS: Final = 30 * 24 * 3600
FLAG_UNDO: Final[Undo[Transaction]] = Undo(capture=capture_flag, restore=restore_flag)

FLAGS: Final[Host[Transaction]] = Host(
    name="flags",
    version=version,
    mutations={
        "flag.set": MutationType(
            apply=set_flag,
            state_type="flag",
            undo=FLAG_UNDO,
            description="Turn a flag on or off for a share of the users; makes it if there is none",
        ),
        "flag.delete": MutationType(
            apply=delete_flag,
            state_type="flag",
            undo=FLAG_UNDO,
            description="Remove a flag",
        ),
        "role.grant": MutationType(
            apply=grant_role,
            state_type="role",
            reversibility=Reversibility.COMPENSABLE,
            description="Make somebody a member of a role; what they did with it stays done",
        ),
        "role.revoke": MutationType(
            apply=revoke_role,
            state_type="role",
            reversibility=Reversibility.COMPENSABLE,
            description="Take a role from one of its members; their sessions are gone",
        ),
        "notice.send": MutationType(
            apply=send_notice,
            state_type="notice",
            reversibility=Reversibility.COMPENSABLE,
            description="Send somebody a notice; a correction is a further notice",
        ),
    },
    payload_bytes_max=64 * 1024,
    undo_retention_seconds=UNDO_RETENTION_SECONDS,
)


# ---------------------------------------------------------------- the process


async def run(database: Path, listen: str, failpoints: Failpoints) -> None:
    async with sqlite_journal(database, schema=SCHEMA, failpoints=failpoints) as journal:
        await serve(FLAGS, journal, listen=listen, announce=announce)


def announce(target: str) -> None:
    print(f"listening on {target}", flush=True)


@contextmanager
def tracing() -> Iterator[None]:
    """Export spans where OTEL_EXPORTER_OTLP_ENDPOINT says so, the last ones at the exit."""
    if not os.environ.get("OTEL_EXPORTER_OTLP_ENDPOINT"):
        yield
        return
    name = os.environ.get("OTEL_SERVICE_NAME", "flags-host")
    provider = TracerProvider(resource=Resource.create({SERVICE_NAME: name}))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    trace.set_tracer_provider(provider)
    try:
        yield
    finally:
        provider.shutdown()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--listen", required=True, help="host:port (0: any free) or unix:/path")
    parser.add_argument("--database", required=True, type=Path, help="made if it does not exist")
    parser.add_argument(
        "--failpoint",
        action="append",
        default=[],
        metavar="NAME=kill|stop|hang[@N]",
        help=f"stop on purpose, at the N-th passing of {', '.join(Failpoint)}",
    )
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    try:
        failpoints = failpoints_from_arguments(arguments.failpoint)
        with tracing():
            asyncio.run(run(arguments.database, arguments.listen, failpoints))
    except (AlreadyInUse, CannotListen, OSError, sqlite3.Error, ValueError) as error:
        print(f"flags: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
