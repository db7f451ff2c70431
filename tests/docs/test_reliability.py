"""docs/reliability.md has the sections, columns and rows that the program has; figures are free."""

import re

import pytest

from tests.reliability.page import HEADER, PAGE, SECTIONS, part_of, renewed
from tests.reliability.section import MEASURED, Measurement, Section, rendered

TEXT = PAGE.read_text()


def row_cells(part: str) -> list[list[str]]:
    """The cells of the table, the columns' names first, without the line under them."""
    lines = [line for line in part.splitlines() if line.startswith("|")]
    return [
        [cell.strip() for cell in line.strip("|").split("|")] for line in lines if "---" not in line
    ]


def test_the_page_has_exactly_the_sections_of_the_program_in_their_order() -> None:
    assert re.findall(r"<!-- begin:([\w-]+) -->", TEXT) == [section.name for section in SECTIONS]
    assert TEXT.startswith(HEADER)


@pytest.mark.parametrize("section", SECTIONS, ids=lambda section: section.name)
def test_a_section_stands_as_it_would_be_written_and_says_how_it_was_measured(
    section: Section,
) -> None:
    """Everything but the figures: what it claims, its columns, its rows, and its zeroes."""
    part = part_of(TEXT, section)
    columns, *rows = row_cells(part)
    assert columns == list(section.columns)
    assert rows
    assert section.faults(rows) == []
    said = MEASURED.search(part)
    assert said is not None
    assert said["name"] == section.name
    frame = rendered(
        section, Measurement(rows=rows, seed=0, seconds=0, day="2026-01-01", machine="none")
    )
    assert MEASURED.sub("", part) == re.sub(r"Measured on .*", "", frame)


def test_a_section_is_renewed_in_its_place_and_the_others_stay() -> None:
    for section in SECTIONS:
        measurement = Measurement(
            rows=[("x",) * len(section.columns)], seed=7, seconds=1, day="2026-01-02", machine="m"
        )
        text = renewed(TEXT, section, measurement)
        assert part_of(text, section) == rendered(section, measurement)
        others = [one for one in SECTIONS if one is not section]
        assert all(part_of(text, one) == part_of(TEXT, one) for one in others)
        assert renewed(renewed(HEADER, section, measurement), section, measurement) == (
            renewed(HEADER, section, measurement)
        )


def test_what_must_not_stand_on_the_page_is_named() -> None:
    section = SECTIONS[0]
    good = ["0"] * (len(section.columns) - 1)
    rows = [(key, *good) for key in section.keys]
    assert section.faults(rows) == []
    assert section.faults(rows[1:])
    assert section.faults([(key, *good[:-4], "3", *good[-3:]) for key in section.keys])
    assert section.faults([row[:-1] for row in rows])
