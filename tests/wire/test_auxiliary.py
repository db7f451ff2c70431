"""Health is for everybody and says when the server drains; reflection is for those with a name."""

import asyncio
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2

from governor.wire.auxiliary import HEALTH_WATCHERS_MAX
from governor.wire.rpcs import SERVICE
from tests.wire.serving import ALICE, Served, serving, told

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


async def check(served: Served, service: str = "") -> health_pb2.HealthCheckResponse:
    call = served.channel.unary_unary(
        "/grpc.health.v1.Health/Check",
        health_pb2.HealthCheckRequest.SerializeToString,
        health_pb2.HealthCheckResponse.FromString,
    )
    answer: health_pb2.HealthCheckResponse = await call(
        health_pb2.HealthCheckRequest(service=service), timeout=10
    )
    return answer


def watch(served: Served, service: str = "") -> Any:
    call = served.channel.unary_stream(
        "/grpc.health.v1.Health/Watch",
        health_pb2.HealthCheckRequest.SerializeToString,
        health_pb2.HealthCheckResponse.FromString,
    )
    return call(health_pb2.HealthCheckRequest(service=service), timeout=10)


async def test_health_needs_no_identity(tmp_path: Path) -> None:
    async with serving(tmp_path) as served:
        assert (await check(served)).status == SERVING
        assert (await check(served, SERVICE)).status == SERVING
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await check(served, "other")
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND


async def test_those_who_watch_see_the_drain_begin(tmp_path: Path) -> None:
    async with serving(tmp_path) as served:
        watching = watch(served, SERVICE)
        assert (await watching.read()).status == SERVING
        draining = asyncio.create_task(served.server.drain(1))
        assert (await watching.read()).status == NOT_SERVING
        await draining


async def test_an_unknown_service_is_watched_as_such(tmp_path: Path) -> None:
    async with serving(tmp_path) as served:
        answer = await watch(served, "other").read()
    assert answer.status == health_pb2.HealthCheckResponse.SERVICE_UNKNOWN


async def test_those_who_watch_are_few(tmp_path: Path) -> None:
    async with serving(tmp_path) as served:
        watching = [watch(served) for _ in range(HEALTH_WATCHERS_MAX)]
        for one in watching:
            await one.read()
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await watch(served).read()
    assert told(caught.value).info.reason == "OVERLOADED"


def reflect(served: Served, metadata: Any) -> Any:
    call = served.channel.stream_stream(
        "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
        reflection_pb2.ServerReflectionRequest.SerializeToString,
        reflection_pb2.ServerReflectionResponse.FromString,
    )
    asked = [reflection_pb2.ServerReflectionRequest(list_services="")]
    return call(iter(asked), metadata=metadata, timeout=10)


async def test_reflection_lists_the_services_to_those_with_a_name(tmp_path: Path) -> None:
    async with serving(tmp_path, reflection=True) as served:
        answer = await reflect(served, ALICE).read()
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await reflect(served, ()).read()
    names = [service.name for service in answer.list_services_response.service]
    assert SERVICE in names
    assert told(caught.value).info.reason == "UNAUTHENTICATED"


async def test_reflection_is_off_unless_asked_for(tmp_path: Path) -> None:
    async with serving(tmp_path) as served:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await reflect(served, ALICE).read()
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED
