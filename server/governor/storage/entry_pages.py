"""Lists of decisions: which range of which index of the ledger answers a filter, in its order.

The order is the ledger's own, by revision, in either direction. What a filter asks that is no range
of the index that is walked is decided inside the index, where it stands with the revision, or else
by visiting the entries. A time is no range of the ledger: clocks are set, and revisions are not.
"""

from collections.abc import Sequence
from typing import Any, Final

from sqlalchemy import Column, ColumnElement, Select, literal_column, select, union_all

from governor.domain.decision import Category, Code
from governor.domain.values import Revision
from governor.storage import rows, tables
from governor.usecases.questions import DecisionFilter

_ledger: Final = tables.ledger.c

SCARCE: Final = (Category.APPROVAL, Category.CHECK, Category.BREAK_GLASS)
"""Of no interest to a request that policy allows by itself: they have an index of their own."""


def entries(
    *, after: Revision, limit: int, until: Revision | None = None, filter: DecisionFilter | None
) -> Select[Any]:
    """The entries after a revision, oldest first."""
    bounds: list[ColumnElement[bool]] = [_ledger.revision > after]
    if until is not None:
        bounds.append(_ledger.revision <= until)
    if filter is None:
        page = select(*rows.LISTED_ENTRY).where(*bounds)
        return page.order_by(_ledger.revision).limit(limit)
    return _merged(filter, bounds, limit, newest=False)


def newest_entries(*, before: Revision | None, limit: int, filter: DecisionFilter) -> Select[Any]:
    """The entries before a revision, or from the end, newest first."""
    bounds = [] if before is None else [_ledger.revision < before]
    return _merged(filter, bounds, limit, newest=True)


def _merged(
    filter: DecisionFilter, bounds: Sequence[ColumnElement[bool]], limit: int, *, newest: bool
) -> Select[Any]:
    """The ranges, each bounded, and then one order: `OR` would sort a whole tenant."""

    def ordered(page: Select[Any], revision: ColumnElement[Any]) -> Select[Any]:
        return page.order_by(revision.desc() if newest else revision).limit(limit)

    ranges = [
        ordered(select(*rows.LISTED_ENTRY).where(*bounds, *one), _ledger.revision)
        for one in _ranges(filter)
    ]
    if len(ranges) == 1:
        return ranges[0]
    merged = union_all(*(select(one.subquery()) for one in ranges)).subquery()
    return ordered(select(merged), merged.c.revision)


def _ranges(filter: DecisionFilter) -> list[list[ColumnElement[bool]]]:
    tenants = [filter.tenant, *([""] if filter.include_host and filter.tenant else [])]
    return [one for tenant in tenants for one in _ranges_in(tenant, filter)]


def _ranges_in(tenant: str, filter: DecisionFilter) -> list[list[ColumnElement[bool]]]:
    categories = filter.categories or _categories_of(filter.codes)
    others = [_ledger.tenant == tenant, *_others(filter)]
    named = bool(filter.request_ids or filter.execution_id)
    if filter.actor and categories == {Category.APPROVAL} and not named:
        return [[*others, _ledger.category == _said(Category.APPROVAL)]]
    if categories and categories.issubset(SCARCE) and not (named or filter.actor):
        scarce = _ledger.category.in_([_said(one) for one in SCARCE])
        return [[*others, _ledger.category == one.value, scarce] for one in sorted(categories)]
    if filter.categories:
        wanted = sorted(category.value for category in filter.categories)
        others.append(one_of(_ledger.category, wanted))
    return [others]


def _said(category: Category) -> ColumnElement[Any]:
    """The indexes' conditions have to be repeated to the letter."""
    return literal_column(f"'{category.value}'")


def _categories_of(codes: frozenset[str]) -> frozenset[Category]:
    """The categories that have one of these codes."""
    return frozenset(code.category for code in Code if code.text in codes)


def _others(filter: DecisionFilter) -> list[ColumnElement[bool]]:
    found: list[ColumnElement[bool]] = []
    if filter.request_ids:
        found.append(one_of(_ledger.request_id, sorted(filter.request_ids)))
    if filter.codes:
        found.append(one_of(_ledger.code, sorted(filter.codes)))
    if filter.actor:
        found.append(_ledger.actor == filter.actor)
    if filter.execution_id:
        found.append(_ledger.execution_id == filter.execution_id)
    if filter.from_time is not None:
        found.append(_ledger.at >= filter.from_time)
    if filter.until_time is not None:
        found.append(_ledger.at < filter.until_time)
    return found


def one_of(column: Column[Any], wanted: Sequence[str]) -> ColumnElement[bool]:
    """Equality where there is no choice: an index then still gives the order."""
    return column == wanted[0] if len(wanted) == 1 else column.in_(wanted)
