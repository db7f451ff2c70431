"""The client against a real server that says what it is told to."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import grpc
import pytest

from governance.v1 import execution_pb2, mutation_pb2
from governance.v1 import mutation_engine_pb2 as engine
from governor.domain.compensation import Compensation, CompensationKind, CompensationTrigger
from governor.domain.errors import HostUnavailable
from governor.domain.execution import Applied, Busy, Fenced, InDoubt, NotSeen, Refused
from governor.domain.request import StaleStrategy, StateRef
from governor.domain.values import ExecutionId, Reason, RequestId
from governor.host import HostClient
from governor.host.codec import (
    COMPENSATION_KINDS,
    COMPENSATION_TRIGGERS,
    SEVERITIES,
    STALE_STRATEGIES,
)
from governor.usecases.ports import Circuit, Order
from tests.host.scripted_engine import CAPABLE, Error, ScriptedEngine, Silence, scripted_engine
from tests.support.builders import make_execution, make_request

TRACEPARENT = "00-0123456789abcdef0123456789abcdef-0123456789abcdef-01"
REQUEST = make_request(expected_version="6", stale_strategy=StaleStrategy.REVALIDATE_ON_LATEST)
EXECUTION = make_execution(REQUEST, fencing_token=3, expected_version="7")
ORDER = Order(request=REQUEST, execution=EXECUTION, approvers=("bob", "ann"))
TAKES_BACK = engine.GetCapabilitiesResponse(contract_version="governance.v1", rollback=True)
APPLIED = engine.ApplyMutationResponse(applied=execution_pb2.Applied(resulting_version="8"))


WRONG = Reason(code="WRONG", category="RISK", message="it was", metadata={"ticket": "T-1"})


def compensating(kind: CompensationKind) -> Order:
    """The order, made one that compensates an earlier execution."""
    compensation = Compensation(
        request_id=RequestId("mr-9"),
        execution_id=ExecutionId("ex-9"),
        kind=kind,
        trigger=CompensationTrigger.OPERATOR,
        undo_token=b"\x00token" if kind is CompensationKind.ROLLBACK else b"",
        reason=WRONG,
    )
    return ORDER.but(request=REQUEST.but(content=REQUEST.content.but(compensation=compensation)))


@asynccontextmanager
async def connected(
    folder: Path, *, seconds: float = 5.0
) -> AsyncIterator[tuple[HostClient, ScriptedEngine]]:
    async with scripted_engine(folder / "host.sock") as script:
        client = HostClient(script.target, call_seconds_max=seconds)
        try:
            yield client, script
        finally:
            await client.close()


async def test_an_order_carries_what_was_approved(tmp_path: Path) -> None:
    async with connected(tmp_path) as (client, script):
        script.reply("ApplyMutation", APPLIED)
        answer = await client.apply(ORDER, traceparent=TRACEPARENT)
        asked = script.last("ApplyMutation")
    assert answer == Applied(resulting_version="8")
    assert asked.has_deadline
    assert asked.metadata["traceparent"] == TRACEPARENT
    sent = engine.ApplyMutationRequest.FromString(asked.data)
    assert sent.execution_id == EXECUTION.id
    assert sent.fencing_token == 3
    assert sent.request_digest == EXECUTION.digest
    assert sent.mutation_request_id == REQUEST.id
    assert sent.request_audit_id == REQUEST.audit_id
    assert sent.execution_audit_id == EXECUTION.audit_id
    assert sent.context.tenant == "acme"
    assert sent.context.actor == "alice"
    assert sent.mutation.payload.data == REQUEST.content.payload.data
    assert sent.mutation.expected_version == "7", "of the execution, not as first submitted"
    assert sent.mutation.stale_strategy == mutation_pb2.STALE_STRATEGY_REVALIDATE_ON_LATEST
    assert list(sent.approvers) == ["bob", "ann"]


async def test_an_unversioned_order_names_no_version(tmp_path: Path) -> None:
    async with connected(tmp_path) as (client, script):
        script.reply("ApplyMutation", APPLIED)
        free = ORDER.but(execution=EXECUTION.but(expected_version=None))
        await client.apply(free, traceparent="")
        asked = script.last("ApplyMutation")
    sent = engine.ApplyMutationRequest.FromString(asked.data)
    assert not sent.mutation.HasField("expected_version")
    assert "traceparent" not in asked.metadata


@pytest.mark.parametrize("kind", CompensationKind)
async def test_an_order_says_what_it_takes_back_or_puts_right(
    tmp_path: Path, kind: CompensationKind
) -> None:
    order = compensating(kind)
    async with connected(tmp_path) as (client, script):
        script.reply("GetCapabilities", TAKES_BACK)
        script.reply("ApplyMutation", APPLIED)
        script.reply("ValidateMutation", engine.ValidateMutationResponse())
        await client.capabilities()
        await client.apply(order, traceparent="")
        applied = engine.ApplyMutationRequest.FromString(script.last("ApplyMutation").data)
        await client.validate(order.request)
        asked = engine.ValidateMutationRequest.FromString(script.last("ValidateMutation").data)
    assert applied.compensation == asked.compensation
    assert applied.compensation == mutation_pb2.Compensation(
        mutation_request_id="mr-9",
        execution_id="ex-9",
        kind=COMPENSATION_KINDS[kind],
        trigger=mutation_pb2.COMPENSATION_TRIGGER_OPERATOR,
        undo_token=order.request.content.compensation.undo_token,  # type: ignore[union-attr]  # it has one
        reason=mutation_pb2.Reason(
            code="WRONG", category="RISK", message="it was", metadata={"ticket": "T-1"}
        ),
    )


async def test_an_order_that_compensates_nothing_does_not_mention_it(tmp_path: Path) -> None:
    async with connected(tmp_path) as (client, script):
        script.reply("ApplyMutation", APPLIED)
        await client.apply(ORDER, traceparent="")
        sent = engine.ApplyMutationRequest.FromString(script.last("ApplyMutation").data)
    assert not sent.HasField("compensation")


async def test_a_rollback_never_reaches_a_host_that_would_take_it_for_a_change(
    tmp_path: Path,
) -> None:
    """Such a host would carry the original type out once more, with an empty payload."""
    rollback, forward = (compensating(kind) for kind in CompensationKind)
    async with connected(tmp_path) as (client, script):
        script.reply("ApplyMutation", APPLIED, APPLIED, APPLIED)
        script.reply("ValidateMutation", engine.ValidateMutationResponse())
        unasked = await client.apply(rollback, traceparent="")
        await client.capabilities()
        answer = await client.apply(rollback, traceparent="")
        opinion = await client.validate(rollback.request)
        assert [asked.method for asked in script.asked] == ["GetCapabilities"]
        assert isinstance(await client.apply(forward, traceparent=""), Applied)
    assert isinstance(answer, Busy)
    assert answer == unasked
    assert answer.reason.code == "ROLLBACK_NOT_ANNOUNCED"
    assert [violation.code for violation in opinion.violations] == ["ROLLBACK_NOT_ANNOUNCED"]


async def test_a_look_up_asks_for_the_execution_and_its_fence(tmp_path: Path) -> None:
    async with connected(tmp_path) as (client, script):
        not_seen = engine.LookupMutationResponse(not_seen=engine.NotSeen(fenced=True))
        script.reply("LookupMutation", not_seen)
        answer = await client.lookup(EXECUTION, fence=True, traceparent="")
        asked = script.last("LookupMutation")
    assert answer == NotSeen(fenced=True)
    sent = engine.LookupMutationRequest.FromString(asked.data)
    assert (sent.execution_id, sent.fencing_token, sent.fence) == (EXECUTION.id, 3, True)
    assert asked.has_deadline


@pytest.mark.parametrize(
    ("reply", "kind"),
    [
        (Error(code=grpc.StatusCode.INVALID_ARGUMENT, reason="MUTATION_NOT_SUPPORTED"), Refused),
        (Error(code=grpc.StatusCode.RESOURCE_EXHAUSTED, reason="HOST_BUSY"), Busy),
        (Error(code=grpc.StatusCode.FAILED_PRECONDITION, reason="FENCED"), Fenced),
        (Error(code=grpc.StatusCode.FAILED_PRECONDITION), InDoubt),
        (Error(code=grpc.StatusCode.UNAVAILABLE), InDoubt),
        (b"\xff\xff", InDoubt),
        (b"", InDoubt),
        (Silence(), InDoubt),
    ],
    ids=repr,
)
async def test_an_order_is_always_answered(
    tmp_path: Path, reply: Error | Silence | bytes, kind: type
) -> None:
    """The whole table is tried without a server; this shows that errors survive the wire."""
    seconds = 0.1 if isinstance(reply, Silence) else 5.0
    async with connected(tmp_path, seconds=seconds) as (client, script):
        script.reply("ApplyMutation", reply)
        assert isinstance(await client.apply(ORDER, traceparent=""), kind)


async def test_a_host_that_is_not_there_leaves_orders_in_doubt(tmp_path: Path) -> None:
    client = HostClient(f"unix:{tmp_path}/nobody.sock", call_seconds_max=5.0)
    answer = await client.apply(ORDER, traceparent="")
    assert isinstance(answer, InDoubt)
    assert answer.reason.code == "UNAVAILABLE"
    with pytest.raises(HostUnavailable):
        await client.capabilities()
    assert client.known_capabilities is None
    await client.close()


async def test_closing_the_connection_leaves_an_order_in_doubt(tmp_path: Path) -> None:
    """GRPC reports it as a cancellation, which it is not."""
    async with connected(tmp_path, seconds=60) as (client, script):
        script.reply("ApplyMutation", Silence())
        ordering = asyncio.create_task(client.apply(ORDER, traceparent=""))
        await script.arrived.wait()
        await client.close()
        assert isinstance(await ordering, InDoubt)


async def test_cancelling_whoever_orders_is_no_answer(tmp_path: Path) -> None:
    async with connected(tmp_path, seconds=60) as (client, script):
        script.reply("ApplyMutation", Silence())
        ordering = asyncio.create_task(client.apply(ORDER, traceparent=""))
        await script.arrived.wait()
        ordering.cancel()
        with pytest.raises(asyncio.CancelledError):
            await ordering


async def test_a_fault_of_our_own_is_doubt_and_is_logged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with connected(tmp_path) as (client, _):
        spoiled = ORDER.but(approvers=("\ud800",))
        with caplog.at_level(logging.ERROR):
            answer = await client.apply(spoiled, traceparent="")
    assert isinstance(answer, InDoubt)
    assert answer.reason.code == "CLIENT_FAULT"
    assert [record.exc_info is not None for record in caplog.records] == [True]


async def test_capabilities_are_asked_once_per_connection(tmp_path: Path) -> None:
    async with connected(tmp_path) as (client, script):
        nothing = client.known_capabilities
        first = await client.capabilities()
        second = await client.capabilities()
        assert nothing is None
        assert first is second is client.known_capabilities
        assert [asked.method for asked in script.asked] == ["GetCapabilities"]
    assert first.exactly_once
    assert first.compare_and_apply
    assert first.lineage_id == "lineage-1"
    assert first.host_name == "flags"


async def test_another_host_behind_a_new_connection_is_asked_what_it_promises(
    tmp_path: Path,
) -> None:
    """Nobody calls in between: the connection itself says that it is new."""
    path = tmp_path / "host.sock"
    async with scripted_engine(path) as script:
        client = HostClient(script.target, call_seconds_max=5.0)
        before = await client.capabilities()
    restored = ScriptedEngine()
    weaker = engine.GetCapabilitiesResponse(contract_version="governance.v1", lineage_id="other")
    restored.reply("GetCapabilities", weaker)
    async with scripted_engine(path, restored), asyncio.timeout(10):
        await restored.arrived.wait()
        # The client asks by itself; this waits for what it is told.
        after = await client.capabilities()
        await client.close()
    assert (before.lineage_id, after.lineage_id) == ("lineage-1", "other")
    assert (before.exactly_once, after.exactly_once) == (True, False)


async def test_asking_that_was_given_up_leaves_nothing_believed(tmp_path: Path) -> None:
    async with connected(tmp_path, seconds=60) as (client, script):
        script.reply("GetCapabilities", Silence(), CAPABLE)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await client.capabilities()
        assert client.known_capabilities is None
        assert (await client.capabilities()).exactly_once


async def test_a_host_of_another_contract_is_refused_by_name(tmp_path: Path) -> None:
    async with connected(tmp_path) as (client, script):
        other = engine.GetCapabilitiesResponse(contract_version="governance.v2")
        script.reply("GetCapabilities", other, CAPABLE)
        with pytest.raises(HostUnavailable) as caught:
            await client.capabilities()
        assert caught.value.facts == {
            "contract_version": "governance.v2",
            "expected": "governance.v1",
        }
        assert client.known_capabilities is None
        await client.capabilities()


async def test_a_version_is_read(tmp_path: Path) -> None:
    async with connected(tmp_path) as (client, script):
        script.reply("GetState", engine.GetStateResponse(version="7", exists=True))
        version = await client.state_version("acme", StateRef(type="flag", id="checkout"))
        asked = engine.GetStateRequest.FromString(script.last("GetState").data)
    assert version == "7"
    assert (asked.tenant, asked.state.type, asked.state.id) == ("acme", "flag", "checkout")


@pytest.mark.parametrize(
    "reply", [Error(code=grpc.StatusCode.INTERNAL), b"\xff\xff"], ids=["status", "garbage"]
)
async def test_a_version_that_cannot_be_read_is_a_host_that_is_not_available(
    tmp_path: Path, reply: Error | bytes
) -> None:
    async with connected(tmp_path) as (client, script):
        script.reply("GetState", reply)
        with pytest.raises(HostUnavailable) as caught:
            await client.state_version("acme", StateRef(type="flag", id="checkout"))
    assert "the host's words" not in caught.value.message


async def test_an_opinion_is_read(tmp_path: Path) -> None:
    async with connected(tmp_path) as (client, script):
        script.reply(
            "ValidateMutation",
            engine.ValidateMutationResponse(
                violations=[engine.Violation(code="NO_SUCH_FLAG", message="no")],
                preview=[execution_pb2.Change(path="a", after="1")],
                current_version="7",
                plan_digest=b"p",
            ),
        )
        opinion = await client.validate(REQUEST)
        asked = engine.ValidateMutationRequest.FromString(script.last("ValidateMutation").data)
    assert opinion.violations[0].code == "NO_SUCH_FLAG"
    assert (opinion.preview[0].before, opinion.preview[0].after) == (None, "1")
    assert (opinion.current_version, opinion.plan_digest) == ("7", b"p")
    assert asked.mutation.expected_version == "6"


async def test_a_refused_question_is_an_objection(tmp_path: Path) -> None:
    async with connected(tmp_path) as (client, script):
        script.reply(
            "ValidateMutation",
            Error(code=grpc.StatusCode.INVALID_ARGUMENT, reason="MUTATION_NOT_SUPPORTED"),
            Error(code=grpc.StatusCode.INVALID_ARGUMENT),
        )
        opinion = await client.validate(REQUEST)
        assert opinion.violations[0].code == "MUTATION_NOT_SUPPORTED"
        with pytest.raises(HostUnavailable):
            await client.validate(REQUEST)


def test_the_tables_of_enumerations_are_whole() -> None:
    assert set(STALE_STRATEGIES) == set(StaleStrategy)
    assert set(SEVERITIES) == set(execution_pb2.Severity.values())
    assert set(COMPENSATION_KINDS) == set(CompensationKind)
    assert set(COMPENSATION_TRIGGERS) == set(CompensationTrigger)


# --- A host that does not answer ----------------------------------------------------------------


class Watch:
    """A monotonic clock that stands still until it is moved."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@asynccontextmanager
async def guarded(folder: Path) -> AsyncIterator[tuple[HostClient, ScriptedEngine, Watch]]:
    """A client whose circuit opens after two failures, for ten seconds of its own clock."""
    watch = Watch()
    async with scripted_engine(folder / "host.sock") as script:
        client = HostClient(
            script.target,
            call_seconds_max=5.0,
            failures_max=2,
            pause_seconds_initial=10.0,
            pause_seconds_max=40.0,
            monotonic=watch,
        )
        try:
            yield client, script, watch
        finally:
            await client.close()


AWAY = Error(code=grpc.StatusCode.UNAVAILABLE)


async def shut(client: HostClient, script: ScriptedEngine) -> None:
    """Fails until the circuit opens."""
    script.reply("GetState", AWAY)
    for _ in range(2):
        with pytest.raises(HostUnavailable):
            await client.state_version("acme", StateRef(type="flag", id="a"))
    assert client.condition.circuit is Circuit.OPEN
    script.asked.clear()


async def test_to_a_host_that_fails_to_answer_nothing_more_is_sent(tmp_path: Path) -> None:
    """An order that was not sent is known not to be applied; of a look-up nothing is known."""
    async with guarded(tmp_path) as (client, script, _):
        script.reply("ApplyMutation", APPLIED)
        await shut(client, script)
        ordered = await client.apply(ORDER, traceparent="")
        looked_up = await client.lookup(EXECUTION, fence=True, traceparent="")
        with pytest.raises(HostUnavailable):
            await client.state_version("acme", StateRef(type="flag", id="a"))
        with pytest.raises(HostUnavailable):
            await client.validate(REQUEST)
        with pytest.raises(HostUnavailable):
            await client.capabilities()
    assert isinstance(ordered, Busy)
    assert (ordered.reason.code, ordered.retry_after_us) == ("HOST_CIRCUIT_OPEN", 10_000_000)
    assert isinstance(looked_up, InDoubt)
    assert script.asked == []


async def test_after_the_pause_one_call_tries_and_its_answer_opens_the_way(tmp_path: Path) -> None:
    async with guarded(tmp_path) as (client, script, watch):
        await shut(client, script)
        watch.now += 10.0
        script.reply("GetState", engine.GetStateResponse(version="8"))
        assert await client.state_version("acme", StateRef(type="flag", id="a")) == "8"
        assert client.condition.circuit is Circuit.CLOSED
        assert client.condition.reached_at is not None


async def test_while_one_call_tries_no_other_is_sent(tmp_path: Path) -> None:
    async with guarded(tmp_path) as (client, script, watch):
        await shut(client, script)
        watch.now += 10.0
        script.reply("GetState", Silence())
        script.arrived.clear()
        state = StateRef(type="flag", id="a")
        trying = asyncio.create_task(client.state_version("acme", state))
        await script.arrived.wait()
        assert isinstance(await client.apply(ORDER, traceparent=""), Busy)
        trying.cancel()
        with pytest.raises(asyncio.CancelledError):
            await trying
        script.reply("GetState", engine.GetStateResponse(version="8"))
        assert await client.state_version("acme", state) == "8"
    assert [asked.method for asked in script.asked] == ["GetState", "GetState"]


@pytest.mark.parametrize(
    "error",
    [
        Error(code=grpc.StatusCode.RESOURCE_EXHAUSTED, reason="HOST_BUSY"),
        Error(code=grpc.StatusCode.INVALID_ARGUMENT, reason="NO_SUCH_FLAG"),
        Error(code=grpc.StatusCode.UNAVAILABLE, reason="RESTARTING"),
        Error(code=grpc.StatusCode.INTERNAL),
    ],
    ids=lambda error: f"{error.code.name} {error.reason}",
)
async def test_whoever_answers_is_there_whatever_the_answer(tmp_path: Path, error: Error) -> None:
    async with guarded(tmp_path) as (client, script, _):
        script.reply("ApplyMutation", error)
        for _ in range(5):
            await client.apply(ORDER, traceparent="")
        assert client.condition.circuit is Circuit.CLOSED
        assert len(script.asked) == 5


async def test_answers_that_cannot_be_read_open_no_circuit(tmp_path: Path) -> None:
    """Somebody is there; what it means is another question."""
    async with guarded(tmp_path) as (client, script, _):
        script.reply("ApplyMutation", b"\xff\xff")
        for _ in range(5):
            assert isinstance(await client.apply(ORDER, traceparent=""), InDoubt)
        assert client.condition.circuit is Circuit.CLOSED


async def test_a_host_that_is_too_slow_is_left_alone(tmp_path: Path) -> None:
    async with connected(tmp_path, seconds=0.05) as (client, script):
        script.reply("ApplyMutation", Silence())
        while client.condition.circuit is Circuit.CLOSED:
            assert isinstance(await client.apply(ORDER, traceparent=""), InDoubt)
        assert isinstance(await client.apply(ORDER, traceparent=""), Busy)
    assert len([asked for asked in script.asked if asked.method == "ApplyMutation"]) == 5


async def test_the_promises_are_told_each_time_they_are_read(tmp_path: Path) -> None:
    """Before whoever asked for them goes on; also when nobody did, after a new connection."""
    told: list[str] = []
    path = tmp_path / "host.sock"
    script = ScriptedEngine()
    async with scripted_engine(path, script):
        client = HostClient(script.target, call_seconds_max=5.0)
        client.listen(lambda capabilities: told.append(capabilities.lineage_id))
        await client.capabilities()
        await client.capabilities()
        assert told == ["lineage-1"]
    again = asyncio.Event()
    client.listen(lambda _: again.set())
    restored = engine.GetCapabilitiesResponse()
    restored.CopyFrom(CAPABLE)
    restored.lineage_id = "lineage-2"
    script.reply("GetCapabilities", restored)
    async with scripted_engine(path, script):
        await asyncio.wait_for(again.wait(), 10)
        assert told == ["lineage-1", "lineage-2"]
        await client.close()


@pytest.mark.parametrize("lineage", ["line\nage", "x" * 257, "löwe"])
async def test_a_lineage_that_nobody_could_name_is_no_answer(tmp_path: Path, lineage: str) -> None:
    async with connected(tmp_path) as (client, script):
        answer = engine.GetCapabilitiesResponse()
        answer.CopyFrom(CAPABLE)
        answer.lineage_id = lineage
        script.reply("GetCapabilities", answer)
        with pytest.raises(HostUnavailable):
            await client.capabilities()
