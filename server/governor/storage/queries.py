"""Every question asked of the store, as a Core statement, and how its rows are read."""

from collections.abc import Sequence
from typing import Any, Final

from sqlalchemy import (
    Column,
    Row,
    ScalarSelect,
    Select,
    Table,
    and_,
    case,
    func,
    literal,
    not_,
    or_,
    select,
    text,
    tuple_,
    union_all,
    values,
)

from governor.domain.decision import Category
from governor.domain.execution import ExecutionStatus
from governor.domain.request import TERMINAL, Status
from governor.domain.values import ExecutionId, Micros, RequestId, Revision
from governor.storage import rows, tables
from governor.storage.entry_pages import one_of
from governor.storage.request_pages import newest_first
from governor.usecases.commits import Committed, IdempotencyKey
from governor.usecases.questions import Cursor, Due, ExecutionQuery

_requests: Final = tables.requests.c
_executions: Final = tables.executions.c
_ledger: Final = tables.ledger.c
_keys: Final = tables.idempotency.c
_tags: Final = tables.request_tags.c
_dependencies: Final = tables.request_dependencies.c

# ---------------------------------------------------------------- one thing by its name


def whole_requests(ids: Sequence[RequestId]) -> Select[Any]:
    return select(*rows.WHOLE_REQUEST).where(_requests.id.in_(ids))


def whole_executions(ids: Sequence[ExecutionId]) -> Select[Any]:
    return select(_executions.id, _executions.body).where(_executions.id.in_(ids))


def executions_of(id: RequestId) -> Select[Any]:
    return (
        select(_executions.body)
        .where(_executions.request_id == id, _executions.tenant == _tenant_of(id))
        .order_by(_executions.submitted_revision, _executions.id)
    )


def _tenant_of(id: RequestId) -> ScalarSelect[str]:
    """Every index begins with the tenant."""
    return select(_requests.tenant).where(_requests.id == id).scalar_subquery()


def earlier_answer_to(key: IdempotencyKey) -> Select[Any]:
    """The answer that was given under this key; `earlier_answer` reads the row."""
    return (
        select(
            _keys.fingerprint,
            _keys.revision.label("answered_revision"),
            _keys.progress.label("answered_progress"),
            _keys.execution.label("answered_execution"),
            *rows.WHOLE_REQUEST,
        )
        .outerjoin_from(tables.idempotency, tables.requests, _requests.id == _keys.subject_id)
        .where(_keys.digest == rows.key_digest(key))
    )


def earlier_answer(row: Row[Any]) -> Committed:
    revision = Revision(row.answered_revision)
    return Committed(
        requests=(rows.earlier_request(row, row.answered_progress, revision),)
        if row.answered_progress is not None
        else (),
        executions=(rows.execution_of(row.answered_execution),)
        if row.answered_execution is not None
        else (),
        revision=revision,
        replayed=True,
    )


# ---------------------------------------------------------------- pages


def executions_page(query: ExecutionQuery) -> Select[Any]:
    page = select(_executions.body).where(_executions.tenant == query.tenant)
    if query.statuses:
        statuses = [status.value for status in query.statuses]
        page = page.where(one_of(_executions.status, statuses))
    for column, wanted in (
        (_executions.request_id, query.request_id),
        (_executions.state_type, query.state_type),
        (_executions.state_id, query.state_id),
    ):
        if wanted:
            page = page.where(column == wanted)
    order = (_executions.submitted_revision, _executions.id)
    return newest_first(page, order, query.after, query.limit)


# ---------------------------------------------------------------- what must be looked at


def due(*, until: Micros, limit: int, after: Due | None = None) -> Select[Any]:
    order = (_requests.due_at, _requests.id)
    page = select(_requests.id, _requests.due_at).where(_requests.due_at <= until)
    if after is not None:
        page = page.where(tuple_(*order) > tuple_(after.at, after.id))
    return page.order_by(*order).limit(limit)


def overdue_reviews(tenant: str, *, requester: str, until: Micros, limit: int) -> Select[Any]:
    return (
        select(*rows.LISTED_REQUEST)
        .where(
            _requests.tenant == tenant,
            _requests.requester == requester,
            _requests.review_due_at <= until,
        )
        .order_by(_requests.review_due_at, _requests.id)
        .limit(limit)
    )


def next_due() -> Select[Any]:
    return select(func.min(_requests.due_at)).where(_requests.due_at.is_not(None))


def pending_masks() -> Select[Any]:
    """How many requests wait for each set of reasons. Counted by an index of its own."""
    masks = select(_requests.pending_mask, func.count().label("requests"))
    # As text, because the index's condition has to be repeated to the letter.
    return masks.where(text("pending_mask <> 0")).group_by(_requests.pending_mask)


def request_counts(tenant: str, *, now: Micros) -> Select[Any]:
    """Three counts, each by an index of its own, in one statement: all are of one moment."""
    requests = func.count().label("requests")
    by_status = select(
        literal("status").label("kind"),
        _requests.status.label("name"),
        literal(0).label("number"),
        requests,
    ).where(_requests.tenant == tenant)
    by_reasons = select(literal("pending"), literal(""), _requests.pending_mask, requests).where(
        _requests.tenant == tenant, _requests.status == Status.PENDING
    )
    overdue = case((_requests.review_due_at <= now, 1), else_=0)
    reviews = select(literal("review"), literal(""), overdue, requests).where(
        # As text, because the index's condition has to be repeated to the letter.
        _requests.tenant == tenant,
        text("review_due_at IS NOT NULL"),
    )
    counts = union_all(
        by_status.group_by(_requests.status),
        by_reasons.group_by(_requests.pending_mask),
        reviews.group_by(overdue),
    ).subquery()
    return select(counts)


def unfinished(*, after: Cursor | None, limit: int) -> Select[Any]:
    # As text, because the index's condition has to be repeated to the letter.
    page = select(*rows.LISTED_REQUEST).where(text("requests.unfinished"))
    order = (_requests.submitted_revision, _requests.id)
    if after is not None:
        page = page.where(tuple_(*order) > tuple_(after.revision, after.id))
    return page.order_by(*order).limit(limit)


def dependents(id: RequestId) -> Select[Any]:
    return (
        select(_requests.id)
        .join_from(
            tables.request_dependencies,
            tables.requests,
            _requests.id == _dependencies.request_id,
        )
        .where(
            _dependencies.depends_on == id,
            _requests.status.not_in(sorted(status.value for status in TERMINAL)),
        )
        .order_by(_requests.submitted_revision, _requests.id)
    )


def those_in(table: Table, wanted: Sequence[tuple[object, ...]]) -> Select[Any]:
    """Which of these rows there are in a table that is all key: each is looked up, none is walked
    past, which SQLite does when they are asked for with `IN`.
    """
    named = values(*(Column(c.name, c.type) for c in table.c), name="wanted").data(list(wanted))
    these = named.cte()
    same = (c == these.c[c.name] for c in table.c)
    return select(*table.c).join_from(these, table, and_(*same))


def waits_of_nobody() -> Select[Any]:
    """What is left in the waits of requests that wait for nobody, or are not there."""
    waits = tables.request_waits
    return (
        select(waits.c.request_id)
        .distinct()
        .outerjoin_from(waits, tables.requests, _requests.id == waits.c.request_id)
        .where(or_(_requests.id.is_(None), not_(_requests.waits)))
        .order_by(waits.c.request_id)
    )


def applied_executions(first: RequestId, last: RequestId) -> Select[Any]:
    """What was applied for the requests from the first id to the last."""
    return (
        select(_executions.body)
        .join_from(
            tables.requests,
            tables.executions,
            and_(_executions.tenant == _requests.tenant, _executions.request_id == _requests.id),
        )
        .where(
            _requests.id >= first,
            _requests.id <= last,
            _executions.status == ExecutionStatus.APPLIED.value,
        )
    )


def host_standing() -> Select[Any]:
    return select(*rows.HOST_STANDING)


def last_about_the_host() -> Select[Any]:
    """What belongs to no tenant is about the host."""
    about = select(_ledger.entry).where(_ledger.tenant == "", _ledger.category == Category.HOST)
    return about.order_by(_ledger.revision.desc()).limit(1)


def head() -> Select[Any]:
    return select(tables.head.c.store_id, tables.head.c.size, tables.head.c.root)
