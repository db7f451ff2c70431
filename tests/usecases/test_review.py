"""ReviewBreakGlass: by others, once, whatever has become of the request; and its deadline."""

from pathlib import Path
from typing import Any

import pytest

from governor.domain.break_glass import ReviewStatus
from governor.domain.errors import (
    DigestMismatch,
    EtagMismatch,
    MissingRole,
    NoReviewOpen,
    NotEligible,
    NotFound,
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
from governor.domain.values import Micros, Reason
from governor.usecases.app import Limits
from governor.usecases.commands import WaitFor, etag_of
from governor.usecases.commits import Commit
from governor.usecases.watch import wait_request
from tests.support.builders import MICROS_PER_SECOND
from tests.support.governed import Governed, caller, governed
from tests.support.invariants import check_everything
from tests.support.people import (
    ANN,
    AUDREY,
    BOB,
    CLEO,
    EVE,
    FAYE,
    FAYES_PHONE,
    OTTO,
    TENANT,
)
from tests.support.scripted_host import Kind, Loss
from tests.usecases.test_break_glass import DAY, ON_EXECUTE, broken

BRIEF = Limits(break_glass_review_seconds=5.0)


def review_of(request: MutationRequest) -> ReviewStatus:
    assert request.progress.review is not None
    return request.progress.review.status


async def test_a_review_is_recorded_with_its_reason_and_changes_no_status(
    sidecar: Governed,
) -> None:
    request = await broken(sidecar)
    await sidecar.quiet()
    found = Reason(code="REAL", category="OUTAGE", message="it was", metadata={"ticket": "T-1"})
    executed = await sidecar.now(request)

    changed = await sidecar.review(ANN, request, reason=found)

    after = await sidecar.now(request)
    assert after == changed.request
    assert after.status is Status.EXECUTED
    assert after.revision == changed.revision > executed.revision
    assert etag_of(after) != etag_of(executed)
    review = after.progress.review
    assert review is not None
    assert (review.status, review.reason) == (ReviewStatus.JUSTIFIED, found)
    assert review.reviewer is not None
    assert review.reviewer.id == ANN
    last = (await sidecar.ledger())[-1].decision
    assert (last.code.text, last.reason, last.facts["justified"]) == ("reviewed", found, "true")
    assert last.status is Status.EXECUTED
    await check_everything(sidecar)


async def ends(sidecar: Governed, how: str) -> MutationRequest:
    """An emergency that has come to stand where `how` says."""
    match how:
        case "waiting":
            after = Micros(sidecar.clock.now() + 60 * MICROS_PER_SECOND)
            return await broken(sidecar, execute_after=after)
        case "in audit":
            sidecar.host.script.extend([Loss.ORDER] * 1000)
            request = await broken(sidecar)
            await sidecar.pass_time(600)
            assert (await sidecar.now(request)).waits_for(PendingReason.AUDIT)
        case "executing":
            sidecar.host.orders.shut()
            request = await broken(sidecar)
            await sidecar.quiet()
        case _:
            request = await broken(sidecar, execution_mode=ON_EXECUTE)
            if how == "canceled":
                await sidecar.cancel(FAYE, request)
            elif how == "superseded":
                await sidecar.supersede(FAYE, request)
            elif how == "expired":
                await sidecar.pass_time(3_600)
    return await sidecar.now(request)


@pytest.mark.parametrize(
    "how", ["waiting", "approved", "executing", "in audit", "canceled", "superseded", "expired"]
)
@pytest.mark.parametrize("is_late", [False, True])
async def test_a_review_is_owed_and_given_wherever_the_request_stands(
    tmp_path: Path, how: str, is_late: bool
) -> None:
    limits = Limits(break_glass_review_seconds=7_200.0, request_lifetime_seconds_max=1e7)
    async with governed(tmp_path, limits=limits) as sidecar:
        request = await ends(sidecar, how)
        if is_late:
            await sidecar.pass_time(7_200)
            assert review_of(await sidecar.now(request)) is ReviewStatus.OVERDUE
        before = await sidecar.now(request)

        after = (await sidecar.review(ANN, request)).request

        assert after.status is before.status
        assert review_of(after) is ReviewStatus.JUSTIFIED
        sidecar.host.orders.open()
        await sidecar.quiet()
        await check_everything(sidecar)


@pytest.mark.parametrize("reviewer", [BOB, CLEO])
async def test_a_second_review_is_refused(sidecar: Governed, reviewer: str) -> None:
    request = await broken(sidecar)
    await sidecar.review(ANN, request, justified=False)

    await sidecar.changes_nothing(sidecar.review(reviewer, request), NoReviewOpen)
    assert review_of(await sidecar.now(request)) is ReviewStatus.UNJUSTIFIED


async def test_of_two_reviews_at_once_one_counts(sidecar: Governed) -> None:
    request = await broken(sidecar)
    await sidecar.quiet()

    async def bob_is_faster(_: Commit) -> None:
        await sidecar.review(BOB, request, justified=False)

    sidecar.store.interruptions.append(bob_is_faster)
    with pytest.raises(NoReviewOpen):
        await sidecar.review(ANN, request)

    assert review_of(await sidecar.now(request)) is ReviewStatus.UNJUSTIFIED
    await check_everything(sidecar)


async def test_what_owes_no_review_gets_none(sidecar: Governed) -> None:
    request = await sidecar.submit(risk=Risk.MEDIUM)

    await sidecar.changes_nothing(sidecar.review(ANN, request), NoReviewOpen)


@pytest.mark.parametrize(
    ("reviewer", "refusal"),
    [(FAYE, MissingRole), (OTTO, MissingRole), (AUDREY, NotEligible), (EVE, NotFound)],
)
async def test_only_whom_the_skipped_plan_asks_reviews(
    sidecar: Governed, reviewer: str, refusal: type[Exception]
) -> None:
    request = await broken(sidecar)
    await sidecar.quiet()

    await sidecar.changes_nothing(sidecar.review(reviewer, request), refusal)


@pytest.mark.parametrize("name", [FAYE, FAYES_PHONE])
async def test_nobody_reviews_their_own_emergency_under_any_name(
    sidecar: Governed, name: str
) -> None:
    request = await broken(sidecar, FAYES_PHONE)
    await sidecar.quiet()
    sidecar.directory.put(name, TENANT, ("approver", "auditor"), ("reviewers",), person=FAYE)

    await sidecar.changes_nothing(sidecar.review(name, request), NotEligible)


async def test_who_reviews_is_asked_of_the_directory_now(sidecar: Governed) -> None:
    request = await broken(sidecar)
    await sidecar.quiet()
    sidecar.directory.put(ANN, TENANT, ("approver",))
    sidecar.directory.put(AUDREY, TENANT, ("auditor",), ("reviewers",))

    await sidecar.changes_nothing(sidecar.review(ANN, request), NotEligible)
    assert (await sidecar.review(AUDREY, request)).request.progress.review is not None


async def test_a_review_is_of_what_was_seen(sidecar: Governed) -> None:
    request = await broken(sidecar)
    await sidecar.quiet()

    await sidecar.changes_nothing(sidecar.review(ANN, request, digest=b"\x00" * 32), DigestMismatch)
    await sidecar.changes_nothing(sidecar.review(ANN, request, etag="r1-1"), EtagMismatch)


@pytest.mark.parametrize(
    "other", [{"justified": False}, {"reason": Reason(code="ANOTHER")}, {"etag": "r1-1"}]
)
async def test_the_same_review_again_has_the_same_answer(
    sidecar: Governed, other: dict[str, Any]
) -> None:
    request = await broken(sidecar)
    await sidecar.quiet()
    first = await sidecar.review(ANN, request, key="once")

    assert await sidecar.review(ANN, request, key="once") == first
    again = sidecar.review(ANN, request, key="once", **other)
    await sidecar.changes_nothing(again, RequestIdReused)


async def test_whoever_waits_for_the_request_hears_of_its_review(sidecar: Governed) -> None:
    request = await broken(sidecar)
    await sidecar.quiet()
    executed = await sidecar.now(request)
    await sidecar.review(ANN, request)

    waited = await wait_request(
        sidecar.app, caller(FAYE), WaitFor(id=request.id, after_revision=executed.revision)
    )

    assert not waited.timed_out
    assert review_of(waited.request) is ReviewStatus.JUSTIFIED


# --- Its deadline -------------------------------------------------------------------------------


async def test_a_review_becomes_overdue_at_its_time_and_not_before(sidecar: Governed) -> None:
    request = await broken(sidecar)
    await sidecar.pass_time(3 * DAY - 0.000_001)
    assert review_of(await sidecar.now(request)) is ReviewStatus.OPEN

    await sidecar.pass_time(0.000_001)
    late = await sidecar.now(request)
    assert review_of(late) is ReviewStatus.OVERDUE
    assert late.status is Status.EXECUTED
    assert (await sidecar.history(request))[-1] == "BREAK_GLASS review_overdue"
    await sidecar.pass_time(1e9)
    assert await sidecar.now(request) == late
    await check_everything(sidecar)


async def test_a_review_in_time_is_never_overdue(sidecar: Governed) -> None:
    request = await broken(sidecar)
    await sidecar.quiet()
    reviewed = (await sidecar.review(ANN, request)).request

    await sidecar.pass_time(10 * DAY)
    assert await sidecar.now(request) == reviewed


async def test_what_came_due_while_nobody_looked_happens_once_and_in_order(
    tmp_path: Path,
) -> None:
    limits = Limits(break_glass_lifetime_seconds=60.0, break_glass_review_seconds=30.0)
    async with governed(tmp_path, limits=limits) as sidecar:
        early = await broken(sidecar, execution_mode=ON_EXECUTE)
        await sidecar.crash()
        sidecar.clock.advance(3_600)
        await sidecar.open()
        await sidecar.start()
        await sidecar.pass_time(0)

        assert (await sidecar.history(early))[-2:] == [
            "BREAK_GLASS review_overdue",
            "LIFECYCLE expired",
        ]
        await check_everything(sidecar)


async def test_a_death_at_the_deadline_loses_no_review_and_decides_none_twice(
    sidecar: Governed,
) -> None:
    request = await broken(sidecar)
    for failpoint in ("timer.before_fire", "store.batch.before_commit", "timer.after_fire"):
        sidecar.die_at(failpoint)
        await sidecar.pass_time(3 * DAY)
        assert sidecar.is_dead.is_set()
        await sidecar.restart()
        sidecar.forget_ends()

    await sidecar.pass_time(0)
    overdue = [one for one in await sidecar.history(request) if one.endswith("review_overdue")]
    assert len(overdue) == 1
    await check_everything(sidecar)


# --- Beside an execution ------------------------------------------------------------------------


@pytest.mark.parametrize("who", ["a reviewer", "the timer", "both"])
async def test_a_review_does_not_disturb_the_execution_beside_it(tmp_path: Path, who: str) -> None:
    async with governed(tmp_path, limits=BRIEF) as sidecar:
        sidecar.host.orders.shut()
        request = await broken(sidecar)
        await sidecar.quiet()
        if who != "a reviewer":
            await sidecar.pass_time(5)
            assert review_of(await sidecar.now(request)) is ReviewStatus.OVERDUE
        if who != "the timer":
            await sidecar.review(ANN, request)
        assert (await sidecar.now(request)).status is Status.EXECUTING

        sidecar.host.orders.open()
        await sidecar.quiet()

        executed = await sidecar.now(request)
        assert executed.status is Status.EXECUTED
        assert (review_of(executed) is ReviewStatus.JUSTIFIED) is (who != "the timer")
        execution = await sidecar.execution_of(request)
        assert (execution.fencing_token, execution.status) == (1, ExecutionStatus.APPLIED)
        assert len(sidecar.host.sent(Kind.APPLY)) == 1
        assert "EXECUTION lease_lost" not in await sidecar.history(request)
        await check_everything(sidecar)


async def test_a_review_at_the_moment_of_the_outcome_is_kept_with_it(sidecar: Governed) -> None:
    sidecar.host.orders.shut()
    request = await broken(sidecar)
    await sidecar.quiet()
    executing = await sidecar.now(request)

    async def ann_is_faster(_: Commit) -> None:
        await sidecar.review(ANN, executing)

    sidecar.store.interruptions.append(ann_is_faster)
    sidecar.host.orders.open()
    await sidecar.quiet()

    executed = await sidecar.now(request)
    assert executed.status is Status.EXECUTED
    assert review_of(executed) is ReviewStatus.JUSTIFIED
    assert len(sidecar.host.effects) == 1
    assert (await sidecar.execution_of(request)).fencing_token == 1
    await check_everything(sidecar)


async def test_a_review_while_the_claim_is_under_way_costs_no_claim(sidecar: Governed) -> None:
    request = await broken(sidecar, execution_mode=ON_EXECUTE)

    async def ann_is_faster(_: Commit) -> None:
        await sidecar.review(ANN, request)

    sidecar.store.interruptions.append(ann_is_faster)
    claimed = await sidecar.execute(FAYE, request)

    assert claimed.request.status is Status.EXECUTING
    await sidecar.quiet()
    executed = await sidecar.now(request)
    assert (executed.status, review_of(executed)) == (Status.EXECUTED, ReviewStatus.JUSTIFIED)


async def test_a_review_of_what_is_being_canceled_is_kept(sidecar: Governed) -> None:
    sidecar.host.script.append(Loss.ORDER)
    request = await broken(sidecar)
    await sidecar.quiet()
    executing = await sidecar.now(request)
    assert executing.status is Status.EXECUTING

    async def ann_is_faster(_: Commit) -> None:
        await sidecar.review(ANN, executing)

    sidecar.store.interruptions.append(ann_is_faster)
    canceled = await sidecar.cancel(FAYE, request)

    assert canceled.status is Status.CANCELED
    await sidecar.pass_time(60)
    after = await sidecar.now(request)
    assert (after.status, review_of(after)) == (Status.CANCELED, ReviewStatus.JUSTIFIED)
    assert sidecar.host.effects == []
    await check_everything(sidecar)


@pytest.mark.parametrize("mode", list(ExecutionMode))
async def test_a_death_after_a_review_beside_an_execution_loses_neither(
    sidecar: Governed, mode: ExecutionMode
) -> None:
    sidecar.host.orders.shut()
    request = await broken(sidecar, execution_mode=mode)
    if mode is ON_EXECUTE:
        await sidecar.execute(FAYE, request)
    await sidecar.quiet()
    await sidecar.review(ANN, await sidecar.now(request))

    await sidecar.crash()
    sidecar.host.orders.open()
    await sidecar.open()
    await sidecar.start()
    await sidecar.pass_time(60)

    executed = await sidecar.now(request)
    assert (executed.status, review_of(executed)) == (Status.EXECUTED, ReviewStatus.JUSTIFIED)
    assert len(sidecar.host.effects) == 1
    await check_everything(sidecar)
