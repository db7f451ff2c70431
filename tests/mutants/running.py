"""Builds a mutant in a folder of its own, and runs the tests that should notice."""

import os
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ET
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.mutants.catalogue import Mutant
from tests.support.deployment import REPOSITORY

BUILT_OF = ("server", "generated", "tests", "examples", "docs", "protos")
FILES = ("pyproject.toml", "Makefile", "README.md", "CHANGELOG.md", "CONTRIBUTING.md")
RUN_SECONDS_MAX = 300.0

CATCHES = ("AssertionError", "assert ", "Failed: DID NOT RAISE")
"""How the failure of a claim begins. A build that merely breaks down says something else."""


class NotTheBuild(Exception):
    """The program cannot be imported, or Python took it from elsewhere: nothing was shown."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """How the tests went: those that passed, and those that failed with what they said."""

    passed: frozenset[str]
    failed: dict[str, str]
    output: str

    def catches(self, mutant: Mutant) -> bool:
        """Whether every test that should notice has failed, in what it claims."""
        return all(self.failed.get(test, "").startswith(CATCHES) for test in mutant.caught_by)


def copy_of_the_build(folder: Path) -> Path:
    """Everything that the tests need, without what was made of it."""
    for name in BUILT_OF:
        ignored = shutil.ignore_patterns("__pycache__", "*.db", ".hypothesis")
        shutil.copytree(REPOSITORY / name, folder / name, ignore=ignored)
    for name in FILES:
        shutil.copy(REPOSITORY / name, folder / name)
    return folder


def apply(mutant: Mutant, build: Path) -> None:
    """Breaks the build. Raises ValueError."""
    path = build / mutant.file
    path.write_text(mutant.applied_to(path.read_text()))


def undo(mutant: Mutant, build: Path) -> None:
    """Mends it again."""
    shutil.copy(REPOSITORY / mutant.file, build / mutant.file)


def run(build: Path, tests: Sequence[str], module: str) -> Verdict:
    """Runs these tests on the build. Raises NotTheBuild unless `module` is taken from there."""
    # Before whatever is installed, an editable install of this very repository included.
    roots = os.pathsep.join(str(build / root) for root in ("server", "generated", "."))
    environment = {**os.environ, "PYTHONPATH": roots, "PYTHONDONTWRITEBYTECODE": "1"}
    for name in ("PYTEST_XDIST_WORKER", "PYTEST_XDIST_TESTRUNUID", "PYTEST_ADDOPTS"):
        environment.pop(name, None)
    _check_taken_from(build, module, environment)
    report = build / "report.xml"
    report.unlink(missing_ok=True)
    options = ("-q", "-n", "0", "-p", "no:cacheprovider", f"--rootdir={build}", "--tb=short")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *options, f"--junitxml={report}", *tests],
        cwd=build,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=RUN_SECONDS_MAX,
        check=False,
    )
    return _verdict(report, done.stdout)


def module_of(mutant: Mutant) -> str:
    """The module that the mutant breaks, as it is imported."""
    return mutant.file.removeprefix("server/").removesuffix(".py").replace("/", ".")


def _check_taken_from(build: Path, module: str, environment: dict[str, str]) -> None:
    program = f"import {module} as taken; print(taken.__file__)"
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=build,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode or not Path(done.stdout.strip()).is_relative_to(build):
        raise NotTheBuild(f"{module}: {done.stdout}{done.stderr}")


def _verdict(report: Path, output: str) -> Verdict:
    """By the test's name without its parameters: one failing case is enough."""
    passed: set[str] = set()
    failed: dict[str, str] = {}
    cases: Iterable[ET.Element] = ET.parse(report).iter("testcase") if report.exists() else ()
    for case in cases:
        path = case.get("classname", "").replace(".", "/")
        name = f"{path}.py::{case.get('name', '').partition('[')[0]}"
        failure = case.find("failure")
        if failure is not None:
            failed.setdefault(name, failure.get("message", ""))
        elif case.find("error") is None and case.find("skipped") is None:
            passed.add(name)
    return Verdict(passed=frozenset(passed - failed.keys()), failed=failed, output=output)
