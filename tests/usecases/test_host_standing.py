"""A host that is held: nothing is executed in it, everything else goes on, and a person decides."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from governor.domain.errors import (
    HostHeld,
    HostNotHeld,
    HostUnavailable,
    LineageMismatch,
    RequestIdReused,
    StoreUnavailable,
)
from governor.domain.executing import Progression, not_applied, reclaimed, settled
from governor.domain.execution import (
    Applied,
    Execution,
    ExecutionStatus,
    InDoubt,
    NotSeen,
    Outcome,
    VersionMismatch,
)
from governor.domain.host_standing import HoldCode, store_restored
from governor.domain.request import ExecutionMode, MutationRequest, PendingReason, Risk, Status
from governor.domain.values import Reason
from governor.usecases.app import App, Limits
from governor.usecases.commits import Batch, Commit
from governor.usecases.host_standing import Standing
from governor.usecases.ports import Store
from tests.support.builders import MICROS_PER_SECOND
from tests.support.governed import Governed, governed
from tests.support.people import ANN, OTTO, RITA
from tests.support.scripted_host import (
    AT_MOST_ONCE,
    COMPARING,
    EXACTLY_ONCE,
    NO,
    Kind,
    Loss,
    ScriptedHost,
)

ONE = COMPARING.but(lineage_id="one")
TWO = COMPARING.but(lineage_id="two")
LIMITS = Limits(in_doubt_seconds_max=30.0)
ON_EXECUTE = ExecutionMode.ON_EXECUTE
LONG_ENOUGH = 200.0


@asynccontextmanager
async def with_host(folder: Path, promises: Any = ONE) -> AsyncIterator[Governed]:
    host = ScriptedHost(promises=promises)
    async with governed(folder, limits=LIMITS, host=host) as sidecar:
        await sidecar.quiet()
        yield sidecar


async def restore_host(sidecar: Governed) -> None:
    """The host comes back with an older backup: it remembers nothing, and says so."""
    sidecar.host.records.clear()
    sidecar.host.promises = sidecar.host.promises.but(lineage_id="two")
    if sidecar.host.is_reachable:
        await sidecar.host.capabilities()
    await sidecar.quiet()


async def held_code(sidecar: Governed) -> HoldCode | None:
    """Why the host is held, in the store and in memory alike."""
    hold = (await sidecar.store.host_standing()).hold
    assert sidecar.standing.current.hold == hold
    assert sidecar.standing.allows is (hold is None)
    return hold.code if hold else None


# ---------------------------------------------------------------- trusting the first


async def test_the_first_lineage_is_trusted_before_anything_is_ordered(tmp_path: Path) -> None:
    async with with_host(tmp_path) as sidecar:
        sidecar.host.orders.shut()
        await sidecar.submit()
        await sidecar.quiet()
        assert await sidecar.about_the_host() == ["trusted FIRST_SEEN"]
        sidecar.host.orders.open()
        await sidecar.quiet()
        assert len(sidecar.host.effects) == 1


async def test_a_host_without_a_lineage_is_never_recorded(sidecar: Governed) -> None:
    await sidecar.submit()
    await sidecar.quiet()
    await sidecar.restart()
    await sidecar.quiet()
    assert len(sidecar.host.effects) == 1
    assert await sidecar.about_the_host() == []


async def test_the_same_host_is_met_again_without_a_word(tmp_path: Path) -> None:
    async with with_host(tmp_path) as sidecar:
        for _ in range(3):
            await sidecar.restart()
        await sidecar.quiet()
        assert await sidecar.about_the_host() == ["trusted FIRST_SEEN"]


async def test_no_order_goes_out_while_the_first_trust_is_not_on_disk(tmp_path: Path) -> None:
    """Dying there, the next life would trust whom it meets, and never miss what was ordered."""
    async with with_host(tmp_path, COMPARING) as sidecar:
        sidecar.store.interruptions.extend([StoreUnavailable("later")] * 2)
        sidecar.host.promises = ONE
        await sidecar.host.capabilities()
        await sidecar.quiet()
        await sidecar.submit()
        await sidecar.quiet()
        assert sidecar.host.sent(Kind.APPLY) == []
        await sidecar.pass_time(LONG_ENOUGH)
        assert len(sidecar.host.effects) == 1


# ---------------------------------------------------------------- another lineage


async def test_nothing_new_is_executed_and_all_else_goes_on(tmp_path: Path) -> None:
    async with with_host(tmp_path) as sidecar:
        await restore_host(sidecar)
        assert await held_code(sidecar) is HoldCode.LINEAGE_CHANGED
        sidecar.host.calls.clear()

        allowed = await sidecar.submit(flag="allowed")
        pending = await sidecar.submit(flag="pending", risk=Risk.MEDIUM)
        approved = await sidecar.approve(ANN, pending)
        on_execute = await sidecar.submit(flag="asked", execution_mode=ON_EXECUTE)
        refused = await sidecar.changes_nothing(sidecar.execute(OTTO, on_execute), HostHeld)
        canceled = await sidecar.cancel(RITA, await sidecar.submit(flag="gone"))
        await sidecar.pass_time(LONG_ENOUGH)

        assert isinstance(refused, HostHeld)
        assert refused.facts["hold"] == "LINEAGE_CHANGED"
        for request in (allowed, approved):
            assert (await sidecar.now(request)).status is Status.APPROVED
        assert canceled.status is Status.CANCELED
        assert sidecar.host.calls == []
        assert await sidecar.about_the_host() == ["trusted FIRST_SEEN", "held LINEAGE_CHANGED"]


async def test_a_held_host_need_not_be_reached_to_say_so(tmp_path: Path) -> None:
    async with with_host(tmp_path) as sidecar:
        await restore_host(sidecar)
        request = await sidecar.submit(execution_mode=ON_EXECUTE)
        sidecar.host.is_reachable = False
        await sidecar.changes_nothing(sidecar.execute(OTTO, request), HostHeld)


async def test_a_host_that_must_be_asked_for_the_version_is_not_asked_either(
    tmp_path: Path,
) -> None:
    """Its version went back in time: what is fresh would look stale, and be rejected."""
    async with with_host(tmp_path, EXACTLY_ONCE.but(lineage_id="one")) as sidecar:
        await restore_host(sidecar)
        request = await sidecar.submit(expected_version="7")
        await sidecar.pass_time(LONG_ENOUGH)
        assert (await sidecar.now(request)).status is Status.APPROVED


async def test_trust_moves_the_lines_again(tmp_path: Path) -> None:
    """Everything that waited is executed, in its order, without a restart."""
    async with with_host(tmp_path) as sidecar:
        await restore_host(sidecar)
        waiting = [await sidecar.submit(flag=flag) for flag in ("a", "a", "b")]
        await sidecar.quiet()
        assert sidecar.host.effects == []

        given = await sidecar.trust(OTTO, "two")
        await sidecar.quiet()

        assert [effect.request_id for effect in sidecar.host.effects if effect.slot[2] == "a"] == [
            request.id for request in waiting[:2]
        ]
        for request in waiting:
            assert (await sidecar.now(request)).status is Status.EXECUTED
        standing = await sidecar.store.host_standing()
        assert (standing.lineage_id, standing.hold) == ("two", None)
        assert standing.revision == given.revision
        assert await held_code(sidecar) is None


async def test_what_may_have_been_ordered_waits_for_a_person(tmp_path: Path) -> None:
    """The restored host says that it has never seen the order: that proves nothing any more."""
    async with with_host(tmp_path) as sidecar:
        sidecar.host.script.append(Loss.ANSWER)
        request = await sidecar.submit()
        await sidecar.quiet()
        assert len(sidecar.host.effects) == 1
        await restore_host(sidecar)
        await sidecar.pass_time(LONG_ENOUGH)

        stands = await sidecar.now(request)
        assert stands.waits_for(PendingReason.AUDIT)
        assert stands.progress.status_reason is not None
        assert stands.progress.status_reason.code == "HOST_LINEAGE_CHANGED"
        assert len(sidecar.host.sent(Kind.APPLY)) == 1
        assert sidecar.host.sent(Kind.LOOKUP) == []

        await sidecar.trust(OTTO, "two")
        await sidecar.pass_time(LONG_ENOUGH)
        assert len(sidecar.host.effects) == 1, "trust in the host answers no question about it"
        execution = await sidecar.execution_of(request)
        resolved = await sidecar.resolve(OTTO, execution, None)
        assert resolved.request.status is Status.FAILED


async def test_what_was_never_ordered_goes_back_into_its_line(tmp_path: Path) -> None:
    """It was claimed while the host was away. Nobody needs to ask what became of it."""
    async with with_host(tmp_path) as sidecar:
        sidecar.host.is_reachable = False
        request = await sidecar.submit()
        await sidecar.quiet()
        assert (await sidecar.now(request)).status is Status.EXECUTING
        sidecar.host.is_reachable = True
        await restore_host(sidecar)
        await sidecar.pass_time(10)
        assert (await sidecar.now(request)).status is Status.APPROVED
        assert sidecar.host.calls == []

        await sidecar.trust(OTTO, "two")
        await sidecar.quiet()
        assert (await sidecar.now(request)).status is Status.EXECUTED


async def test_a_known_answer_is_recorded_although_the_host_is_held_by_then(
    tmp_path: Path,
) -> None:
    """The order was answered before; only what would have to be asked is not asked any more."""
    async with with_host(tmp_path) as sidecar:
        sidecar.host.answers.shut()
        request = await sidecar.submit()
        await sidecar.quiet()
        await restore_host(sidecar)
        sidecar.host.answers.open()
        await sidecar.quiet()
        assert (await sidecar.now(request)).status is Status.EXECUTED
        assert await held_code(sidecar) is HoldCode.LINEAGE_CHANGED


async def test_an_execution_in_the_line_of_fire_is_not_withdrawn_by_a_fence(
    tmp_path: Path,
) -> None:
    """A fence in a host of another lineage promises nothing about what the old one did."""
    async with with_host(tmp_path) as sidecar:
        sidecar.host.answers.shut()
        request = await sidecar.submit()
        await sidecar.quiet()
        await restore_host(sidecar)
        await sidecar.changes_nothing(sidecar.cancel(RITA, await sidecar.now(request)), HostHeld)
        assert sidecar.host.sent(Kind.FENCE) == []
        sidecar.host.answers.open()


# ---------------------------------------------------------------- through restarts


async def test_a_hold_outlives_the_process(tmp_path: Path) -> None:
    async with with_host(tmp_path) as sidecar:
        await restore_host(sidecar)
        sidecar.host.is_reachable = False
        request = await sidecar.submit()
        await sidecar.restart()
        assert await held_code(sidecar) is HoldCode.LINEAGE_CHANGED
        sidecar.host.is_reachable = True
        await sidecar.pass_time(LONG_ENOUGH)
        assert (await sidecar.now(request)).status is Status.APPROVED
        assert sidecar.host.effects == []


@pytest.mark.parametrize("failpoint", ["store.batch.before_commit", "store.batch.after_commit"])
async def test_a_death_while_the_hold_is_written_ends_in_a_held_host(
    tmp_path: Path, failpoint: str
) -> None:
    """Before the disk has it or after: the next life meets the same host."""
    async with with_host(tmp_path) as sidecar:
        sidecar.die_at(failpoint)
        await sidecar.unless_it_dies(restore_host(sidecar))
        assert sidecar.is_dead.is_set()
        await sidecar.restart()
        await sidecar.quiet()
        assert await held_code(sidecar) is HoldCode.LINEAGE_CHANGED
        assert await sidecar.about_the_host() == ["trusted FIRST_SEEN", "held LINEAGE_CHANGED"]


async def test_what_was_executing_when_both_went_down_is_not_looked_up_in_another_lineage(
    tmp_path: Path,
) -> None:
    async with with_host(tmp_path) as sidecar:
        sidecar.host.answers.shut()
        request = await sidecar.submit()
        await sidecar.quiet()
        await sidecar.crash()
        sidecar.host.answers.open()
        sidecar.host.calls.clear()
        sidecar.host.records.clear()
        sidecar.host.promises = TWO
        await sidecar.open()
        await sidecar.start()
        await sidecar.pass_time(LONG_ENOUGH)
        assert (await sidecar.now(request)).waits_for(PendingReason.AUDIT)
        assert sidecar.host.calls == []
        assert len(sidecar.host.effects) == 1


async def test_a_restored_store_holds_the_host_from_the_first_moment(tmp_path: Path) -> None:
    """As `governor restore` leaves it: also a host without a lineage is a person's to trust."""
    async with with_host(tmp_path, COMPARING) as sidecar:
        stance = store_restored(await sidecar.store.host_standing(), now=sidecar.clock.now())
        await sidecar.store.commit(Commit(decisions=(stance.decision,), standing=stance.standing))
        await sidecar.restart()
        request = await sidecar.submit()
        await sidecar.pass_time(LONG_ENOUGH)
        assert sidecar.host.calls == []
        await sidecar.trust(OTTO, "")
        await sidecar.quiet()
        assert (await sidecar.now(request)).status is Status.EXECUTED


async def test_what_a_restored_store_was_executing_is_looked_up_once_the_host_is_trusted(
    tmp_path: Path,
) -> None:
    """This host forgot nothing: it is the store that went back in time."""
    async with with_host(tmp_path) as sidecar:
        sidecar.host.answers.shut()
        request = await sidecar.submit()
        await sidecar.quiet()
        stance = store_restored(await sidecar.store.host_standing(), now=sidecar.clock.now())
        await sidecar.store.commit(Commit(decisions=(stance.decision,), standing=stance.standing))
        await sidecar.crash()
        sidecar.host.answers.open()
        sidecar.host.calls.clear()
        await sidecar.open()
        await sidecar.start()
        await sidecar.pass_time(LONG_ENOUGH)
        assert (await sidecar.now(request)).status is Status.EXECUTING
        assert sidecar.host.calls == []

        await sidecar.trust(OTTO, "one")
        await sidecar.pass_time(10)
        assert (await sidecar.now(request)).status is Status.EXECUTED
        assert [call.kind for call in sidecar.host.calls] == [Kind.LOOKUP]
        assert len(sidecar.host.effects) == 1


# ---------------------------------------------------------------- giving trust


async def test_trust_names_what_the_host_announces_now(tmp_path: Path) -> None:
    async with with_host(tmp_path) as sidecar:
        await sidecar.changes_nothing(sidecar.trust(OTTO, "one"), HostNotHeld)
        await restore_host(sidecar)
        await sidecar.changes_nothing(sidecar.trust(OTTO, "one"), LineageMismatch)
        sidecar.host.promises = ONE.but(lineage_id="three")
        await sidecar.changes_nothing(sidecar.trust(OTTO, "two"), LineageMismatch)
        sidecar.host.is_reachable = False
        await sidecar.changes_nothing(sidecar.trust(OTTO, "three"), HostUnavailable)


async def test_a_repeated_trust_is_the_first_one(tmp_path: Path) -> None:
    async with with_host(tmp_path) as sidecar:
        await restore_host(sidecar)
        first = await sidecar.trust(OTTO, "two", key="once")
        assert await sidecar.trust(OTTO, "two", key="once") == first
        await sidecar.changes_nothing(sidecar.trust(OTTO, "three", key="once"), RequestIdReused)


async def test_a_host_that_changes_again_is_held_again(tmp_path: Path) -> None:
    async with with_host(tmp_path) as sidecar:
        await restore_host(sidecar)
        await sidecar.trust(OTTO, "two")
        sidecar.host.promises = ONE
        request = await sidecar.submit()
        await sidecar.pass_time(10)
        assert await held_code(sidecar) is HoldCode.LINEAGE_CHANGED
        assert (await sidecar.now(request)).status is Status.APPROVED
        assert sidecar.host.effects == []


# ---------------------------------------------------------------- other replicas


class OtherReplica:
    """The same store as another process has it: of what that writes only the entries are known."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._ours = False
        self.host_standing = store.host_standing

    async def commit(self, commit: Commit) -> Any:
        return await self._store.commit(commit)

    def listen(self, listener: Callable[[Batch], None]) -> None:
        self._store.listen(lambda batch: listener(batch.but(commits=())))


async def beside(sidecar: Governed) -> tuple[Standing, list[None], ScriptedHost]:
    """The standing as a second replica keeps it, and what it was told to go on with."""
    standing, went_on = Standing(), list[None]()
    host = ScriptedHost(promises=ONE)
    store: Any = OtherReplica(sidecar.store)
    replica = App(
        store=store,
        host=host,
        policy=sidecar.policy,
        directory=sidecar.directory,
        clock=sidecar.clock,
        ids=sidecar.ids,
        tracing=sidecar.tracing,
        executions=sidecar.executions,
        standing=standing,
        waiters=sidecar.app.waiters,
        tail=sidecar.app.tail,
    )
    standing.attach(replica)
    standing.when_lifted(lambda: went_on.append(None))
    await standing.start()
    return standing, went_on, host


async def test_what_another_replica_decides_is_in_force_here(tmp_path: Path) -> None:
    """One meets the restored host; the other, which has not, stops all the same, and goes on when
    a person has spoken to the first.
    """
    async with with_host(tmp_path) as sidecar:
        standing, went_on, host = await beside(sidecar)
        await sidecar.quiet()
        standing.check()
        await restore_host(sidecar)
        with pytest.raises(HostHeld):
            standing.check()

        host.promises = TWO
        await sidecar.trust(OTTO, "two")
        await sidecar.quiet()
        assert standing.allows
        assert went_on == [None]
        await standing.vouch()
        assert await sidecar.about_the_host() == [
            "trusted FIRST_SEEN",
            "held LINEAGE_CHANGED",
            "trusted LOOKED",
        ]
        await standing.stop()


async def test_two_replicas_that_meet_a_restored_host_hold_it_once(tmp_path: Path) -> None:
    async with with_host(tmp_path) as sidecar:
        standing, _, host = await beside(sidecar)
        host.promises = TWO
        sidecar.host.promises = TWO
        await asyncio.gather(host.capabilities(), sidecar.host.capabilities())
        await sidecar.quiet()
        assert await sidecar.about_the_host() == ["trusted FIRST_SEEN", "held LINEAGE_CHANGED"]
        assert not standing.allows
        await standing.stop()


async def test_a_replica_that_still_reaches_the_old_host_orders_nothing_there(
    tmp_path: Path,
) -> None:
    """Two hosts answer to one address. What was trusted is the other one."""
    async with with_host(tmp_path) as sidecar:
        standing, _, _ = await beside(sidecar)
        await restore_host(sidecar)
        await sidecar.trust(OTTO, "two")
        await sidecar.quiet()
        with pytest.raises(HostHeld):
            await standing.vouch()
        await standing.stop()


# ---------------------------------------------------------------- broken promises


async def test_another_digest_under_our_key_is_a_broken_promise(tmp_path: Path) -> None:
    async with with_host(tmp_path) as sidecar:
        sidecar.host.script.append(
            InDoubt(reason=Reason(code="EXECUTION_DIGEST_MISMATCH", message="another"))
        )
        request = await sidecar.submit()
        await sidecar.pass_time(LONG_ENOUGH)

        assert await held_code(sidecar) is HoldCode.PROMISE_BROKEN
        stands = await sidecar.now(request)
        assert stands.waits_for(PendingReason.AUDIT)
        assert stands.progress.status_reason is not None
        assert stands.progress.status_reason.code == "HOST_PROMISE_BROKEN"
        assert len(sidecar.host.calls) == 1, "whoever lies is not asked again"


@pytest.mark.parametrize("promises", [COMPARING, ONE], ids=["without a lineage", "with one"])
async def test_a_host_that_does_not_fence_when_told_to_is_held(
    tmp_path: Path, promises: Any
) -> None:
    async with with_host(tmp_path, promises) as sidecar:
        sidecar.host.deaf_to = {Kind.APPLY, Kind.LOOKUP}
        sidecar.host.script.extend([NotSeen(fenced=False)] * 10)
        request = await sidecar.submit()
        await sidecar.pass_time(LONG_ENOUGH)
        assert await held_code(sidecar) is HoldCode.PROMISE_BROKEN
        assert (await sidecar.now(request)).waits_for(PendingReason.AUDIT)


async def test_a_host_that_hesitates_once_to_fence_is_not_held(tmp_path: Path) -> None:
    async with with_host(tmp_path) as sidecar:
        sidecar.host.deaf_to = {Kind.APPLY, Kind.LOOKUP}
        sidecar.host.script.extend([NotSeen(fenced=False)] * 2)
        request = await sidecar.submit()
        await sidecar.pass_time(60)
        assert (await sidecar.executions_of(request))[0].status is ExecutionStatus.NOT_APPLIED
        assert await held_code(sidecar) is None


Taking = Callable[[MutationRequest, Execution, int], Progression]


def with_outcome(outcome: Outcome) -> Taking:
    """The new owner is told this, and records it."""
    return lambda request, execution, now: settled(
        request,
        execution,
        outcome,
        attempts=1,
        now=now,  # type: ignore[arg-type]
    )


def fenced(request: MutationRequest, execution: Execution, now: int) -> Progression:
    """The new owner is promised that it will never be applied."""
    reason = Reason(code="FENCED", message="the host never applied it")
    return not_applied(request, execution, attempts=1, now=now, reason=reason)  # type: ignore[arg-type]


async def overtaken(sidecar: Governed, then: Taking) -> MutationRequest:
    """Between the host's answer to us and our commit somebody else takes the execution over, and
    ends it otherwise.
    """

    async def commit(step: Progression) -> Progression:
        committed = await sidecar.store.committed_behind(
            Commit(requests=(step.request,), executions=(step.execution,), decisions=step.decisions)
        )
        return step.but(request=committed.requests[0], execution=committed.executions[0])

    async def take_over(ours: Commit) -> None:
        request = await sidecar.store.request(ours.requests[0].id)
        execution = await sidecar.store.execution(ours.executions[0].id)
        assert request is not None
        assert execution is not None
        now = sidecar.clock.now()
        taken = await commit(reclaimed(request, execution, now=now, lease_us=MICROS_PER_SECOND))
        await commit(then(taken.request, taken.execution, now))

    async def submission(_: Commit) -> None:
        """Nothing comes in between."""

    sidecar.store.interruptions.extend([submission, take_over])
    request = await sidecar.submit(expected_version="")
    await sidecar.pass_time(LONG_ENOUGH)
    return request


@pytest.mark.parametrize(
    ("recorded", "broken"),
    [
        (with_outcome(Applied(resulting_version="9")), True),
        (with_outcome(NO), True),
        (with_outcome(VersionMismatch(current_version="9")), True),
        (fenced, True),
        (with_outcome(Applied(resulting_version="1")), False),
    ],
    ids=["another version", "refused", "mismatch", "fenced", "the same"],
)
async def test_what_the_host_told_one_owner_it_must_have_told_the_next(
    tmp_path: Path, recorded: Taking, broken: bool
) -> None:
    """We heard `applied` at version 1, and lost the lease with that in hand."""
    async with with_host(tmp_path) as sidecar:
        request = await overtaken(sidecar, recorded)
        assert await held_code(sidecar) is (HoldCode.PROMISE_BROKEN if broken else None)
        execution = (await sidecar.executions_of(request))[0]
        if broken:
            hold = (await sidecar.store.host_standing()).hold
            assert hold is not None
            assert hold.facts == {"execution_id": execution.id}


async def test_a_zombie_that_is_told_fenced_breaks_nothing(tmp_path: Path) -> None:
    """It is what a host has to say to whoever comes back too late."""
    async with with_host(tmp_path) as sidecar:
        sidecar.host.script.append(Loss.DELAY)
        request = await sidecar.submit()
        await sidecar.quiet()
        await sidecar.cancel(RITA, await sidecar.now(request))
        sidecar.host.deliver()
        await sidecar.pass_time(LONG_ENOUGH)
        assert (await sidecar.now(request)).status is Status.CANCELED
        assert sidecar.host.effects == []
        assert await held_code(sidecar) is None


async def test_executions_stop_until_a_person_has_looked_at_the_broken_promise(
    tmp_path: Path,
) -> None:
    """The lineage is the trusted one all along: naming it again is the person's word."""
    async with with_host(tmp_path) as sidecar:
        await overtaken(sidecar, with_outcome(NO))
        waiting = await sidecar.submit(flag="later")
        await sidecar.pass_time(LONG_ENOUGH)
        assert (await sidecar.now(waiting)).status is Status.APPROVED
        await sidecar.trust(OTTO, "one")
        await sidecar.quiet()
        assert (await sidecar.now(waiting)).status is Status.EXECUTED


async def test_a_host_that_promises_nothing_breaks_nothing(tmp_path: Path) -> None:
    """Its doubt goes to a person at once, as ever."""
    async with with_host(tmp_path, AT_MOST_ONCE) as sidecar:
        sidecar.host.script.append(Loss.ORDER)
        request = await sidecar.submit()
        await sidecar.pass_time(LONG_ENOUGH)
        assert (await sidecar.now(request)).waits_for(PendingReason.AUDIT)
        assert await held_code(sidecar) is None
