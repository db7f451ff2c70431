"""The server: its listener, its services, and how it goes down without losing anybody's place."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from contextlib import ExitStack
from typing import Final

import grpc.aio

from governor.config.listener import Listener
from governor.telemetry.instruments import Streams
from governor.telemetry.providers import OFF, Telemetry
from governor.usecases.app import App
from governor.wire.admission import Admission
from governor.wire.auxiliary import Health, reflection_handler
from governor.wire.endpoint import Surroundings, service_handler
from governor.wire.identity import Authenticator, DevelopmentIdentity
from governor.wire.limits import HARD_LIMIT_FACTOR, WireLimits
from governor.wire.listening import TlsFiles, bind, check_exposure, reserved
from governor.wire.rpcs import CALLS, STREAMS, Streaming, Unary

log = logging.getLogger(__name__)

SWEEP_SECONDS: Final = 1.0
ENDING_SECONDS_MAX: Final = 1.0
"""How long those that a drain has ended have to hear of it."""

STREAMS_SHARE: Final = 0.5
"""The part of a drain's time in which streams may finish by themselves."""


class GovernorServer:
    """GovernanceService, health and, on request, reflection, on one listener."""

    def __init__(
        self,
        app: App,
        *,
        listener: Listener,
        authenticator: Authenticator,
        incident_id: Callable[[], str],
        telemetry: Telemetry = OFF,
        bounds: WireLimits | None = None,
        tls: TlsFiles | None = None,
        reflection: bool = False,
        calls: Sequence[Unary] = CALLS,
        streams: Sequence[Streaming] = STREAMS,
    ) -> None:
        self._app = app
        self._listener = listener
        self._authenticator = authenticator
        self._incident_id = incident_id
        self._telemetry = telemetry
        self._bounds = bounds or WireLimits()
        self._tls = tls
        self._reflection = reflection
        self._calls = calls
        self._streams = streams
        self._held = ExitStack()
        self._health: Health
        self._admission: Admission
        self._server: grpc.aio.Server
        self._sweeping: asyncio.Task[None]
        self._address = ""

    @property
    def address(self) -> str:
        """Where clients reach it, once started."""
        return self._address

    @property
    def admission(self) -> Admission:
        """Who is being served, once started."""
        return self._admission

    def bind(self) -> None:
        """Takes the address; nobody is served yet. Raises ListenRefused."""
        check_exposure(
            self._listener,
            self._tls,
            believes_headers=isinstance(self._authenticator, DevelopmentIdentity),
        )
        self._admission = Admission(self._bounds)
        self._health = Health()
        self._server = grpc.aio.server(options=server_options(self._bounds))
        surroundings = Surroundings(
            app=self._app,
            authenticator=self._authenticator,
            telemetry=self._telemetry,
            admission=self._admission,
            bounds=self._bounds,
            incident_id=self._incident_id,
        )
        handlers = [
            service_handler(surroundings, self._calls, self._streams),
            self._health.handler(),
        ]
        if self._reflection:
            handlers.append(reflection_handler(self._authenticator))
        self._server.add_generic_rpc_handlers(tuple(handlers))
        with ExitStack() as held:
            held.enter_context(reserved(self._listener))
            self._address = bind(self._server, self._listener, self._tls)
            self._held = held.pop_all()

    async def start(self) -> None:
        """Serves, and binds first where that was not done. Raises ListenRefused."""
        if not self._address:
            self.bind()
        await self._server.start()
        if self._telemetry.instruments is not None:
            self._telemetry.instruments.observe_streams(self._stream_standing)
        self._sweeping = asyncio.get_running_loop().create_task(self._sweep())

    async def drain(self, seconds: float, *others: Awaitable[object]) -> None:
        """Goes down: refuses new calls, ends streams with their cursor, lets calls finish.

        What is not done after `seconds` is ended, too. Every caller hears DRAINING, and none loses
        what was acknowledged. New ones hear it until `others`, which drain at the same time, are
        done as well: of a server that has stopped they would hear gRPC's own words, or nothing.
        """
        await asyncio.gather(self._drain_calls(seconds), *others)
        self._sweeping.cancel()
        await self._server.stop(ENDING_SECONDS_MAX)
        self._held.close()

    async def _drain_calls(self, seconds: float) -> None:
        self._health.drain()
        self._admission.drain()
        self._app.tail.close()
        if not await self._admission.idle(seconds * STREAMS_SHARE):
            self._admission.end_streams()
        if not await self._admission.idle(seconds * (1 - STREAMS_SHARE)):
            self._admission.end_all()
            if not await self._admission.idle(ENDING_SECONDS_MAX):
                log.warning("calls were still open when the server stopped")

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(SWEEP_SECONDS)
            self._admission.sweep()

    def _stream_standing(self) -> Streams:
        return self._admission.streams(self._app.store.head.revision)


def server_options(bounds: WireLimits) -> list[tuple[str, int]]:
    """Everything gRPC would otherwise decide by itself."""
    return [
        ("grpc.so_reuseport", 0),
        ("grpc.max_allowed_incoming_connections", bounds.connections_max),
        ("grpc.max_concurrent_streams", bounds.connection_calls_max),
        ("grpc.max_receive_message_length", bounds.message_bytes_max * HARD_LIMIT_FACTOR),
        ("grpc.max_send_message_length", -1),
        ("grpc.keepalive_time_ms", round(bounds.keepalive_seconds * 1000)),
        ("grpc.keepalive_timeout_ms", round(bounds.keepalive_timeout_seconds * 1000)),
        # Subscribers may be silent for long and still want to know that the server is there.
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
    ]
