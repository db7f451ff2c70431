"""The tables of the store: what each row holds, and the index behind each question asked of it.

They are the shape that the newest migration leaves behind; a test compares the two. Every text
compares by its bytes: a library's new idea of the alphabet must not disorder an index.
"""

from typing import Final

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    false,
    text,
)

_TEXT: Final = Text().with_variant(Text(collation="C"), "postgresql")
# On SQLite only a column declared INTEGER is the row's own number, which needs no second index.
_ROW_NUMBER: Final = BigInteger().with_variant(Integer(), "sqlite")

metadata: Final = MetaData()

requests: Final = Table(
    "requests",
    metadata,
    Column("id", _TEXT, primary_key=True),
    # What is asked for in lists, copied out of the values below.
    Column("tenant", _TEXT, nullable=False),
    Column("status", _TEXT, nullable=False),
    Column("pending_mask", BigInteger, nullable=False),
    Column("state_type", _TEXT, nullable=False),
    Column("state_id", _TEXT, nullable=False),
    Column("actor", _TEXT, nullable=False),
    Column("requester", _TEXT, nullable=False, server_default=""),
    Column("category", _TEXT),
    Column("risk", _TEXT),
    Column("blast_radius", _TEXT),
    Column("submitted_at", BigInteger, nullable=False),
    Column("submitted_revision", BigInteger, nullable=False),
    Column("due_at", BigInteger),
    # When the review is due that is still owed; None where none is.
    Column("review_due_at", BigInteger),
    # Whether rows of request_waits tell of it: the others are changed without a look at that table.
    Column("waits", Boolean, nullable=False, server_default=false()),
    Column("unfinished", Boolean, nullable=False),
    Column("revision", BigInteger, nullable=False),
    # Which replica sees to what comes next: the last that wrote the row, or that took it over.
    Column("owner", _TEXT, nullable=False, server_default=""),
    # The values themselves, as JSON; `progress` alone is ever rewritten. The payload's bytes stand
    # apart so that a list does not carry them.
    Column("fixed", LargeBinary, nullable=False),
    Column("content", LargeBinary, nullable=False),
    Column("payload", LargeBinary, nullable=False),
    Column("progress", LargeBinary, nullable=False),
    # The time stands in the index so that a range of it is decided without visiting the rows.
    Index("requests_by_tenant", "tenant", "submitted_revision", "id", "submitted_at"),
    # The mask stands in the index so that a reason is looked for without visiting the rows.
    Index("requests_by_status", "tenant", "status", "submitted_revision", "id", "pending_mask"),
    Index("requests_by_state", "tenant", "state_type", "state_id", "submitted_revision", "id"),
    Index("requests_by_actor", "tenant", "actor", "submitted_revision", "id"),
    Index(
        "requests_by_category",
        "tenant",
        "category",
        "submitted_revision",
        "id",
        sqlite_where=text("category IS NOT NULL"),
        postgresql_where=text("category IS NOT NULL"),
    ),
    # Of those who say how risky it is, and how far it reaches: most say neither, and pay nothing.
    Index(
        "requests_by_risk",
        "tenant",
        "risk",
        "submitted_revision",
        "id",
        sqlite_where=text("risk IS NOT NULL"),
        postgresql_where=text("risk IS NOT NULL"),
    ),
    Index(
        "requests_by_blast_radius",
        "tenant",
        "blast_radius",
        "submitted_revision",
        "id",
        sqlite_where=text("blast_radius IS NOT NULL"),
        postgresql_where=text("blast_radius IS NOT NULL"),
    ),
    # Few requests owe a review: who owes one too long, and all that do.
    Index(
        "requests_reviews_due",
        "tenant",
        "requester",
        "review_due_at",
        "id",
        sqlite_where=text("review_due_at IS NOT NULL"),
        postgresql_where=text("review_due_at IS NOT NULL"),
    ),
    Index(
        "requests_under_review",
        "tenant",
        "submitted_revision",
        "id",
        "review_due_at",
        sqlite_where=text("review_due_at IS NOT NULL"),
        postgresql_where=text("review_due_at IS NOT NULL"),
    ),
    Index(
        "requests_pending",
        "pending_mask",
        sqlite_where=text("pending_mask <> 0"),
        postgresql_where=text("pending_mask <> 0"),
    ),
    Index(
        "requests_due",
        "due_at",
        "id",
        sqlite_where=text("due_at IS NOT NULL"),
        postgresql_where=text("due_at IS NOT NULL"),
    ),
    Index(
        "requests_unfinished",
        "submitted_revision",
        "id",
        sqlite_where=text("unfinished"),
        postgresql_where=text("unfinished"),
    ),
)

request_tags: Final = Table(
    "request_tags",
    metadata,
    Column("tenant", _TEXT, primary_key=True),
    Column("tag", _TEXT, primary_key=True),
    Column("submitted_revision", BigInteger, primary_key=True, autoincrement=False),
    Column("request_id", _TEXT, ForeignKey("requests.id"), primary_key=True),
    sqlite_with_rowid=False,
)

request_dependencies: Final = Table(
    "request_dependencies",
    metadata,
    Column("depends_on", _TEXT, ForeignKey("requests.id"), primary_key=True),
    Column("request_id", _TEXT, ForeignKey("requests.id"), primary_key=True),
    sqlite_with_rowid=False,
)

# What else a request is looked for by: an entry of its metadata, what it is linked to, and what the
# host reported beside the change. `kind` says which; a page of one label is a range of this key.
request_labels: Final = Table(
    "request_labels",
    metadata,
    Column("tenant", _TEXT, primary_key=True),
    Column("kind", _TEXT, primary_key=True),
    Column("label", _TEXT, primary_key=True),
    Column("submitted_revision", BigInteger, primary_key=True, autoincrement=False),
    Column("request_id", _TEXT, ForeignKey("requests.id"), primary_key=True),
    sqlite_with_rowid=False,
)

# Whom a request waits for now. The only rows that are ever removed again: they are as many as there
# are people asked, and none once nobody is.
request_waits: Final = Table(
    "request_waits",
    metadata,
    Column("tenant", _TEXT, primary_key=True),
    Column("target", _TEXT, primary_key=True),
    Column("submitted_revision", BigInteger, primary_key=True, autoincrement=False),
    Column("request_id", _TEXT, ForeignKey("requests.id"), primary_key=True),
    Index("request_waits_by_request", "request_id"),
    sqlite_with_rowid=False,
)

executions: Final = Table(
    "executions",
    metadata,
    Column("id", _TEXT, primary_key=True),
    Column("tenant", _TEXT, nullable=False),
    Column("request_id", _TEXT, ForeignKey("requests.id"), nullable=False),
    Column("status", _TEXT, nullable=False),
    Column("active", Boolean, nullable=False),
    Column("state_type", _TEXT, nullable=False),
    Column("state_id", _TEXT, nullable=False),
    Column("submitted_revision", BigInteger, nullable=False),
    Column("revision", BigInteger, nullable=False),
    Column("body", LargeBinary, nullable=False),
    # The law that one state has one active execution, in the one place nothing can get around.
    Index(
        "executions_active",
        "tenant",
        "state_type",
        "state_id",
        unique=True,
        sqlite_where=text("active"),
        postgresql_where=text("active"),
    ),
    Index("executions_by_request", "tenant", "request_id", "submitted_revision", "id"),
    Index("executions_by_tenant", "tenant", "submitted_revision", "id"),
    Index("executions_by_status", "tenant", "status", "submitted_revision", "id"),
    Index("executions_by_state", "tenant", "state_type", "state_id", "submitted_revision", "id"),
)

# Stands alone: no reference leads out of it, so that it can be verified whatever became of others.
ledger: Final = Table(
    "ledger",
    metadata,
    Column("revision", _ROW_NUMBER, primary_key=True, autoincrement=False),
    Column("tenant", _TEXT, nullable=False),
    Column("request_id", _TEXT, nullable=False),
    Column("execution_id", _TEXT),
    Column("category", _TEXT, nullable=False),
    Column("code", _TEXT, nullable=False),
    Column("actor", _TEXT, nullable=False),
    Column("at", BigInteger, nullable=False),
    Column("entry", LargeBinary, nullable=False),
    Column("leaf_hash", LargeBinary, nullable=False),
    # Category, code and time stand in the index: a filter on them does not visit the entries.
    Index("ledger_by_tenant", "tenant", "revision", "category", "code", "at"),
    Index("ledger_by_request", "tenant", "request_id", "revision"),
    Index("ledger_by_actor", "tenant", "actor", "revision"),
    # What people said. A request that policy allows by itself has no such entry, and pays nothing.
    Index(
        "ledger_votes",
        "tenant",
        "actor",
        "revision",
        "code",
        "at",
        sqlite_where=text("category = 'APPROVAL'"),
        postgresql_where=text("category = 'APPROVAL'"),
    ),
    # The categories that a request which policy allows by itself has no entry of.
    Index(
        "ledger_by_category",
        "tenant",
        "category",
        "revision",
        "code",
        "at",
        sqlite_where=text("category IN ('APPROVAL', 'CHECK', 'BREAK_GLASS')"),
        postgresql_where=text("category IN ('APPROVAL', 'CHECK', 'BREAK_GLASS')"),
    ),
    Index(
        "ledger_by_execution",
        "tenant",
        "execution_id",
        "revision",
        sqlite_where=text("execution_id IS NOT NULL"),
        postgresql_where=text("execution_id IS NOT NULL"),
    ),
)

# Found by a digest of the four columns after it: callers choose random keys, which land all over an
# index, so that the index must be small. `progress` and `execution` are what the first answer
# showed: a replay shows the same, whatever has happened since.
idempotency: Final = Table(
    "idempotency",
    metadata,
    Column("digest", LargeBinary, primary_key=True),
    Column("tenant", _TEXT, nullable=False),
    Column("actor", _TEXT, nullable=False),
    Column("rpc", _TEXT, nullable=False),
    Column("request_id", _TEXT, nullable=False),
    Column("fingerprint", LargeBinary, nullable=False),
    Column("revision", BigInteger, nullable=False),
    Column("subject_id", _TEXT),
    Column("progress", LargeBinary),
    Column("execution", LargeBinary),
)

head: Final = Table(
    "head",
    metadata,
    Column("id", Integer, CheckConstraint("id = 1", name="one_row"), primary_key=True),
    Column("store_id", _TEXT, nullable=False),
    Column("size", BigInteger, nullable=False),
    Column("root", LargeBinary, nullable=False),
    Column("frontier", LargeBinary, nullable=False),
)

# Who shares the store. A replica whose lease has run out, by the database's clock, is gone: what it
# owned may be taken over.
replicas: Final = Table(
    "replicas",
    metadata,
    Column("id", _TEXT, primary_key=True),
    Column("started_at", BigInteger, nullable=False),
    Column("lease_until", BigInteger, nullable=False),
)

# Whether the host is trusted, and as which lineage; no row before it was first reached.
host_standing: Final = Table(
    "host_standing",
    metadata,
    Column("id", Integer, CheckConstraint("id = 1", name="one_host_standing"), primary_key=True),
    Column("revision", BigInteger, nullable=False),
    Column("body", LargeBinary, nullable=False),
)

# The ids that this store had before it was restored, and how far the ledger reached under each.
former_stores: Final = Table(
    "former_stores",
    metadata,
    Column("store_id", _TEXT, primary_key=True),
    Column("size", BigInteger, nullable=False),
    Column("ended_at", BigInteger, nullable=False),
)
