"""Subscribers whose streams are cut again and again: they miss nothing and see nothing twice."""

import asyncio
from typing import Final

from governor.domain.errors import RevisionAhead
from governor.domain.values import Revision
from governor.usecases.commands import CaughtUp, Heartbeat, Subscribe
from governor.usecases.commits import StoredEntry
from governor.usecases.questions import DecisionFilter
from tests.simulation.asking import Surroundings
from tests.simulation.network import stream
from tests.simulation.sidecar import Sidecar
from tests.support.governed import caller
from tests.support.people import AUDREY, TENANT

AWAY_SECONDS_MAX: Final = 2.0
READING_SECONDS: Final = 0.002


class Subscriber:
    """Follows everything in its tenant that passes its filter, from the oldest on."""

    def __init__(self, world: Surroundings, filter: DecisionFilter | None = None) -> None:
        self._world = world
        self._chance = world.chance
        self._filter = filter or DecisionFilter(tenant=TENANT)
        self._resumes_after = Revision(0)
        self.seen: list[StoredEntry] = []

    async def follow(self) -> None:
        """For ever."""
        while True:
            sidecar = self._world.sidecar()
            if sidecar is not None and not sidecar.process.is_dead:
                await self._follow(sidecar)
            await asyncio.sleep(self._chance.between(0, AWAY_SECONDS_MAX))

    async def _follow(self, sidecar: Sidecar) -> None:
        """Until the stream is cut."""
        command = Subscribe(filter=self._filter, after=self._resumes_after)
        async with stream(sidecar, caller(AUDREY), command) as wire:
            while not self._chance.strikes("cut_stream"):
                message = await wire.get()
                match message:
                    case StoredEntry():
                        self._take(message)
                    case CaughtUp(revision=revision) | Heartbeat(revision=revision):
                        self._resumes_after = max(self._resumes_after, revision)
                    case RevisionAhead():
                        raise message
                    case _:
                        return
                await self._chance.delay(READING_SECONDS)

    def _take(self, entry: StoredEntry) -> None:
        """Whatever was promised to lie behind must not come any more."""
        assert entry.revision > self._resumes_after, "seen twice, or after a heartbeat beyond it"
        self._resumes_after = entry.revision
        self.seen.append(entry)

    def check(self, ledger: list[StoredEntry]) -> None:
        """It has seen exactly what there is to be seen."""
        wanted = [entry for entry in ledger if self._filter.matches(entry)]
        assert self.seen == wanted, (
            f"saw {[entry.revision for entry in self.seen]}, "
            f"and there are {[entry.revision for entry in wanted]}"
        )
