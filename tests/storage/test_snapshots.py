"""What is held in memory is what is durable, or nothing."""

import asyncio
from collections.abc import Mapping, Sequence

import pytest

from governor.storage.reader import Gathered
from governor.storage.snapshots import Recent


def recent(bytes_max: int = 100) -> Recent[str, bytes]:
    return Recent(bytes_max=bytes_max, bytes_of=len)


def test_the_least_recently_used_goes_first() -> None:
    """Reading is using."""
    held = recent(bytes_max=3)
    for key in "abc":
        held.put(key, b"1")
    assert held.get("a") == b"1"
    held.put("d", b"1")
    assert [key for key in "abcd" if held.get(key)] == ["a", "c", "d"]


def test_the_bound_is_on_bytes_and_counts_replaced_values_once() -> None:
    """A value that grows pushes others out; one larger than everything is not held at all."""
    held = recent(bytes_max=10)
    for _ in range(5):
        held.put("a", b"1234")
    held.put("b", b"1234")
    assert held.get("a")
    held.put("b", b"12345678")
    assert held.get("a") is None
    assert held.get("b")
    held.put("c", b"x" * 11)
    assert held.get("c") is None
    held.put("d", b"1234567890")
    assert held.get("d")


def test_what_was_read_is_held_unless_something_newer_came_by() -> None:
    """A select begins; the request is changed, or forgotten, before its row arrives: the row is
    of the past.
    """
    held = recent()
    with held.expecting(["quiet", "changed", "forgotten"]):
        held.put("changed", b"new")
        held.forget("forgotten")
        held.read({"quiet": b"old", "changed": b"old", "forgotten": b"old"})
    assert held.get("quiet") == b"old"
    assert held.get("changed") == b"new"
    assert held.get("forgotten") is None


def test_what_arrives_after_its_reading_was_given_up_is_not_held() -> None:
    """The select failed, or its caller did."""
    held = recent()
    with pytest.raises(TimeoutError), held.expecting(["a"]):
        raise TimeoutError
    held.read({"a": b"old"})
    assert held.get("a") is None


class Select:
    """Answers when it is let go, and remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: list[Sequence[str]] = []
        self.let_go = asyncio.Event()
        self.fails = False

    async def __call__(self, keys: Sequence[str]) -> Mapping[str, str]:
        self.asked.append(keys)
        await self.let_go.wait()
        if self.fails:
            raise TimeoutError
        return {key: f"{key} by select {len(self.asked)}" for key in keys if key != "none"}


async def test_who_asks_while_a_select_runs_shares_the_next() -> None:
    """The first select may have looked before they asked: its answer could be too old for them."""
    select = Select()
    gathered = Gathered(select)
    first = asyncio.create_task(gathered.get("a"))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    later = [asyncio.create_task(gathered.get(key)) for key in ("a", "b", "none", "b")]
    await asyncio.sleep(0)
    select.let_go.set()
    assert await first == "a by select 1"
    assert await asyncio.gather(*later) == ["a by select 2", "b by select 2", None, "b by select 2"]
    assert select.asked == [("a",), ("a", "b", "none")]


async def test_one_who_leaves_takes_nobodys_answer_along() -> None:
    """Two ask for the same; one is cancelled."""
    select = Select()
    gathered = Gathered(select)
    leaves, stays = (asyncio.create_task(gathered.get("a")) for _ in range(2))
    await asyncio.sleep(0)
    leaves.cancel()
    select.let_go.set()
    assert await stays == "a by select 1"
    assert leaves.cancelled()


async def test_a_failed_select_fails_those_who_asked_and_nobody_after_them() -> None:
    """The next select is made all the same."""
    select = Select()
    select.fails = True
    gathered = Gathered(select)
    select.let_go.set()
    with pytest.raises(TimeoutError):
        await gathered.get("a")
    select.fails = False
    assert await gathered.get("a") == "a by select 2"
