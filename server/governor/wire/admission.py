"""Who is being served: how many calls and streams, of how many bytes, and how a drain ends them."""

import asyncio
import logging
from collections.abc import Callable
from enum import Enum, auto
from typing import Any, Final, assert_never

from governor.domain.errors import Draining, GovernorError, Overloaded, SlowConsumer
from governor.telemetry.instruments import Streams
from governor.wire.errors import Refusal, refusal_of
from governor.wire.identity import Context
from governor.wire.limits import WireLimits

log = logging.getLogger(__name__)

GOING_DOWN: Final = "the server is going down"

CallTask = asyncio.Task[Any]


class Kind(Enum):
    """What bounds a call by number, beside the bytes that bound them all."""

    WORKING = auto()
    WAITING = auto()
    STREAM = auto()


class OpenStream:
    """One subscriber. It is told its end from outside, also while it does not read."""

    def __init__(
        self, task: CallTask, context: Context, now: Callable[[], float], size_bytes: int
    ) -> None:
        self.cursor = 0
        self.size_bytes = size_bytes
        self.blocked_since: float | None = None
        self.ended_by: GovernorError | None = None
        self._is_told = False
        self._task = task
        self._context = context
        self._now = now
        self._telling: asyncio.Task[None] | None = None

    @property
    def is_told(self) -> bool:
        """Whether its status is sent already, so that nothing more may be."""
        return self._is_told

    async def write(self, data: bytes, revision: int) -> None:
        """Sends one message. Returns when gRPC has taken it, which waits for a slow reader.

        The cursor moves first: what gRPC holds reaches the reader before any status does.
        """
        self.cursor = revision
        self.blocked_since = self._now()
        await self._context.write(data)
        self.blocked_since = None
        if self.ended_by is not None:
            raise self.ended_by

    def end(self, error: GovernorError) -> None:
        """Ends the stream with `error`, wherever it stands."""
        if self.ended_by is not None:
            return
        self.ended_by = error
        if self.blocked_since is None:
            self._task.cancel()
            return
        # A write that is cancelled halfway leaks what gRPC holds of it. So it is left alone, and
        # the status queues up behind it.
        self._is_told = True
        self._telling = asyncio.get_running_loop().create_task(self._tell(refusal_of(error)))

    async def _tell(self, refusal: Refusal) -> None:
        try:
            await self._context.abort(refusal.code, refusal.message, refusal.trailing_metadata)
        except Exception:  # noqa: BLE001  # abort always raises, and differently when the peer is gone
            log.debug("a stream was ended", extra={"reason": refusal.reason})


class Admission:
    """Counts calls, streams and the bytes of their requests, and ends them when the server drains.

    gRPC's own bound on concurrent calls counts streams as calls, health checks too, and refuses
    without saying which bound it was.
    """

    def __init__(self, bounds: WireLimits, *, now: Callable[[], float] | None = None) -> None:
        self._bounds = bounds
        self._now = now or asyncio.get_running_loop().time
        self._working: dict[CallTask, int] = {}
        self._waiting: dict[CallTask, int] = {}
        self._streams: dict[CallTask, OpenStream] = {}
        self._bytes = 0
        self._interrupted: set[CallTask] = set()
        self._idle = asyncio.Event()
        self._is_draining = False

    @property
    def is_draining(self) -> bool:
        """Whether new work is refused."""
        return self._is_draining

    # --- Coming and going -----------------------------------------------------------------------

    def refusal(self, kind: Kind, size_bytes: int = 1) -> GovernorError | None:
        """Why a call with a request of that size would not be let in now. None: it would be.

        It takes at least one byte, so that nobody's is read any more once the bytes are used up.
        """
        if self._is_draining:
            return Draining(GOING_DOWN)
        bounds = self._bounds
        # A request that is alone is let in whatever its size: what it must not be, it is told.
        if self._bytes and self._bytes + size_bytes > bounds.bytes_in_flight_max:
            return Overloaded("bytes_in_flight_max", bounds.bytes_in_flight_max)
        match kind:
            case Kind.WORKING:
                if len(self._working) >= bounds.calls_running_max:
                    return Overloaded("calls_running_max", bounds.calls_running_max)
            case Kind.WAITING:
                pass  # bounded by who waits for requests: waiters_max
            case Kind.STREAM:
                if len(self._streams) >= bounds.streams_open_max:
                    return Overloaded("streams_open_max", bounds.streams_open_max)
            case _:
                assert_never(kind)
        return None

    def enter(self, task: CallTask, kind: Kind, size_bytes: int) -> None:
        """Lets a call in. Raises Draining, Overloaded."""
        refusal = self.refusal(kind, size_bytes)
        if refusal is not None:
            raise refusal
        self._bytes += size_bytes
        (self._waiting if kind is Kind.WAITING else self._working)[task] = size_bytes

    def leave(self, task: CallTask) -> None:
        """The call has its answer, or was not let in."""
        self._bytes -= self._working.pop(task, 0) + self._waiting.pop(task, 0)
        self._interrupted.discard(task)
        if self._is_draining:
            self._note_idle()

    def open(self, task: CallTask, context: Context, size_bytes: int) -> OpenStream:
        """Lets a stream in. Raises Draining, Overloaded."""
        refusal = self.refusal(Kind.STREAM, size_bytes)
        if refusal is not None:
            raise refusal
        stream = OpenStream(task, context, self._now, size_bytes)
        self._bytes += size_bytes
        self._streams[task] = stream
        return stream

    def close(self, task: CallTask) -> None:
        """The stream is over, or was not let in."""
        stream = self._streams.pop(task, None)
        if stream is not None:
            self._bytes -= stream.size_bytes
        if self._is_draining:
            self._note_idle()

    def was_interrupted(self, task: CallTask) -> bool:
        """Whether the cancellation that a call has just caught was ours and nobody else's too."""
        if task not in self._interrupted:
            return False
        self._interrupted.discard(task)
        return not task.uncancel()

    # --- Looking after --------------------------------------------------------------------------

    def sweep(self) -> None:
        """Ends the streams whose reader has kept one message waiting for too long."""
        now, patience = self._now(), self._bounds.stream_blocked_seconds_max
        for stream in list(self._streams.values()):
            if stream.ended_by is not None or stream.blocked_since is None:
                continue
            if now - stream.blocked_since > patience:
                stream.end(SlowConsumer(stream.cursor))
                log.info(
                    "a subscriber reads too slowly; its stream is ended",
                    extra={"revision": stream.cursor},
                )

    def streams(self, head: int) -> Streams:
        """How the open streams stand towards the ledger's head."""
        cursors = [stream.cursor for stream in list(self._streams.values())]
        return Streams(open=len(cursors), lag=max((head - cursor for cursor in cursors), default=0))

    # --- Draining -------------------------------------------------------------------------------

    def drain(self) -> None:
        """Refuses what is new and tells those who only wait to wait elsewhere."""
        self._is_draining = True
        self._note_idle()
        for task in list(self._waiting):
            self._interrupt(task)

    def end_streams(self) -> None:
        """Ends the streams that are left, each with its cursor."""
        for stream in list(self._streams.values()):
            stream.end(drained(stream))

    def end_all(self) -> None:
        """Ends everything that is left."""
        for task in (*self._working, *self._waiting):
            self._interrupt(task)
        self.end_streams()

    async def idle(self, seconds: float) -> bool:
        """Whether, within that time, the last call and stream have gone."""
        try:
            async with asyncio.timeout(seconds):
                await self._idle.wait()
        except TimeoutError:
            return False
        return True

    def _interrupt(self, task: CallTask) -> None:
        if task not in self._interrupted:
            self._interrupted.add(task)
            task.cancel()

    def _note_idle(self) -> None:
        if not (self._working or self._waiting or self._streams):
            self._idle.set()


def drained(stream: OpenStream) -> Draining:
    """The end of a stream on a server that goes down, with the place to resume after."""
    return Draining(GOING_DOWN, revision=str(stream.cursor))
