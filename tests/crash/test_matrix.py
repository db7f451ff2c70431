"""Every named place, killed, paused and hung at: nothing lost, nothing doubled, nothing missing."""

from pathlib import Path

import pytest

from governor import failpoints
from governor.hostkit import Failpoint
from tests.crash.matrix import HOST_KINDS, SIDECAR_KINDS, row_of, scenarios
from tests.crash.oracle import Verdict
from tests.crash.rounds import Round, Scenario, Stage, Where, play
from tests.support.postgres import PostgresServer, postgres_server

__all__ = ["postgres_server"]  # a fixture: found here by its name


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


@pytest.mark.parametrize(
    "scenario",
    [
        one
        for one in scenarios()
        if one.kind == "kill" and one.failpoint.startswith(("store.", "migrate."))
    ],
    ids=str,
)
def test_the_same_holds_where_the_store_is_a_server(
    postgres_server: PostgresServer, tmp_path: Path, scenario: Scenario
) -> None:
    """The places within the store itself, on PostgreSQL; the database is empty at the start."""
    with postgres_server.lent(tmp_path, migrated=False) as url:
        played = play(scenario, tmp_path, store_url=url)
    assert played.reached
    assert played.verdict.is_clean, played.verdict
    assert played.verdict.expected > 0


@pytest.mark.parametrize("passing", [2, 4, 7])
@pytest.mark.parametrize(
    "failpoint", ["store.batch.before_commit", "store.batch.after_commit", "execute.after_apply"]
)
def test_the_same_holds_at_later_passings(tmp_path: Path, failpoint: str, passing: int) -> None:
    """In the middle of everything, and no longer at the beginning of it."""
    (scenario,) = (one for one in scenarios() if (one.failpoint, one.kind) == (failpoint, "kill"))
    played = play(scenario.at(passing), tmp_path)
    assert played.verdict.is_clean, played.verdict
    assert played.verdict.expected > 0


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
