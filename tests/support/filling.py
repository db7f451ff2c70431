"""Requests in great number, as a busy house has them: most ended, a few waiting, people voting.

Written through the store's own commits, so that every row and entry is one that it would write.
"""

import asyncio
from collections.abc import Iterator
from itertools import islice
from random import Random
from typing import Final, Protocol

from governor.domain.approval import Approval, Plan, Requirement, Step, Target
from governor.domain.break_glass import Review
from governor.domain.decision import Code, Decision, decide
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
from governor.domain.values import Identity, Micros, RequestId, TargetKind
from governor.usecases.commits import Commit, Committed
from tests.support.builders import START, make_execution, make_request, standing

TENANT: Final = "acme"
SECOND_US: Final = 1_000_000
COMMITS_AT_ONCE: Final = 2_000

_PEOPLE: Final = 500
_GROUPS: Final = tuple(Target(kind=TargetKind.GROUP, name=f"team-{n}") for n in range(40))
_REASONS: Final = (
    *(PendingReason.APPROVAL,) * 14,
    PendingReason.EXTERNAL_CHECK,
    PendingReason.QUOTA,
    PendingReason.SCHEDULE,
    PendingReason.DEPENDENCY,
    PendingReason.MANUAL_REVIEW,
)
_ENDED: Final = (*(Status.EXECUTED,) * 17, Status.REJECTED, Status.CANCELED, Status.FAILED)
_EFFECTS: Final = ("mail", "cache.flushed", "replica.restarted", "bill.changed")


class Committing(Protocol):
    """As much of a store as it takes."""

    async def commit(self, commit: Commit) -> Committed: ...


async def fill(store: Committing, requests: int, *, seed: int = 1) -> None:
    """Commits as many requests, a second apart."""
    left = commits(requests, seed=seed)
    while some := list(islice(left, COMMITS_AT_ONCE)):
        await asyncio.gather(*(store.commit(one) for one in some))


def commits(requests: int, *, seed: int = 1) -> Iterator[Commit]:
    """One request each, as it stands in the end, and what was decided about it."""
    chance = Random(seed)
    for number in range(requests):
        yield _commit(number, chance)


def _commit(number: int, chance: Random) -> Commit:
    request = _request(number, chance)
    executions: tuple[Execution, ...] = ()
    if request.status is Status.EXECUTED:
        executions = (
            make_execution(
                request,
                status=ExecutionStatus.APPLIED,
                applied=Applied(resulting_version="2", side_effects=_effects(chance)),
            ),
        )
    decisions = tuple(_decisions(request, executions, chance))
    return Commit(decisions=decisions, requests=(request,), executions=executions)


def _decisions(
    request: MutationRequest, executions: tuple[Execution, ...], chance: Random
) -> Iterator[Decision]:
    at = request.submitted_at
    requester = Identity(id=request.content.context.actor, person=request.requester)
    yield decide(Code.SUBMITTED, request, actor=requester, at=at)
    yield decide(Code.POLICY_ALLOWED, request, actor=requester, at=at)
    if chance.random() < 0.1:
        person = f"person-{chance.randrange(_PEOPLE)}"
        voter = Identity(id=person, person=person)
        code = Code.APPROVAL_GRANTED if chance.random() < 0.9 else Code.APPROVAL_REJECTED
        yield decide(code, request, actor=voter, at=at)
    for execution in executions:
        yield decide(Code.APPLIED, request, actor=requester, at=at, execution=execution)
    yield standing(request)


def _request(number: int, chance: Random) -> MutationRequest:
    pick = chance.choice
    is_pending = chance.random() < 0.05
    reason = PendingReason.AUDIT if number % 4_001 == 0 else pick(_REASONS)
    request = make_request(
        f"mr-{number:09}",
        tenant=TENANT if chance.random() < 0.9 else pick(("bolt", "core")),
        actor=f"person-{chance.randrange(_PEOPLE)}",
        state=f"flag-{chance.randrange(20_000)}",
        status=Status.PENDING if is_pending else pick(_ENDED),
        waits_for=(reason,) if is_pending else (),
        submitted_at=Micros(START + number * SECOND_US),
        tags=tuple(dict.fromkeys(_tag(chance) for _ in range(2))),
        metadata={"ticket": f"OPS-{number}", "team": f"team-{chance.randrange(40)}"},
    )
    context = RuntimeContext(
        tenant=request.tenant,
        actor=request.content.context.actor,
        correlation_id=f"release-{number // 20}",
    )
    intent = Intent(
        category=pick(("", "config", "data", "access")),
        risk=pick((Risk.UNSPECIFIED, Risk.LOW, Risk.LOW, Risk.MEDIUM, Risk.HIGH)),
        blast_radius=pick(tuple(BlastRadius)),
    )
    if chance.random() < 0.005:
        intent = intent.but(risk=Risk.CRITICAL)
    return request.but(
        content=request.content.but(context=context, intent=intent),
        supersedes=RequestId(f"mr-{number - 1:09}") if chance.random() < 0.01 else None,
        progress=request.progress.but(
            approval=_approval(chance) if request.waits_for(PendingReason.APPROVAL) else None,
            review=_review(request, chance) if chance.random() < 0.001 else None,
        ),
    )


def _approval(chance: Random) -> Approval:
    targets = tuple(chance.sample(_GROUPS, 2))
    return Approval(plan=Plan(steps=(Step(name="s", requirements=(_asked(targets),)),)))


def _asked(targets: tuple[Target, ...]) -> Requirement:
    return Requirement(id="r", targets=targets)


def _review(request: MutationRequest, chance: Random) -> Review:
    due_at = Micros(request.submitted_at + chance.randrange(90_000) * SECOND_US)
    return Review(reviewers=(chance.choice(_GROUPS),), due_at=due_at)


def _tag(chance: Random) -> str:
    """Few are on much, and many on little."""
    return f"tag-{int(chance.paretovariate(1)) % 200}"


def _effects(chance: Random) -> tuple[SideEffect, ...]:
    if chance.random() < 0.8:
        return ()
    severity = chance.choice((*(Severity.INFO,) * 8, Severity.WARNING, Severity.CRITICAL))
    return (SideEffect(type=chance.choice(_EFFECTS), severity=severity),)
