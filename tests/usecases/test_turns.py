"""Per state one execution at a time, in the order of approval; over all a bounded number."""

import asyncio
from collections.abc import Callable
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from governor.domain.errors import StoreUnavailable
from governor.domain.execution import Execution
from governor.domain.request import (
    ExecutionMode,
    MutationRequest,
    PendingReason,
    Risk,
    Slot,
    Status,
)
from governor.domain.values import RequestId
from governor.usecases.app import Limits
from governor.usecases.commits import Commit
from governor.usecases.questions import ExecutionQuery
from governor.usecases.turns import Turns
from tests.support.governed import Governed, governed
from tests.support.invariants import check_everything
from tests.support.people import ANN, OTTO, RITA
from tests.support.scripted_host import EXACTLY_ONCE, Loss, ScriptedHost

A: Slot = ("acme", "flag", "a")


# ---------------------------------------------------------------- the lines in memory

_IDS = [RequestId(f"r-{n}") for n in range(4)]
_OPERATIONS = st.one_of(
    st.tuples(st.just("join"), st.sampled_from(_IDS)),
    st.tuples(st.just("rejoin"), st.sampled_from(_IDS)),
    st.tuples(st.just("occupy"), st.sampled_from(["x-1", "x-2"])),
    st.tuples(st.just("free"), st.sampled_from(["x-1", "x-2", *_IDS])),
    st.tuples(st.just("take"), st.none()),
)


def operate(turns: Turns, name: str, holder: str | None) -> None:
    operations: dict[str, Callable[[str], object]] = {
        "join": lambda id: turns.join(A, RequestId(id)),
        "rejoin": lambda id: turns.rejoin(A, RequestId(id)),
        "occupy": lambda id: turns.occupy(A, id),
        "free": lambda id: turns.free(A, id),
        "take": lambda _: turns.take(),
    }
    operations[name](holder or "")


@given(st.lists(_OPERATIONS, max_size=12))
def test_a_line_at_a_free_state_always_moves(operations: list[tuple[str, str | None]]) -> None:
    """Whatever happened before: once nobody holds the state, everybody in line gets a turn."""
    turns = Turns()
    for name, holder in operations:
        operate(turns, name, holder)
    turns.join(A, RequestId("the last"))

    for holder in ["x-1", "x-2", *_IDS]:
        turns.free(A, holder)
    served = []
    while (turn := turns.take()) is not None:
        served.append(turn[1])
        turns.free(*turn)

    assert served[-1] == "the last"


@given(st.lists(_OPERATIONS, max_size=12))
def test_a_state_is_never_given_to_two(operations: list[tuple[str, str | None]]) -> None:
    turns = Turns()
    for name, holder in operations:
        operate(turns, name, holder)

    if turns.take() is not None:
        assert turns.take() is None


# ---------------------------------------------------------------- in the application


async def test_many_requests_on_few_states_run_one_at_a_time_in_the_order_of_their_approval(
    sidecar: Governed,
) -> None:
    submissions = [sidecar.submit(flag=f"flag-{n % 3}") for n in range(60)]

    requests = await asyncio.gather(*submissions)
    await sidecar.quiet()

    assert sidecar.host.applying_per_state_max == 1
    approved = sorted(requests, key=lambda request: request.submitted_revision)
    for slot in {request.slot for request in requests}:
        ran = [effect.request_id for effect in sidecar.host.effects if effect.slot == slot]
        assert ran == [request.id for request in approved if request.slot == slot]
    assert len(sidecar.host.effects) == 60


async def test_votes_decide_the_order_not_submissions(sidecar: Governed) -> None:
    sidecar.host.orders.shut()
    await sidecar.submit()
    early = await sidecar.submit(risk=Risk.MEDIUM)
    late = await sidecar.submit(risk=Risk.MEDIUM)
    await sidecar.approve(ANN, late)
    await sidecar.approve(ANN, early)

    sidecar.host.orders.open()
    await sidecar.quiet()

    assert [effect.request_id for effect in sidecar.host.effects][1:] == [late.id, early.id]


async def test_a_new_life_keeps_the_order_of_approval(sidecar: Governed) -> None:
    sidecar.host.script.append(Loss.SILENCE)
    first = await sidecar.submit()
    early = await sidecar.submit(risk=Risk.MEDIUM)
    late = await sidecar.submit(risk=Risk.MEDIUM)
    await sidecar.approve(ANN, late)
    await sidecar.approve(ANN, early)

    await sidecar.restart()
    await sidecar.quiet()

    ran = [effect.request_id for effect in sidecar.host.effects]
    assert ran == [first.id, late.id, early.id]


async def test_no_more_executions_run_at_once_than_the_bound(tmp_path: Path) -> None:
    for host in (ScriptedHost(), ScriptedHost(promises=EXACTLY_ONCE)):
        folder = tmp_path / ("comparing" if host.promises.compare_and_apply else "asking")
        folder.mkdir()
        async with governed(folder, host=host, limits=Limits(executions_running_max=3)) as sidecar:
            host.orders.shut()
            waiting = [await sidecar.submit(flag=f"flag-{n}", risk=Risk.MEDIUM) for n in range(10)]
            await asyncio.gather(*(sidecar.approve(ANN, one) for one in waiting))
            await asyncio.gather(
                *(sidecar.submit(flag=f"more-{n}") for n in range(10)),
            )
            await sidecar.quiet()
            assert host.applying.total() == 3
            host.orders.open()
            await sidecar.quiet()
            assert host.applying_max == 3
            assert len(host.effects) == 20


async def test_the_line_moves_on_when_the_holder_ended_while_a_turn_was_given_back(
    sidecar: Governed,
) -> None:
    """One in line has its turn when somebody executes another request on the same state, so that
    its claim finds the state busy. By the time it looks who holds the state, nobody does any more.
    """
    sidecar.host.orders.shut()
    await sidecar.submit()
    in_line = await sidecar.submit()
    on_demand = await sidecar.submit(execution_mode=ExecutionMode.ON_EXECUTE)

    async def somebody_executes(_: Commit) -> None:
        sidecar.host.orders.shut()
        await sidecar.execute(OTTO, on_demand)

    async def outcome_of_the_first(_: Commit) -> None:
        """Passes."""

    look_up = sidecar.store.executions
    looked = asyncio.Event()

    async def look_up_after_its_end(query: ExecutionQuery) -> tuple[Execution, ...]:
        sidecar.host.orders.open()
        await sidecar.quiet()
        looked.set()
        return await look_up(query)

    sidecar.store.interruptions.extend([outcome_of_the_first, somebody_executes])
    sidecar.store.executions = look_up_after_its_end
    sidecar.host.orders.open()
    await looked.wait()
    await sidecar.quiet()

    assert (await sidecar.now(on_demand)).status is Status.EXECUTED
    assert (await sidecar.now(in_line)).status is Status.EXECUTED
    after = await sidecar.submit()
    await sidecar.quiet()
    assert (await sidecar.now(after)).status is Status.EXECUTED


async def test_a_state_in_doubt_holds_its_line_and_no_other(sidecar: Governed) -> None:
    sidecar.host.script.extend([Loss.ORDER] * 1000)
    doubtful = await sidecar.submit(flag="a")
    await sidecar.pass_time(600)
    sidecar.host.script.clear()
    assert (await sidecar.now(doubtful)).waits_for(PendingReason.AUDIT)

    held = [await sidecar.submit(flag="a") for _ in range(2)]
    free = await sidecar.submit(flag="b")
    await sidecar.restart()
    await sidecar.pass_time(60)

    assert [effect.request_id for effect in sidecar.host.effects] == [free.id]
    await sidecar.resolve(OTTO, await sidecar.execution_of(doubtful), None)
    await sidecar.quiet()
    assert [effect.request_id for effect in sidecar.host.effects][1:] == [one.id for one in held]


async def test_a_request_that_leaves_the_line_is_passed_over(sidecar: Governed) -> None:
    sidecar.host.orders.shut()
    await sidecar.submit()
    leaving, staying = await sidecar.submit(), await sidecar.submit()
    await sidecar.cancel(RITA, leaving)

    sidecar.host.orders.open()
    await sidecar.quiet()

    assert [effect.request_id for effect in sidecar.host.effects][1:] == [staying.id]


async def test_a_store_that_is_away_for_a_moment_loses_nobody_their_turn(
    sidecar: Governed,
) -> None:
    """The read behind a turn fails once: the request keeps its turn, and is executed later."""
    sidecar.host.orders.shut()
    await sidecar.submit()
    waiting = await sidecar.submit()
    look_up = sidecar.store.request
    failures = [StoreUnavailable("the store does not answer")]

    async def away_once(id: RequestId) -> MutationRequest | None:
        if failures:
            raise failures.pop()
        return await look_up(id)

    await sidecar.quiet()
    sidecar.store.request = away_once
    sidecar.host.orders.open()
    await sidecar.pass_time(60)

    assert (await sidecar.now(waiting)).status is Status.EXECUTED


async def test_what_ended_while_it_was_being_taken_up_holds_no_state(tmp_path: Path) -> None:
    """It was read as EXECUTING, and has ended by the time that its taker hears of it."""
    async with governed(tmp_path) as sidecar:
        sidecar.host.orders.shut()
        request = await sidecar.submit()
        await sidecar.quiet()
        as_read = await sidecar.now(request)
        assert as_read.status is Status.EXECUTING
        sidecar.host.orders.open()
        await sidecar.quiet()

        sidecar.executions.take_up([as_read])
        await sidecar.quiet()

        following = await sidecar.submit()
        await sidecar.quiet()
        assert (await sidecar.now(following)).status is Status.EXECUTED
        await check_everything(sidecar)
