"""The circuit breaker by itself: when it opens, whom it lets through, and what closes it."""

import pytest

from governor.host.breaker import Breaker, CircuitOpen
from governor.usecases.ports import Circuit

FAILURES_MAX = 3
INITIAL, LONGEST = 2.0, 10.0


class Bench:
    """A breaker on a clock that a test moves."""

    def __init__(self) -> None:
        self.now = 100.0
        self.turns: list[Circuit] = []
        self.breaker = Breaker(
            failures_max=FAILURES_MAX,
            pause_seconds_initial=INITIAL,
            pause_seconds_max=LONGEST,
            changed=self.turns.append,
            monotonic=lambda: self.now,
        )

    def call(self, *, answered: bool | None) -> bool:
        """One call from its admission to its end; answers whether it was the one that tried."""
        is_probe = self.breaker.admit()
        self.breaker.ended(answered=answered, is_probe=is_probe)
        return is_probe

    def opened(self) -> "Bench":
        for _ in range(FAILURES_MAX):
            self.call(answered=False)
        assert self.breaker.circuit is Circuit.OPEN
        return self

    def refused(self) -> float:
        """In how many seconds a call that is not admitted may come again."""
        with pytest.raises(CircuitOpen) as refusal:
            self.breaker.admit()
        return refusal.value.retry_seconds


@pytest.fixture
def bench() -> Bench:
    return Bench()


def test_only_failures_in_a_row_open_it(bench: Bench) -> None:
    for _ in range(10):
        for _ in range(FAILURES_MAX - 1):
            bench.call(answered=False)
        bench.call(answered=True)
    assert bench.turns == []
    bench.opened()
    assert bench.turns == [Circuit.OPEN]


def test_while_it_is_open_nothing_is_let_through(bench: Bench) -> None:
    bench.opened()
    assert bench.refused() == INITIAL
    bench.now += INITIAL - 0.5
    assert bench.refused() == 0.5


def test_after_the_pause_one_call_tries_and_only_one(bench: Bench) -> None:
    bench.opened()
    bench.now += INITIAL
    assert bench.breaker.admit() is True
    assert bench.breaker.circuit is Circuit.PROBING
    assert bench.refused() == INITIAL


def test_an_answer_closes_it(bench: Bench) -> None:
    bench.opened()
    bench.now += INITIAL
    assert bench.call(answered=True) is True
    assert bench.turns == [Circuit.OPEN, Circuit.PROBING, Circuit.CLOSED]
    assert bench.call(answered=False) is False


def test_each_failure_doubles_the_pause_up_to_the_longest(bench: Bench) -> None:
    bench.opened()
    for pause in (4.0, 8.0, LONGEST, LONGEST):
        bench.now += LONGEST
        assert bench.call(answered=False) is True
        assert bench.refused() == pause


def test_once_closed_the_next_pause_is_short_again(bench: Bench) -> None:
    bench.opened()
    bench.now += INITIAL
    bench.call(answered=False)
    bench.now += LONGEST
    bench.call(answered=True)
    assert bench.opened().refused() == INITIAL


def test_a_try_that_was_given_up_lets_the_next_one_try(bench: Bench) -> None:
    """Its caller hung up: that says nothing about the host, and must not leave it shut for ever."""
    bench.opened()
    bench.now += INITIAL
    assert bench.call(answered=None) is True
    assert bench.call(answered=True) is True
    assert bench.breaker.circuit is Circuit.CLOSED


def test_calls_from_before_it_opened_end_without_a_word(bench: Bench) -> None:
    """A crowd that times out together lengthens no pause and is not taken for the try."""
    crowd = [bench.breaker.admit() for _ in range(20)]
    for is_probe in crowd[:-1]:
        bench.breaker.ended(answered=False, is_probe=is_probe)
    assert bench.refused() == INITIAL
    bench.now += INITIAL
    assert bench.breaker.admit() is True
    bench.breaker.ended(answered=False, is_probe=crowd[-1])
    assert bench.breaker.circuit is Circuit.PROBING


def test_an_answer_to_an_earlier_call_closes_it_as_well(bench: Bench) -> None:
    """Slow, but there."""
    early = bench.breaker.admit()
    bench.opened()
    bench.breaker.ended(answered=True, is_probe=early)
    assert bench.breaker.circuit is Circuit.CLOSED


def test_a_new_connection_is_tried_at_once(bench: Bench) -> None:
    bench.opened()
    bench.breaker.reconsider()
    assert bench.call(answered=True) is True
