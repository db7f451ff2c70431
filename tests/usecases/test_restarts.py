"""A death in the middle of each reason to wait, alone: it goes on waiting in the next life, and is
resolved in its own way exactly once.
"""

from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from governor.domain.request import (
    ExecutionMode,
    MutationRequest,
    PendingReason,
    Risk,
    StaleStrategy,
    Status,
)
from tests.support.governed import Governed, content, governed
from tests.support.invariants import check_everything
from tests.support.people import ANN, OTTO, RITA
from tests.support.scripted_host import Loss
from tests.usecases.test_pending import REASONS, Waiting

Resolve = Callable[[], Awaitable[object]]
BY_HAND = ExecutionMode.ON_EXECUTE


async def plainly(sidecar: Governed, reason: str) -> tuple[MutationRequest, Resolve]:
    """Waits for something that votes, answers, time or another request resolve."""
    waiting = Waiting(sidecar, (reason,))
    await waiting.submit()
    return waiting.request, lambda: waiting.resolve(reason)


async def revalidation(sidecar: Governed, _: str) -> tuple[MutationRequest, Resolve]:
    """The host went away between the claim and its second opinion, and comes back."""
    request = await sidecar.submit(
        flag="a",
        execution_mode=BY_HAND,
        expected_version="9",
        stale_strategy=StaleStrategy.REVALIDATE_ON_LATEST,
    )
    sidecar.host.answers.shut()
    await sidecar.execute(RITA, request)
    sidecar.host.is_reachable = False
    sidecar.host.answers.open()
    await sidecar.quiet()

    async def resolve() -> None:
        sidecar.host.is_reachable = True
        await sidecar.pass_time(60)
        assert (await sidecar.now(request)).status is Status.APPROVED
        await sidecar.restart()
        await sidecar.execute(RITA, request)

    return request, resolve


async def audit(sidecar: Governed, _: str) -> tuple[MutationRequest, Resolve]:
    """The order was carried out, every answer was lost, and a person has looked."""
    sidecar.host.script.extend([Loss.ANSWER, *[Loss.ORDER] * 1000])
    request = await sidecar.submit(flag="b")
    await sidecar.pass_time(600)
    sidecar.host.script.clear()

    async def resolve() -> None:
        execution = await sidecar.execution_of(request)
        await sidecar.resolve(OTTO, execution, sidecar.host.effects[-1].version)

    return request, resolve


async def its_turn(sidecar: Governed, _: str) -> tuple[MutationRequest, Resolve]:
    """A member of a batch that people have not approved yet."""
    answer = await sidecar.submit_batch(content(RITA, flag="c", risk=Risk.MEDIUM))
    return answer.members[0], lambda: sidecar.approve(ANN, answer.batch)


WAYS = dict.fromkeys(REASONS, plainly) | {
    "REVALIDATION": revalidation,
    "AUDIT": audit,
    "BATCH": its_turn,
}


def test_every_reason_is_here() -> None:
    assert WAYS.keys() == {reason.value for reason in PendingReason}


@pytest.mark.parametrize("reason", WAYS)
async def test_it_waits_on_in_the_next_life_and_is_resolved_once(
    tmp_path: Path, reason: str
) -> None:
    async with governed(tmp_path) as sidecar:
        request, resolve = await WAYS[reason](sidecar, reason)
        before, head = await sidecar.now(request), sidecar.store.head
        assert {str(one.reason) for one in before.progress.pending} == {reason}

        for _ in range(2):
            await sidecar.restart()
            await sidecar.quiet()
            assert await sidecar.now(request) == before, "a restart has changed something"
            assert sidecar.store.head == head

        await resolve()
        await sidecar.quiet()
        ended = await sidecar.now(request)
        assert ended.status is Status.EXECUTED
        history = await sidecar.history(request)
        for once in ("LIFECYCLE submitted", "LIFECYCLE executed"):
            assert history.count(once) == 1
        assert sum(e.request_id == request.id for e in sidecar.host.effects) == 1

        await sidecar.restart()
        await sidecar.pass_time(86_400)
        assert await sidecar.now(request) == ended
        assert await sidecar.history(request) == history
        await check_everything(sidecar)
