"""Many large submissions at once, from a process of its own: what was answered, and what refused.

Run as `python -m tests.load.flood`, with a JSON Flood on standard input; prints a JSON Outcome.
"""

import asyncio
import json
import subprocess
import sys
from collections import Counter
from dataclasses import asdict, dataclass, field
from typing import TypeAlias

import grpc
import grpc.aio
from google.rpc import error_details_pb2, status_pb2

from governance.v1 import governance_service_pb2 as service
from governance.v1 import governance_service_pb2_grpc, mutation_pb2
from governor.wire.errors import STATUS_KEY
from tests.support.deployment import REPOSITORY, TENANT, Client, submission

CALL_SECONDS_MAX = 60.0
# Only the stubs' type file knows it.
AsyncStub: TypeAlias = "governance_service_pb2_grpc.GovernanceServiceAsyncStub"


@dataclass(frozen=True, slots=True, kw_only=True)
class Flood:
    """How hard: `callers` at once on each of some connections, `calls` in all."""

    target: str
    connections: int
    callers: int
    calls: int
    payload_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What came back. `refused` counts by bound, of refusals with RetryInfo; `odd` is the rest."""

    answered: dict[str, str] = field(default_factory=dict)
    refused: dict[str, int] = field(default_factory=dict)
    odd: list[str] = field(default_factory=list)


def run(flood: Flood) -> Outcome:
    """Floods from a process of its own, so that no memory of the client's is counted."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.load.flood"],
        cwd=REPOSITORY,
        input=json.dumps(asdict(flood)),
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return Outcome(**json.loads(done.stdout))


def requests_of(client: Client) -> set[str]:
    """The ids of all requests there are."""
    found: set[str] = set()
    token = ""
    while True:
        page = client.call(
            "ListRequests",
            service.ListRequestsRequest(tenant=TENANT, page_size=500, page_token=token),
        )
        found.update(request.id for request in page.requests)
        token = page.next_page_token
        if not token:
            return found


async def _pour(flood: Flood) -> Outcome:
    answered: dict[str, str] = {}
    refused: Counter[str] = Counter()
    odd: list[str] = []
    numbers = iter(range(flood.calls))
    payload = b"x" * flood.payload_bytes

    async def call(stub: "AsyncStub") -> None:
        for number in numbers:
            name = f"flood-{number}"
            request = submission(name, flag=name, risk=mutation_pb2.RISK_MEDIUM)
            request.mutation.payload.data = payload
            try:
                answer = await stub.Submit(
                    request, timeout=CALL_SECONDS_MAX, metadata=(("governor-actor", "ann"),)
                )
            except grpc.aio.AioRpcError as error:
                bound = _bound(error)
                if bound:
                    refused[bound] += 1
                else:
                    odd.append(f"{error.code().name}: {error.details()}")
            else:
                answered[name] = answer.request.id

    async def connect() -> None:
        options = (("grpc.default_authority", "localhost"), ("grpc.use_local_subchannel_pool", 1))
        async with grpc.aio.insecure_channel(flood.target, options) as channel:
            stub: AsyncStub = governance_service_pb2_grpc.GovernanceServiceStub(channel)
            await asyncio.gather(*(call(stub) for _ in range(flood.callers)))

    await asyncio.gather(*(connect() for _ in range(flood.connections)))
    return Outcome(answered=answered, refused=dict(refused), odd=odd)


def _bound(error: grpc.aio.AioRpcError) -> str:
    """The bound that a call met, if it was told one together with when to come again."""
    details = dict(error.trailing_metadata() or ()).get(STATUS_KEY, b"")
    if error.code() is not grpc.StatusCode.RESOURCE_EXHAUSTED or not isinstance(details, bytes):
        return ""
    info, retry = error_details_pb2.ErrorInfo(), error_details_pb2.RetryInfo()
    unpacked = [
        detail.Unpack(info) or detail.Unpack(retry)
        for detail in status_pb2.Status.FromString(details).details
    ]
    bound: str = info.metadata.get("bound", "")
    return bound if len(unpacked) > 1 and retry.ByteSize() else ""


if __name__ == "__main__":
    outcome = asyncio.run(_pour(Flood(**json.loads(sys.stdin.read()))))
    sys.stdout.write(json.dumps(asdict(outcome)))
