"""ResolvePending: whoever may answers for one reason, once, on the content they looked at."""

import pytest

from governor.domain.approval import Target
from governor.domain.errors import (
    DigestMismatch,
    EtagMismatch,
    IllegalTransition,
    MissingRole,
    NotEligible,
    NotFound,
    NotWaiting,
    RequestIdReused,
)
from governor.domain.gates import Gate
from governor.domain.policy import Effect, Rule
from governor.domain.request import PendingReason, Status
from governor.domain.values import Reason, TargetKind
from governor.usecases.access import CHECKER, OPERATOR, SUBMITTER
from governor.usecases.commands import etag_of
from tests.support.domain_builders import CHECK, LOOK, QUOTA
from tests.support.governed import Governed
from tests.support.people import ADA, ANN, AUDREY, EVE, LOW_IS_ALLOWED, OTTO, RITA, TENANT


def demand(sidecar: Governed, *gates: Gate) -> None:
    """Policy asks for these from now on."""
    sidecar.policy.rules = (
        LOW_IS_ALLOWED,
        Rule(id="gated", effect=Effect.DEFER, gates=gates),
    )


@pytest.mark.parametrize("gate", [CHECK, QUOTA, LOOK])
@pytest.mark.parametrize("who", [OTTO, ADA, "cora"])
async def test_who_may_lets_it_go_on(sidecar: Governed, gate: Gate, who: str) -> None:
    sidecar.directory.put("cora", TENANT, [CHECKER])
    demand(sidecar, gate)
    request = await sidecar.submit()
    assert request.status is Status.PENDING

    answered = await sidecar.answer_gate(who, request, gate.name)
    assert answered.status is Status.APPROVED
    await sidecar.quiet()

    assert (await sidecar.now(request)).status is Status.EXECUTED
    assert (await sidecar.history(request))[3:5] == ["CHECK passed", "LIFECYCLE approved"]
    said = next(e.decision for e in await sidecar.ledger() if e.decision.code.text == "passed")
    assert said.actor.id == who
    assert said.facts == {"reason": gate.reason, "name": gate.name}
    assert said.reason == Reason(code="LOOKED", message="looked")


async def test_a_no_ends_it(sidecar: Governed) -> None:
    demand(sidecar, CHECK, LOOK)
    request = await sidecar.submit()
    ended = await sidecar.answer_gate(OTTO, request, LOOK.name, passed=False)
    assert ended.status is Status.REJECTED
    assert (await sidecar.history(request))[-2:] == ["CHECK failed", "LIFECYCLE rejected"]
    await sidecar.changes_nothing(sidecar.answer_gate(OTTO, request, CHECK.name), IllegalTransition)


async def test_nobody_else_may(sidecar: Governed) -> None:
    demand(sidecar, CHECK)
    request = await sidecar.submit()
    for who in (ANN, AUDREY, RITA):
        await sidecar.changes_nothing(sidecar.answer_gate(who, request, CHECK.name), MissingRole)
    await sidecar.changes_nothing(sidecar.answer_gate(EVE, request, CHECK.name), NotFound)


async def test_the_requester_does_not_under_any_name_whatever_they_hold(
    sidecar: Governed,
) -> None:
    sidecar.directory.put(RITA, TENANT, [SUBMITTER, OPERATOR])
    sidecar.directory.put("ritas-robot", TENANT, [CHECKER], person=RITA)
    demand(sidecar, CHECK)
    request = await sidecar.submit()
    for who in (RITA, "ritas-robot"):
        await sidecar.changes_nothing(sidecar.answer_gate(who, request, CHECK.name), NotEligible)


async def test_resolvers_restrict_further_and_open_nothing(sidecar: Governed) -> None:
    named = Target(kind=TargetKind.GROUP, name="security")
    sidecar.directory.put("sue", TENANT, [CHECKER], ["security"])
    sidecar.directory.put("sid", TENANT, [], ["security"])
    demand(sidecar, CHECK.but(resolvers=(named,)))
    request = await sidecar.submit()
    await sidecar.changes_nothing(sidecar.answer_gate(OTTO, request, CHECK.name), NotEligible)
    await sidecar.changes_nothing(sidecar.answer_gate("sid", request, CHECK.name), MissingRole)
    assert (await sidecar.answer_gate("sue", request, CHECK.name)).status is Status.APPROVED


async def test_it_is_about_what_was_looked_at_and_what_is_waited_for(sidecar: Governed) -> None:
    demand(sidecar, CHECK, LOOK)
    request = await sidecar.submit()
    for options, refusal in (
        ({"digest": b"\x00" * 32}, DigestMismatch),
        ({"etag": "r1-0"}, EtagMismatch),
        ({"reason": PendingReason.QUOTA}, NotWaiting),
        ({"reason": PendingReason.APPROVAL}, NotWaiting),
    ):
        call = sidecar.answer_gate(OTTO, request, CHECK.name, **options)
        await sidecar.changes_nothing(call, refusal)
    await sidecar.changes_nothing(sidecar.answer_gate(OTTO, request, "another"), NotWaiting)

    once = await sidecar.answer_gate(OTTO, request, CHECK.name, etag=etag_of(request))
    await sidecar.changes_nothing(
        sidecar.answer_gate(OTTO, request, CHECK.name, reason=PendingReason.EXTERNAL_CHECK),
        NotWaiting,
    )
    assert [one.name for one in once.progress.pending] == [LOOK.name]


async def test_the_same_call_again_gives_the_first_answer_and_another_is_refused(
    sidecar: Governed,
) -> None:
    demand(sidecar, CHECK, LOOK)
    request = await sidecar.submit()
    first = await sidecar.answer_gate(OTTO, request, CHECK.name, key="again")
    await sidecar.answer_gate(OTTO, request, LOOK.name)
    await sidecar.quiet()
    assert await sidecar.answer_gate(OTTO, request, CHECK.name, key="again") == first
    for options in (
        {"passed": False},
        {"finding": Reason(code="OTHER")},
        {"finding": Reason(code="LOOKED", message="looked", category="other")},
        {"digest": b"\x00" * 32},
    ):
        call = sidecar.answer_gate(OTTO, request, CHECK.name, key="again", **options)
        await sidecar.changes_nothing(call, RequestIdReused)


async def test_two_answers_at_once_are_one(sidecar: Governed) -> None:
    """The second finds that nothing is waited for any more."""
    demand(sidecar, CHECK, LOOK)
    request = await sidecar.submit()

    async def meanwhile(_: object) -> None:
        await sidecar.answer_gate(ADA, request, CHECK.name, passed=True)

    sidecar.store.interruptions.append(meanwhile)
    with pytest.raises(NotWaiting):
        await sidecar.answer_gate(OTTO, request, CHECK.name, passed=False)
    assert (await sidecar.now(request)).status is Status.PENDING
