"""Submit: what is asked for stands, decided, once; where nothing is in its way, it is claimed."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from governor.domain.errors import (
    Conflict,
    DependencyFailed,
    InvalidField,
    MissingRole,
    NotFound,
    Overloaded,
    RequestIdReused,
    StateBusy,
    StoreUnavailable,
    UnsatisfiableApproval,
)
from governor.domain.execution import ExecutionStatus
from governor.domain.policy import Effect, Rule
from governor.domain.request import (
    ExecutionMode,
    Payload,
    PendingReason,
    Risk,
    StaleStrategy,
    Status,
)
from governor.domain.values import Micros, Reason, RequestId
from governor.usecases.commands import etag_of
from governor.usecases.commits import Commit
from tests.support.builders import MICROS_PER_SECOND
from tests.support.governed import Governed, governed
from tests.support.people import (
    ANN,
    BOB,
    CLEO,
    EVE,
    OTHER_TENANT,
    OTTO,
    RITA,
    SAM,
    TENANT,
    reviewed,
)
from tests.support.scripted_host import EXACTLY_ONCE, Loss, ScriptedHost

DAY = 86_400


def in_seconds(sidecar: Governed, seconds: float) -> Micros:
    return Micros(sidecar.clock.now() + round(seconds * MICROS_PER_SECOND))


# ---------------------------------------------------------------- what policy says


async def test_what_policy_allows_is_answered_as_executing_and_ends_executed(
    sidecar: Governed,
) -> None:
    request = await sidecar.submit(risk=Risk.LOW)

    assert request.status is Status.EXECUTING
    await sidecar.quiet()
    assert (await sidecar.now(request)).status is Status.EXECUTED
    assert await sidecar.history(request) == [
        "LIFECYCLE submitted",
        "POLICY allowed",
        "LIFECYCLE approved",
        "VERSION_RESOLUTION unversioned",
        "EXECUTION claimed",
        "EXECUTION applied",
        "LIFECYCLE executed",
    ]
    assert [effect.payload for effect in sidecar.host.effects] == [b'{"on":true}']


async def test_what_policy_defers_waits_for_approval_and_reaches_no_host(sidecar: Governed) -> None:
    request = await sidecar.submit(risk=Risk.HIGH)

    await sidecar.quiet()
    assert request.status is Status.PENDING
    assert request.waits_for(PendingReason.APPROVAL)
    assert sidecar.host.calls == []


@pytest.mark.parametrize(
    ("risk", "code"), [(Risk.CRITICAL, "POLICY_DENIED"), (Risk.UNSPECIFIED, "NO_RULE_MATCHED")]
)
async def test_what_policy_denies_or_does_not_know_is_rejected(
    sidecar: Governed, risk: Risk, code: str
) -> None:
    request = await sidecar.submit(risk=risk)

    assert request.status is Status.REJECTED
    assert request.progress.status_reason is not None
    assert request.progress.status_reason.code == code
    assert await sidecar.history(request) == [
        "LIFECYCLE submitted",
        "POLICY denied",
        "LIFECYCLE rejected",
    ]


async def test_an_empty_policy_denies(sidecar: Governed) -> None:
    sidecar.policy.rules = ()

    assert (await sidecar.submit(risk=Risk.LOW)).status is Status.REJECTED


async def test_a_quorum_that_the_people_there_cannot_meet_is_refused(sidecar: Governed) -> None:
    sidecar.policy.rules = (Rule(id="four", effect=Effect.DEFER, steps=(reviewed(4),)),)

    # Ann, Bob, Cleo and Rita's robot are four reviewers, but the robot is Rita herself.
    await sidecar.changes_nothing(sidecar.submit(RITA), UnsatisfiableApproval)
    assert (await sidecar.submit(SAM)).status is Status.PENDING


@pytest.mark.parametrize(("actor", "tenant"), [(ANN, TENANT), (EVE, TENANT), (RITA, OTHER_TENANT)])
async def test_only_a_submitter_of_the_tenant_may_submit(
    sidecar: Governed, actor: str, tenant: str
) -> None:
    await sidecar.changes_nothing(sidecar.submit(actor, tenant=tenant), MissingRole)


# ---------------------------------------------------------------- the claim in the same commit


async def test_the_claim_is_in_the_submitting_commit(sidecar: Governed) -> None:
    answer = await sidecar.submitted()

    execution = await sidecar.execution_of(answer.request)
    assert execution.submitted_revision <= answer.revision == answer.request.revision
    assert execution.started_by == "governor"


@pytest.mark.parametrize(
    "fields",
    [
        {"execution_mode": ExecutionMode.ON_EXECUTE},
        {"risk": Risk.MEDIUM},
        {"execute_after": Micros(1_700_000_060_000_000)},
    ],
    ids=["on execute", "needs approval", "scheduled"],
)
async def test_what_has_to_wait_is_not_claimed(sidecar: Governed, fields: dict[str, Any]) -> None:
    request = await sidecar.submit(**fields)

    await sidecar.quiet()
    assert request.status in (Status.APPROVED, Status.PENDING)
    assert await sidecar.executions_of(request) == ()


async def test_a_host_that_does_not_compare_is_asked_for_the_version_apart(tmp_path: Path) -> None:
    host = ScriptedHost(promises=EXACTLY_ONCE)
    async with governed(tmp_path, host=host) as sidecar:
        request = await sidecar.submit(expected_version="")

        assert request.status is Status.APPROVED
        await sidecar.quiet()
        assert (await sidecar.now(request)).status is Status.EXECUTED
        assert "VERSION_RESOLUTION validated" in await sidecar.history(request)


async def test_a_host_that_was_never_reached_is_not_claimed_for(tmp_path: Path) -> None:
    host = ScriptedHost(is_reachable=False)
    async with governed(tmp_path, host=host) as sidecar:
        request = await sidecar.submit()

        await sidecar.pass_time(60)
        assert (await sidecar.now(request)).status is Status.APPROVED
        host.is_reachable = True
        await sidecar.pass_time(60)
        assert (await sidecar.now(request)).status is Status.EXECUTED


async def test_only_the_first_of_two_on_one_state_is_claimed_and_the_second_follows(
    sidecar: Governed,
) -> None:
    sidecar.host.orders.shut()
    first, second = await sidecar.submit(), await sidecar.submit()

    await sidecar.quiet()
    assert (first.status, second.status) == (Status.EXECUTING, Status.APPROVED)
    sidecar.host.orders.open()
    await sidecar.quiet()
    assert [effect.request_id for effect in sidecar.host.effects] == [first.id, second.id]
    assert sidecar.host.applying_per_state_max == 1


async def test_a_state_taken_unnoticed_leaves_the_request_approved_and_in_line(
    sidecar: Governed,
) -> None:
    """An execution in doubt holds the state; the next life does not know until the store says so.

    The claim in the submitting commit loses, and the request is committed without it.
    """
    sidecar.host.script.extend([Loss.ORDER] * 1000)
    holder = await sidecar.submit()
    await sidecar.pass_time(600)
    assert (await sidecar.now(holder)).waits_for(PendingReason.AUDIT)
    sidecar.host.script.clear()
    await sidecar.restart()

    request = await sidecar.submit(key="again")

    assert request.status is Status.APPROVED
    await sidecar.pass_time(60)
    assert (await sidecar.now(request)).status is Status.APPROVED
    assert (await sidecar.submit(key="again")) == request
    await sidecar.resolve(OTTO, await sidecar.execution_of(holder), None)
    await sidecar.quiet()
    assert (await sidecar.now(request)).status is Status.EXECUTED


async def test_a_state_that_turns_out_busy_costs_nothing_but_the_claim(sidecar: Governed) -> None:
    sidecar.store.interruptions.append(StateBusy("somebody else was faster"))

    request = await sidecar.submit()

    assert request.status is Status.APPROVED
    await sidecar.quiet()
    assert (await sidecar.now(request)).status is Status.EXECUTED
    (execution,) = await sidecar.executions_of(request)
    assert execution.status is ExecutionStatus.APPLIED


# ---------------------------------------------------------------- what it may have to wait for


async def test_a_request_waits_for_its_schedule_and_for_approval_at_once(sidecar: Governed) -> None:
    moment = in_seconds(sidecar, 60)
    request = await sidecar.submit(risk=Risk.MEDIUM, execute_after=moment)
    assert [pending.reason for pending in request.progress.pending] == [
        PendingReason.APPROVAL,
        PendingReason.SCHEDULE,
    ]

    request = await sidecar.approve(ANN, request)
    assert request.status is Status.PENDING
    await sidecar.pass_time(61)
    assert (await sidecar.now(request)).status is Status.EXECUTED
    assert sidecar.host.effects


async def test_a_schedule_that_has_passed_already_is_none(sidecar: Governed) -> None:
    request = await sidecar.submit(execute_after=sidecar.clock.now())

    assert request.status is Status.EXECUTING


async def test_a_dependency_that_is_executed_already_holds_nothing_back(sidecar: Governed) -> None:
    done = await sidecar.submit()
    await sidecar.quiet()

    request = await sidecar.submit(depends_on=(done.id,), flag="other")

    assert request.status is Status.EXECUTING


async def test_a_dependency_that_has_ended_otherwise_is_refused(sidecar: Governed) -> None:
    denied = await sidecar.submit(risk=Risk.CRITICAL)

    await sidecar.changes_nothing(sidecar.submit(depends_on=(denied.id,)), DependencyFailed)


async def test_a_dependency_of_another_tenant_is_not_found(sidecar: Governed) -> None:
    elsewhere = await sidecar.submit(EVE, tenant=OTHER_TENANT)
    await sidecar.quiet()

    for id in (elsewhere.id, RequestId("no-such-request")):
        refused = await sidecar.changes_nothing(sidecar.submit(depends_on=(id,)), NotFound)
        assert refused.args == (f"no mutation request {id!r}",)


@pytest.mark.parametrize(
    ("risk", "ends"), [(Risk.LOW, Status.EXECUTING), (Risk.CRITICAL, Status.PENDING)]
)
async def test_a_dependency_that_ends_between_the_look_and_the_commit_is_looked_at_again(
    sidecar: Governed, risk: Risk, ends: Status
) -> None:
    """The new request saw its dependency APPROVED. Before its commit, the dependency is executed,
    or canceled. A commit on the old sight would wait for an end that nobody announces again.
    """
    first = await sidecar.submit(execution_mode=ExecutionMode.ON_EXECUTE)

    async def meanwhile(_: Commit) -> None:
        if risk is Risk.LOW:
            await sidecar.execute(RITA, first)
            await sidecar.quiet()
        else:
            await sidecar.cancel(RITA, first)

    sidecar.store.interruptions.append(meanwhile)

    if risk is Risk.LOW:
        second = await sidecar.submit(depends_on=(first.id,))
        assert second.status is ends
    else:
        with pytest.raises(DependencyFailed):
            await sidecar.submit(depends_on=(first.id,))
        assert len(await sidecar.ledger()) == len(await sidecar.history(first))


async def test_a_submission_gives_up_after_a_bounded_number_of_conflicts(sidecar: Governed) -> None:
    sidecar.store.interruptions.extend([Conflict("somebody else")] * 8)

    await sidecar.changes_nothing(sidecar.submit(), Conflict)

    sidecar.store.interruptions.extend([Conflict("somebody else")] * 7)
    assert (await sidecar.submit()).status is Status.EXECUTING


@pytest.mark.parametrize("error", [Overloaded("commits_waiting_max", 1), StoreUnavailable("gone")])
async def test_a_store_that_refuses_is_told_to_the_caller(
    sidecar: Governed, error: Exception
) -> None:
    sidecar.store.interruptions.append(error)

    await sidecar.changes_nothing(sidecar.submit(), type(error))


# ---------------------------------------------------------------- expiry


@pytest.mark.parametrize("seconds", [0, -1, 90 * DAY + 1])
async def test_an_expiry_in_the_past_or_too_far_ahead_is_refused(
    sidecar: Governed, seconds: float
) -> None:
    moment = in_seconds(sidecar, seconds)

    refused = await sidecar.changes_nothing(sidecar.submit(expires_at=moment), InvalidField)

    assert refused.facts == {"field": "expire_time"}  # type: ignore[attr-defined]


@pytest.mark.parametrize("seconds", [0.000001, 90 * DAY])
async def test_an_expiry_within_the_bounds_is_taken_as_it_is(
    sidecar: Governed, seconds: float
) -> None:
    moment = in_seconds(sidecar, seconds)

    assert (await sidecar.submit(expires_at=moment, risk=Risk.HIGH)).expires_at == moment


async def test_without_an_expiry_the_default_lifetime_begins_when_the_schedule_comes(
    sidecar: Governed,
) -> None:
    plain = await sidecar.submit(risk=Risk.HIGH)
    scheduled = await sidecar.submit(risk=Risk.HIGH, execute_after=in_seconds(sidecar, DAY))

    assert plain.expires_at == in_seconds(sidecar, 7 * DAY)
    assert scheduled.expires_at == in_seconds(sidecar, 8 * DAY)


async def test_a_schedule_at_or_after_the_expiry_is_refused(sidecar: Governed) -> None:
    moment = in_seconds(sidecar, 60)

    await sidecar.changes_nothing(
        sidecar.submit(expires_at=moment, execute_after=moment), InvalidField
    )


# ---------------------------------------------------------------- the same call again


@pytest.mark.parametrize(
    "fields",
    [
        {"risk": Risk.LOW},
        {"risk": Risk.HIGH},
        {"risk": Risk.CRITICAL},
        {"risk": Risk.MEDIUM, "expires_at": Micros(1_700_000_001_000_000)},
    ],
    ids=["allowed", "deferred", "denied", "expired since"],
)
async def test_the_same_call_again_gives_the_first_answer_whatever_happened_since(
    sidecar: Governed, fields: dict[str, Any]
) -> None:
    first = await sidecar.submitted(key="once", **fields)
    await sidecar.pass_time(60)
    before = sidecar.store.head

    assert await sidecar.submitted(key="once", **fields) == first

    await sidecar.restart()
    assert await sidecar.submitted(key="once", **fields) == first
    assert sidecar.store.head == before
    assert len(sidecar.host.effects) <= 1


async def test_the_first_answer_is_given_also_when_the_call_would_be_refused_by_now(
    sidecar: Governed,
) -> None:
    dependency = await sidecar.submit(risk=Risk.HIGH)
    first = await sidecar.submitted(key="once", depends_on=(dependency.id,))
    await sidecar.cancel(RITA, dependency)
    await sidecar.quiet()

    assert await sidecar.submitted(key="once", depends_on=(dependency.id,)) == first


async def test_the_same_call_at_the_same_time_happens_once(sidecar: Governed) -> None:
    answers = await asyncio.gather(*(sidecar.submitted(key="once") for _ in range(8)))

    await sidecar.quiet()
    assert len(set(map(repr, answers))) == 1
    assert len(sidecar.host.effects) == 1


@pytest.mark.parametrize(
    "other",
    [
        {"flag": "other"},
        {"expected_version": ""},
        {"metadata": {"why": "not"}},
        {"expires_at": Micros(1_700_000_060_000_000)},
        {"payload": Payload(content_type="application/json", data=b"{}")},
    ],
    ids=str,
)
async def test_the_same_key_with_other_content_is_refused(
    sidecar: Governed, other: dict[str, Any]
) -> None:
    await sidecar.submit(key="once")
    await sidecar.quiet()

    await sidecar.changes_nothing(sidecar.submit(key="once", **other), RequestIdReused)


async def test_a_key_belongs_to_one_actor(sidecar: Governed) -> None:
    mine = await sidecar.submit(RITA, key="once")

    assert (await sidecar.submit(SAM, key="once")).id != mine.id


async def test_a_refused_call_leaves_its_key_unused(sidecar: Governed) -> None:
    await sidecar.changes_nothing(
        sidecar.submit(key="once", depends_on=(RequestId("none"),)), NotFound
    )

    assert (await sidecar.submit(key="once")).status is Status.EXECUTING


# ---------------------------------------------------------------- only looking


@pytest.mark.parametrize("risk", [Risk.LOW, Risk.HIGH, Risk.CRITICAL])
async def test_validate_only_shows_the_verdict_and_writes_nothing(
    sidecar: Governed, risk: Risk
) -> None:
    sidecar.host.violations = (Reason(code="NO_SUCH_FLAG"),)
    before = sidecar.store.head

    answer = await sidecar.submitted(key="look", risk=risk, validate_only=True)

    await sidecar.quiet()
    assert sidecar.store.head == before
    assert sidecar.host.calls == []
    assert answer.request.id == ""
    assert answer.revision == 0
    assert answer.preview is not None
    assert answer.preview.violations == sidecar.host.violations
    in_earnest = await sidecar.submit(key="look", risk=risk)
    assert answer.request.progress.verdict == in_earnest.progress.verdict


async def test_validate_only_answers_without_the_host(sidecar: Governed) -> None:
    sidecar.host.is_reachable = False

    answer = await sidecar.submitted(validate_only=True)

    assert answer.preview is None
    assert answer.request.status is Status.APPROVED


# ---------------------------------------------------------------- waiting


async def test_with_wait_the_answer_shows_the_end(sidecar: Governed) -> None:
    answer = await sidecar.submitted(wait_seconds=30)

    assert answer.request.status is Status.EXECUTED
    assert answer.revision < answer.request.revision


async def test_with_wait_the_answer_comes_when_somebody_is_needed(sidecar: Governed) -> None:
    assert (await sidecar.submit(risk=Risk.HIGH, wait_seconds=30)).status is Status.PENDING
    on_execute = await sidecar.submit(execution_mode=ExecutionMode.ON_EXECUTE, wait_seconds=30)
    assert on_execute.status is Status.APPROVED


async def test_a_wait_goes_on_through_a_revalidation_that_needs_nobody(sidecar: Governed) -> None:
    """The state has moved on, so policy and host look again, and then it is executed. PENDING on
    the way is no state in which anybody is needed.
    """
    request = await sidecar.submit(
        expected_version="long ago",
        stale_strategy=StaleStrategy.REVALIDATE_ON_LATEST,
        wait_seconds=30,
    )

    assert request.status is Status.EXECUTED
    assert "CHECK passed" in await sidecar.history(request)


# ---------------------------------------------------------------- hanging up


async def test_a_caller_who_hangs_up_leaves_the_request_whole_or_absent(sidecar: Governed) -> None:
    """The commit is on its way when the caller leaves: it lands, it is carried out, and the span
    that the host was shown is the one that the execution is known by.
    """

    async def leave(_: Commit) -> None:
        calling.cancel()

    sidecar.store.interruptions.append(leave)
    calling = asyncio.ensure_future(sidecar.submit(key="once"))
    await asyncio.wait([calling])
    await sidecar.quiet()

    request = await sidecar.submit(key="once")
    await sidecar.quiet()
    assert calling.cancelled()
    assert (await sidecar.now(request)).status is Status.EXECUTED
    assert len(sidecar.host.effects) == 1
    execution = await sidecar.execution_of(request)
    assert execution.traceparent == sidecar.host.calls[0].traceparent
    assert len(sidecar.tracing.traces[0].finished) == 1


async def test_the_etag_moves_with_every_change(sidecar: Governed) -> None:
    request = await sidecar.submit(risk=Risk.HIGH)
    seen = {etag_of(request)}
    for voter in (ANN, BOB):
        request = await sidecar.approve(voter, request)
        seen.add(etag_of(request))
    assert len(seen) == 3
    assert CLEO not in [vote.voter.id for vote in request.progress.approval.votes]  # type: ignore[union-attr]
