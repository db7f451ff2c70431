"""One run: sidecars live, die and live again, until everything is healed and at rest."""

import asyncio
import logging
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, Final, TypeVar

from sqlalchemy.exc import SQLAlchemyError

from governor.domain.errors import GovernorError, StoreUnavailable
from governor.storage.store import SqlStore
from governor.storage.transaction import CommitUnknown
from governor.usecases.questions import DecisionFilter
from tests.simulation.callers import FLAGS, Callers
from tests.simulation.chance import Chance
from tests.simulation.history import History
from tests.simulation.host import ChoosyHost, HostLink
from tests.simulation.loop import Process, simulated_loop
from tests.simulation.shared import Hints, open_shared
from tests.simulation.sidecar import LIMITS, Sidecar, SimulatedClock
from tests.simulation.store import Database
from tests.simulation.subscribers import Subscriber
from tests.support.builders import SequentialIds
from tests.support.people import TENANT, PlainDirectory
from tests.support.scripted_host import AT_MOST_ONCE, COMPARING, EXACTLY_ONCE

_T = TypeVar("_T")

REPLICAS: Final = (1, 1, 1, 1, 2, 2, 3)
CALLERS: Final = (1, 2, 3, 4)
ACTIONS: Final = (2, 4, 6, 8)
ACTING_SECONDS_MAX: Final = 600.0
"""Longer than any caller asks again."""
SETTLING_SECONDS: Final = 18.0
"""Longer than anything is on its way, waits or is tried again in a world without faults."""
RESTING_SECONDS: Final = 4.0
TURNS_AT_REST_MAX: Final = 100
"""How often the loop turns in a second for each replica when there is nothing to do: polls, leases
and heartbeats, and nobody who spins."""
DOWN_SECONDS_MAX: Final = 2.0
TROUBLE_SECONDS_MAX: Final = 4.0


class World:
    """Everything there is in a run."""

    def __init__(self, chance: Chance, database: Database) -> None:
        self.chance = chance
        self.replicas = chance.pick(REPLICAS)
        self.history = History()
        self.host = ChoosyHost(
            promises=chance.pick((COMPARING, COMPARING, EXACTLY_ONCE, AT_MOST_ONCE))
        )
        self.lives: list[Sidecar] = []
        self._loop = simulated_loop()
        self.failures: list[BaseException] = []
        self._processes = 0
        self._database = database
        self._ids = SequentialIds()
        self._directory = PlainDirectory()
        self._process = Process("world", failed=self.failures.append)
        self._hints = Hints(self._process, chance)
        self._clocks = [SimulatedClock() for _ in range(self.replicas)]
        self._present: dict[int, Sidecar] = {}
        self.callers = Callers(self)
        self.subscribers = (
            Subscriber(self),
            Subscriber(
                self, DecisionFilter(tenant=TENANT, codes=frozenset({"executed", "pending"}))
            ),
        )

    @property
    def seconds(self) -> float:
        """How long it has lasted, in virtual time."""
        return self._loop.time()

    @property
    def is_shared(self) -> bool:
        """Whether one replica may be behind another."""
        return self.replicas > 1

    @property
    def clock(self) -> SimulatedClock:
        """Somebody's."""
        return self._clocks[0]

    def sidecar(self) -> Sidecar | None:
        """Whoever answers at the moment, if anybody does."""
        return self.chance.pick(list(self._present.values())) if self._present else None

    async def pass_by(self) -> list[Sidecar]:
        """Everything happens, then everything is healed and comes to rest. Answers the sidecars
        that live then.
        """
        self.chance.note(f"{self.replicas} replicas, a host with {self.host.promises}")
        living = [self._spawn(self._live(number)) for number in range(self.replicas)]
        troubling = self._spawn(self._trouble())
        following = [self._spawn(subscriber.follow()) for subscriber in self.subscribers]
        async with asyncio.timeout(ACTING_SECONDS_MAX):
            await asyncio.gather(*(self._spawn(one) for one in self._acts()))
        troubling.cancel()
        await self._heal()
        await asyncio.sleep(SETTLING_SECONDS)
        await self._rest()
        for task in (*living, *following):
            task.cancel()
        await asyncio.gather(troubling, *living, *following, return_exceptions=True)
        return list(self._present.values())

    def _acts(self) -> Iterator[Coroutine[Any, Any, None]]:
        for _ in range(self.chance.pick(CALLERS)):
            yield self.callers.act(self.chance.pick(ACTIONS))

    def _spawn(self, work: Coroutine[Any, Any, _T]) -> asyncio.Task[_T]:
        return self._process.spawn(work)

    # --- The sidecar's lives --------------------------------------------------------------------

    async def _live(self, number: int) -> None:
        """One life after the other, each over what the former has left."""
        while True:
            self._processes += 1
            process = Process(f"sidecar-{self._processes}", is_mortal=True)
            beginning = process.spawn(self._begin(number, process))
            await asyncio.wait({process.ended})
            self.chance.note(f"{process.name} has died")
            self._present.pop(number, None)
            await process.bury()
            if not beginning.cancelled() and (failure := beginning.exception()):
                self._excuse(failure)
            await asyncio.sleep(self.chance.between(0, DOWN_SECONDS_MAX))

    async def _begin(self, number: int, process: Process) -> None:
        """Runs as a part of the process, which ends if it cannot start."""
        try:
            sidecar = Sidecar(
                process,
                store=await self._opened(process),
                host=HostLink(
                    self.host,
                    self._process,
                    self.chance,
                    call_seconds_max=LIMITS.apply_seconds_max,
                ),
                clock=self._clocks[number],
                ids=self._ids,
                directory=self._directory,
                chance=self.chance,
            )
            self.lives.append(sidecar)
            await sidecar.start()
        except BaseException:
            process.die()
            raise
        self._present[number] = sidecar

    async def _opened(self, process: Process) -> SqlStore:
        if self.is_shared:
            return await open_shared(self._database, process, self._hints, self.chance)
        return self._database.open(self.chance)

    def _excuse(self, failure: BaseException) -> None:
        """A store that cannot be reached is a reason not to start."""
        if not isinstance(failure, (StoreUnavailable, OSError)):
            self.failures.append(failure)

    # --- What befalls it ------------------------------------------------------------------------

    async def _trouble(self) -> None:
        """For ever."""
        while True:
            await asyncio.sleep(self.chance.between(0.2, TROUBLE_SECONDS_MAX))
            what = self.chance.weighted(
                nothing=4, host=2, touch=2, clock=1, freeze=1, kill=1, restart=1
            )
            self.chance.note(f"trouble: {what}")
            match what:
                case "host":
                    await self._without_host(self.chance.between(0.5, 12.0))
                case "touch":
                    self.host.touch((TENANT, "flag", self.chance.pick(FLAGS)))
                case "clock":
                    ahead = self.chance.between(0, LIMITS.lease_seconds)
                    self.chance.pick(self._clocks).set_ahead(ahead)
                case "freeze" if (sidecar := self.sidecar()) is not None:
                    await self._frozen(sidecar.process)
                case "kill" if (sidecar := self.sidecar()) is not None:
                    self.chance.faults_made["kill"] += 1
                    sidecar.process.die()
                case "restart" if self._present:
                    await self._restart(self.chance.pick(list(self._present)))
                case _:
                    pass

    async def _without_host(self, seconds: float) -> None:
        self.chance.faults_made["host_down"] += 1
        self.host.is_reachable = False
        try:
            await asyncio.sleep(seconds)
        finally:
            self.host.is_reachable = True

    async def _frozen(self, process: Process) -> None:
        """The process stands still, perhaps longer than its leases last."""
        self.chance.faults_made["freeze"] += 1
        process.freeze()
        try:
            await asyncio.sleep(self.chance.between(0.1, 2 * LIMITS.lease_seconds))
        finally:
            process.thaw()

    async def _restart(self, number: int) -> None:
        """It goes down as it should, if it gets that far."""
        self.chance.faults_made["restart"] += 1
        sidecar = self._present.pop(number)
        either: set[asyncio.Future[Any]] = {
            sidecar.process.spawn(sidecar.stop()),
            sidecar.process.ended,
        }
        try:
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        finally:  # also when all trouble ends before it is down
            sidecar.process.die()

    async def _heal(self) -> None:
        self.chance.note("all is healed")
        self.chance.heal()
        while len(self._present) < self.replicas and not self.failures:  # noqa: ASYNC110 - of virtual time there is enough
            await asyncio.sleep(DOWN_SECONDS_MAX)

    async def _rest(self) -> None:
        """Nothing happens any more, and nobody runs in circles."""
        loop = simulated_loop()
        before = loop.turns
        await asyncio.sleep(RESTING_SECONDS)
        turns = (loop.turns - before) / RESTING_SECONDS / self.replicas
        assert turns <= TURNS_AT_REST_MAX, f"at rest, the loop turns {turns:.0f} times a second"


# ---------------------------------------------------------------- faults of ours


EXPECTED: Final = (GovernorError, CommitUnknown, SQLAlchemyError, OSError)
"""What the log may tell of, with all that is done to the store. sqlite3's errors are not among
them: those that are not wrapped come from the disk that fails, and are named below.
"""


class _Alarm(logging.Handler):
    """Whatever is logged with an exception that nobody has brought about is a fault of ours."""

    def __init__(self, failures: list[BaseException]) -> None:
        super().__init__()
        self._failures = failures

    def emit(self, record: logging.LogRecord) -> None:
        failure = record.exc_info[1] if record.exc_info else None
        if failure is not None and not _is_brought_about(failure):
            self._failures.append(failure)


def _is_brought_about(failure: BaseException) -> bool:
    return isinstance(failure, EXPECTED) or "the disk failed" in str(failure)


@contextmanager
def alarmed(world: World) -> Iterator[None]:
    """What goes wrong without anybody being told is among the failures of the world."""
    logger = logging.getLogger("governor")
    alarm = _Alarm(world.failures)
    was_propagating, logger.propagate = logger.propagate, False
    logger.addHandler(alarm)
    simulated_loop().set_exception_handler(
        lambda _, context: world.failures.append(_failure_in(context))
    )
    try:
        yield
    finally:
        logger.removeHandler(alarm)
        logger.propagate = was_propagating


def _failure_in(context: dict[str, Any]) -> BaseException:
    exception = context.get("exception")
    return exception if isinstance(exception, BaseException) else AssertionError(str(context))
