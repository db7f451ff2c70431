"""Timers: what is due happens at its time, or at the start after downtime, each item by itself."""

import asyncio
import logging
from pathlib import Path

import pytest

from governor.domain.clocks import what_is_due
from governor.domain.errors import Conflict, StoreUnavailable
from governor.domain.request import (
    ExecutionMode,
    MutationRequest,
    PendingReason,
    Risk,
    StaleStrategy,
    Status,
)
from governor.domain.values import Micros
from governor.domain.workflow import Advance
from governor.usecases.app import Limits
from governor.usecases.commands import WaitFor
from governor.usecases.commits import Commit
from governor.usecases.questions import Due
from governor.usecases.timers import POSTPONED_MAX
from governor.usecases.watch import wait_request
from tests.support.builders import MICROS_PER_SECOND, make_request, submission
from tests.support.governed import Governed, caller, governed
from tests.support.people import ANN, AUDREY, OTTO, RITA
from tests.support.scripted_host import Kind, Loss


def in_seconds(sidecar: Governed, seconds: float) -> Micros:
    return Micros(sidecar.clock.now() + round(seconds * MICROS_PER_SECOND))


async def test_a_request_expires_at_its_time_and_not_before(sidecar: Governed) -> None:
    request = await sidecar.submit(risk=Risk.HIGH, expires_at=in_seconds(sidecar, 60))
    await sidecar.pass_time(59.999_999)
    assert (await sidecar.now(request)).status is Status.PENDING

    await sidecar.pass_time(0.000_001)
    expired = await sidecar.now(request)
    assert expired.status is Status.EXPIRED
    assert expired.progress.pending == ()
    await sidecar.pass_time(1e9)
    assert await sidecar.now(request) == expired


async def test_what_is_approved_and_not_started_expires_too(sidecar: Governed) -> None:
    request = await sidecar.submit(
        execution_mode=ExecutionMode.ON_EXECUTE, expires_at=in_seconds(sidecar, 60)
    )
    await sidecar.pass_time(60)

    assert (await sidecar.now(request)).status is Status.EXPIRED


async def test_what_waits_for_a_revalidation_expires_too(sidecar: Governed) -> None:
    request = await sidecar.submit(
        execution_mode=ExecutionMode.ON_EXECUTE,
        expected_version="9",
        stale_strategy=StaleStrategy.REVALIDATE_ON_LATEST,
        expires_at=in_seconds(sidecar, 60),
    )
    sidecar.host.answers.shut()
    await sidecar.execute(RITA, request)
    sidecar.host.is_reachable = False
    sidecar.host.answers.open()
    await sidecar.quiet()
    assert (await sidecar.now(request)).waits_for(PendingReason.REVALIDATION)

    await sidecar.pass_time(60)

    assert (await sidecar.now(request)).status is Status.EXPIRED


async def test_what_was_claimed_in_time_does_not_expire(sidecar: Governed) -> None:
    sidecar.host.script.append(Loss.SILENCE)
    request = await sidecar.submit(expires_at=in_seconds(sidecar, 60))
    await sidecar.pass_time(3600)
    assert (await sidecar.now(request)).status is Status.EXECUTING

    sidecar.host.deadlines.open()
    await sidecar.pass_time(60)
    assert (await sidecar.now(request)).status is Status.EXECUTED


async def test_what_is_in_doubt_does_not_expire(sidecar: Governed) -> None:
    sidecar.host.script.extend([Loss.ORDER] * 1000)
    request = await sidecar.submit(expires_at=in_seconds(sidecar, 60))
    await sidecar.pass_time(3600)

    assert (await sidecar.now(request)).waits_for(PendingReason.AUDIT)


async def test_a_fenced_execution_of_an_expired_request_leads_to_its_expiry(
    sidecar: Governed,
) -> None:
    sidecar.host.script.append(Loss.SILENCE)
    request = await sidecar.submit(expires_at=in_seconds(sidecar, 60))
    await sidecar.pass_time(3600)
    sidecar.host.deaf_to = {Kind.APPLY, Kind.LOOKUP}
    sidecar.host.deadlines.open()
    await sidecar.pass_time(3600)

    assert (await sidecar.now(request)).status is Status.EXPIRED
    assert sidecar.host.effects == []


async def test_a_schedule_comes_due_and_the_request_runs(sidecar: Governed) -> None:
    request = await sidecar.submit(execute_after=in_seconds(sidecar, 60))
    await sidecar.pass_time(59.999_999)
    assert sidecar.host.effects == []

    await sidecar.pass_time(0.000_001)
    assert (await sidecar.now(request)).status is Status.EXECUTED


async def test_a_schedule_does_not_take_the_place_of_an_approval(sidecar: Governed) -> None:
    request = await sidecar.submit(risk=Risk.MEDIUM, execute_after=in_seconds(sidecar, 60))
    await sidecar.pass_time(61)
    waiting = await sidecar.now(request)
    assert [pending.reason for pending in waiting.progress.pending] == [PendingReason.APPROVAL]

    await sidecar.approve(ANN, request)
    await sidecar.quiet()
    assert (await sidecar.now(request)).status is Status.EXECUTED


async def test_a_time_that_passed_while_nobody_was_there_counts(sidecar: Governed) -> None:
    """Both its schedule and its expiry came during the downtime: expiry before anything else."""
    scheduled = await sidecar.submit(flag="a", execute_after=in_seconds(sidecar, 60))
    too_late = await sidecar.submit(
        flag="b",
        execute_after=in_seconds(sidecar, 60),
        expires_at=in_seconds(sidecar, 61),
    )
    await sidecar.crash()
    sidecar.clock.advance(3600)

    await sidecar.open()
    await sidecar.start()
    await sidecar.pass_time(0)

    assert (await sidecar.now(scheduled)).status is Status.EXECUTED
    assert (await sidecar.now(too_late)).status is Status.EXPIRED
    assert len(sidecar.host.effects) == 1


async def test_many_things_fall_due_together_page_by_page(tmp_path: Path) -> None:
    async with governed(tmp_path, limits=Limits(timer_page=3)) as sidecar:
        requests = [
            await sidecar.submit(
                flag=f"flag-{n}", risk=Risk.HIGH, expires_at=in_seconds(sidecar, 60)
            )
            for n in range(10)
        ]
        sidecar.clock.advance(60)

        assert await sidecar.timers.run_due() == 10
        assert await sidecar.timers.run_due() == 0
        for request in requests:
            assert (await sidecar.now(request)).status is Status.EXPIRED


async def test_one_item_that_fails_does_not_hold_up_the_others_and_is_tried_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with governed(tmp_path, limits=Limits(timer_page=2)) as sidecar:
        requests = [
            await sidecar.submit(
                flag=f"flag-{n}", risk=Risk.HIGH, expires_at=in_seconds(sidecar, 60 + n)
            )
            for n in range(5)
        ]
        sidecar.clock.advance(100)

        async def breaks(_: Commit) -> None:
            raise ZeroDivisionError

        sidecar.store.interruptions.extend([breaks, RuntimeError("a fault of this item")])
        with caplog.at_level(logging.ERROR):
            assert await sidecar.timers.run_due() == 3

        assert len(caplog.records) == 2
        statuses = [(await sidecar.now(request)).status for request in requests]
        assert statuses == [Status.PENDING] * 2 + [Status.EXPIRED] * 3
        assert await sidecar.timers.run_due() == 0
        sidecar.clock.advance(5)
        assert await sidecar.timers.run_due() == 2


async def test_a_clock_that_cannot_be_read_holds_up_nobody_else(
    sidecar: Governed, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    broken, sound = [
        await sidecar.submit(flag=flag, risk=Risk.HIGH, expires_at=in_seconds(sidecar, 60))
        for flag in ("a", "b")
    ]

    def fails(request: MutationRequest, now: Micros) -> Advance | None:
        if request.id == broken.id:
            raise ZeroDivisionError
        return what_is_due(request, now)

    monkeypatch.setattr("governor.usecases.timers.what_is_due", fails)
    sidecar.clock.advance(60)
    assert await sidecar.timers.run_due() == 1
    assert (await sidecar.now(sound)).status is Status.EXPIRED
    assert "is tried again later" in caplog.text


async def test_a_store_that_is_away_postpones_nobody(sidecar: Governed) -> None:
    """It is no fault of an item: the look ends, and the next one begins with the same item."""
    request = await sidecar.submit(risk=Risk.MEDIUM)
    sidecar.clock.advance(sidecar.app.limits.request_lifetime_seconds)
    sidecar.store.interruptions.append(StoreUnavailable("gone"))
    with pytest.raises(StoreUnavailable):
        await sidecar.timers.run_due()
    assert await sidecar.timers.run_due() == 1
    assert (await sidecar.now(request)).status is Status.EXPIRED


async def test_a_page_never_grows_with_what_is_postponed(tmp_path: Path) -> None:
    async with governed(tmp_path, limits=Limits(timer_page=2)) as sidecar:
        for n in range(7):
            await sidecar.submit(
                flag=f"flag-{n}", risk=Risk.HIGH, expires_at=in_seconds(sidecar, 60 + n)
            )
        sidecar.clock.advance(100)
        sidecar.store.interruptions.extend([RuntimeError("a fault of this item")] * 6)
        pages = watched_pages(sidecar)

        assert await sidecar.timers.run_due() == 1
        assert max(pages) == 2


async def test_what_cannot_be_remembered_as_postponed_is_tried_at_each_look(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("governor.usecases.timers.POSTPONED_MAX", 1)
    async with governed(tmp_path) as sidecar:
        for n in range(3):
            await sidecar.submit(
                flag=f"flag-{n}", risk=Risk.HIGH, expires_at=in_seconds(sidecar, 60 + n)
            )
        sidecar.clock.advance(100)
        sidecar.store.interruptions.extend([RuntimeError("a fault of this item")] * 3)

        assert await sidecar.timers.run_due() == 0
        assert await sidecar.timers.run_due() == 2
    assert POSTPONED_MAX > 1


async def test_a_clock_that_is_set_back_leaves_nothing_postponed_for_longer_than_a_pause(
    sidecar: Governed,
) -> None:
    request = await sidecar.submit(risk=Risk.HIGH, expires_at=in_seconds(sidecar, 60))
    sidecar.clock.advance(7200)
    sidecar.store.interruptions.append(RuntimeError("a fault of this item"))
    assert await sidecar.timers.run_due() == 0

    sidecar.clock.advance(-3600)
    assert await sidecar.timers.run_due() == 1
    assert (await sidecar.now(request)).status is Status.EXPIRED


async def test_what_fell_due_in_a_downtime_happens_in_the_order_of_its_own_moments(
    tmp_path: Path,
) -> None:
    """Also across the clocks of one request: its schedule, then others' expiry, then its own."""
    async with governed(tmp_path, limits=Limits(timer_page=2)) as sidecar:
        both = await sidecar.submit(
            flag="a",
            risk=Risk.HIGH,
            execute_after=in_seconds(sidecar, 10),
            expires_at=in_seconds(sidecar, 30),
        )
        others = [
            await sidecar.submit(
                flag=f"flag-{at}", risk=Risk.HIGH, expires_at=in_seconds(sidecar, at)
            )
            for at in (20, 40, 35, 25)
        ]
        head = sidecar.store.head.revision
        sidecar.clock.advance(3600)

        assert await sidecar.timers.run_due() == 6

        first, second, third, fourth = others[0], others[3], others[2], others[1]
        assert [
            (entry.decision.request_id, entry.decision.code.text)
            for entry in await sidecar.ledger(after=head)
        ] == [
            (both.id, "pending"),
            (first.id, "expired"),
            (second.id, "expired"),
            (both.id, "expired"),
            (third.id, "expired"),
            (fourth.id, "expired"),
        ]


async def test_ten_thousand_due_requests_are_looked_at_page_by_page(tmp_path: Path) -> None:
    """Each page as large as it may be and no larger, and one more look that finds nothing."""
    limits = Limits(timer_page=200)
    async with governed(tmp_path, limits=limits) as sidecar:
        for first in range(0, 10_000, 500):
            due = (
                make_request(
                    f"r-{n:05}",
                    status=Status.PENDING,
                    waits_for=(PendingReason.APPROVAL,),
                    expires_at=in_seconds(sidecar, 60 + n % 50),
                )
                for n in range(first, first + 500)
            )
            await asyncio.gather(*(sidecar.store.commit(submission(request)) for request in due))
        sidecar.clock.advance(3600)
        pages = watched_pages(sidecar)

        assert await sidecar.timers.run_due() == 10_000

        assert pages == [200] * 50 + [0, 0]
        assert await sidecar.timers.next_moment() is None


def watched_pages(sidecar: Governed) -> list[int]:
    """The sizes of the pages that the timers are given from now on."""
    look, sizes = sidecar.store.due, list[int]()

    async def watched(*, until: Micros, limit: int, after: Due | None = None) -> tuple[Due, ...]:
        page = await look(until=until, limit=limit, after=after)
        sizes.append(len(page))
        return page

    sidecar.store.due = watched
    return sizes


async def test_what_is_postponed_is_not_looked_at_in_a_hurry(sidecar: Governed) -> None:
    """It stays due in the store. Whoever slept until the next thing due would not sleep at all."""
    await sidecar.submit(risk=Risk.HIGH, expires_at=in_seconds(sidecar, 60))
    assert await sidecar.timers.next_moment() == in_seconds(sidecar, 60)
    sidecar.clock.advance(60)
    sidecar.store.interruptions.append(RuntimeError("a fault of this item"))

    assert await sidecar.timers.run_due() == 0

    assert await sidecar.timers.next_moment() == in_seconds(sidecar, 5)


async def test_a_vote_in_the_last_moment_is_not_lost_to_the_timer(sidecar: Governed) -> None:
    """The timer's commit comes second: it looks again, and the request still expires."""
    request = await sidecar.submit(risk=Risk.HIGH, expires_at=in_seconds(sidecar, 60))
    sidecar.clock.advance(60)

    async def meanwhile(_: Commit) -> None:
        await sidecar.approve(ANN, request)

    sidecar.store.interruptions.append(meanwhile)
    await sidecar.timers.run_due()

    expired = await sidecar.now(request)
    assert expired.status is Status.EXPIRED
    assert "APPROVAL granted" in await sidecar.history(request)


async def test_a_conflict_is_looked_at_again_at_once(sidecar: Governed) -> None:
    request = await sidecar.submit(risk=Risk.HIGH, expires_at=in_seconds(sidecar, 60))
    sidecar.clock.advance(60)
    sidecar.store.interruptions.append(Conflict("somebody else"))

    assert await sidecar.timers.run_due() == 1
    assert (await sidecar.now(request)).status is Status.EXPIRED


async def test_the_running_timers_take_up_what_came_sooner_than_expected(tmp_path: Path) -> None:
    async with governed(tmp_path, limits=Limits(timer_poll_seconds_max=0.01)) as sidecar:
        sidecar.timers.start()
        later = await sidecar.submit(risk=Risk.HIGH)
        sooner = await sidecar.submit(risk=Risk.HIGH, expires_at=in_seconds(sidecar, 60))
        sidecar.clock.advance(60)

        answer = await wait_request(sidecar.app, caller(AUDREY), WaitFor(id=sooner.id))

        assert answer.request.status is Status.EXPIRED
        assert (await sidecar.now(later)).status is Status.PENDING


async def test_a_store_that_is_away_does_not_end_the_timers(tmp_path: Path) -> None:
    async with governed(tmp_path, limits=Limits(timer_poll_seconds_max=0.01)) as sidecar:
        request = await sidecar.submit(risk=Risk.HIGH, expires_at=in_seconds(sidecar, 60))
        sidecar.clock.advance(60)
        look, failures = sidecar.store.due, [StoreUnavailable("gone")] * 3

        async def away(**query: object) -> object:
            if failures:
                raise failures.pop()
            return await look(**query)  # type: ignore[arg-type]  # passed on as it came

        sidecar.store.due = away  # type: ignore[assignment]  # the store fails for once
        sidecar.timers.start()

        answer = await wait_request(sidecar.app, caller(AUDREY), WaitFor(id=request.id))
        assert answer.request.status is Status.EXPIRED


async def test_nothing_is_due_before_its_time_and_never_after_the_end(sidecar: Governed) -> None:
    request = await sidecar.submit(risk=Risk.HIGH, expires_at=in_seconds(sidecar, 60))

    assert what_is_due(request, Micros(request.expires_at - 1)) is None
    assert what_is_due(request, request.expires_at) is not None
    canceled = await sidecar.cancel(OTTO, request)
    assert what_is_due(canceled, request.expires_at) is None
