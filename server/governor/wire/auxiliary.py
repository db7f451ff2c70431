"""The services beside GovernanceService: health for orchestrators, reflection for people."""

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Callable
from typing import Any, Final

import grpc
import grpc.aio
from google.protobuf import descriptor_pool
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2
from grpc_reflection.v1alpha.reflection import aio as reflection_aio

from governor.domain.errors import GovernorError, Overloaded
from governor.wire.errors import refusal_of
from governor.wire.identity import Authenticator, Context
from governor.wire.rpcs import SERVICE

HEALTH: Final = health_pb2.DESCRIPTOR.services_by_name["Health"].full_name
REFLECTION: Final = reflection_pb2.DESCRIPTOR.services_by_name["ServerReflection"].full_name

HEALTH_WATCHERS_MAX: Final = 64
"""Health is asked without an identity, so the streams it keeps open are few."""

REFLECTORS_MAX: Final = 16


class Health:
    """grpc.health.v1 for the server as a whole and its one service.

    gRPC's own servicer holds a lock while it writes to a watcher, so that one who does not read
    would keep the server from saying that it drains.
    """

    def __init__(self) -> None:
        self._drained = asyncio.Event()
        self._watchers = 0

    def drain(self) -> None:
        """From now on NOT_SERVING."""
        self._drained.set()

    def handler(self) -> grpc.GenericRpcHandler:
        """To be registered with a server."""
        read = health_pb2.HealthCheckRequest.FromString
        write = health_pb2.HealthCheckResponse.SerializeToString
        return grpc.method_handlers_generic_handler(
            HEALTH,
            {
                "Check": grpc.unary_unary_rpc_method_handler(self._check, read, write),
                "Watch": grpc.unary_stream_rpc_method_handler(self._watch, read, write),
            },
        )

    def _standing(self) -> health_pb2.HealthCheckResponse:
        if self._drained.is_set():
            return health_pb2.HealthCheckResponse(status=health_pb2.HealthCheckResponse.NOT_SERVING)
        return health_pb2.HealthCheckResponse(status=health_pb2.HealthCheckResponse.SERVING)

    async def _check(
        self, request: health_pb2.HealthCheckRequest, context: Context
    ) -> health_pb2.HealthCheckResponse:
        if request.service not in ("", SERVICE):
            await context.abort(grpc.StatusCode.NOT_FOUND, "no such service")
        return self._standing()

    async def _watch(
        self, request: health_pb2.HealthCheckRequest, context: Context
    ) -> AsyncIterator[health_pb2.HealthCheckResponse]:
        if self._watchers >= HEALTH_WATCHERS_MAX:
            await _refuse(context, Overloaded("HEALTH_WATCHERS_MAX", HEALTH_WATCHERS_MAX))
        self._watchers += 1
        try:
            if request.service in ("", SERVICE):
                if not self._drained.is_set():
                    yield self._standing()
                    await self._drained.wait()
                yield self._standing()
            else:
                yield health_pb2.HealthCheckResponse(
                    status=health_pb2.HealthCheckResponse.SERVICE_UNKNOWN
                )
            # A watch that ends tells its watcher to call again; the last status is final here.
            await asyncio.Event().wait()
        finally:
            self._watchers -= 1


def reflection_handler(authenticator: Authenticator) -> grpc.GenericRpcHandler:
    """The contract, to be read by those who have an identity: only health goes without."""
    servicer = reflection_aio.ReflectionServicer(
        (SERVICE, HEALTH, REFLECTION), pool=descriptor_pool.Default()
    )
    reading = 0

    async def reflect(
        requests: AsyncIterable[reflection_pb2.ServerReflectionRequest], context: Context
    ) -> AsyncIterator[reflection_pb2.ServerReflectionResponse]:
        nonlocal reading
        try:
            authenticator.authenticate(context, tuple(context.invocation_metadata() or ()))
            if reading >= REFLECTORS_MAX:
                raise Overloaded("REFLECTORS_MAX", REFLECTORS_MAX)
        except GovernorError as error:
            await _refuse(context, error)
        reading += 1
        try:
            answers: Any = servicer.ServerReflectionInfo(requests, context)
            async for answer in answers:
                yield answer
        finally:
            reading -= 1

    write: Callable[[Any], bytes] = reflection_pb2.ServerReflectionResponse.SerializeToString
    return grpc.method_handlers_generic_handler(
        REFLECTION,
        {
            "ServerReflectionInfo": grpc.stream_stream_rpc_method_handler(
                reflect, reflection_pb2.ServerReflectionRequest.FromString, write
            )
        },
    )


async def _refuse(context: Context, error: GovernorError) -> None:
    refusal = refusal_of(error)
    await context.abort(refusal.code, refusal.message, refusal.trailing_metadata)
