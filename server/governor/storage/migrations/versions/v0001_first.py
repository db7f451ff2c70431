"""The first schema.

Written out, and not taken from governor.storage.tables: what a step does must not change when the
tables do.
"""

import secrets
from hashlib import sha256

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

# Text compares by its bytes on both databases.
TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
# On SQLite only a column declared INTEGER is the row's own number.
ROW_NUMBER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    create_requests()
    create_executions()
    create_ledger()
    create_idempotency()
    create_head()
    make_the_ledger_append_only()


def index(
    name: str, table: str, *columns: str, where: str | None = None, unique: bool = False
) -> None:
    condition = sa.text(where) if where else None
    op.create_index(
        name,
        table,
        list(columns),
        unique=unique,
        sqlite_where=condition,
        postgresql_where=condition,
    )


def create_requests() -> None:
    op.create_table(
        "requests",
        sa.Column("id", TEXT, primary_key=True),
        sa.Column("tenant", TEXT, nullable=False),
        sa.Column("status", TEXT, nullable=False),
        sa.Column("pending_mask", sa.BigInteger, nullable=False),
        sa.Column("state_type", TEXT, nullable=False),
        sa.Column("state_id", TEXT, nullable=False),
        sa.Column("actor", TEXT, nullable=False),
        sa.Column("category", TEXT),
        sa.Column("submitted_at", sa.BigInteger, nullable=False),
        sa.Column("submitted_revision", sa.BigInteger, nullable=False),
        sa.Column("due_at", sa.BigInteger),
        sa.Column("unfinished", sa.Boolean, nullable=False),
        sa.Column("revision", sa.BigInteger, nullable=False),
        sa.Column("fixed", sa.LargeBinary, nullable=False),
        sa.Column("content", sa.LargeBinary, nullable=False),
        sa.Column("payload", sa.LargeBinary, nullable=False),
        sa.Column("progress", sa.LargeBinary, nullable=False),
    )
    place = ("submitted_revision", "id")
    index("requests_by_tenant", "requests", "tenant", *place, "submitted_at")
    index("requests_by_status", "requests", "tenant", "status", *place)
    index("requests_by_state", "requests", "tenant", "state_type", "state_id", *place)
    index("requests_by_actor", "requests", "tenant", "actor", *place)
    index(
        "requests_by_category",
        "requests",
        "tenant",
        "category",
        *place,
        where="category IS NOT NULL",
    )
    index("requests_pending", "requests", "pending_mask", where="pending_mask <> 0")
    index("requests_due", "requests", "due_at", "id", where="due_at IS NOT NULL")
    index("requests_unfinished", "requests", *place, where="unfinished")

    op.create_table(
        "request_tags",
        sa.Column("tenant", TEXT, primary_key=True),
        sa.Column("tag", TEXT, primary_key=True),
        sa.Column("submitted_revision", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("request_id", TEXT, sa.ForeignKey("requests.id"), primary_key=True),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "request_dependencies",
        sa.Column("depends_on", TEXT, sa.ForeignKey("requests.id"), primary_key=True),
        sa.Column("request_id", TEXT, sa.ForeignKey("requests.id"), primary_key=True),
        sqlite_with_rowid=False,
    )


def create_executions() -> None:
    op.create_table(
        "executions",
        sa.Column("id", TEXT, primary_key=True),
        sa.Column("tenant", TEXT, nullable=False),
        sa.Column("request_id", TEXT, sa.ForeignKey("requests.id"), nullable=False),
        sa.Column("status", TEXT, nullable=False),
        sa.Column("active", sa.Boolean, nullable=False),
        sa.Column("state_type", TEXT, nullable=False),
        sa.Column("state_id", TEXT, nullable=False),
        sa.Column("submitted_revision", sa.BigInteger, nullable=False),
        sa.Column("revision", sa.BigInteger, nullable=False),
        sa.Column("body", sa.LargeBinary, nullable=False),
    )
    state = ("tenant", "state_type", "state_id")
    place = ("submitted_revision", "id")
    index("executions_active", "executions", *state, where="active", unique=True)
    index("executions_by_request", "executions", "tenant", "request_id", *place)
    index("executions_by_tenant", "executions", "tenant", *place)
    index("executions_by_status", "executions", "tenant", "status", *place)
    index("executions_by_state", "executions", *state, *place)


def create_ledger() -> None:
    op.create_table(
        "ledger",
        sa.Column("revision", ROW_NUMBER, primary_key=True, autoincrement=False),
        sa.Column("tenant", TEXT, nullable=False),
        sa.Column("request_id", TEXT, nullable=False),
        sa.Column("execution_id", TEXT),
        sa.Column("category", TEXT, nullable=False),
        sa.Column("code", TEXT, nullable=False),
        sa.Column("actor", TEXT, nullable=False),
        sa.Column("at", sa.BigInteger, nullable=False),
        sa.Column("entry", sa.LargeBinary, nullable=False),
        sa.Column("leaf_hash", sa.LargeBinary, nullable=False),
    )
    index("ledger_by_tenant", "ledger", "tenant", "revision", "category", "code")
    index("ledger_by_request", "ledger", "tenant", "request_id", "revision")
    index("ledger_by_actor", "ledger", "tenant", "actor", "revision")
    index(
        "ledger_by_execution",
        "ledger",
        "tenant",
        "execution_id",
        "revision",
        where="execution_id IS NOT NULL",
    )


def create_idempotency() -> None:
    op.create_table(
        "idempotency",
        sa.Column("digest", sa.LargeBinary, primary_key=True),
        sa.Column("tenant", TEXT, nullable=False),
        sa.Column("actor", TEXT, nullable=False),
        sa.Column("rpc", TEXT, nullable=False),
        sa.Column("request_id", TEXT, nullable=False),
        sa.Column("fingerprint", sa.LargeBinary, nullable=False),
        sa.Column("revision", sa.BigInteger, nullable=False),
        sa.Column("subject_id", TEXT),
        sa.Column("progress", sa.LargeBinary),
        sa.Column("execution", sa.LargeBinary),
    )


def create_head() -> None:
    """The one row of an empty ledger, under a name that no other store has."""
    head = op.create_table(
        "head",
        sa.Column("id", sa.Integer, sa.CheckConstraint("id = 1", name="one_row"), primary_key=True),
        sa.Column("store_id", TEXT, nullable=False),
        sa.Column("size", sa.BigInteger, nullable=False),
        sa.Column("root", sa.LargeBinary, nullable=False),
        sa.Column("frontier", sa.LargeBinary, nullable=False),
    )
    op.bulk_insert(
        head,
        [
            {
                "id": 1,
                "store_id": secrets.token_hex(16),
                "size": 0,
                "root": sha256(b"").digest(),
                "frontier": bytes(8),
            }
        ],
    )


def make_the_ledger_append_only() -> None:
    if op.get_bind().dialect.name == "sqlite":
        # The third refuses an entry that is not the next one, and with it INSERT OR REPLACE, which
        # removes the old row without asking the second.
        for name, event, condition in (
            ("ledger_not_updated", "UPDATE", "TRUE"),
            ("ledger_not_deleted", "DELETE", "TRUE"),
            (
                "ledger_only_appended",
                "INSERT",
                "NEW.revision IS NOT (SELECT coalesce(max(revision), 0) + 1 FROM ledger)",
            ),
        ):
            op.execute(
                f"CREATE TRIGGER {name} BEFORE {event} ON ledger WHEN {condition} "
                "BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END"
            )
        return
    op.execute(
        "CREATE FUNCTION governor_ledger_is_append_only() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN RAISE EXCEPTION 'the ledger is append-only'; END $$"
    )
    op.execute(
        "CREATE TRIGGER ledger_not_changed BEFORE UPDATE OR DELETE OR TRUNCATE ON ledger "
        "FOR EACH STATEMENT EXECUTE FUNCTION governor_ledger_is_append_only()"
    )
