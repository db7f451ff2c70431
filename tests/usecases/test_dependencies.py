"""Dependencies: a request waits until all it depends on are executed, or is rejected with them."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from governor.domain.errors import Conflict, StoreUnavailable
from governor.domain.request import (
    ExecutionMode,
    MutationRequest,
    PendingReason,
    Risk,
    Status,
)
from governor.domain.values import Micros
from governor.usecases.app import Limits
from tests.support.governed import Governed, governed
from tests.support.people import ANN, RITA
from tests.support.scripted_host import NO, Loss

ON_EXECUTE = ExecutionMode.ON_EXECUTE
SOON = Micros(1_700_000_060_000_000)


async def on_demand(sidecar: Governed, flag: str, *on: MutationRequest) -> MutationRequest:
    """Runs when it is told to, once its dependencies are executed."""
    return await sidecar.submit(
        flag=flag, execution_mode=ON_EXECUTE, depends_on=tuple(one.id for one in on)
    )


async def after(sidecar: Governed, flag: str, *on: MutationRequest) -> MutationRequest:
    """Runs as soon as its dependencies are executed."""
    return await sidecar.submit(flag=flag, depends_on=tuple(one.id for one in on))


async def status(sidecar: Governed, request: MutationRequest) -> Status:
    return (await sidecar.now(request)).status


async def test_it_runs_when_the_last_of_its_dependencies_is_executed(sidecar: Governed) -> None:
    first, second = await on_demand(sidecar, "a"), await on_demand(sidecar, "b")
    waiting = await after(sidecar, "c", first, second)
    assert waiting.waits_for(PendingReason.DEPENDENCY)

    await sidecar.execute(RITA, second)
    await sidecar.quiet()
    assert await status(sidecar, waiting) is Status.PENDING
    await sidecar.execute(RITA, first)
    await sidecar.quiet()

    assert await status(sidecar, waiting) is Status.EXECUTED
    order = [effect.request_id for effect in sidecar.host.effects]
    assert order == [second.id, first.id, waiting.id]


async def test_a_chain_runs_from_its_beginning(sidecar: Governed) -> None:
    chain = [await on_demand(sidecar, "0")]
    for number in range(1, 6):
        chain.append(await after(sidecar, str(number), chain[-1]))

    await sidecar.execute(RITA, chain[0])
    await sidecar.quiet()

    assert [effect.request_id for effect in sidecar.host.effects] == [one.id for one in chain]


async def test_a_chain_on_one_state_does_not_stand_in_its_own_way(sidecar: Governed) -> None:
    first = await on_demand(sidecar, "a")
    second = await after(sidecar, "a", first)
    third = await after(sidecar, "a", second)

    await sidecar.execute(RITA, first)
    await sidecar.quiet()

    assert await status(sidecar, third) is Status.EXECUTED


async def canceled(sidecar: Governed, request: MutationRequest) -> None:
    await sidecar.cancel(RITA, request)


async def superseded(sidecar: Governed, request: MutationRequest) -> None:
    await sidecar.supersede(RITA, request, risk=Risk.HIGH)


async def expired(sidecar: Governed, _: MutationRequest) -> None:
    await sidecar.pass_time(60)


async def refused(sidecar: Governed, request: MutationRequest) -> None:
    sidecar.host.refusal = NO
    await sidecar.execute(RITA, request)


@pytest.mark.parametrize("fails", [canceled, superseded, expired, refused])
async def test_it_is_rejected_with_what_it_depends_on_and_so_is_the_whole_chain(
    sidecar: Governed, fails: Callable[[Governed, MutationRequest], Awaitable[object]]
) -> None:
    first = await sidecar.submit(flag="a", execution_mode=ON_EXECUTE, expires_at=SOON)
    second = await after(sidecar, "b", first)
    third = await after(sidecar, "c", second)

    await fails(sidecar, first)
    await sidecar.quiet()

    ended = await sidecar.now(second)
    assert ended.status is Status.REJECTED
    assert ended.progress.status_reason is not None
    assert ended.progress.status_reason.code == "DEPENDENCY_FAILED"
    assert ended.progress.status_reason.metadata["depends_on"] == first.id
    assert await status(sidecar, third) is Status.REJECTED
    assert sidecar.host.effects == []


async def test_a_dependency_in_doubt_is_waited_for(sidecar: Governed) -> None:
    sidecar.host.script.extend([Loss.ORDER] * 1000)
    first = await sidecar.submit(flag="a")
    waiting = await after(sidecar, "b", first)
    await sidecar.pass_time(3600)
    sidecar.host.script.clear()
    assert await status(sidecar, waiting) is Status.PENDING

    await sidecar.resolve("otto", await sidecar.execution_of(first), "8")
    await sidecar.quiet()
    assert await status(sidecar, waiting) is Status.EXECUTED


async def test_an_executed_dependency_does_not_take_the_place_of_an_approval(
    sidecar: Governed,
) -> None:
    first = await on_demand(sidecar, "a")
    waiting = await sidecar.submit(flag="b", risk=Risk.MEDIUM, depends_on=(first.id,))
    await sidecar.execute(RITA, first)
    await sidecar.quiet()
    left = await sidecar.now(waiting)
    assert [pending.reason for pending in left.progress.pending] == [PendingReason.APPROVAL]

    await sidecar.approve(ANN, waiting)
    await sidecar.quiet()
    assert await status(sidecar, waiting) is Status.EXECUTED


async def test_many_wait_for_one(sidecar: Governed) -> None:
    first = await on_demand(sidecar, "first")
    waiting = [await after(sidecar, f"flag-{n}", first) for n in range(30)]

    await sidecar.execute(RITA, first)
    await sidecar.quiet()

    for request in waiting:
        assert await status(sidecar, request) is Status.EXECUTED


@pytest.mark.parametrize("ends", [canceled, None], ids=["canceled", "executed"])
async def test_what_ended_unseen_before_a_crash_is_found_by_the_next_life(
    tmp_path: Path, ends: "object"
) -> None:
    """The dependency's end is durable, and the process dies before anything followed from it."""
    async with governed(tmp_path, limits=Limits()) as sidecar:
        first = await on_demand(sidecar, "a")
        waiting = await after(sidecar, "b", first)
        if ends is None:
            sidecar.die_at("execute.after_outcome")
            await sidecar.unless_it_dies(sidecar.execute(RITA, first))
            await sidecar.pass_time(1)
        else:
            sidecar.die_at("store.batch.after_commit")
            await sidecar.unless_it_dies(sidecar.cancel(RITA, first))

        await sidecar.restart()
        await sidecar.quiet()

        expected = Status.EXECUTED if ends is None else Status.REJECTED
        assert await status(sidecar, waiting) is expected


async def test_the_wait_survives_a_restart(sidecar: Governed) -> None:
    first = await on_demand(sidecar, "a")
    waiting = await after(sidecar, "b", first)
    await sidecar.restart()
    await sidecar.quiet()
    assert await status(sidecar, waiting) is Status.PENDING

    await sidecar.execute(RITA, first)
    await sidecar.quiet()
    assert await status(sidecar, waiting) is Status.EXECUTED


async def test_a_store_that_is_away_for_a_moment_delays_and_loses_nothing(
    sidecar: Governed,
) -> None:
    first = await on_demand(sidecar, "a")
    waiting = await after(sidecar, "b", first)
    gone, changed = StoreUnavailable("gone"), Conflict("somebody else")

    await sidecar.cancel(RITA, first)
    sidecar.store.interruptions.extend([gone, changed, gone])
    await sidecar.pass_time(60)

    assert await status(sidecar, waiting) is Status.REJECTED


async def test_a_request_canceled_while_it_waits_stays_canceled(sidecar: Governed) -> None:
    first = await on_demand(sidecar, "a")
    waiting = await after(sidecar, "b", first)

    await asyncio.gather(sidecar.cancel(RITA, waiting), sidecar.execute(RITA, first))
    await sidecar.quiet()

    assert await status(sidecar, waiting) is Status.CANCELED
    assert [effect.request_id for effect in sidecar.host.effects] == [first.id]


async def test_who_waits_no_longer_is_forgotten(sidecar: Governed) -> None:
    """Also where what it depended on has ended before, or never ends."""
    done, first, endless = [await on_demand(sidecar, flag) for flag in ("a", "b", "c")]
    await sidecar.execute(RITA, done, wait_seconds=30)
    waiting = await sidecar.submit(
        flag="d", risk=Risk.MEDIUM, depends_on=(done.id, first.id, endless.id)
    )
    await sidecar.approve(ANN, waiting)
    assert sidecar.dependencies.waiting_for(endless.id) == {waiting.id}

    await sidecar.cancel(RITA, first)
    await sidecar.quiet()

    assert await status(sidecar, waiting) is Status.REJECTED
    for one in (done, first, endless):
        assert sidecar.dependencies.waiting_for(one.id) == frozenset()
