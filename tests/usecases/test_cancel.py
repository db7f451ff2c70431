"""Cancel: a request is withdrawn wherever it stands; what runs is fenced in the host first."""

import asyncio
import gc
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from governor.domain.errors import (
    Conflict,
    EtagMismatch,
    HostUnavailable,
    IllegalTransition,
    RequestIdReused,
)
from governor.domain.execution import ExecutionStatus
from governor.domain.request import (
    ExecutionMode,
    MutationRequest,
    PendingReason,
    Risk,
    Status,
)
from governor.domain.values import Micros
from governor.usecases.commands import etag_of
from governor.usecases.commits import Commit
from tests.support.governed import Governed, governed
from tests.support.people import ADA, ANN, OTTO, RITA
from tests.support.scripted_host import (
    AT_MOST_ONCE,
    BUSY,
    NO,
    Kind,
    Loss,
    ScriptedHost,
)

SOON = Micros(1_700_000_060_000_000)


async def deferred(sidecar: Governed) -> MutationRequest:
    return await sidecar.submit(risk=Risk.HIGH)


async def scheduled(sidecar: Governed) -> MutationRequest:
    return await sidecar.submit(execute_after=SOON)


async def dependent(sidecar: Governed) -> MutationRequest:
    return await sidecar.submit(depends_on=((await deferred(sidecar)).id,), flag="other")


async def approved(sidecar: Governed) -> MutationRequest:
    return await sidecar.submit(execution_mode=ExecutionMode.ON_EXECUTE)


async def standing_in_line(sidecar: Governed) -> MutationRequest:
    sidecar.host.orders.shut()
    await sidecar.submit()
    return await sidecar.submit()


async def executing(sidecar: Governed) -> MutationRequest:
    """Ordered, and the order has not arrived yet."""
    sidecar.host.orders.shut()
    request = await sidecar.submit()
    await sidecar.quiet()
    return request


async def executed(sidecar: Governed) -> MutationRequest:
    request = await sidecar.submit()
    await sidecar.quiet()
    return request


async def denied(sidecar: Governed) -> MutationRequest:
    return await sidecar.submit(risk=Risk.CRITICAL)


async def failed(sidecar: Governed) -> MutationRequest:
    sidecar.host.refusal = NO
    return await executed(sidecar)


async def canceled(sidecar: Governed) -> MutationRequest:
    return await sidecar.cancel(RITA, await deferred(sidecar))


async def superseded(sidecar: Governed) -> MutationRequest:
    request = await deferred(sidecar)
    await sidecar.supersede(RITA, request)
    await sidecar.quiet()
    return request


async def expired(sidecar: Governed) -> MutationRequest:
    request = await sidecar.submit(risk=Risk.HIGH, expires_at=SOON)
    await sidecar.pass_time(61)
    return request


async def in_doubt(sidecar: Governed) -> MutationRequest:
    sidecar.host.script.extend([Loss.ORDER] * 1000)
    request = await sidecar.submit()
    await sidecar.pass_time(600)
    return request


Place = Callable[[Governed], Awaitable[MutationRequest]]


@pytest.mark.parametrize("place", [deferred, scheduled, dependent, approved, standing_in_line])
async def test_what_waits_is_canceled_and_never_reaches_the_host(
    sidecar: Governed, place: Place
) -> None:
    request = await place(sidecar)

    answer = await sidecar.cancel(RITA, request, comment="never mind")

    assert answer.status is Status.CANCELED
    assert answer.progress.pending == ()
    assert answer.progress.status_reason is not None
    assert answer.progress.status_reason.message == "never mind"
    sidecar.host.orders.open()
    await sidecar.pass_time(120)
    assert await sidecar.now(request) == answer
    assert request.id not in [effect.request_id for effect in sidecar.host.effects]


@pytest.mark.parametrize("place", [executed, denied, failed, canceled, superseded, expired])
async def test_what_has_ended_cannot_be_canceled(sidecar: Governed, place: Place) -> None:
    request = await place(sidecar)

    await sidecar.changes_nothing(sidecar.cancel(RITA, request), IllegalTransition)


async def test_what_is_in_doubt_cannot_be_canceled(sidecar: Governed) -> None:
    request = await in_doubt(sidecar)
    assert (await sidecar.now(request)).waits_for(PendingReason.AUDIT)

    await sidecar.changes_nothing(sidecar.cancel(RITA, request), IllegalTransition)


# ---------------------------------------------------------------- while it is executing


async def test_an_execution_is_fenced_under_a_higher_token_before_it_is_canceled(
    sidecar: Governed,
) -> None:
    """The order is on its way and arrives after the fence: it must find the tombstone."""
    sidecar.host.script.append(Loss.DELAY)
    request = await sidecar.submit()
    await sidecar.quiet()

    answer = await sidecar.cancel(OTTO, request)

    assert answer.status is Status.CANCELED
    execution = await sidecar.execution_of(request)
    assert execution.status is ExecutionStatus.NOT_APPLIED
    assert [call.fencing_token for call in sidecar.host.sent(Kind.FENCE)] == [2]
    sidecar.host.deliver()
    await sidecar.pass_time(600)
    assert sidecar.host.effects == []
    assert (await sidecar.history(request))[-3:] == [
        "EXECUTION claimed",
        "EXECUTION resolved",
        "LIFECYCLE canceled",
    ]


async def test_an_execution_that_turns_out_applied_is_recorded_and_not_canceled(
    sidecar: Governed,
) -> None:
    """The effect is made, its answer is on its way back when the cancellation asks."""
    sidecar.host.answers.shut()
    request = await sidecar.submit()
    await sidecar.quiet()
    assert sidecar.host.effects

    calling = asyncio.ensure_future(sidecar.cancel(RITA, request))
    await sidecar.quiet()
    sidecar.host.answers.open()

    with pytest.raises(IllegalTransition) as refused:
        await calling
    assert refused.value.status == Status.EXECUTED
    await sidecar.quiet()
    assert (await sidecar.now(request)).status is Status.EXECUTED
    assert len(sidecar.host.effects) == 1
    assert (await sidecar.history(request)).count("EXECUTION applied") == 1


async def test_a_silent_host_leaves_the_request_executing_and_the_manager_settles_it(
    sidecar: Governed,
) -> None:
    """The host falls silent when the execution is taken over and not fenced yet."""
    sidecar.host.script.append(Loss.DELAY)
    request = await sidecar.submit()
    await sidecar.quiet()

    async def falls_silent(_: Commit) -> None:
        sidecar.host.is_reachable = False

    sidecar.store.interruptions.append(falls_silent)

    calling = asyncio.ensure_future(sidecar.cancel(RITA, request))
    await sidecar.pass_time(60)

    with pytest.raises(HostUnavailable):
        await calling
    assert (await sidecar.now(request)).status is Status.EXECUTING
    sidecar.host.is_reachable = True
    await sidecar.pass_time(60)
    assert (await sidecar.now(request)).status is Status.EXECUTED
    sidecar.host.deliver()
    assert len(sidecar.host.effects) == 1


async def test_a_host_that_cannot_be_reached_at_all_changes_nothing(sidecar: Governed) -> None:
    request = await executing(sidecar)
    sidecar.host.is_reachable = False

    await sidecar.changes_nothing(sidecar.cancel(RITA, request), HostUnavailable)


async def test_a_refusal_that_nobody_waits_for_any_more_is_no_fault(sidecar: Governed) -> None:
    """The caller hangs up, and the execution then turns out to be applied."""
    faults: list[dict[str, object]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, fault: faults.append(fault))
    sidecar.host.answers.shut()
    request = await sidecar.submit()
    await sidecar.quiet()
    calling = asyncio.ensure_future(sidecar.cancel(RITA, request))
    await sidecar.quiet()
    calling.cancel()
    await asyncio.gather(calling, return_exceptions=True)

    sidecar.host.answers.open()
    await sidecar.quiet()
    del calling  # whose error still knows where it came from
    gc.collect()

    assert (await sidecar.now(request)).status is Status.EXECUTED
    assert faults == []


async def test_a_busy_host_is_asked_for_the_fence_again(sidecar: Governed) -> None:
    sidecar.host.script.extend([Loss.SILENCE, BUSY, BUSY])
    request = await sidecar.submit()
    await sidecar.quiet()

    calling = asyncio.ensure_future(sidecar.cancel(RITA, request))
    await sidecar.pass_time(60)

    assert (await calling).status is Status.CANCELED
    assert len(sidecar.host.sent(Kind.FENCE)) == 3


async def test_what_a_host_cannot_fence_cannot_be_canceled(tmp_path: Path) -> None:
    async with governed(tmp_path, host=ScriptedHost(promises=AT_MOST_ONCE)) as sidecar:
        request = await executing(sidecar)

        await sidecar.changes_nothing(sidecar.cancel(RITA, request), IllegalTransition)


@pytest.mark.parametrize("asked", [2, 3, 8])
async def test_many_cancel_at_once_and_the_request_is_canceled_once(
    sidecar: Governed, asked: int
) -> None:
    """Each takes the execution over before it fences. Whoever loses it to the next must leave it
    alone: taking it back would find the tombstone, release the request and execute it anew.
    """
    sidecar.host.script.append(Loss.DELAY)
    request = await sidecar.submit()
    await sidecar.quiet()

    calling = asyncio.gather(
        *(sidecar.cancel(OTTO, request) for _ in range(asked)), return_exceptions=True
    )
    await sidecar.pass_time(30)
    results = await calling

    assert [type(r) for r in results if isinstance(r, BaseException)] == (
        [IllegalTransition] * (asked - 1)
    )
    assert (await sidecar.now(request)).status is Status.CANCELED
    sidecar.host.deliver()
    await sidecar.pass_time(600)
    assert sidecar.host.effects == []
    assert len(await sidecar.executions_of(request)) == 1


async def test_who_loses_an_execution_to_another_cancellation_leaves_it_alone(
    sidecar: Governed,
) -> None:
    """Ada has taken the execution over from Otto, and both have fenced it. Otto's commit loses; if
    he gave the execution back to the manager now, it would be released and executed anew before
    Ada's commit arrives.
    """
    sidecar.host.script.append(Loss.DELAY)
    request = await sidecar.submit()
    await sidecar.quiet()
    sidecar.host.answers.shut()
    ottos = asyncio.ensure_future(sidecar.cancel(OTTO, request))
    await sidecar.quiet()
    adas = asyncio.ensure_future(sidecar.cancel(ADA, request))
    await sidecar.quiet()
    assert [call.fencing_token for call in sidecar.host.sent(Kind.FENCE)] == [2, 3]
    later = asyncio.Event()

    async def at_once(_: Commit) -> None:
        """Otto's."""

    async def delayed(_: Commit) -> None:
        await later.wait()

    sidecar.store.interruptions.extend([at_once, delayed])
    sidecar.host.answers.open()
    await sidecar.quiet()
    later.set()
    results = await asyncio.gather(ottos, adas, return_exceptions=True)

    await sidecar.pass_time(60)
    assert sum(isinstance(result, IllegalTransition) for result in results) == 1
    assert (await sidecar.now(request)).status is Status.CANCELED
    assert sidecar.host.effects == []


@pytest.mark.parametrize("turns", range(12))
async def test_a_caller_who_hangs_up_while_fencing_leaves_no_execution_without_owner(
    sidecar: Governed, turns: int
) -> None:
    """The caller leaves after so many turns of the loop, wherever that is: the request ends either
    canceled or executed, and the state is free again.
    """
    sidecar.host.script.append(Loss.DELAY)
    request = await sidecar.submit()
    await sidecar.quiet()

    calling = asyncio.ensure_future(sidecar.cancel(RITA, request))
    for _ in range(turns):
        await asyncio.sleep(0)
    calling.cancel()
    await sidecar.pass_time(600)

    assert (await sidecar.now(request)).status in (Status.CANCELED, Status.EXECUTED)
    sidecar.host.deliver()
    canceled = (await sidecar.now(request)).status is Status.CANCELED
    assert len(sidecar.host.effects) == (0 if canceled else 1)
    after = await sidecar.submit()
    await sidecar.quiet()
    assert (await sidecar.now(after)).status is Status.EXECUTED


async def test_the_next_in_line_runs_when_the_execution_before_it_is_canceled(
    sidecar: Governed,
) -> None:
    sidecar.host.script.append(Loss.DELAY)
    first, second = await sidecar.submit(), await sidecar.submit()
    await sidecar.quiet()

    await sidecar.cancel(RITA, first)
    await sidecar.quiet()

    assert (await sidecar.now(second)).status is Status.EXECUTED


# ---------------------------------------------------------------- once, and only what was seen


@pytest.mark.parametrize("place", [deferred, executing])
async def test_the_same_call_again_gives_the_first_answer(sidecar: Governed, place: Place) -> None:
    request = await place(sidecar)
    sidecar.host.orders.open()
    sidecar.host.script.append(Loss.DELAY)
    calls = [
        await sidecar.cancel(RITA, request, key="once", comment="x")
        for _ in range(2)
        if (await sidecar.now(request)).status is not Status.EXECUTED
    ]
    await sidecar.restart()

    again = await sidecar.cancel(RITA, request, key="once", comment="x")
    assert [again] * len(calls) == calls
    other = sidecar.cancel(RITA, request, key="once", comment="y")
    await sidecar.changes_nothing(other, RequestIdReused)


@pytest.mark.parametrize("place", [deferred, approved, executing])
async def test_a_stale_etag_is_refused(sidecar: Governed, place: Place) -> None:
    request = await place(sidecar)

    stale = sidecar.cancel(RITA, request, etag="r1")
    await sidecar.changes_nothing(stale, EtagMismatch)
    assert etag_of(await sidecar.now(request)) == etag_of(request)


async def test_a_vote_that_comes_before_the_commit_does_not_save_the_request(
    sidecar: Governed,
) -> None:
    request = await deferred(sidecar)

    async def meanwhile(_: Commit) -> None:
        await sidecar.approve(ANN, request)

    sidecar.store.interruptions.append(meanwhile)

    assert (await sidecar.cancel(ADA, request)).status is Status.CANCELED


async def test_too_many_conflicts_are_told(sidecar: Governed) -> None:
    request = await deferred(sidecar)
    sidecar.store.interruptions.extend([Conflict("somebody else")] * 8)

    await sidecar.changes_nothing(sidecar.cancel(RITA, request), Conflict)
