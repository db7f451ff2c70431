"""Where the server listens: nobody shares its place, and nobody reads along."""

import asyncio
import socket
import stat
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import grpc.aio
import pytest

from governor.config.listener import Listener
from governor.usecases.app import App
from governor.wire.identity import Authenticator, CertificateIdentity, DevelopmentIdentity
from governor.wire.limits import WireLimits
from governor.wire.listening import ListenRefused, TlsFiles, check_exposure
from governor.wire.server import GovernorServer, server_options

TLS = TlsFiles(certificate=b"", key=b"")
LOOPBACK = Listener(host="127.0.0.1", port=0)


def server_on(listener: Listener, authenticator: Authenticator | None = None) -> GovernorServer:
    app = SimpleNamespace(tail=SimpleNamespace(close=lambda: None))
    return GovernorServer(
        cast("App", app),
        listener=listener,
        authenticator=authenticator or DevelopmentIdentity(),
        incident_id=lambda: "incident-1",
    )


@asynccontextmanager
async def listening(listener: Listener) -> AsyncIterator[GovernorServer]:
    server = server_on(listener)
    await server.start()
    try:
        yield server
    finally:
        await server.drain(0)


async def refused(listener: Listener) -> ListenRefused:
    with pytest.raises(ListenRefused) as caught:
        await server_on(listener).start()
    return caught.value


async def test_a_free_port_is_taken_and_told() -> None:
    async with listening(LOOPBACK) as server:
        host, _, port = server.address.rpartition(":")
        assert host == "127.0.0.1"
        assert int(port) > 0


async def test_a_taken_port_is_refused() -> None:
    async with listening(LOOPBACK) as server:
        port = int(server.address.rpartition(":")[2])
        error = await refused(Listener(host="127.0.0.1", port=port))
    assert str(port) in str(error)


async def test_a_socket_is_its_owners_alone(tmp_path: Path) -> None:
    path = tmp_path / "governor.sock"
    async with listening(Listener(path=path)):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


async def test_a_socket_in_use_is_refused_and_stays_in_use(tmp_path: Path) -> None:
    """GRPC would unlink it and serve in its place, without a word to the first."""
    listener = Listener(path=tmp_path / "governor.sock")
    async with listening(listener) as server:
        error = await refused(listener)
        assert "another server" in error.cause
        async with grpc.aio.insecure_channel(server.address) as channel:
            await asyncio.wait_for(channel.channel_ready(), 5)


async def test_a_socket_of_somebody_without_our_lock_is_refused_too(tmp_path: Path) -> None:
    path = tmp_path / "governor.sock"
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as other:
        other.bind(str(path))
        other.listen()
        assert "listens there" in (await refused(Listener(path=path))).cause


async def test_a_socket_that_a_crash_left_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "governor.sock"
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as dead:
        dead.bind(str(path))
    async with (
        listening(Listener(path=path)) as server,
        grpc.aio.insecure_channel(server.address) as channel,
    ):
        await asyncio.wait_for(channel.channel_ready(), 5)


async def test_a_file_that_is_no_socket_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "governor.sock"
    path.write_text("precious")
    assert "no socket" in (await refused(Listener(path=path))).cause
    assert path.read_text() == "precious"


async def test_a_folder_that_is_not_there_is_refused(tmp_path: Path) -> None:
    await refused(Listener(path=tmp_path / "nowhere" / "governor.sock"))


async def test_a_place_is_free_again_after_the_drain(tmp_path: Path) -> None:
    listener = Listener(path=tmp_path / "governor.sock")
    for _ in range(2):
        async with listening(listener):
            pass


@pytest.mark.parametrize(
    ("listener", "tls", "believes_headers", "is_refused"),
    [
        (Listener(path=Path("/s")), None, True, False),
        (Listener(host="127.0.0.1", port=1), None, True, False),
        (Listener(host="::1", port=1), None, True, False),
        (Listener(host="0.0.0.0", port=1), None, True, True),
        (Listener(host="0.0.0.0", port=1), None, False, True),
        (Listener(host="0.0.0.0", port=1), TLS, True, True),
        (Listener(host="0.0.0.0", port=1), TLS, False, False),
        (Listener(host="example.com", port=1), None, False, True),
    ],
)
def test_what_can_be_reached_from_elsewhere_needs_tls_and_certificates(
    listener: Listener, tls: TlsFiles | None, believes_headers: bool, is_refused: bool
) -> None:
    try:
        check_exposure(listener, tls, believes_headers=believes_headers)
    except ListenRefused:
        assert is_refused
    else:
        assert not is_refused


async def test_the_server_itself_refuses_to_be_exposed() -> None:
    elsewhere = Listener(host="0.0.0.0", port=0)
    await refused(elsewhere)
    with pytest.raises(ListenRefused):
        await server_on(elsewhere, CertificateIdentity()).start()


def test_what_grpc_would_decide_by_itself_is_decided() -> None:
    options = dict(server_options(WireLimits(message_bytes_max=1000)))
    assert options["grpc.so_reuseport"] == 0
    assert options["grpc.max_receive_message_length"] > 1000
