"""Dependencies: a request waits until all it depends on are executed, or is rejected with them."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from governor.domain.errors import (
    Conflict,
    DependencyCycle,
    DependencyFailed,
    Overloaded,
    StoreUnavailable,
)
from governor.domain.request import (
    DependencyFailure,
    ExecutionMode,
    MutationRequest,
    PendingReason,
    Risk,
    Status,
)
from governor.domain.values import Micros
from governor.usecases.app import Limits
from tests.support.governed import Governed, governed
from tests.support.people import ANN, OTTO, RITA
from tests.support.scripted_host import NO, Loss

ON_EXECUTE = ExecutionMode.ON_EXECUTE
SOON = Micros(1_700_000_060_000_000)


async def on_demand(sidecar: Governed, flag: str, *on: MutationRequest) -> MutationRequest:
    """Runs when it is told to, once its dependencies are executed."""
    return await sidecar.submit(
        flag=flag, execution_mode=ON_EXECUTE, depends_on=tuple(one.id for one in on)
    )


async def after(sidecar: Governed, flag: str, *on: MutationRequest) -> MutationRequest:
    """Runs as soon as its dependencies are executed."""
    return await sidecar.submit(flag=flag, depends_on=tuple(one.id for one in on))


async def status(sidecar: Governed, request: MutationRequest) -> Status:
    return (await sidecar.now(request)).status


async def test_it_runs_when_the_last_of_its_dependencies_is_executed(sidecar: Governed) -> None:
    first, second = await on_demand(sidecar, "a"), await on_demand(sidecar, "b")
    waiting = await after(sidecar, "c", first, second)
    assert waiting.waits_for(PendingReason.DEPENDENCY)

    await sidecar.execute(RITA, second)
    await sidecar.quiet()
    assert await status(sidecar, waiting) is Status.PENDING
    await sidecar.execute(RITA, first)
    await sidecar.quiet()

    assert await status(sidecar, waiting) is Status.EXECUTED
    order = [effect.request_id for effect in sidecar.host.effects]
    assert order == [second.id, first.id, waiting.id]


async def test_a_chain_runs_from_its_beginning(sidecar: Governed) -> None:
    chain = [await on_demand(sidecar, "0")]
    for number in range(1, 6):
        chain.append(await after(sidecar, str(number), chain[-1]))

    await sidecar.execute(RITA, chain[0])
    await sidecar.quiet()

    assert [effect.request_id for effect in sidecar.host.effects] == [one.id for one in chain]


async def test_a_chain_on_one_state_does_not_stand_in_its_own_way(sidecar: Governed) -> None:
    first = await on_demand(sidecar, "a")
    second = await after(sidecar, "a", first)
    third = await after(sidecar, "a", second)

    await sidecar.execute(RITA, first)
    await sidecar.quiet()

    assert await status(sidecar, third) is Status.EXECUTED


async def canceled(sidecar: Governed, request: MutationRequest) -> None:
    await sidecar.cancel(RITA, request)


async def expired(sidecar: Governed, _: MutationRequest) -> None:
    await sidecar.pass_time(60)


async def refused(sidecar: Governed, request: MutationRequest) -> None:
    sidecar.host.refusal = NO
    await sidecar.execute(RITA, request)


@pytest.mark.parametrize("fails", [canceled, expired, refused])
async def test_it_is_rejected_with_what_it_depends_on_and_so_is_the_whole_chain(
    sidecar: Governed, fails: Callable[[Governed, MutationRequest], Awaitable[object]]
) -> None:
    first = await sidecar.submit(flag="a", execution_mode=ON_EXECUTE, expires_at=SOON)
    second = await after(sidecar, "b", first)
    third = await after(sidecar, "c", second)

    await fails(sidecar, first)
    await sidecar.quiet()

    ended = await sidecar.now(second)
    assert ended.status is Status.REJECTED
    assert ended.progress.status_reason is not None
    assert ended.progress.status_reason.code == "DEPENDENCY_FAILED"
    assert ended.progress.status_reason.metadata["depends_on"] == first.id
    assert await status(sidecar, third) is Status.REJECTED
    assert sidecar.host.effects == []


async def test_a_dependency_in_doubt_is_waited_for(sidecar: Governed) -> None:
    sidecar.host.script.extend([Loss.ORDER] * 1000)
    first = await sidecar.submit(flag="a")
    waiting = await after(sidecar, "b", first)
    await sidecar.pass_time(3600)
    sidecar.host.script.clear()
    assert await status(sidecar, waiting) is Status.PENDING

    await sidecar.resolve("otto", await sidecar.execution_of(first), "8")
    await sidecar.quiet()
    assert await status(sidecar, waiting) is Status.EXECUTED


async def test_an_executed_dependency_does_not_take_the_place_of_an_approval(
    sidecar: Governed,
) -> None:
    first = await on_demand(sidecar, "a")
    waiting = await sidecar.submit(flag="b", risk=Risk.MEDIUM, depends_on=(first.id,))
    await sidecar.execute(RITA, first)
    await sidecar.quiet()
    left = await sidecar.now(waiting)
    assert [pending.reason for pending in left.progress.pending] == [PendingReason.APPROVAL]

    await sidecar.approve(ANN, waiting)
    await sidecar.quiet()
    assert await status(sidecar, waiting) is Status.EXECUTED


async def test_many_wait_for_one(sidecar: Governed) -> None:
    first = await on_demand(sidecar, "first")
    waiting = [await after(sidecar, f"flag-{n}", first) for n in range(30)]

    await sidecar.execute(RITA, first)
    await sidecar.quiet()

    for request in waiting:
        assert await status(sidecar, request) is Status.EXECUTED


@pytest.mark.parametrize("ends", [canceled, None], ids=["canceled", "executed"])
async def test_what_ended_unseen_before_a_crash_is_found_by_the_next_life(
    tmp_path: Path, ends: "object"
) -> None:
    """The dependency's end is durable, and the process dies before anything followed from it."""
    async with governed(tmp_path, limits=Limits()) as sidecar:
        first = await on_demand(sidecar, "a")
        waiting = await after(sidecar, "b", first)
        if ends is None:
            sidecar.die_at("execute.after_outcome")
            await sidecar.unless_it_dies(sidecar.execute(RITA, first))
            await sidecar.pass_time(1)
        else:
            sidecar.die_at("store.batch.after_commit")
            await sidecar.unless_it_dies(sidecar.cancel(RITA, first))

        await sidecar.restart()
        await sidecar.quiet()

        expected = Status.EXECUTED if ends is None else Status.REJECTED
        assert await status(sidecar, waiting) is expected


async def test_the_wait_survives_a_restart(sidecar: Governed) -> None:
    first = await on_demand(sidecar, "a")
    waiting = await after(sidecar, "b", first)
    await sidecar.restart()
    await sidecar.quiet()
    assert await status(sidecar, waiting) is Status.PENDING

    await sidecar.execute(RITA, first)
    await sidecar.quiet()
    assert await status(sidecar, waiting) is Status.EXECUTED


async def test_a_store_that_is_away_for_a_moment_delays_and_loses_nothing(
    sidecar: Governed,
) -> None:
    first = await on_demand(sidecar, "a")
    waiting = await after(sidecar, "b", first)
    gone, changed = StoreUnavailable("gone"), Conflict("somebody else")

    await sidecar.cancel(RITA, first)
    sidecar.store.interruptions.extend([gone, changed, gone])
    await sidecar.pass_time(60)

    assert await status(sidecar, waiting) is Status.REJECTED


async def test_a_request_canceled_while_it_waits_stays_canceled(sidecar: Governed) -> None:
    first = await on_demand(sidecar, "a")
    waiting = await after(sidecar, "b", first)

    await asyncio.gather(sidecar.cancel(RITA, waiting), sidecar.execute(RITA, first))
    await sidecar.quiet()

    assert await status(sidecar, waiting) is Status.CANCELED
    assert [effect.request_id for effect in sidecar.host.effects] == [first.id]


async def test_who_waits_no_longer_is_forgotten(sidecar: Governed) -> None:
    """Also where what it depended on has ended before, or never ends."""
    done, first, endless = [await on_demand(sidecar, flag) for flag in ("a", "b", "c")]
    await sidecar.execute(RITA, done, wait_seconds=30)
    waiting = await sidecar.submit(
        flag="d", risk=Risk.MEDIUM, depends_on=(done.id, first.id, endless.id)
    )
    await sidecar.approve(ANN, waiting)
    assert sidecar.dependencies.waiting_for(endless.id) == {waiting.id}

    await sidecar.cancel(RITA, first)
    await sidecar.quiet()

    assert await status(sidecar, waiting) is Status.REJECTED
    for one in (done, first, endless):
        assert sidecar.dependencies.waiting_for(one.id) == frozenset()


# ---------------------------------------------------------------- what fails otherwise

OTHERWISE = (DependencyFailure.PROCEED, DependencyFailure.REVIEW)


@pytest.mark.parametrize("fails", [canceled, expired, refused])
async def test_one_that_proceeds_runs_when_all_have_ended(
    sidecar: Governed, fails: Callable[[Governed, MutationRequest], Awaitable[object]]
) -> None:
    first = await sidecar.submit(flag="a", execution_mode=ON_EXECUTE, expires_at=SOON)
    second = await on_demand(sidecar, "b")
    waiting = await sidecar.submit(
        flag="c",
        depends_on=(first.id, second.id),
        on_dependency_failure=DependencyFailure.PROCEED,
    )
    await fails(sidecar, first)
    await sidecar.quiet()
    assert (await sidecar.now(waiting)).waits_for(PendingReason.DEPENDENCY)

    sidecar.host.refusal = None
    await sidecar.execute(RITA, second)
    await sidecar.quiet()
    assert await status(sidecar, waiting) is Status.EXECUTED


@pytest.mark.parametrize(("passed", "end"), [(True, Status.EXECUTED), (False, Status.REJECTED)])
async def test_one_that_is_reviewed_waits_for_a_person_and_goes_by_their_word(
    sidecar: Governed, *, passed: bool, end: Status
) -> None:
    first = await on_demand(sidecar, "a")
    waiting = await sidecar.submit(
        flag="c", depends_on=(first.id,), on_dependency_failure=DependencyFailure.REVIEW
    )
    await sidecar.cancel(RITA, first)
    await sidecar.quiet()

    held = await sidecar.now(waiting)
    (pending,) = held.progress.pending
    assert (pending.reason, pending.name) == (PendingReason.MANUAL_REVIEW, "dependency")
    assert first.id in pending.detail

    await sidecar.answer_gate(OTTO, held, "dependency", passed=passed)
    await sidecar.quiet()
    assert await status(sidecar, waiting) is end


async def test_what_has_failed_before_the_submission_resolves_as_it_would_have_later(
    sidecar: Governed,
) -> None:
    first = await on_demand(sidecar, "a")
    await sidecar.cancel(RITA, first)
    with pytest.raises(DependencyFailed):
        await after(sidecar, "b", first)
    proceeds, reviewed = [
        await sidecar.submit(flag=how, depends_on=(first.id,), on_dependency_failure=how)
        for how in OTHERWISE
    ]
    await sidecar.quiet()
    assert await status(sidecar, proceeds) is Status.EXECUTED
    assert (await sidecar.now(reviewed)).waits_for(PendingReason.MANUAL_REVIEW)


# ---------------------------------------------------------------- what is superseded


async def replaced(sidecar: Governed, request: MutationRequest) -> MutationRequest:
    changed = await sidecar.supersede(RITA, request, execution_mode=ON_EXECUTE)
    return changed.request


async def test_what_takes_the_place_of_a_dependency_is_waited_for(sidecar: Governed) -> None:
    first = await on_demand(sidecar, "a")
    waiting = await after(sidecar, "b", first)
    second = await replaced(sidecar, first)
    third = await replaced(sidecar, second)
    await sidecar.quiet()
    assert await status(sidecar, waiting) is Status.PENDING

    await sidecar.execute(RITA, third)
    await sidecar.quiet()
    assert await status(sidecar, waiting) is Status.EXECUTED
    for one in (first, second, third):
        assert sidecar.dependencies.waiting_for(one.id) == frozenset()


async def test_what_took_the_place_of_a_dependency_is_found_by_the_next_life(
    sidecar: Governed,
) -> None:
    first = await on_demand(sidecar, "a")
    waiting = await after(sidecar, "b", first)
    second = await replaced(sidecar, first)
    await sidecar.restart()
    await sidecar.quiet()
    await sidecar.cancel(RITA, second)
    await sidecar.quiet()

    ended = await sidecar.now(waiting)
    assert ended.status is Status.REJECTED
    assert ended.progress.status_reason is not None
    assert ended.progress.status_reason.metadata["depends_on"] == second.id


async def test_a_request_may_be_submitted_after_its_dependency_was_superseded(
    sidecar: Governed,
) -> None:
    first = await on_demand(sidecar, "a")
    second = await replaced(sidecar, first)
    waiting = await after(sidecar, "b", first)
    assert second.id in waiting.progress.pending[0].detail

    await sidecar.execute(RITA, second)
    await sidecar.quiet()
    assert await status(sidecar, waiting) is Status.EXECUTED


# ---------------------------------------------------------------- circles


async def test_a_replacement_that_would_wait_for_itself_is_refused(sidecar: Governed) -> None:
    first = await on_demand(sidecar, "a")
    second = await after(sidecar, "b", first)
    third = await after(sidecar, "c", second)

    refused = await sidecar.changes_nothing(
        sidecar.supersede(RITA, first, depends_on=(third.id,)), DependencyCycle
    )
    assert isinstance(refused, DependencyCycle)
    assert refused.facts["id"] == third.id


async def test_a_circle_is_found_through_what_was_superseded(sidecar: Governed) -> None:
    first = await on_demand(sidecar, "a")
    waiting = await after(sidecar, "b", first)
    second = await replaced(sidecar, first)
    await sidecar.changes_nothing(
        sidecar.supersede(RITA, second, depends_on=(waiting.id,)), DependencyCycle
    )


async def test_what_has_ended_closes_no_circle(sidecar: Governed) -> None:
    first = await on_demand(sidecar, "a")
    waiting = await after(sidecar, "b", first)
    await sidecar.cancel(RITA, waiting)
    changed = await sidecar.supersede(
        RITA,
        first,
        depends_on=(waiting.id,),
        on_dependency_failure=DependencyFailure.PROCEED,
    )
    assert not changed.request.waits_for(PendingReason.DEPENDENCY)


async def test_two_replacements_at_once_close_no_circle_between_them(sidecar: Governed) -> None:
    """Each alone would do: the second one is refused, by what the first has made of it."""
    one, other = await on_demand(sidecar, "a"), await on_demand(sidecar, "b")
    after_one, after_other = await after(sidecar, "c", one), await after(sidecar, "d", other)

    answers = await asyncio.gather(
        sidecar.supersede(RITA, one, depends_on=(after_other.id,)),
        sidecar.supersede(RITA, other, depends_on=(after_one.id,)),
        return_exceptions=True,
    )
    assert [type(answer) for answer in answers].count(DependencyCycle) == 1


async def test_more_than_can_be_looked_at_is_refused(
    sidecar: Governed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("governor.usecases.depending.DEPENDENCIES_WALKED_MAX", 2)
    first = await on_demand(sidecar, "a")
    waiting = [await on_demand(sidecar, f"flag-{n}") for n in range(3)]
    await sidecar.changes_nothing(
        sidecar.supersede(RITA, first, depends_on=tuple(one.id for one in waiting)), Overloaded
    )
