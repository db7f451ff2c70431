"""A small OpenTelemetry collector: receives spans over OTLP/gRPC and keeps them in memory."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, Final

import grpc
import grpc.aio
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2 as otlp
from opentelemetry.proto.common.v1.common_pb2 import KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span as WireSpan

SERVICE: Final = "opentelemetry.proto.collector.trace.v1.TraceService"
SPANS_MAX: Final = 50_000
SPANS_SECONDS_MAX: Final = 10.0
SERVICE_NAME: Final = "service.name"


class Kind(IntEnum):
    """As OTLP numbers them."""

    UNSPECIFIED = 0
    INTERNAL = 1
    SERVER = 2
    CLIENT = 3
    PRODUCER = 4
    CONSUMER = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class SpanRef:
    """Names one span, as parents and links do. Both ids in hex."""

    trace_id: str
    span_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """One span as it was received; `service` is the process it comes from."""

    service: str
    ref: SpanRef
    parent: SpanRef | None
    name: str
    kind: Kind
    start_nanos: int
    end_nanos: int
    attributes: Mapping[str, str]
    links: tuple[SpanRef, ...]

    @property
    def milliseconds(self) -> float:
        return (self.end_nanos - self.start_nanos) / 1e6


class Collector:
    """What has been received so far."""

    def __init__(self) -> None:
        self.endpoint = ""
        self._spans: dict[SpanRef, Span] = {}
        self._grew = asyncio.Condition()

    @property
    def spans(self) -> Sequence[Span]:
        return tuple(self._spans.values())

    async def until(self, enough: Callable[[Sequence[Span]], bool]) -> Sequence[Span]:
        """The spans as soon as they are `enough`, or those there are in the end."""
        try:
            async with asyncio.timeout(SPANS_SECONDS_MAX), self._grew:
                await self._grew.wait_for(lambda: enough(self.spans))
        except TimeoutError:
            pass  # The caller says what is missing better than a time-out could.
        return self.spans

    async def export(
        self,
        request: otlp.ExportTraceServiceRequest,
        _: grpc.aio.ServicerContext[Any, Any],
    ) -> otlp.ExportTraceServiceResponse:
        """The one RPC of the service."""
        for resource_spans in request.resource_spans:
            service = _attributes(resource_spans.resource.attributes).get(SERVICE_NAME, "")
            for scope_spans in resource_spans.scope_spans:
                for span in map(_span, [service] * len(scope_spans.spans), scope_spans.spans):
                    if len(self._spans) < SPANS_MAX:
                        self._spans[span.ref] = span
        async with self._grew:
            self._grew.notify_all()
        return otlp.ExportTraceServiceResponse()


@asynccontextmanager
async def collecting() -> AsyncIterator[Collector]:
    """A collector on a free loopback port, until the block ends."""
    collector = Collector()
    server = grpc.aio.server()
    handler = grpc.unary_unary_rpc_method_handler(
        collector.export,
        request_deserializer=otlp.ExportTraceServiceRequest.FromString,
        response_serializer=otlp.ExportTraceServiceResponse.SerializeToString,
    )
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler(SERVICE, {"Export": handler}),)
    )
    port = server.add_insecure_port("127.0.0.1:0")
    collector.endpoint = f"http://127.0.0.1:{port}"
    await server.start()
    try:
        yield collector
    finally:
        await server.stop(None)


def _span(service: str, span: WireSpan) -> Span:
    trace_id = span.trace_id.hex()
    parent_id = span.parent_span_id.hex()
    return Span(
        service=service,
        ref=SpanRef(trace_id=trace_id, span_id=span.span_id.hex()),
        parent=SpanRef(trace_id=trace_id, span_id=parent_id) if parent_id else None,
        name=span.name,
        kind=Kind(span.kind),
        start_nanos=span.start_time_unix_nano,
        end_nanos=span.end_time_unix_nano,
        attributes=_attributes(span.attributes),
        links=tuple(
            SpanRef(trace_id=link.trace_id.hex(), span_id=link.span_id.hex()) for link in span.links
        ),
    )


def _attributes(pairs: Sequence[KeyValue]) -> dict[str, str]:
    found = {}
    for pair in pairs:
        kind = pair.value.WhichOneof("value")
        found[pair.key] = str(getattr(pair.value, kind)) if kind else ""
    return found
