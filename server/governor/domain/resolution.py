"""Version resolution: what follows from comparing the expected with the current state version."""

from enum import StrEnum
from typing import assert_never

from governor.domain.request import StaleStrategy


class Resolution(StrEnum):
    """The outcome of the comparison."""

    VALIDATED = "VALIDATED"
    UNVERSIONED = "UNVERSIONED"
    REJECTED_AS_STALE = "REJECTED_AS_STALE"
    RENEWED_APPROVAL_REQUIRED = "RENEWED_APPROVAL_REQUIRED"
    REVALIDATION_REQUIRED = "REVALIDATION_REQUIRED"


CLEAN = frozenset({Resolution.VALIDATED, Resolution.UNVERSIONED})
"""The outcomes that let an execution go on."""


def resolve(expected: str | None, current: str, strategy: StaleStrategy) -> Resolution:
    """How to go on. `current` is empty for a state that does not exist."""
    if expected is None:
        return Resolution.UNVERSIONED
    if expected == current:
        return Resolution.VALIDATED
    return stale(strategy)


def stale(strategy: StaleStrategy) -> Resolution:
    """How to go on when the versions are known to differ."""
    match strategy:
        case StaleStrategy.REJECT_STALE:
            return Resolution.REJECTED_AS_STALE
        case StaleStrategy.REQUIRE_RENEWED_APPROVAL:
            return Resolution.RENEWED_APPROVAL_REQUIRED
        case StaleStrategy.REVALIDATE_ON_LATEST:
            return Resolution.REVALIDATION_REQUIRED
        case _:
            assert_never(strategy)
