"""requests show: everything that holds a request back or has carried it on is there to be read."""

from pathlib import Path
from typing import Any

import pytest
from google.protobuf.duration_pb2 import Duration

from governance.v1 import mutation_pb2, request_pb2
from governor.cli.exits import ExitCode
from governor.cli.standing import missing_votes
from tests.support.front_desk import (
    CHECKERS,
    REVIEWERS,
    SAM,
    SINCE,
    UNTIL,
    FrontDesk,
    a_gate,
    a_request,
    a_requirement,
    a_step,
    a_vote,
    sealed,
    waiting,
)


def shown(folder: Path, request: request_pb2.MutationRequest) -> list[str]:
    """The lines of `requests show`, with their blanks made one."""
    result = FrontDesk(folder, sealed(request)).run("requests", "show", "mr-1")
    assert result.exit_code == ExitCode.OK, result.output
    return [" ".join(line.split()) for line in result.stdout.splitlines()]


def test_each_thing_it_waits_for_is_shown_with_whom_and_its_clock(tmp_path: Path) -> None:
    request = a_request()
    request.pending.append(
        waiting(
            request_pb2.PENDING_REASON_EXTERNAL_CHECK,
            "scan",
            waits_for=[CHECKERS, SAM],
            until_time=UNTIL,
            detail="look for secrets",
        )
    )
    lines = shown(tmp_path, request)
    assert (
        "waits for APPROVAL by group reviewers until 2030-03-17 18:46:40.000Z"
        " (since 2030-03-17 17:46:40.000Z)"
    ) in lines
    assert (
        "waits for EXTERNAL_CHECK scan by role checker or actor sam"
        " until 2030-03-17 18:46:40.000Z: look for secrets (since 2030-03-17 17:46:40.000Z)"
    ) in lines


def test_gates_windows_and_the_time_it_has_to_run_are_shown(tmp_path: Path) -> None:
    request = a_request()
    request.pending.append(waiting(request_pb2.PENDING_REASON_EXTERNAL_CHECK, "scan"))
    called = a_gate("lint")
    called.called = True
    anybodys = a_gate("scan")
    del anybodys.resolvers[:]
    request.verdict.gates.extend(
        [anybodys, called, a_gate("deploys", request_pb2.PENDING_REASON_QUOTA)]
    )
    request.verdict.windows.add(
        name="nights", opens="0 22 * * *", lasts=Duration(seconds=7200), timezone="Europe/Berlin"
    )
    request.verdict.execution_window.seconds = 3600
    request.execute_before.CopyFrom(UNTIL)
    lines = shown(tmp_path, request)
    for line in (
        "gate EXTERNAL_CHECK scan (answered by resolve-pending, fails after 10m00s) [still open]",
        "gate EXTERNAL_CHECK lint (asked by Governor, by role checker, fails after 10m00s)",
        "gate QUOTA deploys (answered by resolve-pending, by role checker, opens after 10m00s)",
        "window nights: opens 0 22 * * * in Europe/Berlin, for 2h00m",
        "runs within 1h00m of its approval",
        "runs before 2030-03-17 18:46:40.000Z",
    ):
        assert line in lines, line


def test_the_terms_of_a_requirement_are_shown(tmp_path: Path) -> None:
    request = a_request()
    terms = {"deadline": Duration(seconds=7200), "rejections": 2}
    request.approval.steps[0].CopyFrom(
        a_step("review", a_requirement("reviewers", REVIEWERS, quorum=2, **terms))
    )
    request.approval.repeat_voters = True
    lines = shown(tmp_path, request)
    assert (
        "step 1 of 1, review (open, 0 so far): 2 of group reviewers (2 rejections end it,"
        " within 2h00m of the step's opening) [2 more needed]"
    ) in lines
    assert "counting one person may count in several steps" in lines
    request.approval.expired_requirements.append("reviewers")
    assert any("[its time has passed]" in line for line in shown(tmp_path, request))


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({}, "APPROVE by ben at 2030-03-17 17:46:40.000Z, round 1"),
        ({"on_behalf_of": "carol"}, "APPROVE by ben for carol at"),
        ({"voided": True}, "(voided by a new round)"),
        ({"voided": True, "revoke_time": UNTIL}, "(taken back at 2030-03-17 18:46:40.000Z)"),
        (
            {"voided": True, "void_time": UNTIL, "void_reason": "NOT_ELIGIBLE_ANY_MORE"},
            "(voided at 2030-03-17 18:46:40.000Z: NOT_ELIGIBLE_ANY_MORE)",
        ),
        (
            {"reason": mutation_pb2.Reason(code="LATE", category="TIMING", message="too late")},
            "round 1 LATE [TIMING]: too late",
        ),
    ],
)
def test_a_vote_tells_for_whom_it_was_and_whether_it_still_counts(
    tmp_path: Path, fields: dict[str, Any], words: str
) -> None:
    request = a_request()
    request.approval.votes.append(a_vote("ben", **fields))
    [line] = [line for line in shown(tmp_path, request) if line.startswith("vote ")]
    assert words in line


@pytest.mark.parametrize(
    ("votes", "missing"),
    [
        ([], 2),
        ([a_vote("ben")], 1),
        ([a_vote("ben", voided=True)], 2),
        ([a_vote("ben", kind=request_pb2.VOTE_KIND_REVIEW)], 2),
        ([a_vote("ben", step=1)], 2),
        ([a_vote("cleo", on_behalf_of="carol"), a_vote("ben")], 1),
    ],
)
def test_missing_votes_are_counted_by_those_that_count(
    votes: list[request_pb2.Vote], missing: int
) -> None:
    """The last: the server says that it still lacks votes, so it lacks one at least."""
    approval = a_request().approval
    approval.votes.extend(votes)
    assert missing_votes(approval, approval.steps[0].requirements[0]) == missing
    del approval.open_requirements[:]
    assert missing_votes(approval, approval.steps[0].requirements[0]) == 0


def test_an_emergency_is_shown_with_who_why_and_the_review_it_owes(tmp_path: Path) -> None:
    request = a_request()
    request.approval.break_glass.actor.CopyFrom(mutation_pb2.Actor(id="eve", time=SINCE))
    request.approval.break_glass.justification = "checkout is down"
    request.review.status = request_pb2.REVIEW_STATUS_OVERDUE
    request.review.due_time.CopyFrom(UNTIL)
    request.review.reviewers.append(REVIEWERS)
    del request.approval.open_requirements[:]
    lines = shown(tmp_path, request)
    assert "step 1 of 1, review (skipped): 2 of group reviewers" in lines
    assert (
        "break-glass the approval was skipped by eve at 2030-03-17 17:46:40.000Z: checkout is down"
    ) in lines
    assert "review OVERDUE: owed by 2030-03-17 18:46:40.000Z by group reviewers" in lines

    request.review.status = request_pb2.REVIEW_STATUS_UNJUSTIFIED
    request.review.reviewer.CopyFrom(mutation_pb2.Actor(id="ruth", time=UNTIL))
    request.review.reason.code = "COULD_HAVE_WAITED"
    assert ("review UNJUSTIFIED by ruth at 2030-03-17 18:46:40.000Z: COULD_HAVE_WAITED") in shown(
        tmp_path, request
    )


def test_dependencies_are_shown_with_what_their_failure_leads_to(tmp_path: Path) -> None:
    request = a_request()
    request.depends_on.append("mr-0")
    request.on_dependency_failure = request_pb2.DEPENDENCY_FAILURE_REVIEW
    assert "depends on mr-0, else REVIEW" in shown(tmp_path, request)
