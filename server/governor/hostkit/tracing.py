"""Server spans by the current RPC conventions, in a process that has a tracer."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Final, Protocol, TypeAlias

import grpc
import grpc.aio
from google.protobuf.message import Message
from opentelemetry import propagate, trace
from opentelemetry.trace import NoOpTracerProvider, ProxyTracerProvider, SpanKind, StatusCode

from governance.v1 import mutation_engine_pb2

ServicerContext: TypeAlias = grpc.aio.ServicerContext[Any, Any]

# What the conventions call a fault of the server; the other codes are answers.
_FAULTS: Final = frozenset(
    {
        grpc.StatusCode.UNKNOWN,
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.UNIMPLEMENTED,
        grpc.StatusCode.INTERNAL,
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.DATA_LOSS,
    }
)


class CallSpan(Protocol):
    """The span of one call, to be told how the call was answered."""

    def answered(self, response: Message) -> None: ...

    def failed(self, code: grpc.StatusCode) -> None: ...


class Tracing(Protocol):
    """Makes a span for each call."""

    def call(
        self, method: str, request: Message, context: ServicerContext
    ) -> AbstractContextManager[CallSpan]: ...


class Traced:
    """Spans are children of the caller's, where the call's metadata name one."""

    def __init__(self, tracer: trace.Tracer) -> None:
        self._tracer = tracer

    @contextmanager
    def call(self, method: str, request: Message, context: ServicerContext) -> Iterator[CallSpan]:
        metadata = context.invocation_metadata() or ()
        carrier = {key: value for key, value in metadata if isinstance(value, str)}
        attributes = {"rpc.system.name": "grpc", "rpc.method": method}
        if isinstance(request, mutation_engine_pb2.ApplyMutationRequest):
            attributes["governor.request_audit_id"] = request.request_audit_id
            attributes["governor.execution_audit_id"] = request.execution_audit_id
        with self._tracer.start_as_current_span(
            method,
            context=propagate.extract(carrier),
            kind=SpanKind.SERVER,
            attributes=attributes,
            record_exception=False,
            set_status_on_exception=False,
        ) as span:
            yield _TracedCall(span)


class _TracedCall:
    def __init__(self, span: trace.Span) -> None:
        self._span = span

    def answered(self, response: Message) -> None:
        self._span.set_attribute("rpc.response.status_code", grpc.StatusCode.OK.name)
        if isinstance(response, mutation_engine_pb2.ApplyMutationResponse):
            self._span.set_attribute("governor.outcome", response.WhichOneof("outcome") or "")
            self._span.set_attribute("governor.replayed", response.replayed)

    def failed(self, code: grpc.StatusCode) -> None:
        self._span.set_attribute("rpc.response.status_code", code.name)
        self._span.set_attribute("error.type", code.name)
        if code in _FAULTS:
            self._span.set_status(StatusCode.ERROR)


class Untraced:
    """One object for every call of a process without a tracer."""

    def call(self, method: str, request: Message, context: ServicerContext) -> "Untraced":
        return self

    def __enter__(self) -> "Untraced":
        return self

    def __exit__(self, *exception: object) -> None:
        return None

    def answered(self, response: Message) -> None:
        return None

    def failed(self, code: grpc.StatusCode) -> None:
        return None


def configured_tracing() -> Tracing:
    """Trace only if the process has set a tracer provider by now; otherwise calls cost nothing."""
    provider = trace.get_tracer_provider()
    if isinstance(provider, NoOpTracerProvider | ProxyTracerProvider):
        return Untraced()
    return Traced(provider.get_tracer("governor.hostkit"))
