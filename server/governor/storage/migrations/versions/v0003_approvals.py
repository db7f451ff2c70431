"""What approvals are looked for by: labels, whom a request waits for, and what review it owes.

Written out, like every step: what it does must not change when the tables do. What earlier steps
left in JSON alone is read out of it here, a page at a time.
"""

import json
from collections.abc import Iterator
from hashlib import sha256
from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

# Text compares by its bytes on both databases.
TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
PAGE = 500

REQUESTS = sa.table(
    "requests",
    *map(
        sa.column,
        ("id", "tenant", "status", "submitted_revision", "fixed", "content", "progress"),
        (sa.Text, sa.Text, sa.Text, sa.BigInteger, *(sa.LargeBinary,) * 3),
    ),
)
APPLIED = sa.table(
    "executions",
    *map(
        sa.column,
        ("id", "request_id", "status", "body"),
        (sa.Text, sa.Text, sa.Text, sa.LargeBinary),
    ),
)


def upgrade() -> None:
    add_columns()
    create_labels_and_waits()
    read_requests()
    read_side_effects()
    create_indexes()


def add_columns() -> None:
    op.add_column("requests", sa.Column("requester", TEXT, nullable=False, server_default=""))
    for name in ("risk", "blast_radius"):
        op.add_column("requests", sa.Column(name, TEXT))
    op.add_column("requests", sa.Column("review_due_at", sa.BigInteger))
    op.add_column(
        "requests", sa.Column("waits", sa.Boolean, nullable=False, server_default=sa.false())
    )


def create_labels_and_waits() -> None:
    place = (("submitted_revision", sa.BigInteger), ("request_id", TEXT))
    for table, columns in (
        ("request_labels", (("tenant", TEXT), ("kind", TEXT), ("label", TEXT), *place)),
        ("request_waits", (("tenant", TEXT), ("target", TEXT), *place)),
    ):
        op.create_table(
            table,
            *(
                sa.Column(
                    name,
                    kind,
                    *((sa.ForeignKey("requests.id"),) if name == "request_id" else ()),
                    primary_key=True,
                    autoincrement=False,
                )
                for name, kind in columns
            ),
            sqlite_with_rowid=False,
        )


def create_indexes() -> None:
    place = ("submitted_revision", "id")
    op.drop_index("requests_by_status", "requests")
    index("requests_by_status", "requests", "tenant", "status", *place, "pending_mask")
    for column in ("risk", "blast_radius"):
        index(
            f"requests_by_{column}",
            "requests",
            "tenant",
            column,
            *place,
            where=f"{column} IS NOT NULL",
        )
    owed = "review_due_at IS NOT NULL"
    index(
        "requests_reviews_due", "requests", "tenant", "requester", "review_due_at", "id", where=owed
    )
    index("requests_under_review", "requests", "tenant", *place, "review_due_at", where=owed)
    index("request_waits_by_request", "request_waits", "request_id")
    op.drop_index("ledger_by_tenant", "ledger")
    index("ledger_by_tenant", "ledger", "tenant", "revision", "category", "code", "at")
    index(
        "ledger_votes",
        "ledger",
        "tenant",
        "actor",
        "revision",
        "code",
        "at",
        where="category = 'APPROVAL'",
    )
    index(
        "ledger_by_category",
        "ledger",
        "tenant",
        "category",
        "revision",
        "code",
        "at",
        where="category IN ('APPROVAL', 'CHECK', 'BREAK_GLASS')",
    )


def index(name: str, table: str, *columns: str, where: str | None = None) -> None:
    condition = sa.text(where) if where else None
    op.create_index(name, table, list(columns), sqlite_where=condition, postgresql_where=condition)


# ---------------------------------------------------------------- what stands in JSON alone


def read_requests() -> None:
    connection = op.get_bind()
    requests = sa.table(
        "requests",
        *map(sa.column, ("id", "requester", "risk", "blast_radius", "waits")),
    )
    update = (
        sa.update(requests)
        .where(requests.c.id == sa.bindparam("row_id"))
        .values(
            requester=sa.bindparam("new_requester", type_=sa.Text),
            risk=sa.bindparam("new_risk", type_=sa.Text),
            blast_radius=sa.bindparam("new_blast_radius", type_=sa.Text),
            waits=sa.bindparam("new_waits", type_=sa.Boolean),
        )
    )
    for page in pages(REQUESTS):
        changes: list[dict[str, object]] = []
        labels: list[dict[str, object]] = []
        waits: list[dict[str, object]] = []
        for row in page:
            fixed, content, progress = map(json.loads, (row.fixed, row.content, row.progress))
            intent = content.get("intent", {})
            targets = dict.fromkeys(waited_for(progress)) if row.status == "PENDING" else {}
            place = {"tenant": row.tenant, "revision": row.submitted_revision, "id": row.id}
            changes.append(
                {
                    "row_id": row.id,
                    "new_requester": fixed["requester"],
                    "new_risk": intent.get("risk"),
                    "new_blast_radius": intent.get("blast_radius"),
                    "new_waits": bool(targets),
                }
            )
            waits.extend({**place, "target": indexed(target)} for target in targets)
            labels.extend(
                {**place, "kind": kind, "label": indexed(label)}
                for kind, label in dict.fromkeys(labels_of(fixed, content))
            )
        connection.execute(update, changes)
        insert_labels(labels)
        if waits:
            connection.execute(
                sa.text(
                    "INSERT INTO request_waits (tenant, target, submitted_revision, request_id) "
                    "VALUES (:tenant, :target, :revision, :id)"
                ),
                waits,
            )


def read_side_effects() -> None:
    connection = op.get_bind()
    for page in pages(APPLIED, APPLIED.c.status == "APPLIED"):
        ids = sorted({row.request_id for row in page})
        found = connection.execute(
            sa.select(REQUESTS.c.id, REQUESTS.c.tenant, REQUESTS.c.submitted_revision).where(
                REQUESTS.c.id.in_(ids)
            )
        )
        requests = {row.id: row for row in found}
        labels: dict[tuple[str, str], dict[str, object]] = {}
        for row in page:
            request = requests.get(row.request_id)
            applied = json.loads(row.body).get("applied") or {}
            if request is None:
                continue
            for label in map(indexed, effects_of(applied.get("side_effects", []))):
                labels[request.id, label] = {
                    "tenant": request.tenant,
                    "revision": request.submitted_revision,
                    "id": request.id,
                    "kind": "SIDE_EFFECT",
                    "label": label,
                }
        insert_labels(list(labels.values()))


def insert_labels(labels: list[dict[str, object]]) -> None:
    if labels:
        op.get_bind().execute(
            sa.text(
                "INSERT INTO request_labels (tenant, kind, label, submitted_revision, request_id) "
                "VALUES (:tenant, :kind, :label, :revision, :id) ON CONFLICT DO NOTHING"
            ),
            labels,
        )


def pages(table: Any, *conditions: Any) -> Iterator[list[Any]]:
    """All rows, in the order of their ids."""
    connection = op.get_bind()
    statement = sa.select(*table.c).where(*conditions).order_by(table.c.id).limit(PAGE)
    page = list(connection.execute(statement))
    while page:
        yield page
        page = list(connection.execute(statement.where(table.c.id > page[-1].id)))


def waited_for(progress: dict[str, Any]) -> Iterator[str]:
    """Who can act: of the open step everybody it asks, also those who have voted already."""
    approval = progress.get("approval")
    for pending in progress.get("pending", []):
        if pending["reason"] == "APPROVAL" and approval is not None:
            steps, at = approval["plan"]["steps"], approval.get("open_step", 0)
            for requirement in steps[at]["requirements"] if at < len(steps) else []:
                for target in requirement["targets"]:
                    yield f"{target['kind']}:{target['name']}"
        if pending["reason"] == "AUDIT":
            yield from ("ROLE:operator", "ROLE:admin")


def labels_of(fixed: dict[str, Any], content: dict[str, Any]) -> Iterator[tuple[str, str]]:
    for key, value in content.get("metadata", {}).items():
        yield "METADATA", f"{key}={value}"
    for dependency in content.get("depends_on", []):
        yield "DEPENDS_ON", dependency
    context = content["context"]
    for kind, id in (
        ("SUPERSEDES", fixed.get("supersedes")),
        ("CORRELATION", context.get("correlation_id")),
        ("CAUSATION", context.get("causation_id")),
    ):
        if id:
            yield kind, id


def effects_of(effects: list[dict[str, Any]]) -> Iterator[str]:
    severities = ("INFO", "WARNING", "CRITICAL")
    for effect in effects:
        yield f"UNSPECIFIED:{effect['type']}"
        severity = effect.get("severity", "UNSPECIFIED")
        reached = severities.index(severity) + 1 if severity in severities else 0
        for least in severities[:reached]:
            yield f"{least}:{effect['type']}"
            yield f"{least}:"


def indexed(text: str) -> str:
    """A text that is long, or no database's text, is found by its beginning and its digest."""
    data = text.encode()
    if len(data) <= 128 and b"\0" not in data:
        return text
    start = data[:96].replace(b"\0", b"?").decode(errors="ignore")
    return f"{start:<96}#{sha256(data).hexdigest()}"
