"""RevokeVote: one's own vote is taken back, until the request is claimed."""

import pytest

from governor.domain.approval import Requirement, Step, Target, VoteKind
from governor.domain.errors import (
    EtagMismatch,
    IllegalTransition,
    MissingRole,
    NotEligible,
    NotFound,
    NoVote,
    RequestIdReused,
)
from governor.domain.policy import Effect, Rule
from governor.domain.request import ExecutionMode, PendingReason, Risk, Status
from governor.domain.values import Micros, Reason, TargetKind
from governor.usecases.access import APPROVER
from governor.usecases.commands import etag_of
from tests.support.governed import Governed
from tests.support.people import ANN, BOB, CLEO, EVE, OTTO, RITA, TENANT, reviewed
from tests.support.scripted_host import Loss

BY_HAND = ExecutionMode.ON_EXECUTE


def lead(name: str) -> Step:
    target = Target(kind=TargetKind.ACTOR, name=name)
    return Step(name="lead", requirements=(Requirement(id="lead", targets=(target,)),))


async def test_a_vote_that_was_taken_back_counts_no_more_and_stays_as_history(
    sidecar: Governed,
) -> None:
    request = await sidecar.submit(risk=Risk.HIGH)
    await sidecar.approve(ANN, request)

    after = await sidecar.revoke(ANN, request)

    approval = after.progress.approval
    assert approval is not None
    assert approval.current_votes() == ()
    assert [vote.revoked_at for vote in approval.votes] == [sidecar.clock.now()]
    assert (await sidecar.history(request))[-1] == "APPROVAL revoked"
    assert (await sidecar.approve(BOB, request)).status is Status.PENDING
    assert (await sidecar.approve(ANN, request)).status is Status.APPROVED


async def test_a_rejection_too_is_taken_back(sidecar: Governed) -> None:
    three = Requirement(id="r", targets=(Target(kind=TargetKind.GROUP, name="reviewers"),))
    step = Step(name="review", requirements=(three.but(rejections=2),))
    sidecar.policy.rules = (Rule(id="rule", effect=Effect.DEFER, steps=(step,)),)
    request = await sidecar.submit()
    await sidecar.reject(ANN, request)
    await sidecar.revoke(ANN, request)

    assert (await sidecar.reject(BOB, request)).status is Status.PENDING
    assert (await sidecar.approve(ANN, request)).status is Status.APPROVED


async def test_an_approved_request_that_loses_its_quorum_waits_for_approval_again(
    sidecar: Governed,
) -> None:
    request = await sidecar.submit(risk=Risk.HIGH, execution_mode=BY_HAND)
    await sidecar.approve(ANN, request)
    await sidecar.approve(BOB, request)
    sidecar.clock.advance(5)

    after = await sidecar.revoke(BOB, request)

    assert after.status is Status.PENDING
    assert [(one.reason, one.since) for one in after.progress.pending] == [
        (PendingReason.APPROVAL, sidecar.clock.now())
    ]
    assert (await sidecar.history(request))[-3:] == [
        "APPROVAL revoked",
        "LIFECYCLE pending",
        "APPROVAL requested",
    ]
    await sidecar.changes_nothing(sidecar.execute(OTTO, request), IllegalTransition)
    assert (await sidecar.approve(CLEO, request)).status is Status.APPROVED


async def test_what_loses_its_approval_leaves_the_line_and_comes_back_into_it(
    sidecar: Governed,
) -> None:
    """The state is held by an execution in doubt; two wait behind it, and one loses its quorum."""
    sidecar.host.script.extend([Loss.ORDER] * 1000)
    holder = await sidecar.submit()
    await sidecar.pass_time(600)
    assert (await sidecar.now(holder)).waits_for(PendingReason.AUDIT)
    sidecar.host.script.clear()
    first = await sidecar.submit(risk=Risk.MEDIUM)
    await sidecar.approve(ANN, first)
    second = await sidecar.submit(risk=Risk.MEDIUM)
    await sidecar.approve(ANN, second)
    await sidecar.quiet()

    assert (await sidecar.revoke(ANN, first)).status is Status.PENDING
    await sidecar.resolve(OTTO, await sidecar.execution_of(holder), None)
    await sidecar.quiet()
    assert (await sidecar.now(second)).status is Status.EXECUTED
    assert (await sidecar.now(first)).status is Status.PENDING

    await sidecar.approve(BOB, first)
    await sidecar.quiet()
    assert (await sidecar.now(first)).status is Status.EXECUTED


async def test_other_reasons_go_on_holding_what_has_lost_its_approval(sidecar: Governed) -> None:
    later = Micros(sidecar.clock.now() + 60_000_000)
    request = await sidecar.submit(risk=Risk.MEDIUM, execute_after=later)
    approved = await sidecar.approve(ANN, request)
    assert [one.reason for one in approved.progress.pending] == [PendingReason.SCHEDULE]

    after = await sidecar.revoke(ANN, request)
    assert {one.reason for one in after.progress.pending} == {
        PendingReason.APPROVAL,
        PendingReason.SCHEDULE,
    }
    await sidecar.pass_time(60)
    assert [one.reason for one in (await sidecar.now(request)).progress.pending] == [
        PendingReason.APPROVAL
    ]


async def test_the_votes_of_later_steps_stay_and_count_when_their_step_opens_again(
    sidecar: Governed,
) -> None:
    sidecar.policy.rules = (Rule(id="steps", effect=Effect.DEFER, steps=(reviewed(1), lead(CLEO))),)
    request = await sidecar.submit(execution_mode=BY_HAND)
    await sidecar.approve(ANN, request)
    await sidecar.approve(CLEO, request)

    after = await sidecar.revoke(ANN, request)
    assert after.progress.approval is not None
    assert (after.status, after.progress.approval.open_step) == (Status.PENDING, 0)

    assert (await sidecar.approve(BOB, request)).status is Status.APPROVED
    assert (await sidecar.history(request))[-4:] == [
        "APPROVAL granted",
        "APPROVAL quorum_satisfied",
        "APPROVAL quorum_satisfied",
        "LIFECYCLE approved",
    ]


async def test_an_approval_that_is_lost_starts_its_time_to_execute_anew(sidecar: Governed) -> None:
    request = await sidecar.submit(risk=Risk.MEDIUM, execution_mode=BY_HAND)
    await sidecar.approve(ANN, request)

    after = await sidecar.revoke(ANN, request)
    assert after.progress.execute_before is None


async def test_a_person_takes_back_what_they_said_under_another_name(sidecar: Governed) -> None:
    sidecar.directory.put("ann-laptop", TENANT, [APPROVER], [], person=ANN)
    request = await sidecar.submit(risk=Risk.HIGH)
    await sidecar.approve(ANN, request)

    await sidecar.revoke("ann-laptop", request)
    await sidecar.changes_nothing(sidecar.revoke(ANN, request), NoVote)


async def test_nobody_takes_back_what_is_not_theirs(sidecar: Governed) -> None:
    request = await sidecar.submit(risk=Risk.HIGH)
    await sidecar.approve(ANN, request)

    await sidecar.changes_nothing(sidecar.revoke(BOB, request), NoVote)
    await sidecar.changes_nothing(sidecar.revoke(OTTO, request), MissingRole)
    await sidecar.changes_nothing(sidecar.revoke(EVE, request), NotFound)


async def test_from_the_claim_on_no_vote_is_taken_back(sidecar: Governed) -> None:
    sidecar.host.answers.shut()
    request = await sidecar.submit(risk=Risk.MEDIUM)
    await sidecar.approve(ANN, request)
    await sidecar.quiet()
    assert (await sidecar.now(request)).status is Status.EXECUTING

    await sidecar.changes_nothing(sidecar.revoke(ANN, request), IllegalTransition)
    sidecar.host.answers.open()
    await sidecar.quiet()
    await sidecar.changes_nothing(sidecar.revoke(ANN, request), IllegalTransition)


async def test_the_same_revocation_again_gives_the_first_answer(sidecar: Governed) -> None:
    request = await sidecar.submit(risk=Risk.HIGH)
    await sidecar.approve(ANN, request)
    first = await sidecar.revoke(ANN, request, key="once")

    await sidecar.restart()
    assert await sidecar.revoke(ANN, request, key="once") == first
    other = sidecar.revoke(ANN, request, key="once", reason=Reason(code="OTHER"))
    await sidecar.changes_nothing(other, RequestIdReused)


async def test_a_stale_etag_is_refused(sidecar: Governed) -> None:
    request = await sidecar.submit(risk=Risk.HIGH)
    await sidecar.approve(ANN, request)

    stale = sidecar.revoke(ANN, request, etag=etag_of(request))
    await sidecar.changes_nothing(stale, EtagMismatch)


@pytest.mark.parametrize("kind", [VoteKind.APPROVE, VoteKind.REJECT])
async def test_who_counts_in_an_earlier_step_speaks_again_only_after_taking_that_back(
    sidecar: Governed, kind: VoteKind
) -> None:
    sidecar.policy.rules = (Rule(id="s", effect=Effect.DEFER, steps=(reviewed(1), reviewed(1))),)
    request = await sidecar.submit(RITA)
    await sidecar.approve(ANN, request)

    await sidecar.changes_nothing(sidecar.vote(ANN, request, kind), NotEligible)
    await sidecar.revoke(ANN, request)
    await sidecar.approve(BOB, request)
    assert (await sidecar.vote(ANN, request, kind)).request.status in (
        Status.APPROVED,
        Status.REJECTED,
    )
