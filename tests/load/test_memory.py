"""Memory stays flat however long a sidecar lives: rounds of every kind of call, after a warm-up."""

import sys
from pathlib import Path

import pytest

from tests.load import steady
from tests.load.memory import MEBIBYTE

pytestmark = pytest.mark.skipif(
    sys.platform != "linux", reason="memory is read from /proc, which this system does not have"
)

SEED = 20_261_126
PER_CALLS = 10_000

READING_GROWTH_BYTES_MAX = 8 * MEBIBYTE
"""Per 10,000 calls that write nothing; 2 were seen, and 1 KiB left behind by each would be 10."""

WRITING_GROWTH_BYTES_MAX = 64 * MEBIBYTE
"""Per 10,000 calls of every kind; 28 were seen, all of them pages of a new file in SQLite's cache,
which is full at 64 MiB (docs/reliability.md has the long run)."""


def test_calls_that_write_nothing_leave_no_memory_behind(tmp_path: Path) -> None:
    """Reads, refusals, streams that come and go, callers who hang up."""
    samples = steady.run(tmp_path, rounds=3, calls=2_000, writes=False, seed=SEED)
    growth = steady.growth_bytes(samples, per_calls=PER_CALLS)
    assert growth < READING_GROWTH_BYTES_MAX, "\n".join(steady.told(samples))


def test_changes_votes_and_rejections_leave_nothing_but_cached_pages_behind(
    tmp_path: Path,
) -> None:
    samples = steady.run(tmp_path, rounds=3, calls=2_000, writes=True, seed=SEED)
    growth = steady.growth_bytes(samples, per_calls=PER_CALLS)
    assert growth < WRITING_GROWTH_BYTES_MAX, "\n".join(steady.told(samples))
