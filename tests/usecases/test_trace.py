"""TraceRequest: what hangs together is found from either end, within its bound and its tenant."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from governor.domain.errors import NotFound, RevisionAhead
from governor.domain.request import ExecutionMode, MutationRequest, Risk, RuntimeContext
from governor.usecases.questions import LinkKind
from governor.usecases.trace import Trace, trace_request
from tests.support.governed import Governed, caller, governed
from tests.support.people import AUDREY, EVE, OTHER_TENANT, OTTO, RITA, TENANT
from tests.support.scripted_host import UNDOING, ScriptedHost
from tests.usecases.test_compensate import BACK_IS_FREE, executed, taken_back


@pytest.fixture
async def sidecar(tmp_path: Path) -> AsyncIterator[Governed]:
    async with governed(tmp_path, host=ScriptedHost(promises=UNDOING)) as running:
        running.policy.rules = BACK_IS_FREE
        yield running


def said(trace: Trace) -> set[tuple[str, str, str]]:
    return {(link.source, link.kind.value, link.target) for link in trace.links}


async def family(sidecar: Governed) -> dict[str, MutationRequest]:
    """One request of each relation, and one that is none of it."""
    original = await executed(sidecar)
    caused = await sidecar.submit(
        flag="caused",
        context=RuntimeContext(tenant=TENANT, actor=RITA, causation_id=original.id),
    )
    dependent = await sidecar.submit(flag="dependent", depends_on=(original.id,), risk=Risk.HIGH)
    new = (await sidecar.supersede(RITA, dependent, flag="dependent", risk=Risk.HIGH)).request
    back = await taken_back(sidecar, original)
    forth = await taken_back(sidecar, back)
    await executed(sidecar, flag="stranger")
    await sidecar.quiet()
    return {
        "original": original,
        "caused": caused,
        "dependent": dependent,
        "new": new,
        "back": back,
        "forth": forth,
    }


@pytest.mark.parametrize("start", ["original", "caused", "dependent", "new", "back", "forth"])
async def test_everything_is_found_from_everywhere(sidecar: Governed, start: str) -> None:
    family_of = await family(sidecar)

    trace = await sidecar.trace(family_of[start])

    ids = {name: request.id for name, request in family_of.items()}
    assert trace.requests[0].id == ids[start]
    assert {request.id for request in trace.requests} == set(ids.values())
    assert said(trace) == {
        (ids["caused"], "CAUSATION", ids["original"]),
        (ids["dependent"], "DEPENDS_ON", ids["original"]),
        (ids["new"], "SUPERSEDES", ids["dependent"]),
        (ids["back"], "COMPENSATES", ids["original"]),
        (ids["forth"], "COMPENSATES", ids["back"]),
    }
    assert not trace.truncated


async def test_a_bound_leaves_the_farthest_out_and_says_so(sidecar: Governed) -> None:
    original = await executed(sidecar)
    chain = [original]
    for _ in range(4):
        chain.append(await taken_back(sidecar, chain[-1]))

    part, whole = await sidecar.trace(original, 3), await sidecar.trace(original, 5)

    assert [one.id for one in part.requests] == [one.id for one in chain[:3]]
    assert len(part.links) == 2
    assert part.truncated
    assert [one.id for one in whole.requests] == [one.id for one in chain]
    assert not whole.truncated


async def test_a_request_with_more_dependents_than_fit_is_cut_short(sidecar: Governed) -> None:
    first = await sidecar.submit(execution_mode=ExecutionMode.ON_EXECUTE)
    for number in range(6):
        await sidecar.submit(flag=f"f{number}", depends_on=(first.id,))

    assert (await sidecar.trace(first, 6)).truncated
    assert not (await sidecar.trace(first, 7)).truncated


async def test_what_belongs_together_alone_is_no_link(sidecar: Governed) -> None:
    context = RuntimeContext(tenant=TENANT, actor=RITA, correlation_id="rollout-1")
    first = await sidecar.submit(context=context)
    await sidecar.submit(flag="b", context=context)

    trace = await sidecar.trace(first)
    assert [one.id for one in trace.requests] == [first.id]
    assert LinkKind.CORRELATION not in {link.kind for link in trace.links}


async def test_nothing_of_another_tenant_is_found_or_shown(sidecar: Governed) -> None:
    mine = await sidecar.submit()
    context = RuntimeContext(tenant=OTHER_TENANT, actor=EVE, causation_id=mine.id)
    theirs = await sidecar.submit(EVE, context=context)

    assert [one.id for one in (await sidecar.trace(mine)).requests] == [mine.id]
    seen = await trace_request(sidecar.app, caller(EVE), theirs.id, requests_max=9, min_revision=0)
    assert [one.id for one in seen.requests] == [theirs.id]
    assert seen.links == ()
    with pytest.raises(NotFound):
        await trace_request(sidecar.app, caller(EVE), mine.id, requests_max=9, min_revision=0)


async def test_a_revision_that_is_not_there_yet_is_refused(sidecar: Governed) -> None:
    request = await executed(sidecar)
    ahead = sidecar.store.head.revision + 1
    for actor in (AUDREY, OTTO):
        with pytest.raises(RevisionAhead):
            await trace_request(
                sidecar.app, caller(actor), request.id, requests_max=9, min_revision=ahead
            )
