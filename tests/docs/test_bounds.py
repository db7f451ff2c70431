"""docs/architecture.md lists every bound there is, and none that there is not."""

import re
from pathlib import Path

from governor.config.settings import Settings

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "architecture.md").read_text()
CHAPTER = TEXT[TEXT.index("## What is bounded") :]
CODE = "\n".join(path.read_text() for path in (ROOT / "server").rglob("*.py"))

ELSEWHERE = {"OTEL_BSP_MAX_QUEUE_SIZE"}
"""What another project reads."""


def named() -> set[str]:
    """What stands in the middle column."""
    cells = [line.split("|")[2] for line in CHAPTER.splitlines() if line.startswith("| ")]
    return set(re.findall(r"`(\w+)`", " ".join(cells)))


def test_every_bound_that_is_listed_exists() -> None:
    constants = {name for name in named() - ELSEWHERE if name.isupper()}
    missing = [
        name for name in constants if not re.search(rf"^{name}(?:: | = )", CODE, re.MULTILINE)
    ]
    assert missing == []
    assert named() - ELSEWHERE - constants <= Settings.model_fields.keys()


def test_every_setting_that_bounds_a_number_or_a_size_is_listed() -> None:
    bounds = {
        name
        for name in Settings.model_fields
        if name.endswith("_max") and not name.endswith("_seconds_max")
    }
    assert bounds - named() == set()
