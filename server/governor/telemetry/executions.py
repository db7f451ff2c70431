"""The trace of an execution: a root of its own, linked to the submission and the approvals, and of
a compensation to what it makes good.

A child span would have to wait, unfinished, for approvals that come days later and in another
process. A link is made from what is stored with the request, so it survives restarts.
"""

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.semconv.attributes.error_attributes import ERROR_TYPE
from opentelemetry.trace import Link, Span, SpanKind, StatusCode, Tracer

from governor.domain.compensation import Compensation
from governor.domain.execution import Execution, ExecutionStatus
from governor.domain.request import MutationRequest
from governor.telemetry.calls import EXECUTION_AUDIT_ID, REQUEST_AUDIT_ID
from governor.telemetry.traceparent import parse, text_of
from governor.usecases.ports import ExecutionTrace

EXECUTION_SPAN = "governor.execution"


class ExecutionSpans:
    """The port Tracing, with a tracer."""

    def __init__(self, tracer: Tracer) -> None:
        self._tracer = tracer

    def current_traceparent(self) -> str:
        return text_of(trace.get_current_span().get_span_context())

    def execution_started(self, request: MutationRequest) -> ExecutionTrace:
        origins = (
            request.traceparent,
            *request.progress.approval_traceparents,
            *request.compensated_traceparents,
        )
        contexts = (parse(origin) for origin in dict.fromkeys(origins))
        span = self._tracer.start_span(
            EXECUTION_SPAN,
            context=Context(),
            kind=SpanKind.INTERNAL,
            links=[Link(origin) for origin in contexts if origin is not None],
            attributes={
                REQUEST_AUDIT_ID: request.audit_id,
                "governor.mutation_request_id": request.id,
                "governor.mutation_type": request.content.mutation_type,
                "governor.tenant": request.tenant,
                **_compensation(request.content.compensation),
            },
        )
        return _ExecutionSpan(span)


def _compensation(compensation: Compensation | None) -> dict[str, str]:
    if compensation is None:
        return {}
    return {
        "governor.compensation.kind": compensation.kind.value,
        "governor.compensation.trigger": compensation.trigger.value,
        "governor.compensates.mutation_request_id": compensation.request_id,
        "governor.compensates.execution_id": compensation.execution_id,
    }


class _ExecutionSpan:
    def __init__(self, span: Span) -> None:
        self._span = span

    @property
    def traceparent(self) -> str:
        return text_of(self._span.get_span_context())

    def finish(self, execution: Execution) -> None:
        self._span.set_attributes(
            {
                EXECUTION_AUDIT_ID: execution.audit_id,
                "governor.execution_id": execution.id,
                "governor.execution.status": execution.status.value,
                "governor.execution.attempts": execution.attempts,
                "governor.execution.fencing_token": execution.fencing_token,
            }
        )
        # A refusal is an answer; only what nobody knows is an error of this execution.
        if execution.status is ExecutionStatus.IN_DOUBT:
            self._span.set_attribute(ERROR_TYPE, execution.status.value)
            self._span.set_status(StatusCode.ERROR)
        self._span.end()


class NoTracing:
    """The port Tracing while nothing is exported."""

    def current_traceparent(self) -> str:
        return ""

    def execution_started(self, request: MutationRequest) -> ExecutionTrace:  # noqa: ARG002  # the port's signature
        return NO_TRACE


class _NoTrace:
    @property
    def traceparent(self) -> str:
        return ""

    def finish(self, execution: Execution) -> None:
        """There is nothing to end."""


NO_TRACE = _NoTrace()
