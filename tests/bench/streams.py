"""How fast decisions are streamed: a subscriber reads a long ledger from its beginning."""

import subprocess
import sys
import time
from pathlib import Path

import grpc
from rich.console import Console
from rich.table import Table

from governance.v1 import governance_service_pb2 as service
from governance.v1 import governance_service_pb2_grpc as stubs
from tests.bench import processes
from tests.bench.generator import Plan
from tests.bench.messages import submit_template

LEDGER_SECONDS = 4.0
SUBSCRIBERS = (1, 4)


def report(console: Console, home: Path, echo_per_second: float) -> None:
    """Prints the messages per second that one and several subscribers are sent."""
    table = Table(title="StreamDecisions, from the oldest", title_justify="left", min_width=90)
    for column in ("subscribers", "messages", "messages/s", "x echo at 64"):
        table.add_column(column, justify="right")
    with processes.sidecar(home / "streams", host=None) as target:
        plan = Plan(
            target=target,
            path="/governance.v1.GovernanceService/Submit",
            message_hex=submit_template(on_execute=True, wait=False).hex(),
            callers=64,
            seconds=LEDGER_SECONDS,
            metadata={"governor-actor": "bench"},
        )
        processes.generate(plan)
        for count in SUBSCRIBERS:
            messages, seconds = _read_by(count, target)
            rate = messages / seconds
            table.add_row(
                str(count), f"{messages:,}", f"{rate:,.0f}", f"{rate / echo_per_second:.2f}"
            )
    console.print(table)


def _read_by(count: int, target: str) -> tuple[int, float]:
    """All messages that `count` subscribers, each a process, were sent, and how long it took."""
    begun = time.perf_counter()
    readers = [
        subprocess.Popen(
            [sys.executable, "-m", "tests.bench.streams", target],
            cwd=processes.REPOSITORY,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(count)
    ]
    messages, slowest = 0, 0.0
    for reader in readers:
        printed, _ = reader.communicate()
        read, seconds = printed.split()
        messages += int(read)
        slowest = max(slowest, float(seconds))
    return messages, slowest or time.perf_counter() - begun


def read_everything(target: str) -> tuple[int, float]:
    """Reads from the oldest decision until the stream says that it has caught up."""
    with grpc.insecure_channel(target, [("grpc.default_authority", "localhost")]) as channel:
        stub = stubs.GovernanceServiceStub(channel)
        request = service.StreamDecisionsRequest(
            after_revision=0, filter=service.DecisionFilter(tenant="bench")
        )
        begun, messages = time.perf_counter(), 0
        stream = stub.StreamDecisions(request, timeout=120, metadata=(("governor-actor", "bench"),))
        for message in stream:
            if message.HasField("caught_up"):
                stream.cancel()
                break
            messages += 1
        return messages, time.perf_counter() - begun


if __name__ == "__main__":
    read, seconds = read_everything(sys.argv[1])
    sys.stdout.write(f"{read} {seconds}")
