"""decisions, votes and counts: what was said ends up in the query, and the answer in a table."""

from pathlib import Path

import pytest

from governance.v1 import decision_pb2, mutation_pb2, request_pb2
from governance.v1 import governance_service_pb2 as service
from governor.cli.exits import ExitCode
from tests.support.front_desk import ACTOR, FrontDesk, a_request


def test_votes_asks_for_the_newest_votes_of_everybody(tmp_path: Path) -> None:
    desk = FrontDesk(tmp_path, a_request())
    assert desk.run("votes").exit_code == ExitCode.OK
    [query] = desk.asked["ListDecisions"]
    assert query.newest_first
    assert list(query.filter.categories) == [decision_pb2.DECISION_CATEGORY_APPROVAL]
    assert list(query.filter.codes) == ["granted", "rejected", "revoked", "voided"]
    assert query.filter.actor == ""
    assert query.page_size == 50


def test_a_vote_is_shown_with_whose_it_is_and_without_what_binds_it(tmp_path: Path) -> None:
    desk = FrontDesk(tmp_path, a_request())
    desk.decisions.decisions.add(
        revision=18,
        mutation_request_id="mr-1",
        category=decision_pb2.DECISION_CATEGORY_APPROVAL,
        code="granted",
        actor=mutation_pb2.Actor(id="erin"),
        facts={"digest": "27" * 32, "meaning": "APPROVE", "on_behalf_of": "carol", "step": "owner"},
        reason=mutation_pb2.Reason(code="APPROVED", message="she would"),
    )
    header, row = desk.run("votes").stdout.splitlines()
    assert header.split() == ["REVISION", "TIME", "REQUEST", "VOTE", "BY", "STEP", "WHY"]
    assert row.split("  ", 1)[0] == "18"
    assert " ".join(row.split()).endswith(
        "mr-1 granted (APPROVE) erin for carol owner APPROVED: she would"
    )


def test_votes_of_mine_are_those_of_the_actor_who_calls(tmp_path: Path) -> None:
    desk = FrontDesk(tmp_path, a_request())
    desk.run("votes", "--mine", "--request", "mr-1")
    [query] = desk.asked["ListDecisions"]
    assert query.filter.actor == ACTOR
    assert list(query.filter.mutation_request_ids) == ["mr-1"]


@pytest.mark.parametrize(
    ("arguments", "actor"), [(("--mine",), ""), (("--mine", "--by", "cleo"), ACTOR)]
)
def test_votes_of_mine_need_one_name_and_no_other(
    tmp_path: Path, arguments: tuple[str, ...], actor: str
) -> None:
    desk = FrontDesk(tmp_path, a_request())
    assert desk.run("votes", *arguments, actor=actor).exit_code == ExitCode.USAGE
    assert desk.asked == {}


def test_decisions_take_a_span_of_time_and_an_order(tmp_path: Path) -> None:
    desk = FrontDesk(tmp_path, a_request())
    span = ("--from", "2030-01-01T00:00:00Z", "--until", "2030-02-01T00:00:00Z")
    assert desk.run("decisions", *span, "--newest-first").exit_code == ExitCode.OK
    [query] = desk.asked["ListDecisions"]
    assert query.filter.from_time.ToJsonString() == "2030-01-01T00:00:00Z"
    assert query.filter.until_time.ToJsonString() == "2030-02-01T00:00:00Z"
    assert query.newest_first


def test_decisions_come_oldest_first_and_from_all_time_unless_told_otherwise(
    tmp_path: Path,
) -> None:
    desk = FrontDesk(tmp_path, a_request())
    desk.run("decisions")
    [query] = desk.asked["ListDecisions"]
    assert not query.newest_first
    assert not query.filter.HasField("from_time")
    assert not query.filter.HasField("until_time")


def test_a_list_asks_for_status_side_effects_and_reviews(tmp_path: Path) -> None:
    desk = FrontDesk(tmp_path, a_request())
    line = "--status executed --side-effect cache.invalidated --severity warning --review-open"
    assert desk.run("requests", "list", *line.split()).exit_code == ExitCode.OK
    [query] = desk.asked["ListRequests"]
    assert list(query.statuses) == [request_pb2.REQUEST_STATUS_EXECUTED]
    assert query.side_effect_type == "cache.invalidated"
    assert query.side_effect_severity == 2
    assert query.review_open


def test_counts_are_shown_by_what_they_count(tmp_path: Path) -> None:
    desk = FrontDesk(tmp_path, a_request())
    desk.counts.statuses.add(status=request_pb2.REQUEST_STATUS_PENDING, count=3)
    desk.counts.statuses.add(status=request_pb2.REQUEST_STATUS_EXECUTED, count=12)
    desk.counts.pending.add(reason=request_pb2.PENDING_REASON_APPROVAL, count=2)
    desk.counts.reviews_overdue = 1
    result = desk.run("counts")
    assert result.exit_code == ExitCode.OK, result.output
    assert [line.split() for line in result.stdout.splitlines()] == [
        ["BY", "WHICH", "COUNT"],
        ["STATUS", "PENDING", "3"],
        ["STATUS", "EXECUTED", "12"],
        ["WAITS", "FOR", "APPROVAL", "2"],
        ["REVIEW", "overdue", "1"],
    ]
    assert desk.asked["CountRequests"] == [service.CountRequestsRequest(tenant="acme")]
    assert '"reviewsOverdue": "1"' in desk.run("counts", "--json").stdout


def test_the_severity_of_a_side_effect_has_a_word(tmp_path: Path) -> None:
    desk = FrontDesk(tmp_path, a_request())
    result = desk.run("requests", "list", "--severity", "loud")
    assert result.exit_code == ExitCode.USAGE
    assert "info, warning, critical" in result.stderr
    assert desk.asked == {}
