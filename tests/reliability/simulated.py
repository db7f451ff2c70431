"""Lives in virtual time, by thousands: what the simulation has run, and whether any failed."""

from collections.abc import Sequence
from pathlib import Path

from tests.reliability.section import Row, Section
from tests.simulation.run import run_seeds

SEEDS = 4_000
FAILED = "failed"
FIRST_SEED = 100_000
"""Far from those that CI looks at."""


def _run(home: Path, seed: int) -> Sequence[Row]:
    first = FIRST_SEED + seed
    result = run_seeds(range(first, first + SEEDS))
    faults = result.faults.total()
    figures = (
        result.seeds,
        result.decisions,
        result.effects,
        result.crashes,
        faults,
        result.operations,
        round(result.seconds / 3600),
        len(result.failed),
    )
    return [tuple(f"{one:,}" for one in figures)]


SECTION = Section(
    name="simulation",
    title="Lives in virtual time",
    claim="Each seed is a world of its own: one to three sidecars on one store, a host and "
    "callers, on an event loop whose time is virtual, with faults where chance puts them: orders "
    "and answers that are lost, late or doubled, commits that fail or are not answered, processes "
    "that die, or stand still past their lease. In the end all invariants must hold, and what "
    "callers were told must be explained by one order of their calls (the check of Wing and Gong).",
    columns=(
        "seeds",
        "decisions",
        "effects",
        "crashes",
        "faults",
        "calls in checked histories",
        "virtual hours",
        FAILED,
    ),
    zeros=(FAILED,),
    run=_run,
)
