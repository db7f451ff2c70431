"""The host printed in docs/host-authors.md is a whole host that keeps the promises."""

import re
from pathlib import Path
from typing import Any

import pytest

from governor.hostkit import served, sqlite_journal
from tests.hostkit.support import apply_request, connected, rollback_request

PAGE = Path(__file__).parents[2] / "docs" / "host-authors.md"


@pytest.fixture
def printed() -> dict[str, Any]:
    names: dict[str, Any] = {"__name__": "printed"}
    for name in ("host", "undo"):
        exec(compile(example(name), str(PAGE), "exec"), names)
    return names


def example(name: str) -> str:
    """The fenced block that follows the marker of this name."""
    found = re.search(
        rf"<!-- example:{name} -->\n```python\n(.*?)```\n", PAGE.read_text(), re.DOTALL
    )
    assert found, f"docs/host-authors.md has no example {name!r}"
    return found[1]


async def test_the_printed_host_applies_once_and_replays(
    printed: dict[str, Any], tmp_path: Path
) -> None:
    async with (
        sqlite_journal(tmp_path / "quotas.sqlite", schema=printed["SCHEMA"]) as journal,
        served(printed["QUOTAS"], journal, listen=f"unix:{tmp_path}/socket") as target,
        connected(target) as caller,
    ):
        order = apply_request(mutation_type="quota.set", state_type="quota", payload=b"20")
        first = await caller.apply(order)
        again = await caller.apply(order)
        malformed = apply_request(
            "execution-2", mutation_type="quota.set", state_type="quota", payload=b"many"
        )
        refused = await caller.apply(malformed)

    assert [(change.path, change.after) for change in first.applied.changes] == [
        ("quota/visits", "20")
    ]
    assert first.applied.resulting_version == again.applied.resulting_version == "1"
    assert again.replayed
    assert refused.refused.reason.code == "NOT_A_NUMBER"


async def test_the_printed_undo_takes_back_what_was_changed_and_what_was_made(
    printed: dict[str, Any], tmp_path: Path
) -> None:
    async with (
        sqlite_journal(tmp_path / "quotas.sqlite", schema=printed["SCHEMA"]) as journal,
        served(printed["UNDOABLE"], journal, listen=f"unix:{tmp_path}/socket") as target,
        connected(target) as caller,
    ):
        assert (await caller.capabilities()).rollback
        made, changed = (
            apply_request(
                f"execution-{n}", mutation_type="quota.set", state_type="quota", payload=p
            )
            for n, p in enumerate((b"20", b"30"))
        )
        outcomes = [(await caller.apply(order)).applied for order in (made, changed)]
        back = await caller.apply(
            rollback_request(changed, outcomes[1], "rollback-1", expected_version="2")
        )
        gone = await caller.apply(
            rollback_request(made, outcomes[0], "rollback-2", expected_version="3")
        )
        again = await caller.apply(rollback_request(made, gone.applied, "rollback-3"))
    assert [change.after for change in back.applied.changes] == ["20"]
    assert gone.applied.resulting_version == "4"
    assert not gone.applied.changes[0].HasField("after")
    # The wrong image: of the rollback, but named as if it were the original's.
    assert again.refused.reason.code == "UNKNOWN_EXECUTION"
