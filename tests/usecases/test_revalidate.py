"""Revalidation: policy and host look again at the latest version; a clean answer leads back."""

from pathlib import Path

import pytest

from governor.domain.errors import Conflict, StoreUnavailable
from governor.domain.policy import Effect, Rule
from governor.domain.request import (
    ExecutionMode,
    MutationRequest,
    PendingReason,
    Risk,
    StaleStrategy,
    Status,
)
from governor.domain.values import Reason
from governor.usecases.app import Limits
from governor.usecases.commits import Commit
from governor.usecases.ports import Capabilities, Validation
from tests.support.governed import Governed, governed
from tests.support.people import (
    ANN,
    BOB,
    CRITICAL_IS_DENIED,
    HIGH_TAKES_TWO,
    OTTO,
    RITA,
    TENANT,
    reviewed,
)
from tests.support.scripted_host import COMPARING, EXACTLY_ONCE, ScriptedHost

REVALIDATE = StaleStrategy.REVALIDATE_ON_LATEST


async def revalidating(sidecar: Governed, risk: Risk = Risk.LOW) -> MutationRequest:
    """Found stale; the host is away, so that nobody has looked again yet."""
    request = await sidecar.submit(
        risk=risk,
        expected_version="",
        stale_strategy=REVALIDATE,
        execution_mode=ExecutionMode.ON_EXECUTE,
    )
    for voter in (ANN, BOB)[: {Risk.LOW: 0, Risk.MEDIUM: 1, Risk.HIGH: 2}[risk]]:
        await sidecar.approve(voter, request)
    sidecar.host.touch(request.slot)
    sidecar.host.answers.shut()
    await sidecar.execute(OTTO, request)
    await sidecar.quiet()
    sidecar.host.is_reachable = False
    sidecar.host.answers.open()
    await sidecar.quiet()
    request = await sidecar.now(request)
    assert [pending.reason for pending in request.progress.pending] == [PendingReason.REVALIDATION]
    return request


async def look_again(sidecar: Governed, request: MutationRequest) -> MutationRequest:
    sidecar.host.is_reachable = True
    await sidecar.pass_time(60)
    return await sidecar.now(request)


@pytest.mark.parametrize("risk", [Risk.LOW, Risk.MEDIUM, Risk.HIGH])
async def test_a_clean_answer_moves_the_version_and_keeps_digest_and_votes(
    sidecar: Governed, risk: Risk
) -> None:
    request = await look_again(sidecar, await revalidating(sidecar, risk))

    assert request.status is Status.APPROVED
    assert request.progress.expected_version == "1"
    before = (await sidecar.ledger())[0].decision
    assert request.progress.digest == before.digest
    await sidecar.execute(OTTO, request, wait_seconds=30)
    assert [effect.digest for effect in sidecar.host.effects] == [before.digest]
    assert len(sidecar.host.effects[0].approvers) == {Risk.LOW: 0, Risk.MEDIUM: 1}.get(risk, 2)


async def test_an_objection_of_the_host_fails_the_request(sidecar: Governed) -> None:
    request = await revalidating(sidecar)
    sidecar.host.violations = (Reason(code="GONE", message="the flag is gone"),)

    request = await look_again(sidecar, request)

    assert request.status is Status.FAILED
    assert (await sidecar.history(request))[-2:] == ["CHECK failed", "LIFECYCLE failed"]


async def test_policy_may_deny_by_now(sidecar: Governed) -> None:
    request = await revalidating(sidecar)
    sidecar.policy.rules = (CRITICAL_IS_DENIED,)

    request = await look_again(sidecar, request)

    assert request.status is Status.REJECTED


async def test_a_requester_who_has_left_asks_for_nothing_any_more(sidecar: Governed) -> None:
    request = await revalidating(sidecar)
    del sidecar.directory.people[RITA, TENANT]

    request = await look_again(sidecar, request)

    assert request.status is Status.REJECTED
    assert request.progress.status_reason is not None
    assert request.progress.status_reason.code == "REQUESTER_GONE"


@pytest.mark.parametrize("risk", [Risk.LOW, Risk.MEDIUM])
async def test_a_plan_that_was_not_satisfied_opens_a_round_on_the_latest_version(
    sidecar: Governed, risk: Risk
) -> None:
    request = await revalidating(sidecar, risk)
    was = request.progress.digest
    sidecar.policy.rules = (HIGH_TAKES_TWO.but(risks=()),)

    request = await look_again(sidecar, request)

    assert request.waits_for(PendingReason.APPROVAL)
    assert request.progress.digest != was
    await sidecar.approve(ANN, request)
    assert (await sidecar.approve(BOB, request)).status is Status.APPROVED


async def test_a_plan_that_nobody_can_satisfy_denies(sidecar: Governed) -> None:
    request = await revalidating(sidecar)
    sidecar.policy.rules = (Rule(id="four", effect=Effect.DEFER, steps=(reviewed(4),)),)

    request = await look_again(sidecar, request)

    assert request.status is Status.REJECTED


async def test_a_cancellation_while_the_host_is_away_wins(sidecar: Governed) -> None:
    request = await revalidating(sidecar)
    await sidecar.cancel(RITA, request)

    assert (await look_again(sidecar, request)).status is Status.CANCELED


async def test_a_change_before_the_commit_is_looked_at_again(sidecar: Governed) -> None:
    request = await revalidating(sidecar)

    async def meanwhile(_: Commit) -> None:
        await sidecar.cancel(RITA, request)

    sidecar.store.interruptions.extend(
        [StoreUnavailable("gone"), Conflict("somebody else"), meanwhile]
    )

    assert (await look_again(sidecar, request)).status is Status.CANCELED


class Restless(ScriptedHost):
    """Its state moves on while it forms its opinion, in which it says no version."""

    moves_left = 0

    async def validate(self, request: MutationRequest) -> Validation:
        opinion = await ScriptedHost.validate(self, request)
        if self.moves_left:
            self.moves_left -= 1
            self.touch(request.slot)
        return opinion.but(current_version="")


@pytest.mark.parametrize("promises", [COMPARING, EXACTLY_ONCE], ids=["comparing", "asked first"])
async def test_nothing_runs_on_a_version_that_nobody_has_looked_at(
    tmp_path: Path, promises: Capabilities
) -> None:
    """The host says no version in its opinion, so it is asked for apart. What moves on around the
    opinion must be found by the claim, and looked at again.
    """
    host = Restless(promises=promises)
    async with governed(tmp_path, host=host) as sidecar:
        host.moves_left = 2
        request = await sidecar.submit(expected_version="long ago", stale_strategy=REVALIDATE)
        await sidecar.pass_time(60)

        assert (await sidecar.now(request)).status is Status.EXECUTED
        assert (await sidecar.history(request)).count("CHECK passed") == 3
        assert host.effects[0].version == "3"


async def test_a_state_that_never_rests_is_not_chased_for_ever(tmp_path: Path) -> None:
    host = Restless()
    limits = Limits(executions_per_request_max=4)
    async with governed(tmp_path, host=host, limits=limits) as sidecar:
        host.moves_left = 1_000_000
        request = await sidecar.submit(expected_version="long ago", stale_strategy=REVALIDATE)
        await sidecar.pass_time(600)

        left = await sidecar.now(request)
        assert left.status is Status.APPROVED
        assert left.progress.executions == 4
        assert host.effects == []
