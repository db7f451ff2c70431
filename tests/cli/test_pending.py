"""pending: what waits for whom, why, since when and until when, and what to type about it."""

import json
from pathlib import Path

import pytest

from governance.v1 import governance_service_pb2 as service
from governance.v1 import mutation_pb2, request_pb2
from governor.cli.exits import ExitCode
from governor.cli.pending import commands_for
from tests.support.front_desk import (
    CHECKERS,
    REVIEWERS,
    UNTIL,
    FrontDesk,
    a_request,
    a_requirement,
    a_step,
    an_emergency,
    sealed,
    waiting,
)

SINCE = "2030-03-17 17:46:40.000Z"
UNTIL_SHOWN = "2030-03-17 18:46:40.000Z"


def held_by_everything() -> request_pb2.MutationRequest:
    """A request that waits for a vote, for a check, and for time."""
    request = a_request()
    request.pending.extend(
        [
            waiting(
                request_pb2.PENDING_REASON_EXTERNAL_CHECK,
                "scan",
                waits_for=[CHECKERS],
                until_time=UNTIL,
            ),
            waiting(request_pb2.PENDING_REASON_SCHEDULE, until_time=UNTIL, detail="nights"),
        ]
    )
    return request


def rows(stdout: str) -> list[list[str]]:
    """The cells of a table, which are at least two blanks apart."""
    return [[cell for cell in line.split("  ") if cell] for line in stdout.splitlines()]


def test_each_thing_that_is_waited_for_has_its_line(tmp_path: Path) -> None:
    desk = FrontDesk(tmp_path, held_by_everything())
    result = desk.run("pending")
    assert result.exit_code == ExitCode.OK, result.output
    header, *lines = ([cell.strip() for cell in row] for row in rows(result.stdout))
    assert header == ["ID", "AGE", "CHANGE", "WAITS FOR", "OF WHOM", "SINCE", "UNTIL"]
    assert [line[3:] for line in lines] == [
        ["APPROVAL", "group reviewers", SINCE, UNTIL_SHOWN],
        ["EXTERNAL_CHECK scan", "role checker", SINCE, UNTIL_SHOWN],
        ["SCHEDULE", "nights", SINCE, UNTIL_SHOWN],
    ]
    assert all(line[0] == "mr-1" and line[2] == "flag.set flag/checkout" for line in lines)
    [query] = desk.asked["ListRequests"]
    assert list(query.statuses) == [request_pb2.REQUEST_STATUS_PENDING]
    assert not query.waiting_for_me


def test_only_the_reasons_that_were_asked_for_have_a_line(tmp_path: Path) -> None:
    desk = FrontDesk(tmp_path, held_by_everything())
    shown = desk.run("pending", "--reason", "external-check").stdout
    assert [row[3].strip() for row in rows(shown)] == ["WAITS FOR", "EXTERNAL_CHECK scan"]
    [query] = desk.asked["ListRequests"]
    assert list(query.pending_reasons) == [request_pb2.PENDING_REASON_EXTERNAL_CHECK]


def test_mine_says_what_to_type_and_leaves_out_what_only_time_can_do(tmp_path: Path) -> None:
    desk = FrontDesk(tmp_path, held_by_everything())
    _, *lines = rows(desk.run("pending", "--mine").stdout)
    assert [line[-1].strip() for line in lines] == [
        "governor approve mr-1",
        "governor resolve-pending mr-1 --reason external-check --name scan --passed --code ...",
    ]
    assert desk.asked["ListRequests"][0].waiting_for_me


def test_mine_has_the_reviews_of_emergencies_also_of_those_that_have_ended(tmp_path: Path) -> None:
    desk = FrontDesk(tmp_path, an_emergency())
    _, line = rows(desk.run("pending", "--mine").stdout)
    assert [cell.strip() for cell in line[3:]] == [
        "its review",
        "group reviewers",
        SINCE,
        UNTIL_SHOWN,
        "governor break-glass review mr-1 --justified --code ...",
    ]
    assert list(desk.asked["ListRequests"][0].statuses) == []


def test_what_is_in_doubt_is_resolved_by_its_execution() -> None:
    request = a_request()
    request.execution_id = "ex-1"
    audit = waiting(request_pb2.PENDING_REASON_AUDIT)
    assert commands_for(request, audit) == ("governor resolve ex-1 --not-applied --code ...",)


@pytest.mark.parametrize(
    ("meanings", "commands"),
    [
        ((request_pb2.VOTE_KIND_REVIEW,), ["governor approve mr-1 --meaning review"]),
        (
            (request_pb2.VOTE_KIND_REVIEW, request_pb2.VOTE_KIND_APPROVE),
            ["governor approve mr-1", "governor approve mr-1 --meaning review"],
        ),
    ],
)
def test_the_command_gives_the_vote_the_meaning_that_is_asked_for(
    meanings: tuple[request_pb2.VoteKind.ValueType, ...], commands: list[str]
) -> None:
    request = a_request()
    asked = [
        a_requirement(f"r{n}", REVIEWERS, meaning=meaning) for n, meaning in enumerate(meanings)
    ]
    request.approval.steps[0].CopyFrom(a_step("look", *asked))
    request.approval.open_requirements[:] = [item.id for item in asked]
    assert list(commands_for(sealed(request), request.pending[0])) == commands


def test_for_programs_it_prints_the_requests(tmp_path: Path) -> None:
    desk = FrontDesk(tmp_path, held_by_everything())
    [line] = desk.run("pending", "--json").stdout.splitlines()
    assert len(json.loads(line)["pending"]) == 3


@pytest.mark.parametrize("command", [("pending",), ("requests", "list"), ("break-glass", "list")])
def test_every_filter_reaches_the_server(tmp_path: Path, command: tuple[str, ...]) -> None:
    desk = FrontDesk(tmp_path, a_request())
    line = (
        "--reason quota --mine --state flag/a --requester ann --category rollout --tag t"
        " --tag-any a --tag-any b --tag-all c --metadata team=web --risk high --risk critical"
        " --blast-radius global --linked correlation:case:7 --since 2030-01-01T00:00:00Z"
        " --until 2030-01-02T00:00:00Z"
    )
    result = desk.run(*command, *line.split())
    assert result.exit_code == ExitCode.OK, result.output
    [query] = desk.asked["ListRequests"]
    expected = service.ListRequestsRequest(
        tenant="acme",
        pending_reasons=[request_pb2.PENDING_REASON_QUOTA],
        waiting_for_me=True,
        state=mutation_pb2.StateRef(type="flag", id="a"),
        actor="ann",
        category="rollout",
        tag="t",
        tags_any=["a", "b"],
        tags_all=["c"],
        metadata={"team": "web"},
        risks=[mutation_pb2.RISK_HIGH, mutation_pb2.RISK_CRITICAL],
        blast_radii=[mutation_pb2.BLAST_RADIUS_GLOBAL],
        link=service.Link(kind=service.LINK_KIND_CORRELATION, id="case:7"),
        page_size=50,
    )
    expected.submitted_from.FromJsonString("2030-01-01T00:00:00Z")
    expected.submitted_until.FromJsonString("2030-01-02T00:00:00Z")
    expected.review_open = command[0] == "break-glass"
    assert query == expected


@pytest.mark.parametrize(
    ("arguments", "option"),
    [
        (("--linked", "correlation"), "--linked"),
        (("--linked", "cousin:7"), "--linked"),
        (("--metadata", "team"), "--metadata"),
        (("--risk", "huge"), "--risk"),
        (("--reason", "weather"), "--reason"),
    ],
)
def test_a_filter_that_cannot_be_understood_is_named(
    tmp_path: Path, arguments: tuple[str, ...], option: str
) -> None:
    desk = FrontDesk(tmp_path, a_request())
    result = desk.run("pending", *arguments)
    assert result.exit_code == ExitCode.USAGE
    assert option in result.stderr
    assert desk.asked == {}
