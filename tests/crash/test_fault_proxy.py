"""The proxy itself: each fault is the one that it is named for, on TCP and on a unix socket."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.support.fault_proxy import FaultProxy, Way, fault_proxy

Wire = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Parrot:
    """A server that answers each line with the same line, and remembers what it heard."""

    def __init__(self) -> None:
        self.heard: asyncio.Queue[bytes] = asyncio.Queue()
        self.resets = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while line := await reader.readline():
                self.heard.put_nowait(line)
                writer.write(b"heard " + line)
                await writer.drain()
        except ConnectionResetError:
            self.resets += 1
        finally:
            writer.close()


@asynccontextmanager
async def between(
    kind: str, folder: Path
) -> AsyncIterator[tuple[FaultProxy, Parrot, Callable[[], Awaitable[Wire]]]]:
    """A proxy in front of a parrot, and how a client connects to it."""
    parrot = Parrot()
    if kind == "unix":
        server = await asyncio.start_unix_server(parrot.serve, folder / "parrot.sock")
        upstream, listen = f"unix:{folder}/parrot.sock", f"unix:{folder}/proxy.sock"
    else:
        server = await asyncio.start_server(parrot.serve, "127.0.0.1", 0)
        upstream, listen = f"127.0.0.1:{server.sockets[0].getsockname()[1]}", "127.0.0.1:0"
    wires: list[Wire] = []

    async def connect() -> Wire:
        if kind == "unix":
            wire = await asyncio.open_unix_connection(folder / "proxy.sock")
        else:
            wire = await asyncio.open_connection("127.0.0.1", int(proxy.address.split(":")[1]))
        wires.append(wire)
        return wire

    async with asyncio.timeout(20), fault_proxy(upstream, listen) as proxy:
        try:
            yield proxy, parrot, connect
        finally:
            for _, writer in wires:
                writer.transport.abort()
            server.close()


both = pytest.mark.parametrize("kind", ["tcp", "unix"])


@both
async def test_without_a_trap_both_sides_hear_all_of_each_other(kind: str, tmp_path: Path) -> None:
    async with between(kind, tmp_path) as (_, parrot, connect):
        reader, writer = await connect()
        writer.write(b"one\ntwo\n")
        assert await reader.readline() == b"heard one\n"
        assert await reader.readline() == b"heard two\n"
        assert parrot.heard.qsize() == 2
        writer.close()


@both
async def test_what_is_held_arrives_when_it_is_let_go_and_not_before(
    kind: str, tmp_path: Path
) -> None:
    async with between(kind, tmp_path) as (proxy, parrot, connect):
        trap = proxy.trap(Way.TO_SERVER, b"slow")
        reader, writer = await connect()
        writer.write(b"quick\n")
        assert await reader.readline() == b"heard quick\n"
        writer.write(b"slow\n")
        link = await trap.sprung()
        await link.to_server.holds()
        assert parrot.heard.get_nowait() == b"quick\n"
        assert parrot.heard.empty()
        await link.to_server.release()
        assert await reader.readline() == b"heard slow\n"


@both
async def test_a_held_request_reaches_the_server_though_its_client_was_cut_off(
    kind: str, tmp_path: Path
) -> None:
    """The delayed call: who made it has given up, and it is carried out all the same."""
    async with between(kind, tmp_path) as (proxy, parrot, connect):
        trap = proxy.trap(Way.TO_SERVER, b"late")
        reader, writer = await connect()
        writer.write(b"late\n")
        link = await trap.sprung()
        await link.to_server.holds()
        await link.abandon_client()
        with pytest.raises((ConnectionResetError, asyncio.IncompleteReadError)):
            await reader.readexactly(1)
        assert parrot.heard.empty()
        await link.to_server.release()
        assert await parrot.heard.get() == b"late\n"


@both
async def test_an_answer_is_seen_and_lost(kind: str, tmp_path: Path) -> None:
    """The request was carried out; its client finds the connection broken instead of an answer."""
    async with between(kind, tmp_path) as (proxy, parrot, connect):
        trap = proxy.trap(Way.TO_SERVER, b"ask", holds=Way.TO_CLIENT)
        reader, writer = await connect()
        writer.write(b"ask\n")
        link = await trap.sprung()
        await link.to_client.saw(b"heard ask")
        assert parrot.heard.get_nowait() == b"ask\n"
        await link.reset()
        with pytest.raises((ConnectionResetError, asyncio.IncompleteReadError)):
            await reader.readexactly(1)


async def test_a_reset_is_a_reset_for_both(tmp_path: Path) -> None:
    async with between("tcp", tmp_path) as (proxy, parrot, connect):
        reader, writer = await connect()
        writer.write(b"one\n")
        await reader.readline()
        await proxy.reset_all()
        with pytest.raises(ConnectionResetError):
            await reader.readexactly(1)
        reader, writer = await connect()
        writer.write(b"two\n")
        assert await reader.readline() == b"heard two\n"
        assert parrot.resets == 1


@both
async def test_what_is_dropped_is_gone_and_nobody_is_told(kind: str, tmp_path: Path) -> None:
    """A black hole: the connection stands, and swallows."""
    async with between(kind, tmp_path) as (proxy, parrot, connect):
        trap = proxy.trap(Way.TO_SERVER, b"lost")
        reader, writer = await connect()
        writer.write(b"lost\n")
        link = await trap.sprung()
        await link.to_server.drop()
        writer.write(b"and this\n")
        await link.to_server.saw(b"and this")
        assert parrot.heard.empty()
        assert not reader.at_eof()


@both
async def test_a_connection_is_played_a_second_time(kind: str, tmp_path: Path) -> None:
    async with between(kind, tmp_path) as (proxy, parrot, connect):
        reader, writer = await connect()
        writer.write(b"once\n")
        assert await reader.readline() == b"heard once\n"
        again = await proxy.replay(proxy.links[0])
        await again.to_client.saw(b"heard once\n")
        assert [parrot.heard.get_nowait() for _ in range(2)] == [b"once\n"] * 2


async def test_a_marker_in_two_pieces_springs_the_trap_as_well(tmp_path: Path) -> None:
    async with between("tcp", tmp_path) as (proxy, _, connect):
        beginning = proxy.trap(Way.TO_SERVER, b"toge", holds=Way.TO_CLIENT)
        whole = proxy.trap(Way.TO_SERVER, b"together")
        _, writer = await connect()
        writer.write(b"toge")
        link = await beginning.sprung()
        assert not link.to_server.is_held
        writer.write(b"ther\n")
        assert await whole.sprung() is link
        assert link.to_server.is_held


async def test_a_proxy_that_refuses_lets_nobody_in(tmp_path: Path) -> None:
    async with between("tcp", tmp_path) as (proxy, _, connect):
        proxy.refuses = True
        reader, _ = await connect()
        with pytest.raises((ConnectionResetError, asyncio.IncompleteReadError)):
            await reader.readexactly(1)
