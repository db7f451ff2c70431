"""The demo is the first thing a newcomer runs: it must come out right, and read well in a log."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
DEMO_SECONDS_MAX = 120.0
COLUMNS_MAX = 100

CLOSING_LINES = (
    "auto-approved: EXECUTED",
    "quorum: EXECUTED",
    "policy denial: REJECTED",
    "rejection: REJECTED",
    "owner, security and a check: EXECUTED",
    "break-glass: EXECUTED",
    "stale, REJECT_STALE: REJECTED",
    "stale, REQUIRE_RENEWED_APPROVAL: EXECUTED",
    "stale, REVALIDATE_ON_LATEST: EXECUTED",
    "checkpoint: three lines",
    "cancel: CANCELED",
    "supersede: the old one SUPERSEDED, the new one EXECUTED",
    "expiry: EXPIRED",
    "same request_id: one request, one effect",
    "killed before its commit: the lost change was ordered again, exactly one effect",
    "killed after its commit: the outcome was looked up, exactly one effect",
    "none missing, none twice",
    "findings    0",
    "HISTORY_REWRITTEN",
    "20 stories, all as they must be",
)


@pytest.fixture
def folder() -> Iterator[Path]:
    """A short path, unlike tmp_path: unix sockets are bound below it."""
    with tempfile.TemporaryDirectory(prefix="demo-") as folder:
        yield Path(folder)


def test_the_demo_tells_every_story_to_its_end(folder: Path) -> None:
    """One run, in one test: it starts processes and takes seconds."""
    demo = subprocess.run(
        [sys.executable, "-m", "examples.demo"],
        cwd=REPOSITORY,
        env={**os.environ, "TMPDIR": str(folder), "PYTHONIOENCODING": "utf-8"},
        capture_output=True,
        encoding="utf-8",
        timeout=DEMO_SECONDS_MAX,
        check=False,
    )
    assert demo.returncode == 0, demo.stdout + demo.stderr
    assert [line for line in CLOSING_LINES if line not in demo.stdout] == []
    assert "\x1b" not in demo.stdout, "a log is no place for colours"
    assert max(map(len, demo.stdout.splitlines())) <= COLUMNS_MAX
    assert demo.stderr == ""
    assert list(folder.iterdir()) == [], "the demo leaves nothing behind"
