"""Virtual time: it costs nothing, keeps asyncio's promises, and processes can stand still in it."""

import asyncio
import threading
from collections.abc import Iterator

import pytest

from tests.simulation import loop as loops
from tests.simulation.loop import (
    Deadlock,
    NotSimulated,
    Process,
    Restless,
    SimulatedLoop,
    simulated_loop,
)


@pytest.fixture
def runner() -> Iterator[asyncio.Runner]:
    with asyncio.Runner(loop_factory=SimulatedLoop) as runner:
        yield runner


def now() -> float:
    return asyncio.get_running_loop().time()


def test_a_long_sleep_takes_no_time_and_ends_at_its_moment(runner: asyncio.Runner) -> None:
    async def sleep() -> float:
        await asyncio.sleep(1_000_000)
        return now()

    assert runner.run(sleep()) == pytest.approx(1_000_000)


def test_sleepers_wake_in_the_order_of_their_moments(runner: asyncio.Runner) -> None:
    woken: list[int] = []

    async def sleep(seconds: int) -> None:
        await asyncio.sleep(seconds)
        woken.append(seconds)

    async def all_of_them() -> None:
        await asyncio.gather(*map(sleep, (3, 1, 2)))

    runner.run(all_of_them())
    assert woken == [1, 2, 3]


def test_what_is_ready_runs_in_the_order_in_which_it_became_so(runner: asyncio.Runner) -> None:
    ran: list[int] = []

    async def schedule() -> None:
        for number in range(5):
            asyncio.get_running_loop().call_soon(ran.append, number)
        await asyncio.sleep(0)

    runner.run(schedule())
    assert ran == [0, 1, 2, 3, 4]


def test_a_deadlock_is_an_error_that_says_who_waits_and_where(runner: asyncio.Runner) -> None:
    async def wait_for_nobody() -> None:
        await asyncio.Event().wait()

    with pytest.raises(Deadlock, match="wait_for_nobody"):
        runner.run(wait_for_nobody())


def test_whoever_runs_in_circles_is_stopped(
    runner: asyncio.Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loops, "TURNS_MAX", 100)

    async def run_in_circles() -> None:
        while True:  # noqa: ASYNC110 - this is what must be stopped
            await asyncio.sleep(0)

    with pytest.raises(Restless, match="run_in_circles"):
        runner.run(run_in_circles())


def test_neither_a_thread_nor_another_thread_gets_in(runner: asyncio.Runner) -> None:
    async def ask_for_one() -> None:
        await asyncio.to_thread(threading.get_ident)

    async def be_called() -> None:
        asyncio.get_running_loop().call_soon_threadsafe(print)

    for work in (ask_for_one(), be_called()):
        with pytest.raises(NotSimulated):
            runner.run(work)


# ---------------------------------------------------------------- processes


async def freeze_for_a_while(process: Process) -> None:
    """From 0.5 seconds until 10 seconds after the start."""
    await asyncio.sleep(0.5)
    process.freeze()
    await asyncio.sleep(9.5)
    process.thaw()


def test_a_frozen_process_stands_still_while_time_goes_on(runner: asyncio.Runner) -> None:
    async def sleep_twice() -> tuple[float, float]:
        await asyncio.sleep(1)
        first = now()
        await asyncio.sleep(1)
        return first, now()

    async def run() -> tuple[float, float]:
        process = Process("sidecar")
        sleeping = process.spawn(sleep_twice())
        await freeze_for_a_while(process)
        return await sleeping

    first, second = runner.run(run())
    assert first == pytest.approx(10)
    assert second == pytest.approx(11)


def test_a_thawed_process_does_what_came_due_in_its_order(runner: asyncio.Runner) -> None:
    woken: list[int] = []

    async def sleep(seconds: int) -> None:
        await asyncio.sleep(seconds)
        woken.append(seconds)

    async def run() -> None:
        process = Process("sidecar")
        sleeping = [process.spawn(sleep(seconds)) for seconds in (3, 1, 2)]
        await freeze_for_a_while(process)
        await asyncio.gather(*sleeping)

    runner.run(run())
    assert woken == [1, 2, 3]


def test_a_timer_that_is_cancelled_before_its_process_gets_to_it_does_not_fire(
    runner: asyncio.Runner,
) -> None:
    """Both came due while the process stood still, and the first one cancels the second."""
    fired: list[str] = []

    async def set_timers() -> None:
        loop = asyncio.get_running_loop()
        second = loop.call_later(2, fired.append, "second")
        loop.call_later(1, second.cancel)

    async def run() -> None:
        process = Process("sidecar")
        process.start(set_timers())
        await freeze_for_a_while(process)
        await asyncio.sleep(1)

    runner.run(run())
    assert fired == []


def test_a_process_that_has_died_gets_no_further(runner: asyncio.Runner) -> None:
    """Everything in it is cancelled, and also what that cancelling brings up."""
    done: list[str] = []

    async def say_last_words() -> None:
        await asyncio.sleep(1)
        done.append("last words")

    async def work(process: Process) -> None:
        try:
            await asyncio.sleep(1)
            done.append("work")
        finally:
            process.start(say_last_words())

    async def run() -> None:
        process = Process("sidecar")
        process.start(work(process))
        await asyncio.sleep(0.5)
        process.die()
        await asyncio.sleep(5)
        await process.bury()
        await asyncio.sleep(5)

    runner.run(run())
    assert done == []


def test_whoever_does_not_wait_for_time_does_not_move_it(runner: asyncio.Runner) -> None:
    async def turn_often() -> tuple[float, int]:
        for _ in range(100):
            await asyncio.sleep(0)
        return now(), simulated_loop().turns

    time, turns = runner.run(turn_often())
    assert time == 0
    assert turns >= 100
