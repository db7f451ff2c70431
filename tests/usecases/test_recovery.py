"""A process dies at each durable point; the next one ends what it had begun, with one effect."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from governor.domain.errors import HostUnavailable
from governor.domain.execution import ExecutionStatus
from governor.domain.request import (
    ExecutionMode,
    PendingReason,
    Risk,
    StaleStrategy,
    Status,
)
from governor.usecases.app import Limits
from tests.support.governed import Governed, governed
from tests.support.invariants import check_everything
from tests.support.people import ANN, OTTO, RITA
from tests.support.scripted_host import (
    AT_MOST_ONCE,
    COMPARING,
    EXACTLY_ONCE,
    Kind,
    Loss,
    ScriptedHost,
)

STEPS = (
    "store.batch.before_begin",
    "store.batch.before_commit",
    "store.batch.after_commit",
    "execute.before_claim",
    "execute.before_apply",
    "execute.after_apply",
    "execute.before_outcome",
    "execute.after_outcome",
)
LIMITS = Limits(in_doubt_seconds_max=30.0)
LONG_ENOUGH = 200.0


async def submitted_again(sidecar: Governed, **fields: Any) -> Status:
    """What a caller finds who repeats a call that was never answered, once all has settled."""
    request = await sidecar.submit(key="once", **fields)
    await sidecar.pass_time(LONG_ENOUGH)
    return (await sidecar.now(request)).status


@pytest.mark.parametrize("promises", [COMPARING, EXACTLY_ONCE], ids=["comparing", "asked first"])
@pytest.mark.parametrize("fate", [None, Loss.ORDER, Loss.ANSWER, Loss.DELAY])
@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("passing", [1, 2])
async def test_a_death_at_any_step_costs_no_effect_and_makes_no_second(
    tmp_path: Path, promises: object, fate: Loss | None, step: str, passing: int
) -> None:
    host = ScriptedHost(promises=promises)  # type: ignore[arg-type]
    host.script.extend([fate] if fate else [])
    async with governed(tmp_path, host=host, limits=LIMITS) as sidecar:
        sidecar.die_at(step, passing=passing)
        await sidecar.unless_it_dies(sidecar.submit(key="once", expected_version=""))
        await sidecar.pass_time(LONG_ENOUGH)
        if not sidecar.is_dead.is_set():
            assert passing == 2 or step == "execute.before_claim"
            return

        await sidecar.restart()

        assert await submitted_again(sidecar, expected_version="") is Status.EXECUTED
        host.deliver()
        assert len(host.effects) == 1
        await check_everything(sidecar)


@pytest.mark.parametrize(
    "first", ["execute.before_apply", "execute.after_apply", "execute.before_outcome"]
)
@pytest.mark.parametrize(
    "second",
    [
        "recover.before_reclaim",
        "recover.after_reclaim",
        "execute.before_apply",
        "execute.before_outcome",
        "execute.after_outcome",
        "store.batch.before_commit",
        "store.batch.after_commit",
    ],
)
async def test_a_second_death_during_recovery_changes_nothing(
    tmp_path: Path, first: str, second: str
) -> None:
    async with governed(tmp_path, limits=LIMITS) as sidecar:
        sidecar.die_at(first)
        await sidecar.unless_it_dies(sidecar.submit(key="once"))
        await sidecar.pass_time(1)
        sidecar.die_at(second)

        await sidecar.crash()
        await sidecar.open()
        await sidecar.unless_it_dies(sidecar.start())
        await sidecar.pass_time(LONG_ENOUGH)
        if sidecar.is_dead.is_set():
            await sidecar.restart()

        assert await submitted_again(sidecar) is Status.EXECUTED
        assert len(sidecar.host.effects) == 1
        await check_everything(sidecar)


@pytest.mark.parametrize("fate", [Loss.ORDER, Loss.ANSWER, Loss.DELAY])
async def test_a_death_before_the_fence_is_asked_for(tmp_path: Path, fate: Loss) -> None:
    async with governed(tmp_path, limits=LIMITS) as sidecar:
        sidecar.host.script.append(fate)
        sidecar.die_at("execute.before_fence")
        await sidecar.unless_it_dies(sidecar.submit(key="once"))
        sidecar.host.deaf_to = {Kind.LOOKUP}
        await sidecar.pass_time(LONG_ENOUGH)
        assert sidecar.is_dead.is_set()
        sidecar.host.deaf_to = set()

        await sidecar.restart()

        assert await submitted_again(sidecar) is Status.EXECUTED
        sidecar.host.deliver()
        assert len(sidecar.host.effects) == 1
        await check_everything(sidecar)


async def test_the_former_owners_order_that_comes_late_finds_a_higher_token(
    tmp_path: Path,
) -> None:
    """The order is delayed on its way from a process that is dead by the time it arrives."""
    async with governed(tmp_path, limits=LIMITS) as sidecar:
        sidecar.host.script.append(Loss.DELAY)
        sidecar.die_at("execute.after_apply")
        await sidecar.unless_it_dies(sidecar.submit(key="once"))
        await sidecar.pass_time(1)

        await sidecar.restart()
        await sidecar.quiet()
        before = len(sidecar.host.effects)
        sidecar.host.deliver()

        assert (before, len(sidecar.host.effects)) == (1, 1)
        history = await sidecar.history((await sidecar.submit(key="once")).id)
        assert history[-4:] == [
            "EXECUTION lease_lost",
            "EXECUTION claimed",
            "EXECUTION applied",
            "LIFECYCLE executed",
        ]


async def test_what_was_executing_is_settled_before_anything_new_begins_on_its_state(
    tmp_path: Path,
) -> None:
    async with governed(tmp_path, limits=LIMITS) as sidecar:
        sidecar.host.script.append(Loss.ANSWER)
        sidecar.die_at("execute.after_apply")
        await sidecar.unless_it_dies(sidecar.submit(key="first"))
        await sidecar.pass_time(1)
        sidecar.host.deaf_to = {Kind.LOOKUP}

        await sidecar.restart()
        second = await sidecar.submit(key="second")
        await sidecar.pass_time(10)
        assert (await sidecar.now(second)).status is Status.APPROVED
        sidecar.host.deaf_to = set()
        await sidecar.pass_time(10)

        first = await sidecar.submit(key="first")
        assert [effect.request_id for effect in sidecar.host.effects] == [first.id, second.id]


async def test_a_host_that_is_away_at_the_start_is_waited_for(tmp_path: Path) -> None:
    """What it promises is not known yet; that is no reason to call a person."""
    async with governed(tmp_path, limits=LIMITS) as sidecar:
        sidecar.die_at("execute.after_apply")
        await sidecar.unless_it_dies(sidecar.submit(key="once"))
        await sidecar.pass_time(1)
        sidecar.host.is_reachable = False

        await sidecar.restart()
        request = await sidecar.submit(key="once")
        await sidecar.pass_time(3600)
        assert (await sidecar.now(request)).status is Status.EXECUTING
        sidecar.host.is_reachable = True
        await sidecar.pass_time(60)

        assert (await sidecar.now(request)).status is Status.EXECUTED
        assert len(sidecar.host.effects) == 1


async def test_a_host_without_the_promises_is_left_to_a_person(tmp_path: Path) -> None:
    async with governed(tmp_path, host=ScriptedHost(promises=AT_MOST_ONCE)) as sidecar:
        sidecar.die_at("execute.before_apply")
        await sidecar.unless_it_dies(sidecar.submit(key="once"))
        await sidecar.pass_time(1)

        await sidecar.restart()
        request = await sidecar.submit(key="once")
        await sidecar.quiet()

        assert (await sidecar.now(request)).waits_for(PendingReason.AUDIT)
        assert sidecar.host.sent(Kind.APPLY) == []


async def test_everything_that_waits_goes_on_in_the_next_life(tmp_path: Path) -> None:
    async with governed(tmp_path, limits=LIMITS) as sidecar:
        voting = await sidecar.submit(flag="a", risk=Risk.HIGH)
        await sidecar.approve(ANN, voting)
        on_demand = await sidecar.submit(flag="b", execution_mode=ExecutionMode.ON_EXECUTE)
        dependent = await sidecar.submit(flag="c", depends_on=(on_demand.id,))
        sidecar.host.is_reachable = False
        stale = await sidecar.submit(
            flag="d", expected_version="9", stale_strategy=StaleStrategy.REVALIDATE_ON_LATEST
        )
        sidecar.host.is_reachable = True

        await sidecar.restart()
        await sidecar.pass_time(60)
        assert (await sidecar.now(stale)).status is Status.EXECUTED
        assert (await sidecar.now(dependent)).status is Status.PENDING
        await sidecar.execute(OTTO, on_demand)
        await sidecar.restart()
        await sidecar.quiet()

        for done in (on_demand, dependent):
            assert (await sidecar.now(done)).status is Status.EXECUTED
        await sidecar.approve("bob", voting)
        await sidecar.quiet()
        assert (await sidecar.now(voting)).status is Status.EXECUTED
        await check_everything(sidecar)


async def test_a_death_while_a_cancellation_fences_ends_in_one_of_both(tmp_path: Path) -> None:
    for passing in range(1, 4):
        folder = tmp_path / str(passing)
        folder.mkdir()
        async with governed(folder, limits=LIMITS) as sidecar:
            sidecar.host.script.append(Loss.SILENCE)
            request = await sidecar.submit()
            await sidecar.quiet()
            sidecar.die_at("store.batch.after_commit", passing=passing)
            await sidecar.unless_it_dies(sidecar.cancel(RITA, request))
            await sidecar.pass_time(1)

            await sidecar.restart()
            await sidecar.pass_time(LONG_ENOUGH)

            ended = await sidecar.now(request)
            assert ended.status in (Status.CANCELED, Status.EXECUTED)
            assert len(sidecar.host.effects) == (ended.status is Status.EXECUTED)
            await check_everything(sidecar)


async def test_a_shutdown_leaves_what_runs_to_the_next_life(tmp_path: Path) -> None:
    async with governed(tmp_path, limits=LIMITS) as sidecar:
        sidecar.host.script.append(Loss.SILENCE)
        running = await sidecar.submit()
        waiting = await sidecar.submit()
        await sidecar.quiet()

        await sidecar.executions.drain(0)
        later = await sidecar.submit(flag="other")
        await sidecar.quiet()
        assert (await sidecar.now(later)).status is Status.APPROVED
        await sidecar.restart()
        await sidecar.quiet()

        for request in (running, waiting, later):
            assert (await sidecar.now(request)).status is Status.EXECUTED
        assert len(sidecar.host.effects) == 3


async def test_a_drain_lets_what_runs_come_to_its_end(sidecar: Governed) -> None:
    sidecar.host.orders.shut()
    running = await sidecar.submit()
    await sidecar.quiet()

    draining = asyncio.ensure_future(sidecar.executions.drain(30))
    await sidecar.quiet()
    assert not draining.done()
    sidecar.host.orders.open()
    await draining

    execution = await sidecar.execution_of(running)
    assert execution.status is ExecutionStatus.APPLIED


async def test_a_commit_that_landed_unheard_is_carried_out_all_the_same(tmp_path: Path) -> None:
    """COMMIT did not answer, so everybody was told that the store is away, and nobody that a
    request was approved, or claimed. The next transaction finds out that it was durable.
    """
    for number in range(1, 5):
        folder = tmp_path / str(number)
        folder.mkdir()
        async with governed(folder, limits=LIMITS) as sidecar:
            sidecar.fail_at("store.batch.after_commit", passing=number)
            await asyncio.gather(
                sidecar.submit(key="once", expected_version=""), return_exceptions=True
            )
            await sidecar.quiet()

            await sidecar.submit(flag="other", risk=Risk.HIGH)
            await sidecar.pass_time(LONG_ENOUGH)

            request = await sidecar.submit(key="once", expected_version="")
            await sidecar.pass_time(LONG_ENOUGH)
            assert (await sidecar.now(request)).status is Status.EXECUTED
            assert len(sidecar.host.effects) == 1
            await check_everything(sidecar)


async def test_after_a_drain_nothing_is_started_any_more(sidecar: Governed) -> None:
    """A cancellation that fails now leaves the execution to the next life, not to a new task."""
    sidecar.host.script.append(Loss.SILENCE)
    request = await sidecar.submit()
    await sidecar.quiet()
    await sidecar.executions.drain(0)
    sidecar.host.deaf_to = {Kind.FENCE}

    calling = asyncio.ensure_future(sidecar.cancel(RITA, request))
    await sidecar.pass_time(60)
    with pytest.raises(HostUnavailable):
        await calling
    await sidecar.pass_time(60)

    assert sidecar.host.sent(Kind.LOOKUP) == []
    await sidecar.restart()
    await sidecar.quiet()
    assert (await sidecar.now(request)).status is Status.EXECUTED
