"""Two sidecars on one PostgreSQL database, in front of one host: they are one Governor."""

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from governor.domain.errors import EtagMismatch, IllegalTransition, NotEligible
from governor.domain.execution import ExecutionStatus
from governor.domain.policy import Effect, Rule
from governor.domain.request import ExecutionMode, MutationRequest, PendingReason, Risk, Status
from governor.domain.values import Micros, Revision
from governor.usecases.access import APPROVER
from governor.usecases.app import Limits
from governor.usecases.commands import CaughtUp, Subscribe, WaitFor, etag_of
from governor.usecases.query import get_request
from governor.usecases.questions import DecisionFilter
from governor.usecases.watch import stream_decisions, wait_request
from tests.support.backends import WAIT_SECONDS_MAX, Backend
from tests.support.domain_builders import CHECK
from tests.support.governed import Governed, caller, content
from tests.support.invariants import check_everything
from tests.support.people import ANN, AUDREY, BOB, FAYE, OTTO, RITA, TENANT, reviewed
from tests.support.postgres import PostgresServer, postgres_server
from tests.support.scripted_host import Kind, Loss, ScriptedHost

__all__ = ["postgres_server"]  # a fixture: found here by its name

ASKS = Rule(id="asks", effect=Effect.DEFER, gates=(CHECK.but(called=True),))
LIMITS = Limits(request_lifetime_seconds=600.0)


@pytest.fixture
async def backend(postgres_server: PostgresServer, tmp_path: Path) -> AsyncIterator[Backend]:
    async with postgres_server.fresh(tmp_path) as fresh:
        yield fresh


@pytest.fixture
async def host() -> ScriptedHost:
    return ScriptedHost()


@pytest.fixture
async def a(backend: Backend, host: ScriptedHost, tmp_path: Path) -> AsyncIterator[Governed]:
    """The older one, which therefore leads."""
    sidecar = Governed(tmp_path, LIMITS, host, url=backend.url)
    async for running in alive(sidecar):
        yield running


@pytest.fixture
async def b(
    a: Governed, backend: Backend, host: ScriptedHost, tmp_path: Path
) -> AsyncIterator[Governed]:
    """The younger one."""
    sidecar = Governed(tmp_path, LIMITS, host, url=backend.url, beside=a)
    async for running in alive(sidecar):
        yield running


async def alive(sidecar: Governed) -> AsyncIterator[Governed]:
    await sidecar.open()
    await sidecar.start()
    yield sidecar
    await sidecar.close()


async def becomes(sidecar: Governed, request: MutationRequest, status: Status) -> MutationRequest:
    """The request as this sidecar sees it, once it has that status; time stands still meanwhile."""
    async with asyncio.timeout(WAIT_SECONDS_MAX):
        while (now := await sidecar.now(request)).status is not status:  # noqa: ASYNC110 - it is asked, not told
            await asyncio.sleep(0)
    return now


async def comes_true(claim: Callable[[], object]) -> None:
    async with asyncio.timeout(WAIT_SECONDS_MAX):
        while not claim():  # noqa: ASYNC110 - what comes true has no event to wait for
            await asyncio.sleep(0)


async def expire_lease_of_the_older(backend: Backend) -> None:
    """It was paused for too long, or its network was."""
    oldest = "(SELECT min(started_at) FROM replicas)"
    await backend.run(f"UPDATE replicas SET lease_until = 1 WHERE started_at = {oldest}")


# ---------------------------------------------------------------- one Governor


async def test_what_is_submitted_here_and_approved_there_is_executed_once(
    a: Governed, b: Governed
) -> None:
    """And whoever waits at the first replica hears of what the second one did."""
    submitted = await a.submit(risk=Risk.MEDIUM)
    waiting = asyncio.create_task(
        wait_request(a.app, caller(RITA), WaitFor(id=submitted.id, timeout_seconds=30.0))
    )
    await a.quiet()
    await b.approve(ANN, submitted)
    waited = await asyncio.wait_for(waiting, WAIT_SECONDS_MAX)
    assert not waited.timed_out
    assert waited.request.status is Status.EXECUTED
    assert len(a.host.effects) == 1
    await check_everything(b)


async def test_a_request_waits_for_a_state_that_another_replica_holds(
    a: Governed, b: Governed
) -> None:
    """One writer per state, whoever it is; and the end of the one is the start of the other."""
    a.host.orders.shut()
    first = await a.submit()
    await a.quiet()
    second = await b.submit()
    assert (await becomes(b, second, Status.APPROVED)).progress.executions == 0
    await b.quiet()
    a.host.orders.open()
    await becomes(b, first, Status.EXECUTED)
    await becomes(b, second, Status.EXECUTED)
    assert a.host.applying_per_state_max == 1
    assert [effect.request_id for effect in a.host.effects] == [first.id, second.id]
    await a.store.refresh(a.store.head.revision)
    await check_everything(a)


async def test_a_dependent_here_is_let_go_by_the_end_of_a_request_there(
    a: Governed, b: Governed
) -> None:
    first = await a.submit(risk=Risk.MEDIUM, flag="first")
    second = await a.submit(depends_on=(first.id,), flag="second")
    assert second.waits_for(PendingReason.DEPENDENCY)
    await b.approve(ANN, first)
    await becomes(a, second, Status.EXECUTED)


async def test_the_end_of_a_dependent_elsewhere_is_noticed(a: Governed, b: Governed) -> None:
    """Nothing is kept for a request that waits no longer."""
    first = await a.submit(risk=Risk.MEDIUM, flag="first")
    second = await a.submit(depends_on=(first.id,), flag="second")
    await b.cancel(OTTO, second)
    await comes_true(lambda: not a.dependencies.waiting_for(first.id))


async def test_a_timer_fires_once(a: Governed, b: Governed) -> None:
    """Also when both replicas look at the same time."""
    requests = [await a.submit(risk=Risk.MEDIUM, flag=f"f{number}") for number in range(10)]
    a.clock.advance(601)
    done = await asyncio.gather(a.timers.run_due(), b.timers.run_due())
    assert sum(done) == len(requests)
    for request in requests:
        assert (await a.history(request)).count("LIFECYCLE expired") == 1
    await check_everything(a)


async def test_only_the_leader_looks_for_what_is_due(a: Governed, b: Governed) -> None:
    """Until it is gone; then the other one does."""
    assert a.store.leads
    assert not b.store.leads


# ---------------------------------------------------------------- what one has not heard of yet


async def test_a_refusal_for_yesterdays_news_is_not_given(
    a: Governed, b: Governed, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The caller was shown an etag by one replica, and calls the other, which remembers the request
    as it was before.
    """
    for sidecar in (a, b):
        await deafen(sidecar, monkeypatch)
    submitted = await a.submit(risk=Risk.HIGH)
    approved = await b.approve(ANN, submitted)
    assert await a.now(submitted) == submitted, "it has not heard of the vote"
    canceled = await a.cancel(OTTO, submitted, etag=etag_of(approved))
    assert canceled.status is Status.CANCELED
    with pytest.raises(EtagMismatch):
        await b.cancel(OTTO, submitted, etag=etag_of(approved))
    with pytest.raises(IllegalTransition):
        await b.approve(BOB, submitted)


async def test_a_revision_given_out_by_one_is_reached_by_the_other(
    a: Governed, b: Governed, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By a read that names it, and by a stream that resumes after it."""
    for sidecar in (a, b):
        await deafen(sidecar, monkeypatch)
    submitted = await a.submit(risk=Risk.HIGH, execution_mode=ExecutionMode.ON_EXECUTE)
    assert await b.now(submitted) == submitted
    approved = await a.approve(ANN, submitted)
    read, _ = await get_request(b.app, caller(AUDREY), submitted.id, approved.revision)
    assert read == approved
    ahead = await a.approve(BOB, approved)
    stream = stream_decisions(
        b.app,
        caller(AUDREY),
        Subscribe(filter=DecisionFilter(tenant=TENANT), after=ahead.revision),
    )
    first = await anext(stream)
    assert isinstance(first, CaughtUp)
    assert first.revision >= ahead.revision


async def deafen(sidecar: Governed, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither hints nor polls reach it any more."""
    real = sidecar.store._store
    await real.refresh(Revision(0))
    monkeypatch.setattr(real._writer, "_poll_seconds", 3_600.0)  # type: ignore[attr-defined]
    monkeypatch.setattr(real._writer, "_tell_others", lambda: None)  # type: ignore[attr-defined]


# ---------------------------------------------------------------- one dies


async def test_what_a_dead_replica_was_executing_is_looked_up_and_settled_by_another(
    a: Governed, b: Governed, backend: Backend
) -> None:
    """It died with its order on the way; the order has landed."""
    a.host.answers.shut()
    submitted = await a.submit()
    await a.quiet()
    await a.freeze()
    await expire_lease_of_the_older(backend)
    a.host.answers.open()
    assert await b.adoption.adopt() == 1
    settled = await becomes(b, submitted, Status.EXECUTED)
    (execution,) = await b.executions_of(settled)
    assert execution.fencing_token == 2
    assert len(b.host.effects) == 1
    assert (await b.history(settled)).count("EXECUTION lease_lost") == 1
    await check_everything(b)


async def test_whatever_stage_a_dead_replicas_requests_were_in_they_go_on_at_another(
    a: Governed, b: Governed, backend: Backend
) -> None:
    """Executing, in line behind that, and waiting for a request that waits for a person."""
    a.host.orders.shut()
    executing = await a.submit(flag="one")
    in_line = await a.submit(flag="one")
    first = await a.submit(risk=Risk.MEDIUM, flag="two")
    dependent = await a.submit(depends_on=(first.id,), flag="three")
    await a.quiet()
    await a.freeze()
    await expire_lease_of_the_older(backend)
    a.host.orders.open()
    assert await b.adoption.adopt() == 3
    await becomes(b, executing, Status.EXECUTED)
    await becomes(b, in_line, Status.EXECUTED)
    await b.approve(ANN, first)
    await becomes(b, dependent, Status.EXECUTED)
    assert len(b.host.effects) == 4
    await check_everything(b)


async def test_a_check_that_a_dead_replica_was_asking_for_is_asked_for_by_another(
    a: Governed, b: Governed, backend: Backend
) -> None:
    for one in (a, b):
        one.policy.rules = (ASKS,)
    a.checks.is_open.clear()
    submitted = await a.submit()
    await comes_true(lambda: len(a.checks.asked) == 1)
    await a.freeze()
    await expire_lease_of_the_older(backend)
    assert await b.adoption.adopt() == 1
    await comes_true(lambda: len(b.checks.asked) == 2)
    b.checks.is_open.set()
    settled = await becomes(b, submitted, Status.EXECUTED)
    assert (await b.history(settled)).count("CHECK passed") == 1
    await check_everything(b)


async def test_a_check_is_asked_for_by_whoever_wrote_last_and_recorded_once(
    a: Governed, b: Governed
) -> None:
    for one in (a, b):
        one.policy.rules = (ASKS.but(steps=(reviewed(1),)),)
    a.checks.is_open.clear()
    submitted = await a.submit()
    await comes_true(lambda: len(a.checks.asked) == 1)
    await b.approve(ANN, submitted)
    await comes_true(lambda: len(b.checks.asked) == 2)
    a.checks.is_open.set()
    settled = await becomes(b, submitted, Status.EXECUTED)
    await comes_true(lambda: a.checking.waiting == b.checking.waiting == 0)
    assert (await b.history(settled)).count("CHECK passed") == 1
    await check_everything(b)


async def test_a_replica_that_wakes_after_its_lease_does_no_harm(
    a: Governed, b: Governed, backend: Backend
) -> None:
    """Its order was held up all the while and arrives last: the host has seen a higher token."""
    a.host.script.append(Loss.DELAY)
    submitted = await a.submit()
    await a.quiet()
    await expire_lease_of_the_older(backend)
    assert await b.adoption.adopt() == 1
    settled = await becomes(b, submitted, Status.EXECUTED)
    a.host.deliver()
    await a.pass_time(60)
    assert await a.now(submitted) == settled
    assert len(a.host.effects) == 1
    assert [one.status for one in await b.executions_of(settled)] == [ExecutionStatus.APPLIED]
    await check_everything(a)
    await check_everything(b)


async def test_what_a_woken_replica_still_has_in_line_is_executed_once(
    a: Governed, b: Governed, backend: Backend
) -> None:
    """Both have it in line by then."""
    a.host.script.append(Loss.DELAY)
    first = await a.submit()
    waiting = await a.submit()
    await a.quiet()
    await expire_lease_of_the_older(backend)
    assert await b.adoption.adopt() == 2
    await a.pass_time(60)
    a.host.deliver()
    for request in (first, waiting):
        await becomes(b, request, Status.EXECUTED)
        await becomes(a, request, Status.EXECUTED)
    assert len(a.host.effects) == 2
    await check_everything(b)


async def test_a_cancellation_at_one_replica_fences_the_execution_of_another(
    a: Governed, b: Governed
) -> None:
    """The order that is on its way then arrives too late."""
    a.host.orders.shut()
    submitted = await a.submit()
    await a.quiet()
    canceling = asyncio.create_task(b.cancel(OTTO, submitted))
    await comes_true(lambda: a.host.sent(Kind.FENCE))
    a.host.orders.open()
    await asyncio.gather(canceling, return_exceptions=True)
    await a.quiet()
    now = await b.now(submitted)
    assert now.status in (Status.CANCELED, Status.EXECUTED)
    assert len(a.host.effects) == (now.status is Status.EXECUTED)
    await check_everything(b)


async def test_expiry_at_one_replica_and_approval_at_another_have_one_winner(
    a: Governed, b: Governed
) -> None:
    submitted = await a.submit(risk=Risk.MEDIUM, expires_at=Micros(a.clock.now() + 10 * 1_000_000))
    a.clock.advance(10)
    await asyncio.gather(a.timers.run_due(), b.approve(ANN, submitted), return_exceptions=True)
    async with asyncio.timeout(WAIT_SECONDS_MAX):
        while not (now := await b.now(submitted)).is_terminal:
            await b.store.refresh(Revision(0))
    history = await b.history(now)
    assert history.count("LIFECYCLE expired") + history.count("LIFECYCLE executed") == 1
    await check_everything(b)


async def test_one_person_who_votes_at_both_under_two_names_counts_once(
    a: Governed, b: Governed
) -> None:
    for sidecar in (a, b):
        sidecar.directory.put("ann-bot", TENANT, (APPROVER,), ("reviewers",), person=ANN)
    submitted = await a.submit(risk=Risk.HIGH)
    await b.store.refresh(submitted.revision)
    answers = await asyncio.gather(
        a.vote(ANN, submitted), b.vote("ann-bot", submitted), return_exceptions=True
    )
    assert sorted(isinstance(one, NotEligible) for one in answers) == [False, True]
    await b.store.refresh(Revision(0))
    assert (await b.now(submitted)).status is Status.PENDING
    assert (await b.history(submitted)).count("APPROVAL granted") == 1
    await check_everything(b)


@pytest.mark.parametrize("lives_on", [True, False])
async def test_a_review_at_one_replica_leaves_the_execution_of_another_as_it_is(
    a: Governed, b: Governed, backend: Backend, lives_on: bool
) -> None:
    """Who writes a request sees to it: also to one that is left executing by whoever dies then."""
    a.host.orders.shut()
    request = await a.submit(FAYE, risk=Risk.MEDIUM, break_glass="it burns")
    await a.quiet()
    await b.review(ANN, await b.now(request))
    assert (await b.now(request)).status is Status.EXECUTING
    if not lives_on:
        await a.freeze()
        await expire_lease_of_the_older(backend)
    a.host.orders.open()

    if lives_on:
        executed = await becomes(b, request, Status.EXECUTED)
        await b.pass_time(120)
    else:
        await b.pass_time(120)
        executed = await becomes(b, request, Status.EXECUTED)

    assert executed.progress.review is not None
    assert not executed.progress.review.is_open
    assert len(a.host.effects) == 1
    token = (await b.execution_of(request)).fencing_token
    assert (token == 1) is lives_on
    await check_everything(b)


async def test_one_person_who_approves_at_two_replicas_counts_once(
    a: Governed, b: Governed
) -> None:
    submitted = await a.submit(risk=Risk.HIGH)
    answers = await asyncio.gather(
        a.approve(ANN, submitted), b.approve(ANN, submitted), return_exceptions=True
    )
    assert sorted(isinstance(one, NotEligible) for one in answers) == [False, True]
    history = await a.history(submitted)
    assert history.count("APPROVAL granted") == 1
    assert (await becomes(b, submitted, Status.PENDING)).waits_for(PendingReason.APPROVAL)


async def test_a_vote_taken_back_at_one_replica_and_the_claim_at_another_have_one_winner(
    a: Governed, b: Governed
) -> None:
    for _ in range(5):
        submitted = await a.submit(risk=Risk.MEDIUM, execution_mode=ExecutionMode.ON_EXECUTE)
        await a.approve(ANN, submitted)
        before = len(a.host.effects)
        answers = await asyncio.gather(
            a.revoke(ANN, submitted), b.execute(OTTO, submitted), return_exceptions=True
        )
        assert [type(one) for one in answers if isinstance(one, BaseException)] == [
            IllegalTransition
        ]
        is_revoked = "APPROVAL revoked" in await b.history(submitted)
        now = await becomes(a, submitted, Status.PENDING if is_revoked else Status.EXECUTED)
        assert len(a.host.effects) - before == (now.status is Status.EXECUTED)
    await check_everything(a)


# ---------------------------------------------------------------- batches


async def test_a_batch_that_is_approved_at_one_replica_is_conducted_once(
    a: Governed, b: Governed
) -> None:
    """Members end here and there; each step is taken by one of them."""
    members = [content(RITA, flag=flag, risk=Risk.MEDIUM) for flag in "abc"]
    answer = await a.submit_batch(*members)
    await b.approve(ANN, answer.batch)
    await becomes(a, answer.batch, Status.EXECUTED)
    await becomes(b, answer.batch, Status.EXECUTED)
    assert [effect.slot[2] for effect in a.host.effects] == ["a", "b", "c"]
    await check_everything(b)


async def test_a_batch_goes_on_when_the_replica_that_conducts_it_is_gone(
    a: Governed, b: Governed, backend: Backend
) -> None:
    a.host.orders.shut()
    answer = await a.submit_batch(*(content(RITA, flag=flag) for flag in "abc"))
    await a.quiet()
    await a.freeze()
    a.host.orders.open()
    await expire_lease_of_the_older(backend)
    await b.pass_time(120)
    await becomes(b, answer.batch, Status.EXECUTED)
    assert sorted(effect.slot[2] for effect in a.host.effects) == ["a", "b", "c"]
