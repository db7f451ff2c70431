"""Delegation: somebody votes in another's place, for some time, and both have had their say."""

import pytest

from governor.domain.approval import Requirement, Step, Target, VoteKind
from governor.domain.errors import NotEligible
from governor.domain.policy import Effect, Rule
from governor.domain.request import ExecutionMode, Risk, Status
from governor.domain.values import Micros, TargetKind
from governor.usecases.access import APPROVER, AUDITOR, SUBMITTER
from tests.support.governed import Governed
from tests.support.people import ANN, BOB, CLEO, OTHER_TENANT, OTTO, RITA, SAM, TENANT

DAY = 86_400_000_000


@pytest.fixture
def away(sidecar: Governed) -> Governed:
    """Ann is away for a day, and Dan votes in her place; Dan himself is asked by nobody."""
    sidecar.directory.put("dan", TENANT, [APPROVER])
    now = sidecar.clock.now()
    sidecar.directory.delegate(ANN, "dan", starts=now, ends=Micros(now + DAY))
    return sidecar


async def test_a_vote_in_anothers_place_counts_with_what_they_hold_and_names_both(
    away: Governed,
) -> None:
    request = await away.submit(risk=Risk.MEDIUM)
    await away.changes_nothing(away.vote("dan", request), NotEligible)

    answer = await away.vote("dan", request, on_behalf_of=ANN)

    assert answer.request.status is Status.APPROVED
    assert answer.request.progress.approval is not None
    (vote,) = answer.request.progress.approval.votes
    assert vote.on_behalf_of is not None
    assert (vote.voter.id, vote.on_behalf_of.id) == ("dan", ANN)
    facts = next(
        entry.decision.facts
        for entry in await away.ledger()
        if entry.decision.code.text == "granted"
    )
    assert (facts["person"], facts["on_behalf_of"]) == ("dan", ANN)


async def test_both_have_had_their_say(away: Governed) -> None:
    away.directory.put("dan", TENANT, [APPROVER], ["reviewers"])
    request = await away.submit(risk=Risk.HIGH)
    await away.vote("dan", request, on_behalf_of=ANN)

    for voter in (ANN, "dan"):
        await away.changes_nothing(away.vote(voter, request), NotEligible)
    assert (await away.approve(BOB, request)).status is Status.APPROVED


async def test_who_has_voted_has_no_second_voice_in_another_place(away: Governed) -> None:
    away.directory.put("dan", TENANT, [APPROVER], ["reviewers"])
    first = await away.submit(risk=Risk.HIGH, flag="first")
    second = await away.submit(risk=Risk.HIGH, flag="second")
    await away.approve("dan", first)
    await away.approve(ANN, second)

    for request in (first, second):
        await away.changes_nothing(away.vote("dan", request, on_behalf_of=ANN), NotEligible)


async def test_two_steps_do_not_count_one_voice_twice(away: Governed) -> None:
    """Dan's vote in Ann's place fills the first step; neither of them fills the second."""
    names = tuple(Target(kind=TargetKind.ACTOR, name=name) for name in (ANN, "dan", CLEO))
    step = Step(name="one", requirements=(Requirement(id="r", targets=names),))
    away.policy.rules = (Rule(id="two", effect=Effect.DEFER, steps=(step, step.but(name="two"))),)
    request = await away.submit()
    await away.vote("dan", request, on_behalf_of=ANN)

    for voter in (ANN, "dan"):
        await away.changes_nothing(away.vote(voter, request), NotEligible)
    assert (await away.approve(CLEO, request)).status is Status.APPROVED


async def test_outside_its_dates_it_permits_nothing_and_inside_it_has_permitted_for_good(
    sidecar: Governed,
) -> None:
    sidecar.directory.put("dan", TENANT, [APPROVER])
    now = sidecar.clock.now()
    sidecar.directory.delegate(ANN, "dan", starts=Micros(now + DAY), ends=Micros(now + 2 * DAY))
    request = await sidecar.submit(risk=Risk.HIGH, execution_mode=ExecutionMode.ON_EXECUTE)

    early = sidecar.vote("dan", request, on_behalf_of=ANN)
    await sidecar.changes_nothing(early, NotEligible)
    sidecar.clock.advance(86_400)
    await sidecar.vote("dan", request, on_behalf_of=ANN)
    sidecar.clock.advance(86_400)
    late = sidecar.vote("dan", await sidecar.submit(risk=Risk.HIGH), on_behalf_of=ANN)
    await sidecar.changes_nothing(late, NotEligible)

    await sidecar.approve(BOB, request)
    assert (await sidecar.execute(OTTO, request)).execution is not None


async def test_what_was_delegated_is_not_passed_on(away: Governed) -> None:
    now = away.clock.now()
    away.directory.put("eric", TENANT, [APPROVER])
    away.directory.delegate("dan", "eric", starts=now, ends=Micros(now + DAY))
    request = await away.submit(risk=Risk.HIGH)

    for person in (ANN, "dan"):
        passed_on = away.vote("eric", request, on_behalf_of=person)
        await away.changes_nothing(passed_on, NotEligible)


async def test_it_is_good_for_its_tenant_alone(sidecar: Governed) -> None:
    sidecar.directory.put("dan", TENANT, [APPROVER])
    now = sidecar.clock.now()
    sidecar.directory.put("dan", OTHER_TENANT, [APPROVER])
    sidecar.directory.delegate(ANN, "dan", starts=now, ends=Micros(now + DAY), tenant=OTHER_TENANT)
    request = await sidecar.submit(risk=Risk.HIGH)
    elsewhere = sidecar.vote("dan", request, on_behalf_of=ANN)
    await sidecar.changes_nothing(elsewhere, NotEligible)


@pytest.mark.parametrize("kind", [VoteKind.APPROVE, VoteKind.REJECT])
async def test_the_requester_votes_in_nobodys_place_and_nobody_in_theirs(
    sidecar: Governed, kind: VoteKind
) -> None:
    now = sidecar.clock.now()
    for name in (RITA, SAM):
        sidecar.directory.put(name, TENANT, [SUBMITTER, APPROVER], ["reviewers"])
    sidecar.directory.delegate(ANN, RITA, starts=now, ends=Micros(now + DAY))
    sidecar.directory.delegate(RITA, SAM, starts=now, ends=Micros(now + DAY))
    request = await sidecar.submit(RITA, risk=Risk.HIGH)

    hers = sidecar.vote(RITA, request, kind, on_behalf_of=ANN)
    await sidecar.changes_nothing(hers, NotEligible)
    for_her = sidecar.vote(SAM, request, kind, on_behalf_of=RITA)
    await sidecar.changes_nothing(for_her, NotEligible)


@pytest.mark.parametrize("name", [ANN, "dan"])
async def test_a_vote_falls_with_the_role_of_either(away: Governed, name: str) -> None:
    request = await away.submit(risk=Risk.MEDIUM, execution_mode=ExecutionMode.ON_EXECUTE)
    await away.vote("dan", request, on_behalf_of=ANN)
    away.directory.put(name, TENANT, [AUDITOR], ["reviewers"])

    answer = await away.execute(OTTO, request)
    assert (answer.request.status, answer.execution) == (Status.PENDING, None)


async def test_either_takes_it_back(away: Governed) -> None:
    request = await away.submit(risk=Risk.HIGH)
    for name in ("dan", ANN):
        await away.vote("dan", request, on_behalf_of=ANN)
        await away.revoke(name, request)
    assert (await away.approve(ANN, request)).status is Status.PENDING
