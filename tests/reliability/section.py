"""What a section of the page is, and how it stands on it: a claim, how it was measured, a table."""

import os
import platform
import re
import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, TypeAlias

Row: TypeAlias = Sequence[str]
LINE_CHARACTERS: Final = 105


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """One part of the page.

    `keys` are the first cells that its table has, in this order; empty where those are figures.
    `zeros` are the columns in which nothing but 0 may stand. `run` measures in an empty folder, and
    leaves to the seed what chance decides.
    """

    name: str
    title: str
    claim: str
    columns: Sequence[str]
    run: Callable[[Path, int], Sequence[Row]]
    keys: Sequence[str] = ()
    zeros: Sequence[str] = ()

    def faults(self, rows: Sequence[Row]) -> list[str]:
        """What in these rows must not stand on the page."""
        found = [f"{len(row)} cells: {row}" for row in rows if len(row) != len(self.columns)]
        if self.keys and [row[0] for row in rows] != list(self.keys):
            found.append(f"other rows than {self.keys}")
        for name in self.zeros:
            at = self.columns.index(name)
            whole = (row for row in rows if len(row) == len(self.columns))
            found += [f"{name} is {row[at]}: {row}" for row in whole if row[at] != "0"]
        return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """What a run of a section has given, and where and when."""

    rows: Sequence[Row]
    seed: int
    seconds: float
    day: str
    machine: str

    def line(self, section: Section) -> str:
        """How it can be measured again."""
        return (
            f"Measured on {self.day} in {self.seconds:,.0f} s on {self.machine}, by "
            f"`make reliability SECTIONS={section.name} SEED={self.seed}`."
        )


MEASURED = re.compile(
    r"Measured on \d{4}-\d\d-\d\d in [\d,]+ s on \d+ cores \(.+\), Python \S+, by "
    r"`make reliability SECTIONS=(?P<name>[\w-]+) SEED=\d+`\."
)


def today() -> str:
    return datetime.now(tz=UTC).date().isoformat()


def this_machine() -> str:
    """Cores, processor and Python: what figures of time and memory depend on."""
    return (
        f"{os.cpu_count()} cores ({platform.system()} {platform.machine()}), "
        f"Python {platform.python_version()}"
    )


def rendered(section: Section, measurement: Measurement) -> str:
    """The section as it stands on the page, between its marks."""
    table = [
        _cells(section.columns),
        _cells(["---"] * len(section.columns)),
        *(_cells(row) for row in measurement.rows),
    ]
    lines = (
        begin_mark(section.name),
        f"## {section.title}",
        "",
        textwrap.fill(section.claim, LINE_CHARACTERS, break_on_hyphens=False),
        "",
        measurement.line(section),
        "",
        *table,
        "",
        end_mark(section.name),
    )
    return "\n".join(lines)


def begin_mark(name: str) -> str:
    return f"<!-- begin:{name} -->"


def end_mark(name: str) -> str:
    return f"<!-- end:{name} -->"


def _cells(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cell.replace('|', '/') for cell in cells)} |"
