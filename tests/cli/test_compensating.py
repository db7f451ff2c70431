"""compensate, and the tree of what came of a request."""

from pathlib import Path

import pytest

from governance.v1 import governance_service_pb2 as service
from governance.v1 import mutation_pb2, request_pb2
from governor.cli.exits import ExitCode
from governor.cli.seen import digest_of
from governor.cli.tree import tree_lines
from tests.support.front_desk import FrontDesk, a_request


def a_rollback() -> request_pb2.MutationRequest:
    request = a_request()
    request.id = "mr-2"
    request.compensation.mutation_request_id = "mr-1"
    request.compensation.execution_id = "ex-1"
    request.compensation.kind = mutation_pb2.COMPENSATION_KIND_ROLLBACK
    request.compensation.trigger = mutation_pb2.COMPENSATION_TRIGGER_OPERATOR
    request.compensation.undo_token = b"token"
    request.compensation.reason.code = "WRONG"
    request.request_digest = digest_of(request)
    return request


def test_a_rollback_is_asked_for_with_its_reason_and_nothing_for_an_argument(
    tmp_path: Path,
) -> None:
    desk = FrontDesk(tmp_path, a_rollback())
    line = "compensate mr-1 --rollback --code WRONG --category RISK --stale renew"
    result = desk.run(*line.split(), "-m", "it was", "--metadata", "ticket=T-1")
    assert result.exit_code == ExitCode.OK, result.output
    [asked] = desk.asked["Compensate"]
    assert asked.kind == mutation_pb2.COMPENSATION_KIND_ROLLBACK
    assert asked.stale_strategy == mutation_pb2.STALE_STRATEGY_REQUIRE_RENEWED_APPROVAL
    assert asked.reason == mutation_pb2.Reason(
        code="WRONG", category="RISK", message="it was", metadata={"ticket": "T-1"}
    )
    assert not asked.HasField("payload")
    assert not asked.HasField("expected_version")
    assert asked.mutation_type == ""


def test_a_correction_has_its_payload(tmp_path: Path) -> None:
    desk = FrontDesk(tmp_path, a_request())
    line = 'compensate mr-1 --forward --code WRONG --payload {"a":1} --type x.y'
    result = desk.run(*line.split(), "--expected-version", "8", "--json")
    assert result.exit_code == ExitCode.OK, result.output
    [asked] = desk.asked["Compensate"]
    assert asked.kind == mutation_pb2.COMPENSATION_KIND_FORWARD
    assert (asked.payload.data, asked.payload.content_type) == (b'{"a":1}', "application/json")
    assert (asked.mutation_type, asked.expected_version) == ("x.y", "8")


@pytest.mark.parametrize("which", [(), ("--rollback", "--forward")])
def test_it_is_one_of_the_two(tmp_path: Path, which: tuple[str, ...]) -> None:
    desk = FrontDesk(tmp_path, a_request())
    result = desk.run("compensate", "mr-1", "--code", "WRONG", *which)
    assert result.exit_code == ExitCode.USAGE
    assert desk.answers_given == []


def test_an_approver_is_shown_what_is_taken_back_and_the_digest_covers_it(tmp_path: Path) -> None:
    request = a_rollback()
    desk = FrontDesk(tmp_path, request)
    result = desk.run("approve", "mr-2", "--yes")
    assert result.exit_code == ExitCode.OK, result.output
    assert "mr-1, its execution ex-1" in result.stdout
    assert "ROLLBACK, OPERATOR, WRONG" in result.stdout
    request.compensation.undo_token = b"another"
    assert desk.run("approve", "mr-2", "--yes").exit_code == ExitCode.VERIFICATION_FAILED


def test_the_tree_shows_each_request_once_under_the_nearest_one() -> None:
    first, back, forth = a_request(), a_rollback(), a_rollback()
    back.status = request_pb2.REQUEST_STATUS_EXECUTED
    forth.id = "mr-3"
    forth.compensation.mutation_request_id = "mr-2"
    compensates = service.LINK_KIND_COMPENSATES
    answer = service.TraceRequestResponse(
        requests=[first, back, forth],
        links=[
            service.RequestLink(kind=compensates, from_id="mr-2", to_id="mr-1"),
            service.RequestLink(kind=compensates, from_id="mr-3", to_id="mr-2"),
            service.RequestLink(kind=service.LINK_KIND_DEPENDS_ON, from_id="mr-3", to_id="mr-1"),
        ],
    )
    lines = list(tree_lines(answer))
    assert [line.split("  ")[0] for line in lines] == [
        "mr-1",
        "├─ compensated by mr-2",
        "└─ depended on by mr-3",
    ]
    assert lines[1].endswith("[ROLLBACK, OPERATOR, WRONG]")


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (request_pb2.REQUEST_STATUS_EXECUTED, "compensated by"),
        (request_pb2.REQUEST_STATUS_PENDING, "to be compensated by"),
        (request_pb2.REQUEST_STATUS_REJECTED, "not compensated by"),
        (request_pb2.REQUEST_STATUS_EXPIRED, "not compensated by"),
    ],
)
def test_the_tree_says_what_became_of_a_compensation(
    status: request_pb2.RequestStatus.ValueType, words: str
) -> None:
    back = a_rollback()
    back.status = status
    link = service.RequestLink(kind=service.LINK_KIND_COMPENSATES, from_id="mr-2", to_id="mr-1")
    answer = service.TraceRequestResponse(requests=[a_request(), back], links=[link])
    assert list(tree_lines(answer))[1].startswith(f"└─ {words} mr-2")


def test_what_takes_a_member_back_stands_under_that_member() -> None:
    """It is a member of the batch as well."""
    batch, member, back = a_request(), a_request(), a_rollback()
    batch.id, member.id = "mr-0", "mr-1"
    back.status = request_pb2.REQUEST_STATUS_EXECUTED
    member_of = service.LINK_KIND_MEMBER_OF
    answer = service.TraceRequestResponse(
        requests=[batch, member, back],
        links=[
            service.RequestLink(kind=member_of, from_id="mr-1", to_id="mr-0"),
            service.RequestLink(kind=member_of, from_id="mr-2", to_id="mr-0"),
            service.RequestLink(kind=service.LINK_KIND_COMPENSATES, from_id="mr-2", to_id="mr-1"),
        ],
    )
    assert [line.split("  ")[0] for line in tree_lines(answer)] == [
        "mr-0",
        "└─ has the member mr-1",
        "",
    ]


def test_the_tree_ends_with_the_trail_of_all_that_stands_in_it(tmp_path: Path) -> None:
    desk = FrontDesk(tmp_path, a_request())
    desk.trace.requests.append(a_rollback())
    desk.trace.truncated = True
    result = desk.run("requests", "show", "mr-1", "--tree")
    assert result.exit_code == ExitCode.OK, result.output
    assert "there is more; 2 requests are shown" in result.stderr
    [trail] = desk.asked["ListDecisions"]
    assert list(trail.filter.mutation_request_ids) == ["mr-1", "mr-2"]
