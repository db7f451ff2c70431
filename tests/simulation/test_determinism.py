"""A seed is a whole run: what happens in it depends on the seed and on nothing else."""

import os
import random
import subprocess
import sys
import threading
import time
from itertools import count
from pathlib import Path

import pytest

from tests.simulation.run import run_seed

ROOT = Path(__file__).parents[2]
EVENTFUL_SEEDS = (7, 30, 47, 56)
"""Some of one sidecar and some of several, with crashes, doubt and cut streams among them."""


@pytest.mark.parametrize("seed", EVENTFUL_SEEDS)
def test_two_runs_of_a_seed_are_the_same_to_the_byte(seed: int) -> None:
    first, second = run_seed(seed), run_seed(seed)
    assert first.trace.lines == second.trace.lines
    assert first.ledger_sha256 == second.ledger_sha256
    assert first.decisions > 0


def test_the_order_of_hashes_does_not_come_in() -> None:
    """Sets and dictionaries of text are ordered otherwise in every process."""
    script = (
        "from tests.simulation.run import run_seed\n"
        f"for seed in {EVENTFUL_SEEDS}:\n"
        "    run = run_seed(seed)\n"
        "    print(run.trace.digest, run.ledger_sha256)\n"
    )
    told = {
        subprocess.run(
            [sys.executable, "-c", script],
            cwd=ROOT,
            env={**os.environ, "PYTHONHASHSEED": hash_seed},
            check=True,
            capture_output=True,
            text=True,
        ).stdout
        for hash_seed in ("1", "2", "3")
    }
    assert len(told) == 1


def test_other_seeds_are_other_runs() -> None:
    assert len({run_seed(seed).trace.digest for seed in range(5)}) == 5


def test_no_thread_is_started(monkeypatch: pytest.MonkeyPatch) -> None:
    def start(thread: threading.Thread) -> None:
        raise AssertionError(f"{thread.name} was started")

    monkeypatch.setattr(threading.Thread, "start", start)
    for seed in EVENTFUL_SEEDS:
        assert not run_seed(seed).failure


def test_what_the_machines_clocks_and_randomness_say_makes_no_difference(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Libraries ask them, for their statistics; clocks that jump by hours change nothing."""
    before = [run_seed(seed).trace.digest for seed in EVENTFUL_SEEDS]
    hours = count(0, 3_600)
    monkeypatch.setattr(time, "monotonic", lambda: float(next(hours)))
    monkeypatch.setattr(time, "time", lambda: float(next(hours)))
    monkeypatch.setattr(time, "time_ns", lambda: next(hours) * 1_000_000_000)
    monkeypatch.setattr(os, "urandom", bytes)
    random.seed(next(hours))

    assert [run_seed(seed).trace.digest for seed in EVENTFUL_SEEDS] == before
