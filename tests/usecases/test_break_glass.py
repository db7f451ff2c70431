"""Break-glass: what an emergency skips and what it does not, and whom an overdue review blocks."""

from pathlib import Path
from typing import Any

import pytest

from governor.domain.break_glass import ReviewStatus
from governor.domain.errors import (
    InvalidField,
    MissingRole,
    RequestIdReused,
    ReviewOverdue,
    UnsatisfiableApproval,
)
from governor.domain.request import (
    ExecutionMode,
    MutationRequest,
    PendingReason,
    Risk,
    StaleStrategy,
    Status,
)
from governor.domain.values import Micros
from governor.usecases.app import Limits
from tests.support.builders import MICROS_PER_SECOND
from tests.support.governed import Governed, governed
from tests.support.invariants import check_everything
from tests.support.people import (
    ANN,
    BOB,
    CLEO,
    EVE,
    FAYE,
    FAYES_PHONE,
    OTHER_TENANT,
    REVIEWERS,
    RITA,
    ROBOT,
    SAM,
    TENANT,
)
from tests.support.scripted_host import EXACTLY_ONCE, ScriptedHost

WHY = "checkout is down"
DAY = 86_400.0
ON_EXECUTE = ExecutionMode.ON_EXECUTE


async def broken(sidecar: Governed, actor: str = FAYE, **fields: Any) -> MutationRequest:
    """A high-risk change for which the glass is broken."""
    return await sidecar.submit(actor, **{"risk": Risk.HIGH, "break_glass": WHY} | fields)


def in_seconds(sidecar: Governed, seconds: float) -> Micros:
    return Micros(sidecar.clock.now() + round(seconds * MICROS_PER_SECOND))


# --- What it skips, and what it does not --------------------------------------------------------


async def test_an_emergency_is_executed_at_once_and_owes_a_review(sidecar: Governed) -> None:
    request = await broken(sidecar)
    await sidecar.quiet()

    executed = await sidecar.now(request)
    assert executed.status is Status.EXECUTED
    review = executed.progress.review
    assert review is not None
    assert (review.status, review.reviewers) == (ReviewStatus.OPEN, (REVIEWERS,))
    assert review.due_at == in_seconds(sidecar, 3 * DAY)
    assert (await sidecar.history(request))[:4] == [
        "LIFECYCLE submitted",
        "POLICY deferred",
        "BREAK_GLASS used",
        "LIFECYCLE approved",
    ]
    await check_everything(sidecar)


@pytest.mark.parametrize("actor", [RITA, SAM])
async def test_nobody_breaks_the_glass_without_the_role_for_it(
    sidecar: Governed, actor: str
) -> None:
    await sidecar.changes_nothing(broken(sidecar, actor), MissingRole)


async def test_the_role_in_another_tenant_breaks_no_glass_here(sidecar: Governed) -> None:
    sidecar.directory.put(RITA, OTHER_TENANT, ("submitter", "break_glass"))

    await sidecar.changes_nothing(broken(sidecar, RITA), MissingRole)


async def test_the_role_alone_submits_nothing(sidecar: Governed) -> None:
    sidecar.directory.put(FAYE, TENANT, ("break_glass",))

    await sidecar.changes_nothing(broken(sidecar), MissingRole)


async def test_what_policy_denies_stays_denied_and_owes_nothing(sidecar: Governed) -> None:
    request = await broken(sidecar, risk=Risk.CRITICAL)

    assert request.status is Status.REJECTED
    assert request.progress.review is None
    assert sidecar.host.effects == []


async def test_where_policy_asks_nobody_no_glass_is_broken(sidecar: Governed) -> None:
    """It lives briefly all the same: how long it may live is no matter of what policy says."""
    request = await broken(sidecar, risk=Risk.LOW)
    await sidecar.quiet()

    assert (await sidecar.now(request)).status is Status.EXECUTED
    assert request.progress.review is None
    assert "BREAK_GLASS used" not in await sidecar.history(request)
    assert request.expires_at == in_seconds(sidecar, 3_600)


async def test_a_schedule_is_waited_for_in_an_emergency_too(sidecar: Governed) -> None:
    request = await broken(sidecar, execute_after=in_seconds(sidecar, 60))
    assert [one.reason for one in request.progress.pending] == [PendingReason.SCHEDULE]

    await sidecar.pass_time(59)
    assert sidecar.host.effects == []
    await sidecar.pass_time(1)
    assert (await sidecar.now(request)).status is Status.EXECUTED
    await check_everything(sidecar)


async def test_a_dependency_is_waited_for_in_an_emergency_too(sidecar: Governed) -> None:
    first = await sidecar.submit(risk=Risk.MEDIUM, flag="first")
    request = await broken(sidecar, depends_on=(first.id,))
    assert [one.reason for one in request.progress.pending] == [PendingReason.DEPENDENCY]

    await sidecar.approve(ANN, first)
    await sidecar.quiet()
    assert (await sidecar.now(request)).status is Status.EXECUTED


async def test_an_emergency_that_nobody_else_could_review_is_none(sidecar: Governed) -> None:
    """Its reviewers are the people of a plan that could be met, and never the requester alone."""
    for reviewer in (ANN, BOB, CLEO, ROBOT):
        sidecar.directory.put(reviewer, TENANT, ("approver",))
    sidecar.directory.put(FAYE, TENANT, ("submitter", "break_glass", "approver"), ("reviewers",))

    call = broken(sidecar, risk=Risk.MEDIUM)
    await sidecar.changes_nothing(call, UnsatisfiableApproval)


async def test_a_preview_of_an_emergency_shows_it_and_writes_nothing(sidecar: Governed) -> None:
    before = sidecar.store.head
    answer = await sidecar.submitted(FAYE, risk=Risk.HIGH, break_glass=WHY, validate_only=True)

    assert sidecar.store.head == before
    assert answer.request.status is Status.APPROVED
    assert answer.request.progress.review is not None
    assert answer.preview is not None
    preview = sidecar.submitted(RITA, risk=Risk.HIGH, break_glass=WHY, validate_only=True)
    await sidecar.changes_nothing(preview, MissingRole)


# --- How long it lives --------------------------------------------------------------------------


async def test_an_emergency_lives_briefly(sidecar: Governed) -> None:
    request = await broken(sidecar, execution_mode=ON_EXECUTE)
    assert request.expires_at == in_seconds(sidecar, 3_600)

    await sidecar.pass_time(3_600)
    expired = await sidecar.now(request)
    assert expired.status is Status.EXPIRED
    assert expired.progress.review is not None
    assert expired.progress.review.status is ReviewStatus.OPEN, "its time has not come"


async def test_it_may_be_given_less_time_and_no_more(sidecar: Governed) -> None:
    request = await broken(
        sidecar, execution_mode=ON_EXECUTE, expires_at=in_seconds(sidecar, 60), flag="less"
    )
    assert request.expires_at == in_seconds(sidecar, 60)

    too_lates: tuple[dict[str, Any], ...] = (
        {"expires_at": in_seconds(sidecar, 3_601)},
        {"execute_after": in_seconds(sidecar, 3_600)},
    )
    for too_late in too_lates:
        refused = await sidecar.changes_nothing(broken(sidecar, **too_late), InvalidField)
        assert "3600 seconds" in str(refused)


async def test_how_long_it_lives_and_when_it_is_reviewed_are_settings(tmp_path: Path) -> None:
    limits = Limits(break_glass_lifetime_seconds=10, break_glass_review_seconds=20)
    async with governed(tmp_path, limits=limits) as sidecar:
        request = await broken(sidecar, execution_mode=ON_EXECUTE)

        assert request.expires_at == in_seconds(sidecar, 10)
        assert request.progress.review is not None
        assert request.progress.review.due_at == in_seconds(sidecar, 20)


# --- The same call again ------------------------------------------------------------------------


async def test_the_same_emergency_again_has_the_same_answer(sidecar: Governed) -> None:
    """Also when the next one would be refused by then."""
    first = await broken(sidecar, key="once")
    assert await broken(sidecar, key="once") == first

    await sidecar.pass_time(3 * DAY)
    assert await broken(sidecar, key="once") == first


@pytest.mark.parametrize("other", [{"break_glass": "another reason"}, {"break_glass": None}])
async def test_another_reason_under_the_same_key_is_refused(
    sidecar: Governed, other: dict[str, Any]
) -> None:
    await broken(sidecar, key="once")
    await sidecar.quiet()

    await sidecar.changes_nothing(broken(sidecar, key="once", **other), RequestIdReused)


# --- Who owes a review --------------------------------------------------------------------------


async def test_an_open_review_blocks_nobody_and_an_overdue_one_does(sidecar: Governed) -> None:
    first = await broken(sidecar)
    second = await broken(sidecar, flag="second")
    await sidecar.pass_time(3 * DAY)

    refused = await sidecar.changes_nothing(broken(sidecar, flag="third"), ReviewOverdue)
    assert refused.facts["id"] in (first.id, second.id)  # type: ignore[attr-defined]
    assert refused.facts["due"].endswith("Z")  # type: ignore[attr-defined]
    plain = await sidecar.submit(FAYE, flag="third")
    assert plain.status is not Status.REJECTED, "who is blocked submits as ever"


async def test_a_review_is_overdue_by_the_clock_before_the_timer_has_said_so(
    sidecar: Governed,
) -> None:
    request = await broken(sidecar)
    await sidecar.quiet()
    sidecar.clock.advance(3 * DAY - 0.000_001)
    await broken(sidecar, flag="in time", execution_mode=ON_EXECUTE)
    sidecar.clock.advance(0.000_001)

    assert (await sidecar.now(request)).progress.review.status is ReviewStatus.OPEN  # type: ignore[union-attr]
    await sidecar.changes_nothing(broken(sidecar, flag="late"), ReviewOverdue)


async def test_the_block_is_the_persons_under_every_name_and_nobody_elses(
    sidecar: Governed,
) -> None:
    sidecar.directory.put(SAM, TENANT, ("submitter", "break_glass"))
    await broken(sidecar, FAYES_PHONE)
    await sidecar.pass_time(3 * DAY)

    for name in (FAYE, FAYES_PHONE):
        await sidecar.changes_nothing(broken(sidecar, name, flag="next"), ReviewOverdue)
    assert (await broken(sidecar, SAM, flag="next")).progress.review is not None


@pytest.mark.parametrize("justified", [True, False])
async def test_any_review_lifts_the_block(sidecar: Governed, justified: bool) -> None:
    """What follows from an emergency that was none is for people to say: they give the role."""
    request = await broken(sidecar)
    await sidecar.pass_time(3 * DAY)
    await sidecar.review(ANN, request, justified=justified)

    assert (await broken(sidecar, flag="next")).progress.review is not None


async def test_all_overdue_reviews_must_be_given(sidecar: Governed) -> None:
    first, second = await broken(sidecar), await broken(sidecar, flag="second")
    await sidecar.pass_time(3 * DAY)
    await sidecar.review(ANN, first)

    refused = await sidecar.changes_nothing(broken(sidecar, flag="third"), ReviewOverdue)
    assert refused.facts["id"] == second.id  # type: ignore[attr-defined]


async def test_an_emergency_of_another_tenant_blocks_nothing_here(sidecar: Governed) -> None:
    sidecar.directory.put(FAYE, OTHER_TENANT, ("submitter", "break_glass"))
    sidecar.directory.put("zoe", OTHER_TENANT, ("approver",), ("reviewers",))
    sidecar.directory.put(EVE, OTHER_TENANT, ("approver",), ("reviewers",))
    await broken(sidecar, tenant=OTHER_TENANT)
    await sidecar.pass_time(3 * DAY)

    assert (await broken(sidecar)).progress.review is not None


# --- At the claim, and after it -----------------------------------------------------------------


@pytest.mark.parametrize("promises", [None, EXACTLY_ONCE], ids=["comparing", "asked first"])
async def test_who_has_lost_the_role_by_the_claim_has_broken_nothing(
    tmp_path: Path, promises: Any
) -> None:
    """The plan is asked after all, and the ordinary approval leads on."""
    host = ScriptedHost(promises=promises) if promises else ScriptedHost()
    async with governed(tmp_path, host=host) as sidecar:
        request = await broken(sidecar, execution_mode=ON_EXECUTE)
        sidecar.directory.put(FAYE, TENANT, ("submitter",))

        waiting = (await sidecar.execute(FAYE, request)).request

        assert waiting.status is Status.PENDING
        assert waiting.waits_for(PendingReason.APPROVAL)
        assert (await sidecar.history(request))[-3:] == [
            "APPROVAL voided",
            "LIFECYCLE pending",
            "APPROVAL requested",
        ]
        assert sidecar.host.effects == []
        await check_everything(sidecar)

        for voter in (ANN, BOB):
            waiting = await sidecar.approve(voter, waiting)
        await sidecar.execute(FAYE, waiting)
        await sidecar.quiet()
        executed = await sidecar.now(request)
        assert executed.status is Status.EXECUTED
        assert executed.progress.review is not None
        assert executed.progress.review.is_open, "it was declared, and stays to be reviewed"
        await check_everything(sidecar)


@pytest.mark.parametrize("how", ["gone", "without the role", "somebody else by now"])
async def test_what_starts_by_itself_looks_at_the_role_too(sidecar: Governed, how: str) -> None:
    request = await broken(sidecar, execute_after=in_seconds(sidecar, 60))
    match how:
        case "gone":
            del sidecar.directory.people[FAYE, TENANT]
        case "without the role":
            sidecar.directory.put(FAYE, TENANT, ("submitter",))
        case _:
            sidecar.directory.put(FAYE, TENANT, ("submitter", "break_glass"), person=SAM)

    await sidecar.pass_time(60)

    waiting = await sidecar.now(request)
    assert waiting.waits_for(PendingReason.APPROVAL)
    assert sidecar.host.effects == []
    await check_everything(sidecar)


async def test_an_ordinary_approval_asks_nobody_for_the_role(sidecar: Governed) -> None:
    request = await sidecar.submit(FAYE, risk=Risk.MEDIUM, execution_mode=ON_EXECUTE)
    await sidecar.approve(ANN, request)
    sidecar.directory.put(FAYE, TENANT, ("submitter",))

    assert (await sidecar.execute(FAYE, request)).request.status is Status.EXECUTING


async def test_a_renewed_round_is_an_ordinary_one(sidecar: Governed) -> None:
    """The glass was broken for what was seen then; what the state has become is for approvers."""
    request = await broken(
        sidecar,
        expected_version="9",
        stale_strategy=StaleStrategy.REQUIRE_RENEWED_APPROVAL,
    )
    await sidecar.quiet()
    renewed = await sidecar.now(request)
    assert renewed.waits_for(PendingReason.APPROVAL)
    assert renewed.progress.approval is not None
    assert renewed.progress.approval.break_glass is None

    for voter in (ANN, BOB):
        renewed = await sidecar.approve(voter, renewed)
    await sidecar.quiet()
    executed = await sidecar.now(request)
    assert executed.status is Status.EXECUTED
    assert executed.progress.review is not None
    assert executed.progress.review.is_open
    await check_everything(sidecar)


async def test_a_revalidation_holds_the_glass_while_the_plan_is_the_same(
    sidecar: Governed,
) -> None:
    request = await broken(
        sidecar, expected_version="9", stale_strategy=StaleStrategy.REVALIDATE_ON_LATEST
    )
    await sidecar.quiet()

    assert (await sidecar.now(request)).status is Status.EXECUTED
    await check_everything(sidecar)


async def test_a_replacement_is_no_emergency_and_the_replaced_one_still_owes_its_review(
    sidecar: Governed,
) -> None:
    request = await broken(sidecar, execution_mode=ON_EXECUTE)

    changed = await sidecar.supersede(FAYE, request, risk=Risk.HIGH)

    assert changed.request.waits_for(PendingReason.APPROVAL)
    assert changed.request.progress.review is None
    reviewed = await sidecar.review(ANN, request)
    assert reviewed.request.status is Status.SUPERSEDED
    await check_everything(sidecar)
