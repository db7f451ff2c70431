"""What is asked of the store: filters, pages and counts, as values."""

from collections.abc import Mapping
from enum import StrEnum

from governor.domain.approval import Target
from governor.domain.decision import Category
from governor.domain.execution import ExecutionStatus, Severity
from governor.domain.request import (
    BlastRadius,
    PendingReason,
    Risk,
    Status,
)
from governor.domain.values import (
    Micros,
    RequestId,
    Value,
)
from governor.usecases.commits import StoredEntry


class Cursor(Value, frozen=True, kw_only=True):
    """Where a page ended: the last row's submitted revision and id."""

    revision: int
    id: str


class Due(Value, frozen=True, kw_only=True):
    """A request at its place in the order of what falls due."""

    at: Micros
    id: RequestId


class LinkKind(StrEnum):
    """How a request is linked to something."""

    DEPENDS_ON = "DEPENDS_ON"
    SUPERSEDES = "SUPERSEDES"
    CORRELATION = "CORRELATION"
    CAUSATION = "CAUSATION"
    COMPENSATES = "COMPENSATES"
    MEMBER_OF = "MEMBER_OF"


class Link(Value, frozen=True, kw_only=True):
    """One thing that a request is linked to: another request's id, or an id of the caller's."""

    kind: LinkKind
    id: str


class RequestQuery(Value, frozen=True, kw_only=True):
    """Filters that must all match; empty ones match everything. Newest first.

    `targets` asks for what one of these can act on; `side_effect_severity` for that or worse;
    `not_of` leaves the requests of a person out; `uncompensated` asks for what was applied in a
    batch that came to less, as long as it is neither put right nor taken as it is.
    """

    tenant: str
    statuses: tuple[Status, ...] = ()
    pending_reasons: tuple[PendingReason, ...] = ()
    state_type: str = ""
    state_id: str = ""
    actor: str = ""
    category: str = ""
    tag: str = ""
    tags_any: tuple[str, ...] = ()
    tags_all: tuple[str, ...] = ()
    metadata: tuple[tuple[str, str], ...] = ()
    risks: tuple[Risk, ...] = ()
    blast_radii: tuple[BlastRadius, ...] = ()
    side_effect_type: str = ""
    side_effect_severity: Severity = Severity.UNSPECIFIED
    link: Link | None = None
    targets: tuple[Target, ...] = ()
    not_of: str = ""
    review_open: bool = False
    batch_id: str = ""
    uncompensated: bool = False
    submitted_from: Micros | None = None
    submitted_until: Micros | None = None
    after: Cursor | None = None
    limit: int = 50


class RequestCounts(Value, frozen=True, kw_only=True):
    """How many requests stand where; what there is none of is left out.

    One that waits for two reasons is counted under both. A review is overdue from `due_at` on,
    whether or not that has been decided yet.
    """

    statuses: Mapping[Status, int] = {}
    pending: Mapping[PendingReason, int] = {}
    reviews_open: int = 0
    reviews_overdue: int = 0


class ExecutionQuery(Value, frozen=True, kw_only=True):
    """Filters that must all match; empty ones match everything. Newest first."""

    tenant: str
    request_id: str = ""
    statuses: tuple[ExecutionStatus, ...] = ()
    state_type: str = ""
    state_id: str = ""
    after: Cursor | None = None
    limit: int = 50


class DecisionFilter(Value, frozen=True, kw_only=True):
    """Filters that must all match; empty ones match everything.

    What is decided about the host belongs to no tenant, and is left out unless it is asked for.
    """

    tenant: str
    request_ids: frozenset[str] = frozenset()
    categories: frozenset[Category] = frozenset()
    codes: frozenset[str] = frozenset()
    actor: str = ""
    execution_id: str = ""
    include_host: bool = False
    from_time: Micros | None = None
    until_time: Micros | None = None

    def matches(self, entry: StoredEntry) -> bool:
        """Whether every stated filter holds."""
        return (
            (entry.tenant == self.tenant or (self.include_host and not entry.tenant))
            and (not self.request_ids or entry.request_id in self.request_ids)
            and (not self.categories or entry.category in self.categories)
            and (not self.codes or entry.code in self.codes)
            and (not self.actor or entry.actor == self.actor)
            and (not self.execution_id or entry.execution_id == self.execution_id)
            and (self.from_time is None or entry.at >= self.from_time)
            and (self.until_time is None or entry.at < self.until_time)
        )
