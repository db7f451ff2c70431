"""Every named place, killed, paused and hung at: nothing lost, nothing doubled, nothing missing."""

from pathlib import Path

import pytest

from governor import failpoints
from governor.hostkit import Failpoint
from tests.crash.matrix import HOST_KINDS, SIDECAR_KINDS, row_of, scenarios
from tests.crash.oracle import Verdict
from tests.crash.rounds import Round, Scenario, Stage, Where, play


def test_no_place_is_without_its_rounds() -> None:
    played = {(one.where, one.failpoint, one.kind) for one in scenarios()}
    sidecar = {(Where.SIDECAR, name, kind) for name in failpoints.NAMES for kind in SIDECAR_KINDS}
    host = {(Where.HOST, place.value, kind) for place in Failpoint for kind in HOST_KINDS}
    assert played == sidecar | host


@pytest.mark.parametrize("scenario", list(scenarios()), ids=str)
def test_whatever_happens_at_a_place_nothing_is_lost_and_nothing_is_done_twice(
    tmp_path: Path, scenario: Scenario
) -> None:
    """Callers who repeat what was not answered, a restart, and the host's own ledger as judge."""
    played = play(scenario, tmp_path)
    assert played.reached
    assert played.verdict.is_clean, played.verdict
    # A host that has gone may leave everything to a person, who then finds that nothing is owed.
    assert played.verdict.expected > 0 or scenario.stage is Stage.HOST_AWAY


def test_a_row_adds_up_what_its_rounds_have_found() -> None:
    """Whatever one of them lost is in the table."""
    scenario = next(scenarios())
    clean = Round(scenario=scenario, reached=True, verdict=Verdict(expected=6))
    bad = Verdict(
        expected=6, lost=("one",), doubled=("two", "three"), missing=("four",), faults=("five",)
    )
    row = row_of(scenario, [clean, Round(scenario=scenario, reached=False, verdict=bad)])
    assert (row.rounds, row.reached, row.effects_expected) == (2, 1, 12)
    assert (row.effects_lost, row.effects_doubled, row.decisions_missing) == (1, 2, 1)
    assert row.faults == ("five",)
    assert not row.is_clean
    assert row_of(scenario, [clean]).is_clean
