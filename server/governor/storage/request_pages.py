"""Lists of requests: which range of which index answers a query, in the order of the answer.

Whatever a request is found by stands in an index that ends in its place in the list. A page walks
one such range, newest first, and asks the other filters of what it passes: the one that fewest
requests can be expected to meet is walked. Of a filter that names several values each has its own
range; as many pages are begun as there are values, and merged.
"""

from collections.abc import Iterator, Sequence
from enum import IntEnum
from typing import Any, Final, NamedTuple

from sqlalchemy import (
    Column,
    ColumnElement,
    FromClause,
    Select,
    Table,
    and_,
    exists,
    literal_column,
    not_,
    or_,
    select,
    true,
    tuple_,
    union,
)

from governor.domain.batches import BATCH_TYPE
from governor.domain.execution import Severity
from governor.domain.request import TERMINAL, BlastRadius, Risk, Status
from governor.storage import labels, rows, tables
from governor.storage.labels import LabelKind
from governor.usecases.questions import Cursor, RequestQuery

RANGES_MAX: Final = 100
"""How many ranges are merged. The places of more values than that are found together and sorted."""

_requests: Final = tables.requests.c
_Condition = ColumnElement[bool]


class _Rank(IntEnum):
    """What is walked rather than what comes after it."""

    WAITS = 0
    LABEL = 1
    REVIEW = 2
    STATE = 3
    LIVE_STATUS = 4
    ACTOR = 5
    CATEGORY = 6
    ESTIMATE = 7
    ENDED_STATUS = 8
    SEVERAL_TAGS = 9
    SEVERAL_VALUES = 10
    STATE_TYPE = 11
    TENANT = 12


class _Filter(NamedTuple):
    """One filter: the ranges that hold what meets it, or that question asked of a request.

    `table` holds the ranges; None stands for the requests themselves.
    """

    rank: _Rank
    ranges: Sequence[_Condition]
    question: _Condition
    table: Table | None = None
    is_ordered: bool = True


def requests_page(query: RequestQuery) -> Select[Any]:
    """The page that a query asks for."""
    filters = list(_filters(query))
    walked = min(filters, key=lambda filter: filter.rank)
    questions = [filter.question for filter in filters if filter is not walked]
    if len(walked.ranges) == 1 and walked.is_ordered:
        return _range(walked, walked.ranges[0], questions, query, rows.LISTED_REQUEST)
    ranges = (_range(walked, one, questions, query) for one in walked.ranges)
    places = union(*(select(one.subquery()) for one in ranges)).subquery()
    newest = _newest(select(places), (places.c.revision, places.c.id), query.limit).subquery()
    page = select(*rows.LISTED_REQUEST).join_from(
        newest, tables.requests, _requests.id == newest.c.id
    )
    return _newest(page, (newest.c.revision, newest.c.id), query.limit)


def _range(
    walked: _Filter,
    one: _Condition,
    questions: Sequence[_Condition],
    query: RequestQuery,
    columns: Sequence[Column[Any]] = (),
) -> Select[Any]:
    """The newest of one range that every question is true of; without `columns`, their places."""
    table = walked.table
    source: FromClause = tables.requests
    tenant, revision, id = _requests.tenant, _requests.submitted_revision, _requests.id
    if table is not None:
        tenant, revision, id = table.c.tenant, table.c.submitted_revision, table.c.request_id
        source = table
        if columns or questions:
            source = table.join(tables.requests, _requests.id == id)
    # A sum is in no index: what is sorted anyway is not looked for by its order.
    order = revision if walked.is_ordered else revision + literal_column("0")
    chosen = columns or (order.label("revision"), id.label("id"))
    page = select(*chosen).select_from(source).where(tenant == query.tenant, one, *questions)
    page = _following(page, (revision, id), query.after)
    if table is not None and not walked.is_ordered:
        page = page.distinct()  # before the limit counts: one request may meet many of the values
    return _newest(page, (order, id), query.limit)


def newest_first(
    page: Select[Any], order: tuple[Column[Any], Column[Any]], after: Cursor | None, limit: int
) -> Select[Any]:
    """A page of a list whose order is that of an index."""
    return _newest(_following(page, order, after), order, limit)


def _following(
    page: Select[Any], order: tuple[Column[Any], Column[Any]], after: Cursor | None
) -> Select[Any]:
    """A cursor is a place in an order that never changes: rows written meanwhile move no page."""
    return page if after is None else page.where(tuple_(*order) < tuple_(after.revision, after.id))


def _newest(
    page: Select[Any], order: tuple[ColumnElement[Any], ColumnElement[Any]], limit: int
) -> Select[Any]:
    revision, id = order
    return page.order_by(revision.desc(), id.desc()).limit(limit)


# ---------------------------------------------------------------- the filters


def _filters(query: RequestQuery) -> Iterator[_Filter]:
    yield from _beside(query)
    yield from _of_rows(query)
    yield _tenant(query)


def _tenant(query: RequestQuery) -> _Filter:
    """What everybody meets; the times stand in the index that is walked for it."""
    found: list[_Condition] = [true()]
    if query.submitted_from is not None:
        found.append(_requests.submitted_at >= query.submitted_from)
    if query.submitted_until is not None:
        found.append(_requests.submitted_at < query.submitted_until)
    if query.not_of:
        found.append(_aside(_requests.requester != query.not_of))
    return _Filter(_Rank.TENANT, (and_(*found),), and_(*found))


def _of_rows(query: RequestQuery) -> Iterator[_Filter]:
    """What stands in the columns of a request."""
    if query.review_open:
        yield _column(_Rank.REVIEW, _requests.review_due_at.is_not(None))
    if query.uncompensated:
        yield _Filter(_Rank.TENANT, (_is_left_behind(),), _is_left_behind())
    if query.state_type:
        yield _state(query)
    if query.pending_reasons:
        mask = sum({rows.PENDING_BITS[reason] for reason in query.pending_reasons})
        # Only a pending request has reasons; said aloud, it finds the index by status.
        is_pending = _requests.status == Status.PENDING.value
        waits = _requests.pending_mask.bitwise_and(mask) != 0
        yield _column(_Rank.LIVE_STATUS, and_(is_pending, waits))
    if query.statuses:
        ended = not TERMINAL.isdisjoint(query.statuses)
        rank = _Rank.ENDED_STATUS if ended else _Rank.LIVE_STATUS
        yield _column(rank, *(_requests.status == one.value for one in set(query.statuses)))
    if query.actor:
        yield _column(_Rank.ACTOR, _requests.actor == query.actor)
    if query.category:
        yield _column(_Rank.CATEGORY, _requests.category == query.category)
    if query.risks:
        yield _estimate(_requests.risk, query.risks)
    if query.blast_radii:
        yield _estimate(_requests.blast_radius, query.blast_radii)


def _is_left_behind() -> _Condition:
    """Of a member that was applied in a batch which came to less: nobody has called that well.

    The batch shares its members' place in lists. It is asked of the few that carry the label.
    """
    batches, others = tables.requests.alias(), tables.requests.alias()
    labels = tables.request_labels.alias()
    compensated = (
        exists()
        .where(
            labels.c.tenant == _requests.tenant,
            labels.c.kind == LabelKind.COMPENSATES.value,
            labels.c.label == _requests.id,
            others.c.id == labels.c.request_id,
            others.c.status == Status.EXECUTED.value,
        )
        .correlate(tables.requests)
    )
    stands = (Status.FAILED.value, Status.PENDING.value)
    broken = (
        exists()
        .where(
            batches.c.tenant == _requests.tenant,
            batches.c.submitted_revision == _requests.submitted_revision,
            _aside(batches.c.state_type == BATCH_TYPE),
            batches.c.status.in_(stands),
        )
        .correlate(tables.requests)
    )
    return and_(broken, not_(compensated))


def _column(rank: _Rank, *ranges: _Condition) -> _Filter:
    rank = rank if len(ranges) == 1 else _Rank.SEVERAL_VALUES
    return _Filter(rank, ranges, _aside(or_(*ranges)))


def _state(query: RequestQuery) -> _Filter:
    """A type's states stand in the index by their ids: the places are sorted, without the rows."""
    of_type = _requests.state_type == query.state_type
    if not query.state_id:
        return _Filter(_Rank.STATE_TYPE, (of_type,), _aside(of_type), is_ordered=False)
    return _column(_Rank.STATE, and_(of_type, _requests.state_id == query.state_id))


def _estimate(column: Column[Any], wanted: Sequence[Risk] | Sequence[BlastRadius]) -> _Filter:
    """The index holds those who make the estimate; who makes none has no value."""
    values = sorted({one.value for one in wanted if one.value != _NO_ESTIMATE})
    if len(values) == len(set(wanted)):
        return _column(_Rank.ESTIMATE, *(column == value for value in values))
    question = _aside(or_(column.is_(None), column.in_(values)))
    return _Filter(_Rank.TENANT, (question,), question)


_NO_ESTIMATE: Final = Risk.UNSPECIFIED.value


def _aside(condition: _Condition) -> _Condition:
    """The same, as no index's business: else a planner's guess may walk another and sort it all."""
    return condition.self_group().is_(true())


# ---------------------------------------------------------------- in tables of their own


def _beside(query: RequestQuery) -> Iterator[_Filter]:
    if query.targets:
        targets = dict.fromkeys(labels.target_text(target) for target in query.targets)
        yield _joined(query, tables.request_waits, "target", list(targets), _Rank.WAITS)
    for kind, label in _labels(query):
        yield _joined(
            query, tables.request_labels, "label", [labels.indexed(label)], kind=kind.value
        )
    for tag in dict.fromkeys((*((query.tag,) if query.tag else ()), *query.tags_all)):
        yield _joined(query, tables.request_tags, "tag", [tag])
    if query.tags_any:
        tags = list(dict.fromkeys(query.tags_any))
        rank = _Rank.LABEL if len(tags) == 1 else _Rank.SEVERAL_TAGS
        yield _joined(query, tables.request_tags, "tag", tags, rank)


def _labels(query: RequestQuery) -> Iterator[tuple[LabelKind, str]]:
    if query.link is not None:
        yield LabelKind(query.link.kind.value), query.link.id
    if query.batch_id:
        yield LabelKind.MEMBER_OF, query.batch_id
    if query.uncompensated:
        yield LabelKind.LEFT_BEHIND, ""
    for key, value in query.metadata:
        yield LabelKind.METADATA, labels.metadata_text(key, value)
    severity = query.side_effect_severity
    if query.side_effect_type or severity is not Severity.UNSPECIFIED:
        yield LabelKind.SIDE_EFFECT, labels.effect_text(query.side_effect_type, severity)


def _joined(
    query: RequestQuery,
    table: Table,
    name: str,
    wanted: Sequence[str],
    rank: _Rank = _Rank.LABEL,
    **fixed: str,
) -> _Filter:
    """The rows whose column of this name is any of the wanted, and the other columns as fixed."""

    def matching(source: FromClause, values: Sequence[str]) -> _Condition:
        column = source.c[name]
        one_of = column == values[0] if len(values) == 1 else column.in_(values)
        return and_(one_of, *(source.c[other] == value for other, value in fixed.items()))

    own = table.alias()
    question = (
        exists()
        .where(
            own.c.tenant == query.tenant,
            matching(own, wanted),
            own.c.submitted_revision == _requests.submitted_revision,
            own.c.request_id == _requests.id,
        )
        .correlate(tables.requests)
    )
    if len(wanted) > RANGES_MAX:
        return _Filter(rank, [matching(table, wanted)], question, table, is_ordered=False)
    return _Filter(rank, [matching(table, [value]) for value in wanted], question, table)
