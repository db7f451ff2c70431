"""Renewal: the state has moved on, and the ordinary workflow of a new round leads to execution."""

from pathlib import Path

import pytest

from governor.domain.approval import Requirement, Step
from governor.domain.decision import Code
from governor.domain.errors import DigestMismatch, PlanMismatch
from governor.domain.policy import Effect, Rule
from governor.domain.request import MutationRequest, PendingReason, StaleStrategy, Status
from governor.domain.values import Micros
from tests.support.governed import Governed, governed, plan_digest_of
from tests.support.people import ANN, BOB, CLEO, REVIEWERS
from tests.support.scripted_host import EXACTLY_ONCE, ScriptedHost

RENEW = StaleStrategy.REQUIRE_RENEWED_APPROVAL
TWO = Requirement(id="two", targets=(REVIEWERS,), quorum=2, deadline_seconds=60)
LAST = Requirement(id="last", targets=(REVIEWERS,), deadline_seconds=60)


async def renewed(sidecar: Governed) -> tuple[MutationRequest, MutationRequest]:
    """A request as it was asked for, and as it stands once its state has moved on under it."""
    steps = (Step(name="two", requirements=(TWO,)), Step(name="last", requirements=(LAST,)))
    sidecar.policy.rules = (Rule(id="ask", effect=Effect.DEFER, steps=steps),)
    request = await sidecar.submit(expected_version="", stale_strategy=RENEW)
    for voter in (ANN, BOB):
        await sidecar.approve(voter, request)
    await sidecar.pass_time(30)
    sidecar.host.touch(request.slot)
    await sidecar.approve(CLEO, request)
    await sidecar.quiet()
    return request, await sidecar.now(request)


@pytest.fixture(params=[True, False], ids=["compares itself", "is asked before"])
def host(request: pytest.FixtureRequest) -> ScriptedHost:
    return ScriptedHost() if request.param else ScriptedHost(promises=EXACTLY_ONCE)


async def test_a_renewed_approval_leads_to_execution_on_the_latest_version(
    tmp_path: Path, host: ScriptedHost
) -> None:
    async with governed(tmp_path, host=host) as sidecar:
        before, after = await renewed(sidecar)
        approval = after.progress.approval
        assert approval is not None
        assert (after.status, approval.round, approval.open_step) == (Status.PENDING, 2, 0)
        assert approval.current_votes() == ()
        assert len(approval.votes) == 3
        assert approval.step_opened_at == sidecar.clock.now()
        assert [one.until for one in after.progress.pending] == [
            Micros(sidecar.clock.now() + 60_000_000)
        ]

        for voter in (ANN, BOB, CLEO):
            await sidecar.approve(voter, after)
        await sidecar.quiet()

        done = await sidecar.now(after)
        assert done.status is Status.EXECUTED
        assert [effect.digest for effect in host.effects] == [after.progress.digest]
        assert host.effects[0].approvers == (ANN, BOB, CLEO)
        codes = [entry.decision.code for entry in await sidecar.ledger()]
        assert codes.count(Code.APPROVAL_VOIDED) == 1
        assert codes.count(Code.VERSION_RENEWED_APPROVAL_REQUIRED) == 1
        assert before.progress.digest != after.progress.digest


async def test_a_vote_of_the_old_round_names_another_content_and_another_plan(
    tmp_path: Path, host: ScriptedHost
) -> None:
    async with governed(tmp_path, host=host) as sidecar:
        before, after = await renewed(sidecar)
        await sidecar.changes_nothing(sidecar.vote(ANN, before), DigestMismatch)
        old_plan = sidecar.vote(ANN, after, plan_digest=plan_digest_of(before))
        await sidecar.changes_nothing(old_plan, PlanMismatch)


async def test_the_new_round_has_deadlines_of_its_own(tmp_path: Path, host: ScriptedHost) -> None:
    async with governed(tmp_path, host=host) as sidecar:
        _, after = await renewed(sidecar)
        await sidecar.pass_time(59)
        assert (await sidecar.now(after)).waits_for(PendingReason.APPROVAL)
        await sidecar.pass_time(1)
        assert (await sidecar.now(after)).status is Status.EXPIRED
