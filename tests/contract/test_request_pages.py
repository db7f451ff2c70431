"""Every combination of filters finds what a plain walk over all requests finds."""

from collections.abc import Callable, Sequence
from random import Random
from typing import Any

import pytest

from governor.domain.approval import Approval, Plan, Requirement, Step, Target
from governor.domain.break_glass import Review, ReviewStatus
from governor.domain.execution import Applied, Execution, ExecutionStatus, Severity, SideEffect
from governor.domain.request import (
    BlastRadius,
    Intent,
    MutationRequest,
    PendingReason,
    Risk,
    RuntimeContext,
    Status,
)
from governor.domain.values import Micros, RequestId, TargetKind
from governor.domain.whom import acted_on_by
from governor.storage.request_pages import RANGES_MAX
from governor.storage.store import SqlStore
from governor.usecases.questions import Cursor, Link, LinkKind, RequestQuery
from tests.support.backends import Backend
from tests.support.builders import START, change, make_execution, make_request, submission

TARGETS = tuple(
    Target(kind=kind, name=name) for kind in TargetKind for name in ("security", "owners")
)
TAGS = ("blue", "green", "red")
METADATA = (("ticket", "1"), ("ticket", "2"), ("long", "é" * 900))
EFFECTS = ("mail", "restart")
SEVERITIES = tuple(Severity)
LINKED = ("one", "two")
ENDED = (Status.EXECUTED, Status.FAILED, Status.CANCELED)


class World:
    """Requests as chance made them, and their executions."""

    def __init__(self, store: SqlStore, chance: Random) -> None:
        self._store = store
        self._chance = chance
        self.requests: dict[str, MutationRequest] = {}
        self.applied: dict[str, Execution] = {}

    async def submit(self) -> None:
        """One more request, executed at once if it happens to be."""
        request = self._request(f"r-{len(self.requests):03}")
        stored = (await self._store.commit(submission(request))).requests[0]
        if stored.status is Status.EXECUTED and self._chance.random() < 0.8:
            applied = Applied(resulting_version="2", side_effects=self._effects())
            execution = make_execution(stored, status=ExecutionStatus.APPLIED, applied=applied)
            committed = await self._store.commit(change(stored, execution))
            stored, self.applied[stored.id] = committed.requests[0], execution
        self.requests[stored.id] = stored

    async def move(self) -> None:
        """Any request, as it would stand had chance made it today."""
        old = self.requests[self._chance.choice(sorted(self.requests))]
        progress = self._request(old.id).progress
        changed = old.but(progress=progress)
        self.requests[old.id] = (await self._store.commit(change(changed))).requests[0]

    def query(self) -> RequestQuery:
        """A few filters together."""
        pick, some = self._chance.choice, self._some
        choices: list[dict[str, Any]] = [
            {"statuses": some(tuple(Status))},
            {"pending_reasons": some(tuple(PendingReason))},
            {"state_type": "flag"},
            {"state_type": "flag", "state_id": "shared"},
            {"actor": pick(("alice", "bob"))},
            {"category": "config"},
            {"tag": pick(TAGS)},
            {"tags_any": some(TAGS)},
            {"tags_all": some(TAGS)},
            {"metadata": some(METADATA)},
            {"risks": some(tuple(Risk))},
            {"blast_radii": some(tuple(BlastRadius))},
            {"side_effect_type": pick(EFFECTS)},
            {"side_effect_severity": pick(SEVERITIES)},
            {"side_effect_type": pick(EFFECTS), "side_effect_severity": pick(SEVERITIES)},
            {"link": Link(kind=pick(tuple(LinkKind)), id=pick(LINKED))},
            {"targets": some(TARGETS)},
            {"review_open": True},
            {"not_of": pick(("alice", "bob"))},
            {"submitted_from": Micros(START + self._chance.randrange(60))},
            {"submitted_until": Micros(START + self._chance.randrange(60))},
        ]
        filters: dict[str, Any] = {}
        for chosen in self._chance.sample(choices, self._chance.choice((1, 1, 2, 2, 3))):
            filters |= chosen
        return RequestQuery(tenant="acme", limit=self._chance.randrange(1, 8), **filters)

    def matching(self, query: RequestQuery) -> list[str]:
        """What a page of everything would hold."""
        found = [one for one in self.requests.values() if self._matches(one, query)]
        found.sort(key=lambda one: (one.submitted_revision, one.id), reverse=True)
        return [one.id for one in found]

    def _matches(self, request: MutationRequest, query: RequestQuery) -> bool:
        content, progress = request.content, request.progress
        intent, review = content.intent, progress.review
        reasons = {pending.reason for pending in progress.pending}
        return (
            request.tenant == query.tenant
            and (not query.statuses or request.status in query.statuses)
            and (not query.pending_reasons or not reasons.isdisjoint(query.pending_reasons))
            and query.state_type in ("", content.state.type)
            and query.state_id in ("", content.state.id)
            and query.actor in ("", content.context.actor)
            and query.category in ("", intent.category)
            and (not query.tag or query.tag in content.tags)
            and (not query.tags_any or not set(content.tags).isdisjoint(query.tags_any))
            and set(content.tags).issuperset(query.tags_all)
            and set(content.metadata.items()).issuperset(query.metadata)
            and (not query.risks or intent.risk in query.risks)
            and (not query.blast_radii or intent.blast_radius in query.blast_radii)
            and self._had(request, query)
            and (query.link is None or _is_linked(request, query.link))
            and (not query.targets or not set(acted_on_by(request)).isdisjoint(query.targets))
            and (not query.review_open or (review is not None and review.is_open))
            and (not query.not_of or request.requester != query.not_of)
            and (query.submitted_from is None or request.submitted_at >= query.submitted_from)
            and (query.submitted_until is None or request.submitted_at < query.submitted_until)
        )

    def _had(self, request: MutationRequest, query: RequestQuery) -> bool:
        least = query.side_effect_severity
        if not query.side_effect_type and least is Severity.UNSPECIFIED:
            return True
        execution = self.applied.get(request.id)
        effects = execution.applied.side_effects if execution and execution.applied else ()
        return any(
            query.side_effect_type in ("", effect.type)
            and SEVERITIES.index(effect.severity) >= SEVERITIES.index(least)
            for effect in effects
        )

    def _request(self, id: str) -> MutationRequest:
        pick, chance = self._chance.choice, self._chance
        status = pick((Status.PENDING, Status.PENDING, Status.APPROVED, *ENDED))
        waits = self._some(tuple(PendingReason)) if status is Status.PENDING else ()
        request = make_request(
            id,
            actor=pick(("alice", "bob")),
            tenant=pick(("acme", "acme", "acme", "bolt")),
            state=pick(("shared", "")),
            status=status,
            waits_for=waits,
            submitted_at=Micros(START + len(self.requests)),
            tags=self._some(TAGS) if chance.random() < 0.6 else (),
            metadata=dict(self._some(METADATA)) if chance.random() < 0.6 else {},
            depends_on=self._linked(),
        )
        linked = self._linked()
        context = RuntimeContext(
            tenant=request.tenant,
            actor=request.content.context.actor,
            correlation_id=linked[0] if linked else "",
            causation_id=linked[-1] if linked else "",
        )
        intent = Intent(
            category=pick(("", "config")),
            risk=pick(tuple(Risk)),
            blast_radius=pick(tuple(BlastRadius)),
        )
        plan = Plan(
            steps=(
                Step(
                    name="only",
                    requirements=(Requirement(id="r", targets=self._some(TARGETS)),),
                ),
            )
        )
        review = Review(
            reviewers=self._some(TARGETS), due_at=START, status=pick(tuple(ReviewStatus))
        )
        return request.but(
            content=request.content.but(context=context, intent=intent),
            supersedes=RequestId(linked[0]) if linked else None,
            progress=request.progress.but(
                approval=Approval(plan=plan) if PendingReason.APPROVAL in waits else None,
                review=review if chance.random() < 0.2 else None,
            ),
        )

    def _effects(self) -> tuple[SideEffect, ...]:
        return tuple(
            SideEffect(type=self._chance.choice(EFFECTS), severity=self._chance.choice(SEVERITIES))
            for _ in range(self._chance.randrange(3))
        )

    def _linked(self) -> tuple[RequestId, ...]:
        return tuple(map(RequestId, self._some(LINKED))) if self._chance.random() < 0.4 else ()

    def _some(self, values: Sequence[Any]) -> tuple[Any, ...]:
        return tuple(
            self._chance.sample(values, self._chance.randrange(1, min(4, len(values) + 1)))
        )


def _is_linked(request: MutationRequest, link: Link) -> bool:
    content = request.content
    linked: dict[LinkKind, tuple[str | None, ...]] = {
        LinkKind.DEPENDS_ON: content.depends_on,
        LinkKind.SUPERSEDES: (request.supersedes,),
        LinkKind.CORRELATION: (content.context.correlation_id,),
        LinkKind.CAUSATION: (content.context.causation_id,),
        LinkKind.COMPENSATES: (content.compensation.request_id if content.compensation else None,),
        LinkKind.MEMBER_OF: (content.batch.batch_id if content.batch else None,),
    }
    return link.id in linked[link.kind]


async def made(store: SqlStore, seed: int) -> tuple[World, Random]:
    """A world of sixty, half of which have moved since."""
    chance = Random(seed)
    for name in LINKED:
        await store.commit(submission(make_request(name, tenant="elsewhere")))
    world = World(store, chance)
    for _ in range(60):
        await world.submit()
    for _ in range(30):
        await world.move()
    return world, chance


async def paged(
    store: SqlStore, query: RequestQuery, between: Callable[[], Any] | None = None
) -> list[str]:
    """All pages, and what happens between them."""
    found: list[str] = []
    while page := await store.requests(query):
        assert len(page) <= query.limit
        found.extend(one.id for one in page)
        last = page[-1]
        query = query.but(after=Cursor(revision=last.submitted_revision, id=last.id))
        if between is not None:
            await between()
    return found


@pytest.mark.parametrize("seed", range(3))
async def test_filters_together_find_what_meets_every_one_of_them(
    store: SqlStore, seed: int
) -> None:
    """Sixty requests, two hundred questions, pages of one to seven."""
    world, _ = await made(store, seed)
    some = 0
    for _ in range(200):
        query = world.query()
        expected = world.matching(query)
        assert await paged(store, query) == expected, query
        some += bool(expected)
    assert some > 60


@pytest.mark.parametrize("seed", range(3))
async def test_pages_hold_still_while_everything_else_moves(store: SqlStore, seed: int) -> None:
    """What met the filters all along is found once, in order, and what never did is not; of what
    changed meanwhile either is true.
    """
    world, chance = await made(store, seed)
    for _ in range(40):
        query = world.query().but(limit=chance.randrange(1, 4))
        seen = [set(world.matching(query))]
        old = set(world.requests)

        async def between(query: RequestQuery = query, seen: list[set[str]] = seen) -> None:
            await (world.submit() if chance.random() < 0.3 else world.move())
            seen.append(set(world.matching(query)))

        found = await paged(store, query, between)
        assert len(set(found)) == len(found)
        places = [(world.requests[id].submitted_revision, id) for id in found]
        assert places == sorted(places, reverse=True)
        always, ever = set.intersection(*seen), set.union(*seen)
        assert always <= set(found) <= ever & old


async def test_more_values_than_ranges_are_merged_are_found_all_the_same(
    store: SqlStore, backend: Backend
) -> None:
    """Somebody in very many groups still sees what waits for them, each request once."""
    world, _ = await made(store, 7)
    strangers = tuple(
        Target(kind=TargetKind.GROUP, name=f"g-{number}") for number in range(RANGES_MAX)
    )
    query = RequestQuery(tenant="acme", targets=(*strangers, *TARGETS), limit=3)
    assert await paged(store, query) == world.matching(query) != []
