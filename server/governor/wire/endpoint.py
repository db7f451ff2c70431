"""The way of every call: who calls, what is asked, the use case, the answer or the refusal.

One function per kind of call instead of interceptors around each other, which cost 20 us apiece.
gRPC hands over bytes and takes bytes, so that what does not decode is refused like anything else.
"""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, Final

import grpc
from google.protobuf.message import DecodeError, Message

from governor.domain.errors import Draining, GovernorError
from governor.telemetry.calls import Call
from governor.telemetry.providers import Telemetry
from governor.usecases.app import App
from governor.usecases.commands import Caller
from governor.wire.admission import GOING_DOWN, Admission, CallTask, Kind, OpenStream, drained
from governor.wire.checking import validator
from governor.wire.door import Door
from governor.wire.errors import InvalidFields, Refusal, TooLarge, fault_refusal, refusal_of
from governor.wire.identity import Authenticator, Context
from governor.wire.limits import WireLimits
from governor.wire.observing import annotate, metadata_of, observed, traceparent_of
from governor.wire.rpcs import SERVICE, Streaming, Unary
from governor.wire.rules import request_rules
from governor.wire.undecodable import diagnose

CANCELLED: Final = grpc.StatusCode.CANCELLED.name
OK: Final = grpc.StatusCode.OK.name


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What every call is served with."""

    app: App
    authenticator: Authenticator
    telemetry: Telemetry
    admission: Admission
    bounds: WireLimits
    incident_id: Callable[[], str]


def service_handler(
    surroundings: Surroundings, calls: Sequence[Unary], streams: Sequence[Streaming]
) -> grpc.GenericRpcHandler:
    """The RPCs of both tables.

    They are registered as generic handlers and not by name: grpc.aio keeps a future for each
    registered method, and looks at all of them on every call.
    """
    door = Door(surroundings.admission, surroundings.telemetry)
    for call in calls:
        kind = Kind.WAITING if call.waits else Kind.WORKING
        behaviour = unary(surroundings, call, kind)
        door.lead_to(call.name, kind, grpc.unary_unary_rpc_method_handler(behaviour))
    for stream in streams:
        behaviour = streaming(surroundings, stream)
        door.lead_to(stream.name, Kind.STREAM, grpc.unary_stream_rpc_method_handler(behaviour))
    return door


def unary(around: Surroundings, rpc: Unary, kind: Kind) -> Callable[[bytes, Context], Any]:
    """The behaviour of an RPC with one answer."""
    app, admission, telemetry = around.app, around.admission, around.telemetry
    authenticate = around.authenticator.authenticate
    handle, method = rpc.handle, f"{SERVICE}/{rpc.name}"
    decode = decoder(around.bounds, rpc)
    observes = telemetry.is_on

    async def behaviour(data: bytes, context: Context) -> bytes:
        task = _current_task()
        metadata = metadata_of(context)
        call = observed(telemetry, method, metadata) if observes else None
        code = CANCELLED
        try:
            try:
                admission.enter(task, kind, len(data))
                actor = authenticate(context, metadata)
                request = decode(data)
                caller = Caller(actor=actor, traceparent=traceparent_of(call, metadata))
                response = await handle(app, caller, request)
                if call is not None:
                    annotate(call, response)
                answer = response if isinstance(response, bytes) else response.SerializeToString()
                code = OK
                return answer
            except asyncio.CancelledError as error:
                refusal = refusal_of(_drained_call(admission, task, error))
            except Exception as error:  # noqa: BLE001  # told as an incident, logged with its traceback
                refusal = _refusal(error, method, around.incident_id)
            finally:
                admission.leave(task)
            code = refusal.code.name
            # gRPC and what abort raises keep each other, and this frame, until the collector comes.
            data, request = b"", None
            await context.abort(refusal.code, refusal.message, refusal.trailing_metadata)
            raise AssertionError("abort raises")
        finally:
            if call is not None:
                call.end(code)

    return behaviour


def streaming(around: Surroundings, rpc: Streaming) -> Callable[[bytes, Context], Any]:
    """The behaviour of an RPC with many answers.

    Its span covers the opening alone: one that is held until the last answer may never be seen.
    """
    app, admission, telemetry = around.app, around.admission, around.telemetry
    authenticate = around.authenticator.authenticate
    method, frame = f"{SERVICE}/{rpc.name}", rpc.frame
    decode = decoder(around.bounds, rpc)
    observes = telemetry.is_on

    async def follow(stream: OpenStream, data: bytes, context: Context, call: Call | None) -> None:
        metadata = metadata_of(context)
        actor = authenticate(context, metadata)
        request = decode(data)
        caller = Caller(actor=actor, traceparent=traceparent_of(call, metadata))
        async with aclosing(rpc.follow(app, caller, request)) as items:
            # The first item shows that the caller may follow.
            first = await anext(items)
            if call is not None:
                call.end_span(OK)
            # Sent apart from the first message, so that a status can follow while it is sent
            await context.send_initial_metadata(())
            await stream.write(*frame(first))
            async for item in items:
                await stream.write(*frame(item))

    async def behaviour(data: bytes, context: Context) -> None:
        task = _current_task()
        call = observed(telemetry, method, metadata_of(context)) if observes else None
        code, stream = CANCELLED, None
        try:
            try:
                stream = admission.open(task, context, len(data))
                await follow(stream, data, context, call)
                code = OK
                return
            except grpc.aio.InternalError:
                # The reader is gone. It gets no status; gRPC tidies up.
                raise
            except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001  # told as an incident, logged with its traceback
                refusal = _refusal(_end_of(stream, task, error), method, around.incident_id)
            finally:
                admission.close(task)
            code = refusal.code.name
            if stream is None or not stream.is_told:
                data = b""  # as above
                await context.abort(refusal.code, refusal.message, refusal.trailing_metadata)
        finally:
            if call is not None:
                call.end(code)

    return behaviour


def decoder(bounds: WireLimits, rpc: Unary | Streaming) -> Callable[[bytes], Any]:
    """What makes a well-formed request of bytes, or raises TooLarge or InvalidFields."""
    bytes_max, message = bounds.message_bytes_max, rpc.request
    rules = request_rules(bounds)[rpc.name]
    descriptor, violations = rules.message, validator(rules)

    def decode(data: bytes) -> Message:
        if len(data) > bytes_max:
            raise TooLarge(len(data), bytes_max)
        try:
            request = message.FromString(data)
        except DecodeError as error:
            raise InvalidFields(diagnose(descriptor, data)) from error
        if found := violations(request):
            raise InvalidFields(found)
        return request

    return decode


# --- How calls end ------------------------------------------------------------------------------


def _refusal(error: BaseException, method: str, incident_id: Callable[[], str]) -> Refusal:
    if isinstance(error, GovernorError):
        try:
            return refusal_of(error)
        except LookupError as unmapped:
            return fault_refusal(unmapped, method, incident_id)
    return fault_refusal(error, method, incident_id)


def _drained_call(admission: Admission, task: CallTask, error: asyncio.CancelledError) -> Draining:
    """What a cancellation means that nobody outside asked for; else the cancellation goes on.

    Swallowing a real one leaves gRPC with a call that never ends.
    """
    if admission.was_interrupted(task) or not task.cancelling():
        return Draining(GOING_DOWN)
    raise error


def _end_of(stream: OpenStream | None, task: CallTask, error: BaseException) -> BaseException:
    """Why a stream ends; a real cancellation goes on."""
    if isinstance(error, asyncio.CancelledError):
        ours = stream is not None and stream.ended_by is not None and not task.uncancel()
        if not ours and task.cancelling():
            raise error
        error = Draining(GOING_DOWN)
    if stream is None:
        return error
    if stream.ended_by is not None:
        return stream.ended_by
    return drained(stream) if isinstance(error, Draining) else error


def _current_task() -> CallTask:
    task = asyncio.current_task()
    if task is None:
        raise RuntimeError("gRPC runs every call in a task")
    return task
