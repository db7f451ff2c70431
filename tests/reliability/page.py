"""docs/reliability.md: its words, its sections in their order, and how a section is renewed."""

import re
from collections.abc import Sequence
from pathlib import Path

from tests.reliability import crashes, loads, mutants, simulated, streams
from tests.reliability.section import Measurement, Section, begin_mark, end_mark, rendered
from tests.support.deployment import REPOSITORY

PAGE = REPOSITORY / "docs" / "reliability.md"

SECTIONS: Sequence[Section] = (
    crashes.MATRIX,
    crashes.REPLICAS,
    streams.SECTION,
    simulated.SECTION,
    loads.MEMORY,
    loads.FLOOD,
    mutants.SECTION,
)

HEADER = """\
# Reliability

<!-- The tables are made by `make reliability`; do not edit them. -->

What is promised stands in [invariants.md](invariants.md), with the tests that hold it on every
change. This page has what takes longer than a test may: each section says what was run, when, where
and with which seed, and the command that runs it again. Figures of time and memory are the
machine's; a column that counts what was lost, doubled or missing must be zero anywhere.
"""


def renewed(text: str, section: Section, measurement: Measurement) -> str:
    """The page with the section's newest measurement in the section's place."""
    parts = {one.name: found for one in SECTIONS if (found := part_of(text, one))}
    parts[section.name] = rendered(section, measurement)
    ordered = [parts[one.name] for one in SECTIONS if one.name in parts]
    return "\n".join([HEADER, *(f"{part}\n" for part in ordered)])


def part_of(text: str, section: Section) -> str:
    """What stands on the page between the section's marks, and these; empty where it is not."""
    begin, end = map(re.escape, (begin_mark(section.name), end_mark(section.name)))
    found = re.search(f"{begin}.*?{end}", text, re.DOTALL)
    return found[0] if found else ""


def page_text(path: Path = PAGE) -> str:
    return path.read_text() if path.exists() else HEADER
