"""Several sidecars on one PostgreSQL database, in front of one host."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.crash.oracle import Verdict
from tests.crash.rounds import SETTINGS, World
from tests.crash.workload import Busy, Everyday
from tests.support.deployment import Deployment, Running

BETWEEN_KILLS_SECONDS: Final = 0.5


class Replicas:
    """Sidecars by their names, in a world of one database and one host."""

    def __init__(self, world: World, names: list[str]) -> None:
        self.world = world
        self.names = names
        self.running: dict[str, Running] = {}

    def start(self, name: str, failpoints: str = "") -> Running:
        self.running[name] = self.world.start_sidecar(failpoints, replica=name)
        return self.running[name]

    def start_all(self) -> None:
        for name in self.names:
            self.start(name)
        for running in self.running.values():
            running.wait_until_it_listens()


@contextmanager
def replicas(database: str, folder: Path, how_many: int) -> Iterator[Replicas]:
    """None of them runs yet; the host does. `database` is a URL, with or without a schema."""
    settings = {**SETTINGS, "GOVERNOR_STORE_URL": database, "GOVERNOR_MIGRATE_AT_START": "always"}
    with ExitStack() as open_parts:
        names = [f"replica-{number}" for number in range(how_many)]
        world = World(Deployment(folder, settings=settings), open_parts, names)
        world.start_host()
        yield Replicas(world, names)


@dataclass(frozen=True, slots=True, kw_only=True)
class Killing:
    """What became of replicas that were killed again and again under load."""

    replicas: int
    kills: int
    subscriber_cuts: int
    decisions: int
    verdict: Verdict


def kill_in_turn(database: str, folder: Path, how_many: int, *, kills_each: int) -> Killing:
    """One after the other by SIGKILL, each replaced at once; alone, or with others to take over."""
    with replicas(database, folder, how_many) as them:
        them.start_all()
        world, kills = them.world, 0
        world.begin(Everyday(world.callers, "all"))
        for name in them.names * kills_each:
            world.begin(Busy(world.callers, f"busy-{kills}", each=4))
            world.workload.is_over_in(BETWEEN_KILLS_SECONDS)
            them.running[name].kill()
            them.start(name)
            kills += 1
        verdict = world.judged()
        return Killing(
            replicas=how_many,
            kills=kills,
            subscriber_cuts=world.subscriber.cuts,
            decisions=len(world.subscriber.revisions),
            verdict=verdict,
        )
