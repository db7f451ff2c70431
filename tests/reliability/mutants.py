"""The deliberately broken builds, as a section of the page."""

from collections.abc import Sequence
from pathlib import Path

from tests.mutants.catalogue import MUTANTS
from tests.mutants.hunting import hunted
from tests.reliability.section import Row, Section


def _run(home: Path, seed: int) -> Sequence[Row]:
    rows = []
    for mutant, verdict in hunted(MUTANTS, home):
        tests = "<br>".join(f"`{test}`" for test in mutant.caught_by)
        escaped = 0 if verdict.catches(mutant) else 1
        rows.append((mutant.name, mutant.why, tests, str(escaped)))
    return rows


SECTION = Section(
    name="mutants",
    title="Broken builds",
    claim="Each of these changes one place of the program (`tests/mutants/catalogue.py` has the "
    "text) in a copy of it. The tests beside it pass on the whole build and fail, in what they "
    "claim, on the broken one. That the list still fits the program is itself a test, and a few "
    "of them are run with every change.",
    columns=("broken build", "what it would mean", "caught by", "escaped"),
    keys=tuple(mutant.name for mutant in MUTANTS),
    zeros=("escaped",),
    run=_run,
)
