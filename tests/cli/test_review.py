"""approve, reject and revoke: nobody votes on what they have not been shown."""

from pathlib import Path

import pytest

from governance.v1 import execution_pb2, mutation_engine_pb2, mutation_pb2, request_pb2
from governor.cli.exits import ExitCode
from tests.support.front_desk import (
    CHECKERS,
    REVIEWERS,
    SAM,
    FrontDesk,
    a_request,
    a_requirement,
    a_step,
    a_vote,
    sealed,
    waiting,
)


def test_approving_shows_what_will_run_and_votes_on_its_digest(tmp_path: Path) -> None:
    desk = FrontDesk(tmp_path, a_request())
    result = desk.run("approve", "mr-1", "--yes", "-m", "fine")
    assert result.exit_code == ExitCode.OK, result.output
    for shown in (
        "flag.set",
        "flag/checkout",
        '"enabled": true',
        "REJECT_STALE",
        "because",
        "ticket: https://t/1",
        "risk HIGH",
        "DEFER by two-reviewers",
        "2 of group reviewers [2 more needed]",
        desk.request.request_digest.hex(),
        desk.request.approval.plan_digest.hex(),
    ):
        assert shown in result.stdout, shown
    [vote] = desk.asked["Approve"]
    assert vote.request_digest == desk.request.request_digest
    assert vote.plan_digest == desk.request.approval.plan_digest
    assert vote.meaning == request_pb2.VOTE_KIND_APPROVE
    assert vote.comment == "fine"
    assert vote.request_id.startswith("rq-")


def test_approving_shows_what_the_host_says_of_it_now(tmp_path: Path) -> None:
    """The version it was made for beside the one there is, what would change, what objects."""
    preview = mutation_engine_pb2.ValidateMutationResponse(
        current_version="8",
        preview=[execution_pb2.Change(path="flag/checkout/enabled", before="false", after="true")],
        violations=[mutation_engine_pb2.Violation(code="FROZEN", message="not today")],
    )
    desk = FrontDesk(tmp_path, a_request(), preview=preview)
    shown = desk.run("approve", "mr-1", "--yes").stdout
    assert "expected version  7" in shown
    assert "the host has version 8" in shown
    assert "careful: that is not the version it was made for" in shown
    assert "flag/checkout/enabled: false -> true" in shown
    assert "the host objects: FROZEN: not today" in shown
    assert desk.asked["GetRequest"][0].preview


def test_a_version_that_is_still_the_one_it_was_made_for_is_not_remarked_on(tmp_path: Path) -> None:
    preview = mutation_engine_pb2.ValidateMutationResponse(current_version="7")
    desk = FrontDesk(tmp_path, a_request(), preview=preview)
    assert "careful" not in desk.run("approve", "mr-1", "--yes").stdout


def test_where_the_host_says_nothing_that_is_shown(tmp_path: Path) -> None:
    desk = FrontDesk(tmp_path, a_request())
    assert "there is no preview" in desk.run("approve", "mr-1", "--yes").stdout


def test_approving_shows_who_else_must_still_act(tmp_path: Path) -> None:
    request = a_request()
    request.approval.steps.append(a_step("security", a_requirement("lead", SAM)))
    request.approval.votes.append(a_vote("cleo"))
    request.pending.append(
        waiting(request_pb2.PENDING_REASON_EXTERNAL_CHECK, "scan", waits_for=[CHECKERS])
    )
    shown = FrontDesk(tmp_path, sealed(request)).run("approve", "mr-1", "--yes").stdout
    lines = [" ".join(line.split()) for line in shown.splitlines()]
    assert "now step review: 1 more of group reviewers" in lines
    assert "then step security: 1 more of actor sam" in lines
    assert any(line.startswith("beside that EXTERNAL_CHECK scan by role checker") for line in lines)


def test_a_vote_can_be_a_review_and_can_be_for_somebody_else(tmp_path: Path) -> None:
    request = a_request()
    asked = a_requirement("eyes", REVIEWERS, meaning=request_pb2.VOTE_KIND_REVIEW)
    request.approval.steps[0].CopyFrom(a_step("look", asked))
    request.approval.open_requirements[:] = ["eyes"]
    desk = FrontDesk(tmp_path, sealed(request))
    result = desk.run("approve", "mr-1", "--yes", "--meaning", "review", "--on-behalf-of", "carol")
    assert "1 of group reviewers to review" in result.stdout
    assert "reviewed; mr-1" in result.stdout
    [vote] = desk.asked["Approve"]
    assert (vote.meaning, vote.on_behalf_of) == (request_pb2.VOTE_KIND_REVIEW, "carol")


def test_an_approval_cannot_mean_a_rejection(tmp_path: Path) -> None:
    desk = FrontDesk(tmp_path, a_request())
    result = desk.run("approve", "mr-1", "--yes", "--meaning", "reject")
    assert result.exit_code == ExitCode.USAGE
    assert desk.asked == {}


def test_without_a_terminal_and_without_yes_nobody_votes(tmp_path: Path) -> None:
    desk = FrontDesk(tmp_path, a_request())
    result = desk.run("approve", "mr-1")
    assert result.exit_code == ExitCode.USAGE
    assert "value for --yes" in result.stderr
    assert desk.answers_given == []


@pytest.mark.parametrize(
    "command",
    [
        ("approve",),
        ("reject", "--code", "NO"),
        ("resolve-pending", "--passed", "--code", "OK", "--reason", "quota", "--name", "q"),
        ("break-glass", "review", "--justified", "--code", "OK"),
    ],
)
def test_a_request_that_is_not_what_its_digest_says_is_not_voted_on(
    tmp_path: Path, command: tuple[str, ...]
) -> None:
    """The server, or somebody in between, shows another payload than the one that is approved."""
    desk = FrontDesk(tmp_path, a_request())
    desk.request.mutation.payload.data = b'{"enabled":false}'
    result = desk.run(*command, "mr-1", "--yes")
    assert result.exit_code == ExitCode.VERIFICATION_FAILED
    assert "is not what its digest says" in result.stderr
    assert desk.answers_given == []


def test_a_plan_that_is_not_what_its_digest_says_is_not_voted_under(tmp_path: Path) -> None:
    """Who sees two people asked must not vote where one is enough."""
    desk = FrontDesk(tmp_path, a_request())
    desk.request.approval.steps[0].requirements[0].quorum = 1
    result = desk.run("approve", "mr-1", "--yes")
    assert result.exit_code == ExitCode.VERIFICATION_FAILED
    assert "the plan of mr-1 is not what its digest says" in result.stderr
    assert desk.answers_given == []


def test_where_nobody_is_asked_for_a_vote_none_is_sent(tmp_path: Path) -> None:
    request = a_request()
    request.ClearField("approval")
    desk = FrontDesk(tmp_path, request)
    result = desk.run("approve", "mr-1", "--yes")
    assert result.exit_code == ExitCode.REFUSED
    assert "asks nobody for a vote" in result.stderr
    assert desk.answers_given == []


def test_a_digest_that_was_meant_must_be_the_one_there_is(tmp_path: Path) -> None:
    desk = FrontDesk(tmp_path, a_request())
    assert desk.run("approve", "mr-1", "--yes", "--digest", "00").exit_code == ExitCode.REFUSED
    assert desk.answers_given == []
    digest = desk.request.request_digest.hex().upper()
    assert desk.run("approve", "mr-1", "--yes", "--digest", digest).exit_code == ExitCode.OK


def test_what_a_requester_wrote_cannot_act_on_the_approvers_terminal(tmp_path: Path) -> None:
    hostile = mutation_pb2.Payload(content_type="text/plain", data=b"ok\x1b[1A\x1b[2Kharmless")
    desk = FrontDesk(tmp_path, a_request(payload=hostile))
    desk.request.justification = "[bold]trust me[/bold] \u202e"
    sealed(desk.request)
    result = desk.run("approve", "mr-1", "--yes")
    assert "\x1b" not in result.stdout
    assert r"ok\x1b[1A\x1b[2Kharmless" in result.stdout
    assert r"[bold]trust me[/bold] \u202e" in result.stdout


def test_rejecting_carries_code_category_words_and_facts(tmp_path: Path) -> None:
    desk = FrontDesk(tmp_path, a_request())
    said = ("--code", "TOO_RISKY", "--category", "RISK", "-m", "on a friday")
    result = desk.run("reject", "mr-1", "--yes", *said, "--metadata", "day=friday")
    assert result.exit_code == ExitCode.OK, result.output
    [vote] = desk.asked["Reject"]
    assert vote.plan_digest == desk.request.approval.plan_digest
    assert vote.reason == mutation_pb2.Reason(
        code="TOO_RISKY", category="RISK", message="on a friday", metadata={"day": "friday"}
    )


def test_a_vote_is_taken_back_with_its_reason(tmp_path: Path) -> None:
    desk = FrontDesk(tmp_path, a_request())
    result = desk.run("revoke", "mr-1", "--code", "MISREAD", "-m", "wrong flag", "--etag", "r7")
    assert result.exit_code == ExitCode.OK, result.output
    assert "taken back; mr-1 now stands so:" in result.stdout
    [revocation] = desk.asked["RevokeVote"]
    assert revocation.reason == mutation_pb2.Reason(code="MISREAD", message="wrong flag")
    assert revocation.etag == "r7"
