"""Execute: somebody starts what is approved; the version is resolved, the state claimed, once."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from governor.domain.errors import (
    EtagMismatch,
    HostUnavailable,
    IllegalTransition,
    Overloaded,
    RequestIdReused,
    StateBusy,
)
from governor.domain.execution import ExecutionStatus
from governor.domain.request import ExecutionMode, PendingReason, Risk, StaleStrategy, Status
from governor.domain.values import Micros
from governor.usecases.app import Limits
from governor.usecases.commands import etag_of
from governor.usecases.commits import Commit
from tests.support.governed import Governed, governed
from tests.support.people import ANN, OTTO, RITA
from tests.support.scripted_host import EXACTLY_ONCE, UNDOING, Loss, ScriptedHost, undo_token_of

ON_EXECUTE = ExecutionMode.ON_EXECUTE
SOON = Micros(1_700_000_060_000_000)


async def test_what_is_approved_on_demand_runs_when_somebody_says_so_and_not_before(
    sidecar: Governed,
) -> None:
    request = await sidecar.submit(risk=Risk.MEDIUM, execution_mode=ON_EXECUTE)
    await sidecar.changes_nothing(sidecar.execute(RITA, request), IllegalTransition)
    await sidecar.approve(ANN, request)
    await sidecar.pass_time(3600)
    assert sidecar.host.calls == []

    answer = await sidecar.execute(OTTO, request)

    assert answer.request.status is Status.EXECUTING
    assert answer.execution is not None
    assert answer.execution.started_by == OTTO
    await sidecar.quiet()
    assert (await sidecar.now(request)).status is Status.EXECUTED
    await sidecar.changes_nothing(sidecar.execute(OTTO, request), IllegalTransition)


async def test_with_wait_the_answer_shows_request_and_execution_at_their_end(
    sidecar: Governed,
) -> None:
    request = await sidecar.submit(execution_mode=ON_EXECUTE)

    answer = await sidecar.execute(RITA, request, wait_seconds=30)

    assert answer.request.status is Status.EXECUTED
    assert answer.execution is not None
    assert answer.execution.status is ExecutionStatus.APPLIED


@pytest.mark.parametrize("lost", [None, Loss.ANSWER])
async def test_what_undoing_takes_is_recorded_with_the_outcome(
    tmp_path: Path, lost: Loss | None
) -> None:
    """Also where the answer was lost and the outcome is looked up."""
    host = ScriptedHost(promises=UNDOING, undo_expires_at=SOON)
    host.script.append(lost)
    async with governed(tmp_path, host=host) as sidecar:
        request = await sidecar.submit()
        await sidecar.pass_time(30)
        await sidecar.restart()
        applied = (await sidecar.execution_of(request)).applied
    assert applied is not None
    assert applied.undo_token == undo_token_of(host.effects[0].execution_id)
    assert applied.undo_expires_at == SOON


@pytest.mark.parametrize("compares", [True, False])
async def test_the_same_call_again_gives_the_same_execution(tmp_path: Path, compares: bool) -> None:
    host = ScriptedHost() if compares else ScriptedHost(promises=EXACTLY_ONCE)
    async with governed(tmp_path, host=host) as sidecar:
        request = await sidecar.submit(execution_mode=ON_EXECUTE, expected_version="")
        first = await sidecar.execute(RITA, request, key="once")
        await sidecar.quiet()
        before = sidecar.store.head

        assert await sidecar.execute(RITA, request, key="once") == first
        await sidecar.restart()
        assert await sidecar.execute(RITA, request, key="once") == first
        assert sidecar.store.head == before
        assert len(host.effects) == 1
        other = sidecar.execute(RITA, request, key="once", etag="r1")
        await sidecar.changes_nothing(other, RequestIdReused)


async def test_many_calls_at_once_start_one_execution(sidecar: Governed) -> None:
    request = await sidecar.submit(execution_mode=ON_EXECUTE)

    results = await asyncio.gather(
        *(sidecar.execute(RITA, request) for _ in range(8)), return_exceptions=True
    )

    await sidecar.quiet()
    refused = [result for result in results if isinstance(result, BaseException)]
    assert [type(refusal) for refusal in refused] == [IllegalTransition] * 7
    assert len(sidecar.host.effects) == 1


async def test_a_busy_state_is_refused_and_nothing_is_queued(sidecar: Governed) -> None:
    request = await sidecar.submit(execution_mode=ON_EXECUTE)
    sidecar.host.orders.shut()
    await sidecar.submit()

    await sidecar.changes_nothing(sidecar.execute(RITA, request), StateBusy)
    sidecar.host.orders.open()
    await sidecar.pass_time(60)
    assert (await sidecar.now(request)).status is Status.APPROVED
    assert (await sidecar.execute(RITA, request)).request.status is Status.EXECUTING


async def test_the_state_of_an_execution_in_doubt_is_busy_until_a_person_has_looked(
    sidecar: Governed,
) -> None:
    request = await sidecar.submit(execution_mode=ON_EXECUTE)
    sidecar.host.script.extend([Loss.ORDER] * 1000)
    doubtful = await sidecar.submit()
    await sidecar.pass_time(600)
    sidecar.host.script.clear()

    await sidecar.changes_nothing(sidecar.execute(RITA, request), StateBusy)
    await sidecar.resolve(OTTO, await sidecar.execution_of(doubtful), None)
    assert (await sidecar.execute(RITA, request)).request.status is Status.EXECUTING


async def test_what_has_expired_is_not_claimed_even_before_its_timer_has_looked(
    sidecar: Governed,
) -> None:
    request = await sidecar.submit(execution_mode=ON_EXECUTE, expires_at=SOON)
    sidecar.clock.advance(60)

    await sidecar.changes_nothing(sidecar.execute(RITA, request), IllegalTransition)
    await sidecar.pass_time(0)
    assert (await sidecar.now(request)).status is Status.EXPIRED


async def test_a_host_that_cannot_be_reached_changes_nothing(sidecar: Governed) -> None:
    request = await sidecar.submit(execution_mode=ON_EXECUTE)
    sidecar.host.is_reachable = False

    await sidecar.changes_nothing(sidecar.execute(RITA, request), HostUnavailable)


async def test_a_stale_etag_is_refused(sidecar: Governed) -> None:
    request = await sidecar.submit(risk=Risk.MEDIUM, execution_mode=ON_EXECUTE)
    approved = await sidecar.approve(ANN, request)

    await sidecar.changes_nothing(
        sidecar.execute(RITA, request, etag=etag_of(request)), EtagMismatch
    )
    answer = await sidecar.execute(RITA, request, etag=etag_of(approved))
    assert answer.request.status is Status.EXECUTING


async def test_a_cancellation_before_the_claim_wins(sidecar: Governed) -> None:
    request = await sidecar.submit(execution_mode=ON_EXECUTE)

    async def meanwhile(_: Commit) -> None:
        await sidecar.cancel(RITA, request)

    sidecar.store.interruptions.append(meanwhile)

    with pytest.raises(IllegalTransition):
        await sidecar.execute(RITA, request)
    await sidecar.quiet()
    assert sidecar.host.calls == []


async def test_no_more_executions_run_than_the_bound_also_on_demand(tmp_path: Path) -> None:
    async with governed(tmp_path, limits=Limits(executions_running_max=2)) as sidecar:
        sidecar.host.orders.shut()
        requests = [
            await sidecar.submit(flag=f"flag-{n}", execution_mode=ON_EXECUTE) for n in range(3)
        ]
        for request in requests[:2]:
            await sidecar.execute(RITA, request)

        await sidecar.changes_nothing(sidecar.execute(RITA, requests[2]), Overloaded)
        sidecar.host.orders.open()
        await sidecar.quiet()
        assert (await sidecar.execute(RITA, requests[2])).request.status is Status.EXECUTING


# ---------------------------------------------------------------- the version


async def moved_on(sidecar: Governed, strategy: StaleStrategy, **fields: Any) -> Status:
    """Where a request ends up whose state was changed behind its back, once it is started."""
    request = await sidecar.submit(
        execution_mode=ON_EXECUTE, expected_version="", stale_strategy=strategy, **fields
    )
    if request.status is Status.PENDING:
        await sidecar.approve(ANN, request)
    sidecar.host.touch(request.slot)
    await sidecar.execute(RITA, request)
    await sidecar.quiet()
    return (await sidecar.now(request)).status


@pytest.mark.parametrize("promises", [EXACTLY_ONCE, ScriptedHost().promises])
@pytest.mark.parametrize(
    ("strategy", "risk", "status"),
    [
        (StaleStrategy.REJECT_STALE, Risk.LOW, Status.REJECTED),
        (StaleStrategy.REQUIRE_RENEWED_APPROVAL, Risk.MEDIUM, Status.PENDING),
        (StaleStrategy.REVALIDATE_ON_LATEST, Risk.LOW, Status.APPROVED),
        (StaleStrategy.REVALIDATE_ON_LATEST, Risk.MEDIUM, Status.APPROVED),
    ],
)
async def test_a_state_that_has_moved_on_is_never_written_over(
    tmp_path: Path, promises: object, strategy: StaleStrategy, risk: Risk, status: Status
) -> None:
    host = ScriptedHost(promises=promises)  # type: ignore[arg-type]
    async with governed(tmp_path, host=host) as sidecar:
        assert await moved_on(sidecar, strategy, risk=risk) is status
        assert host.effects == []
        (request,) = {entry.decision.request_id for entry in await sidecar.ledger()}
        history = await sidecar.history(request)
        assert sum(line.startswith("VERSION_RESOLUTION") for line in history) == 1


async def test_a_renewed_round_binds_its_votes_to_the_version_there_is_now(
    sidecar: Governed,
) -> None:
    await moved_on(sidecar, StaleStrategy.REQUIRE_RENEWED_APPROVAL, risk=Risk.MEDIUM)
    (id,) = {entry.decision.request_id for entry in await sidecar.ledger()}
    renewed = await sidecar.store.request(id)
    assert renewed is not None
    assert renewed.waits_for(PendingReason.APPROVAL)
    assert renewed.progress.expected_version == "1"

    await sidecar.approve(ANN, renewed)
    await sidecar.execute(RITA, renewed, wait_seconds=30)

    assert [effect.digest for effect in sidecar.host.effects] == [renewed.progress.digest]


async def test_a_stale_execute_says_again_what_it_said_first(tmp_path: Path) -> None:
    async with governed(tmp_path, host=ScriptedHost(promises=EXACTLY_ONCE)) as sidecar:
        request = await sidecar.submit(execution_mode=ON_EXECUTE, expected_version="5")
        first = await sidecar.execute(RITA, request, key="once")

        assert first.request.status is Status.REJECTED
        assert first.execution is None
        assert await sidecar.execute(RITA, request, key="once") == first
