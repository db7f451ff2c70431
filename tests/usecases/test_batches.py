"""Batches: several mutations decided on as one, conducted in their order, whole or put right."""

from collections.abc import Sequence
from typing import Any

import pytest

from governor.domain.compensation import CompensationKind
from governor.domain.errors import BatchGoverns, InvalidField
from governor.domain.execution import Refused
from governor.domain.policy import Effect, Rule
from governor.domain.request import (
    BatchDecisionMode,
    BatchFailureMode,
    BatchOrdering,
    Content,
    MutationRequest,
    PendingReason,
    Risk,
    Status,
)
from governor.domain.values import Micros
from governor.usecases.commands import BatchSubmitted
from governor.usecases.questions import RequestQuery
from tests.support.builders import MICROS_PER_SECOND
from tests.support.governed import Governed, content
from tests.support.people import ANN, OTTO, RITA, TENANT, PlainPolicy
from tests.support.scripted_host import COMPARING, NO, Loss

SEQUENTIAL, INDEPENDENT = BatchOrdering.SEQUENTIAL, BatchOrdering.INDEPENDENT
STOP, CONTINUE = BatchFailureMode.STOP, BatchFailureMode.CONTINUE
COMPENSATE = BatchFailureMode.COMPENSATE
UNDOING = COMPARING.but(rollback=True)
SOON = Micros(1_700_000_060_000_000)
WHOLE, PER_MEMBER = BatchDecisionMode.BATCH, BatchDecisionMode.PER_MEMBER


def flags(*names: str, **fields: Any) -> tuple[Content, ...]:
    return tuple(content(RITA, flag=name, **fields) for name in names)


async def statuses(sidecar: Governed, requests: Sequence[MutationRequest]) -> list[Status]:
    return [(await sidecar.now(one)).status for one in requests]


def applied(sidecar: Governed, answer: BatchSubmitted) -> list[int]:
    """The places of the members that the host applied, in its order."""
    places = {one.id: place for place, one in enumerate(answer.members)}
    return [places[effect.request_id] for effect in sidecar.host.effects]


@pytest.mark.parametrize("ordering", BatchOrdering)
@pytest.mark.parametrize("failure_mode", [STOP, CONTINUE])
@pytest.mark.parametrize("decision_mode", BatchDecisionMode)
async def test_a_batch_without_failures_is_executed_whole(
    sidecar: Governed,
    ordering: BatchOrdering,
    failure_mode: BatchFailureMode,
    decision_mode: BatchDecisionMode,
) -> None:
    answer = await sidecar.submit_batch(
        *flags("a", "b", "c"),
        ordering=ordering,
        failure_mode=failure_mode,
        decision_mode=decision_mode,
    )
    assert all(one.waits_for(PendingReason.BATCH) for one in answer.members)
    await sidecar.quiet()

    batch = await sidecar.now(answer.batch)
    assert batch.status is Status.EXECUTED
    assert await statuses(sidecar, answer.members) == [Status.EXECUTED] * 3
    assert sorted(applied(sidecar, answer)) == [0, 1, 2]
    if ordering is SEQUENTIAL:
        assert applied(sidecar, answer) == [0, 1, 2]
    assert batch.progress.batch is not None
    assert batch.progress.batch.applied == tuple(one.id for one in answer.members)


@pytest.mark.parametrize(
    ("ordering", "failure_mode", "left"),
    [
        (SEQUENTIAL, STOP, [Status.EXECUTED, Status.FAILED, Status.CANCELED, Status.CANCELED]),
        (SEQUENTIAL, CONTINUE, [Status.EXECUTED, Status.FAILED, Status.EXECUTED, Status.EXECUTED]),
        (INDEPENDENT, CONTINUE, [Status.EXECUTED, Status.FAILED, *[Status.EXECUTED] * 2]),
        (INDEPENDENT, STOP, [Status.EXECUTED, Status.FAILED, *[Status.EXECUTED] * 2]),
    ],
)
async def test_a_member_that_fails_ends_the_batch_as_its_mode_says(
    sidecar: Governed, ordering: BatchOrdering, failure_mode: BatchFailureMode, left: list[Status]
) -> None:
    sidecar.host.refused_ids = {"b"}
    answer = await sidecar.submit_batch(
        *flags("a", "b", "c", "d"), ordering=ordering, failure_mode=failure_mode
    )
    await sidecar.quiet()

    assert await statuses(sidecar, answer.members) == left
    batch = await sidecar.now(answer.batch)
    assert batch.status is Status.FAILED
    reason = batch.progress.status_reason
    assert reason is not None
    assert reason.code == "BATCH_FAILED"
    assert answer.members[1].id in reason.metadata["failed"].split(",")
    assert reason.metadata["applied"].split(",")[0] == answer.members[0].id


async def test_one_approval_covers_the_exact_ordered_set(sidecar: Governed) -> None:
    members = (*flags("a", risk=Risk.LOW), *flags("b", "c", risk=Risk.MEDIUM))
    answer = await sidecar.submit_batch(*members)

    approval = answer.batch.progress.approval
    assert approval is not None
    assert len(approval.plan.steps) == 1, "equal steps are asked once"
    assert all(one.progress.approval is None for one in answer.members)
    for member in answer.members:
        assert member.progress.digest.hex().encode() in answer.batch.content.payload.data
    assert sidecar.host.effects == []

    await sidecar.approve(ANN, answer.batch)
    await sidecar.quiet()

    assert (await sidecar.now(answer.batch)).status is Status.EXECUTED
    assert [effect.approvers for effect in sidecar.host.effects] == [(ANN,)] * 3


async def test_what_policy_denies_of_it_denies_the_whole(sidecar: Governed) -> None:
    members = (*flags("a"), *flags("b", risk=Risk.CRITICAL), *flags("c"))
    answer = await sidecar.submit_batch(*members)

    assert answer.batch.status is Status.REJECTED
    assert [one.status for one in answer.members] == [
        Status.CANCELED,
        Status.REJECTED,
        Status.CANCELED,
    ]
    reason = answer.members[0].progress.status_reason
    assert reason is not None
    assert reason.code == "BATCH_ENDED"
    await sidecar.quiet()
    assert sidecar.host.effects == []


async def test_per_member_each_waits_for_its_own_approval(sidecar: Governed) -> None:
    members = (*flags("a"), *flags("b", risk=Risk.MEDIUM), *flags("c"))
    answer = await sidecar.submit_batch(*members, decision_mode=PER_MEMBER)
    await sidecar.quiet()
    assert await statuses(sidecar, answer.members) == [
        Status.EXECUTED,
        Status.PENDING,
        Status.PENDING,
    ]

    await sidecar.approve(ANN, await sidecar.now(answer.members[1]))
    await sidecar.quiet()

    assert (await sidecar.now(answer.batch)).status is Status.EXECUTED
    assert applied(sidecar, answer) == [0, 1, 2]


@pytest.mark.parametrize("how", ["rejected", "canceled", "expired"])
async def test_the_members_end_in_the_commit_in_which_a_waiting_batch_ends(
    sidecar: Governed, how: str
) -> None:
    soon = Micros(sidecar.clock.now() + 60 * MICROS_PER_SECOND)
    answer = await sidecar.submit_batch(*flags("a", "b", risk=Risk.MEDIUM), expires_at=soon)
    if how == "rejected":
        await sidecar.reject(ANN, answer.batch)
    elif how == "canceled":
        await sidecar.cancel(RITA, answer.batch)
    else:
        await sidecar.pass_time(61)

    batch = await sidecar.now(answer.batch)
    assert batch.is_terminal
    for member in answer.members:
        ended = await sidecar.now(member)
        assert ended.status is Status.CANCELED
        assert ended.revision == batch.revision


async def test_a_member_is_neither_canceled_nor_replaced_by_itself(sidecar: Governed) -> None:
    answer = await sidecar.submit_batch(*flags("a", "b", risk=Risk.MEDIUM))
    with pytest.raises(BatchGoverns):
        await sidecar.cancel(RITA, answer.members[0])
    with pytest.raises(BatchGoverns):
        await sidecar.supersede(RITA, answer.members[0], flag="a")
    with pytest.raises(BatchGoverns):
        await sidecar.supersede(RITA, answer.batch, flag="a")


async def test_a_batch_that_is_executed_is_stopped_by_a_cancellation(sidecar: Governed) -> None:
    sidecar.host.orders.shut()
    answer = await sidecar.submit_batch(*flags("a", "b", "c"))
    await sidecar.quiet()
    assert (await sidecar.now(answer.batch)).status is Status.EXECUTING

    await sidecar.cancel(RITA, await sidecar.now(answer.batch))
    await sidecar.quiet()
    sidecar.host.orders.open()
    await sidecar.quiet()

    assert await statuses(sidecar, answer.members) == [
        Status.EXECUTED,
        Status.CANCELED,
        Status.CANCELED,
    ]
    batch = await sidecar.now(answer.batch)
    assert batch.status is Status.FAILED
    assert batch.progress.status_reason is not None
    assert batch.progress.status_reason.metadata["cause"] == "CANCELED"


async def test_a_repeated_submission_is_answered_and_does_nothing_twice(sidecar: Governed) -> None:
    first = await sidecar.submit_batch(*flags("a", "b"), key="again")
    again = await sidecar.submit_batch(*flags("a", "b"), key="again")
    await sidecar.quiet()

    assert again.batch.id == first.batch.id
    assert [one.id for one in again.members] == [one.id for one in first.members]
    assert len(sidecar.host.effects) == 2


@pytest.mark.parametrize("name", ["mutation_type", "state_type"])
async def test_the_names_of_governors_own_mutations_are_refused(
    sidecar: Governed, name: str
) -> None:
    ordinary = content(RITA, flag="a")
    taken = (
        ordinary.but(mutation_type="governor.batch")
        if name == "mutation_type"
        else ordinary.but(state=ordinary.state.but(type="governor.batch"))
    )
    with pytest.raises(InvalidField):
        await sidecar.submit_batch(taken)


async def test_a_member_in_doubt_holds_the_batch_where_it_is(sidecar: Governed) -> None:
    sidecar.host.script.append(Loss.ANSWER)
    sidecar.host.promises = sidecar.host.promises.but(exactly_once=False)
    answer = await sidecar.submit_batch(*flags("a", "b"))
    await sidecar.pass_time(600)
    assert (await sidecar.now(answer.members[0])).waits_for(PendingReason.AUDIT)
    assert (await sidecar.now(answer.batch)).status is Status.EXECUTING
    assert (await sidecar.now(answer.members[1])).waits_for(PendingReason.BATCH)


PLACES = [
    "batch.before_claim",
    "batch.after_claim",
    "batch.before_step",
    "batch.after_step",
    "store.batch.before_commit",
    "store.batch.after_commit",
    "execute.before_outcome",
    "execute.after_outcome",
]


@pytest.mark.parametrize("failpoint", PLACES)
@pytest.mark.parametrize("passing", [1, 2, 3, 5, 8])
@pytest.mark.parametrize("mode", [None, STOP, COMPENSATE])
async def test_whoever_dies_over_a_batch_the_next_one_finishes_it(
    sidecar: Governed, failpoint: str, passing: int, mode: BatchFailureMode | None
) -> None:
    if mode is not None:
        sidecar.host.refused_ids = {"c"}
    sidecar.host.promises = UNDOING
    members = flags("a", "b", "c", "d", risk=Risk.MEDIUM)
    answer = await sidecar.submit_batch(*members, failure_mode=mode or STOP)
    await sidecar.approve(ANN, answer.batch)
    sidecar.die_at(failpoint, passing=passing)
    await sidecar.pass_time(1)
    sidecar.forget_ends()
    await sidecar.restart()
    await sidecar.pass_time(120)

    batch = await sidecar.now(answer.batch)
    assert batch.status is (Status.EXECUTED if mode is None else Status.FAILED)
    named = [effect.slot[2] for effect in sidecar.host.effects]
    if mode is None:
        assert named == ["a", "b", "c", "d"]
    elif mode is STOP:
        assert named == ["a", "b"]
    else:
        assert named == ["a", "b", "b", "a"], "each was taken back once, the last first"
        for place in (0, 1):
            member = await sidecar.now(answer.members[place])
            assert member.status is Status.EXECUTED
            assert member.progress.compensated_by is not None
        reason = batch.progress.status_reason
        assert reason is not None
        assert reason.code == "BATCH_COMPENSATED"


async def test_of_five_the_fourth_fails_and_the_three_are_put_right_in_reverse(
    sidecar: Governed,
) -> None:
    sidecar.host.promises, sidecar.host.refused_ids = UNDOING, {"d"}
    answer = await sidecar.submit_batch(*flags(*"abcde"), failure_mode=COMPENSATE)
    await sidecar.quiet()

    assert [effect.slot[2] for effect in sidecar.host.effects] == list("abccba")
    batch = await sidecar.now(answer.batch)
    assert batch.status is Status.FAILED
    assert batch.progress.batch is not None
    assert batch.progress.batch.undone == tuple(reversed(batch.progress.batch.applied))
    member = await sidecar.now(answer.members[0])
    assert member.progress.compensated_by is not None
    rollback = await sidecar.app.store.request(member.progress.compensated_by.request_id)
    assert rollback is not None
    assert rollback.content.batch is not None
    assert rollback.content.batch.batch_id == batch.id
    assert rollback.progress.verdict is not None
    assert rollback.progress.verdict.rules == (f"batch:{batch.id}",)
    assert await left_behind(sidecar) == []


async def test_members_on_one_state_are_put_right_one_after_the_other(sidecar: Governed) -> None:
    sidecar.host.promises, sidecar.host.refused_ids = UNDOING, {"z"}
    answer = await sidecar.submit_batch(*flags("a", "a", "z"), failure_mode=COMPENSATE)
    await sidecar.quiet()

    batch = await sidecar.now(answer.batch)
    reason = batch.progress.status_reason
    assert reason is not None
    assert reason.code == "BATCH_COMPENSATED"


async def test_what_cannot_be_put_right_waits_for_a_person(sidecar: Governed) -> None:
    sidecar.host.refused_ids = {"c"}
    answer = await sidecar.submit_batch(*flags("a", "b", "c"), failure_mode=COMPENSATE)
    await sidecar.quiet()

    batch = await sidecar.now(answer.batch)
    assert batch.waits_for(PendingReason.AUDIT)
    reason = batch.progress.status_reason
    assert reason is not None
    assert reason.code == "BATCH_NOT_COMPENSATED"
    assert reason.metadata["code"] == "NOT_REVERSIBLE"
    assert reason.metadata["not_put_right"].split(",") == [one.id for one in answer.members[:2]]
    assert set(await left_behind(sidecar)) == {one.id for one in answer.members[:2]}

    (execution,) = await sidecar.app.store.executions_of(batch.id)
    await sidecar.resolve(OTTO, execution, "as it is")
    assert (await sidecar.now(batch)).status is Status.EXECUTED
    assert await left_behind(sidecar) == [], "somebody has said that it is well"


async def test_a_batch_passes_no_denial_of_policy_when_it_takes_back(sidecar: Governed) -> None:
    """Its approval stands for a yes, and for no rule at all; never past a no."""
    sidecar.host.promises, sidecar.host.refused_ids = UNDOING, {"c"}
    policy = sidecar.app.policy
    assert isinstance(policy, PlainPolicy)
    no = Rule(id="never-back", effect=Effect.DENY, compensations=(CompensationKind.ROLLBACK,))
    policy.rules = (*policy.rules, no)
    answer = await sidecar.submit_batch(*flags("a", "b", "c"), failure_mode=COMPENSATE)
    await sidecar.quiet()

    batch = await sidecar.now(answer.batch)
    assert batch.waits_for(PendingReason.AUDIT)
    assert batch.progress.status_reason is not None
    assert batch.progress.status_reason.metadata["code"] == "POLICY_DENIED"
    assert [effect.slot[2] for effect in sidecar.host.effects] == ["a", "b"]


async def test_a_rollback_that_is_stale_is_not_applied(sidecar: Governed) -> None:
    sidecar.host.promises, sidecar.host.refused_ids = UNDOING, {"c"}
    answer = await sidecar.submit_batch(
        *flags("a", "b"), *flags("c", execute_after=SOON), failure_mode=COMPENSATE
    )
    await sidecar.quiet()
    sidecar.host.touch(answer.members[0].slot)
    await sidecar.pass_time(120)

    batch = await sidecar.now(answer.batch)
    assert batch.waits_for(PendingReason.AUDIT)
    assert batch.progress.status_reason is not None
    assert batch.progress.status_reason.metadata["code"] == "STALE"
    assert batch.progress.status_reason.metadata["put_right"] == answer.members[1].id
    assert [effect.slot[2] for effect in sidecar.host.effects] == ["a", "b", "b"]


async def left_behind(sidecar: Governed) -> list[str]:
    found = await sidecar.app.store.requests(RequestQuery(tenant=TENANT, uncompensated=True))
    return [one.id for one in found]


async def test_what_a_stopped_batch_leaves_behind_is_found(sidecar: Governed) -> None:
    sidecar.host.refused_ids = {"c"}
    answer = await sidecar.submit_batch(*flags("a", "b", "c"))
    await sidecar.quiet()
    assert sorted(await left_behind(sidecar)) == sorted(one.id for one in answer.members[:2])
    members = await sidecar.app.store.requests(
        RequestQuery(tenant=TENANT, batch_id=answer.batch.id)
    )
    assert {one.id for one in members} == {one.id for one in answer.members}


async def test_refusals_are_named(sidecar: Governed) -> None:
    with pytest.raises(InvalidField):
        await sidecar.submit_batch()
    with pytest.raises(InvalidField):
        await sidecar.submit_batch(*flags(*map(str, range(101))))
    assert isinstance(NO, Refused)
