"""A MutationEngine that answers what a test says, byte for byte, and keeps what it was asked."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
from google.protobuf import any_pb2
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2

from governance.v1 import mutation_engine_pb2 as engine
from governor.host.answers import STATUS_KEY

METHODS = ("GetCapabilities", "GetState", "ValidateMutation", "ApplyMutation", "LookupMutation")


@dataclass(frozen=True, slots=True, kw_only=True)
class Error:
    """An error status; with a reason it is signed with an ErrorInfo."""

    code: grpc.StatusCode
    reason: str | None = None
    domain: str = "governor"
    facts: Mapping[str, str] = field(default_factory=dict)
    retry_seconds: float | None = None
    details: bytes | None = None

    @property
    def trailing_metadata(self) -> tuple[tuple[str, bytes], ...]:
        if self.details is not None:
            return ((STATUS_KEY, self.details),)
        parts: list[Message] = []
        if self.reason is not None:
            parts.append(
                error_details_pb2.ErrorInfo(
                    domain=self.domain, reason=self.reason, metadata=self.facts
                )
            )
        if self.retry_seconds is not None:
            retry = error_details_pb2.RetryInfo()
            retry.retry_delay.FromNanoseconds(round(self.retry_seconds * 1e9))
            parts.append(retry)
        if not parts:
            return ()
        status = status_pb2.Status(code=self.code.value[0])
        for part in parts:
            packed = any_pb2.Any()
            packed.Pack(part)
            status.details.append(packed)
        return ((STATUS_KEY, status.SerializeToString()),)


@dataclass(frozen=True, slots=True)
class Silence:
    """No answer, ever."""


Reply = Message | bytes | Error | Silence


@dataclass
class Asked:
    """One call as it arrived."""

    method: str
    data: bytes
    metadata: dict[str, str]
    has_deadline: bool


@dataclass
class ScriptedEngine:
    """Each method gives its replies in turn, the last one for ever."""

    replies: dict[str, deque[Reply]] = field(default_factory=dict)
    asked: list[Asked] = field(default_factory=list)
    arrived: asyncio.Event = field(default_factory=asyncio.Event)
    target: str = ""

    def reply(self, method: str, *replies: Reply) -> None:
        self.replies[method] = deque(replies)

    def last(self, method: str) -> Asked:
        return [asked for asked in self.asked if asked.method == method][-1]

    async def answer(self, method: str, data: bytes, context: Any) -> bytes:
        metadata = dict(context.invocation_metadata())
        self.asked.append(
            Asked(method, data, metadata, has_deadline=context.time_remaining() is not None)
        )
        self.arrived.set()
        replies = self.replies[method]
        reply = replies.popleft() if len(replies) > 1 else replies[0]
        match reply:
            case Silence():
                await asyncio.Event().wait()
                raise AssertionError("unreachable")
            case Error():
                await context.abort(reply.code, "the host's words", reply.trailing_metadata)
                raise AssertionError("abort raises")
            case bytes():
                return reply
            case _:
                return reply.SerializeToString()


CAPABLE = engine.GetCapabilitiesResponse(
    contract_version="governance.v1",
    exactly_once=True,
    compare_and_apply=True,
    lineage_id="lineage-1",
    host_name="flags",
)


@asynccontextmanager
async def scripted_engine(
    path: Path, script: ScriptedEngine | None = None
) -> AsyncIterator[ScriptedEngine]:
    """Serves the script on a unix socket."""
    scripted = script or ScriptedEngine()
    scripted.replies.setdefault("GetCapabilities", deque([CAPABLE]))

    def handler(method: str) -> Any:
        async def handle(data: bytes, context: Any) -> bytes:
            return await scripted.answer(method, data, context)

        return grpc.unary_unary_rpc_method_handler(handle)

    server = grpc.aio.server()
    handlers = {method: handler(method) for method in METHODS}
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler("governance.v1.MutationEngine", handlers),)
    )
    scripted.target = f"unix:{path}"
    server.add_insecure_port(scripted.target)
    await server.start()
    try:
        yield scripted
    finally:
        await server.stop(None)
