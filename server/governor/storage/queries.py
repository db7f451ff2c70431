"""Every question asked of the store, as a Core statement, and how its rows are read."""

from collections.abc import Sequence
from typing import Any, Final

from sqlalchemy import (
    Column,
    ColumnElement,
    Row,
    ScalarSelect,
    Select,
    and_,
    case,
    func,
    literal,
    select,
    text,
    tuple_,
    union_all,
)

from governor.domain.decision import Category
from governor.domain.request import TERMINAL, Status
from governor.domain.values import ExecutionId, Micros, RequestId, Revision
from governor.storage import rows, tables
from governor.usecases.ports import (
    Committed,
    Cursor,
    DecisionFilter,
    Due,
    ExecutionQuery,
    IdempotencyKey,
    RequestQuery,
)

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


def requests_page(query: RequestQuery) -> Select[Any]:
    order: tuple[Column[Any], Column[Any]] = (_requests.submitted_revision, _requests.id)
    page = select(*rows.LISTED_REQUEST).where(_requests.tenant == query.tenant)
    if query.tag:
        # A page of a tag is a range of the tags' own key.
        order = (_tags.submitted_revision, _tags.request_id)
        page = page.join(tables.request_tags, _tags.request_id == _requests.id).where(
            _tags.tenant == query.tenant, _tags.tag == query.tag
        )
    statuses = query.statuses
    if query.pending_reasons:
        mask = sum({rows.PENDING_BITS[reason] for reason in query.pending_reasons})
        page = page.where(_requests.pending_mask.bitwise_and(mask) != 0)
        # Only a pending request has reasons; said aloud, it finds the index by status.
        statuses = statuses or (Status.PENDING,)
    if statuses:
        page = page.where(_one_of(_requests.status, [status.value for status in statuses]))
    for column, wanted in (
        (_requests.state_type, query.state_type),
        (_requests.state_id, query.state_id),
        (_requests.actor, query.actor),
        (_requests.category, query.category),
    ):
        if wanted:
            page = page.where(column == wanted)
    if query.submitted_from is not None:
        page = page.where(_requests.submitted_at >= query.submitted_from)
    if query.submitted_until is not None:
        page = page.where(_requests.submitted_at < query.submitted_until)
    return _newest_first(page, order, query.after, query.limit)


def executions_page(query: ExecutionQuery) -> Select[Any]:
    page = select(_executions.body).where(_executions.tenant == query.tenant)
    if query.statuses:
        page = page.where(_one_of(_executions.status, [status.value for status in query.statuses]))
    for column, wanted in (
        (_executions.request_id, query.request_id),
        (_executions.state_type, query.state_type),
        (_executions.state_id, query.state_id),
    ):
        if wanted:
            page = page.where(column == wanted)
    order = (_executions.submitted_revision, _executions.id)
    return _newest_first(page, order, query.after, query.limit)


def _newest_first(
    page: Select[Any],
    order: tuple[Column[Any], Column[Any]],
    after: Cursor | None,
    limit: int,
) -> Select[Any]:
    """A cursor is a place in an order that never changes: rows written meanwhile move no page."""
    if after is not None:
        page = page.where(tuple_(*order) < tuple_(after.revision, after.id))
    revision, id = order
    return page.order_by(revision.desc(), id.desc()).limit(limit)


# ---------------------------------------------------------------- the ledger


def entries(
    *, after: Revision, limit: int, until: Revision | None = None, filter: DecisionFilter | None
) -> Select[Any]:
    page = select(*rows.LISTED_ENTRY).where(_ledger.revision > after)
    if until is not None:
        page = page.where(_ledger.revision <= until)
    if filter is None:
        return page.order_by(_ledger.revision).limit(limit)
    ours = page.where(and_(*_conditions(filter)))
    ours = ours.order_by(_ledger.revision).limit(limit)
    return _and_of_the_host(page, ours, filter, limit) if filter.include_host else ours


def _and_of_the_host(
    page: Select[Any], ours: Select[Any], filter: DecisionFilter, limit: int
) -> Select[Any]:
    """Two ranges of an index, each bounded, and then one order: `OR` would sort a whole tenant."""
    of_the_host = page.where(and_(*_conditions(filter.but(tenant=""))))
    of_the_host = of_the_host.order_by(_ledger.revision).limit(limit)
    both = union_all(select(ours.subquery()), select(of_the_host.subquery())).subquery()
    return select(both).order_by(both.c.revision).limit(limit)


def _conditions(filter: DecisionFilter) -> list[ColumnElement[bool]]:
    conditions: list[ColumnElement[bool]] = [_ledger.tenant == filter.tenant]
    if filter.request_ids:
        conditions.append(_one_of(_ledger.request_id, sorted(filter.request_ids)))
    if filter.categories:
        categories = sorted(category.value for category in filter.categories)
        conditions.append(_one_of(_ledger.category, categories))
    if filter.codes:
        conditions.append(_one_of(_ledger.code, sorted(filter.codes)))
    if filter.actor:
        conditions.append(_ledger.actor == filter.actor)
    if filter.execution_id:
        conditions.append(_ledger.execution_id == filter.execution_id)
    return conditions


# ---------------------------------------------------------------- what must be looked at


def due(*, until: Micros, limit: int, after: Due | None = None) -> Select[Any]:
    order = (_requests.due_at, _requests.id)
    page = select(_requests.id).where(_requests.due_at <= until)
    if after is not None:
        page = page.where(tuple_(*order) > tuple_(*after))
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


def host_standing() -> Select[Any]:
    return select(*rows.HOST_STANDING)


def last_about_the_host() -> Select[Any]:
    """What belongs to no tenant is about the host."""
    about = select(_ledger.entry).where(_ledger.tenant == "", _ledger.category == Category.HOST)
    return about.order_by(_ledger.revision.desc()).limit(1)


def head() -> Select[Any]:
    return select(tables.head.c.store_id, tables.head.c.size, tables.head.c.root)


def _one_of(column: Column[Any], wanted: Sequence[str]) -> ColumnElement[bool]:
    """Equality where there is no choice: an index then still gives the order."""
    return column == wanted[0] if len(wanted) == 1 else column.in_(wanted)
