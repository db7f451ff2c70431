"""More than the sidecar takes: it refuses in time, keeps its memory and what it answered."""

import sys
from pathlib import Path

import pytest

from governance.v1 import request_pb2
from tests.load import flood
from tests.load.memory import MEBIBYTE, peak_bytes, resident_bytes
from tests.support.deployment import Deployment

pytestmark = pytest.mark.skipif(
    sys.platform != "linux", reason="memory is read from /proc, which this system does not have"
)

SMALL_BOUNDS = {
    "GOVERNOR_BYTES_IN_FLIGHT_MAX": str(8 * MEBIBYTE),
    "GOVERNOR_SNAPSHOT_BYTES_MAX": str(MEBIBYTE),
}
CONNECTIONS = 4
CALLERS = 32
FLOOD_GROWTH_BYTES_MAX = (2 * CONNECTIONS * CALLERS + 192) * MEBIBYTE
"""What a flood may add at its worst moment: what arrives lies in gRPC's buffers and in Python's
bytes until it is refused; the rest is SQLite's cache and what is let in. 300 MiB were seen, and 630
without the bound on bytes."""


def test_a_flood_of_large_requests_is_refused_in_time_and_what_was_answered_is_kept(
    tmp_path: Path,
) -> None:
    """128 callers with a mebibyte each, and room for eight. Then the power is cut."""
    deployment = Deployment(tmp_path, SMALL_BOUNDS)
    with deployment.host(), deployment.client() as ann:
        with deployment.sidecar() as running:
            ann.submit("before", flag="before", wait_seconds=10)
            pid = running.process.pid
            quiet = resident_bytes(pid)
            outcome = flood.run(
                flood.Flood(
                    target=deployment.target,
                    connections=CONNECTIONS,
                    callers=CALLERS,
                    calls=512,
                    payload_bytes=MEBIBYTE,
                )
            )
            grown = peak_bytes(pid) - quiet
            after = ann.submit("after", flag="after", wait_seconds=10)
            running.kill()
        with deployment.sidecar():
            kept = flood.requests_of(ann)

    assert after.status == request_pb2.REQUEST_STATUS_EXECUTED
    assert outcome.odd == []
    assert set(outcome.refused) == {"bytes_in_flight_max"}
    assert outcome.answered
    assert set(outcome.answered.values()) <= kept
    assert grown < FLOOD_GROWTH_BYTES_MAX
    assert deployment.verify().returncode == 0
