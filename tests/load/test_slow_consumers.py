"""Subscribers that do not read: told so, resumable, and no burden to anybody else."""

import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from governance.v1 import governance_service_pb2 as service
from governance.v1 import governance_service_pb2_grpc, mutation_pb2
from governor.wire.errors import STATUS_KEY
from tests.load.memory import MEBIBYTE, resident_bytes
from tests.support.deployment import (
    CALL_SECONDS_MAX,
    TENANT,
    Client,
    Deployment,
    submission,
    wait_for_line,
)
from tests.wire.serving import told_in

pytestmark = pytest.mark.skipif(
    sys.platform != "linux", reason="memory is read from /proc, which this system does not have"
)

SLOW = 32
REJECTIONS = 160
REASON = {f"fact-{number:02}": "x" * 1_000 for number in range(32)}
"""Makes a decision of 32 KiB of every rejection: a few fill whatever gRPC holds for a reader."""

SLOW_GROWTH_BYTES_MAX = 64 * MEBIBYTE
"""What they may add while 160 MiB are written for all of them; 40 were seen."""

SETTINGS = {
    "GOVERNOR_STREAM_BLOCKED_SECONDS_MAX": "0.2",
    "GOVERNOR_TAIL_BYTES_MAX": str(MEBIBYTE),
    "GOVERNOR_SNAPSHOT_BYTES_MAX": str(MEBIBYTE),
}


def test_subscribers_that_do_not_read_are_told_and_resume_and_disturb_nobody(
    tmp_path: Path,
) -> None:
    """Many stop reading; one reads on and misses nothing, and callers are served all the while."""
    deployment = Deployment(tmp_path, SETTINGS)
    with (
        deployment.host(),
        deployment.sidecar() as running,
        deployment.client() as ann,
        deployment.client("ben") as ben,
        deployment.client("ada") as ada,
    ):
        rejected(ann, ben, "warm-up")
        slow = [Reader(deployment.target) for _ in range(SLOW)]
        quick = Reader(deployment.target)
        for reader in (*slow, quick):
            reader.read(1)
        each = len(revisions(ada))
        reading = threading.Thread(target=quick.read, args=(each - 1 + each * REJECTIONS,))
        reading.start()
        before = resident_bytes(running.process.pid)
        for number in range(REJECTIONS):
            rejected(ann, ben, f"rejected-{number}")
        reading.join(CALL_SECONDS_MAX)
        ledger = revisions(ada)
        wait_for_line(running, "a subscriber reads too slowly", times=SLOW)
        grown = resident_bytes(running.process.pid) - before

        assert quick.seen == ledger
        for reader in slow:
            reason, revision = reader.read_to_the_end()
            assert (reason, revision) == ("SLOW_CONSUMER", reader.seen[-1])
            assert len(reader.seen) < len(ledger)
            reader.resume()
            reader.read(len(ledger) - len(reader.seen))
            assert reader.seen == ledger
        for reader in (*slow, quick):
            reader.close()
    assert grown < SLOW_GROWTH_BYTES_MAX


def rejected(ann: Client, ben: Client, name: str) -> None:
    """A request and its rejection, with a long word of reason."""
    waiting = ann.call("Submit", submission(name, flag=name, risk=mutation_pb2.RISK_MEDIUM)).request
    request = service.RejectRequest(
        request_id=name,
        id=waiting.id,
        request_digest=waiting.request_digest,
        plan_digest=waiting.approval.plan_digest,
    )
    request.reason.code = "NO"
    request.reason.message = "not like this"
    request.reason.metadata.update(REASON)
    ben.call("Reject", request)


def revisions(client: Client) -> list[int]:
    return [decision.revision for decision in client.decisions()]


class Reader:
    """A subscriber on a connection of its own, which takes as little ahead as gRPC lets it."""

    def __init__(self, target: str) -> None:
        self.seen: list[int] = []
        self._channel = grpc.insecure_channel(
            target,
            [
                ("grpc.default_authority", "localhost"),
                ("grpc.use_local_subchannel_pool", 1),
                # Else the window grows with what was read before, up to megabytes.
                ("grpc.http2.bdp_probe", 0),
            ],
        )
        self._stub = governance_service_pb2_grpc.GovernanceServiceStub(self._channel)
        self._messages: Iterator[service.StreamDecisionsResponse]
        self.resume()

    def resume(self) -> None:
        """After the last decision that was read."""
        request = service.StreamDecisionsRequest(after_revision=self.seen[-1] if self.seen else 0)
        request.filter.tenant = TENANT
        self._messages = self._stub.StreamDecisions(
            request, timeout=CALL_SECONDS_MAX, metadata=(("governor-actor", "ada"),)
        )

    def read(self, count: int) -> None:
        """So many decisions."""
        while count:
            message = next(self._messages)
            if message.HasField("decision"):
                self.seen.append(message.decision.revision)
                count -= 1

    def read_to_the_end(self) -> tuple[str, int]:
        """What is left; answers the reason of the end and the revision that it names."""
        with pytest.raises(grpc.RpcError) as ended:
            self.read(-1)
        failure: Any = ended.value
        info = told_in(dict(failure.trailing_metadata())[STATUS_KEY]).info
        return info.reason, int(info.metadata["revision"])

    def close(self) -> None:
        self._channel.close()
