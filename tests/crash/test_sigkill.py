"""SIGKILL around each of the four beats: one effect, a complete history, every time."""

from contextlib import suppress
from pathlib import Path

import grpc
import pytest

from governance.v1 import request_pb2
from tests.support.deployment import Deployment, codes

SIDECAR_DEATHS = {
    # Beat 1, the claim; here it stands in the same commit as the submission.
    "store.batch.before_commit=kill": "nothing is durable",
    "store.batch.after_commit=kill": "submitted and claimed; nobody was told",
    # Beat 2, the call to the host.
    "execute.before_apply=kill": "claimed; the host was not called",
    "execute.after_apply=kill": "the host has applied it; the answer was not recorded",
    # Beat 3, the outcome.
    "execute.before_outcome=kill": "the answer was read; it was not recorded",
    "store.batch.before_commit=kill@2": "the outcome was written and not committed",
    # Beat 4, waking the streams.
    "store.batch.after_commit=kill@2": "the outcome is durable; nobody was woken",
    "execute.after_outcome=kill": "everything is durable and told",
}

QUIET_HISTORY = [
    "LIFECYCLE submitted",
    "POLICY allowed",
    "LIFECYCLE approved",
    "EXECUTION claimed",
    "VERSION_RESOLUTION validated",
    "EXECUTION applied",
    "LIFECYCLE executed",
]
"""What is decided about an automatic request when nothing goes wrong."""

RECOVERY = {"EXECUTION lease_lost", "EXECUTION claimed"}
"""What a recovery may add to that: the next owner takes the execution over."""


@pytest.mark.parametrize("failpoint", SIDECAR_DEATHS)
def test_a_sidecar_killed_anywhere_leaves_one_effect_and_a_complete_history(
    tmp_path: Path, failpoint: str
) -> None:
    """The caller, who may have got no answer, repeats the call with the same request_id."""
    deployment = Deployment(tmp_path)
    with deployment.host():
        deployment.meet_the_host()
        with deployment.sidecar(failpoints=failpoint) as doomed, deployment.client() as ann:
            with suppress(grpc.RpcError):  # the answer may be lost
                ann.submit("first", expected_version="")
            assert doomed.wait_for_death() == -9

        with deployment.sidecar(), deployment.client() as ann:
            request = ann.ended(ann.submit("first", expected_version="").id)
            assert request.status == request_pb2.REQUEST_STATUS_EXECUTED
            executions = ann.executions(request.id)
            history = codes(ann.decisions())

    assert deployment.effects() == [executions[-1].id]
    assert [code for code in history if code not in RECOVERY] == [
        code for code in QUIET_HISTORY if code not in RECOVERY
    ]
    assert history.count("EXECUTION claimed") == 1 + history.count("EXECUTION lease_lost")
    verified = deployment.verify()
    assert verified.returncode == 0, verified.stdout + verified.stderr


@pytest.mark.parametrize(
    "failpoint",
    ["before_apply=kill", "after_effect_before_commit=kill", "after_commit_before_answer=kill"],
)
def test_a_host_killed_in_the_middle_of_an_apply_is_settled_after_its_restart(
    tmp_path: Path, failpoint: str
) -> None:
    """The answer is lost: the sidecar looks the execution up when the host is back."""
    deployment = Deployment(tmp_path)
    with deployment.sidecar(), deployment.client() as ann:
        with deployment.host(failpoint=failpoint) as doomed:
            submitted = ann.submit("first", expected_version="")
            assert doomed.wait_for_death() == -9
        with deployment.host():
            request = ann.ended(submitted.id)
            executions = ann.executions(request.id)
    assert request.status == request_pb2.REQUEST_STATUS_EXECUTED
    assert deployment.effects() == [executions[-1].id]
    verified = deployment.verify()
    assert verified.returncode == 0, verified.stdout + verified.stderr


def test_both_killed_at_once_still_end_with_one_effect(tmp_path: Path) -> None:
    """The host dies with the effect durable, the sidecar before it has read anything."""
    deployment = Deployment(tmp_path)
    with (
        deployment.sidecar(failpoints="execute.after_apply=kill") as sidecar,
        deployment.client() as ann,
        deployment.host(failpoint="after_commit_before_answer=kill") as host,
    ):
        submitted = ann.submit("first", expected_version="")
        assert host.wait_for_death() == -9
        assert sidecar.wait_for_death() == -9
    with deployment.host(), deployment.sidecar(), deployment.client() as ann:
        request = ann.ended(submitted.id)
        executions = ann.executions(request.id)
    assert request.status == request_pb2.REQUEST_STATUS_EXECUTED
    assert deployment.effects() == [executions[-1].id]


def test_a_recovery_that_is_killed_itself_is_recovered(tmp_path: Path) -> None:
    """Claimed, killed; taken over, killed; taken over again under the next fencing token."""
    deployment = Deployment(tmp_path)
    with deployment.host():
        deployment.meet_the_host()
        for failpoint in (
            "execute.before_apply=kill",
            "recover.before_reclaim=kill",
            "recover.after_reclaim=kill",
        ):
            with deployment.sidecar(failpoints=failpoint) as doomed, deployment.client() as ann:
                with suppress(grpc.RpcError):  # the answer may be lost
                    ann.submit("first", expected_version="", wait_seconds=20)
                assert doomed.wait_for_death() == -9
        with deployment.sidecar(), deployment.client() as ann:
            request = ann.ended(ann.submit("first", expected_version="").id)
            (execution,) = ann.executions(request.id)
    assert request.status == request_pb2.REQUEST_STATUS_EXECUTED
    assert execution.fencing_token == 3
    assert deployment.effects() == [execution.id]
