"""Every named place with every fault, and replicas that are killed: what was lost or doubled."""

from collections.abc import Sequence
from pathlib import Path

from tests.crash.matrix import Row as Played
from tests.crash.matrix import run_matrix, scenarios
from tests.crash.replicas import Killing, kill_in_turn
from tests.reliability.section import Row, Section
from tests.support.postgres import own_postgres

ROUNDS = 1
"""Of each place with each fault; the seed says at which passing."""

REPLICAS_MAX = 4
KILLS = 12

LOSSES = ("effects lost", "effects doubled", "decisions missing", "other faults")


def _run_matrix(home: Path, seed: int) -> Sequence[Row]:
    return [_row(played) for played in run_matrix(ROUNDS, seed)]


def _row(played: Played) -> Row:
    figures = (
        played.rounds,
        played.effects_expected,
        played.effects_lost,
        played.effects_doubled,
        played.decisions_missing,
        len(played.faults),
    )
    return (_place(played.where, played.failpoint, played.kind), *(f"{one:,}" for one in figures))


def _place(where: str, failpoint: str, kind: str) -> str:
    return f"{where} `{failpoint}` {kind}"


def _run_replicas(home: Path, seed: int) -> Sequence[Row]:
    rows = []
    with own_postgres() as server:
        for how_many in range(1, REPLICAS_MAX + 1):
            folder = home / f"replicas-{how_many}"
            folder.mkdir()
            url = server.new_database(folder)
            killing = kill_in_turn(url, folder, how_many, kills_each=KILLS // how_many)
            rows.append(_replicas_row(killing))
    return rows


def _replicas_row(killing: Killing) -> Row:
    verdict = killing.verdict
    figures = (
        killing.kills,
        killing.decisions,
        killing.subscriber_cuts,
        verdict.expected,
        len(verdict.lost),
        len(verdict.doubled),
        len(verdict.missing),
        len(verdict.faults),
    )
    return (f"{killing.replicas}", *(f"{one:,}" for one in figures))


MATRIX = Section(
    name="crashes",
    title="Every named place, killed, paused and hung at",
    claim="A sidecar and a host of their own for each round, with callers who submit, approve, "
    "cancel, wait and depend, and repeat whatever is not answered. At the named place, at a "
    "passing that the seed chooses, the process is killed (SIGKILL), or stands still for longer "
    "than the lease and goes on (SIGSTOP, SIGCONT), or its writer hangs until it is killed. The "
    "host's own ledger of effects, the callers' receipts, a subscriber's stream and `governor "
    "verify` are then compared.",
    columns=("place and fault", "rounds", "effects", *LOSSES),
    keys=[_place(one.where, one.failpoint, one.kind) for one in scenarios()],
    zeros=LOSSES,
    run=_run_matrix,
)

REPLICAS = Section(
    name="replicas",
    title="Replicas that are killed again and again",
    claim="Sidecars on one PostgreSQL database, under load, killed (SIGKILL) one after the other, "
    "half a second apart, each replaced at once: with others to take over, and with none. Judged "
    "as above.",
    columns=("replicas", "kills", "decisions", "streams cut", "effects", *LOSSES),
    keys=[str(how_many) for how_many in range(1, REPLICAS_MAX + 1)],
    zeros=LOSSES,
    run=_run_replicas,
)
