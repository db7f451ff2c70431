"""A store that went back in time: who was there before it is told, and never served by mistake."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from governance.v1 import governance_service_pb2 as service
from governance.v1 import host_pb2, mutation_pb2, request_pb2
from governor.cli.exits import ExitCode
from tests.support.deployment import REPOSITORY, TENANT, Client, Deployment

MINE = service.DecisionFilter(tenant=TENANT)


def governor(deployment: Deployment, *arguments: str) -> subprocess.CompletedProcess[str]:
    """A command on the deployment's store, in a process of its own."""
    command = [sys.executable, "-m", "governor", *arguments, "--store", deployment.store_url]
    return subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)


def trust_the_host(deployment: Deployment) -> None:
    """A person has looked at it."""
    with deployment.client("oli") as oli:
        while not (host := oli.host()).contract_version:
            """It has not been reached yet."""
        assert host.hold.code == host_pb2.HOLD_CODE_STORE_RESTORED
        trust = service.TrustHostRequest(
            request_id="trust",
            tenant=TENANT,
            lineage_id=host.lineage_id,
            reason=mutation_pb2.Reason(code="LOOKED"),
        )
        oli.call("TrustHost", trust)


def caught_up(client: Client, **fields: Any) -> service.CaughtUp:
    """Follows until everything has been sent."""
    request = service.StreamDecisionsRequest(filter=MINE, **fields)
    stream = client.stub.StreamDecisions(
        request, timeout=30, metadata=(("governor-actor", client.actor),)
    )
    try:
        return next(message.caught_up for message in stream if message.HasField("caught_up"))
    finally:
        stream.cancel()


def refused(call: Callable[..., Any], *arguments: Any, **fields: Any) -> str:
    """The reason why a call is refused."""
    with pytest.raises(grpc.RpcError) as raised:
        call(*arguments, **fields)
    status = rpc_status.from_call(cast("grpc.Call", raised.value))
    assert status is not None
    info = error_details_pb2.ErrorInfo()
    assert status.details[0].Unpack(info)
    return str(info.reason)


def test_what_was_taken_from_the_store_before_is_refused_by_name_after_a_restore(
    tmp_path: Path,
) -> None:
    """Backed up while it runs, written on, restored. The ledger then grows again to revisions that
    were given out before: cursors, page tokens and etags of then must not be taken for those.
    """
    deployment = Deployment(tmp_path)
    backup, later = tmp_path / "backup.db", tmp_path / "later.checkpoint"
    page = service.ListDecisionsRequest(filter=MINE, page_size=1)
    with deployment.host():
        with (
            deployment.sidecar(),
            deployment.client() as ann,
            deployment.client("ben") as ben,
            deployment.client("ada") as ada,
        ):
            asked = ann.submit("asked", flag="asked", risk=mutation_pb2.RISK_MEDIUM)
            beside = ann.submit("beside", flag="beside", risk=mutation_pb2.RISK_MEDIUM)
            made = governor(deployment, "backup", str(backup), "--json")
            assert made.returncode == ExitCode.OK, made.stderr
            ben.approve("ben-votes-beside", beside)  # where the other life holds the host
            voted = ben.approve("ben-votes", asked)
            ann.submit("forgotten", flag="forgotten", wait_seconds=10)
            before = caught_up(ada, after_revision=0)
            token = ada.call("ListDecisions", page).next_page_token
            assert deployment.verify("--write-checkpoint", str(later)).returncode == ExitCode.OK

        assert governor(deployment, "restore", str(backup)).returncode == ExitCode.CANNOT_START
        told = governor(deployment, "restore", str(backup), "--replace", "--json")
        assert told.returncode == ExitCode.OK, told.stderr
        restored = json.loads(told.stdout)
        assert restored["formerStoreId"] == before.store_id

        with (
            deployment.sidecar(),
            deployment.client() as ann,
            deployment.client("cleo") as cleo,
            deployment.client("ada") as ada,
        ):
            other = cleo.approve("cleo-votes", asked)
            assert ann.submit("held", flag="held").status == request_pb2.REQUEST_STATUS_APPROVED
            trust_the_host(deployment)
            for number in range(3):
                ann.submit(f"other-{number}", flag=f"other-{number}", wait_seconds=10)
            now = caught_up(ada, after_revision=0)
            assert now.store_id == restored["storeId"] != before.store_id
            assert now.revision > before.revision
            assert other.revision == voted.revision
            cursor = {"after_revision": before.revision, "store_id": before.store_id}
            assert refused(caught_up, ada, **cursor) == "WRONG_STORE"
            page.page_token = token
            assert refused(ada.call, "ListDecisions", page) == "BAD_PAGE_TOKEN"
            cancel = service.CancelRequest(request_id="cancel", id=asked.id, etag=voted.etag)
            assert refused(ann.call, "Cancel", cancel) == "ETAG_MISMATCH"
            cancel.etag = other.etag
            ann.call("Cancel", cancel)

    assert deployment.verify("--checkpoint", f"{backup}.checkpoint").returncode == ExitCode.OK
    verified = deployment.verify("--checkpoint", str(later))
    assert verified.returncode == ExitCode.VERIFICATION_FAILED
    assert "TAIL_REMOVED" in verified.stdout
