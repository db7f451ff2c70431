"""The server around an engine: where it listens, that it is alone there, and how it ends."""

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Final

import grpc.aio
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from governance.v1 import mutation_engine_pb2_grpc
from governor.hostkit.engine import SERVICE, Engine
from governor.hostkit.journal import Journal
from governor.hostkit.locks import exclusive
from governor.hostkit.model import Host, TransactionT
from governor.hostkit.tracing import Tracing, configured_tracing

GRACE_SECONDS: Final = 5.0
# For answers on their way out. Health streams never end by themselves, and gRPC may leave a
# call without an answer that races with the end: neither shall use the whole grace up.
FLUSH_SECONDS: Final = 0.5
# Beside its payload, a message carries names, ids and the approvers.
MESSAGE_OVERHEAD_BYTES: Final = 256 * 1024
_SOCKET_UMASK: Final = 0o177
_UNIX_SCHEME: Final = "unix:"
_LOOPBACK_NAMES: Final = frozenset({"127.0.0.1", "[::1]", "localhost"})


class CannotListen(Exception):
    """The target is taken, unsafe or not an address."""

    def __init__(self, target: str, cause: str) -> None:
        super().__init__(f"cannot listen on {target}: {cause}")
        self.target = target


async def serve(
    host: Host[TransactionT],
    journal: Journal[TransactionT],
    *,
    listen: str,
    announce: Callable[[str], None],
    credentials: grpc.ServerCredentials | None = None,
) -> None:
    """Serve until SIGTERM or SIGINT; `announce` gets the bound target once calls are answered."""
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    async with served(host, journal, listen=listen, credentials=credentials) as target:
        announce(target)
        await stopped.wait()


@asynccontextmanager
async def served(
    host: Host[TransactionT],
    journal: Journal[TransactionT],
    *,
    listen: str,
    credentials: grpc.ServerCredentials | None = None,
    tracing: Tracing | None = None,
    clock: Callable[[], float] = time.time,  # noqa: TID251 - a host has no port to ask
) -> AsyncIterator[str]:
    """Serve inside the block and yield the bound target.

    `listen` is `host:port` (port 0 takes a free one) or `unix:/path`. At the end calls under way
    get `GRACE_SECONDS` to finish; health says NOT_SERVING meanwhile, and further calls HOST_BUSY.
    `clock` tells the time by which undo tokens expire.
    """
    server = grpc.aio.server(
        options=[
            # Two servers on one port would share its calls silently.
            ("grpc.so_reuseport", 0),
            ("grpc.max_receive_message_length", host.payload_bytes_max + MESSAGE_OVERHEAD_BYTES),
        ]
    )
    engine = Engine(host, journal, tracing or configured_tracing(), clock)
    mutation_engine_pb2_grpc.add_MutationEngineServicer_to_server(engine, server)
    health_servicer = health.aio.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(health_servicer, server)
    for service in ("", SERVICE):
        await health_servicer.set(service, health_pb2.HealthCheckResponse.SERVING)
    with _bound(server, listen, credentials) as target:
        await server.start()
        try:
            yield target
        finally:
            await health_servicer.enter_graceful_shutdown()
            await engine.under_way.drain(GRACE_SECONDS)
            await server.stop(FLUSH_SECONDS)


@contextmanager
def _bound(
    server: grpc.aio.Server, listen: str, credentials: grpc.ServerCredentials | None
) -> Iterator[str]:
    if listen.startswith(_UNIX_SCHEME):
        # gRPC takes a socket away from whoever serves on it, without asking: hence the lock.
        with exclusive(Path(listen.removeprefix(_UNIX_SCHEME).removeprefix("//"))):
            with _umask(_SOCKET_UMASK):
                _add_port(server, listen, credentials)
            yield listen
        return
    name, _, port = listen.rpartition(":")
    if not name or not port.isdecimal():
        raise CannotListen(listen, "it is neither host:port nor unix:/path")
    if credentials is None and name not in _LOOPBACK_NAMES:
        raise CannotListen(listen, "without credentials only loopback and unix sockets are safe")
    yield f"{name}:{_add_port(server, listen, credentials)}"


def _add_port(
    server: grpc.aio.Server, listen: str, credentials: grpc.ServerCredentials | None
) -> int:
    try:
        if credentials is None:
            return server.add_insecure_port(listen)
        return server.add_secure_port(listen, credentials)
    except RuntimeError as error:
        raise CannotListen(listen, "it is taken, or not an address of this machine") from error


@contextmanager
def _umask(mask: int) -> Iterator[None]:
    before = os.umask(mask)
    try:
        yield
    finally:
        os.umask(before)
