"""Who is being served: how many calls and streams, and how they end when the server drains."""

import asyncio
import logging
from collections.abc import Callable
from typing import Any, Final

from governor.domain.errors import Draining, GovernorError, Overloaded, SlowConsumer
from governor.telemetry.instruments import Streams
from governor.wire.errors import Refusal, refusal_of
from governor.wire.identity import Context
from governor.wire.limits import WireLimits

log = logging.getLogger(__name__)

GOING_DOWN: Final = "the server is going down"

CallTask = asyncio.Task[Any]


class OpenStream:
    """One subscriber. It is told its end from outside, also while it does not read."""

    def __init__(self, task: CallTask, context: Context, now: Callable[[], float]) -> None:
        self.cursor = 0
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
    """Counts calls and streams, bounds both, and ends them when the server drains.

    gRPC's own bound on concurrent calls counts streams as calls, health checks too, and refuses
    without saying which bound it was.
    """

    def __init__(self, bounds: WireLimits, *, now: Callable[[], float] | None = None) -> None:
        self._bounds = bounds
        self._now = now or asyncio.get_running_loop().time
        self._working: set[CallTask] = set()
        self._waiting: set[CallTask] = set()
        self._streams: dict[CallTask, OpenStream] = {}
        self._interrupted: set[CallTask] = set()
        self._idle = asyncio.Event()
        self._is_draining = False

    @property
    def is_draining(self) -> bool:
        """Whether new work is refused."""
        return self._is_draining

    # --- Coming and going -----------------------------------------------------------------------

    def enter(self, task: CallTask, *, waits: bool) -> None:
        """Lets a call in. Raises Draining, Overloaded. Those who wait are bounded by who waits."""
        if self._is_draining:
            raise Draining(GOING_DOWN)
        if waits:
            self._waiting.add(task)
        elif len(self._working) < self._bounds.calls_running_max:
            self._working.add(task)
        else:
            raise Overloaded("calls_running_max", self._bounds.calls_running_max)

    def leave(self, task: CallTask) -> None:
        """The call has its answer, or was not let in."""
        self._working.discard(task)
        self._waiting.discard(task)
        self._interrupted.discard(task)
        if self._is_draining:
            self._note_idle()

    def open(self, task: CallTask, context: Context) -> OpenStream:
        """Lets a stream in. Raises Draining, Overloaded."""
        if self._is_draining:
            raise Draining(GOING_DOWN)
        if len(self._streams) >= self._bounds.streams_open_max:
            raise Overloaded("streams_open_max", self._bounds.streams_open_max)
        stream = OpenStream(task, context, self._now)
        self._streams[task] = stream
        return stream

    def close(self, task: CallTask) -> None:
        """The stream is over, or was not let in."""
        self._streams.pop(task, None)
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
            if stream.blocked_since is not None and now - stream.blocked_since > patience:
                stream.end(SlowConsumer(stream.cursor))

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
