"""Supersede: the old request ends and the new one begins in one commit, without the old votes."""

import asyncio

import pytest

from governor.domain.errors import (
    DependencyFailed,
    EtagMismatch,
    HostUnavailable,
    IllegalTransition,
    InvalidField,
    MissingRole,
    NotEligible,
    NotFound,
    RequestIdReused,
    UnsatisfiableApproval,
)
from governor.domain.execution import ExecutionStatus
from governor.domain.policy import Effect, Rule
from governor.domain.request import (
    ExecutionMode,
    Payload,
    PendingReason,
    Risk,
    StateRef,
    Status,
)
from governor.domain.values import Micros, RequestId
from governor.usecases.commands import etag_of
from governor.usecases.commits import Commit
from tests.support.governed import Governed
from tests.support.people import ANN, BOB, OTTO, RITA, ROBOT, SAM, reviewed
from tests.support.scripted_host import Kind, Loss

OTHER = Payload(content_type="application/json", data=b'{"on":false}')


async def test_the_old_request_ends_and_the_new_one_begins_in_one_commit(sidecar: Governed) -> None:
    old = await sidecar.submit(risk=Risk.HIGH)

    answer = await sidecar.supersede(RITA, old, risk=Risk.HIGH, payload=OTHER)

    assert answer.superseded is not None
    assert answer.superseded.status is Status.SUPERSEDED
    assert answer.superseded.progress.superseded_by == answer.request.id
    assert answer.request.supersedes == old.id
    assert answer.request.revision == answer.superseded.revision == answer.revision
    assert await sidecar.now(old) == answer.superseded
    assert await sidecar.now(answer.request) == answer.request


async def test_the_old_votes_are_void(sidecar: Governed) -> None:
    old = await sidecar.submit(risk=Risk.HIGH)
    await sidecar.approve(ANN, old)

    new = (await sidecar.supersede(RITA, old, risk=Risk.HIGH, payload=OTHER)).request

    assert new.progress.digest != old.progress.digest
    await sidecar.changes_nothing(sidecar.vote(BOB, old), IllegalTransition)
    new = await sidecar.approve(BOB, new)
    assert new.status is Status.PENDING
    assert (await sidecar.approve(ANN, new)).status is Status.APPROVED


async def test_the_new_request_has_the_same_requester_who_still_may_not_vote(
    sidecar: Governed,
) -> None:
    old = await sidecar.submit(risk=Risk.HIGH)
    new = (await sidecar.supersede(RITA, old, risk=Risk.HIGH)).request

    await sidecar.changes_nothing(sidecar.vote(ROBOT, new), NotEligible)


@pytest.mark.parametrize(
    ("risk", "status"),
    [
        (Risk.LOW, Status.APPROVED),
        (Risk.MEDIUM, Status.PENDING),
        (Risk.CRITICAL, Status.REJECTED),
    ],
)
async def test_policy_judges_the_new_request_by_itself(
    sidecar: Governed, risk: Risk, status: Status
) -> None:
    old = await sidecar.submit(risk=Risk.HIGH)

    new = (await sidecar.supersede(RITA, old, risk=risk, payload=OTHER)).request

    assert new.status is status
    await sidecar.quiet()
    applied = [effect.payload for effect in sidecar.host.effects]
    assert applied == ([OTHER.data] if risk is Risk.LOW else [])


async def test_what_stood_in_line_is_replaced_and_only_the_new_one_runs(sidecar: Governed) -> None:
    sidecar.host.orders.shut()
    await sidecar.submit()
    old = await sidecar.submit()
    await sidecar.quiet()

    new = (await sidecar.supersede(RITA, old, payload=OTHER)).request
    sidecar.host.orders.open()
    await sidecar.quiet()

    assert [effect.payload for effect in sidecar.host.effects] == [b'{"on":true}', OTHER.data]
    assert (await sidecar.now(new)).status is Status.EXECUTED


async def test_what_is_executing_is_fenced_first_and_then_only_the_new_one_runs(
    sidecar: Governed,
) -> None:
    sidecar.host.script.append(Loss.DELAY)
    old = await sidecar.submit()
    await sidecar.quiet()

    answer = await sidecar.supersede(RITA, old, payload=OTHER)
    await sidecar.quiet()
    sidecar.host.deliver()
    await sidecar.pass_time(60)

    assert [call.fencing_token for call in sidecar.host.sent(Kind.FENCE)] == [2]
    assert (await sidecar.execution_of(old)).status is ExecutionStatus.NOT_APPLIED
    assert (await sidecar.now(old)).status is Status.SUPERSEDED
    assert (await sidecar.now(answer.request)).status is Status.EXECUTED
    assert [effect.payload for effect in sidecar.host.effects] == [OTHER.data]


async def test_what_turns_out_applied_is_not_replaced_and_nothing_new_stands(
    sidecar: Governed,
) -> None:
    sidecar.host.answers.shut()
    old = await sidecar.submit()
    await sidecar.quiet()

    calling = asyncio.ensure_future(sidecar.supersede(RITA, old, payload=OTHER))
    await sidecar.quiet()
    sidecar.host.answers.open()

    with pytest.raises(IllegalTransition):
        await calling
    await sidecar.quiet()
    assert (await sidecar.now(old)).status is Status.EXECUTED
    assert {entry.decision.request_id for entry in await sidecar.ledger()} == {old.id}


async def test_a_silent_host_leaves_the_old_request_and_nothing_new(sidecar: Governed) -> None:
    sidecar.host.script.append(Loss.DELAY)
    old = await sidecar.submit()
    await sidecar.quiet()

    async def falls_silent(_: Commit) -> None:
        sidecar.host.is_reachable = False

    sidecar.store.interruptions.append(falls_silent)
    calling = asyncio.ensure_future(sidecar.supersede(RITA, old, payload=OTHER))
    await sidecar.pass_time(60)

    with pytest.raises(HostUnavailable):
        await calling
    sidecar.host.is_reachable = True
    await sidecar.pass_time(60)
    assert (await sidecar.now(old)).status is Status.EXECUTED
    assert {entry.decision.request_id for entry in await sidecar.ledger()} == {old.id}


async def test_a_dependency_that_ends_while_the_old_execution_is_fenced_is_looked_at_again(
    sidecar: Governed,
) -> None:
    """The old execution is fenced already when the commit is refused for the dependency's sake:
    the whole call is judged anew, and the fenced execution does not get lost on the way.
    """
    first = await sidecar.submit(flag="first", execution_mode=ExecutionMode.ON_EXECUTE)
    sidecar.host.script.append(Loss.SILENCE)
    old = await sidecar.submit()
    await sidecar.quiet()

    async def takeover(_: Commit) -> None:
        """The commit before the one that ends it."""

    async def meanwhile(_: Commit) -> None:
        await sidecar.execute(RITA, first)

    sidecar.store.interruptions.extend([takeover, meanwhile])
    calling = asyncio.ensure_future(sidecar.supersede(RITA, old, depends_on=(first.id,)))
    await sidecar.pass_time(60)
    (result,) = await asyncio.gather(calling, return_exceptions=True)

    sidecar.host.deadlines.open()
    await sidecar.pass_time(60)
    if isinstance(result, BaseException):
        assert isinstance(result, IllegalTransition)
        assert (await sidecar.now(old)).status is Status.EXECUTED
    else:
        assert (await sidecar.now(old)).status is Status.SUPERSEDED
        assert (await sidecar.now(result.request)).status is Status.EXECUTED
    per_state = [effect.slot for effect in sidecar.host.effects]
    assert len(per_state) == len(set(per_state)) == 2


# ---------------------------------------------------------------- what is refused


async def test_what_has_ended_is_not_replaced(sidecar: Governed) -> None:
    done = await sidecar.submit()
    await sidecar.quiet()
    gone = await sidecar.cancel(RITA, await sidecar.submit(risk=Risk.HIGH))

    for old in (done, gone):
        await sidecar.changes_nothing(sidecar.supersede(RITA, old), IllegalTransition)


async def test_what_is_in_doubt_is_not_replaced(sidecar: Governed) -> None:
    sidecar.host.script.extend([Loss.ORDER] * 1000)
    old = await sidecar.submit()
    await sidecar.pass_time(600)
    assert (await sidecar.now(old)).waits_for(PendingReason.AUDIT)

    await sidecar.changes_nothing(sidecar.supersede(RITA, old), IllegalTransition)


async def test_a_request_is_replaced_only_by_one_for_the_same_state(sidecar: Governed) -> None:
    old = await sidecar.submit(risk=Risk.HIGH)

    for fields in (
        {"state": StateRef(type="flag", id="other")},
        {"state": StateRef(type="role", id="checkout")},
        {"tenant": "umbrella"},
        {"depends_on": (old.id,)},
    ):
        call = sidecar.supersede(RITA, old, **fields)
        await sidecar.changes_nothing(call, InvalidField)


async def test_only_the_requester_replaces_a_request(sidecar: Governed) -> None:
    old = await sidecar.submit(risk=Risk.HIGH)

    for stranger in (SAM, OTTO, ANN):
        await sidecar.changes_nothing(sidecar.supersede(stranger, old), MissingRole)


async def test_what_submit_refuses_is_refused_and_the_old_request_stands(sidecar: Governed) -> None:
    old = await sidecar.submit(risk=Risk.HIGH)
    ended = await sidecar.submit(risk=Risk.CRITICAL, flag="other")

    for refusal, dependency in ((DependencyFailed, ended.id), (NotFound, RequestId("none"))):
        call = sidecar.supersede(RITA, old, depends_on=(dependency,))
        await sidecar.changes_nothing(call, refusal)
    sidecar.policy.rules = (Rule(id="four", effect=Effect.DEFER, steps=(reviewed(4),)),)
    await sidecar.changes_nothing(sidecar.supersede(RITA, old), UnsatisfiableApproval)
    assert await sidecar.now(old) == old


async def test_a_stale_etag_is_refused(sidecar: Governed) -> None:
    old = await sidecar.submit(risk=Risk.HIGH)
    moved = await sidecar.approve(ANN, old)

    await sidecar.changes_nothing(sidecar.supersede(RITA, old, etag=etag_of(old)), EtagMismatch)
    answer = await sidecar.supersede(RITA, old, etag=etag_of(moved))
    assert answer.request.supersedes == old.id


async def test_the_same_call_again_gives_the_first_answer(sidecar: Governed) -> None:
    old = await sidecar.submit(risk=Risk.HIGH)
    first = await sidecar.supersede(RITA, old, key="once", payload=OTHER)
    await sidecar.pass_time(60)
    before = sidecar.store.head

    assert await sidecar.supersede(RITA, old, key="once", payload=OTHER) == first
    await sidecar.restart()
    assert await sidecar.supersede(RITA, old, key="once", payload=OTHER) == first
    assert sidecar.store.head == before
    await sidecar.changes_nothing(sidecar.supersede(RITA, old, key="once"), RequestIdReused)


async def test_two_replacements_at_once_leave_one(sidecar: Governed) -> None:
    old = await sidecar.submit(risk=Risk.HIGH)

    results = await asyncio.gather(
        *(sidecar.supersede(RITA, old, payload=OTHER) for _ in range(4)), return_exceptions=True
    )

    refused = [result for result in results if isinstance(result, BaseException)]
    assert [type(refusal) for refusal in refused] == [IllegalTransition] * 3
    await sidecar.quiet()
    assert [effect.payload for effect in sidecar.host.effects] == [OTHER.data]


async def test_a_time_that_submit_refuses_is_named_where_the_caller_sent_it(
    sidecar: Governed,
) -> None:
    old = await sidecar.submit(risk=Risk.HIGH)
    far = Micros(sidecar.app.clock.now() + 10_000 * 86_400 * 1_000_000)

    with pytest.raises(InvalidField) as refusal:
        await sidecar.supersede(RITA, old, execute_after=far)
    assert refusal.value.field == "replacement.execute_after"
