"""The places where a test or a demo may stop a host in the middle of its work."""

import os
import signal
import threading
from collections.abc import Callable, Iterable, Mapping
from enum import StrEnum


class Failpoint(StrEnum):
    """Every named place, in the order an Apply passes them."""

    # The call is admitted; the author's function has not been called.
    BEFORE_APPLY = "before_apply"
    # Effect and outcome are in the transaction, which is not durable.
    AFTER_EFFECT_BEFORE_COMMIT = "after_effect_before_commit"
    # Effect and outcome are durable; nobody was told.
    AFTER_COMMIT_BEFORE_ANSWER = "after_commit_before_answer"


# What happens at each place; a place that is not named is passed. Called on the writer's thread.
Failpoints = Mapping[Failpoint, Callable[[], None]]


def reach(failpoints: Failpoints, failpoint: Failpoint) -> None:
    action = failpoints.get(failpoint)
    if action is not None:
        action()


def failpoints_from_arguments(arguments: Iterable[str]) -> Failpoints:
    """Read `name=action` or `name=action@n`: `kill` or `hang` at the first or n-th passing."""
    failpoints: dict[Failpoint, Callable[[], None]] = {}
    for argument in arguments:
        name, _, rest = argument.partition("=")
        action, _, count = rest.partition("@")
        if action not in _ACTIONS or not (count or "1").isdecimal():
            raise ValueError(f"{argument!r} is not name=kill or name=hang, nor one with @n")
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


def _hang() -> None:
    threading.Event().wait()


_ACTIONS: Mapping[str, Callable[[], None]] = {"kill": _kill, "hang": _hang}
