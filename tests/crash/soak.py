"""`make soak`: breaks everything at random for as long as it is told, by a seed that replays it.

Every round has a chance of its own, drawn from the seed and the round's number: a failing one is
played again alone. After each round the same oracle judges as in the crash matrix.
"""

import argparse
import random
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from tests.crash.matrix import passings_max, scenarios
from tests.crash.oracle import Verdict
from tests.crash.rounds import AN_APPLY, LEASE_SECONDS, SETTINGS, World, play, stands_still
from tests.crash.workload import Busy, Everyday
from tests.support.deployment import Deployment, Running
from tests.support.fault_proxy import FaultProxy, Link, Portal, Trap, Way, proxied
from tests.support.postgres import OwnServer, own_postgres

SECONDS: Final = 300.0
FAULTS_MAX: Final = 8
REPLICAS_MAX: Final = 3
BETWEEN_FAULTS_SECONDS_MAX: Final = 0.6
STORMS_OF_TEN: Final = 6
"""So many rounds of ten are storms; the others are single places of the matrix."""


@dataclass
class Storm:
    """A world in the middle of trouble: what runs, what is held, what may yet be done to it."""

    world: World
    proxy: FaultProxy
    on: Portal
    chance: random.Random
    host: Running
    sidecars: dict[str, Running]
    server: OwnServer | None
    traps: list[Trap] = field(default_factory=list)
    story: list[str] = field(default_factory=list)

    def faults(self) -> tuple[Callable[[], None], ...]:
        everywhere = (
            self.kill_a_sidecar,
            self.pause_a_sidecar,
            self.kill_the_host,
            self.pause_the_host,
            self.reset_the_host_connections,
            self.say_everything_twice,
            self.hold_an_order,
            self.release_what_is_held,
        )
        if self.server is None:
            return everywhere
        return (*everywhere, self.restart_the_server, self.crash_the_server, self.throw_out)

    # ------------------------------------------------------------ processes

    def kill_a_sidecar(self) -> None:
        name = self.chance.choice(sorted(self.sidecars))
        self.sidecars[name].kill()
        self.sidecars[name] = self.world.start_sidecar(replica=name)

    def pause_a_sidecar(self) -> None:
        running = self.sidecars[self.chance.choice(sorted(self.sidecars))]
        self._pause(running)

    def kill_the_host(self) -> None:
        self.host.kill()
        self.host = self.world.start_host()

    def pause_the_host(self) -> None:
        self._pause(self.host)

    def _pause(self, running: Running) -> None:
        running.pause()
        stands_still(running, self.chance.uniform(0.5, 2.0) * LEASE_SECONDS)
        running.go_on()

    # ------------------------------------------------------------ between sidecar and host

    def reset_the_host_connections(self) -> None:
        self.on(self.proxy.reset_all())

    def say_everything_twice(self) -> None:
        if self.proxy.links:
            self.on(self.proxy.replay(self.chance.choice(self.proxy.links)))

    def hold_an_order(self) -> None:
        """The next one; its sidecar is cut off, and it arrives when everybody has forgotten it."""
        self.traps.append(self.proxy.trap(Way.TO_SERVER, AN_APPLY, then=Link.abandon_client))

    def release_what_is_held(self) -> None:
        for trap in self.traps:
            for link in trap.sprung_so_far():
                self.on(link.to_server.release())

    # ------------------------------------------------------------ PostgreSQL

    def restart_the_server(self) -> None:
        assert self.server is not None
        self.server.restart("fast")

    def crash_the_server(self) -> None:
        assert self.server is not None
        self.server.restart("immediate")

    def throw_out(self) -> None:
        assert self.server is not None
        self.server.throw_everybody_out(self.world.deployment.store_url)

    # ------------------------------------------------------------ the whole of it

    def rage(self) -> Verdict:
        """So many faults as chance has it, and then peace."""
        world, chance = self.world, self.chance
        world.begin(Everyday(world.callers, "all"), Busy(world.callers, "busy", each=10))
        for _ in range(chance.randint(2, FAULTS_MAX)):
            world.workload.is_over_in(chance.uniform(0.0, BETWEEN_FAULTS_SECONDS_MAX))
            fault = chance.choice(self.faults())
            self.story.append(fault.__name__)
            fault()
        for trap in self.traps:
            trap.left = 0
        self.release_what_is_held()
        return world.judged()


@contextmanager
def storm(chance: random.Random, folder: Path, server: OwnServer | None) -> Iterator[Storm]:
    """One sidecar on SQLite, or several on the server; a proxy between them and their host."""
    names = ["governor"]
    settings = dict(SETTINGS)
    if server is not None:
        names = [f"replica-{number}" for number in range(chance.randint(1, REPLICAS_MAX))]
        settings |= {"GOVERNOR_STORE_URL": server.new_database(folder)}
        settings |= {"GOVERNOR_MIGRATE_AT_START": "always"}
    with ExitStack() as open_parts:
        deployment = Deployment(folder, settings=settings)
        world = World(deployment, open_parts, names)
        proxy, on = open_parts.enter_context(proxied(f"unix:{folder}/flags.sock"))
        deployment.settings["GOVERNOR_HOST_ADDRESS"] = proxy.address
        host = world.start_host()
        sidecars = {name: world.start_sidecar(replica=name) for name in names}
        for running in sidecars.values():
            running.wait_until_it_listens()
        yield Storm(world, proxy, on, chance, host, sidecars, server)


def play_round(seed: int, number: int, folder: Path, server: OwnServer | None) -> tuple[str, bool]:
    """What happened, in words, and whether all was well."""
    chance = random.Random(f"{seed}/{number}")
    if chance.randrange(10) < STORMS_OF_TEN:
        with storm(chance, folder, server if chance.random() < 0.5 else None) as one:
            try:
                verdict = one.rage()
            except Exception as failure:  # noqa: BLE001 - told with the story that led to it
                return f"{', '.join(one.story)}: {failure!r}", False
            where = f"{len(one.sidecars)} on PostgreSQL" if one.server else "SQLite"
            return told(f"{where}: {', '.join(one.story)}", verdict)
    scenario = chance.choice(list(scenarios()))
    scenario = scenario.at(chance.randint(1, passings_max(scenario)))
    try:
        return told(str(scenario), play(scenario, folder).verdict)
    except Exception as failure:  # noqa: BLE001 - as above
        return f"{scenario}: {failure!r}", False


def told(story: str, verdict: Verdict) -> tuple[str, bool]:
    if verdict.is_clean:
        return f"{story}: {verdict.expected} effects, none lost, none doubled", True
    return f"{story}: {verdict}", False


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=SECONDS, help="for how long")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    parser.add_argument("--round", type=int, help="play this round of the seed, and no other")
    arguments = parser.parse_args()
    print(f"seed {arguments.seed}; SOAK_SEED={arguments.seed} replays it", flush=True)
    ends = time.monotonic() + arguments.seconds
    number = arguments.round or 1
    with own_postgres() as server:
        while True:
            folder = Path(tempfile.mkdtemp(prefix="governor-soak-"))
            story, is_well = play_round(arguments.seed, number, folder, server)
            print(f"round {number}: {story}", flush=True)
            if not is_well:
                print(
                    f"FAILED: SOAK_SEED={arguments.seed} SOAK_ROUND={number} plays it again; "
                    f"logs and stores are in {folder}",
                    flush=True,
                )
                return 1
            shutil.rmtree(folder)
            number += 1
            if arguments.round or time.monotonic() >= ends:
                print("nothing lost, nothing doubled", flush=True)
                return 0


if __name__ == "__main__":
    sys.exit(main())
