"""A long life in short: every kind of call against a real sidecar, and its memory round by round.

The mix is what a busy day has: automatic changes, votes, rejections, refusals of all kinds, readers
of every kind, streams that come and go, callers who hang up.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import grpc
import grpc.aio

from governance.v1 import governance_service_pb2 as service
from governance.v1 import governance_service_pb2_grpc, mutation_pb2
from tests.load.memory import MEBIBYTE, resident_bytes
from tests.support.deployment import CALL_SECONDS_MAX, TENANT, Deployment, submission

CALLERS = 16
# Only the stubs' type file knows it.
AsyncStub: TypeAlias = "governance_service_pb2_grpc.GovernanceServiceAsyncStub"

SETTINGS = {
    # Small, so that they are full, and stay so, before anything is measured.
    "GOVERNOR_SNAPSHOT_BYTES_MAX": str(MEBIBYTE),
    "GOVERNOR_TAIL_BYTES_MAX": str(MEBIBYTE),
    "GOVERNOR_LOG_LEVEL": "error",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """How much the sidecar and its host held after so many calls."""

    calls: int
    sidecar_bytes: int
    host_bytes: int


def growth_bytes(samples: Sequence[Sample], *, per_calls: int) -> int:
    """How much the sidecar has grown from the first sample to the last, per so many calls."""
    first, last = samples[0], samples[-1]
    return (last.sidecar_bytes - first.sidecar_bytes) * per_calls // (last.calls - first.calls)


def run(home: Path, *, rounds: int, calls: int, writes: bool, seed: int) -> list[Sample]:
    """One sample after each round of about `calls` calls; the first one is the end of warming up.

    Without `writes` the ledger stays as it is, and so do the pages of it that SQLite keeps.
    """
    deployment = Deployment(home, SETTINGS)
    with deployment.host() as host, deployment.sidecar() as sidecar:

        def sample(done: int) -> Sample:
            return Sample(
                calls=done,
                sidecar_bytes=resident_bytes(sidecar.process.pid),
                host_bytes=resident_bytes(host.process.pid),
            )

        return asyncio.run(_live(deployment.target, rounds, calls, writes, seed, sample))


async def _live(
    target: str,
    rounds: int,
    calls: int,
    writes: bool,
    seed: int,
    sample: Callable[[int], Sample],
) -> list[Sample]:
    samples: list[Sample] = []
    done = 0
    async with grpc.aio.insecure_channel(
        target, [("grpc.default_authority", "localhost")]
    ) as channel:
        stub: AsyncStub = governance_service_pb2_grpc.GovernanceServiceStub(channel)
        day = Day(stub, random.Random(seed))
        await day.begin()
        for _ in range(rounds):
            done += await day.round(calls, day.deeds if writes else day.harmless)
            samples.append(sample(done))
    return samples


class Day:
    """What callers do, each deed a handful of calls."""

    def __init__(self, stub: AsyncStub, chance: random.Random) -> None:
        self._stub = stub
        self._chance = chance
        self._numbers = iter(range(10**9))
        self._calls = 0
        self._known = ""
        self.harmless: Sequence[Callable[[], Awaitable[None]]] = (
            self._read,
            self._list,
            self._break_a_rule,
            self._reuse_a_name,
            self._follow,
            self._wait_in_vain,
            self._hang_up,
            self._come_without_a_name,
        )
        self.deeds = (self._change, self._change, self._vote, self._reject, *self.harmless)

    async def begin(self) -> None:
        """Makes the one request that the harmless deeds are about."""
        answer = await self._call("Submit", submission("known", flag="known", wait_seconds=10))
        self._known = answer.request.id

    async def round(self, calls: int, deeds: Sequence[Callable[[], Awaitable[None]]]) -> int:
        """Many callers at once, until there were so many calls; answers how many there were."""
        before = self._calls

        async def caller() -> None:
            while self._calls - before < calls:
                with suppress(grpc.aio.AioRpcError):  # most deeds are meant to be refused
                    await self._chance.choice(deeds)()

        await asyncio.gather(*(caller() for _ in range(CALLERS)))
        return self._calls - before

    async def _call(self, rpc: str, request: Any, actor: str = "ann") -> Any:
        self._calls += 1
        call: Any = getattr(self._stub, rpc)
        return await call(request, timeout=CALL_SECONDS_MAX, metadata=_as(actor))

    def _fresh(self) -> str:
        return f"steady-{next(self._numbers)}"

    # --- What writes ----------------------------------------------------------------------------

    async def _change(self) -> None:
        name = self._fresh()
        request = submission(name, flag=f"flag-{self._chance.randrange(64)}", wait_seconds=10)
        await self._call("Submit", request)

    async def _pending(self) -> Any:
        name = self._fresh()
        request = submission(name, flag=name, risk=mutation_pb2.RISK_MEDIUM)
        return (await self._call("Submit", request)).request

    async def _vote(self) -> None:
        pending = await self._pending()
        for voter in ("ben", "cleo"):
            vote = service.ApproveRequest(
                request_id=self._fresh(),
                id=pending.id,
                request_digest=pending.request_digest,
                plan_digest=pending.approval.plan_digest,
            )
            await self._call("Approve", vote, voter)

    async def _reject(self) -> None:
        pending = await self._pending()
        vote = service.RejectRequest(
            request_id=self._fresh(),
            id=pending.id,
            request_digest=pending.request_digest,
            plan_digest=pending.approval.plan_digest,
        )
        vote.reason.code = "NO"
        await self._call("Reject", vote, "ben")

    # --- What leaves no trace -------------------------------------------------------------------

    async def _read(self) -> None:
        await self._call("GetRequest", service.GetRequestRequest(id=self._known))
        await self._call("GetRequest", service.GetRequestRequest(id=f"mr-{self._fresh()}"))

    async def _list(self) -> None:
        await self._call("ListRequests", service.ListRequestsRequest(tenant=TENANT, page_size=20))
        request = service.ListDecisionsRequest(page_size=20)
        request.filter.tenant = TENANT
        await self._call("ListDecisions", request)

    async def _break_a_rule(self) -> None:
        await self._call("Submit", submission("x" * 1_000, flag="bad"))

    async def _reuse_a_name(self) -> None:
        await self._call("Submit", submission("known", flag="another"))

    async def _come_without_a_name(self) -> None:
        await self._call("GetRequest", service.GetRequestRequest(id=self._known), "")

    async def _wait_in_vain(self) -> None:
        request = service.WaitRequestRequest(id=self._known, after_revision=2**40)
        request.timeout.FromMilliseconds(1)
        await self._call("WaitRequest", request)

    async def _hang_up(self) -> None:
        self._calls += 1
        request = service.WaitRequestRequest(id=self._known, after_revision=2**40)
        call: Any = self._stub.WaitRequest(request, timeout=CALL_SECONDS_MAX, metadata=_as("ann"))
        await asyncio.sleep(0)
        call.cancel()
        with suppress(asyncio.CancelledError):
            await call

    async def _follow(self) -> None:
        self._calls += 1
        request = service.StreamDecisionsRequest(after_revision=0)
        request.filter.tenant = TENANT
        stream: Any = self._stub.StreamDecisions(
            request, timeout=CALL_SECONDS_MAX, metadata=_as("ada")
        )
        for _ in range(self._chance.randrange(1, 5)):
            await stream.read()
        stream.cancel()


def _as(actor: str) -> tuple[tuple[str, str], ...]:
    return (("governor-actor", actor),)


def told(samples: Sequence[Sample]) -> Iterator[str]:
    """One line per sample, for people."""
    for one in samples:
        yield (
            f"{one.calls:,} calls: sidecar {one.sidecar_bytes / MEBIBYTE:.1f} MiB, "
            f"host {one.host_bytes / MEBIBYTE:.1f} MiB"
        )
