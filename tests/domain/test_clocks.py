"""Claims about the clocks of a request: which one rings first, and what follows."""

from itertools import pairwise

import pytest

from governor.domain.clocks import CLOCKS, first_moment, what_is_due
from governor.domain.request import MutationRequest
from governor.domain.values import Micros
from tests.support.domain_builders import STAGES


@pytest.mark.parametrize("stage", STAGES)
def test_the_first_moment_of_the_clocks_is_when_the_request_is_due(stage: str) -> None:
    """The store keeps the one, the timers go by the other."""
    request = STAGES[stage]().request
    assert first_moment(request) == request.due_at


@pytest.mark.parametrize("stage", STAGES)
def test_nothing_is_due_before_the_first_moment_and_something_is_at_it(stage: str) -> None:
    request = STAGES[stage]().request
    if request.due_at is None:
        assert what_is_due(request, Micros(2**62)) is None
        return
    assert what_is_due(request, Micros(request.due_at - 1)) is None
    assert what_is_due(request, request.due_at) is not None


@pytest.mark.parametrize("stage", STAGES)
def test_a_request_is_done_with_after_each_of_its_clocks_once(stage: str) -> None:
    """However late they are looked at: whatever rings does not ring for the same thing again."""
    end = Micros(2**60)
    moments = list(rung(STAGES[stage]().request, end))
    assert all(earlier <= later for earlier, later in pairwise(moments))
    assert len(moments) <= len(CLOCKS)


def rung(request: MutationRequest, end: Micros) -> list[Micros]:
    """The moments of what happens to it until nothing is due any more."""
    moments: list[Micros] = []
    while (step := what_is_due(request, end)) is not None:
        assert request.due_at is not None
        moments.append(request.due_at)
        request = step.request
        assert len(moments) < 100, "it rings for ever"
    return moments
