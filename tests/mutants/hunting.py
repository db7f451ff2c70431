"""One mutant after another in one copy of the build, each with how its tests went."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from tests.mutants.catalogue import Mutant
from tests.mutants.running import Verdict, apply, copy_of_the_build, module_of, run, undo


def hunted(mutants: Sequence[Mutant], home: Path) -> Iterator[tuple[Mutant, Verdict]]:
    """Raises AssertionError when the tests fail without any mutant."""
    build = copy_of_the_build(home / "build")
    tests = sorted({test for mutant in mutants for test in mutant.caught_by})
    whole = run(build, tests, "governor")
    assert whole.passed >= set(tests), whole.output
    for mutant in mutants:
        apply(mutant, build)
        yield mutant, run(build, mutant.caught_by, module_of(mutant))
        undo(mutant, build)
