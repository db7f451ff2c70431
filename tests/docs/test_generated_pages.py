"""Generated pages are what the code says, and every command that a page shows can be typed."""

import re
import shlex
from pathlib import Path

import pytest
from typer.main import get_command

from governor.cli.main import app
from governor.docs import RULES_BEGIN, MissingMarkers, between_markers, drifted, main, pages

ROOT = Path(__file__).parents[2]
COMMAND = re.compile(r"(?:^\$ |^    |`)(governor [a-z][^`\n]*)", re.MULTILINE)
PAGES = [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("examples/**/*.md")]


def shown_commands() -> list[tuple[str, str]]:
    """Page and command line, of everything that is written as if it could be typed."""
    return [
        (str(page.relative_to(ROOT)), line.strip())
        for page in PAGES
        if page.name != "cli.md"
        for line in COMMAND.findall(page.read_text().replace("\\\n", " "))
    ]


def unknown_in(line: str) -> str:
    """The first word of a command line that `--help` does not know; empty when there is none."""
    command = get_command(app)
    for word in shlex.split(line, comments=True)[1:]:
        inner = getattr(command, "commands", {})
        if word.startswith("-") and word != "-":
            options = {name for parameter in command.params for name in parameter.opts}
            if word.partition("=")[0] not in options:
                return word
        elif inner:
            if word not in inner:
                return word
            command = inner[word]
    return ""


def test_no_page_has_drifted_from_the_code() -> None:
    assert [str(page.relative_to(ROOT)) for page in drifted(ROOT)] == []


def copy_of_the_pages(folder: Path) -> Path:
    (folder / "docs").mkdir()
    for page, text in pages(ROOT).items():
        (folder / "docs" / page.name).write_text(text)
    return folder


@pytest.mark.parametrize("name", ["cli.md", "configuration.md", "lifecycle.md", "contract.md"])
def test_a_page_that_was_changed_by_hand_is_named_and_mended(
    tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    root = copy_of_the_pages(tmp_path)
    page = root / "docs" / name
    text = page.read_text()
    changed = text.replace("\n| ", "\n| changed ") if name == "contract.md" else text + "more\n"
    page.write_text(changed)
    assert main(["--check", "--root", str(root)]) == 1
    assert capsys.readouterr().err == f"{page} is not what the code says: run 'make generate'\n"
    assert page.read_text() == changed
    assert main(["--root", str(root)]) == 0
    assert main(["--check", "--root", str(root)]) == 0


def test_a_contract_without_a_place_for_its_rules_is_refused() -> None:
    with pytest.raises(MissingMarkers):
        between_markers(f"# The contract\n{RULES_BEGIN}", "rules")


def test_the_pages_show_commands_at_all() -> None:
    assert shown_commands()


@pytest.mark.parametrize(("page", "line"), shown_commands())
def test_a_command_that_is_shown_can_be_typed(page: str, line: str) -> None:
    assert unknown_in(line) == "", f"{page}: {line}"
