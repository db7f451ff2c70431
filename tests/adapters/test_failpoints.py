"""Failpoints: armed by two variables or not at all, and none is unknown or forgotten."""

import re
from pathlib import Path

import pytest

from governor import failpoints
from governor.failpoints import FailpointsRefused, from_environment
from governor.usecases.ports import Failpoints, no_failpoints

SERVER = Path(failpoints.__file__).parent
A_NAME = "execute.after_apply"


def armed(text: str, record: list[str] | None = None, *, permission: str = "1") -> Failpoints:
    environment = {"GOVERNOR_FAILPOINTS": text, "GOVERNOR_ALLOW_FAILPOINTS": permission}
    done = [] if record is None else record
    actions = {"kill": lambda: done.append("killed"), "stop": lambda: done.append("stopped")}
    return from_environment(environment, actions=actions)


def test_without_the_variable_every_place_is_passed() -> None:
    assert from_environment({}, actions=failpoints.KINDS) is no_failpoints


def test_the_second_variable_is_needed_as_well() -> None:
    with pytest.raises(FailpointsRefused, match="GOVERNOR_ALLOW_FAILPOINTS=1"):
        from_environment({"GOVERNOR_FAILPOINTS": f"{A_NAME}=kill"}, actions={})
    with pytest.raises(FailpointsRefused):
        armed(f"{A_NAME}=kill", permission="yes")


@pytest.mark.parametrize(
    "text",
    [
        "nowhere=kill",
        A_NAME,
        f"{A_NAME}=",
        f"{A_NAME}=pause",
        f"{A_NAME}=kill@0",
        f"{A_NAME}=kill@x",
    ],
)
def test_what_cannot_be_done_as_asked_is_refused(text: str) -> None:
    with pytest.raises(FailpointsRefused, match="GOVERNOR_FAILPOINTS"):
        armed(text)


def test_the_named_place_acts_at_its_passing_and_others_do_not() -> None:
    done: list[str] = []
    pass_by = armed(f"{A_NAME}=kill@2, execute.before_apply=stop", done)
    pass_by("execute.before_outcome")
    pass_by(A_NAME)
    assert done == []
    pass_by(A_NAME)
    pass_by(A_NAME)
    assert done == ["killed"]
    pass_by("execute.before_apply")
    assert done == ["killed", "stopped"]


def test_every_kind_that_can_be_asked_for_can_be_done() -> None:
    for kind in failpoints.KINDS:
        armed(f"{A_NAME}={kind}")(A_NAME)


def test_every_place_in_the_code_is_listed_and_every_listed_one_is_in_the_code() -> None:
    passed = {
        name
        for file in SERVER.rglob("*.py")
        if "hostkit" not in file.parts
        for name in re.findall(r"failpoints\(\s*\"([\w.]+)\"", file.read_text())
    }
    assert passed == set(failpoints.NAMES)
