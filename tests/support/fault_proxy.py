"""A proxy between two processes that loses, holds, cuts and repeats what they say to each other.

It does nothing by chance and nothing by the clock. A test sets a trap on bytes that it knows,
awaits the link on which it springs, and then says what becomes of that link: let go, dropped, cut,
reset, or played to the server a second time.
"""

import asyncio
import socket
import struct
import threading
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final, TypeVar

CHUNK_BYTES_MAX: Final = 65_536
WAIT_SECONDS_MAX: Final = 30.0
UNIX: Final = "unix:"

_T = TypeVar("_T")


class Way(StrEnum):
    """The two directions of a link."""

    TO_SERVER = "to the server"
    TO_CLIENT = "to the client"


class Lane:
    """One direction of a link: what has come in, what of it is held, and where the rest goes."""

    def __init__(self, writer: asyncio.StreamWriter | None) -> None:
        self.seen = bytearray()
        self.is_held = False
        self.is_dropped = False
        self.ended = False
        self._writer = writer
        self._held: deque[bytes] = deque()
        self._moved = asyncio.Condition()

    async def take(self, chunk: bytes) -> None:
        """Passes on, keeps or forgets what has come in."""
        if self.is_held:
            self._held.append(chunk)
        elif not self.is_dropped:
            await self._write(chunk)
        await self._tell()

    async def end(self) -> None:
        """The sender has closed. Whoever holds or drops what it sent keeps this from the other."""
        self.ended = True
        if not (self.is_held or self.is_dropped) and self._writer is not None:
            self._writer.close()
        await self._tell()

    async def release(self) -> None:
        """What was held goes on its way, and so does all that follows."""
        self.is_held = self.is_dropped = False
        while self._held:
            await self._write(self._held.popleft())

    async def drop(self) -> None:
        """What was held never arrives, and nothing that follows does; nobody is told."""
        self.is_held, self.is_dropped = False, True
        self._held.clear()

    async def saw(self, marker: bytes) -> None:
        """Returns when the sender has sent these bytes, wherever they are by now."""
        await self.until(lambda: marker in self.seen)

    async def holds(self) -> None:
        """Returns when something is held here."""
        await self.until(lambda: bool(self._held))

    async def until(self, condition: Callable[[], bool]) -> None:
        """Returns when it holds, which is looked at whenever something has come in here."""
        async with asyncio.timeout(WAIT_SECONDS_MAX), self._moved:
            await self._moved.wait_for(condition)

    async def _tell(self) -> None:
        async with self._moved:
            self._moved.notify_all()

    async def _write(self, chunk: bytes) -> None:
        if self._writer is None:
            return
        with suppress(OSError):  # the receiver has gone
            self._writer.write(chunk)
            await self._writer.drain()


@dataclass(eq=False)
class Link:
    """A client's connection and the one to the server that was made for it."""

    client: asyncio.StreamWriter | None
    server: asyncio.StreamWriter
    lanes: dict[Way, Lane] = field(init=False)

    def __post_init__(self) -> None:
        self.lanes = {Way.TO_SERVER: Lane(self.server), Way.TO_CLIENT: Lane(self.client)}

    @property
    def to_server(self) -> Lane:
        return self.lanes[Way.TO_SERVER]

    @property
    def to_client(self) -> Lane:
        return self.lanes[Way.TO_CLIENT]

    async def abandon_client(self) -> None:
        """The client finds its connection reset; the server hears nothing of it."""
        self.to_client.is_dropped = True
        self.to_server.is_held = True
        _reset(self.client)

    async def abandon_server(self) -> None:
        """The server finds its connection reset; the client hears nothing of it."""
        self.to_server.is_dropped = True
        self.to_client.is_held = True
        _reset(self.server)

    async def reset(self) -> None:
        """Both find their connection reset."""
        _reset(self.client)
        _reset(self.server)

    async def cut(self) -> None:
        """Both find their connection closed."""
        for writer in (self.client, self.server):
            if writer is not None:
                writer.close()


Reaction = Callable[[Link], Awaitable[None]]


@dataclass(eq=False, kw_only=True)
class Trap:
    """Waits for bytes that go one way, and on their link holds one way from that chunk on."""

    way: Way
    marker: bytes
    holds: Way | None
    left: int
    then: Reaction | None
    link: Link | None
    _sprung: asyncio.Queue[Link] = field(default_factory=asyncio.Queue)

    async def sprung(self) -> Link:
        """The next link on which it sprang."""
        return await asyncio.wait_for(self._sprung.get(), WAIT_SECONDS_MAX)

    def sprung_so_far(self) -> Iterator[Link]:
        """Every link on which it sprang that nobody has asked for yet."""
        while not self._sprung.empty():
            yield self._sprung.get_nowait()

    def springs(self, link: Link, way: Way, fresh_from: int) -> bool:
        """Looks at what has just come in."""
        if way is not self.way or self.left == 0 or self.link not in (None, link):
            return False
        # A marker may have begun in the chunk before.
        start = max(0, fresh_from - len(self.marker) + 1)
        if self.marker not in link.lanes[way].seen[start:]:
            return False
        self.left -= 1
        if self.holds is not None:
            link.lanes[self.holds].is_held = True
        self._sprung.put_nowait(link)
        return True


class FaultProxy:
    """Serves on `address` and forwards to `upstream`; made by `fault_proxy`."""

    def __init__(self, upstream: str) -> None:
        self.upstream = upstream
        self.address = ""
        self.links: list[Link] = []
        self.refuses = False
        self.rewritten = 0
        self._traps: list[Trap] = []
        self._rewriting: list[tuple[bytes, bytes]] = []
        self._tasks: set[asyncio.Task[None]] = set()

    def trap(
        self,
        way: Way,
        marker: bytes,
        *,
        holds: Way | None = None,
        times: int = 1,
        then: Reaction | None = None,
        link: Link | None = None,
    ) -> Trap:
        """Springs on the next `times` chunks with `marker`; holds its own way, or `holds`.

        `then` is done to the link at once, for those who do not wait for the trap themselves. With
        `link`, no other link's bytes count.
        """
        holds = holds or way
        trap = Trap(way=way, marker=marker, holds=holds, left=times, then=then, link=link)
        self._traps.append(trap)
        return trap

    def rewrite(self, said: bytes, heard: bytes) -> None:
        """The server hears something else than the client said, of the same length."""
        assert len(said) == len(heard)
        self._rewriting.append((said, heard))

    def watch(self, way: Way, marker: bytes, then: Reaction) -> None:
        """Does `then` to the first link with `marker`, and holds nothing."""
        self._traps.append(Trap(way=way, marker=marker, holds=None, left=1, then=then, link=None))

    async def replay(self, link: Link) -> Link:
        """Says to the server, on a connection of its own, all that the link's client has said."""
        reader, writer = await _connect(self.upstream)
        again = Link(client=None, server=writer)
        self.links.append(again)
        self._spawn(self._pump(again, Way.TO_CLIENT, reader))
        await again.to_server.take(bytes(link.to_server.seen))
        return again

    async def reset_all(self) -> None:
        """Every connection there is, at once."""
        for link in self.links:
            await link.reset()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One client, from its connection to its end."""
        if self.refuses:
            _reset(writer)
            return
        try:
            upstream_reader, upstream_writer = await _connect(self.upstream)
        except OSError:
            _reset(writer)  # as if nobody listened
            return
        link = Link(client=writer, server=upstream_writer)
        self.links.append(link)
        self._spawn(self._pump(link, Way.TO_SERVER, reader))
        self._spawn(self._pump(link, Way.TO_CLIENT, upstream_reader))

    async def close(self) -> None:
        """Ends every connection, whatever is held."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for link in self.links:
            for writer in (link.client, link.server):
                if writer is not None:
                    writer.transport.abort()

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _pump(self, link: Link, way: Way, reader: asyncio.StreamReader) -> None:
        lane = link.lanes[way]
        with suppress(OSError):  # a reset ends it as a close does
            while chunk := await reader.read(CHUNK_BYTES_MAX):
                fresh_from = len(lane.seen)
                lane.seen += chunk
                sprung = [trap for trap in self._traps if trap.springs(link, way, fresh_from)]
                await lane.take(self._rewritten(chunk) if way is Way.TO_SERVER else chunk)
                for trap in sprung:
                    if trap.then is not None:
                        await trap.then(link)
        await lane.end()

    def _rewritten(self, chunk: bytes) -> bytes:
        for said, heard in self._rewriting:
            self.rewritten += chunk.count(said)
            chunk = chunk.replace(said, heard)
        return chunk


@asynccontextmanager
async def fault_proxy(upstream: str, listen: str = "127.0.0.1:0") -> AsyncIterator[FaultProxy]:
    """A proxy on the running loop. Addresses are `host:port` or `unix:/path`."""
    proxy = FaultProxy(upstream)
    if listen.startswith(UNIX):
        server = await asyncio.start_unix_server(proxy.serve, listen.removeprefix(UNIX))
        proxy.address = listen
    else:
        host, _, port = listen.rpartition(":")
        server = await asyncio.start_server(proxy.serve, host, int(port))
        proxy.address = f"{host}:{server.sockets[0].getsockname()[1]}"
    try:
        yield proxy
    finally:
        server.close()
        await proxy.close()
        await server.wait_closed()


class Portal:
    """A loop in a thread of its own, for tests that otherwise wait for processes."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop

    def __call__(self, work: Coroutine[Any, Any, _T]) -> _T:
        """What a coroutine answers, run on that loop."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(2 * WAIT_SECONDS_MAX)


@contextmanager
def proxied(upstream: str, listen: str = "127.0.0.1:0") -> Iterator[tuple[FaultProxy, Portal]]:
    """A proxy that serves while the test's own thread waits for something else."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    portal = Portal(loop)
    context = fault_proxy(upstream, listen)
    try:
        proxy = portal(context.__aenter__())
        try:
            yield proxy, portal
        finally:
            portal(context.__aexit__(None, None, None))
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


async def _connect(address: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    if address.startswith(UNIX):
        return await asyncio.open_unix_connection(address.removeprefix(UNIX))
    host, _, port = address.rpartition(":")
    return await asyncio.open_connection(host, int(port))


def _reset(writer: asyncio.StreamWriter | None) -> None:
    """Over TCP the peer gets an RST; a unix socket knows no such thing, and is closed at once."""
    if writer is None:
        return
    peer = writer.get_extra_info("socket")
    if peer is not None and peer.family != socket.AF_UNIX:
        with suppress(OSError):  # it is closed already
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
