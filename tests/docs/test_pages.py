"""What the pages point to exists: files, headings and tests."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = sorted(
    page.relative_to(ROOT)
    for pattern in ("*.md", "docs/**/*.md", "examples/**/*.md")
    for page in ROOT.glob(pattern)
)
FENCED = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)")
TEST = re.compile(r"`(tests/[\w/]+(?:\.py)?)(?:::(\w+))?`")


def prose(page: Path) -> str:
    return FENCED.sub("", (ROOT / page).read_text())


def anchors(page: Path) -> set[str]:
    """The headings as links name them: lower case, words joined by dashes."""
    headings = re.findall(r"^#+ (.+)$", prose(page), re.MULTILINE)
    plain = (re.sub(r"[^\w\- ]", "", heading.lower()) for heading in headings)
    return {heading.replace(" ", "-") for heading in plain}


def broken_links(page: Path) -> Iterator[str]:
    for link in LINK.findall(prose(page)):
        if re.match(r"https?:|mailto:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (ROOT / page.parent / path).resolve() if path else ROOT / page
        is_missing = not target.exists() or not target.is_relative_to(ROOT)
        if is_missing or (anchor and anchor not in anchors(target.relative_to(ROOT))):
            yield link


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_every_link_leads_somewhere_in_the_project(page: Path) -> None:
    assert list(broken_links(page)) == []


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_every_test_that_is_named_exists(page: Path) -> None:
    missing = [
        f"{path}::{name}" if name else path
        for path, name in TEST.findall(prose(page))
        if not (ROOT / path).exists() or (name and f"def {name}(" not in (ROOT / path).read_text())
    ]
    assert missing == []


def test_every_decision_record_has_its_number_and_its_four_parts() -> None:
    records = sorted((ROOT / "docs" / "adr").glob("*.md"))
    for number, record in enumerate(records, start=1):
        text = record.read_text()
        assert record.name.startswith(f"{number:04d}-"), record.name
        assert text.startswith(f"# {number:04d}. "), record.name
        parts = re.findall(
            r"^\*\*(Context|Decision|Rejected|Consequences)\.\*\*", text, re.MULTILINE
        )
        assert parts == ["Context", "Decision", "Rejected", "Consequences"], record.name
