"""The real server on a unix socket, with handlers of the test's own behind the real pipeline."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import grpc
import grpc.aio
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2

from governance.v1 import governance_service_pb2_grpc
from governor.config.listener import Listener
from governor.telemetry.providers import OFF, Telemetry
from governor.usecases.app import App
from governor.wire.errors import STATUS_KEY
from governor.wire.identity import ACTOR_KEY, DevelopmentIdentity
from governor.wire.limits import WireLimits
from governor.wire.rpcs import Streaming, Unary
from governor.wire.server import GovernorServer

CALL_SECONDS_MAX = 10.0
ALICE = ((ACTOR_KEY, "alice"),)
INCIDENT = "incident-1"


class ClosableTail:
    """As much of the application as draining touches: streams wait here for its end."""

    def __init__(self) -> None:
        self.closed = asyncio.Event()

    def close(self) -> None:
        self.closed.set()


@dataclass
class Served:
    """A running server and a channel to it."""

    server: GovernorServer
    channel: grpc.aio.Channel
    tail: ClosableTail

    @property
    def stub(self) -> "governance_service_pb2_grpc.GovernanceServiceAsyncStub":
        return governance_service_pb2_grpc.GovernanceServiceStub(self.channel)

    async def call(
        self, rpc: str, request: Message, *, metadata: Sequence[tuple[str, str]] = ALICE
    ) -> Any:
        """Any unary call, as alice unless said otherwise."""
        stub: Any = getattr(self.stub, rpc)
        return await stub(request, metadata=metadata, timeout=CALL_SECONDS_MAX)

    def raw(self, rpc: str) -> Any:
        """An RPC that sends and takes plain bytes."""
        return self.channel.unary_unary(f"/governance.v1.GovernanceService/{rpc}")


@asynccontextmanager
async def serving(
    folder: Path,
    *,
    calls: Sequence[Unary] = (),
    streams: Sequence[Streaming] = (),
    bounds: WireLimits | None = None,
    telemetry: Telemetry = OFF,
    options: Sequence[tuple[str, int]] = (),
    reflection: bool = False,
    app: App | None = None,
) -> AsyncIterator[Served]:
    """Starts, lets the test play, and drains. Without an `app` the handlers need none."""
    tail = ClosableTail()
    store = SimpleNamespace(head=SimpleNamespace(revision=100))
    server = GovernorServer(
        app or cast("App", SimpleNamespace(tail=tail, store=store)),
        listener=Listener(path=folder / "governor.sock"),
        authenticator=DevelopmentIdentity(),
        incident_id=lambda: INCIDENT,
        telemetry=telemetry,
        bounds=bounds,
        reflection=reflection,
        calls=calls,
        streams=streams,
    )
    await server.start()
    authority = ("grpc.default_authority", "localhost")
    try:
        async with grpc.aio.insecure_channel(
            server.address, options=[authority, *options]
        ) as channel:
            yield Served(server, channel, tail)
    finally:
        await server.drain(0.2)


@dataclass
class Told:
    """What a failed call was told."""

    code: grpc.StatusCode
    message: str
    info: error_details_pb2.ErrorInfo
    bad_request: error_details_pb2.BadRequest
    precondition: error_details_pb2.PreconditionFailure
    retry: error_details_pb2.RetryInfo | None

    @property
    def fields(self) -> list[str]:
        return [violation.field for violation in self.bad_request.field_violations]


def told(error: grpc.aio.AioRpcError) -> Told:
    """Takes the details of an error apart."""
    details = dict(error.trailing_metadata() or ())[STATUS_KEY]
    assert isinstance(details, bytes)
    return told_in(details)


def told_in(details: bytes) -> Told:
    """Takes a serialised google.rpc.Status apart."""
    status = status_pb2.Status.FromString(details)
    info, bad_request = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest()
    precondition, retry = error_details_pb2.PreconditionFailure(), error_details_pb2.RetryInfo()
    is_retry_told = False
    for detail in status.details:
        detail.Unpack(info)
        detail.Unpack(bad_request)
        detail.Unpack(precondition)
        is_retry_told = detail.Unpack(retry) or is_retry_told
    by_number = {code.value[0]: code for code in grpc.StatusCode}
    return Told(
        code=by_number[status.code],
        message=status.message,
        info=info,
        bad_request=bad_request,
        precondition=precondition,
        retry=retry if is_retry_told else None,
    )
