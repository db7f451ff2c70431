"""Thousands of seeds per run, shared out among the workers. One that fails is printed with the
command that replays it.
"""

import os
from dataclasses import fields

import pytest

from tests.simulation.chance import Faults
from tests.simulation.run import replay_command, run_seeds

BASE_VARIABLE = "GOVERNOR_SIMULATION_BASE"
"""Shifts the seeds, so that a longer campaign need not look at the same ones again."""

CHUNKS, SEEDS_PER_CHUNK = 40, 50


@pytest.mark.parametrize("chunk", range(CHUNKS))
def test_nothing_is_lost_and_nothing_happens_twice(chunk: int) -> None:
    """Whatever goes wrong, in whatever order: healed and at rest, all invariants hold, and every
    answer that anybody got is explained by one order of events.
    """
    first = int(os.environ.get(BASE_VARIABLE, "0")) + chunk * SEEDS_PER_CHUNK
    result = run_seeds(range(first, first + SEEDS_PER_CHUNK))
    for run in result.failed:
        pytest.fail(f"seed {run.seed}: {run.failure}\nreplay it: {replay_command(run.seed)}")
    assert result.seeds == SEEDS_PER_CHUNK


def test_what_can_go_wrong_does_go_wrong() -> None:
    """The seeds are no fair-weather runs: every kind of fault comes about in a few of them."""
    result = run_seeds(range(120))
    assert result.crashes > 0
    assert result.effects > 0
    others = {"kill", "freeze", "host_down", "restart"}
    assert result.faults.keys() == others | {field.name for field in fields(Faults)}
