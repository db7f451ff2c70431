"""A load generator in a process of its own, cheap enough not to be what is measured.

It speaks just enough HTTP/2 (RFC 9113) to make unary gRPC calls: the header block is encoded once,
literally and without the dynamic table (RFC 7541, 6.2.2), and only the DATA frame differs from
call to call. One call costs about a tenth of what a Python gRPC client spends. A call has succeeded
when a DATA frame came before its trailers: gRPC errors come without one.

Run as `python -m tests.bench.generator`, with a JSON Plan on standard input; prints a JSON Result.
"""

import asyncio
import json
import struct
import sys
import time
from collections import deque
from dataclasses import asdict, dataclass, field

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY, WINDOW_UPDATE = 0, 1, 3, 4, 6, 7, 8
END_STREAM, END_HEADERS, ACK = 0x1, 0x4, 0x1
WINDOW_INITIAL = 65_535
WINDOW_WANTED = 2**30
_FRAME = struct.Struct(">IBI")


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What to send, where, and how hard. A `#` run in the message is replaced by the call's number.

    `callers` call in a closed loop; with `rate_per_second`, calls start at that pace instead and at
    most `callers` are under way.
    """

    target: str
    path: str
    message_hex: str
    callers: int
    seconds: float
    first_number: int = 0
    rate_per_second: float = 0.0
    metadata: dict[str, str] = field(default_factory=dict)
    connections_max: int = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What came of it. Latencies in milliseconds, from the send to the trailers."""

    calls: int
    failures: int
    seconds: float
    p50_ms: float
    p99_ms: float

    @property
    def per_second(self) -> float:
        """Successful calls per second."""
        return self.calls / self.seconds if self.seconds else 0.0


class Numbers:
    """Messages that differ in a number of fixed width, made from one template."""

    def __init__(self, template: bytes, first: int) -> None:
        width = 12
        self._parts = template.split(b"#" * width)
        self._width = width
        self._next = first

    def message(self) -> bytes:
        """The next message, with gRPC's length prefix."""
        number = b"%0*d" % (self._width, self._next)
        self._next += 1
        body = number.join(self._parts)
        return b"\0" + len(body).to_bytes(4) + body


class Load:
    """The calls of all connections together."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.numbers = Numbers(bytes.fromhex(plan.message_hex), plan.first_number)
        self.latencies: list[float] = []
        self.failures = 0
        self.is_over = False
        self.under_way = 0
        self.quiet: asyncio.Event = asyncio.Event()

    def finished(self, seconds: float, succeeded: bool) -> None:
        """One call has come to its end."""
        self.under_way -= 1
        if succeeded:
            self.latencies.append(seconds)
        else:
            self.failures += 1
        if self.is_over and not self.under_way:
            self.quiet.set()


class Connection(asyncio.Protocol):
    """One HTTP/2 connection with any number of calls on it."""

    def __init__(self, load: Load, header_block: bytes) -> None:
        self._load = load
        self._headers = header_block
        self._transport: asyncio.Transport
        self._buffer = b""
        self._next_stream = 1
        self._started: dict[int, float] = {}
        self._answered: set[int] = set()
        self._window = WINDOW_INITIAL
        self._held: deque[bytes] = deque()
        self._received = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        settings = struct.pack(">HIHI", 2, 0, 4, 2**31 - 1)
        transport.write(
            PREFACE
            + _frame(SETTINGS, 0, 0, settings)
            + _frame(WINDOW_UPDATE, 0, 0, WINDOW_WANTED.to_bytes(4))
        )

    def connection_lost(self, exc: Exception | None) -> None:
        for _ in range(len(self._started)):
            self._load.finished(0.0, False)
        self._started.clear()

    def call(self) -> None:
        """Starts one call."""
        stream, self._next_stream = self._next_stream, self._next_stream + 2
        self._load.under_way += 1
        self._started[stream] = time.perf_counter()
        message = self._load.numbers.message()
        frames = _frame(HEADERS, END_HEADERS, stream, self._headers)
        frames += _frame(DATA, END_STREAM, stream, message)
        if self._held or self._window < len(message):
            self._held.append(frames)
            return
        self._window -= len(message)
        self._transport.write(frames)

    def data_received(self, data: bytes) -> None:
        buffer = self._buffer + data if self._buffer else data
        position, end = 0, len(buffer)
        while end - position >= 9:
            length_and_type, flags, stream = _FRAME.unpack_from(buffer, position)
            length = length_and_type >> 8
            if end - position - 9 < length:
                break
            body = position + 9
            position = body + length
            self._handle(length_and_type & 0xFF, flags, stream, buffer[body:position])
        self._buffer = buffer[position:]

    def _handle(self, kind: int, flags: int, stream: int, body: bytes) -> None:
        if kind == HEADERS:
            if flags & END_STREAM:
                self._end(stream, stream in self._answered)
        elif kind == DATA:
            self._answered.add(stream)
            self._received += len(body)
            if self._received > WINDOW_WANTED // 2:
                update = self._received.to_bytes(4)
                self._transport.write(_frame(WINDOW_UPDATE, 0, 0, update))
                self._received = 0
            if flags & END_STREAM:
                self._end(stream, True)
        elif kind == RST_STREAM:
            self._end(stream, False)
        elif kind == SETTINGS and not flags & ACK:
            self._transport.write(_frame(SETTINGS, ACK, 0, b""))
        elif kind == PING and not flags & ACK:
            self._transport.write(_frame(PING, ACK, 0, body))
        elif kind == WINDOW_UPDATE and stream == 0:
            self._window += int.from_bytes(body) & 0x7FFFFFFF
            self._release()
        elif kind == GOAWAY:
            self._transport.close()

    def _release(self) -> None:
        while self._held:
            size = len(self._held[0]) - 18 - len(self._headers)
            if self._window < size:
                return
            self._window -= size
            self._transport.write(self._held.popleft())

    def _end(self, stream: int, succeeded: bool) -> None:
        started = self._started.pop(stream, None)
        if started is None:
            return
        self._answered.discard(stream)
        self._load.finished(time.perf_counter() - started, succeeded)
        if not self._load.is_over and not self._load.plan.rate_per_second:
            self.call()


def _frame(kind: int, flags: int, stream: int, body: bytes) -> bytes:
    return _FRAME.pack(len(body) << 8 | kind, flags, stream) + body


def header_block(plan: Plan) -> bytes:
    """The request headers, every field literal and never indexed."""
    fields = {
        ":method": "POST",
        ":scheme": "http",
        ":path": plan.path,
        ":authority": "localhost",
        "content-type": "application/grpc",
        "te": "trailers",
        **plan.metadata,
    }
    return b"".join(
        b"\x10" + _text(name.encode()) + _text(value.encode()) for name, value in fields.items()
    )


def _text(value: bytes) -> bytes:
    """A string literal without Huffman coding; its length as a 7-bit prefix integer."""
    length = len(value)
    if length < 127:
        return bytes([length]) + value
    rest, prefix = length - 127, b"\x7f"
    while rest >= 128:
        prefix += bytes([rest % 128 + 128])
        rest //= 128
    return prefix + bytes([rest]) + value


async def generate(plan: Plan) -> Result:
    """Carries the plan out."""
    loop = asyncio.get_running_loop()
    load, block = Load(plan), header_block(plan)
    connections: list[Connection] = []
    for _ in range(min(plan.callers, plan.connections_max)):
        if plan.target.startswith("unix:"):
            path = plan.target.removeprefix("unix:")
            _, made = await loop.create_unix_connection(lambda: Connection(load, block), path)
        else:
            host, _, port = plan.target.rpartition(":")
            _, made = await loop.create_connection(lambda: Connection(load, block), host, int(port))
        connections.append(made)

    begun = time.perf_counter()
    if plan.rate_per_second:
        await _pace(plan, load, connections, begun)
    else:
        for index in range(plan.callers):
            connections[index % len(connections)].call()
        await asyncio.sleep(plan.seconds)
    load.is_over = True
    in_time = len(load.latencies)
    seconds = time.perf_counter() - begun
    if load.under_way:
        async with asyncio.timeout(30):
            await load.quiet.wait()
    ranked = sorted(load.latencies)
    return Result(
        calls=in_time,
        failures=load.failures,
        seconds=seconds,
        p50_ms=_quantile(ranked, 0.50) * 1000,
        p99_ms=_quantile(ranked, 0.99) * 1000,
    )


async def _pace(plan: Plan, load: Load, connections: list[Connection], begun: float) -> None:
    made = 0
    while (now := time.perf_counter() - begun) < plan.seconds:
        while made < now * plan.rate_per_second and load.under_way < plan.callers:
            connections[made % len(connections)].call()
            made += 1
        await asyncio.sleep(0.001)


def _quantile(ranked: list[float], share: float) -> float:
    return ranked[min(len(ranked) - 1, int(len(ranked) * share))] if ranked else 0.0


def main() -> None:
    """Reads a Plan, prints a Result."""
    plan = Plan(**json.load(sys.stdin))
    sys.stdout.write(json.dumps(asdict(asyncio.run(generate(plan)))))


if __name__ == "__main__":
    main()
