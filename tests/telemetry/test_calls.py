"""Spans and durations of calls follow the conventions; with nothing configured there are none."""

import asyncio
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest
from google.protobuf.message import Message
from opentelemetry import trace
from opentelemetry.trace import SpanKind, StatusCode

from governance.v1 import execution_pb2
from governance.v1 import governance_service_pb2 as wire
from governance.v1 import mutation_engine_pb2 as engine
from governor.domain.errors import NotFound, StoreUnavailable
from governor.host import HostClient
from governor.telemetry.providers import OFF, Telemetry
from governor.telemetry.traceparent import parse
from governor.usecases.app import App
from governor.usecases.commands import Caller, Heartbeat
from governor.usecases.ports import Order
from governor.wire.limits import WireLimits
from governor.wire.reading import Item, frame
from governor.wire.rpcs import Streaming, Unary
from tests.host.scripted_engine import Error, scripted_engine
from tests.support.builders import make_execution, make_request
from tests.telemetry.recorded import Recorded, recorded
from tests.wire.serving import ALICE, serving

METHOD = "governance.v1.GovernanceService/Execute"
APPLY = "governance.v1.MutationEngine/ApplyMutation"
REMOTE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
ASKED = wire.ExecuteRequest(request_id="call-1", id="mr-1")


def executing(error: Exception | None = None) -> Unary:
    async def handle(app: App, caller: Caller, request: Message) -> Message:
        if error is not None:
            raise error
        response = wire.ExecuteResponse()
        response.request.request_audit_id = "au-request"
        response.request.traceparent = caller.traceparent
        response.execution.request_audit_id = "au-request"
        response.execution.execution_audit_id = "au-execution"
        return response

    return Unary(name="Execute", request=wire.ExecuteRequest, handle=handle)


async def called(
    folder: Path, telemetry: Telemetry, rpc: Unary, *, traceparent: str = REMOTE
) -> wire.ExecuteResponse | None:
    async with serving(folder, calls=[rpc], telemetry=telemetry) as served:
        try:
            answer: wire.ExecuteResponse = await served.call(
                "Execute", ASKED, metadata=(*ALICE, ("traceparent", traceparent))
            )
        except grpc.aio.AioRpcError:
            return None
        return answer


async def test_a_call_is_one_server_span_below_its_caller(tmp_path: Path) -> None:
    told = recorded()
    answer = await called(tmp_path, told.telemetry, executing())
    span = told.span(METHOD)
    assert span.kind is SpanKind.SERVER
    assert span.parent == parse(REMOTE)
    assert dict(span.attributes or {}) == {
        "rpc.system.name": "grpc",
        "rpc.method": METHOD,
        "rpc.response.status_code": "OK",
        "governor.request_audit_id": "au-request",
        "governor.execution_audit_id": "au-execution",
    }
    assert span.status.status_code is StatusCode.UNSET
    assert answer is not None
    assert span.context is not None
    own = answer.request.traceparent.split("-")
    assert own[1:3] == [f"{span.context.trace_id:032x}", f"{span.context.span_id:016x}"]


async def test_a_call_without_a_caller_to_name_begins_a_trace(tmp_path: Path) -> None:
    told = recorded()
    await called(tmp_path, told.telemetry, executing(), traceparent="00-garbage")
    assert told.span(METHOD).parent is None


@pytest.mark.parametrize(
    ("error", "code", "is_fault"),
    [
        (NotFound("mutation request", "mr-1"), "NOT_FOUND", False),
        (StoreUnavailable("no"), "UNAVAILABLE", True),
        (RuntimeError("no"), "INTERNAL", True),
    ],
)
async def test_only_faults_of_the_server_are_errors_of_its_spans(
    tmp_path: Path, error: Exception, code: str, is_fault: bool
) -> None:
    told = recorded()
    await called(tmp_path, told.telemetry, executing(error))
    span = told.span(METHOD)
    attributes = dict(span.attributes or {})
    assert attributes["rpc.response.status_code"] == code
    assert attributes.get("error.type") == (code if is_fault else None)
    assert (span.status.status_code is StatusCode.ERROR) == is_fault
    assert not span.events, "no exception's text leaves in a span"


async def test_a_call_that_is_turned_away_unread_is_told_like_any_other(tmp_path: Path) -> None:
    told = recorded()
    nobody = WireLimits(calls_running_max=0)
    async with serving(
        tmp_path, calls=[executing()], telemetry=told.telemetry, bounds=nobody
    ) as served:
        with pytest.raises(grpc.aio.AioRpcError):
            await served.call("Execute", ASKED, metadata=(*ALICE, ("traceparent", REMOTE)))
    span = told.span(METHOD)
    assert span.parent == parse(REMOTE)
    assert dict(span.attributes or {})["rpc.response.status_code"] == "RESOURCE_EXHAUSTED"


async def test_the_duration_has_the_attributes_of_the_span(tmp_path: Path) -> None:
    told = recorded()
    await called(tmp_path, told.telemetry, executing(StoreUnavailable("no")))
    (point,) = told.points("rpc.server.call.duration")
    assert told.unit("rpc.server.call.duration") == "s"
    assert point.count == 1
    assert dict(point.attributes) == {
        "rpc.system.name": "grpc",
        "rpc.method": METHOD,
        "rpc.response.status_code": "UNAVAILABLE",
        "error.type": "UNAVAILABLE",
    }


async def test_untraced_calls_hand_their_callers_trace_on(tmp_path: Path) -> None:
    """The execution is linked to it days later, whoever records."""
    answer = await called(tmp_path, OFF, executing())
    assert answer is not None
    assert answer.request.traceparent == REMOTE


async def test_a_stream_holds_no_span_while_it_lasts(tmp_path: Path) -> None:
    told = recorded()
    inside: list[bool] = []

    async def follow(app: App, caller: Caller, request: Message) -> AsyncGenerator[Item, None]:
        for revision in (1, 2):
            inside.append(trace.get_current_span().get_span_context().is_valid)
            yield Heartbeat(revision=revision)  # type: ignore[arg-type]  # any number does
        await asyncio.Event().wait()

    rpc = Streaming(
        name="StreamDecisions", request=wire.StreamDecisionsRequest, follow=follow, frame=frame
    )
    async with serving(tmp_path, streams=[rpc], telemetry=told.telemetry) as served:
        asked = wire.StreamDecisionsRequest(filter=wire.DecisionFilter(tenant="acme"))
        stream = served.stub.StreamDecisions(asked, metadata=ALICE, timeout=10)
        await stream.read()
        await stream.read()
        opened = told.span("governance.v1.GovernanceService/StreamDecisions")
        assert dict(opened.attributes or {})["rpc.response.status_code"] == "OK"
        assert told.points("governor.streams.open")[0].value == 1
        assert told.points("governor.streams.lag")[0].value == 98
    assert inside == [True, False]
    (point,) = told.points("rpc.server.call.duration")
    assert point.attributes["rpc.response.status_code"] == "CANCELLED"


# --- Calls to the host --------------------------------------------------------------------------


async def ordered(folder: Path, told: Recorded, reply: Any) -> str:
    """Orders with a trace; answers the traceparent that reached the host."""
    request = make_request()
    async with scripted_engine(folder / "host.sock") as script:
        client = HostClient(script.target, call_seconds_max=5, telemetry=told.telemetry)
        script.reply("ApplyMutation", reply)
        order = Order(request=request, execution=make_execution(request))
        await client.apply(order, traceparent=REMOTE)
        await client.close()
        return script.last("ApplyMutation").metadata["traceparent"]


async def test_an_order_is_a_client_span_below_the_execution(tmp_path: Path) -> None:
    told = recorded()
    applied = engine.ApplyMutationResponse(applied=execution_pb2.Applied(resulting_version="2"))
    sent = await ordered(tmp_path, told, applied)
    span = told.span(APPLY)
    assert span.kind is SpanKind.CLIENT
    assert span.parent == parse(REMOTE)
    attributes = dict(span.attributes or {})
    assert attributes["governor.request_audit_id"] == "audit-request-1"
    assert attributes["governor.execution_audit_id"] == "audit-execution-of-request-1"
    assert attributes["rpc.response.status_code"] == "OK"
    assert span.context is not None
    assert sent.split("-")[2] == f"{span.context.span_id:016x}"
    (point,) = told.points("rpc.client.call.duration")
    assert point.attributes["rpc.method"] == APPLY


async def test_every_failure_is_an_error_of_a_client_span(tmp_path: Path) -> None:
    told = recorded()
    await ordered(tmp_path, told, Error(code=grpc.StatusCode.INVALID_ARGUMENT))
    attributes = dict(told.span(APPLY).attributes or {})
    assert attributes["error.type"] == "INVALID_ARGUMENT"
    assert told.span(APPLY).status.status_code is StatusCode.ERROR
