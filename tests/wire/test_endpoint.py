"""The way of a call through the real server: what is let in, what comes out, what leaks."""

import asyncio
import logging
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest
from google.protobuf.message import Message

from governance.v1 import governance_service_pb2 as wire
from governor.domain.errors import Draining, NotFound
from governor.usecases.app import App
from governor.usecases.commands import Caller, Heartbeat
from governor.wire.limits import HARD_LIMIT_FACTOR, WireLimits
from governor.wire.reading import Frame, Item, frame
from governor.wire.rpcs import Streaming, Unary
from tests.wire.serving import ALICE, INCIDENT, Served, serving, told

ASKED = wire.GetRequestRequest(id="mr-1")
FOLLOWED = wire.StreamDecisionsRequest(filter=wire.DecisionFilter(tenant="acme"))
WAITED = wire.WaitRequestRequest(id="mr-1")

BEYOND_EVERY_BUFFER = 16 * 1_048_576
LARGE_MESSAGES = (("grpc.max_receive_message_length", -1),)
IMPATIENT = WireLimits(stream_blocked_seconds_max=0.0)


def answering(
    handle: Any, name: str = "GetRequest", request: type[Message] = wire.GetRequestRequest
) -> Unary:
    return Unary(name=name, request=request, handle=handle)


def raising(error: BaseException) -> Unary:
    async def handle(app: App, caller: Caller, request: Message) -> Message:
        raise error

    return answering(handle)


async def hello(
    app: App, caller: Caller, request: wire.GetRequestRequest
) -> wire.GetRequestResponse:
    response = wire.GetRequestResponse()
    response.request.id = request.id
    response.request.context.actor = caller.actor
    response.request.traceparent = caller.traceparent
    return response


async def failure_of(call: Any) -> grpc.aio.AioRpcError:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return caught.value


async def test_a_call_reaches_its_handler_with_the_caller_and_the_trace(tmp_path: Path) -> None:
    traceparent = "00-0123456789abcdef0123456789abcdef-0123456789abcdef-01"
    async with serving(tmp_path, calls=[answering(hello)]) as served:
        answer = await served.call(
            "GetRequest", ASKED, metadata=(*ALICE, ("traceparent", traceparent))
        )
    assert answer.request.id == "mr-1"
    assert answer.request.context.actor == "alice"
    assert answer.request.traceparent == traceparent


async def test_a_call_without_an_identity_reaches_no_handler(tmp_path: Path) -> None:
    async def never(app: App, caller: Caller, request: Message) -> Message:
        raise AssertionError("let in")

    async with serving(tmp_path, calls=[answering(never)]) as served:
        error = await failure_of(served.call("GetRequest", ASKED, metadata=()))
    assert told(error).code is grpc.StatusCode.UNAUTHENTICATED
    assert told(error).info.reason == "UNAUTHENTICATED"


async def test_a_bad_field_is_refused_with_its_path(tmp_path: Path) -> None:
    async with serving(tmp_path, calls=[answering(hello)]) as served:
        error = await failure_of(served.call("GetRequest", wire.GetRequestRequest(id="a b")))
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert told(error).info.reason == "INVALID_FIELD"
    assert told(error).fields == ["id"]


async def test_bytes_that_are_no_message_are_refused_like_a_bad_field(tmp_path: Path) -> None:
    """GRPC's own answer to them is UNKNOWN with the text of a Python exception."""
    async with serving(tmp_path, calls=[answering(hello)]) as served:
        call = served.raw("GetRequest")
        garbage = await failure_of(call(b"\xff\xff", metadata=ALICE, timeout=10))
        surrogate = await failure_of(call(b"\x0a\x03\xed\xa0\x80", metadata=ALICE, timeout=10))
    assert told(garbage).info.reason == "INVALID_FIELD"
    assert told(surrogate).fields == ["id"]


async def test_a_domain_error_is_told_with_its_facts(tmp_path: Path) -> None:
    async with serving(tmp_path, calls=[raising(NotFound("mutation request", "mr-1"))]) as served:
        error = await failure_of(served.call("GetRequest", ASKED))
    assert error.code() is grpc.StatusCode.NOT_FOUND
    assert told(error).info.domain == "governor"
    assert told(error).info.reason == "NOT_FOUND"
    assert dict(told(error).info.metadata) == {"kind": "mutation request", "id": "mr-1"}


async def test_the_text_of_an_unknown_exception_stays_in_the_log(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    secret = "postgresql://root:hunter2@db"
    with caplog.at_level(logging.ERROR):
        async with serving(tmp_path, calls=[raising(RuntimeError(secret))]) as served:
            error = await failure_of(served.call("GetRequest", ASKED))
    assert error.code() is grpc.StatusCode.INTERNAL
    assert told(error).info.reason == "INTERNAL"
    assert told(error).info.metadata["incident"] == INCIDENT
    assert "hunter2" not in str(error) + str(error.trailing_metadata())
    logged = next(record for record in caplog.records if record.exc_info)
    assert logged.__dict__["incident"] == INCIDENT
    assert logged.exc_info is not None
    assert secret in str(logged.exc_info[1])


async def test_an_unknown_exception_of_a_stream_stays_in_the_log_too(tmp_path: Path) -> None:
    async with serving(tmp_path, streams=[following(RuntimeError("hunter2"))]) as served:
        stream = served.stub.StreamDecisions(FOLLOWED, metadata=ALICE, timeout=10)
        error = await failure_of(stream.read())
    assert told(error).info.reason == "INTERNAL"
    assert "hunter2" not in str(error)


async def test_a_client_that_cancels_cancels_its_handler(tmp_path: Path) -> None:
    entered, left = asyncio.Event(), asyncio.Event()

    async def handle(app: App, caller: Caller, request: Message) -> Message:
        entered.set()
        try:
            await asyncio.Event().wait()
        finally:
            left.set()
        raise AssertionError("unreachable")

    async with serving(tmp_path, calls=[answering(handle)]) as served:
        call = served.stub.GetRequest(ASKED, metadata=ALICE, timeout=10)
        await entered.wait()
        call.cancel()
        async with asyncio.timeout(5):
            await left.wait()
        assert call.cancelled()


async def test_a_deadline_cancels_the_handler(tmp_path: Path) -> None:
    left = asyncio.Event()

    async def handle(app: App, caller: Caller, request: Message) -> Message:
        try:
            await asyncio.Event().wait()
        finally:
            left.set()
        raise AssertionError("unreachable")

    async with serving(tmp_path, calls=[answering(handle)]) as served:
        error = await failure_of(served.stub.GetRequest(ASKED, metadata=ALICE, timeout=0.05))
        assert error.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        async with asyncio.timeout(5):
            await left.wait()


async def test_a_cancelled_inner_task_does_not_leave_the_client_hanging(tmp_path: Path) -> None:
    """Seen as a cancellation by the handler, it is none of the client's."""

    async def handle(app: App, caller: Caller, request: Message) -> Message:
        inner = asyncio.create_task(asyncio.Event().wait())
        inner.cancel()
        await inner
        raise AssertionError("unreachable")

    async with serving(tmp_path, calls=[answering(handle)]) as served:
        error = await failure_of(served.call("GetRequest", ASKED))
    assert error.code() is grpc.StatusCode.UNAVAILABLE
    assert told(error).info.reason == "DRAINING"


async def test_a_message_beyond_the_limit_is_refused_with_the_limit(tmp_path: Path) -> None:
    bounds = WireLimits(message_bytes_max=1000, payload_bytes_max=500)
    async with serving(tmp_path, calls=[answering(hello)], bounds=bounds) as served:
        call = served.raw("GetRequest")
        error = await failure_of(call(b"\0" * 1001, metadata=ALICE, timeout=10))
        assert told(error).code is grpc.StatusCode.INVALID_ARGUMENT
        assert told(error).info.reason == "TOO_LARGE"
        assert told(error).info.metadata["limit_bytes"] == "1000"
        huge = await failure_of(
            call(b"\0" * (1000 * HARD_LIMIT_FACTOR + 1), metadata=ALICE, timeout=10)
        )
        assert huge.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


async def test_calls_beyond_the_bound_are_refused_with_the_bound(tmp_path: Path) -> None:
    entered, release = asyncio.Event(), asyncio.Event()

    async def handle(app: App, caller: Caller, request: Message) -> Message:
        entered.set()
        await release.wait()
        return wire.GetRequestResponse()

    async with serving(
        tmp_path, calls=[answering(handle)], bounds=WireLimits(calls_running_max=1)
    ) as served:
        first = asyncio.create_task(served.call("GetRequest", ASKED))
        await entered.wait()
        error = await failure_of(served.call("GetRequest", ASKED))
        release.set()
        await first
        await served.call("GetRequest", ASKED)
    assert told(error).code is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert dict(told(error).info.metadata) == {"bound": "calls_running_max", "limit": "1"}
    assert told(error).retry is not None


async def test_streams_beyond_the_bound_are_refused_with_the_bound(tmp_path: Path) -> None:
    async with serving(
        tmp_path, streams=[following(None)], bounds=WireLimits(streams_open_max=1)
    ) as served:
        first = served.stub.StreamDecisions(FOLLOWED, metadata=ALICE, timeout=10)
        await first.read()
        second = served.stub.StreamDecisions(FOLLOWED, metadata=ALICE, timeout=10)
        error = await failure_of(second.read())
        first.cancel()
    assert told(error).info.metadata["bound"] == "streams_open_max"


async def test_bytes_beyond_the_bound_are_refused_with_the_bound_until_others_have_gone(
    tmp_path: Path,
) -> None:
    """There is room for more calls, and for one more as small as the refused one is large."""
    entered, release = asyncio.Event(), asyncio.Event()

    async def handle(app: App, caller: Caller, request: Message) -> Message:
        entered.set()
        await release.wait()
        return wire.GetRequestResponse()

    large = wire.GetRequestRequest(id="m" * 100)
    bounds = WireLimits(bytes_in_flight_max=2 * large.ByteSize() - 1)
    async with serving(tmp_path, calls=[answering(handle)], bounds=bounds) as served:
        first = asyncio.create_task(served.call("GetRequest", large))
        await entered.wait()
        error = await failure_of(served.call("GetRequest", large))
        small = asyncio.create_task(served.call("GetRequest", ASKED))
        release.set()
        await asyncio.gather(first, small)
        await served.call("GetRequest", large)
    assert told(error).code is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert told(error).info.metadata["bound"] == "bytes_in_flight_max"
    assert told(error).retry is not None


async def test_a_request_that_is_alone_is_let_in_whatever_its_size(tmp_path: Path) -> None:
    """What is too large is told so by its own bound, and not that it might come again."""
    bounds = WireLimits(bytes_in_flight_max=1)
    async with serving(tmp_path, calls=[answering(hello)], bounds=bounds) as served:
        await served.call("GetRequest", ASKED)
        await served.call("GetRequest", ASKED)


async def test_an_open_stream_counts_with_the_bytes_of_its_request(tmp_path: Path) -> None:
    """And no longer when it has gone."""
    bounds = WireLimits(bytes_in_flight_max=FOLLOWED.ByteSize())
    async with serving(
        tmp_path, calls=[answering(hello)], streams=[following(None)], bounds=bounds
    ) as served:
        stream = served.stub.StreamDecisions(FOLLOWED, metadata=ALICE, timeout=10)
        await stream.read()
        error = await failure_of(served.call("GetRequest", ASKED))
        stream.cancel()
        await until_served(served)
    assert told(error).info.metadata["bound"] == "bytes_in_flight_max"


async def until_served(served: Served) -> None:
    """Returns when a call is let in; a cancellation takes a moment to arrive."""
    async with asyncio.timeout(5):
        while True:
            try:
                await served.call("GetRequest", ASKED)
            except grpc.aio.AioRpcError:
                continue
            return


async def test_a_call_beyond_the_bound_is_refused_before_its_message_is_read(
    tmp_path: Path,
) -> None:
    """Its message never comes: gRPC would wait for it, and the refusal does not."""
    entered, release = asyncio.Event(), asyncio.Event()

    async def handle(app: App, caller: Caller, request: Message) -> Message:
        entered.set()
        await release.wait()
        return wire.GetRequestResponse()

    bounds = WireLimits(calls_running_max=1)
    async with serving(tmp_path, calls=[answering(handle)], bounds=bounds) as served:
        first = asyncio.create_task(served.call("GetRequest", ASKED))
        await entered.wait()
        silent: Any = served.channel.stream_unary("/governance.v1.GovernanceService/GetRequest")
        error = await failure_of(silent(metadata=ALICE, timeout=10))
        release.set()
        await first
    assert told(error).info.metadata["bound"] == "calls_running_max"


async def test_a_connection_carries_no_more_calls_than_its_bound(tmp_path: Path) -> None:
    """The client keeps the next one back until there is room. One that it sends too early, because
    it hears of an end before the server is done with it, is refused and may simply come again.
    """
    entered, release = asyncio.Event(), asyncio.Event()
    under_way = most = 0

    async def handle(app: App, caller: Caller, request: Message) -> Message:
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        if under_way == 2:
            entered.set()
        await release.wait()
        under_way -= 1
        return wire.GetRequestResponse()

    bounds = WireLimits(connection_calls_max=2)
    async with serving(tmp_path, calls=[answering(handle)], bounds=bounds) as served:
        calls = [asyncio.create_task(until_served(served)) for _ in range(6)]
        await entered.wait()
        release.set()
        await asyncio.gather(*calls)
    assert most == 2


async def test_a_connection_beyond_the_bound_is_closed_and_the_others_are_served(
    tmp_path: Path,
) -> None:
    bounds = WireLimits(connections_max=1)
    own = (("grpc.default_authority", "localhost"), ("grpc.use_local_subchannel_pool", 1))
    async with serving(tmp_path, calls=[answering(hello)], bounds=bounds) as served:
        await served.call("GetRequest", ASKED)
        async with grpc.aio.insecure_channel(served.server.address, own) as second:
            call: Any = second.unary_unary("/governance.v1.GovernanceService/GetRequest")
            error = await failure_of(call(b"", metadata=ALICE, timeout=10))
        await served.call("GetRequest", ASKED)
    assert error.code() is grpc.StatusCode.UNAVAILABLE


async def test_a_bad_field_of_a_stream_is_refused_with_its_path(tmp_path: Path) -> None:
    async with serving(tmp_path, streams=[following(None)]) as served:
        stream = served.stub.StreamDecisions(
            wire.StreamDecisionsRequest(), metadata=ALICE, timeout=10
        )
        error = await failure_of(stream.read())
    assert told(error).fields == ["filter"]


async def test_a_stream_without_an_identity_is_refused(tmp_path: Path) -> None:
    async with serving(tmp_path, streams=[following(None)]) as served:
        error = await failure_of(served.stub.StreamDecisions(FOLLOWED, timeout=10).read())
    assert told(error).code is grpc.StatusCode.UNAUTHENTICATED


async def test_a_reader_that_goes_away_closes_its_stream(tmp_path: Path) -> None:
    left = asyncio.Event()

    async def follow(app: App, caller: Caller, request: Message) -> AsyncGenerator[Item, None]:
        try:
            yield heartbeat(1)
            await asyncio.Event().wait()
        finally:
            left.set()

    async with serving(tmp_path, streams=[stream_of(follow)]) as served:
        stream = served.stub.StreamDecisions(FOLLOWED, metadata=ALICE, timeout=10)
        await stream.read()
        stream.cancel()
        async with asyncio.timeout(5):
            await left.wait()


async def test_a_drain_ends_streams_with_their_cursor(tmp_path: Path) -> None:
    """A stream whose source says that it is over, and one whose source does not listen."""

    async def listens(app: Any, caller: Caller, request: Message) -> AsyncGenerator[Item, None]:
        yield heartbeat(41)
        await app.tail.closed.wait()
        raise Draining("over")

    for follow in (listens, following(None, 41).follow):
        async with serving(tmp_path, streams=[stream_of(follow)]) as served:
            stream = served.stub.StreamDecisions(FOLLOWED, metadata=ALICE, timeout=10)
            await stream.read()
            draining = asyncio.create_task(served.server.drain(0.2))
            error = await failure_of(stream.read())
            await draining
        assert told(error).code is grpc.StatusCode.UNAVAILABLE
        assert told(error).info.reason == "DRAINING"
        assert told(error).info.metadata["revision"] == "41"


async def test_a_drain_lets_calls_finish_and_refuses_new_ones(tmp_path: Path) -> None:
    entered, release = asyncio.Event(), asyncio.Event()

    async def handle(app: App, caller: Caller, request: Message) -> Message:
        entered.set()
        await release.wait()
        return wire.GetRequestResponse()

    async with serving(tmp_path, calls=[answering(handle)]) as served:
        running = asyncio.create_task(served.call("GetRequest", ASKED))
        await entered.wait()
        draining = asyncio.create_task(served.server.drain(5))
        await served.tail.closed.wait()
        late = await failure_of(served.call("GetRequest", ASKED))
        release.set()
        await running
        await draining
    assert told(late).info.reason == "DRAINING"


async def test_a_drain_sends_those_who_wait_elsewhere(tmp_path: Path) -> None:
    entered = asyncio.Event()

    async def handle(app: App, caller: Caller, request: Message) -> Message:
        entered.set()
        await asyncio.Event().wait()
        raise AssertionError("unreachable")

    waits = Unary(name="WaitRequest", request=wire.WaitRequestRequest, handle=handle, waits=True)
    async with serving(tmp_path, calls=[waits]) as served:
        waiting = asyncio.create_task(served.call("WaitRequest", WAITED))
        await entered.wait()
        await served.server.drain(60)
        error = await failure_of(waiting)
    assert told(error).info.reason == "DRAINING"


async def test_a_call_that_does_not_finish_in_time_is_told_that_the_server_goes(
    tmp_path: Path,
) -> None:
    entered = asyncio.Event()

    async def handle(app: App, caller: Caller, request: Message) -> Message:
        entered.set()
        await asyncio.Event().wait()
        raise AssertionError("unreachable")

    async with serving(tmp_path, calls=[answering(handle)]) as served:
        stuck = asyncio.create_task(served.call("GetRequest", ASKED))
        await entered.wait()
        await served.server.drain(0.05)
        error = await failure_of(stuck)
    assert told(error).info.reason == "DRAINING"


class Wall:
    """A stream whose second message is larger than anything gRPC buffers for a reader."""

    def __init__(self) -> None:
        self.reached = asyncio.Event()
        self.streaming = Streaming(
            name="StreamDecisions",
            request=wire.StreamDecisionsRequest,
            follow=self.follow,
            frame=self.frame,
        )

    async def follow(
        self, app: App, caller: Caller, request: Message
    ) -> AsyncGenerator[Item, None]:
        for revision in (1, 2, 3):
            yield heartbeat(revision)

    def frame(self, item: Item) -> Frame:
        if item.revision != 2:
            return frame(item)
        # The write begins before anybody who waits for this can go on.
        self.reached.set()
        large = wire.StreamDecisionsResponse()
        large.caught_up.store_id = "x" * BEYOND_EVERY_BUFFER
        return Frame(large.SerializeToString(), 2)


async def test_a_slow_reader_is_told_so_with_its_cursor_and_loses_nothing(tmp_path: Path) -> None:
    """What was handed to gRPC before the end reaches the reader before the status."""
    wall = Wall()
    async with serving(
        tmp_path, streams=[wall.streaming], bounds=IMPATIENT, options=LARGE_MESSAGES
    ) as served:
        stream = served.stub.StreamDecisions(FOLLOWED, metadata=ALICE, timeout=30)
        first: Any = await stream.read()
        assert first.heartbeat.revision == 1
        await wall.reached.wait()
        served.server.admission.sweep()
        second: Any = await stream.read()
        assert len(second.caught_up.store_id) == BEYOND_EVERY_BUFFER
        error = await failure_of(stream.read())
    assert told(error).code is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert told(error).info.reason == "SLOW_CONSUMER"
    assert told(error).info.metadata["revision"] == "2"


async def test_a_slow_reader_that_goes_away_leaves_nothing_behind(tmp_path: Path) -> None:
    wall = Wall()
    async with serving(tmp_path, streams=[wall.streaming], bounds=IMPATIENT) as served:
        stream = served.stub.StreamDecisions(FOLLOWED, metadata=ALICE, timeout=30)
        await stream.read()
        await wall.reached.wait()
        served.server.admission.sweep()
        stream.cancel()
        async with asyncio.timeout(5):
            await served.server.drain(60)


async def test_a_drain_ends_a_stream_that_nobody_reads(tmp_path: Path) -> None:
    wall = Wall()
    async with serving(tmp_path, streams=[wall.streaming], options=LARGE_MESSAGES) as served:
        stream = served.stub.StreamDecisions(FOLLOWED, metadata=ALICE, timeout=30)
        await stream.read()
        await wall.reached.wait()
        draining = asyncio.create_task(served.server.drain(0.1))
        await served.tail.closed.wait()
        async with asyncio.timeout(10):
            await draining


def heartbeat(revision: int) -> Heartbeat:
    return Heartbeat(revision=revision)  # type: ignore[arg-type]  # any number does


def stream_of(follow: Any) -> Streaming:
    return Streaming(
        name="StreamDecisions", request=wire.StreamDecisionsRequest, follow=follow, frame=frame
    )


def following(error: BaseException | None, revision: int = 1) -> Streaming:
    """A stream of one heartbeat that then fails, or else lasts."""

    async def follow(app: App, caller: Caller, request: Message) -> AsyncGenerator[Item, None]:
        if error is not None:
            raise error
        yield heartbeat(revision)
        await asyncio.Event().wait()

    return stream_of(follow)
