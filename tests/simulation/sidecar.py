"""One life of the sidecar, composed over the simulated ports as the composition root does it."""

import asyncio
from typing import Final

from governor.domain.values import Micros
from governor.storage.store import SqlStore
from governor.usecases.adoption import Adoption
from governor.usecases.app import App, Limits
from governor.usecases.batches import Batches
from governor.usecases.commits import Batch
from governor.usecases.dependencies import Dependencies
from governor.usecases.execution_manager import ExecutionManager
from governor.usecases.host_standing import Standing
from governor.usecases.tail import Tail
from governor.usecases.timers import Timers
from governor.usecases.waiting import Waiters
from tests.simulation.chance import Chance
from tests.simulation.host import HostLink
from tests.simulation.loop import Process
from tests.simulation.store import LIMITS as STORE_LIMITS
from tests.support.builders import MICROS_PER_SECOND, START, SequentialIds
from tests.support.people import PlainDirectory, PlainPolicy
from tests.support.recording import RecordingTracing

LIMITS: Final = Limits(
    request_lifetime_seconds=3_600.0,
    wait_seconds_max=10.0,
    lease_seconds=STORE_LIMITS.lease_seconds,
    apply_seconds_max=1.0,
    in_doubt_seconds_max=4.0,
    backoff_seconds_max=1.0,
    executions_running_max=2,
    executions_per_request_max=3,
    tail_entries_max=16,
    heartbeat_seconds=5.0,
    timer_poll_seconds_max=10.0,
    timer_retry_seconds=2.0,
)
"""Short enough for much to happen in a few seconds, and narrow enough for bounds to be met."""


class SimulatedClock:
    """The loop's time as the sidecar's, and a wall clock that can be set ahead."""

    def __init__(self) -> None:
        self._ahead_us = 0

    def now(self) -> Micros:
        since_start = round(asyncio.get_running_loop().time() * MICROS_PER_SECOND)
        return Micros(START + since_start + self._ahead_us)

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    def set_ahead(self, seconds: float) -> None:
        """Time is suddenly later, and nobody who sleeps wakes of it."""
        self._ahead_us += round(seconds * MICROS_PER_SECOND)


class Sidecar:
    """A process with the application in it. What it is made of outlives it."""

    def __init__(
        self,
        process: Process,
        *,
        store: SqlStore,
        host: HostLink,
        clock: SimulatedClock,
        ids: SequentialIds,
        directory: PlainDirectory,
        chance: Chance,
    ) -> None:
        self.process = process
        self.commits = 0
        self._chance = chance
        self._dependencies, self._timers, self._adoption = Dependencies(), Timers(), Adoption()
        self._batches = Batches()
        self.app = App(
            store=store,
            host=host,
            policy=PlainPolicy(),
            directory=directory,
            clock=clock,
            ids=ids,
            tracing=RecordingTracing(),
            executions=ExecutionManager(),
            standing=Standing(),
            waiters=Waiters(waiters_max=LIMITS.waiters_max),
            tail=Tail(head=store.head.revision, entries_max=LIMITS.tail_entries_max),
            limits=LIMITS,
            failpoints=self._pass_by,
        )

    async def start(self) -> None:
        """Sets everything going: first what the former life left."""
        app = self.app
        app.store.listen(app.tail.publish)
        app.store.listen(app.waiters.publish)
        app.store.listen(self._note)
        app.standing.attach(app)
        app.executions.attach(app)
        self._dependencies.attach(app)
        self._batches.attach(app)
        self._timers.attach(app)
        self._adoption.attach(
            app, app.executions.take_up, self._dependencies.take_up, self._batches.take_up
        )
        await app.standing.start()
        await self._adoption.start()
        self._timers.start()

    async def stop(self) -> None:
        """Goes down as it should."""
        self.app.tail.close()
        await self.app.executions.drain(LIMITS.apply_seconds_max)
        await self._adoption.stop()
        await self._dependencies.stop()
        await self._batches.stop()
        await self._timers.stop()
        await self.app.standing.stop()
        await self.app.store.close()

    def _pass_by(self, name: str) -> None:
        """A place where the process may die, in the middle of a step."""
        self._chance.note(f"passes {name}")
        if self._chance.strikes("crash"):
            self.process.die()
            raise asyncio.CancelledError

    def _note(self, batch: Batch) -> None:
        self.commits += len(batch.commits)
        for entry in batch.entries:
            self._chance.note(f"{entry.revision} {entry.request_id} {entry.category} {entry.code}")
