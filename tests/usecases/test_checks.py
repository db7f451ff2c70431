"""Checks that Governor asks for: until they are answered or their time is up, whoever dies."""

from pathlib import Path

import pytest

from governor.domain.policy import Effect, Rule
from governor.domain.request import MutationRequest, PendingReason, Risk, Status
from governor.domain.values import Reason
from governor.usecases.app import Limits
from governor.usecases.ports import CheckAnswer, CheckOutcome
from tests.support.domain_builders import CHECK, LOOK
from tests.support.governed import Governed, governed
from tests.support.people import ANN, OTTO, RULES
from tests.support.scripted_checks import FAILED, LATER, NONE, PASSED

CALLED = CHECK.but(called=True)
ASKS = Rule(id="asks", effect=Effect.DEFER, risks=(Risk.LOW, Risk.MEDIUM), gates=(CALLED,))


def prepared(sidecar: Governed) -> None:
    sidecar.policy.rules = (*RULES, ASKS)


async def status(sidecar: Governed, request: MutationRequest) -> Status:
    return (await sidecar.now(request)).status


@pytest.fixture
def asking(sidecar: Governed) -> Governed:
    prepared(sidecar)
    return sidecar


async def test_what_passes_runs(asking: Governed) -> None:
    request = await asking.submit()
    assert request.waits_for(PendingReason.EXTERNAL_CHECK)
    await asking.quiet()

    assert await status(asking, request) is Status.EXECUTED
    ((name, asked),) = asking.checks.asked
    assert (name, asked.id, asked.content) == (CALLED.name, request.id, request.content)
    said = next(e.decision for e in await asking.ledger() if e.decision.code.text == "passed")
    assert (said.actor.id, said.reason) == ("governor", PASSED.reason)


async def test_what_fails_is_rejected_with_governors_own_facts(asking: Governed) -> None:
    forged = Reason(code="DIRTY", metadata={"code": "forged", "name": "forged"})
    asking.checks.say(CheckAnswer(outcome=CheckOutcome.FAILED, reason=forged))
    request = await asking.submit()
    await asking.quiet()

    ended = await asking.now(request)
    assert ended.status is Status.REJECTED
    assert ended.progress.status_reason is not None
    assert ended.progress.status_reason.code == "CHECK_FAILED"
    assert ended.progress.status_reason.metadata["code"] == "DIRTY"
    assert ended.progress.status_reason.metadata["name"] == CALLED.name
    assert asking.host.effects == []


async def test_no_answer_is_asked_for_again_until_there_is_one(asking: Governed) -> None:
    asking.checks.say(NONE, NONE, NONE, PASSED)
    request = await asking.submit()
    await asking.pass_time(300)
    assert await status(asking, request) is Status.EXECUTED
    assert len(asking.checks.asked) == 4


async def test_a_service_that_never_answers_is_a_no_when_the_time_is_up(asking: Governed) -> None:
    asking.checks.say(NONE)
    request = await asking.submit()
    await asking.pass_time(599.999)
    assert await status(asking, request) is Status.PENDING
    asked = len(asking.checks.asked)
    assert 20 <= asked <= 200, "neither given up nor asked in a hurry"

    await asking.pass_time(0.001)
    ended = await asking.now(request)
    assert ended.status is Status.REJECTED
    assert ended.progress.status_reason is not None
    assert ended.progress.status_reason.code == "CHECK_TIMED_OUT"
    await asking.pass_time(3600)
    assert len(asking.checks.asked) <= asked + 1
    assert asking.checking.waiting == 0


async def test_a_call_that_hangs_is_a_no_when_the_time_is_up(asking: Governed) -> None:
    """And its answer, when it comes after all, changes nothing."""
    asking.checks.is_open.clear()
    request = await asking.submit()
    await asking.pass_time(600)
    assert await status(asking, request) is Status.REJECTED
    asking.checks.is_open.set()
    await asking.quiet()
    assert await status(asking, request) is Status.REJECTED


async def test_an_answer_that_is_to_come_later_is_not_asked_for_again(asking: Governed) -> None:
    asking.checks.say(LATER)
    request = await asking.submit(risk=Risk.MEDIUM)
    await asking.quiet()
    await asking.approve(ANN, request)
    await asking.pass_time(300)
    assert len(asking.checks.asked) == 1

    await asking.answer_gate(OTTO, await asking.now(request), CALLED.name)
    await asking.quiet()
    assert await status(asking, request) is Status.EXECUTED


async def test_a_check_that_nobody_answers_by_now_is_left_to_people_and_time(
    asking: Governed,
) -> None:
    asking.checks.say(CheckAnswer(outcome=CheckOutcome.NOBODY))
    request = await asking.submit()
    await asking.pass_time(300)
    assert len(asking.checks.asked) == 1
    assert await status(asking, request) is Status.PENDING
    await asking.pass_time(300)
    assert await status(asking, request) is Status.REJECTED


async def test_a_submission_that_waits_waits_for_what_governor_asks_for_alone(
    asking: Governed,
) -> None:
    done = await asking.submit(wait_seconds=30)
    assert done.status is Status.EXECUTED
    asked = await asking.submit(risk=Risk.MEDIUM, wait_seconds=30)
    assert asked.status is Status.PENDING


async def test_what_is_not_called_is_not_asked_for(sidecar: Governed) -> None:
    sidecar.policy.rules = (ASKS.but(gates=(CHECK, LOOK)),)
    await sidecar.submit()
    await sidecar.pass_time(60)
    assert sidecar.checks.asked == []
    assert sidecar.checking.waiting == 0


async def test_who_answers_first_wins_and_the_call_changes_nothing(asking: Governed) -> None:
    asking.checks.is_open.clear()
    asking.checks.say(FAILED)
    request = await asking.submit()
    await asking.quiet()
    await asking.answer_gate(OTTO, request, CALLED.name)
    asking.checks.is_open.set()
    await asking.quiet()
    assert await status(asking, request) is Status.EXECUTED


async def test_a_vote_in_the_same_moment_loses_no_answer(asking: Governed) -> None:
    asking.checks.is_open.clear()
    request = await asking.submit(risk=Risk.MEDIUM)
    await asking.quiet()

    async def meanwhile(_: object) -> None:
        await asking.approve(ANN, request)

    asking.store.interruptions.append(meanwhile)
    asking.checks.is_open.set()
    await asking.quiet()
    assert await status(asking, request) is Status.EXECUTED


async def test_so_many_at_once_and_no_more(tmp_path: Path) -> None:
    limits = Limits(checks_running_max=3)
    async with governed(tmp_path, limits=limits, prepare=prepared) as sidecar:
        sidecar.checks.is_open.clear()
        requests = [await sidecar.submit(flag=f"flag-{n}") for n in range(10)]
        await sidecar.quiet()
        assert sidecar.checks.asking == 3
        sidecar.checks.is_open.set()
        await sidecar.quiet()
        assert sidecar.checks.asking_max == 3
        for request in requests:
            assert await status(sidecar, request) is Status.EXECUTED


async def test_a_service_that_is_away_does_not_keep_others_from_being_asked(
    tmp_path: Path,
) -> None:
    """Who is to be asked again waits beside, and takes nobody's place."""
    limits = Limits(checks_running_max=1)
    async with governed(tmp_path, limits=limits, prepare=prepared) as sidecar:
        sidecar.checks.say(NONE, PASSED)
        first = await sidecar.submit(flag="a")
        second = await sidecar.submit(flag="b")
        await sidecar.quiet()
        assert await status(sidecar, first) is Status.PENDING
        assert await status(sidecar, second) is Status.EXECUTED


@pytest.mark.parametrize("answer", [PASSED, FAILED])
@pytest.mark.parametrize("place", ["check.before_commit", "check.after_commit"])
async def test_an_answer_survives_a_death_at_any_place(
    asking: Governed, place: str, answer: CheckAnswer
) -> None:
    asking.checks.say(answer)
    asking.die_at(place)
    await asking.unless_it_dies(asking.submit())
    await asking.pass_time(1)
    assert asking.is_dead.is_set()
    await asking.restart()
    await asking.quiet()

    (request,) = {e.decision.request_id for e in await asking.ledger() if e.decision.request_id}
    found = await asking.store.request(request)
    assert found is not None
    end = Status.EXECUTED if answer is PASSED else Status.REJECTED
    assert found.status is end
    assert (await asking.history(request)).count("CHECK passed") == (answer is PASSED)


async def test_the_next_life_asks_for_what_is_still_waited_for(asking: Governed) -> None:
    asking.checks.say(NONE)
    request = await asking.submit()
    await asking.pass_time(10)
    await asking.crash()
    asking.checks.say(PASSED)
    await asking.open()
    await asking.start()
    await asking.quiet()
    assert await status(asking, request) is Status.EXECUTED


async def test_a_fault_of_ours_is_no_answer(asking: Governed) -> None:
    asking.fail_at("check.before_commit")
    request = await asking.submit()
    await asking.pass_time(60)
    assert await status(asking, request) is Status.EXECUTED
    assert len(asking.checks.asked) == 2
