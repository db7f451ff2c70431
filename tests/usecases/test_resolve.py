"""ResolveExecution: what nobody could tell is ended by a person, in so many words, once."""

import pytest

from governor.domain.errors import (
    EtagMismatch,
    MissingRole,
    NotFound,
    NotInDoubt,
    RequestIdReused,
)
from governor.domain.execution import Execution, ExecutionStatus
from governor.domain.request import MutationRequest, PendingReason, Status
from governor.domain.values import ExecutionId
from governor.usecases.commands import etag_of
from tests.support.governed import Governed
from tests.support.people import ADA, ANN, AUDREY, EVE, OTTO, RITA
from tests.support.scripted_host import Loss


async def in_doubt(sidecar: Governed) -> tuple[MutationRequest, Execution]:
    """A request whose host never answered."""
    sidecar.host.script.extend([Loss.ORDER] * 1000)
    request = await sidecar.submit()
    await sidecar.pass_time(600)
    sidecar.host.script.clear()
    request = await sidecar.now(request)
    assert request.waits_for(PendingReason.AUDIT)
    return request, await sidecar.execution_of(request)


@pytest.mark.parametrize(
    ("version", "status", "known"),
    [
        ("8", Status.EXECUTED, ExecutionStatus.APPLIED),
        ("", Status.EXECUTED, ExecutionStatus.APPLIED),
        (None, Status.FAILED, ExecutionStatus.NOT_APPLIED),
    ],
)
async def test_a_person_says_what_became_of_it(
    sidecar: Governed, version: str | None, status: Status, known: ExecutionStatus
) -> None:
    request, execution = await in_doubt(sidecar)

    answer = await sidecar.resolve(OTTO, execution, version)

    assert answer.request.status is status
    assert answer.execution is not None
    assert answer.execution.status is known
    assert answer.execution.resolved_by == OTTO
    assert (await sidecar.history(request))[-2] == "EXECUTION resolved"
    assert [entry.decision.actor.id for entry in (await sidecar.ledger())[-2:]] == [OTTO, OTTO]


async def test_the_state_is_free_afterwards_and_the_line_moves_on(sidecar: Governed) -> None:
    _, execution = await in_doubt(sidecar)
    waiting = [await sidecar.submit() for _ in range(2)]
    await sidecar.pass_time(60)
    assert sidecar.host.effects == []

    await sidecar.resolve(ADA, execution, None)
    await sidecar.quiet()

    assert [effect.request_id for effect in sidecar.host.effects] == [one.id for one in waiting]


async def test_only_what_is_in_doubt_is_resolved_and_only_once(sidecar: Governed) -> None:
    done = await sidecar.submit(flag="other")
    await sidecar.quiet()
    _, execution = await in_doubt(sidecar)
    await sidecar.changes_nothing(
        sidecar.resolve(OTTO, await sidecar.execution_of(done), None), NotInDoubt
    )

    await sidecar.resolve(OTTO, execution, "8")
    await sidecar.changes_nothing(sidecar.resolve(OTTO, execution, None), NotInDoubt)


async def test_what_runs_is_not_resolved(sidecar: Governed) -> None:
    sidecar.host.orders.shut()
    request = await sidecar.submit()
    await sidecar.quiet()

    running = sidecar.resolve(OTTO, await sidecar.execution_of(request), "8")
    await sidecar.changes_nothing(running, NotInDoubt)


async def test_the_same_call_again_gives_the_first_answer(sidecar: Governed) -> None:
    _, execution = await in_doubt(sidecar)
    first = await sidecar.resolve(OTTO, execution, "8", key="once")
    before = sidecar.store.head

    assert await sidecar.resolve(OTTO, execution, "8", key="once") == first
    await sidecar.restart()
    assert await sidecar.resolve(OTTO, execution, "8", key="once") == first
    assert sidecar.store.head == before
    for other in ("9", "", None):
        call = sidecar.resolve(OTTO, execution, other, key="once")
        await sidecar.changes_nothing(call, RequestIdReused)


async def test_a_stale_etag_is_refused(sidecar: Governed) -> None:
    request, execution = await in_doubt(sidecar)

    await sidecar.changes_nothing(sidecar.resolve(OTTO, execution, None, etag="r1"), EtagMismatch)
    answer = await sidecar.resolve(OTTO, execution, None, etag=etag_of(request))
    assert answer.request.status is Status.FAILED


async def test_only_operators_and_admins_resolve(sidecar: Governed) -> None:
    _, execution = await in_doubt(sidecar)

    for stranger in (RITA, ANN, AUDREY):
        await sidecar.changes_nothing(sidecar.resolve(stranger, execution, None), MissingRole)
    await sidecar.changes_nothing(sidecar.resolve(EVE, execution, None), NotFound)
    unknown = execution.but(id=ExecutionId("none"))
    await sidecar.changes_nothing(sidecar.resolve(OTTO, unknown, None), NotFound)


async def test_an_answer_that_comes_too_late_changes_nothing(sidecar: Governed) -> None:
    """The order was only delayed and lands after the person has spoken: the ledger stays."""
    sidecar.host.script.extend([Loss.DELAY, *[Loss.ORDER] * 1000])
    request = await sidecar.submit()
    await sidecar.pass_time(600)
    sidecar.host.script.clear()
    await sidecar.resolve(OTTO, await sidecar.execution_of(request), None)
    before = sidecar.store.head

    sidecar.host.deliver()
    await sidecar.pass_time(600)
    await sidecar.restart()
    await sidecar.pass_time(600)

    assert sidecar.store.head == before
