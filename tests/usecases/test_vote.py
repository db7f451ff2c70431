"""Approve and Reject: one person's word, on exactly what they saw, counted once."""

import asyncio

import pytest

from governor.domain.approval import Requirement, Step, StepMode, Target, VoteKind
from governor.domain.decision import Code
from governor.domain.errors import (
    Conflict,
    DigestMismatch,
    EtagMismatch,
    IllegalTransition,
    MissingRole,
    NotEligible,
    NotFound,
    PlanMismatch,
    RequestIdReused,
)
from governor.domain.policy import Effect, Rule
from governor.domain.request import ExecutionMode, Risk, StaleStrategy, Status
from governor.domain.values import Reason, RequestId, TargetKind
from governor.usecases.access import APPROVER, SUBMITTER
from governor.usecases.commands import etag_of
from governor.usecases.commits import Commit
from tests.support.governed import Governed, plan_digest_of
from tests.support.people import (
    ANN,
    BOB,
    CLEO,
    EVE,
    OTTO,
    REVIEWERS,
    RITA,
    ROBOT,
    SAM,
    TENANT,
    reviewed,
)
from tests.support.scripted_host import Loss

WHY = Reason(code="TOO_RISKY", message="not on a Friday", metadata={"ticket": "7"})


async def test_the_last_approval_that_is_needed_approves_and_it_is_executed(
    sidecar: Governed,
) -> None:
    request = await sidecar.submit(risk=Risk.HIGH)

    first = await sidecar.vote(ANN, request)
    second = await sidecar.vote(BOB, request)

    assert (first.request.status, second.request.status) == (Status.PENDING, Status.APPROVED)
    await sidecar.quiet()
    assert (await sidecar.now(request)).status is Status.EXECUTED
    assert await sidecar.history(request) == [
        "LIFECYCLE submitted",
        "POLICY deferred",
        "LIFECYCLE pending",
        "APPROVAL requested",
        "APPROVAL granted",
        "APPROVAL granted",
        "APPROVAL quorum_satisfied",
        "LIFECYCLE approved",
        "VERSION_RESOLUTION unversioned",
        "EXECUTION claimed",
        "EXECUTION applied",
        "LIFECYCLE executed",
    ]


async def test_the_host_is_told_who_approved_in_the_order_of_their_votes(sidecar: Governed) -> None:
    request = await sidecar.submit(risk=Risk.HIGH)
    await sidecar.approve(BOB, request)
    await sidecar.approve(ANN, request)

    await sidecar.quiet()
    assert [effect.approvers for effect in sidecar.host.effects] == [(BOB, ANN)]


async def test_one_rejection_ends_the_request_with_the_approvers_reason(sidecar: Governed) -> None:
    request = await sidecar.submit(risk=Risk.HIGH)
    await sidecar.approve(ANN, request)

    answer = await sidecar.vote(BOB, request, VoteKind.REJECT, reason=WHY)

    assert answer.request.status is Status.REJECTED
    assert answer.request.progress.status_reason == Reason(
        code="APPROVER_REJECTED",
        message="not on a Friday",
        metadata={"approver": BOB, "code": "TOO_RISKY", "requirement": "review-2"},
    )
    assert (await sidecar.history(request))[-2:] == ["APPROVAL rejected", "LIFECYCLE rejected"]


@pytest.mark.parametrize("kind", VoteKind)
async def test_a_late_vote_cannot_revive_a_rejected_request(
    sidecar: Governed, kind: VoteKind
) -> None:
    request = await sidecar.submit(risk=Risk.HIGH)
    await sidecar.reject(ANN, request)

    await sidecar.changes_nothing(sidecar.vote(BOB, request, kind), IllegalTransition)


async def test_nobody_votes_twice_in_a_round(sidecar: Governed) -> None:
    request = await sidecar.submit(risk=Risk.HIGH)
    await sidecar.approve(ANN, request)

    await sidecar.changes_nothing(sidecar.vote(ANN, request), NotEligible)
    await sidecar.changes_nothing(sidecar.vote(ANN, request, VoteKind.REJECT), NotEligible)


async def test_the_requester_never_votes_under_no_alias(sidecar: Governed) -> None:
    sidecar.directory.put(SAM, TENANT, (SUBMITTER, APPROVER), ("reviewers",))
    ritas = await sidecar.submit(RITA, risk=Risk.MEDIUM)
    sams = await sidecar.submit(SAM, risk=Risk.MEDIUM, flag="other")

    for kind in VoteKind:
        await sidecar.changes_nothing(sidecar.vote(ROBOT, ritas, kind), NotEligible)
        await sidecar.changes_nothing(sidecar.vote(SAM, sams, kind), NotEligible)


async def test_a_machine_and_its_person_count_once(sidecar: Governed) -> None:
    request = await sidecar.submit(SAM, risk=Risk.HIGH)
    sidecar.directory.put(RITA, TENANT, (APPROVER,), ("reviewers",))
    await sidecar.approve(ROBOT, request)

    await sidecar.changes_nothing(sidecar.vote(RITA, request), NotEligible)


async def test_who_is_not_asked_may_not_vote(sidecar: Governed) -> None:
    sidecar.directory.put(CLEO, TENANT, (APPROVER,), ())
    request = await sidecar.submit(risk=Risk.HIGH)

    await sidecar.changes_nothing(sidecar.vote(CLEO, request), NotEligible)
    await sidecar.changes_nothing(sidecar.vote(OTTO, request), MissingRole)


async def test_steps_open_one_after_the_other(sidecar: Governed) -> None:
    lead = Requirement(id="lead", targets=(Target(kind=TargetKind.ACTOR, name=CLEO),))
    sidecar.policy.rules = (
        Rule(
            id="two-steps",
            effect=Effect.DEFER,
            steps=(reviewed(1), Step(name="lead", requirements=(lead,), mode=StepMode.ALL_OF)),
        ),
    )
    request = await sidecar.submit()
    await sidecar.changes_nothing(sidecar.vote(CLEO, request.but(id=RequestId("none"))), NotFound)

    await sidecar.approve(ANN, request)
    await sidecar.changes_nothing(sidecar.vote(BOB, request), NotEligible)
    assert (await sidecar.approve(CLEO, request)).status is Status.APPROVED


async def test_a_vote_on_another_content_is_refused(sidecar: Governed) -> None:
    request = await sidecar.submit(risk=Risk.HIGH)
    other = request.but(progress=request.progress.but(digest=b"\x00" * 32))

    await sidecar.changes_nothing(sidecar.vote(ANN, other), DigestMismatch)


async def test_a_vote_under_another_plan_is_refused(sidecar: Governed) -> None:
    request = await sidecar.submit(risk=Risk.HIGH)

    for seen in (b"", b"\x00" * 32):
        other = sidecar.vote(ANN, request, plan_digest=seen)
        await sidecar.changes_nothing(other, PlanMismatch)
    answer = await sidecar.vote(ANN, request)
    approval = answer.request.progress.approval
    assert approval is not None
    assert [vote.plan_digest for vote in approval.votes] == [plan_digest_of(request)]


async def test_what_a_rejecter_says_is_kept_whole_and_overwrites_no_fact_of_governors(
    sidecar: Governed,
) -> None:
    said = Reason(
        code="TOO_RISKY",
        category="RISK",
        message="not on a Friday",
        metadata={"approver": "nobody", "code": "FINE", "requirement": "none"},
    )
    request = await sidecar.submit(risk=Risk.HIGH)
    rejected = (await sidecar.vote(ANN, request, VoteKind.REJECT, reason=said)).request

    approval, reason = rejected.progress.approval, rejected.progress.status_reason
    assert approval is not None
    assert approval.votes[0].reason == said
    decisions = {entry.decision.code: entry.decision for entry in await sidecar.ledger()}
    assert decisions[Code.APPROVAL_REJECTED].reason == said
    assert reason is not None
    assert reason.metadata == {
        "approver": ANN,
        "code": "TOO_RISKY",
        "category": "RISK",
        "requirement": "review-2",
    }


async def test_a_review_is_asked_for_and_given_as_one(sidecar: Governed) -> None:
    looked_at = Requirement(id="look", targets=(REVIEWERS,), meaning=VoteKind.REVIEW)
    approved = Requirement(id="approve", targets=(REVIEWERS,))
    step = Step(name="both", requirements=(looked_at, approved))
    sidecar.policy.rules = (Rule(id="both", effect=Effect.DEFER, steps=(step,)),)
    request = await sidecar.submit()

    half = await sidecar.vote(ANN, request, VoteKind.REVIEW)
    await sidecar.changes_nothing(sidecar.vote(BOB, request, VoteKind.REVIEW), NotEligible)
    assert half.request.status is Status.PENDING
    assert (await sidecar.approve(BOB, request)).status is Status.APPROVED
    await sidecar.quiet()
    assert [effect.approvers for effect in sidecar.host.effects] == [(BOB,)]


async def test_a_requirement_says_how_many_rejections_end_it(sidecar: Governed) -> None:
    two = Requirement(id="two", targets=(REVIEWERS,), rejections=2)
    step = Step(name="review", requirements=(two,))
    sidecar.policy.rules = (Rule(id="two", effect=Effect.DEFER, steps=(step,)),)
    request = await sidecar.submit()

    once = await sidecar.reject(ANN, request)
    assert once.status is Status.PENDING
    await sidecar.changes_nothing(sidecar.vote(ANN, request), NotEligible)
    assert (await sidecar.reject(BOB, request)).status is Status.REJECTED


async def test_a_rejection_that_leaves_too_few_people_ends_the_request_and_says_so(
    sidecar: Governed,
) -> None:
    """Three reviewers for a quorum of two: the second that is lost leaves one."""
    two = Requirement(id="two", targets=(REVIEWERS,), quorum=2, rejections=3)
    step = Step(name="review", requirements=(two,))
    sidecar.policy.rules = (Rule(id="two", effect=Effect.DEFER, steps=(step,)),)
    request = await sidecar.submit()

    assert (await sidecar.reject(ANN, request)).status is Status.PENDING
    rejected = await sidecar.reject(BOB, request)
    assert rejected.status is Status.REJECTED
    assert rejected.progress.status_reason is not None
    assert rejected.progress.status_reason.metadata["out_of_reach"] == "true"


async def test_one_alternative_may_be_rejected_and_another_met(sidecar: Governed) -> None:
    ann = Requirement(id="ann", targets=(Target(kind=TargetKind.ACTOR, name=ANN),))
    bob = Requirement(id="bob", targets=(Target(kind=TargetKind.ACTOR, name=BOB),))
    step = Step(name="either", requirements=(ann, bob), mode=StepMode.ANY_OF)
    sidecar.policy.rules = (Rule(id="either", effect=Effect.DEFER, steps=(step,)),)

    first = await sidecar.submit(flag="first")
    left = await sidecar.reject(ANN, first)
    assert left.status is Status.PENDING
    assert (await sidecar.approve(BOB, first)).status is Status.APPROVED

    second = await sidecar.submit(flag="second")
    await sidecar.reject(ANN, second)
    assert (await sidecar.reject(BOB, second)).status is Status.REJECTED


async def test_a_vote_for_the_old_version_does_not_count_in_a_renewed_round(
    sidecar: Governed,
) -> None:
    """The state moved on after Ann's approval: a new round opens, on another digest. Bob still
    holds what he saw before.
    """
    request = await sidecar.submit(
        risk=Risk.MEDIUM,
        expected_version="",
        stale_strategy=StaleStrategy.REQUIRE_RENEWED_APPROVAL,
    )
    sidecar.host.touch(request.slot)
    await sidecar.approve(ANN, request)
    await sidecar.quiet()
    renewed = await sidecar.now(request)
    assert renewed.status is Status.PENDING

    await sidecar.changes_nothing(sidecar.vote(BOB, request), DigestMismatch)
    await sidecar.approve(ANN, renewed)
    await sidecar.quiet()
    assert (await sidecar.now(request)).status is Status.EXECUTED
    assert sidecar.host.effects[0].digest == renewed.progress.digest != request.progress.digest


@pytest.mark.parametrize("risk", [Risk.LOW, Risk.CRITICAL])
async def test_what_does_not_wait_for_approval_takes_no_vote(sidecar: Governed, risk: Risk) -> None:
    request = await sidecar.submit(risk=risk, execution_mode=ExecutionMode.ON_EXECUTE)

    await sidecar.changes_nothing(sidecar.vote(ANN, request), IllegalTransition)


async def test_what_is_in_doubt_takes_no_vote(sidecar: Governed) -> None:
    sidecar.host.script.extend([Loss.ORDER] * 1000)
    request = await sidecar.submit(risk=Risk.MEDIUM)
    await sidecar.approve(ANN, request)
    await sidecar.pass_time(600)

    for kind in VoteKind:
        await sidecar.changes_nothing(sidecar.vote(BOB, request, kind), IllegalTransition)


async def test_a_stale_etag_is_refused_and_a_fresh_one_taken(sidecar: Governed) -> None:
    request = await sidecar.submit(risk=Risk.HIGH)
    moved = await sidecar.approve(ANN, request)

    stale = sidecar.vote(BOB, request, etag=etag_of(request))
    await sidecar.changes_nothing(stale, EtagMismatch)
    assert (await sidecar.vote(BOB, request, etag=etag_of(moved))).request.status is Status.APPROVED


@pytest.mark.parametrize("kind", [VoteKind.APPROVE, VoteKind.REJECT])
async def test_the_same_vote_again_gives_the_first_answer(
    sidecar: Governed, kind: VoteKind
) -> None:
    request = await sidecar.submit(risk=Risk.HIGH)
    etag = etag_of(request)
    first = await sidecar.vote(ANN, request, kind, key="once", etag=etag, reason=WHY)
    await sidecar.quiet()
    before = sidecar.store.head

    assert await sidecar.vote(ANN, request, kind, key="once", etag=etag, reason=WHY) == first
    await sidecar.restart()
    assert await sidecar.vote(ANN, request, kind, key="once", etag=etag, reason=WHY) == first
    assert sidecar.store.head == before
    other = sidecar.vote(ANN, request, kind, key="once", etag=etag)
    await sidecar.changes_nothing(other, RequestIdReused)


async def test_the_last_two_votes_at_the_same_time_both_count(sidecar: Governed) -> None:
    """Both saw the request without the other's vote; the loser of the commit votes again on what
    it has become, and exactly one of them approves it.
    """
    request = await sidecar.submit(risk=Risk.HIGH)

    answers = await asyncio.gather(sidecar.vote(ANN, request), sidecar.vote(BOB, request))

    assert {answer.request.status for answer in answers} == {Status.PENDING, Status.APPROVED}
    await sidecar.quiet()
    assert len(sidecar.host.effects) == 1
    assert (await sidecar.history(request)).count("APPROVAL quorum_satisfied") == 1


async def test_an_approval_and_a_rejection_at_the_same_time_end_in_one_of_them(
    sidecar: Governed,
) -> None:
    request = await sidecar.submit(risk=Risk.MEDIUM)

    answers = await asyncio.gather(
        sidecar.vote(ANN, request),
        sidecar.vote(BOB, request, VoteKind.REJECT),
        return_exceptions=True,
    )

    await sidecar.quiet()
    ended = (await sidecar.now(request)).status
    assert ended in (Status.EXECUTED, Status.REJECTED)
    assert len(sidecar.host.effects) == (ended is Status.EXECUTED)
    refusals = [answer for answer in answers if isinstance(answer, BaseException)]
    assert [type(refusal) for refusal in refusals] == [IllegalTransition]


async def test_a_vote_whose_request_changes_before_its_commit_is_judged_anew(
    sidecar: Governed,
) -> None:
    request = await sidecar.submit(risk=Risk.MEDIUM)

    async def meanwhile(_: Commit) -> None:
        await sidecar.cancel(RITA, request)

    sidecar.store.interruptions.append(meanwhile)

    with pytest.raises(IllegalTransition):
        await sidecar.vote(ANN, request)
    assert (await sidecar.now(request)).status is Status.CANCELED


async def test_too_many_conflicts_are_told_and_nothing_was_done(sidecar: Governed) -> None:
    request = await sidecar.submit(risk=Risk.MEDIUM)
    sidecar.store.interruptions.extend([Conflict("somebody else")] * 8)

    await sidecar.changes_nothing(sidecar.vote(ANN, request), Conflict)


async def test_who_has_no_place_in_the_tenant_finds_nothing(sidecar: Governed) -> None:
    request = await sidecar.submit(risk=Risk.MEDIUM)

    refused = await sidecar.changes_nothing(sidecar.vote(EVE, request), NotFound)
    unknown = await sidecar.changes_nothing(
        sidecar.vote(EVE, request.but(id=RequestId("none"))), NotFound
    )
    assert str(refused).replace(request.id, "none") == str(unknown)
