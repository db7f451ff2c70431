"""WaitRequest: a bounded wait that misses nothing, however close together things happen."""

import asyncio
from pathlib import Path

import pytest

from governor.domain.errors import Overloaded
from governor.domain.request import MutationRequest, Risk, Status
from governor.domain.values import RequestId, Revision
from governor.usecases.app import Limits
from governor.usecases.commands import Waited, WaitFor
from governor.usecases.commits import Batch, Committed
from governor.usecases.watch import wait_request
from tests.support.governed import Governed, caller, governed
from tests.support.people import ANN, AUDREY, BOB, RITA


async def wait(
    sidecar: Governed,
    request: MutationRequest,
    *,
    after: Revision | None = None,
    seconds: float | None = 30.0,
) -> Waited:
    command = WaitFor(id=request.id, after_revision=after, timeout_seconds=seconds)
    return await wait_request(sidecar.app, caller(AUDREY), command)


async def test_without_a_revision_it_waits_for_the_end(sidecar: Governed) -> None:
    request = await sidecar.submit(risk=Risk.HIGH)
    waiting = asyncio.ensure_future(wait(sidecar, request))
    await sidecar.approve(ANN, request)
    await sidecar.quiet()
    assert not waiting.done()

    await sidecar.approve(BOB, request)
    answer = await waiting

    assert not answer.timed_out
    assert answer.request.status is Status.EXECUTED
    assert not (await wait(sidecar, request)).timed_out


async def test_with_a_revision_it_waits_for_the_next_change(sidecar: Governed) -> None:
    request = await sidecar.submit(risk=Risk.HIGH)
    waiting = asyncio.ensure_future(wait(sidecar, request, after=request.revision))
    await sidecar.submit(flag="other", risk=Risk.HIGH)
    await sidecar.quiet()
    assert not waiting.done()

    voted = await sidecar.approve(ANN, request)

    assert (await waiting).request == voted
    assert (await wait(sidecar, request, after=request.revision)).request == voted


@pytest.mark.parametrize("seconds", [0.0, -1.0, 0.001])
async def test_running_out_of_time_is_an_answer(sidecar: Governed, seconds: float) -> None:
    request = await sidecar.submit(risk=Risk.HIGH)

    answer = await wait(sidecar, request, seconds=seconds)

    assert answer.timed_out
    assert answer.request == request


@pytest.mark.parametrize("seconds", [None, 1e9])
async def test_no_wait_is_longer_than_the_bound(tmp_path: Path, seconds: float | None) -> None:
    async with governed(tmp_path, limits=Limits(wait_seconds_max=0.001)) as sidecar:
        request = await sidecar.submit(risk=Risk.HIGH)

        assert (await wait(sidecar, request, seconds=seconds)).timed_out


async def test_too_many_who_wait_are_refused_until_one_leaves(tmp_path: Path) -> None:
    async with governed(tmp_path, limits=Limits(waiters_max=2)) as sidecar:
        request = await sidecar.submit(risk=Risk.HIGH)
        waiting = [asyncio.ensure_future(wait(sidecar, request)) for _ in range(2)]
        await sidecar.quiet()

        await sidecar.changes_nothing(wait(sidecar, request), Overloaded)
        waiting[0].cancel()
        await sidecar.quiet()
        third = asyncio.ensure_future(wait(sidecar, request))
        await sidecar.quiet()
        await sidecar.cancel(RITA, request)
        assert (await third).request.status is Status.CANCELED
        assert (await waiting[1]).request.status is Status.CANCELED


async def test_a_change_between_the_look_and_the_wait_is_not_missed(sidecar: Governed) -> None:
    """The request is read from the database. Before the waiter goes on, its end is committed and
    published: there is no further change that could wake anybody.
    """
    request = await sidecar.submit(risk=Risk.HIGH)
    look_up = sidecar.store.request
    interruptions = [sidecar.cancel]

    async def look_up_too_early(id: RequestId) -> MutationRequest | None:
        found = await look_up(id)
        if interruptions:
            await interruptions.pop()(RITA, request)
        return found

    sidecar.store.request = look_up_too_early

    answer = await wait(sidecar, request, seconds=1.0)

    assert not answer.timed_out
    assert answer.request.status is Status.CANCELED


async def test_two_changes_in_one_turn_of_the_loop_are_both_seen(sidecar: Governed) -> None:
    """Two transactions are published before whoever waits has woken; the second one is enough."""
    request = await sidecar.submit(risk=Risk.HIGH)
    waiting = asyncio.ensure_future(wait(sidecar, request, seconds=1.0))
    await sidecar.quiet()

    def published(status: Status, revision: int) -> Batch:
        changed = request.but(
            revision=Revision(revision), progress=request.progress.but(status=status)
        )
        committed = Committed(requests=(changed,), executions=(), revision=Revision(revision))
        return Batch(commits=(committed,), entries=())

    sidecar.app.waiters.publish(published(Status.PENDING, 100))
    sidecar.app.waiters.publish(published(Status.CANCELED, 101))

    answer = await waiting
    assert not answer.timed_out
    assert answer.request.revision == 101
