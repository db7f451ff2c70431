"""Random batches, with members that fail and a process that dies at any step: in the end the host's
state is the model's, every link is there, and nothing was applied or taken back twice.

The model knows which states refuse, and what the modes promise; of members that run side by side it
takes from the answers which of them were still withheld.
"""

import asyncio
import shutil
import tempfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from governor.domain.request import (
    BatchDecisionMode,
    BatchFailureMode,
    BatchOrdering,
    MutationRequest,
    Status,
)
from governor.usecases.app import Limits
from governor.usecases.questions import Link, LinkKind, RequestQuery
from tests.support.governed import Governed, content, governed
from tests.support.invariants import check_everything
from tests.support.people import RITA, TENANT
from tests.support.scripted_host import COMPARING, ScriptedHost

REFUSING = "x"
PLACES = (
    "batch.before_claim",
    "batch.after_claim",
    "batch.before_step",
    "batch.after_step",
    "execute.before_claim",
    "execute.before_apply",
    "execute.after_apply",
    "execute.before_outcome",
    "execute.after_outcome",
    "store.batch.before_commit",
    "store.batch.after_commit",
    "adopt.after_page",
    "recover.before_reclaim",
)


@dataclass(frozen=True)
class Asked:
    """One batch, and where the process dies meanwhile."""

    flags: tuple[str, ...]
    ordering: BatchOrdering
    failure_mode: BatchFailureMode
    decision_mode: BatchDecisionMode
    deaths: tuple[tuple[str, int], ...]


BATCHES = st.builds(
    Asked,
    flags=st.lists(st.sampled_from(["a", "b", "c", REFUSING]), min_size=1, max_size=5).map(tuple),
    ordering=st.sampled_from(BatchOrdering),
    failure_mode=st.sampled_from(BatchFailureMode),
    decision_mode=st.sampled_from(BatchDecisionMode),
    deaths=st.lists(
        st.tuples(st.sampled_from(PLACES), st.integers(min_value=1, max_value=6)), max_size=3
    ).map(tuple),
)


@settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(asked=st.lists(BATCHES, min_size=1, max_size=3))
def test_whatever_fails_and_whoever_dies_batches_end_as_they_promise(asked: list[Asked]) -> None:
    folder = Path(tempfile.mkdtemp(prefix="governor-batches-"))
    try:
        asyncio.run(_play(folder, asked))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


async def _play(folder: Path, asked: list[Asked]) -> None:
    host = ScriptedHost(promises=COMPARING.but(rollback=True), refused_ids={REFUSING})
    async with governed(folder, limits=Limits(), host=host) as sidecar:
        for one in asked:
            await _one(sidecar, one)
        await check_everything(sidecar)


async def _one(sidecar: Governed, asked: Asked) -> None:
    before = await _values(sidecar)
    answer = await sidecar.submit_batch(
        *(content(RITA, flag=flag) for flag in asked.flags),
        ordering=asked.ordering,
        failure_mode=asked.failure_mode,
        decision_mode=asked.decision_mode,
    )
    for failpoint, passing in asked.deaths:
        sidecar.die_at(failpoint, passing=passing)
    for _ in asked.deaths:
        await sidecar.pass_time(60)
        if sidecar.store.is_dead:
            await sidecar.unless_it_dies(sidecar.restart())
    sidecar.forget_ends()
    await sidecar.restart()
    await sidecar.pass_time(600)

    batch = await sidecar.now(answer.batch)
    members = [await sidecar.now(member) for member in answer.members]
    after = await _values(sidecar)
    _check_effects(sidecar)
    assert batch.is_terminal, batch.progress
    assert all(member.is_terminal for member in members)
    fails = REFUSING in asked.flags
    assert batch.status is (Status.FAILED if fails else Status.EXECUTED)
    executed = [member for member in members if member.status is Status.EXECUTED]
    assert batch.progress.batch is not None
    assert set(batch.progress.batch.applied) == {member.id for member in executed}
    _check_who_ran(asked, members)
    if fails and asked.failure_mode is BatchFailureMode.COMPENSATE:
        assert after == before, "everything is as it was"
        assert batch.progress.batch.undone == tuple(reversed(batch.progress.batch.applied))
        for member in executed:
            await _check_links(sidecar, batch, member)
        left = []
    else:
        for slot in {member.slot for member in executed}:
            last = [one.id for one in executed if one.slot == slot][-1]
            assert after[slot] == last, "the last of a state is what it is"
        left = [member.id for member in executed] if fails else []
    found = await sidecar.app.store.requests(
        RequestQuery(tenant=TENANT, uncompensated=True, batch_id=batch.id)
    )
    assert sorted(one.id for one in found) == sorted(left)


def _check_who_ran(asked: Asked, members: list[MutationRequest]) -> None:
    ran = [member.status is Status.EXECUTED for member in members]
    may = [flag != REFUSING for flag in asked.flags]
    if asked.failure_mode is BatchFailureMode.CONTINUE or all(may):
        assert ran == may
    elif asked.ordering is BatchOrdering.SEQUENTIAL:
        first = may.index(False)
        assert ran == [place < first for place in range(len(ran))]
    else:
        assert all(allowed for did, allowed in zip(ran, may, strict=True) if did)


def _check_effects(sidecar: Governed) -> None:
    made = Counter(effect.request_id for effect in sidecar.host.effects)
    assert all(count == 1 for count in made.values()), "nothing is applied twice"


async def _check_links(sidecar: Governed, batch: MutationRequest, member: MutationRequest) -> None:
    """Both sides know of each other, and there is one compensation and no second."""
    link = Link(kind=LinkKind.COMPENSATES, id=member.id)
    (rollback,) = await sidecar.app.store.requests(RequestQuery(tenant=TENANT, link=link))
    by = member.progress.compensated_by
    assert by is not None
    assert by.request_id == rollback.id == member.progress.compensation_id
    assert rollback.content.batch is not None
    assert rollback.content.batch.batch_id == batch.id


async def _values(sidecar: Governed) -> dict[tuple[str, str, str], str]:
    """Who set each state last, as far as it was not taken back: what the host holds."""
    values: dict[tuple[str, str, str], str] = {}
    images: dict[str, str | None] = {}
    for effect in sidecar.host.effects:
        request = await sidecar.app.store.request(effect.request_id)
        assert request is not None
        images[effect.request_id] = values.get(effect.slot)
        compensation = request.content.compensation
        if compensation is None:
            values[effect.slot] = effect.request_id
        elif (image := images[compensation.request_id]) is not None:
            values[effect.slot] = image
        else:
            values.pop(effect.slot, None)
    return values
