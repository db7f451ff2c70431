"""Time and names from the machine: names are unique, sort by time, and look as documented."""

import re
import time
from itertools import pairwise

import pytest

from governor.clock import SystemClock, SystemIds


def test_now_is_the_machines_time_in_microseconds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "time_ns", lambda: 1_700_000_000_123_456_789)
    assert SystemClock().now() == 1_700_000_000_123_456


async def test_sleeping_returns() -> None:
    await SystemClock().sleep(0.0)


def test_names_grow_also_within_a_tick_and_when_the_clock_runs_backwards(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    times = iter([5_000_000_000, 5_000_000_000, 4_000_000_000, 6_000_000_000])
    monkeypatch.setattr(time, "time_ns", lambda: next(times))
    ids = SystemIds()
    names = [ids.request_id() for _ in range(4)]
    assert all(earlier < later for earlier, later in pairwise(names))


def test_names_say_what_they_name() -> None:
    ids = SystemIds()
    made = (ids.request_id(), ids.execution_id(), ids.audit_id(), ids.call_id())
    assert [name[:3] for name in made] == ["mr-", "ex-", "au-", "rq-"]
    assert len({name[3:] for name in made}) == len(made)


def test_a_name_has_the_layout_of_a_uuid_of_version_7(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "time_ns", lambda: 1_700_000_000_123_500_000)
    name = SystemIds().request_id().removeprefix("mr-")
    assert re.fullmatch(r"[0-9a-f]{12}7[0-9a-f]{3}[89ab][0-9a-f]{15}", name)
    assert int(name[:12], 16) == 1_700_000_000_123
    assert int(name[13:16], 16) == 4096 // 2
