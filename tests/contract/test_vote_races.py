"""Votes against whatever else wants the request, on both databases: exactly one of the two wins.

The two meet in every order that the store leaves open: the one is held up in the moment before its
commit, and the other is done whole in between.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
import pytest_asyncio

from governor.domain.approval import Requirement, Step
from governor.domain.errors import GovernorError, IllegalTransition, NotEligible, NotWaiting
from governor.domain.gates import Gate
from governor.domain.policy import Effect, Rule
from governor.domain.request import ExecutionMode, Risk, Status
from governor.domain.values import Micros
from governor.usecases.access import APPROVER
from governor.usecases.app import Limits
from governor.usecases.commits import Commit
from tests.support.backends import Backend
from tests.support.builders import MICROS_PER_SECOND
from tests.support.domain_builders import CHECK, QUOTA
from tests.support.governed import Governed
from tests.support.invariants import check_everything
from tests.support.people import ANN, BOB, OTTO, REVIEWERS, RITA, TENANT
from tests.support.scripted_host import ScriptedHost

BY_HAND = ExecutionMode.ON_EXECUTE
MINUTE = Requirement(id="one", targets=(REVIEWERS,), deadline_seconds=60)

Doing = Callable[[], Awaitable[object]]


@pytest_asyncio.fixture
async def sidecar(backend: Backend, tmp_path: Path) -> AsyncIterator[Governed]:
    """On one of the two databases, with a host that keeps its promises."""
    running = Governed(tmp_path, Limits(), ScriptedHost(), url=backend.url)
    await running.open()
    await running.start()
    yield running
    await running.close()


async def meets(sidecar: Governed, first: Doing, second: Doing) -> list[object]:
    """`second` is done in the moment before `first` is committed."""
    answers: list[object] = []

    async def meanwhile(_: Commit) -> None:
        answers.append(await answer_of(second))

    sidecar.store.interruptions.append(meanwhile)
    answers.append(await answer_of(first))
    sidecar.store.interruptions.clear()
    await sidecar.quiet()
    return answers


async def at_once(sidecar: Governed, first: Doing, second: Doing) -> list[object]:
    """Both are on their way together."""
    answers = list(await asyncio.gather(answer_of(first), answer_of(second)))
    await sidecar.quiet()
    return answers


async def answer_of(doing: Doing) -> object:
    try:
        return await doing()
    except GovernorError as refusal:
        return refusal


async def the_other_way_round(sidecar: Governed, first: Doing, second: Doing) -> list[object]:
    return await meets(sidecar, second, first)


MEETINGS = (meets, the_other_way_round, at_once)


@pytest.mark.parametrize("meeting", MEETINGS)
async def test_a_vote_and_the_deadline_of_what_it_is_about(
    sidecar: Governed, meeting: Callable[..., Awaitable[list[object]]]
) -> None:
    """The vote was cast in time by its clock, and is held up until the timer has run."""
    step = Step(name="review", requirements=(MINUTE,))
    sidecar.policy.rules = (Rule(id="ask", effect=Effect.DEFER, steps=(step,)),)
    request = await sidecar.submit(execution_mode=BY_HAND)
    sidecar.clock.advance(59)

    async def time_passes() -> object:
        sidecar.clock.advance(1)
        return await sidecar.timers.run_due()

    answers = await meeting(sidecar, lambda: sidecar.vote(ANN, request), time_passes)

    now = await sidecar.now(request)
    history = await sidecar.history(request)
    if now.status is Status.APPROVED:
        assert "APPROVAL expired" not in history
    else:
        assert now.status is Status.EXPIRED
        assert history.count("APPROVAL expired") == 1
        refusals = [one for one in answers if isinstance(one, GovernorError)]
        assert "APPROVAL granted" not in history
        assert len(refusals) == 1
    await check_everything(sidecar)


@pytest.mark.parametrize("meeting", MEETINGS)
async def test_the_same_person_twice(
    sidecar: Governed, meeting: Callable[..., Awaitable[list[object]]]
) -> None:
    request = await sidecar.submit(risk=Risk.HIGH)

    answers = await meeting(
        sidecar, lambda: sidecar.vote(ANN, request), lambda: sidecar.vote(ANN, request)
    )

    assert sorted(isinstance(one, NotEligible) for one in answers) == [False, True]
    assert (await sidecar.history(request)).count("APPROVAL granted") == 1
    assert (await sidecar.now(request)).status is Status.PENDING
    await check_everything(sidecar)


@pytest.mark.parametrize("meeting", MEETINGS)
async def test_a_vote_that_is_taken_back_and_the_claim(
    sidecar: Governed, meeting: Callable[..., Awaitable[list[object]]]
) -> None:
    request = await sidecar.submit(risk=Risk.MEDIUM, execution_mode=BY_HAND)
    await sidecar.approve(ANN, request)

    answers = await meeting(
        sidecar, lambda: sidecar.revoke(ANN, request), lambda: sidecar.execute(OTTO, request)
    )

    now = await sidecar.now(request)
    refusals = [one for one in answers if isinstance(one, GovernorError)]
    assert [type(one) for one in refusals] == [IllegalTransition]
    history = await sidecar.history(request)
    assert (now.status, "APPROVAL revoked" in history, len(sidecar.host.effects)) in (
        (Status.EXECUTED, False, 1),
        (Status.PENDING, True, 0),
    )
    await check_everything(sidecar)


@pytest.mark.parametrize("meeting", MEETINGS)
async def test_the_last_approval_and_a_cancellation(
    sidecar: Governed, meeting: Callable[..., Awaitable[list[object]]]
) -> None:
    request = await sidecar.submit(risk=Risk.HIGH, execution_mode=BY_HAND)
    await sidecar.approve(ANN, request)

    await meeting(
        sidecar, lambda: sidecar.vote(BOB, request), lambda: sidecar.cancel(RITA, request)
    )

    assert (await sidecar.now(request)).status is Status.CANCELED
    assert (await sidecar.history(request)).count("LIFECYCLE canceled") == 1
    await check_everything(sidecar)


@pytest.mark.parametrize("meeting", MEETINGS)
async def test_the_last_two_approvals(
    sidecar: Governed, meeting: Callable[..., Awaitable[list[object]]]
) -> None:
    request = await sidecar.submit(risk=Risk.HIGH)

    answers = await meeting(
        sidecar, lambda: sidecar.vote(ANN, request), lambda: sidecar.vote(BOB, request)
    )

    assert not [one for one in answers if isinstance(one, GovernorError)]
    history = await sidecar.history(request)
    assert history.count("APPROVAL quorum_satisfied") == 1
    assert history.count("LIFECYCLE executed") == 1
    await check_everything(sidecar)


@pytest.mark.parametrize("meeting", MEETINGS)
async def test_the_last_approval_and_the_end_of_the_request(
    sidecar: Governed, meeting: Callable[..., Awaitable[list[object]]]
) -> None:
    """At the very moment of its expiry: it is approved or expired, and never both."""
    end = Micros(sidecar.clock.now() + 60 * MICROS_PER_SECOND)
    request = await sidecar.submit(risk=Risk.MEDIUM, execution_mode=BY_HAND, expires_at=end)
    sidecar.clock.advance(60)

    answers = await meeting(sidecar, lambda: sidecar.vote(ANN, request), sidecar.timers.run_due)

    # Who has approved it in that moment has not started it: its time is up all the same.
    await sidecar.timers.run_due()
    assert (await sidecar.now(request)).status is Status.EXPIRED
    history = await sidecar.history(request)
    assert history.count("LIFECYCLE expired") == 1
    refused = [one for one in answers if isinstance(one, GovernorError)]
    assert len(refused) == 1 - history.count("APPROVAL granted")
    assert sidecar.host.effects == []
    with pytest.raises(IllegalTransition):
        await sidecar.execute(OTTO, request)
    await check_everything(sidecar)


@pytest.mark.parametrize("meeting", MEETINGS)
async def test_one_person_under_two_names(
    sidecar: Governed, meeting: Callable[..., Awaitable[list[object]]]
) -> None:
    sidecar.directory.put("ann-bot", TENANT, (APPROVER,), ("reviewers",), person=ANN)
    request = await sidecar.submit(risk=Risk.HIGH)

    answers = await meeting(
        sidecar, lambda: sidecar.vote(ANN, request), lambda: sidecar.vote("ann-bot", request)
    )

    assert sorted(isinstance(one, NotEligible) for one in answers) == [False, True]
    assert (await sidecar.history(request)).count("APPROVAL granted") == 1
    assert (await sidecar.now(request)).status is Status.PENDING
    await check_everything(sidecar)


@pytest.mark.parametrize("passed", [True, False])
@pytest.mark.parametrize("gate", [CHECK, QUOTA], ids=["check", "quota"])
@pytest.mark.parametrize("meeting", MEETINGS)
async def test_an_answer_and_the_time_it_had(
    sidecar: Governed,
    meeting: Callable[..., Awaitable[list[object]]],
    gate: Gate,
    *,
    passed: bool,
) -> None:
    """Whichever comes first decides, and the other one changes nothing."""
    asks = Rule(id="ask", effect=Effect.DEFER, gates=(gate.but(timeout_seconds=60),))
    sidecar.policy.rules = (asks,)
    request = await sidecar.submit(execution_mode=BY_HAND)
    sidecar.clock.advance(60)

    answers = await meeting(
        sidecar,
        lambda: sidecar.answer_gate(OTTO, request, gate.name, passed=passed),
        sidecar.timers.run_due,
    )

    history = await sidecar.history(request)
    said = [one for one in history if one.startswith("CHECK ")]
    assert len(said) == 1, "it was decided twice"
    refused = [one for one in answers if isinstance(one, GovernorError)]
    assert all(isinstance(one, IllegalTransition | NotWaiting) for one in refused)
    is_a_yes = said == ["CHECK passed"]
    expected = Status.APPROVED if is_a_yes else Status.REJECTED
    assert (await sidecar.now(request)).status is expected
    if refused and gate is CHECK:
        assert said == ["CHECK timed_out"], "the time it had was up, and silence is a no"
    await check_everything(sidecar)
