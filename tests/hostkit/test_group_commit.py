"""Calls that share a commit do not share their fate."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from types import NoneType
from typing import Any, TypeVar

import pytest

from governance.v1 import mutation_engine_pb2
from governor.hostkit import (
    Failpoint,
    HostBusy,
    HostKitError,
    SqliteJournal,
    codec,
    group_commit,
    sqlite_journal,
)
from governor.hostkit.decide import decide
from governor.hostkit.errors import InDoubt
from tests.hostkit.support import COUNTERS, SCHEMA, apply_request, database, effects

ResultT = TypeVar("ResultT")


class Gate:
    """Holds the writer in its first transaction until what else is queued can share the next."""

    def __init__(self) -> None:
        self.commits = 0
        self.reached = threading.Event()
        self._opened = threading.Event()

    def hold(self) -> None:
        self.reached.set()
        self._opened.wait()

    def open(self) -> None:
        self._opened.set()

    def count(self) -> None:
        self.commits += 1


@asynccontextmanager
async def gated(folder: Path) -> AsyncIterator[tuple[SqliteJournal, Gate]]:
    """Open a journal whose writer is in the middle of applying the execution "held"."""
    gate = Gate()
    failpoints: dict[Failpoint, Callable[[], None]] = {
        Failpoint.BEFORE_APPLY: gate.hold,
        Failpoint.AFTER_COMMIT_BEFORE_ANSWER: gate.count,
    }
    journal = sqlite_journal(database(folder), schema=SCHEMA, failpoints=failpoints)
    async with journal as opened:
        held = asyncio.create_task(settle(opened, "held"))
        await asyncio.to_thread(gate.reached.wait)
        try:
            yield opened, gate
        finally:
            gate.open()
            await held


async def settle(
    journal: SqliteJournal, execution_id: str, mutation_type: str = "counter.add"
) -> mutation_engine_pb2.ApplyMutationResponse:
    request = apply_request(execution_id, mutation_type=mutation_type)
    order = codec.order(request)
    settled = await journal.settle(
        codec.claim(request),
        lambda transaction: decide(COUNTERS, order, transaction, recall=journal.recall, now=0),
    )
    return codec.outcome(settled.outcome, replayed=settled.replayed)


async def queued(*calls: Coroutine[Any, Any, ResultT]) -> list[asyncio.Task[ResultT]]:
    """Start the calls, in order, and return once each has reached the queue."""
    tasks = [asyncio.create_task(call) for call in calls]
    await asyncio.sleep(0)
    return tasks


async def test_calls_that_queue_behind_a_commit_share_the_next_one(tmp_path: Path) -> None:
    async with gated(tmp_path) as (journal, gate):
        calls = await queued(*(settle(journal, f"execution-{n}") for n in range(50)))
        gate.open()
        await asyncio.gather(*calls)

        assert gate.commits == 2
        assert len(effects(tmp_path)) == 51


@pytest.mark.parametrize(
    "mutation_type",
    ["counter.refuse", "counter.fail", "counter.be_busy", "counter.break_constraint"],
)
async def test_a_failing_call_does_not_disturb_its_batch(
    tmp_path: Path, mutation_type: str
) -> None:
    async with gated(tmp_path) as (journal, gate):
        good = await queued(settle(journal, "before"))
        bad = await queued(settle(journal, "bad", mutation_type))
        good += await queued(settle(journal, "after"), settle(journal, "before"))
        gate.open()
        await asyncio.wait([*good, *bad])

        assert [task.result().HasField("applied") for task in good] == [True, True, True]
        assert [task.result().replayed for task in good] == [False, False, True]
        assert effects(tmp_path) == {"held": 1, "before": 1, "after": 1}
        assert isinstance(bad[0].exception(), HostKitError | None)


async def test_a_lost_transaction_takes_its_batch_along_without_a_trace(tmp_path: Path) -> None:
    async with gated(tmp_path) as (journal, gate):
        calls = await queued(
            settle(journal, "before"),
            settle(journal, "bad", "counter.lose_transaction"),
            settle(journal, "after"),
        )
        gate.open()
        await asyncio.wait(calls)

        assert [type(call.exception()) for call in calls] == [InDoubt, InDoubt, InDoubt]
        assert effects(tmp_path) == {"held": 1}
        assert (await settle(journal, "after")).HasField("applied")


async def test_a_caller_that_left_the_queue_leaves_no_effect(tmp_path: Path) -> None:
    async with gated(tmp_path) as (journal, gate):
        (gone,) = await queued(settle(journal, "gone"))
        gone.cancel()
        await asyncio.wait([gone])
        gate.open()

        assert (await settle(journal, "next")).HasField("applied")
        assert effects(tmp_path) == {"held": 1, "next": 1}


async def test_a_caller_that_leaves_during_the_commit_is_applied_all_the_same(
    tmp_path: Path,
) -> None:
    def leave() -> None:
        asyncio.run_coroutine_threadsafe(cancel(), loop).result()

    async def cancel() -> None:
        gone.cancel()

    loop = asyncio.get_running_loop()
    failpoints = {Failpoint.AFTER_EFFECT_BEFORE_COMMIT: leave}
    journal = sqlite_journal(database(tmp_path), schema=SCHEMA, failpoints=failpoints)
    async with journal as opened:
        gone = asyncio.create_task(settle(opened, "gone"))
        await asyncio.wait([gone])
        assert gone.cancelled()
        assert (await settle(opened, "gone")).replayed
        assert effects(tmp_path) == {"gone": 1}


async def test_a_full_queue_is_busy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(group_commit, "PENDING_MAX", 2)
    async with gated(tmp_path) as (journal, gate):
        calls = await queued(*(settle(journal, f"execution-{n}") for n in range(3)))
        gate.open()
        await asyncio.wait(calls)

        assert [type(call.exception()) for call in calls] == [NoneType, NoneType, HostBusy]
