"""The host printed in docs/host-authors.md is a whole host that keeps the promises."""

import re
from pathlib import Path
from typing import Any

import pytest

from governor.hostkit import served, sqlite_journal
from tests.hostkit.support import apply_request, connected

PAGE = Path(__file__).parents[2] / "docs" / "host-authors.md"


@pytest.fixture
def printed() -> dict[str, Any]:
    found = re.search(r"<!-- example:host -->\n```python\n(.*?)```\n", PAGE.read_text(), re.DOTALL)
    assert found, "docs/host-authors.md has no example host"
    names: dict[str, Any] = {"__name__": "printed"}
    exec(compile(found[1], str(PAGE), "exec"), names)
    return names


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
