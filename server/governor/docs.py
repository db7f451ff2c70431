"""Renders the pages of docs/ that say what the code says, and finds those that have drifted.

`python -m governor.docs` writes them; with `--check` it writes nothing and exits with 1 on drift.
"""

import argparse
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import typer
from typer.testing import CliRunner

from governor.cli.exits import MEANINGS
from governor.cli.main import app
from governor.config.reference import reference_page
from governor.domain.decision import Category, Code
from governor.domain.lifecycle import AUDIT_TRIGGERS, TRANSITIONS
from governor.domain.request import TERMINAL, Status
from governor.wire.contract_page import shape_rules_page

RULES_BEGIN = "<!-- rules:begin -->\n"
RULES_END = "<!-- rules:end -->\n"

CLI_PAGE = """\
# The command line

<!-- Made by `make generate` out of server/governor/cli/; do not edit. -->

Tables are for people; `--json` prints protobuf's JSON mapping for programs, one object per line.
Answers go to stdout, everything about them to stderr. Whatever comes from elsewhere is shown with
control and invisible characters escaped.

## Exit codes

| code | name | meaning |
|---|---|---|
{codes}

## Commands

{helps}"""

LIFECYCLE_PAGE = """\
# The life of a request

<!-- Made by `make generate` out of server/governor/domain/; do not edit. -->

A status changes only along these lines, and every change appends at least one decision to the
ledger in the same commit. What is not listed is refused with `ILLEGAL_TRANSITION` and changes
nothing. CREATED exists only inside the submitting commit.

```mermaid
stateDiagram-v2
{diagram}
```

A PENDING request whose outcome is in doubt, which waits for AUDIT, takes {audit_triggers}
and nothing else. Without that doubt it takes every other trigger of its rows, and none of these.

| from | trigger | to |
|---|---|---|
{rows}

Terminal, and never left: {terminal}.

## Decisions

| category | codes |
|---|---|
{decisions}
"""


class MissingMarkers(Exception):
    """A page has no place for its generated part."""


def pages(root: Path) -> Mapping[Path, str]:
    """Every generated page under `root`, as it should be. Raises MissingMarkers."""
    folder = root / "docs"
    contract = folder / "contract.md"
    return {
        folder / "configuration.md": reference_page(),
        folder / "cli.md": cli_page(),
        folder / "lifecycle.md": lifecycle_page(),
        contract: between_markers(contract.read_text(), shape_rules_page()),
    }


def drifted(root: Path) -> list[Path]:
    """The pages that are not what the code says."""
    return [
        page for page, text in pages(root).items() if not page.exists() or page.read_text() != text
    ]


def between_markers(page: str, text: str) -> str:
    """The page with `text` as its generated part."""
    before, begin, rest = page.partition(RULES_BEGIN)
    _, end, after = rest.partition(RULES_END)
    if not begin or not end:
        markers = f"{RULES_BEGIN.strip()} and {RULES_END.strip()}"
        raise MissingMarkers(f"docs/contract.md needs {markers}")
    return f"{before}{begin}\n{text}\n{end}{after}"


def cli_page() -> str:
    """docs/cli.md: the exit codes, then what `--help` prints for every command."""
    codes = (f"| {code.value} | {code.name} | {words} |" for code, words in MEANINGS.items())
    helps = (
        f"### {' '.join(('governor', *path))}\n\n```text\n{_help(path).strip()}\n```\n"
        for path in command_paths()
    )
    return CLI_PAGE.format(codes="\n".join(codes), helps="\n".join(helps))


def command_paths() -> Iterator[tuple[str, ...]]:
    """Every command, groups before what they hold."""
    yield ()
    for name, group in _commands(app):
        yield (name,)
        if group is not None:
            for inner, _ in _commands(group):
                yield (name, inner)


def lifecycle_page() -> str:
    """docs/lifecycle.md: the transition table as a picture and as rows, and every decision."""
    rows = (
        f"| {status} | `{trigger}` | {target} |"
        for status, row in TRANSITIONS.items()
        for trigger, target in row.items()
    )
    decisions = (f"| {category} | {_codes(category)} |" for category in Category)
    return LIFECYCLE_PAGE.format(
        diagram="\n".join(f"    {line}" for line in _diagram()),
        audit_triggers=" and ".join(f"`{trigger}`" for trigger in sorted(AUDIT_TRIGGERS)),
        rows="\n".join(rows),
        terminal=", ".join(status for status in Status if status in TERMINAL),
        decisions="\n".join(decisions),
    )


def _diagram() -> Iterator[str]:
    for status, row in TRANSITIONS.items():
        source = "[*]" if status is Status.CREATED else status.value
        for target in dict.fromkeys(row.values()):
            triggers = [trigger.value for trigger, reached in row.items() if reached is target]
            yield f"{source} --> {target}: {', '.join(triggers)}"
    for status in Status:
        if status in TERMINAL:
            yield f"{status} --> [*]"


def _codes(category: Category) -> str:
    return ", ".join(f"`{code.text}`" for code in Code if code.category is category)


def _commands(group: typer.Typer) -> Iterator[tuple[str, typer.Typer | None]]:
    for command in group.registered_commands:
        yield command.name or "", None
    for inner in group.registered_groups:
        yield inner.name or "", inner.typer_instance


def _help(path: Sequence[str]) -> str:
    return CliRunner().invoke(app, [*path, "--help"], prog_name="governor").output


def main(arguments: Sequence[str]) -> int:
    """Writes the pages, or checks them. Answers the exit code."""
    parser = argparse.ArgumentParser(prog="python -m governor.docs", description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing, exit with 1 on drift")
    parser.add_argument("--root", type=Path, default=Path(), help="the project's folder")
    options = parser.parse_args(arguments)
    found = drifted(options.root)
    if options.check:
        for page in found:
            sys.stderr.write(f"{page} is not what the code says: run 'make generate'\n")
        return 1 if found else 0
    rendered = pages(options.root)
    for page in found:
        page.write_text(rendered[page])
        sys.stdout.write(f"{page}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
