"""The places where a test or a demo may stop a host in the middle of its work."""

import os
import signal
import threading
from collections.abc import Callable, Iterable, Mapping
from enum import StrEnum
from typing import Final, NamedTuple


class Failpoint(StrEnum):
    """Every named place, in the order an Apply and then a Lookup pass them."""

    # The call is admitted; the author's function has not been called.
    BEFORE_APPLY = "before_apply"
    # Effect and outcome are in the transaction, which is not durable.
    AFTER_EFFECT_BEFORE_COMMIT = "after_effect_before_commit"
    # Effect and outcome are durable; nobody was told.
    AFTER_COMMIT_BEFORE_ANSWER = "after_commit_before_answer"
    # A look-up's token, and its tombstone if it fences, are in the transaction; not durable.
    AFTER_INQUIRY_BEFORE_COMMIT = "after_inquiry_before_commit"
    # They are durable; nobody was told.
    AFTER_INQUIRY_BEFORE_ANSWER = "after_inquiry_before_answer"


class AroundCommit(NamedTuple):
    """The places before and after the commit that makes one kind of call durable."""

    before: Failpoint
    after: Failpoint


APPLY: Final = AroundCommit(
    Failpoint.AFTER_EFFECT_BEFORE_COMMIT, Failpoint.AFTER_COMMIT_BEFORE_ANSWER
)
INQUIRY: Final = AroundCommit(
    Failpoint.AFTER_INQUIRY_BEFORE_COMMIT, Failpoint.AFTER_INQUIRY_BEFORE_ANSWER
)

# What happens at each place; a place that is not named is passed. Called on the writer's thread.
Failpoints = Mapping[Failpoint, Callable[[], None]]


def reach(failpoints: Failpoints, failpoint: Failpoint) -> None:
    action = failpoints.get(failpoint)
    if action is not None:
        action()


def failpoints_from_arguments(arguments: Iterable[str]) -> Failpoints:
    """Read `name=kill`, or `stop` or `hang`; at the first passing, or with `@n` at the n-th."""
    failpoints: dict[Failpoint, Callable[[], None]] = {}
    for argument in arguments:
        name, _, rest = argument.partition("=")
        action, _, count = rest.partition("@")
        if action not in _ACTIONS or not (count or "1").isdecimal():
            forms = " or ".join(f"name={action}" for action in _ACTIONS)
            raise ValueError(f"{argument!r} is not {forms}, nor one with @n")
        failpoints[Failpoint(name)] = _at_passing(int(count or "1"), _ACTIONS[action])
    return failpoints


def _at_passing(count: int, action: Callable[[], None]) -> Callable[[], None]:
    passed = 0

    def act() -> None:
        nonlocal passed
        passed += 1
        if passed == count:
            action()

    return act


def _kill() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _stop() -> None:
    """Every thread, until somebody sends SIGCONT."""
    os.kill(os.getpid(), signal.SIGSTOP)


def _hang() -> None:
    """The writer's thread alone, for good: the process goes on to take calls.

    Nothing shows this from outside, so it is said.
    """
    os.write(1, b"hanging on purpose\n")
    threading.Event().wait()


_ACTIONS: Mapping[str, Callable[[], None]] = {"kill": _kill, "stop": _stop, "hang": _hang}
