"""approve and reject: nobody votes on what they have not been shown."""

from pathlib import Path
from typing import Any

import grpc
import pytest
from typer.testing import CliRunner, Result

from governance.v1 import governance_service_pb2 as service
from governance.v1 import mutation_pb2, request_pb2
from governor.cli.exits import ExitCode
from governor.cli.main import app
from governor.cli.seen import digest_of, plan_digest_of
from tests.support.scripted_service import scripted_service


def a_request(**mutation: Any) -> request_pb2.MutationRequest:
    usual: dict[str, Any] = {
        "type": "flag.set",
        "state": mutation_pb2.StateRef(type="flag", id="checkout"),
        "payload": mutation_pb2.Payload(
            content_type="application/json", data=b'{"enabled":true}', size_bytes=16
        ),
        "expected_version": "7",
        "stale_strategy": mutation_pb2.STALE_STRATEGY_REJECT_STALE,
    }
    request = request_pb2.MutationRequest(
        id="mr-1",
        status=request_pb2.REQUEST_STATUS_PENDING,
        context=mutation_pb2.RuntimeContext(tenant="acme", actor="ann"),
        mutation=mutation_pb2.Mutation(**(usual | mutation)),
        intent=mutation_pb2.Intent(risk=mutation_pb2.RISK_HIGH),
        justification="because",
        evidence=[mutation_pb2.Evidence(kind="ticket", uri="https://t/1")],
        execution_mode=request_pb2.EXECUTION_MODE_AUTOMATIC,
        verdict=request_pb2.Verdict(
            effect=request_pb2.POLICY_EFFECT_DEFER, rules=["two-reviewers"]
        ),
        approval=request_pb2.Approval(
            steps=[
                request_pb2.Step(
                    name="review",
                    mode=request_pb2.STEP_MODE_ALL_OF,
                    requirements=[
                        request_pb2.Requirement(
                            id="reviewers",
                            quorum=2,
                            meaning=request_pb2.VOTE_KIND_APPROVE,
                            rejections=1,
                            targets=[
                                request_pb2.Target(
                                    kind=request_pb2.TARGET_KIND_GROUP, name="reviewers"
                                )
                            ],
                        )
                    ],
                )
            ],
            round=1,
            open_requirements=["reviewers"],
        ),
    )
    request.request_digest = digest_of(request)
    request.approval.plan_digest = plan_digest_of(request.approval)
    return request


class Ballot:
    """A server that shows one request and takes the votes on it."""

    def __init__(self, folder: Path, request: request_pb2.MutationRequest) -> None:
        self.folder = folder
        self.request = request
        self.votes: list[Any] = []

    def run(self, *arguments: str) -> Result:
        """A command against it, without a terminal."""
        with scripted_service(
            self.folder, GetRequest=self._show, Approve=self._approve, Reject=self._reject
        ) as address:
            environment = {"GOVERNOR_ADDRESS": address, "GOVERNOR_ACTOR": "ben"}
            return CliRunner().invoke(app, arguments, env=environment)

    def _show(
        self, _: service.GetRequestRequest, context: grpc.ServicerContext
    ) -> service.GetRequestResponse:
        return service.GetRequestResponse(request=self.request)

    def _approve(
        self, vote: service.ApproveRequest, context: grpc.ServicerContext
    ) -> service.ApproveResponse:
        self.votes.append(vote)
        return service.ApproveResponse(request=self.request)

    def _reject(
        self, vote: service.RejectRequest, context: grpc.ServicerContext
    ) -> service.RejectResponse:
        self.votes.append(vote)
        return service.RejectResponse(request=self.request)


def test_approving_shows_what_will_run_and_votes_on_its_digest(tmp_path: Path) -> None:
    ballot = Ballot(tmp_path, a_request())
    result = ballot.run("approve", "mr-1", "--yes", "-m", "fine")
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
        ballot.request.request_digest.hex(),
    ):
        assert shown in result.stdout, shown
    [vote] = ballot.votes
    assert vote.request_digest == ballot.request.request_digest
    assert vote.comment == "fine"
    assert vote.request_id.startswith("rq-")


def test_without_a_terminal_and_without_yes_nobody_votes(tmp_path: Path) -> None:
    ballot = Ballot(tmp_path, a_request())
    result = ballot.run("approve", "mr-1")
    assert result.exit_code == ExitCode.USAGE
    assert "value for --yes" in result.stderr
    assert ballot.votes == []


@pytest.mark.parametrize("command", [("approve",), ("reject", "--code", "NO")])
def test_a_request_that_is_not_what_its_digest_says_is_not_voted_on(
    tmp_path: Path, command: tuple[str, ...]
) -> None:
    """The server, or somebody in between, shows another payload than the one that is approved."""
    ballot = Ballot(tmp_path, a_request())
    ballot.request.mutation.payload.data = b'{"enabled":false}'
    result = ballot.run(*command, "mr-1", "--yes")
    assert result.exit_code == ExitCode.VERIFICATION_FAILED
    assert "is not what its digest says" in result.stderr
    assert ballot.votes == []


def test_a_digest_that_was_meant_must_be_the_one_there_is(tmp_path: Path) -> None:
    ballot = Ballot(tmp_path, a_request())
    assert ballot.run("approve", "mr-1", "--yes", "--digest", "00").exit_code == ExitCode.REFUSED
    assert ballot.votes == []
    digest = ballot.request.request_digest.hex().upper()
    assert ballot.run("approve", "mr-1", "--yes", "--digest", digest).exit_code == ExitCode.OK


def test_what_a_requester_wrote_cannot_act_on_the_approvers_terminal(tmp_path: Path) -> None:
    hostile = mutation_pb2.Payload(content_type="text/plain", data=b"ok\x1b[1A\x1b[2Kharmless")
    ballot = Ballot(tmp_path, a_request(payload=hostile))
    ballot.request.justification = "[bold]trust me[/bold] \u202e"
    ballot.request.request_digest = digest_of(ballot.request)
    result = ballot.run("approve", "mr-1", "--yes")
    assert "\x1b" not in result.stdout
    assert r"ok\x1b[1A\x1b[2Kharmless" in result.stdout
    assert r"[bold]trust me[/bold] \u202e" in result.stdout


def test_rejecting_carries_code_and_words(tmp_path: Path) -> None:
    ballot = Ballot(tmp_path, a_request())
    result = ballot.run("reject", "mr-1", "--yes", "--code", "TOO_RISKY", "-m", "on a friday")
    assert result.exit_code == ExitCode.OK, result.output
    assert ballot.votes[0].reason == mutation_pb2.Reason(code="TOO_RISKY", message="on a friday")
