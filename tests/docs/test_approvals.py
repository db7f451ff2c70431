"""docs/approvals.md: what it quotes stands in the examples, and its sessions play as shown.

A session is a console block. Its commands run against a real sidecar and host, with the example
policy and directory; what is printed below a command must be what that prints, where `...` stands
for anything and blanks are not counted.
"""

import re
import shlex
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import pytest
from typer.testing import CliRunner

from governor.cli.main import app
from governor.clock import SystemClock
from governor.directory_file import load_directory
from governor.policy_file import load_policy
from tests.support.deployment import REPOSITORY, TENANT, Deployment

PAGE = (REPOSITORY / "docs" / "approvals.md").read_text()
EXAMPLES = REPOSITORY / "examples" / "policy"
POLICY = (EXAMPLES / "policy.toml").read_text()
DIRECTORY = (EXAMPLES / "directory.toml").read_text()

SNIPPETS = re.findall(r"^```toml\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
SESSIONS = re.findall(r"^```console\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)

OPENS = 'opens = "0 22 * * 1-5"'
# Three days from now, in whichever zone it is read: not yet.
OPENS_ALWAYS = 'opens = "* * * * *"'
TODAY = datetime.fromtimestamp(SystemClock().now() / 1e6, UTC)
OPENS_LATER = f'opens = "0 22 * * {(TODAY.isoweekday() + 3) % 7}"'

ID = re.compile(r"^mr-[0-9a-f]{32}")
ASKS = ("approve", "reject", "resolve-pending", "break-glass review")


@dataclass
class Shown:
    """A command of a session, and what is shown of what it prints."""

    command: list[str]
    lines: list[str] = field(default_factory=list)


def session(text: str) -> list[Shown]:
    """The commands of a console block."""
    found: list[Shown] = []
    for line in text.replace("\\\n", " ").splitlines():
        if line.startswith("$ governor "):
            found.append(Shown(shlex.split(line.removeprefix("$ governor "), comments=True)))
        elif line.strip() and found:
            found[-1].lines.append(line)
    return found


def as_pattern(line: str) -> str:
    """A shown line as a regular expression: `...` is anything, and blanks are one or more."""
    words = line.split()
    return r"\s+".join(re.escape(word).replace(re.escape("..."), ".*") for word in words)


@pytest.fixture(scope="module")
def deployment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    """With the example files, but for the window, which is not open now, whenever that is."""
    with deployed(tmp_path_factory.mktemp("approvals"), OPENS_LATER) as made:
        yield made


@contextmanager
def deployed(home: Path, opens: str) -> Iterator[Deployment]:
    """A sidecar and a host with the example files, and a window that opens otherwise."""
    policy = home / "example.toml"
    policy.write_text(POLICY.replace(OPENS, opens))
    settings = {
        "GOVERNOR_POLICY_FILE": str(policy),
        "GOVERNOR_DIRECTORY_FILE": str(EXAMPLES / "directory.toml"),
    }
    made = Deployment(home, settings)
    with made.host(), made.sidecar():
        yield made


def run(deployment: Deployment, command: list[str]) -> str:
    """What the command prints."""
    environment = {"GOVERNOR_ADDRESS": deployment.target, "GOVERNOR_TENANT": TENANT}
    # Without a terminal nobody can be asked.
    yes = ["--yes"] if " ".join(command[:2]).startswith(ASKS) else []
    result = CliRunner().invoke(app, [*command, *yes], env=environment, catch_exceptions=False)
    return result.stdout + result.stderr


@pytest.mark.parametrize("snippet", SNIPPETS)
def test_what_is_quoted_stands_in_the_examples_or_loads_by_itself(
    tmp_path: Path, snippet: str
) -> None:
    if snippet in POLICY or snippet in DIRECTORY:
        return
    alone = tmp_path / "alone.toml"
    alone.write_text(snippet)
    names_people = {"actor", "delegation"} & tomllib.loads(snippet).keys()
    assert load_directory(alone) if names_people else load_policy(alone).rules


def test_the_examples_load_and_know_everybody_they_name() -> None:
    rules = load_policy(EXAMPLES / "policy.toml").rules
    directory = load_directory(EXAMPLES / "directory.toml")
    asked = [
        target
        for rule in rules
        for step in rule.steps
        for requirement in step.requirements
        for target in requirement.targets
    ]
    assert asked
    assert [target for target in asked if not directory.knows(target)] == []


def test_there_are_sessions_and_snippets_and_the_window_is_the_one_that_is_replaced() -> None:
    assert len(SESSIONS) >= 4
    assert len(SNIPPETS) >= 4
    assert OPENS in POLICY


@pytest.mark.parametrize("text", SESSIONS)
def test_a_session_plays_as_it_is_shown(deployment: Deployment, text: str) -> None:
    id = ""
    for shown in session(text):
        command = [word.replace("mr-...", id) for word in shown.command]
        output = run(deployment, command)
        if command[0] == "submit" and (found := ID.search(output)):
            id = found[0]
        position = 0
        for line in shown.lines:
            there = re.compile(as_pattern(line)).search(output, position)
            assert there, f"{shlex.join(command)}\ndoes not show:\n{line}\nbut:\n{output}"
            position = there.end()


def test_within_the_window_that_is_shown_nothing_waits(tmp_path: Path) -> None:
    """The session of the change window, as it goes on a weeknight."""
    flag = ["--actor", "alice", "--state", "flag/old-banner", "--risk", "low", "--wait", "10s"]
    with deployed(tmp_path, OPENS_ALWAYS) as made:
        on = ["--type", "flag.set", "--payload", '{"enabled": true, "rollout_percent": 5}']
        assert "EXECUTED" in run(made, ["submit", *flag, *on])
        shown = run(made, ["submit", *flag, "--type", "flag.delete", "--payload", "{}"])
        assert re.search(r"status\s+EXECUTED", shown), shown
        assert re.search(r"policy\s+DEFER by flags-are-deleted-on-weeknights", shown), shown
