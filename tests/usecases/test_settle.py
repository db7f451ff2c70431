"""Settling: every way in which a host's answers can come, be lost or be late, and what follows.

The host is a model that keeps its promises; what goes wrong happens on the way to it and back. So
the truth is known, and every reading can be held against it: at most one effect, the status that
tells the truth, and doubt only where nobody can know.
"""

import asyncio
from collections.abc import Iterator, Sequence
from itertools import product
from pathlib import Path

import pytest

from governor.domain.errors import StoreUnavailable
from governor.domain.execution import (
    Applied,
    Busy,
    ExecutionStatus,
    Fenced,
    InDoubt,
    LookupAnswer,
    NotSeen,
    Refused,
    VersionMismatch,
)
from governor.domain.request import MutationRequest, PendingReason, Status
from governor.domain.values import Reason
from governor.usecases.app import Limits
from tests.support.builders import MICROS_PER_SECOND
from tests.support.governed import Governed, governed
from tests.support.scripted_host import (
    AT_MOST_ONCE,
    BUSY,
    COMPARING,
    EXACTLY_ONCE,
    NO,
    UNHEARD,
    Kind,
    Loss,
    ScriptedHost,
    Turn,
)

LIMITS = Limits(in_doubt_seconds_max=30.0, executions_per_request_max=3)
LONG_ENOUGH = 200.0
FATES: Sequence[Turn | None] = (None, Loss.ORDER, Loss.ANSWER, Loss.DELAY, BUSY)
SILENCE = [Loss.ORDER] * 500


def scripts(longest: int) -> Iterator[tuple[Turn | None, ...]]:
    """What happens to the first calls, in every way there is."""
    for length in range(longest + 1):
        yield from product(FATES, repeat=length)


async def run(
    sidecar: Governed, number: int, script: Sequence[Turn | None], then: Sequence[Turn] = ()
) -> MutationRequest:
    """A request on a state of its own, after the script and everything late."""
    host = sidecar.host
    host.calls.clear()
    host.heard.clear()
    host.effects.clear()
    host.script.clear()
    host.script.extend([*script, *then])
    request = await sidecar.submit(flag=f"flag-{number}", expected_version="")
    await sidecar.pass_time(LONG_ENOUGH)
    host.script.clear()
    host.deliver()
    return await sidecar.now(request)


def in_doubt(request: MutationRequest) -> bool:
    return request.waits_for(PendingReason.AUDIT)


# ---------------------------------------------------------------- a host that is exactly once


@pytest.mark.parametrize("promises", [COMPARING, EXACTLY_ONCE], ids=["comparing", "asked first"])
async def test_a_host_that_answers_in_the_end_is_never_left_in_doubt(
    tmp_path: Path, promises: object
) -> None:
    """Applied, once, whatever happened to the first three calls."""
    host = ScriptedHost(promises=promises)  # type: ignore[arg-type]
    async with governed(tmp_path, limits=LIMITS, host=host) as sidecar:
        for number, script in enumerate(scripts(3)):
            request = await run(sidecar, number, script)
            assert request.status is Status.EXECUTED, script
            assert len(host.effects) == 1, script
            execution = await sidecar.execution_of(request)
            assert execution.status is ExecutionStatus.APPLIED
            assert execution.id == host.effects[0].execution_id


async def test_a_refusal_is_a_failure_however_it_was_heard(tmp_path: Path) -> None:
    host = ScriptedHost(refusal=NO)
    async with governed(tmp_path, limits=LIMITS, host=host) as sidecar:
        for number, script in enumerate(scripts(3)):
            request = await run(sidecar, number, script)
            assert request.status is Status.FAILED, script
            assert host.effects == []


async def test_a_mismatch_follows_the_stale_strategy_however_it_was_heard(tmp_path: Path) -> None:
    async with governed(tmp_path, limits=LIMITS) as sidecar:
        for number, script in enumerate(scripts(3)):
            sidecar.host.touch(("acme", "flag", f"flag-{number}"))
            request = await run(sidecar, number, script)
            assert request.status is Status.REJECTED, script
            assert sidecar.host.effects == []


async def test_a_host_that_falls_silent_leaves_doubt_exactly_where_nobody_can_know(
    tmp_path: Path,
) -> None:
    """What was heard decides: an outcome is known. Without one, the order that was not answered
    may have been carried out, or may yet be.
    """
    async with governed(tmp_path, limits=LIMITS) as sidecar:
        for number, script in enumerate(scripts(2)):
            request = await run(sidecar, number, script, then=SILENCE)
            known = any(isinstance(answer, Applied) for answer in sidecar.host.heard)
            assert in_doubt(request) is not known, script
            assert (request.status is Status.EXECUTED) is known, script
            assert len(sidecar.host.effects) <= 1, script


async def test_a_host_that_is_busy_for_ever_leaves_no_doubt(tmp_path: Path) -> None:
    """Busy says that nothing was applied. Nobody needs to find out what everybody knows: the
    request goes back to APPROVED, and after its last execution it stays there.
    """
    async with governed(tmp_path, limits=LIMITS) as sidecar:
        request = await run(sidecar, 0, [], then=[BUSY] * 1000)

        assert request.status is Status.APPROVED
        assert request.progress.executions == LIMITS.executions_per_request_max
        executions = await sidecar.executions_of(request)
        assert {execution.status for execution in executions} == {ExecutionStatus.NOT_APPLIED}
        await sidecar.restart()
        await sidecar.pass_time(LONG_ENOUGH)
        assert sidecar.host.effects == []

        answer = await sidecar.execute("otto", request, wait_seconds=30)
        assert answer.request.status is Status.EXECUTED


@pytest.mark.parametrize(
    ("script", "doubtful"),
    [
        ([*[BUSY] * 3, *SILENCE], True),
        ([Loss.ORDER, *[BUSY] * 1000], True),
        ([Loss.ANSWER, *[BUSY] * 1000], True),
    ],
    ids=["busy, then silent", "an order lost, then busy", "an answer lost, then busy"],
)
async def test_busy_takes_no_doubt_away_from_an_order_that_was_not_answered(
    tmp_path: Path, script: list[Turn], doubtful: bool
) -> None:
    async with governed(tmp_path, limits=LIMITS) as sidecar:
        assert in_doubt(await run(sidecar, 0, script)) is doubtful


async def test_when_patience_ends_the_fence_decides_and_the_request_runs_anew(
    tmp_path: Path,
) -> None:
    """Nothing is heard until the fence is asked for. What was delayed finds a tombstone."""
    async with governed(tmp_path, limits=LIMITS) as sidecar:
        host = sidecar.host
        host.script.append(Loss.DELAY)
        request = await sidecar.submit()
        await sidecar.quiet()
        host.deaf_to = {Kind.APPLY, Kind.LOOKUP}
        await sidecar.pass_time(40)
        assert host.sent(Kind.FENCE)
        host.deaf_to = set()
        await sidecar.pass_time(LONG_ENOUGH)
        host.deliver()

        first, second = await sidecar.executions_of(request)
        assert first.status is ExecutionStatus.NOT_APPLIED
        assert second.status is ExecutionStatus.APPLIED
        assert host.records[first.id].tombstone
        assert [effect.execution_id for effect in host.effects] == [second.id]
        fence = host.sent(Kind.FENCE)[0]
        assert fence.fencing_token > host.calls[0].fencing_token


async def test_a_tombstone_of_our_own_whose_answer_was_lost_is_recognised(tmp_path: Path) -> None:
    """The fence is set and its answer lost; the look-up that follows finds it. No doubt remains."""
    async with governed(tmp_path, limits=LIMITS) as sidecar:
        host = sidecar.host
        host.deaf_to = {Kind.APPLY, Kind.LOOKUP}
        request = await sidecar.submit()
        await sidecar.pass_time(29)
        host.script.append(Loss.ANSWER)
        await sidecar.pass_time(10)
        assert next(record.tombstone for record in host.records.values())
        host.deaf_to = set()
        await sidecar.pass_time(LONG_ENOUGH)

        assert (await sidecar.now(request)).status is Status.EXECUTED
        assert len(host.effects) == 1


# ---------------------------------------------------------------- a host that is not


async def test_a_host_without_the_promises_is_ordered_once_and_doubt_is_told_at_once(
    tmp_path: Path,
) -> None:
    """Busy means nothing was applied, so it may be ordered again. After the first order that is not
    answered, the host is not called again at all, whatever it would answer.
    """
    host = ScriptedHost(promises=AT_MOST_ONCE)
    async with governed(tmp_path, limits=LIMITS, host=host) as sidecar:
        for number, script in enumerate(scripts(3)):
            request = await run(sidecar, number, script)
            telling = next((fate for fate in script if fate is not BUSY), None)
            assert in_doubt(request) is (telling is not None), script
            assert (request.status is Status.EXECUTED) is (telling is None), script
            assert len(host.effects) <= 1, script
            busy = script.index(telling) if telling in script else len(script)
            assert len(host.calls) == busy + 1, script


async def test_doubt_about_a_host_without_the_promises_does_not_wait_for_patience(
    tmp_path: Path,
) -> None:
    async with governed(tmp_path, host=ScriptedHost(promises=AT_MOST_ONCE)) as sidecar:
        sidecar.host.script.append(Loss.ANSWER)
        request = await sidecar.submit(expected_version=None)
        await sidecar.quiet()

        assert in_doubt(await sidecar.now(request))


@pytest.mark.parametrize(
    "answer",
    [NotSeen(fenced=False), NotSeen(fenced=True), BUSY, UNHEARD, Fenced()],
    ids=repr,
)
@pytest.mark.parametrize("arrived", [Loss.ORDER, Loss.ANSWER])
async def test_a_new_life_never_orders_again_from_a_host_without_the_promises(
    tmp_path: Path, answer: LookupAnswer, arrived: Loss
) -> None:
    """Its word that it has not seen something proves nothing, and neither does its fence."""
    host = ScriptedHost(promises=AT_MOST_ONCE)
    async with governed(tmp_path, limits=LIMITS, host=host) as sidecar:
        sidecar.die_at("execute.after_apply")
        host.script.append(arrived)
        await sidecar.unless_it_dies(sidecar.submit(key="once"))
        await sidecar.pass_time(1)
        host.script.extend([answer] * 1000)

        await sidecar.restart()
        request = await sidecar.submit(key="once")
        await sidecar.pass_time(LONG_ENOUGH)

        assert in_doubt(await sidecar.now(request))
        assert len(host.sent(Kind.APPLY)) == 1


@pytest.mark.parametrize(
    ("answer", "status"),
    [
        (Applied(resulting_version="8"), Status.EXECUTED),
        (NO, Status.FAILED),
        (VersionMismatch(current_version="9"), Status.REJECTED),
    ],
    ids=["applied", "refused", "mismatch"],
)
async def test_a_new_life_believes_what_such_a_host_knows_for_good(
    tmp_path: Path, answer: LookupAnswer, status: Status
) -> None:
    host = ScriptedHost(promises=AT_MOST_ONCE)
    async with governed(tmp_path, limits=LIMITS, host=host) as sidecar:
        sidecar.die_at("execute.after_apply")
        await sidecar.unless_it_dies(sidecar.submit(key="once"))
        await sidecar.pass_time(1)
        host.script.append(answer)

        await sidecar.restart()
        await sidecar.quiet()

        assert (await sidecar.submit(key="once")).id == "request-000001"
        (execution,) = await sidecar.store.executions_of((await sidecar.submit(key="once")).id)
        request = await sidecar.store.request(execution.request_id)
        assert request is not None
        assert request.status is status


# ---------------------------------------------------------------- single answers, as they stand


@pytest.mark.parametrize(
    ("answer", "status"),
    [
        (Applied(resulting_version="8"), Status.EXECUTED),
        (Refused(reason=Reason(code="NO")), Status.FAILED),
        (VersionMismatch(current_version="9"), Status.REJECTED),
    ],
    ids=["applied", "refused", "mismatch"],
)
@pytest.mark.parametrize("looked_up", [False, True])
async def test_a_known_answer_is_recorded_at_once(
    sidecar: Governed, answer: LookupAnswer, status: Status, looked_up: bool
) -> None:
    sidecar.host.script.extend([Loss.ORDER, answer] if looked_up else [answer])
    request = await sidecar.submit()
    await sidecar.pass_time(1 if looked_up else 0)

    assert (await sidecar.now(request)).status is status
    assert len(sidecar.host.calls) == (2 if looked_up else 1)


@pytest.mark.parametrize(
    "answer", [NotSeen(fenced=True), Fenced()], ids=["not seen and fenced", "fenced"]
)
async def test_whoever_is_fenced_asks_for_the_fence_before_anything_is_released(
    sidecar: Governed, answer: LookupAnswer
) -> None:
    """FENCED with nobody else in sight can only be our own tombstone. It is made sure of, under a
    higher token, and then the request runs under a new execution.
    """
    script: list[Turn] = [answer]
    if isinstance(answer, NotSeen):
        script.insert(0, Loss.ORDER)
    sidecar.host.script.extend(script)
    request = await sidecar.submit()
    await sidecar.pass_time(1)

    first, second = await sidecar.executions_of(request)
    assert first.status is ExecutionStatus.NOT_APPLIED
    assert second.status is ExecutionStatus.APPLIED
    if isinstance(answer, Fenced):
        assert sidecar.host.records[first.id].tombstone


async def test_a_host_that_asks_for_time_is_given_it_also_the_first_time(
    sidecar: Governed,
) -> None:
    sidecar.host.script.append(Busy(reason=BUSY.reason, retry_after_us=3 * MICROS_PER_SECOND))
    request = await sidecar.submit()
    await sidecar.pass_time(2.9)
    assert len(sidecar.host.calls) == 1

    await sidecar.pass_time(0.2)
    assert (await sidecar.now(request)).status is Status.EXECUTED


async def test_the_reason_for_the_doubt_is_the_hosts_last_word(tmp_path: Path) -> None:
    lost = InDoubt(reason=Reason(code="DATA_LOSS", message="a disk died"))
    async with governed(tmp_path, limits=LIMITS) as sidecar:
        request = await run(sidecar, 0, [lost] * 500)

        assert in_doubt(request)
        assert request.progress.status_reason == lost.reason


# ---------------------------------------------------------------- lease and token


async def test_a_lease_that_runs_out_while_asking_is_extended_under_the_next_token(
    sidecar: Governed,
) -> None:
    """No call is made under a lease that could end before its answer."""
    sidecar.host.script.extend([Loss.ORDER] * 40)
    request = await sidecar.submit()
    await sidecar.pass_time(LONG_ENOUGH)

    assert (await sidecar.now(request)).status is Status.EXECUTED
    execution = await sidecar.execution_of(request)
    tokens = [call.fencing_token for call in sidecar.host.calls]
    assert tokens == sorted(tokens)
    assert set(tokens) == set(range(1, execution.fencing_token + 1))
    assert execution.fencing_token > 1
    claims = (await sidecar.history(request)).count("EXECUTION claimed")
    assert claims == execution.fencing_token


async def test_an_owner_that_was_taken_over_from_writes_nothing(sidecar: Governed) -> None:
    """Its call hangs; a cancellation takes the execution over. Then the call returns."""
    sidecar.host.script.append(Loss.SILENCE)
    request = await sidecar.submit()
    await sidecar.quiet()
    await sidecar.cancel("otto", request)
    before = sidecar.store.head

    sidecar.host.deadlines.open()
    await sidecar.pass_time(LONG_ENOUGH)

    assert sidecar.store.head == before
    assert [len(trace.finished) for trace in sidecar.tracing.traces] == [1]


async def test_a_store_that_is_away_when_the_outcome_is_known_gets_it_later(
    sidecar: Governed,
) -> None:
    sidecar.host.answers.shut()
    request = await sidecar.submit()
    await sidecar.quiet()
    sidecar.store.interruptions.extend([StoreUnavailable("gone")] * 5)

    sidecar.host.answers.open()
    await sidecar.pass_time(LONG_ENOUGH)

    assert (await sidecar.now(request)).status is Status.EXECUTED
    assert len(sidecar.host.calls) == 1


async def test_a_fault_of_our_own_leaves_no_execution_without_an_owner(sidecar: Governed) -> None:
    """An error that nobody foresaw ends the owner's task. The execution is recovered."""

    async def unforeseen(_: object) -> None:
        raise ZeroDivisionError

    sidecar.host.answers.shut()
    request = await sidecar.submit()
    await sidecar.quiet()
    sidecar.store.interruptions.append(unforeseen)
    sidecar.host.answers.open()
    await sidecar.pass_time(LONG_ENOUGH)

    assert (await sidecar.now(request)).status is Status.EXECUTED
    assert len(sidecar.host.effects) == 1
    assert "EXECUTION lease_lost" in await sidecar.history(request)


async def test_every_execution_ends_its_span_once(sidecar: Governed) -> None:
    await asyncio.gather(*(sidecar.submit(flag=f"flag-{n % 3}") for n in range(9)))
    await sidecar.quiet()

    spans = [trace for trace in sidecar.tracing.traces if trace.finished]
    assert [len(span.finished) for span in spans] == [1] * 9
    assert {span.finished[0].traceparent for span in spans} == {span.traceparent for span in spans}
