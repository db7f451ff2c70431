"""Spans and durations of calls, in and out, by the current RPC conventions of OpenTelemetry."""

import time
from collections.abc import Mapping
from contextvars import Token
from functools import lru_cache
from typing import Final

from opentelemetry import context, trace
from opentelemetry.context import Context
from opentelemetry.metrics import Histogram
from opentelemetry.semconv._incubating.attributes.rpc_attributes import (
    RPC_METHOD,
    RPC_RESPONSE_STATUS_CODE,
    RPC_SYSTEM_NAME,
    RpcSystemNameValues,
)
from opentelemetry.semconv.attributes.error_attributes import ERROR_TYPE
from opentelemetry.trace import Span, SpanContext, SpanKind, StatusCode, Tracer

from governor.telemetry.traceparent import text_of

REQUEST_AUDIT_ID: Final = "governor.request_audit_id"
EXECUTION_AUDIT_ID: Final = "governor.execution_audit_id"

OK: Final = "OK"
SERVER_FAULTS: Final = frozenset(
    {"UNKNOWN", "DEADLINE_EXCEEDED", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS"}
)
"""The codes that the conventions hold against a server; the others are answers."""


@lru_cache(maxsize=1024)
def attributes_of(method: str, code: str, *, is_fault: bool) -> Mapping[str, str]:
    """What the duration of a call is told by."""
    attributes = {
        RPC_SYSTEM_NAME: RpcSystemNameValues.GRPC.value,
        RPC_METHOD: method,
        RPC_RESPONSE_STATUS_CODE: code,
    }
    return attributes | {ERROR_TYPE: code} if is_fault else attributes


class Call:
    """One call under observation, from its construction to `end`."""

    __slots__ = ("_duration", "_kind", "_method", "_span", "_started", "_token")

    def __init__(
        self,
        method: str,
        kind: SpanKind,
        *,
        tracer: Tracer | None,
        duration: Histogram | None,
        parent: Context | None,
    ) -> None:
        self._method = method
        self._kind = kind
        self._duration = duration
        self._started = time.perf_counter()
        self._span: Span | None = None
        self._token: Token[Context] | None = None
        if tracer is not None:
            self._span = tracer.start_span(
                method,
                context=parent,
                kind=kind,
                attributes={
                    RPC_SYSTEM_NAME: RpcSystemNameValues.GRPC.value,
                    RPC_METHOD: method,
                },
            )
            if kind is SpanKind.SERVER:
                self._token = context.attach(trace.set_span_in_context(self._span, parent))

    @property
    def span_context(self) -> SpanContext:
        """Of the call's own span."""
        return trace.INVALID_SPAN_CONTEXT if self._span is None else self._span.get_span_context()

    @property
    def traceparent(self) -> str:
        """Of the call's own span; empty when calls are not traced."""
        return text_of(self.span_context)

    def concerns(self, *, request_audit_id: str = "", execution_audit_id: str = "") -> None:
        """Ties the span to what it is about."""
        if self._span is None:
            return
        if request_audit_id:
            self._span.set_attribute(REQUEST_AUDIT_ID, request_audit_id)
        if execution_audit_id:
            self._span.set_attribute(EXECUTION_AUDIT_ID, execution_audit_id)

    def end_span(self, code: str) -> None:
        """Ends the span before the call; what comes later is told by its duration alone."""
        if self._span is not None:
            is_fault = self._is_fault(code)
            self._span.set_attributes(attributes_of(self._method, code, is_fault=is_fault))
            if is_fault:
                self._span.set_status(StatusCode.ERROR)
            self._span.end()
            self._span = None
        if self._token is not None:
            context.detach(self._token)
            self._token = None

    def end(self, code: str) -> None:
        """The call was answered with this status code. To be called where it was constructed."""
        self.end_span(code)
        if self._duration is not None:
            attributes = attributes_of(self._method, code, is_fault=self._is_fault(code))
            self._duration.record(time.perf_counter() - self._started, attributes)

    def _is_fault(self, code: str) -> bool:
        return code != OK if self._kind is SpanKind.CLIENT else code in SERVER_FAULTS


def inside(parent: SpanContext | None) -> Context:
    """The context of a remote parent; one without any span when there is none."""
    if parent is None:
        return Context()
    return trace.set_span_in_context(trace.NonRecordingSpan(parent), Context())
