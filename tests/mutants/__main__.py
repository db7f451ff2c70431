"""`make mutants`: every deliberately broken build, and which test caught it.

With words as arguments, only those whose names contain one of them.
"""

import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tests.mutants.catalogue import MUTANTS, Mutant
from tests.mutants.running import Verdict, apply, copy_of_the_build, module_of, run, undo

TABLE_CHARACTERS = 180


def hunted(mutants: Sequence[Mutant]) -> Iterator[tuple[Mutant, Verdict]]:
    """Each mutant with how its tests went. Raises AssertionError when they fail without it."""
    with tempfile.TemporaryDirectory() as folder:
        build = copy_of_the_build(Path(folder).resolve() / "build")
        tests = sorted({test for mutant in mutants for test in mutant.caught_by})
        whole = run(build, tests, "governor")
        assert whole.passed >= set(tests), whole.output
        for mutant in mutants:
            apply(mutant, build)
            yield mutant, run(build, mutant.caught_by, module_of(mutant))
            undo(mutant, build)


def main() -> int:
    wanted = sys.argv[1:]
    mutants = [m for m in MUTANTS if not wanted or any(word in m.name for word in wanted)]
    table = Table("broken build", "what it would mean", "caught by", "which said", show_lines=True)
    escaped = 0
    for mutant, verdict in hunted(mutants):
        is_caught = verdict.catches(mutant)
        escaped += not is_caught
        tests = "\n".join(mutant.caught_by) if is_caught else "nobody"
        table.add_row(mutant.name, mutant.why, tests, "\n".join(verdict.failed.values()))
    Console(width=TABLE_CHARACTERS).print(table)
    return 1 if escaped or not mutants else 0


if __name__ == "__main__":
    sys.exit(main())
