"""What load does: the memory of a long life, and a flood that is refused."""

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

from tests.load import flood, steady
from tests.load.memory import MEBIBYTE, peak_bytes, resident_bytes
from tests.reliability.section import Row, Section
from tests.support.deployment import Deployment

ROUNDS = 12
CALLS_PER_ROUND = 10_000

# ---------------------------------------------------------------- a long life


def _live(home: Path, seed: int) -> Sequence[Row]:
    samples = steady.run(home, rounds=ROUNDS, calls=CALLS_PER_ROUND, writes=True, seed=seed)
    growths = [
        _mebibytes(steady.growth_bytes(pair, per_calls=10_000)) for pair in pairwise(samples)
    ]
    return [
        (
            f"{sample.calls:,}",
            _mebibytes(sample.sidecar_bytes),
            _mebibytes(sample.host_bytes),
            growth,
        )
        for sample, growth in zip(samples, ["", *growths], strict=True)
    ]


MEMORY = Section(
    name="memory",
    title="Memory of a long life",
    claim=f"Calls of every kind, {steady.CALLERS} at a time: changes that are executed, votes, "
    "rejections, refusals, reads, streams that come and go, callers who hang up. The caches of the "
    "sidecar are set to 1 MiB, so that they are full from the start; it grows until SQLite's own "
    "cache of pages is full (64 MiB), and is flat from there.",
    columns=("calls", "sidecar MiB", "host MiB", "sidecar's growth per 10,000 calls, MiB"),
    run=_live,
)

# ---------------------------------------------------------------- a flood

LIMITS = {"8 MiB": 8 * MEBIBYTE, "1 TiB": MEBIBYTE**2}


def _drown(home: Path, seed: int) -> Sequence[Row]:
    return [
        _flooded(home / str(number), name, limit)
        for number, (name, limit) in enumerate(LIMITS.items())
    ]


def _flooded(home: Path, name: str, limit_bytes: int) -> Row:
    home.mkdir()
    settings = {
        "GOVERNOR_BYTES_IN_FLIGHT_MAX": str(limit_bytes),
        "GOVERNOR_SNAPSHOT_BYTES_MAX": str(MEBIBYTE),
    }
    deployment = Deployment(home, settings)
    plan = flood.Flood(
        target=deployment.target, connections=4, callers=64, calls=1_024, payload_bytes=MEBIBYTE
    )
    with deployment.host(), deployment.client() as ann:
        with deployment.sidecar() as running:
            ann.submit("before", flag="before", wait_seconds=10)
            before = resident_bytes(running.process.pid)
            outcome = flood.run(plan)
            worst = peak_bytes(running.process.pid)
            running.kill()
        with deployment.sidecar():
            lost = set(outcome.answered.values()) - flood.requests_of(ann)
    counted = (
        plan.connections * plan.callers,
        len(outcome.answered),
        sum(outcome.refused.values()),
        len(outcome.odd),
        len(lost),
    )
    return (name, *map(str, counted), _mebibytes(before), _mebibytes(worst))


FLOOD = Section(
    name="flood",
    title="A flood",
    claim="Submissions with a payload of 1 MiB each, from a process of its own, against "
    "`bytes_in_flight_max` of 8 MiB, and without a bound to speak of. What is refused is refused "
    "with RetryInfo; after the flood the sidecar is killed (SIGKILL), and what it had answered is "
    "looked for. What the bound cannot hold back is what arrives at the same moment: of each of "
    "the callers one message, which is let go as soon as it is refused.",
    columns=(
        "`bytes_in_flight_max`",
        "callers at once",
        "answered",
        "refused",
        "otherwise failed",
        "answered and lost",
        "MiB before",
        "MiB at worst",
    ),
    keys=tuple(LIMITS),
    zeros=("otherwise failed", "answered and lost"),
    run=_drown,
)


def _mebibytes(size: int) -> str:
    return f"{size / MEBIBYTE:.1f}"
