"""One sidecar on PostgreSQL: the same loop, the same recovery, the same proof."""

from contextlib import suppress
from pathlib import Path

import grpc

from governance.v1 import request_pb2
from tests.support.deployment import Deployment, codes
from tests.support.postgres import PostgresServer, postgres_server

__all__ = ["postgres_server"]  # a fixture: found here by its name


async def test_a_sidecar_on_postgresql_governs_dies_and_settles(
    tmp_path: Path, postgres_server: PostgresServer
) -> None:
    """Killed when the host has applied the change: its successor looks it up and records it."""
    async with postgres_server.fresh(tmp_path) as backend:
        settings = {
            "GOVERNOR_STORE_URL": backend.url,
            # Of the one that is killed: its successor waits until that has run out.
            "GOVERNOR_LEASE_SECONDS": "2",
            "GOVERNOR_APPLY_SECONDS_MAX": "1",
        }
        deployment = Deployment(tmp_path, settings=settings)
        with deployment.host():
            deployment.meet_the_host()
            doomed_at = "execute.before_outcome=kill"
            with deployment.sidecar(failpoints=doomed_at) as doomed, deployment.client() as ann:
                with suppress(grpc.RpcError):  # the answer may be lost
                    ann.submit("first", expected_version="")
                assert doomed.wait_for_death() == -9
            with deployment.sidecar(), deployment.client() as ann:
                request = ann.ended(ann.submit("first", expected_version="").id)
                (execution,) = ann.executions(request.id)
                history = codes(ann.decisions())
        assert request.status == request_pb2.REQUEST_STATUS_EXECUTED
        assert deployment.effects() == [execution.id]
        assert history.count("EXECUTION claimed") == 2
        assert history[-1] == "LIFECYCLE executed"
        verified = deployment.verify()
        assert verified.returncode == 0, verified.stdout + verified.stderr
