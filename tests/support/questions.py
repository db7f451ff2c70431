"""Every question that people ask of the store, as the statement it becomes, and what answers it."""

from collections.abc import Iterator
from typing import Any, Final, NamedTuple

from sqlalchemy import Select

from governor.domain.approval import Target
from governor.domain.decision import Category
from governor.domain.execution import Severity
from governor.domain.request import BlastRadius, PendingReason, Risk, Status
from governor.domain.values import Micros, RequestId, Revision, TargetKind
from governor.storage import queries
from governor.storage.entry_pages import entries, newest_entries
from governor.storage.request_pages import requests_page
from governor.usecases.questions import (
    Cursor,
    DecisionFilter,
    Due,
    ExecutionQuery,
    Link,
    LinkKind,
    RequestQuery,
)
from tests.support.builders import START
from tests.support.filling import SECOND_US, TENANT

PAGE: Final = 50
LABELS: Final = "request_labels"
TAGS: Final = "request_tags"
WAITS: Final = "request_waits"


class Question(NamedTuple):
    """What is asked; the index that answers it, of which a table's name stands for its own key.

    `why` says why something is sorted, or many rows are passed over, where that is so. PostgreSQL
    may take `or_else`: it knows how much there is of what.
    """

    name: str
    statement: Select[Any]
    answered_by: str
    why: str = ""
    or_else: str = ""


def questions(requests: int) -> Iterator[Question]:
    """All of them, asked of a store that was filled with so many requests."""
    yield from _of_requests(requests)
    yield from _of_decisions(requests)
    yield from _of_the_rest(requests)


def _of_requests(requests: int) -> Iterator[Question]:
    def asked(
        name: str, index: str, why: str = "", *, after: Cursor | None = None, **filters: Any
    ) -> Question:
        query = RequestQuery(tenant=TENANT, limit=PAGE, after=after, **filters)
        return Question(name, requests_page(query), index, why)

    def moment(part: float) -> Micros:
        return Micros(START + round(requests * part) * SECOND_US)

    teams = tuple(Target(kind=TargetKind.GROUP, name=f"team-{n}") for n in range(3))
    approval = (PendingReason.APPROVAL,)
    yield asked("all", "requests_by_tenant")
    deep = Cursor(revision=2 * requests, id="")
    yield asked("all, from the middle on", "requests_by_tenant", after=deep)
    yield asked("one status", "requests_by_status", statuses=(Status.PENDING,))
    several = (Status.REJECTED, Status.CANCELED)
    yield asked("several statuses", "requests_by_status", MERGED, statuses=several)
    yield asked("one pending reason", "requests_by_status", pending_reasons=approval)
    rare = (PendingReason.AUDIT,)
    yield asked("a rare pending reason", "requests_by_status", IN_INDEX, pending_reasons=rare)
    yield asked("one state", "requests_by_state", state_type="flag", state_id="flag-7")
    yield asked("one type of state", "requests_by_state", BY_ID, state_type="flag")
    yield asked("one actor", "requests_by_actor", actor="person-7")
    yield asked("one category", "requests_by_category", category="config")
    yield asked("one tag", TAGS, tag="tag-3")
    yield asked("any of three tags", TAGS, MERGED, tags_any=("tag-150", "tag-60", "tag-3"))
    yield asked("all of two tags", TAGS, PASSED, tags_all=("tag-3", "tag-4"))
    yield asked("an entry of the metadata", LABELS, metadata=(("ticket", "OPS-777"),))
    two = (("team", "team-3"), ("ticket", "OPS-777"))
    yield asked("two entries of the metadata", LABELS, PASSED, metadata=two)
    yield asked("one risk", "requests_by_risk", risks=(Risk.CRITICAL,))
    risks = (Risk.HIGH, Risk.CRITICAL)
    yield asked("several risks", "requests_by_risk", MERGED, risks=risks)
    radius = (BlastRadius.GLOBAL,)
    yield asked("one blast radius", "requests_by_blast_radius", blast_radii=radius)
    yield asked("a type of side effect", LABELS, side_effect_type="mail")
    critical = Severity.CRITICAL
    yield asked("a severity or worse", LABELS, side_effect_severity=critical)
    mail: dict[str, Any] = {"side_effect_type": "mail", "side_effect_severity": Severity.WARNING}
    yield asked("a type and a severity or worse", LABELS, **mail)
    release = Link(kind=LinkKind.CORRELATION, id="release-77")
    yield asked("a link", LABELS, link=release)
    yield asked("reviews that are owed", "requests_under_review", review_open=True)
    yield asked("what waits for me", WAITS, MERGED, targets=teams, not_of="person-7")
    yield asked("what waits for my vote", WAITS, MERGED, targets=teams, pending_reasons=approval)
    span: dict[str, Any] = {"submitted_from": moment(0.5), "submitted_until": moment(0.51)}
    yield asked("submitted within a time", "requests_by_tenant", IN_INDEX, **span)
    both: dict[str, Any] = {"actor": "person-7", "statuses": (Status.PENDING,)}
    yield asked("pending of one actor", "requests_by_status", PASSED, **both)
    ended: dict[str, Any] = {"actor": "person-7", "statuses": (Status.FAILED, Status.REJECTED)}
    yield asked("ended of one actor", "requests_by_actor", PASSED, **ended)


MERGED: Final = "each value has its range, and a page of each is sorted"
IN_INDEX: Final = "decided inside the index, which is walked until the page is full"
BY_ID: Final = (
    "its states stand in the index by their ids: the places are sorted, no row is visited"
)
PASSED: Final = "the index of the one is walked, the other asked of each row"
SCARCE: Final = "every decision would pay for an index of its own; decided inside this one"
FEW: Final = "PostgreSQL sorts them while they are few"
COUNTED: Final = "all of the index is read, and no row"


def _of_decisions(requests: int) -> Iterator[Question]:
    all_of_it = DecisionFilter(tenant=TENANT)
    start = Revision(0)

    def oldest(name: str, index: str, why: str = "", **filters: Any) -> Question:
        statement = entries(after=start, limit=PAGE, filter=all_of_it.but(**filters))
        return Question(name, statement, index, why, _OR_ELSE.get(index, ""))

    def newest(name: str, index: str, why: str = "", **filters: Any) -> Question:
        statement = newest_entries(before=None, limit=PAGE, filter=all_of_it.but(**filters))
        return Question(name, statement, index, why, _OR_ELSE.get(index, ""))

    votes: dict[str, Any] = {"categories": frozenset({Category.APPROVAL}), "actor": "person-7"}
    cast: dict[str, Any] = {"codes": frozenset({"granted", "rejected"})}
    yield oldest("decisions, oldest first", "ledger_by_tenant")
    yield newest("decisions, newest first", "ledger_by_tenant")
    yield newest("recent votes of one person", "ledger_votes", **votes, **cast)
    yield newest("decisions of a scarce category", "ledger_by_category", FEW, categories=_APPROVAL)
    several = frozenset({Category.APPROVAL, Category.CHECK})
    yield newest("of several scarce categories", "ledger_by_category", MERGED, categories=several)
    policy = frozenset({Category.POLICY})
    yield newest("of a common category", "ledger_by_tenant", IN_INDEX, categories=policy)
    failed = frozenset({"failed"})
    yield newest("with a code", "ledger_by_tenant", SCARCE, codes=failed)
    yield newest("with a code that there is none of", "ledger_by_tenant", SCARCE, codes=_NONE)
    yield newest("of one actor", "ledger_by_actor", actor="person-7")
    both: dict[str, Any] = {"actor": "person-7", "categories": policy}
    yield newest("of one actor in a category", "ledger_by_actor", PASSED, **both)
    yield oldest("of one request", "ledger_by_request", request_ids=frozenset({"mr-000000777"}))
    one = "execution-of-mr-000000777"
    yield oldest("of one execution", "ledger_by_execution", execution_id=one)
    until = Micros(START + requests // 100 * SECOND_US)
    first: dict[str, Any] = {"until_time": until}
    yield newest("until a time, newest first", "ledger_by_tenant", SCARCE, **first)
    later: dict[str, Any] = {"from_time": Micros(START + requests * SECOND_US // 2)}
    yield oldest("from a time, oldest first", "ledger_by_tenant", SCARCE, **later)


_OR_ELSE: Final = {
    "ledger_by_tenant": "ledger_pkey",  # where nearly every entry is of this tenant
    "ledger_by_category": "ledger_votes",  # where there are few
}
_APPROVAL: Final = frozenset({Category.APPROVAL})
_NONE: Final = frozenset({"lease_lost"})


def _of_the_rest(requests: int) -> Iterator[Question]:
    now = Micros(START + requests // 2 * SECOND_US)
    owed = queries.overdue_reviews(TENANT, requester="person-7", until=now, limit=1)
    yield Question("overdue reviews of a person", owed, "requests_reviews_due")
    due = queries.due(until=now, limit=200)
    yield Question("what is due", due, "requests_due")
    after = queries.due(until=now, limit=200, after=Due(at=now, id=RequestId("")))
    yield Question("what is due after a place", after, "requests_due")
    counts = queries.request_counts(TENANT, now=now)
    yield Question("counts for a dashboard", counts, "requests_by_status", COUNTED)
    running = ExecutionQuery(tenant=TENANT, limit=PAGE)
    yield Question("executions", queries.executions_page(running), "executions_by_tenant")
