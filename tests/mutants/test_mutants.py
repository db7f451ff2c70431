"""The broken builds are still broken where they say, and somebody still looks."""

from pathlib import Path

import pytest

from tests.mutants.catalogue import MUTANTS, Mutant
from tests.mutants.running import (
    NotTheBuild,
    apply,
    copy_of_the_build,
    module_of,
    run,
    undo,
)
from tests.support.deployment import REPOSITORY


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_every_mutant_changes_what_is_there_and_names_tests_that_exist(mutant: Mutant) -> None:
    text = (REPOSITORY / mutant.file).read_text()
    assert mutant.applied_to(text) != text
    compile(mutant.applied_to(text), mutant.file, "exec")
    for test in mutant.caught_by:
        path, _, name = test.partition("::")
        assert f"def {name}(" in (REPOSITORY / path).read_text(), test


def test_no_two_mutants_are_one() -> None:
    assert len({mutant.name for mutant in MUTANTS}) == len(MUTANTS)
    assert len({(mutant.file, mutant.old, mutant.new) for mutant in MUTANTS}) == len(MUTANTS)


@pytest.fixture(scope="module")
def build(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return copy_of_the_build(tmp_path_factory.mktemp("mutants") / "build")


QUICK = [mutant for mutant in MUTANTS if mutant.is_quick]


def test_the_whole_build_passes_what_the_mutants_fail(build: Path) -> None:
    tests = sorted({test for mutant in QUICK for test in mutant.caught_by})
    verdict = run(build, tests, "governor")
    assert verdict.passed == set(tests), verdict.output


@pytest.mark.parametrize("mutant", QUICK, ids=lambda mutant: mutant.name)
def test_a_broken_build_is_caught(build: Path, mutant: Mutant) -> None:
    """These few in every run; `make mutants` runs them all."""
    apply(mutant, build)
    try:
        verdict = run(build, mutant.caught_by, module_of(mutant))
    finally:
        undo(mutant, build)
    assert verdict.catches(mutant), verdict.output


def test_a_build_that_does_not_even_run_is_no_catch(build: Path) -> None:
    mutant = QUICK[0]
    path = build / mutant.file
    path.write_text(path.read_text() + "\n\ndef broken() -> None:\n    ...\n\n\nnowhere\n")
    try:
        with pytest.raises(NotTheBuild):
            run(build, mutant.caught_by, module_of(mutant))
    finally:
        undo(mutant, build)
