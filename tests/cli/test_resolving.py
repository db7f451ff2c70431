"""resolve-pending and break-glass: answering for what was shown, and for one thing only."""

from pathlib import Path

import pytest

from governance.v1 import governance_service_pb2 as service
from governance.v1 import mutation_pb2, request_pb2
from governor.cli.exits import ExitCode
from tests.support.front_desk import (
    FrontDesk,
    a_request,
    an_emergency,
    waiting,
)

CHECK = request_pb2.PENDING_REASON_EXTERNAL_CHECK
QUOTA = request_pb2.PENDING_REASON_QUOTA


def waits_for(*pending: request_pb2.Pending) -> request_pb2.MutationRequest:
    request = a_request()
    request.pending.extend(pending)
    return request


def test_a_check_is_answered_for_exactly_what_was_shown(tmp_path: Path) -> None:
    desk = FrontDesk(tmp_path, waits_for(waiting(CHECK, "scan")))
    line = "resolve-pending mr-1 --reason external-check --name scan --passed --code CLEAN --yes"
    result = desk.run(*line.split(), "-m", "no findings", "--metadata", "report=r/7")
    assert result.exit_code == ExitCode.OK, result.output
    assert '"enabled": true' in result.stdout
    assert "EXTERNAL_CHECK scan has passed; mr-1 now stands so:" in result.stdout
    [answer] = desk.asked["ResolvePending"]
    assert answer.request_digest == desk.request.request_digest
    assert (answer.reason, answer.name) == (CHECK, "scan")
    assert answer.outcome == service.PENDING_OUTCOME_PASSED
    assert answer.finding == mutation_pb2.Reason(
        code="CLEAN", message="no findings", metadata={"report": "r/7"}
    )


def test_the_one_thing_it_waits_for_need_not_be_named(tmp_path: Path) -> None:
    desk = FrontDesk(tmp_path, waits_for(waiting(CHECK, "scan")))
    result = desk.run("resolve-pending", "mr-1", "--failed", "--code", "FOUND", "--yes")
    assert result.exit_code == ExitCode.OK, result.output
    [answer] = desk.asked["ResolvePending"]
    assert (answer.reason, answer.name) == (CHECK, "scan")
    assert answer.outcome == service.PENDING_OUTCOME_FAILED


@pytest.mark.parametrize(
    ("pending", "words"),
    [
        ((), "waits for: none"),
        (
            (waiting(CHECK, "scan"), waiting(QUOTA, "deploys")),
            "waits for: EXTERNAL_CHECK scan, QUOTA deploys",
        ),
    ],
)
def test_where_it_could_be_several_things_or_none_nothing_is_guessed(
    tmp_path: Path, pending: tuple[request_pb2.Pending, ...], words: str
) -> None:
    desk = FrontDesk(tmp_path, waits_for(*pending))
    result = desk.run("resolve-pending", "mr-1", "--passed", "--code", "OK", "--yes")
    assert result.exit_code == ExitCode.REFUSED
    assert words in result.stderr
    assert desk.answers_given == []


def test_a_reason_alone_is_enough_where_it_names_one(tmp_path: Path) -> None:
    desk = FrontDesk(tmp_path, waits_for(waiting(CHECK, "scan"), waiting(QUOTA, "deploys")))
    line = "resolve-pending mr-1 --reason quota --passed --code ROOM --yes"
    assert desk.run(*line.split()).exit_code == ExitCode.OK
    assert desk.asked["ResolvePending"][0].name == "deploys"


@pytest.mark.parametrize(
    "line",
    [
        "resolve-pending mr-1 --code OK --yes",
        "resolve-pending mr-1 --passed --failed --code OK --yes",
        "break-glass review mr-1 --code OK --yes",
        "break-glass review mr-1 --justified --unjustified --code OK --yes",
    ],
)
def test_an_answer_is_one_of_two(tmp_path: Path, line: str) -> None:
    desk = FrontDesk(tmp_path, waits_for(waiting(CHECK, "scan")))
    assert desk.run(*line.split()).exit_code == ExitCode.USAGE
    assert desk.asked == {}


@pytest.mark.parametrize(("option", "justified"), [("--justified", True), ("--unjustified", False)])
def test_an_emergency_is_reviewed_with_what_was_found(
    tmp_path: Path, option: str, justified: bool
) -> None:
    desk = FrontDesk(tmp_path, an_emergency())
    result = desk.run("break-glass", "review", "mr-1", option, "--code", "SEEN", "--yes")
    assert result.exit_code == ExitCode.OK, result.output
    assert "the approval was skipped by eve" in result.stdout
    assert "checkout is down" in result.stdout
    [given] = desk.asked["ReviewBreakGlass"]
    assert given.justified is justified
    assert given.request_digest == desk.request.request_digest
    assert given.reason.code == "SEEN"


def test_the_emergencies_that_owe_a_review_are_listed(tmp_path: Path) -> None:
    desk = FrontDesk(tmp_path, an_emergency())
    shown = desk.run("break-glass", "list").stdout
    for words in ("mr-1", "eve", "checkout is down", "OPEN", "group reviewers"):
        assert words in shown, words
    assert desk.asked["ListRequests"][0].review_open


def test_an_emergency_is_submitted_with_why_it_cannot_wait(tmp_path: Path) -> None:
    desk = FrontDesk(tmp_path, an_emergency())
    line = "submit -t flag.set -s flag/a -p {} --depends-on mr-0 --on-dependency-failure proceed"
    result = desk.run(*line.split(), "--break-glass", "checkout is down")
    assert result.exit_code == ExitCode.OK, result.output
    [asked] = desk.asked["Submit"]
    assert asked.break_glass.justification == "checkout is down"
    assert asked.on_dependency_failure == request_pb2.DEPENDENCY_FAILURE_PROCEED


def test_what_says_nothing_of_an_emergency_is_none(tmp_path: Path) -> None:
    desk = FrontDesk(tmp_path, a_request())
    desk.run(*["submit", "-t", "flag.set", "-s", "flag/a", "-p", "{}"])
    [asked] = desk.asked["Submit"]
    assert not asked.HasField("break_glass")
    assert asked.on_dependency_failure == request_pb2.DEPENDENCY_FAILURE_UNSPECIFIED
