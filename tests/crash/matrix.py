"""Every place there is, with everything that can happen at it: the rounds of the crash matrix."""

import random
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeVar

from governor import failpoints
from governor.hostkit import Failpoint
from tests.crash.rounds import Round, Scenario, Stage, Where, play

_T = TypeVar("_T")

SIDECAR_KINDS: Final = tuple(failpoints.KINDS)
HOST_KINDS: Final = ("kill", "stop", "hang")

STAGES: Final[Mapping[str, Stage]] = {
    "migrate": Stage.FIRST_START,
    "adopt": Stage.SUCCESSOR,
    "recover": Stage.SUCCESSOR,
    "execute.before_fence": Stage.ORDERS_LOST,
    "execute.before_release": Stage.ORDERS_LOST,
    "execute.after_release": Stage.ORDERS_LOST,
    "execute.before_doubt": Stage.HOST_AWAY,
    Failpoint.AFTER_INQUIRY_BEFORE_COMMIT: Stage.SUCCESSOR,
    Failpoint.AFTER_INQUIRY_BEFORE_ANSWER: Stage.SUCCESSOR,
}
"""What has to be the case for a place, or for a family of places, to be passed."""

PASSINGS_MAX: Final[Mapping[str, int]] = {
    "store": 12,
    "stream": 20,
    "execute.before_claim": 4,
    "execute.before_apply": 6,
    "execute.after_apply": 6,
    "execute.before_outcome": 6,
    "execute.after_outcome": 6,
    Failpoint.BEFORE_APPLY: 6,
    Failpoint.AFTER_EFFECT_BEFORE_COMMIT: 4,
    Failpoint.AFTER_COMMIT_BEFORE_ANSWER: 4,
}
"""How often a place is passed in a round, about, where it is more than once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """What all rounds of one place and one kind came to."""

    where: str
    failpoint: str
    kind: str
    rounds: int
    reached: int
    effects_expected: int
    effects_lost: int
    effects_doubled: int
    decisions_missing: int
    faults: tuple[str, ...]

    @property
    def is_clean(self) -> bool:
        losses = self.effects_lost + self.effects_doubled + self.decisions_missing
        return losses == 0 and not self.faults


def scenarios() -> Iterator[Scenario]:
    """Every place with every kind, at its first passing."""
    for name in failpoints.NAMES:
        for kind in SIDECAR_KINDS:
            yield _scenario(Where.SIDECAR, name, kind)
    for place in Failpoint:
        for kind in HOST_KINDS:
            yield _scenario(Where.HOST, place.value, kind)


def passings_max(scenario: Scenario) -> int:
    """At how many passings it may be played."""
    return _of(PASSINGS_MAX, scenario.failpoint) or 1


def run_matrix(rounds: int, seed: int, report: Callable[[Row], None] = lambda _: None) -> list[Row]:
    """Plays each scenario so many times, at passings that `seed` chooses; a row for each, which is
    reported as soon as it is there.
    """
    chance = random.Random(seed)
    rows: list[Row] = []
    for scenario in scenarios():
        passings = [chance.randint(1, passings_max(scenario)) for _ in range(rounds)]
        played: list[Round] = []
        for passing in passings:
            with tempfile.TemporaryDirectory(prefix="governor-matrix-") as folder:
                played.append(play(scenario.at(passing), Path(folder)))
        rows.append(row_of(scenario, played))
        report(rows[-1])
    return rows


def row_of(scenario: Scenario, played: list[Round]) -> Row:
    verdicts = [one.verdict for one in played]
    return Row(
        where=scenario.where.value,
        failpoint=scenario.failpoint,
        kind=scenario.kind,
        rounds=len(played),
        reached=sum(one.reached for one in played),
        effects_expected=sum(one.expected for one in verdicts),
        effects_lost=sum(len(one.lost) for one in verdicts),
        effects_doubled=sum(len(one.doubled) for one in verdicts),
        decisions_missing=sum(len(one.missing) for one in verdicts),
        faults=tuple(fault for one in verdicts for fault in one.faults),
    )


def _scenario(where: Where, failpoint: str, kind: str) -> Scenario:
    stage = _of(STAGES, failpoint) or Stage.EVERYDAY
    return Scenario(where=where, failpoint=failpoint, kind=kind, stage=stage)


def _of(table: Mapping[str, _T], name: str) -> _T | None:
    """What the table says of a place, or else of its family."""
    return table.get(name, table.get(name.partition(".")[0]))
