"""A host that is killed at any moment has kept an effect exactly where it kept its outcome."""

import asyncio
import signal
from pathlib import Path

import grpc
import pytest

from governor.hostkit import Failpoint
from governor.hostkit.failpoints import APPLY
from tests.hostkit.flags_process import flags_database, flags_host, flags_order
from tests.hostkit.support import read_ledger, read_rows, rollback_request, told


@pytest.mark.parametrize(
    ("failpoint", "survives"),
    [
        (Failpoint.BEFORE_APPLY, False),
        (Failpoint.AFTER_EFFECT_BEFORE_COMMIT, False),
        (Failpoint.AFTER_COMMIT_BEFORE_ANSWER, True),
    ],
)
async def test_a_host_killed_within_an_apply_settles_it_after_its_restart(
    tmp_path: Path, failpoint: Failpoint, survives: bool
) -> None:
    async with flags_host(tmp_path, "--failpoint", f"{failpoint}=kill") as host:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await host.caller.apply(flags_order("execution-1"))
        assert told(caught.value).reason == ""
        assert await host.exited() == -signal.SIGKILL

    ledger = read_ledger(flags_database(tmp_path))
    assert ledger.effects == ({"execution-1": 1} if survives else {})
    assert ledger.concluded == set(ledger.effects)

    async with flags_host(tmp_path) as host:
        found = await host.caller.look_up()
        assert found.outcome.HasField("applied") is survives
        response = await host.caller.apply(flags_order("execution-1", token=2))
        assert response.applied.resulting_version == "1"
        assert response.replayed is survives
    assert read_ledger(flags_database(tmp_path)).effects == {"execution-1": 1}


def flag_settings(folder: Path) -> list[tuple[int, int]]:
    return read_rows(flags_database(folder), "SELECT enabled, rollout_percent FROM flag")


@pytest.mark.parametrize("was_there", [True, False])
@pytest.mark.parametrize(
    ("failpoint", "survives"),
    [
        (Failpoint.BEFORE_APPLY, False),
        (Failpoint.AFTER_EFFECT_BEFORE_COMMIT, False),
        (Failpoint.AFTER_COMMIT_BEFORE_ANSWER, True),
    ],
)
async def test_a_host_killed_within_a_rollback_has_restored_all_or_nothing(
    tmp_path: Path, failpoint: Failpoint, survives: bool, was_there: bool
) -> None:
    """A flag that was switched on, or made, is taken back; killed or not, that happens once."""
    off, on = {"enabled": False, "rollout_percent": 0}, {"enabled": True, "rollout_percent": 50}
    before, after = ([(0, 0)] if was_there else []), [(1, 50)]
    change = flags_order("execution-2", payload=on)
    async with flags_host(tmp_path) as host:
        if was_there:
            await host.caller.apply(flags_order("execution-1", payload=off))
        changed = (await host.caller.apply(change)).applied
    rollback = rollback_request(change, changed, expected_version=changed.resulting_version)

    async with flags_host(tmp_path, "--failpoint", f"{failpoint}=kill") as host:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await host.caller.apply(rollback)
        assert told(caught.value).reason == ""
        assert await host.exited() == -signal.SIGKILL

    ledger = read_ledger(flags_database(tmp_path))
    assert ledger.concluded == set(ledger.effects)
    assert ("rollback-1" in ledger.effects) is survives
    assert flag_settings(tmp_path) == (before if survives else after)

    async with flags_host(tmp_path) as host:
        found = await host.caller.look_up("rollback-1")
        assert found.outcome.HasField("applied") is survives
        rollback.fencing_token = 2
        response = await host.caller.apply(rollback)
        assert response.replayed is survives
        assert flag_settings(tmp_path) == before
        redone = rollback_request(rollback, response.applied, "rollback-2")
        assert (await host.caller.apply(redone)).HasField("applied")
    assert flag_settings(tmp_path) == after
    assert set(read_ledger(flags_database(tmp_path)).effects.values()) == {1}


async def test_a_host_that_hangs_within_an_apply_is_fenced_by_its_successor(tmp_path: Path) -> None:
    """The hanging process is killed; its order, sent again and late, finds the tombstone."""
    async with flags_host(tmp_path, "--failpoint", f"{Failpoint.BEFORE_APPLY}=hang") as host:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await host.caller.stub.ApplyMutation(flags_order("execution-1"), timeout=0.2)
        assert caught.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED

    async with flags_host(tmp_path) as host:
        assert (await host.caller.look_up(token=2, fence=True)).not_seen.fenced
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await host.caller.apply(flags_order("execution-1"))
        assert told(caught.value).reason == "FENCED"
    assert read_ledger(flags_database(tmp_path)).effects == {}


# Sixteen at a time, 64 orders take at least four commits: each of these passings is reached.
@pytest.mark.parametrize("passing", [1, 2, 4])
@pytest.mark.parametrize("failpoint", [Failpoint.BEFORE_APPLY, *APPLY])
async def test_a_crowd_of_calls_survives_a_kill_with_every_answer_true(
    tmp_path: Path, failpoint: Failpoint, passing: int
) -> None:
    """Sixteen callers share commits; the host dies in one of them; each order is sent again."""
    orders = [flags_order(f"execution-{n}", state=f"flag/{n % 5}") for n in range(64)]
    answered: set[str] = set()

    async with flags_host(tmp_path, "--failpoint", f"{failpoint}=kill@{passing}") as host:
        waiting = iter(orders)

        async def call_on() -> None:
            for order in waiting:
                response = await host.caller.apply(order)
                assert response.HasField("applied")
                answered.add(order.execution_id)

        ends = await asyncio.gather(*(call_on() for _ in range(16)), return_exceptions=True)
        assert {type(end) for end in ends} == {grpc.aio.AioRpcError}
        assert await host.exited() == -signal.SIGKILL

    ledger = read_ledger(flags_database(tmp_path))
    assert answered <= set(ledger.effects)
    assert ledger.concluded == set(ledger.effects)

    async with flags_host(tmp_path) as host:
        for order in orders:
            response = await host.caller.apply(order)
            assert response.replayed is (order.execution_id in ledger.effects)
    final = read_ledger(flags_database(tmp_path))
    assert final.effects == {order.execution_id: 1 for order in orders}
