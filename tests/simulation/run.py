"""Runs seeds: each is a whole world of its own, and the same one every time."""

import asyncio
import hashlib
import random
import shutil
import tempfile
import traceback
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from governor.usecases.commits import StoredEntry
from tests.simulation import oracle
from tests.simulation.chance import Chance, Trace
from tests.simulation.loop import Deadlock, Restless, SimulatedLoop, simulated_loop
from tests.simulation.store import Database
from tests.simulation.world import World, alarmed


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """What became of one seed. `failure` is empty if all was well."""

    seed: int
    failure: str
    trace: Trace
    ledger_sha256: str
    decisions: int
    effects: int
    commits: int
    replicas: int
    lives: int
    operations: int
    seconds: float
    faults: Counter[str]


@dataclass(slots=True, kw_only=True)
class Result:
    """What became of many. `seconds` are of virtual time."""

    seeds: int = 0
    commits: int = 0
    decisions: int = 0
    effects: int = 0
    crashes: int = 0
    operations: int = 0
    seconds: float = 0.0
    faults: Counter[str] = field(default_factory=Counter)
    failed: list[Run] = field(default_factory=list)

    def add(self, run: Run) -> None:
        self.seeds += 1
        self.commits += run.commits
        self.decisions += run.decisions
        self.effects += run.effects
        self.crashes += run.lives - run.replicas
        self.operations += run.operations
        self.seconds += run.seconds
        self.faults.update(run.faults)
        if run.failure:
            self.failed.append(run)


def run_seeds(
    seeds: Iterable[int], *, failures_max: int = 1, tell: Callable[[Run], object] = lambda _: None
) -> Result:
    """Runs them one by one, until so many have failed; `tell` hears of each."""
    result = Result()
    with _database() as database:
        for seed in seeds:
            run = _run(seed, database, keep_trace=False)
            result.add(run)
            tell(run)
            if len(result.failed) >= failures_max:
                break
    return result


def run_seed(seed: int) -> Run:
    """Runs one, and keeps its trace."""
    with _database() as database:
        return _run(seed, database, keep_trace=True)


def replay_command(seed: int) -> str:
    """What shows a seed again, with everything that happens."""
    return f"python -m tests.simulation --seed {seed} --trace"


@contextmanager
def _database() -> Iterator[Database]:
    folder = Path(tempfile.mkdtemp(prefix="governor-simulation-"))
    try:
        database = Database(folder)
        yield database
        database.renew()
    finally:
        shutil.rmtree(folder)


def _run(seed: int, database: Database, *, keep_trace: bool) -> Run:
    database.renew()
    trace = Trace(keep=keep_trace)
    worlds: list[World] = []
    with _seeded(seed), asyncio.Runner(loop_factory=SimulatedLoop) as runner:
        try:
            return runner.run(_life_of_a_world(seed, trace, database, worlds))
        except (Deadlock, Restless) as error:
            return _told_of(worlds[0], seed, trace, _told(error), ())


async def _life_of_a_world(seed: int, trace: Trace, database: Database, worlds: list[World]) -> Run:
    world = World(Chance(seed, trace), database)
    worlds.append(world)
    ledger: Sequence[StoredEntry] = ()
    failure = ""
    with alarmed(world):
        try:
            sidecars = await world.pass_by()
            for sidecar in sidecars:
                ledger = await oracle.check(world, sidecar.app.store)
            await world.callers.probe()
            for sidecar in sidecars:
                await sidecar.process.spawn(sidecar.stop())
        except Exception as error:  # noqa: BLE001 - a run fails for whatever goes wrong in it
            failure = _told(error)
    return _told_of(world, seed, trace, failure, ledger)


def _told_of(
    world: World, seed: int, trace: Trace, failure: str, ledger: Sequence[StoredEntry]
) -> Run:
    return Run(
        seed=seed,
        failure=failure,
        trace=trace,
        ledger_sha256=hashlib.sha256(b"".join(entry.data for entry in ledger)).hexdigest(),
        decisions=len(ledger),
        effects=len(world.host.effects),
        replicas=world.replicas,
        commits=sum(life.commits for life in world.lives),
        lives=len(world.lives),
        operations=world.history.operations,
        seconds=world.seconds,
        faults=world.chance.faults_made,
    )


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Whatever draws from the program's own generator, like the jitter of retries, repeats too."""
    before = random.getstate()
    random.seed(seed)
    try:
        yield
    finally:
        random.setstate(before)


def _told(error: Exception) -> str:
    """The failure, and where it came from."""
    if isinstance(error, TimeoutError):
        return f"somebody is never answered; {simulated_loop().told()}"
    return "".join(traceback.format_exception(error))
