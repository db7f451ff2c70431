"""Every reason to wait, through restarts, over a real store: nothing forgotten, nothing doubled."""

from itertools import combinations
from pathlib import Path
from typing import Any

import pytest

from governor.domain.errors import IllegalTransition
from governor.domain.gates import Gate, Window
from governor.domain.policy import Effect, Rule
from governor.domain.request import (
    ExecutionMode,
    MutationRequest,
    PendingReason,
    StaleStrategy,
    Status,
)
from governor.domain.values import Micros
from tests.support.builders import MICROS_PER_SECOND
from tests.support.domain_builders import CHECK, LOOK, QUOTA
from tests.support.governed import Governed, governed
from tests.support.people import ANN, OTTO, RITA, reviewed
from tests.support.scripted_checks import LATER
from tests.support.scripted_host import Kind, Loss

# The clock of these tests starts on a Tuesday, at 22:13:20 UTC.
NIGHTS = Window(name="nights", opens="0 23 * * *", lasts_seconds=3600)
TO_OPENING = 2800.0
SCHEDULED_SECONDS = 120.0
GATES: dict[str, Gate] = {
    "EXTERNAL_CHECK": CHECK.but(called=True, timeout_seconds=3000),
    "QUOTA": QUOTA.but(timeout_seconds=3000),
    "MANUAL_REVIEW": LOOK.but(timeout_seconds=3000),
}


def in_seconds(sidecar: Governed, seconds: float) -> Micros:
    return Micros(sidecar.clock.now() + round(seconds * MICROS_PER_SECOND))


class Waiting:
    """A request that waits for some reasons, and how each of them is resolved."""

    def __init__(self, sidecar: Governed, reasons: tuple[str, ...]) -> None:
        self.sidecar = sidecar
        self.reasons = reasons
        self.request: MutationRequest
        self.first: MutationRequest | None = None

    async def submit(self) -> MutationRequest:
        gates = tuple(gate for reason, gate in GATES.items() if reason in self.reasons)
        steps = (reviewed(1),) if "APPROVAL" in self.reasons else ()
        deferring = Rule(
            id="gated",
            effect=Effect.DEFER,
            mutation_types=("gated.*",),
            gates=gates,
            steps=steps,
        )
        if gates or steps:
            self.sidecar.policy.rules = (*self.sidecar.policy.rules, deferring)
        self.sidecar.checks.say(LATER)
        fields: dict[str, Any] = {"mutation_type": "gated.set", "flag": "gated"}
        if "SCHEDULE" in self.reasons:
            fields["execute_after"] = in_seconds(self.sidecar, SCHEDULED_SECONDS)
        if "DEPENDENCY" in self.reasons:
            on_execute = ExecutionMode.ON_EXECUTE
            self.first = await self.sidecar.submit(flag="first", execution_mode=on_execute)
            fields["depends_on"] = (self.first.id,)
        self.request = await self.sidecar.submit(**fields)
        await self.sidecar.quiet()
        return self.request

    async def resolve(self, reason: str) -> None:
        sidecar, request = self.sidecar, self.request
        match reason:
            case "APPROVAL":
                await sidecar.approve(ANN, request)
            case "SCHEDULE":
                await sidecar.pass_time(SCHEDULED_SECONDS)
            case "DEPENDENCY":
                assert self.first is not None
                await sidecar.execute(RITA, self.first)
            case _:
                await sidecar.answer_gate(OTTO, request, GATES[reason].name)
        await sidecar.quiet()

    async def left(self) -> set[str]:
        return {str(one.reason) for one in (await self.sidecar.now(self.request)).progress.pending}


REASONS = ("APPROVAL", "SCHEDULE", "DEPENDENCY", *GATES)
ALONE_AND_IN_PAIRS = [
    *((one,) for one in REASONS),
    *combinations(REASONS, 2),
    REASONS,
]


@pytest.mark.parametrize("reasons", ALONE_AND_IN_PAIRS, ids=" and ".join)
async def test_it_runs_when_the_last_reason_is_resolved_whoever_died_meanwhile(
    tmp_path: Path, reasons: tuple[str, ...]
) -> None:
    """A life per reason: the process dies in the middle of waiting for each."""
    async with governed(tmp_path) as sidecar:
        waiting = Waiting(sidecar, reasons)
        await waiting.submit()
        await sidecar.restart()
        await sidecar.quiet()
        left = set(reasons)
        for reason in reasons:
            assert await waiting.left() == left
            await waiting.resolve(reason)
            left.discard(reason)
            await sidecar.restart()
            await sidecar.quiet()
        assert (await sidecar.now(waiting.request)).status is Status.EXECUTED
        history = await sidecar.history(waiting.request)
        for once in ("LIFECYCLE submitted", "LIFECYCLE approved", "LIFECYCLE executed"):
            assert history.count(once) == 1
        assert sum(e.request_id == waiting.request.id for e in sidecar.host.effects) == 1


TIMED = {
    "EXTERNAL_CHECK": (3000, Status.REJECTED, "CHECK_TIMED_OUT"),
    "QUOTA": (3000, Status.EXECUTED, None),
    "MANUAL_REVIEW": (3000, Status.REJECTED, "CHECK_TIMED_OUT"),
    "SCHEDULE": (SCHEDULED_SECONDS, Status.EXECUTED, None),
}


@pytest.mark.parametrize("reason", TIMED)
@pytest.mark.parametrize("downtime", [False, True])
async def test_time_decides_each_reason_once_also_while_nobody_was_there(
    tmp_path: Path, reason: str, *, downtime: bool
) -> None:
    seconds, status, code = TIMED[reason]
    async with governed(tmp_path) as sidecar:
        waiting = Waiting(sidecar, (reason,))
        await waiting.submit()
        if downtime:
            await sidecar.crash()
            sidecar.clock.advance(seconds + 86_400)
            await sidecar.open()
            await sidecar.start()
            await sidecar.pass_time(0)
        else:
            await sidecar.pass_time(seconds - 0.000_001)
            assert await waiting.left() == {reason}
            await sidecar.pass_time(0.000_001)
        ended = await sidecar.now(waiting.request)
        assert ended.status is status
        assert (ended.progress.status_reason.code if ended.progress.status_reason else None) == code
        await sidecar.restart()
        await sidecar.pass_time(86_400)
        assert await sidecar.now(waiting.request) == ended


async def test_a_restart_in_a_revalidation_and_in_an_audit_leaves_them_as_they_were(
    sidecar: Governed,
) -> None:
    stale = await sidecar.submit(
        flag="a",
        execution_mode=ExecutionMode.ON_EXECUTE,
        expected_version="9",
        stale_strategy=StaleStrategy.REVALIDATE_ON_LATEST,
    )
    sidecar.host.script.extend([Loss.ORDER] * 1000)
    doubtful = await sidecar.submit(flag="b")
    await sidecar.pass_time(600)
    sidecar.host.script.clear()
    assert (await sidecar.now(doubtful)).waits_for(PendingReason.AUDIT)
    sidecar.host.answers.shut()
    await sidecar.execute(RITA, stale)
    sidecar.host.is_reachable = False
    sidecar.host.answers.open()
    await sidecar.quiet()
    await sidecar.restart()
    await sidecar.quiet()
    assert (await sidecar.now(stale)).waits_for(PendingReason.REVALIDATION)
    assert (await sidecar.now(doubtful)).waits_for(PendingReason.AUDIT)


# ---------------------------------------------------------------- windows


def windowed(sidecar: Governed, *gates: Gate, **demands: object) -> None:
    deferring = Rule(id="windowed", effect=Effect.DEFER, gates=gates, windows=(NIGHTS,))
    sidecar.policy.rules = (deferring.but(**demands),)


async def test_it_runs_when_its_window_opens_and_not_before(sidecar: Governed) -> None:
    windowed(sidecar)
    request = await sidecar.submit()
    assert [one.reason for one in request.progress.pending] == [PendingReason.SCHEDULE]
    await sidecar.pass_time(TO_OPENING - 0.000_001)
    assert sidecar.host.effects == []
    await sidecar.restart()
    await sidecar.pass_time(0.000_001)
    assert (await sidecar.now(request)).status is Status.EXECUTED


async def test_within_its_window_it_is_claimed_in_the_submitting_commit(sidecar: Governed) -> None:
    windowed(sidecar)
    sidecar.clock.advance(TO_OPENING)
    request = await sidecar.submit()
    assert request.status is Status.EXECUTING


async def test_an_answer_that_comes_when_the_window_has_closed_waits_for_the_next(
    sidecar: Governed,
) -> None:
    windowed(sidecar, CHECK.but(timeout_seconds=90_000))
    request = await sidecar.submit()
    await sidecar.pass_time(TO_OPENING + 3600)
    assert (await sidecar.now(request)).waits_for(PendingReason.EXTERNAL_CHECK)
    held = await sidecar.answer_gate(OTTO, request, CHECK.name)
    assert [one.reason for one in held.progress.pending] == [PendingReason.SCHEDULE]
    await sidecar.pass_time(23 * 3600 - 0.000_001)
    assert sidecar.host.effects == []
    await sidecar.pass_time(0.000_001)
    assert (await sidecar.now(request)).status is Status.EXECUTED


async def test_whose_turn_comes_when_the_window_has_closed_waits_for_the_next(
    sidecar: Governed,
) -> None:
    """The state was held all the while by another execution."""
    sidecar.clock.advance(TO_OPENING)
    sidecar.host.script.append(Loss.SILENCE)
    first = await sidecar.submit(flag="shared")
    windowed(sidecar)
    request = await sidecar.submit(flag="shared")
    assert request.status is Status.APPROVED
    await sidecar.pass_time(3600)
    sidecar.host.deadlines.open()
    await sidecar.pass_time(60)
    assert (await sidecar.now(first)).status is Status.EXECUTED
    held = await sidecar.now(request)
    assert held.status is Status.PENDING
    assert held.waits_for(PendingReason.SCHEDULE)
    await sidecar.pass_time(86_400)
    assert (await sidecar.now(request)).status is Status.EXECUTED


async def test_execute_outside_the_window_starts_nothing_and_says_what_it_waits_for(
    sidecar: Governed,
) -> None:
    windowed(sidecar)
    sidecar.clock.advance(TO_OPENING)
    request = await sidecar.submit(execution_mode=ExecutionMode.ON_EXECUTE)
    assert request.status is Status.APPROVED
    sidecar.clock.advance(3600)
    answer = await sidecar.execute(RITA, request)
    assert answer.execution is None
    assert answer.request.waits_for(PendingReason.SCHEDULE)


# ---------------------------------------------------------------- the execution window


async def test_what_is_not_claimed_in_time_after_its_approval_expires(sidecar: Governed) -> None:
    windowed(sidecar, CHECK, windows=(), execution_window_seconds=60)
    on_execute = ExecutionMode.ON_EXECUTE
    request = await sidecar.submit(execution_mode=on_execute)
    await sidecar.pass_time(300)
    approved = await sidecar.answer_gate(OTTO, request, CHECK.name)
    assert approved.progress.execute_before == in_seconds(sidecar, 60)
    await sidecar.pass_time(59.999_999)
    assert (await sidecar.now(request)).status is Status.APPROVED

    sidecar.clock.advance(0.000_001)
    await sidecar.changes_nothing(sidecar.execute(RITA, request), IllegalTransition)
    await sidecar.pass_time(0)
    ended = await sidecar.now(request)
    assert ended.status is Status.EXPIRED
    assert ended.progress.status_reason is not None
    assert ended.progress.status_reason.code == "EXECUTION_WINDOW_PASSED"


async def test_the_execution_window_is_not_moved_by_an_execution_that_came_to_nothing(
    sidecar: Governed,
) -> None:
    """Its order was fenced when the time was long over: it is not claimed again."""
    windowed(sidecar, CHECK, windows=(), execution_window_seconds=600)
    sidecar.host.script.append(Loss.SILENCE)
    request = await sidecar.submit()
    approved = await sidecar.answer_gate(OTTO, request, CHECK.name)
    await sidecar.pass_time(3600)
    assert (await sidecar.now(request)).status is Status.EXECUTING
    sidecar.host.deaf_to = {Kind.APPLY, Kind.LOOKUP}
    sidecar.host.deadlines.open()
    await sidecar.pass_time(3600)
    ended = await sidecar.now(request)
    assert ended.status is Status.EXPIRED
    assert ended.progress.status_reason is not None
    assert ended.progress.status_reason.code == "EXECUTION_WINDOW_PASSED"
    assert ended.progress.execute_before == approved.progress.execute_before
    assert sidecar.host.effects == []
