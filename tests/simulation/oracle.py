"""What must be true of a run when it has come to rest."""

from governor.domain.execution import ExecutionStatus
from governor.domain.request import Status
from governor.domain.values import Revision
from governor.usecases.commits import StoredEntry
from governor.usecases.ports import Store
from governor.usecases.questions import ExecutionQuery, RequestQuery
from tests.simulation.sidecar import LIMITS
from tests.simulation.world import World
from tests.support.invariants import check_nothing_is_stuck, check_store
from tests.support.people import TENANT

_EVERYTHING = 100_000


async def check(world: World, store: Store) -> list[StoredEntry]:
    """Raises what is wrong, or answers the ledger."""
    for failure in world.failures:
        raise failure
    ledger = list(await store.entries(after=Revision(0), limit=_EVERYTHING))
    await check_store(store, world.host.effects)
    await check_nothing_is_stuck(
        store, executions_per_request_max=LIMITS.executions_per_request_max
    )
    await _check_effects(world, store)
    _check_acknowledged(world, ledger)
    for subscriber in world.subscribers:
        subscriber.check(ledger)
    world.history.check()
    return ledger


async def _check_effects(world: World, store: Store) -> None:
    """Exactly once per executed request, unless a person said that it was applied."""
    requests = await store.requests(
        RequestQuery(tenant=TENANT, statuses=(Status.EXECUTED,), limit=_EVERYTHING)
    )
    applied = await store.executions(
        ExecutionQuery(tenant=TENANT, statuses=(ExecutionStatus.APPLIED,), limit=_EVERYTHING)
    )
    assert {one.id for one in requests} == {one.request_id for one in applied}
    made = [effect.execution_id for effect in world.host.effects]
    for execution in applied:
        assert made.count(execution.id) == 1, f"{execution.id} has {made.count(execution.id)}"


def _check_acknowledged(world: World, ledger: list[StoredEntry]) -> None:
    """What was answered is in the ledger, at the revision that the answer named."""
    for ids, revision in world.callers.acknowledged:
        assert revision <= len(ledger), f"revision {revision} was acknowledged and is not there"
        about = ledger[revision - 1].request_id
        assert about in ids, f"revision {revision} is about {about}, not about {ids}"
