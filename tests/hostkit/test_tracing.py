"""A host's spans join the caller's trace and say how the call ended."""

from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from governor.hostkit.tracing import Traced, Untraced, configured_tracing
from tests.hostkit.support import Caller, apply_request, running

TRACE_ID = "0af7651916cd43dd8448eb211c80319c"
SPAN_ID = "b7ad6b7169203331"
METADATA = (("traceparent", f"00-{TRACE_ID}-{SPAN_ID}-01"),)
APPLY = "governance.v1.MutationEngine/ApplyMutation"


@pytest.fixture
def exporter() -> InMemorySpanExporter:
    return InMemorySpanExporter()


@pytest.fixture
async def host(tmp_path: Path, exporter: InMemorySpanExporter) -> AsyncIterator[Caller]:
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    async with running(tmp_path, tracing=Traced(provider.get_tracer("test"))) as caller:
        yield caller


async def test_an_apply_is_a_span_under_the_callers(
    host: Caller, exporter: InMemorySpanExporter
) -> None:
    await host.stub.ApplyMutation(apply_request(), timeout=5, metadata=METADATA)

    (span,) = exporter.get_finished_spans()
    assert span.name == APPLY
    assert span.kind is SpanKind.SERVER
    assert span.parent is not None
    assert f"{span.parent.span_id:016x}" == SPAN_ID
    assert f"{span.context.trace_id:032x}" == TRACE_ID
    assert span.attributes == {
        "rpc.system.name": "grpc",
        "rpc.method": APPLY,
        "rpc.response.status_code": "OK",
        "governor.request_audit_id": "request-audit-1",
        "governor.execution_audit_id": "execution-audit-1",
        "governor.outcome": "applied",
        "governor.replayed": False,
    }


async def test_a_refused_call_is_no_fault_of_the_server(
    host: Caller, exporter: InMemorySpanExporter
) -> None:
    with pytest.raises(grpc.aio.AioRpcError):
        await host.apply(apply_request(token=0))

    (span,) = exporter.get_finished_spans()
    assert span.attributes is not None
    assert span.attributes["rpc.response.status_code"] == "INVALID_ARGUMENT"
    assert span.attributes["error.type"] == "INVALID_ARGUMENT"
    assert span.status.status_code is StatusCode.UNSET


async def test_a_fault_marks_the_span_without_the_exceptions_text(
    host: Caller, exporter: InMemorySpanExporter
) -> None:
    with pytest.raises(grpc.aio.AioRpcError):
        await host.apply(apply_request(mutation_type="counter.lose_transaction"))

    (span,) = exporter.get_finished_spans()
    assert span.attributes is not None
    assert span.attributes["rpc.response.status_code"] == "INTERNAL"
    assert span.status.status_code is StatusCode.ERROR
    assert span.events == ()


async def test_a_process_without_a_tracer_makes_no_spans() -> None:
    assert isinstance(configured_tracing(), Untraced)
