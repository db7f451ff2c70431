"""What is told of calls that come in: their span, their trace, and what they concern."""

from typing import Any

from governor.telemetry.calls import Call, inside
from governor.telemetry.providers import Telemetry
from governor.telemetry.traceparent import TRACEPARENT, TRACESTATE, canonical, parse
from governor.wire.identity import Context, Metadata


def observed(telemetry: Telemetry, method: str, metadata: Metadata) -> Call:
    """Begins to observe a call that came in."""
    parent = parse(_header(metadata, TRACEPARENT), _header(metadata, TRACESTATE))
    return telemetry.server_call(method, inside(parent))


def traceparent_of(call: Call | None, metadata: Metadata) -> str:
    """The call's own span, or its caller's where calls are not traced."""
    own = call.traceparent if call is not None else ""
    return own or canonical(_header(metadata, TRACEPARENT))


def annotate(call: Call, response: Any) -> None:
    """Ties the call to the request and execution in its answer."""
    request = getattr(response, "request", None)
    if request is not None:
        call.concerns(request_audit_id=request.request_audit_id)
    execution = getattr(response, "execution", None)
    if execution is not None:
        call.concerns(
            request_audit_id=execution.request_audit_id,
            execution_audit_id=execution.execution_audit_id,
        )


def metadata_of(context: Context) -> Metadata:
    """What came with the call."""
    return context.invocation_metadata() or ()  # type: ignore[return-value]  # the stubs know no tuple here


def _header(metadata: Metadata, name: str) -> str:
    """The one value of a header; one that comes twice says nothing."""
    values = [value for key, value in metadata if key == name]
    return values[0] if len(values) == 1 and isinstance(values[0], str) else ""
