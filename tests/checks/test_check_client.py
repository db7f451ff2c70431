"""The client of checks against real servers that answer what a test says."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest

from governance.v1 import governance_check_pb2 as wire
from governance.v1 import governance_check_pb2_grpc, mutation_pb2
from governor.check_client import CHANNELS_MAX, CheckClient
from governor.domain.request import PendingReason, Status
from governor.domain.values import Reason
from governor.policy_gates import CheckService
from governor.usecases.ports import CheckAnswer, CheckOutcome
from tests.support.builders import make_request
from tests.wire.test_identity import Authority

REQUEST = make_request(
    status=Status.PENDING, waits_for=(PendingReason.EXTERNAL_CHECK,), payload=b"\x00exact\xff"
).but(traceparent="00-0123456789abcdef0123456789abcdef-0123456789abcdef-01")
NONE = CheckAnswer(outcome=CheckOutcome.NONE)
NOT_A_MESSAGE = b"\xff\xff\xff"


class Service:
    """A GovernanceCheck server whose bytes are a test's."""

    def __init__(self) -> None:
        self.reply: wire.CheckResponse | bytes | grpc.StatusCode | None = None
        self.asked: list[wire.CheckRequest] = []
        self.metadata: dict[str, str] = {}
        self.arrived = asyncio.Event()

    async def answer(self, data: bytes, context: Any) -> bytes:
        self.asked.append(wire.CheckRequest.FromString(data))
        self.metadata = dict(context.invocation_metadata())
        assert context.time_remaining() is not None
        self.arrived.set()
        match self.reply:
            case None:
                await asyncio.Event().wait()
                raise AssertionError("unreachable")
            case grpc.StatusCode():
                await context.abort(self.reply, "the service's words")
                raise AssertionError("abort raises")
            case bytes():
                return self.reply
            case _:
                return self.reply.SerializeToString()


@asynccontextmanager
async def served(folder: Path, name: str = "check") -> AsyncIterator[tuple[Service, CheckService]]:
    """A server on a socket of its own, and where policy would say it is."""
    service, server = Service(), grpc.aio.server()
    handler: Any = grpc.unary_unary_rpc_method_handler(service.answer)
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler("governance.v1.GovernanceCheck", {"Check": handler}),)
    )
    server.add_insecure_port(f"unix:{folder}/{name}.sock")
    await server.start()
    try:
        yield service, CheckService(target=f"unix:{folder}/{name}.sock", call_seconds_max=5.0)
    finally:
        await server.stop(0)


@asynccontextmanager
async def connected(
    folder: Path, *, seconds: float = 5.0
) -> AsyncIterator[tuple[CheckClient, Service]]:
    async with served(folder) as (service, place):
        client = CheckClient({"scan": place.but(call_seconds_max=seconds)}.get)
        try:
            yield client, service
        finally:
            await client.close()


def answered(
    outcome: "wire.CheckOutcome.ValueType", code: str = "", message: str = ""
) -> wire.CheckResponse:
    reason = mutation_pb2.Reason(code=code, message=message)
    return wire.CheckResponse(outcome=outcome, reason=reason if code else None)


async def test_the_service_sees_the_request_whole(tmp_path: Path) -> None:
    async with connected(tmp_path) as (client, service):
        service.reply = answered(wire.CHECK_OUTCOME_PASSED, "CLEAN", "nothing found")
        answer = await client.ask("scan", REQUEST)
    assert answer == CheckAnswer(
        outcome=CheckOutcome.PASSED, reason=Reason(code="CLEAN", message="nothing found")
    )
    (asked,) = service.asked
    assert asked.name == "scan"
    assert asked.request.id == REQUEST.id
    assert asked.request.request_digest == REQUEST.progress.digest
    assert asked.request.mutation.payload.data == REQUEST.content.payload.data
    assert service.metadata["traceparent"] == REQUEST.traceparent


@pytest.mark.parametrize(
    ("outcome", "code", "expected"),
    [
        (wire.CHECK_OUTCOME_PASSED, "", CheckOutcome.PASSED),
        (wire.CHECK_OUTCOME_FAILED, "FROZEN", CheckOutcome.FAILED),
        (wire.CHECK_OUTCOME_LATER, "", CheckOutcome.LATER),
    ],
)
async def test_each_answer_is_read_as_what_it_is(
    tmp_path: Path, outcome: "wire.CheckOutcome.ValueType", code: str, expected: CheckOutcome
) -> None:
    async with connected(tmp_path) as (client, service):
        service.reply = answered(outcome, code)
        answer = await client.ask("scan", REQUEST)
    assert answer.outcome is expected
    assert answer.reason.code == code


@pytest.mark.parametrize(
    "reply",
    [
        wire.CheckResponse(),
        wire.CheckResponse(outcome=99),  # type: ignore[arg-type]  # of a later contract
        answered(wire.CHECK_OUTCOME_FAILED),
        NOT_A_MESSAGE,
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.PERMISSION_DENIED,
        grpc.StatusCode.FAILED_PRECONDITION,
        grpc.StatusCode.INTERNAL,
        grpc.StatusCode.UNIMPLEMENTED,
    ],
    ids=str,
)
async def test_whatever_is_no_answer_is_none(tmp_path: Path, reply: Any) -> None:
    """Neither a yes nor a no: the request goes on waiting."""
    async with connected(tmp_path) as (client, service):
        service.reply = reply
        assert await client.ask("scan", REQUEST) == NONE


async def test_a_service_that_is_silent_has_its_time_and_no_more(tmp_path: Path) -> None:
    async with connected(tmp_path, seconds=0.05) as (client, service):
        assert await client.ask("scan", REQUEST) == NONE
    assert len(service.asked) == 1


async def test_a_service_that_is_not_there_has_no_answer(tmp_path: Path) -> None:
    place = CheckService(target=f"unix:{tmp_path}/none.sock", call_seconds_max=0.5)
    client = CheckClient({"scan": place}.get)
    assert await client.ask("scan", REQUEST) == NONE
    await client.close()


async def test_a_check_that_policy_does_not_know_has_nobody_to_ask() -> None:
    client = CheckClient(dict[str, CheckService]().get)
    assert (await client.ask("scan", REQUEST)).outcome is CheckOutcome.NOBODY
    await client.close()


async def test_closing_ends_a_call_without_an_answer(tmp_path: Path) -> None:
    async with connected(tmp_path) as (client, service):
        call = asyncio.create_task(client.ask("scan", REQUEST))
        await service.arrived.wait()
        await client.close()
        assert await call == NONE


async def test_whoever_gives_up_is_let_go(tmp_path: Path) -> None:
    async with connected(tmp_path) as (client, service):
        call = asyncio.create_task(client.ask("scan", REQUEST))
        await service.arrived.wait()
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call


async def test_words_are_cut_to_what_the_ledger_takes(tmp_path: Path) -> None:
    async with connected(tmp_path) as (client, service):
        reason = mutation_pb2.Reason(
            code="C" * 1000, message="m" * 10_000, metadata={f"k{n}": "v" for n in range(100)}
        )
        service.reply = wire.CheckResponse(outcome=wire.CHECK_OUTCOME_FAILED, reason=reason)
        answer = await client.ask("scan", REQUEST)
    assert len(answer.reason.code) == 128
    assert len(answer.reason.message) == 4096
    assert len(answer.reason.metadata) == 32


async def test_one_address_is_one_connection_and_policy_may_move_it(tmp_path: Path) -> None:
    async with served(tmp_path, "a") as (one, first), served(tmp_path, "b") as (two, second):
        places = {"scan": first, "lint": first}
        client = CheckClient(places.get)
        one.reply = two.reply = answered(wire.CHECK_OUTCOME_PASSED)
        for name in ("scan", "lint"):
            await client.ask(name, REQUEST)
        assert len(client._channels) == 1
        places["scan"] = second
        await client.ask("scan", REQUEST)
        assert [asked.name for asked in two.asked] == ["scan"]
        await client.close()


async def test_connections_are_bounded_however_often_policy_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("governor.check_client.CHANNELS_MAX", 2)
    places: dict[str, CheckService] = {}
    client = CheckClient(places.get)
    for number in range(5):
        places["scan"] = CheckService(
            target=f"unix:{tmp_path}/{number}.sock", call_seconds_max=0.05
        )
        await client.ask("scan", REQUEST)
    assert len(client._channels) == 2 < CHANNELS_MAX
    await client.close()


@pytest.mark.parametrize(("trusts", "outcome"), [("ca", "PASSED"), ("other", "NONE")])
async def test_over_tls_only_whom_the_authority_knows_is_believed(
    tmp_path: Path, trusts: str, outcome: str
) -> None:
    (tmp_path / "other").mkdir()
    authority, other = Authority(tmp_path), Authority(tmp_path / "other")
    authority.issue("server", common="server", alternatives="DNS:localhost")
    service, server = Service(), grpc.aio.server()
    service.reply = answered(wire.CHECK_OUTCOME_PASSED)
    handler: Any = grpc.unary_unary_rpc_method_handler(service.answer)
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler("governance.v1.GovernanceCheck", {"Check": handler}),)
    )
    credentials = grpc.ssl_server_credentials(
        [(authority.read("server.key"), authority.read("server.pem"))]
    )
    port = server.add_secure_port("localhost:0", credentials)
    await server.start()
    ca = (authority if trusts == "ca" else other).read("ca.pem")
    place = CheckService(target=f"localhost:{port}", call_seconds_max=2.0, tls_ca=ca)
    client = CheckClient({"scan": place}.get)
    assert (await client.ask("scan", REQUEST)).outcome == outcome
    await client.close()
    await server.stop(0)


def test_the_generated_stub_serves_the_same_method() -> None:
    """A service made with the stubs is what is called."""
    assert "Check" in vars(governance_check_pb2_grpc.GovernanceCheckServicer)
