"""A check that a service of its own answers: real processes, a real connection, and its absence."""

from pathlib import Path

from google.protobuf.duration_pb2 import Duration

from governance.v1 import governance_service_pb2, mutation_pb2, request_pb2
from tests.support.check_server import check_server
from tests.support.deployment import Deployment

QUICKLY = {
    "GOVERNOR_CHECK_PAUSE_SECONDS_INITIAL": "0.05",
    "GOVERNOR_CHECK_PAUSE_SECONDS_MAX": "0.2",
}


def test_a_service_that_comes_up_late_is_asked_and_believed(tmp_path: Path) -> None:
    """Nothing runs while it is away, also across a restart."""
    deployment = Deployment(tmp_path, settings=dict(QUICKLY))
    with deployment.host():
        with deployment.sidecar() as first, deployment.client() as ann:
            waiting = ann.submit("r-1", risk=mutation_pb2.RISK_HIGH)
            assert waiting.status == request_pb2.REQUEST_STATUS_PENDING
            first.kill()
        with deployment.sidecar(), deployment.client() as ann, deployment.client("oli") as oli:
            assert deployment.effects() == []
            with check_server(tmp_path):
                assert ann.ended(waiting.id).status == request_pb2.REQUEST_STATUS_EXECUTED
            told = [(one.category, one.code) for one in oli.decisions(waiting.id)]
    assert len(deployment.effects()) == 1
    assert [code for _, code in told].count("passed") == 1


def test_a_person_answers_where_the_service_does_not(tmp_path: Path) -> None:
    deployment = Deployment(tmp_path, settings=dict(QUICKLY))
    with deployment.host(), deployment.sidecar(), deployment.client() as ann:
        waiting = ann.submit("r-1", risk=mutation_pb2.RISK_HIGH)
        with deployment.client("oli") as oli:
            resolve = governance_service_pb2.ResolvePendingRequest(
                request_id="r-2",
                id=waiting.id,
                request_digest=waiting.request_digest,
                reason=request_pb2.PENDING_REASON_EXTERNAL_CHECK,
                name="scan",
                outcome=governance_service_pb2.PENDING_OUTCOME_FAILED,
                finding=mutation_pb2.Reason(code="BY_HAND", message="looked at it myself"),
            )
            ended = oli.call("ResolvePending", resolve).request
    assert ended.status == request_pb2.REQUEST_STATUS_REJECTED
    assert ended.status_reason.code == "CHECK_FAILED"
    assert ended.status_reason.metadata["code"] == "BY_HAND"
    assert waiting.verdict.gates[0].timeout == Duration(seconds=3600)
    assert deployment.effects() == []
