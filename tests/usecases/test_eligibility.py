"""Eligibility is looked at again when a quorum closes and at the claim."""

import pytest

from governor.domain.approval import Requirement, Step, StepMode, Target
from governor.domain.decision import Code
from governor.domain.errors import DirectoryUnavailable
from governor.domain.policy import Effect, Rule
from governor.domain.request import ExecutionMode, MutationRequest, PendingReason, Risk, Status
from governor.domain.values import TargetKind
from governor.usecases.access import APPROVER, AUDITOR
from tests.support.governed import Governed
from tests.support.people import ANN, BOB, CLEO, OTTO, RITA, TENANT, reviewed

ROLE = Target(kind=TargetKind.ROLE, name=APPROVER)
BY_HAND = ExecutionMode.ON_EXECUTE


async def voided(sidecar: Governed, request: MutationRequest) -> list[tuple[str, str]]:
    """Whose votes were taken out, and why."""
    return [
        (entry.decision.facts["voter"], entry.decision.reason.message)
        for entry in await sidecar.ledger()
        if entry.decision.code is Code.APPROVAL_VOIDED
        and entry.decision.request_id == request.id
        and entry.decision.reason is not None
    ]


def loses_the_role(sidecar: Governed) -> str:
    sidecar.directory.put(ANN, TENANT, [AUDITOR], ["reviewers"])
    return "ann may not vote any more"


def loses_the_place(sidecar: Governed) -> str:
    del sidecar.directory.people[ANN, TENANT]
    return "ann has no place in the tenant any more"


def leaves_the_group(sidecar: Governed) -> str:
    sidecar.directory.put(ANN, TENANT, [APPROVER], [])
    return "review-2 does not ask ann any more"


def becomes_the_requester(sidecar: Governed) -> str:
    sidecar.directory.put(ANN, TENANT, [APPROVER], ["reviewers"], person=RITA)
    return "ann stands for the requester by now"


def becomes_somebody_else(sidecar: Governed) -> str:
    sidecar.directory.put(ANN, TENANT, [APPROVER], ["reviewers"], person=BOB)
    return "ann stands for somebody else by now"


LOSSES = (
    loses_the_role,
    loses_the_place,
    leaves_the_group,
    becomes_the_requester,
    becomes_somebody_else,
)


@pytest.mark.parametrize("loss", LOSSES)
async def test_a_vote_whose_voter_has_lost_it_does_not_close_a_quorum(
    sidecar: Governed, loss: object
) -> None:
    assert callable(loss)
    request = await sidecar.submit(risk=Risk.HIGH)
    await sidecar.approve(ANN, request)
    why = loss(sidecar)

    after = await sidecar.approve(BOB, request)

    assert after.status is Status.PENDING
    assert await voided(sidecar, request) == [(ANN, why)]
    assert after.progress.approval is not None
    assert [vote.void_reason for vote in after.progress.approval.votes] == [
        "NOT_ELIGIBLE_ANY_MORE",
        "",
    ]
    assert (await sidecar.approve(CLEO, request)).status is Status.APPROVED
    await sidecar.quiet()
    assert sidecar.host.effects[0].approvers == (BOB, CLEO)


@pytest.mark.parametrize("loss", LOSSES)
async def test_a_vote_whose_voter_has_lost_it_lets_nothing_be_claimed(
    sidecar: Governed, loss: object
) -> None:
    assert callable(loss)
    request = await sidecar.submit(risk=Risk.HIGH, execution_mode=BY_HAND)
    await sidecar.approve(ANN, request)
    await sidecar.approve(BOB, request)
    why = loss(sidecar)

    answer = await sidecar.execute(OTTO, request, key="go")

    assert (answer.request.status, answer.execution) == (Status.PENDING, None)
    assert answer.request.waits_for(PendingReason.APPROVAL)
    assert await voided(sidecar, request) == [(ANN, why)]
    assert await sidecar.execute(OTTO, request, key="go") == answer
    await sidecar.approve(CLEO, request)
    await sidecar.execute(OTTO, request)
    await sidecar.quiet()
    assert (await sidecar.now(request)).status is Status.EXECUTED


async def test_the_claim_of_an_automatic_request_looks_again_too(sidecar: Governed) -> None:
    """Approved and in line behind another; when its turn comes, Ann has no role any more."""
    sidecar.host.answers.shut()
    holder = await sidecar.submit()
    request = await sidecar.submit(risk=Risk.MEDIUM)
    assert (await sidecar.approve(ANN, request)).status is Status.APPROVED
    why = loses_the_role(sidecar)

    sidecar.host.answers.open()
    await sidecar.quiet()

    assert (await sidecar.now(holder)).status is Status.EXECUTED
    assert (await sidecar.now(request)).waits_for(PendingReason.APPROVAL)
    assert await voided(sidecar, request) == [(ANN, why)]
    await sidecar.approve(BOB, request)
    await sidecar.quiet()
    assert (await sidecar.now(request)).status is Status.EXECUTED


async def test_a_vote_that_fell_in_an_earlier_step_opens_that_step_again(
    sidecar: Governed,
) -> None:
    sidecar.policy.rules = (Rule(id="s", effect=Effect.DEFER, steps=(reviewed(1), reviewed(1))),)
    request = await sidecar.submit()
    await sidecar.approve(ANN, request)
    loses_the_role(sidecar)

    after = await sidecar.approve(BOB, request)
    assert after.progress.approval is not None
    assert (after.status, after.progress.approval.open_step) == (Status.PENDING, 0)
    assert (await sidecar.approve(CLEO, request)).status is Status.APPROVED


async def test_a_vote_that_can_be_done_without_falls_and_the_claim_goes_on(
    sidecar: Governed,
) -> None:
    """Either of two is enough; Ann's vote for the pair is not needed once Bob has met the other."""
    pair = Requirement(id="pair", targets=(ROLE,), quorum=2)
    bob = Requirement(id="bob", targets=(Target(kind=TargetKind.ACTOR, name=BOB),))
    step = Step(name="either", requirements=(pair, bob), mode=StepMode.ANY_OF)
    sidecar.policy.rules = (Rule(id="r", effect=Effect.DEFER, steps=(step,)),)
    request = await sidecar.submit(execution_mode=BY_HAND)
    await sidecar.approve(ANN, request)
    assert (await sidecar.approve(BOB, request)).status is Status.APPROVED
    why = loses_the_role(sidecar)

    assert (await sidecar.execute(OTTO, request)).execution is not None
    assert await voided(sidecar, request) == [(ANN, why)]


async def test_a_directory_that_does_not_answer_permits_nothing_and_takes_nothing_out(
    sidecar: Governed,
) -> None:
    request = await sidecar.submit(risk=Risk.MEDIUM)
    sidecar.host.answers.shut()
    holder = await sidecar.submit()
    await sidecar.approve(ANN, request)
    await sidecar.quiet()

    sidecar.directory.fault = RuntimeError("the disk is gone")
    sidecar.host.answers.open()
    await sidecar.quiet()
    assert (await sidecar.now(holder)).status is Status.EXECUTED
    assert (await sidecar.now(request)).status is Status.APPROVED
    assert await sidecar.executions_of(request) == ()

    sidecar.directory.fault = None
    await sidecar.pass_time(60)
    assert (await sidecar.now(request)).status is Status.EXECUTED


async def test_a_directory_that_fails_during_a_vote_refuses_it(
    sidecar: Governed, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = await sidecar.submit(risk=Risk.HIGH)

    def fails(target: Target, tenant: str) -> frozenset[str]:
        raise RuntimeError(f"no disk to find {target} in {tenant} on")

    monkeypatch.setattr(sidecar.directory, "members", fails)
    await sidecar.changes_nothing(sidecar.vote(ANN, request), DirectoryUnavailable)


async def test_what_policy_allows_looks_nobody_up_at_its_claim(sidecar: Governed) -> None:
    sidecar.host.answers.shut()
    await sidecar.submit()
    second = await sidecar.submit()
    await sidecar.quiet()
    sidecar.directory.fault = RuntimeError("the disk is gone")
    sidecar.host.answers.open()
    await sidecar.quiet()
    assert (await sidecar.now(second)).status is Status.EXECUTED
