"""Claims about comparing the expected with the current version: equal, absent, or by strategy."""

from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from governor.domain.request import StaleStrategy
from governor.domain.resolution import CLEAN, Resolution, resolve, stale
from governor.domain.staleness import RESOLUTION_CODES

BY_STRATEGY = {
    StaleStrategy.REJECT_STALE: Resolution.REJECTED_AS_STALE,
    StaleStrategy.REQUIRE_RENEWED_APPROVAL: Resolution.RENEWED_APPROVAL_REQUIRED,
    StaleStrategy.REVALIDATE_ON_LATEST: Resolution.REVALIDATION_REQUIRED,
}
VERSIONS = ("", "7", "07", "7 ", "V", "v")


def test_every_strategy_is_covered_here() -> None:
    assert set(BY_STRATEGY) == set(StaleStrategy)


@pytest.mark.parametrize(
    ("expected", "current", "strategy"), list(product(VERSIONS, VERSIONS, StaleStrategy))
)
def test_versions_are_equal_to_the_letter_or_the_strategy_decides(
    expected: str, current: str, strategy: StaleStrategy
) -> None:
    answer = resolve(expected, current, strategy)
    assert answer is (Resolution.VALIDATED if expected == current else BY_STRATEGY[strategy])


@pytest.mark.parametrize(("current", "strategy"), list(product(VERSIONS, StaleStrategy)))
def test_no_expected_version_is_unversioned_whatever_the_state(
    current: str, strategy: StaleStrategy
) -> None:
    assert resolve(None, current, strategy) is Resolution.UNVERSIONED


def test_expecting_no_state_is_another_thing_than_expecting_nothing() -> None:
    assert resolve("", "", StaleStrategy.REJECT_STALE) is Resolution.VALIDATED
    assert resolve("", "1", StaleStrategy.REJECT_STALE) is Resolution.REJECTED_AS_STALE


@pytest.mark.parametrize("strategy", StaleStrategy)
def test_a_known_difference_follows_the_strategy(strategy: StaleStrategy) -> None:
    assert stale(strategy) is BY_STRATEGY[strategy]
    assert stale(strategy) not in CLEAN


@given(st.none() | st.text(max_size=4), st.text(max_size=4), st.sampled_from(StaleStrategy))
def test_only_equal_or_absent_versions_let_an_execution_go_on(
    expected: str | None, current: str, strategy: StaleStrategy
) -> None:
    clean = resolve(expected, current, strategy) in CLEAN
    assert clean is (expected is None or expected == current)


def test_every_resolution_has_a_decision_code_of_its_own() -> None:
    assert set(RESOLUTION_CODES) == set(Resolution)
    for resolution, code in RESOLUTION_CODES.items():
        assert (code.category, code.text) == ("VERSION_RESOLUTION", resolution.value.lower())
