"""A sidecar told to go down in the middle of everything: in order, in time, losing nothing."""

import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from governance.v1 import decision_pb2, request_pb2
from governance.v1 import governance_service_pb2 as service
from governor.wire.errors import STATUS_KEY
from tests.support.deployment import (
    CALL_SECONDS_MAX,
    TENANT,
    Client,
    Deployment,
    codes,
    submission,
)
from tests.support.frozen import Freezer
from tests.support.postgres import PostgresServer, postgres_server
from tests.wire.serving import told_in

__all__ = ["postgres_server"]  # a fixture: found here by its name

APPROVED = request_pb2.REQUEST_STATUS_APPROVED
EXECUTED = request_pb2.REQUEST_STATUS_EXECUTED
LOCAL = [("grpc.default_authority", "localhost")]


@contextmanager
def health_of(deployment: Deployment) -> Iterator[Iterator[int]]:
    """What an orchestrator sees of the sidecar, from one change to the next."""
    with grpc.insecure_channel(deployment.target, LOCAL) as channel:
        stub: Any = health_pb2_grpc.HealthStub(channel)
        yield (answer.status for answer in stub.Watch(health_pb2.HealthCheckRequest()))


def reason_of(failure: Any) -> tuple[str, dict[str, str]]:
    """The reason of a failed call, with its facts."""
    info = told_in(dict(failure.trailing_metadata())[STATUS_KEY]).info
    return info.reason, dict(info.metadata)


def refusal(call: Callable[[], Any]) -> tuple[str, dict[str, str]]:
    with pytest.raises(grpc.RpcError) as failed:
        call()
    return reason_of(failed.value)


def begun(client: Client, rpc: str, request: Any) -> Any:
    """A call that is under way; its result is a matter of its own."""
    metadata = (("governor-actor", client.actor),)
    return getattr(client.stub, rpc).future(request, timeout=CALL_SECONDS_MAX, metadata=metadata)


def stream_of(client: Client, after: int) -> Any:
    request = service.StreamDecisionsRequest(after_revision=after)
    request.filter.tenant = TENANT
    metadata = (("governor-actor", client.actor),)
    return client.stub.StreamDecisions(request, timeout=CALL_SECONDS_MAX, metadata=metadata)


def decisions_in(stream: Any) -> Iterator[decision_pb2.Decision]:
    for message in stream:
        if message.HasField("decision"):
            yield message.decision


def read_until(stream: Any, code: str, request_id: str) -> list[decision_pb2.Decision]:
    """What a stream shows up to the first such decision about the request."""
    seen = []
    for decision in decisions_in(stream):
        seen.append(decision)
        if (decision.code, decision.mutation_request_id) == (code, request_id):
            return seen
    raise AssertionError(f"never decided: {code}")


def test_everything_in_flight_ends_in_its_order_and_the_next_start_goes_on(tmp_path: Path) -> None:
    """The host hangs in the middle of an Apply: the execution is left as it stands, and found."""
    deployment = Deployment(tmp_path, {"GOVERNOR_DRAIN_SECONDS_MAX": "5"})
    with (
        deployment.host(failpoint="after_effect_before_commit=hang") as host,
        deployment.sidecar() as running,
        deployment.client() as ann,
        deployment.client("ada") as ada,
        health_of(deployment) as health,
    ):
        assert next(health) == health_pb2.HealthCheckResponse.SERVING
        stream = stream_of(ada, 0)
        held = ann.submit("held", flag="held", expected_version="")
        seen = read_until(stream, "claimed", held.id)
        waiting = begun(ann, "WaitRequest", service.WaitRequestRequest(id=held.id))
        behind = begun(ann, "Submit", submission("behind", flag="held", wait_seconds=30))
        seen += read_until(stream, "approved", next(ids_behind(stream, seen)))

        running.process.send_signal(signal.SIGTERM)
        assert next(health) == health_pb2.HealthCheckResponse.NOT_SERVING
        assert refusal(lambda: ann.submit("late", flag="late"))[0] == "DRAINING"
        with pytest.raises(grpc.RpcError) as ended:
            seen.extend(decisions_in(stream))
        assert reason_of(ended.value) == ("DRAINING", {"revision": str(seen[-1].revision)})
        assert refusal(waiting.result)[0] == "DRAINING"
        # Nothing will come of it here any more, so its caller is told where it stands.
        assert behind.result().request.status == APPROVED
        assert running.wait_for_death() == 0
        host.kill()

    with (
        deployment.host(),
        deployment.sidecar(),
        deployment.client() as ann,
        deployment.client("ada") as ada,
    ):
        again = ann.submit("behind", flag="held", wait_seconds=30)
        assert [ann.ended(id).status for id in (held.id, again.id)] == [EXECUTED, EXECUTED]
        ledger = ada.decisions()
        rest = stream_of(ada, seen[-1].revision)
        seen += [next(decisions_in(rest)) for _ in ledger[len(seen) :]]
        assert seen == ledger
        assert "late" not in str(ledger)
    executions = [d.execution_id for d in ledger if d.code == "executed"]
    assert sorted(deployment.effects()) == sorted(executions)
    assert deployment.verify().returncode == 0


def ids_behind(stream: Any, seen: list[decision_pb2.Decision]) -> Iterator[str]:
    """The requests that follow in the stream; what is read on the way joins `seen`."""
    for decision in decisions_in(stream):
        seen.append(decision)
        if decision.code == "submitted":
            yield decision.mutation_request_id


def test_what_the_host_answers_during_the_drain_is_recorded_before_the_end(tmp_path: Path) -> None:
    """The host stands still when the signal comes, and goes on when the sidecar has begun to go."""
    deployment = Deployment(tmp_path, {"GOVERNOR_DRAIN_SECONDS_MAX": "25"})
    with (
        deployment.host() as host,
        deployment.sidecar() as running,
        deployment.client() as ann,
        health_of(deployment) as health,
    ):
        next(health)
        ann.submit("first", flag="first", wait_seconds=10)
        host.process.send_signal(signal.SIGSTOP)
        answer = begun(ann, "Submit", submission("second", flag="second", wait_seconds=30))
        held = ann.submit("second", flag="second")
        running.process.send_signal(signal.SIGTERM)
        assert next(health) == health_pb2.HealthCheckResponse.NOT_SERVING
        host.process.send_signal(signal.SIGCONT)
        assert answer.result().request.status == EXECUTED
        assert running.wait_for_death() == 0
    with deployment.sidecar(), deployment.client() as ann:
        assert ann.ended(held.id).status == EXECUTED
        assert "EXECUTION lease_lost" not in codes(ann.decisions())
    assert len(deployment.effects()) == 2


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_second_signal_ends_the_waiting_and_loses_nothing(
    tmp_path: Path, number: signal.Signals
) -> None:
    """The first one would wait for longer than anybody looks on."""
    deployment = Deployment(tmp_path, {"GOVERNOR_DRAIN_SECONDS_MAX": "3600"})
    with (
        deployment.host() as host,
        deployment.sidecar() as running,
        deployment.client() as ann,
        health_of(deployment) as health,
    ):
        next(health)
        host.process.send_signal(signal.SIGSTOP)
        held = ann.submit("held", flag="held", expected_version="")
        answer = begun(
            ann, "Submit", submission("held", flag="held", expected_version="", wait_seconds=30)
        )
        running.process.send_signal(signal.SIGTERM)
        assert next(health) == health_pb2.HealthCheckResponse.NOT_SERVING
        running.process.send_signal(number)
        assert refusal(answer.result)[0] == "DRAINING"
        assert running.wait_for_death() == 0
        host.process.send_signal(signal.SIGCONT)
    with deployment.host(), deployment.sidecar(), deployment.client() as ann:
        assert ann.ended(held.id).status == EXECUTED
        (execution,) = ann.executions(held.id)
    assert deployment.effects() == [execution.id]


def test_a_drain_without_a_host_ends_and_the_next_start_executes(tmp_path: Path) -> None:
    """Nobody has ever reached it: what is approved stands in line, and stays there."""
    deployment = Deployment(tmp_path, {"GOVERNOR_DRAIN_SECONDS_MAX": "0.2"})
    with deployment.sidecar() as running, deployment.client() as ann:
        approved = ann.submit("first", flag="first", expected_version="")
        assert running.stop() == 0
    with deployment.host(), deployment.sidecar(), deployment.client() as ann:
        assert ann.ended(approved.id).status == EXECUTED
    assert len(deployment.effects()) == 1


async def test_a_drain_without_a_store_ends_and_nothing_acknowledged_is_lost(
    tmp_path: Path, postgres_server: PostgresServer
) -> None:
    """The connections stand, and nothing comes through: neither an answer nor an end."""
    async with postgres_server.fresh(tmp_path) as backend:
        name = backend.url.partition("@/")[2].partition("?")[0]
        with Freezer(
            Path(postgres_server.socket_folder) / ".s.PGSQL.5432", tmp_path / ".s.PGSQL.5432"
        ) as network:
            url = f"postgresql://postgres@/{name}?host={tmp_path}"
            deployment = Deployment(
                tmp_path, {"GOVERNOR_STORE_URL": url, "GOVERNOR_DRAIN_SECONDS_MAX": "0.5"}
            )
            with (
                deployment.host(),
                deployment.sidecar() as running,
                deployment.client() as ann,
                health_of(deployment) as health,
            ):
                next(health)
                kept = ann.submit("kept", flag="kept", wait_seconds=10)
                network.freeze()
                unknown = begun(ann, "Submit", submission("unknown", flag="unknown"))
                running.process.send_signal(signal.SIGTERM)
                assert next(health) == health_pb2.HealthCheckResponse.NOT_SERVING
                assert refusal(unknown.result)[0] in {"DRAINING", "STORE_UNAVAILABLE"}
                assert running.wait_for_death() == 0
            assert '"part": "store"' in running.log.read_text()
        again = Deployment(tmp_path, {"GOVERNOR_STORE_URL": backend.url})
        with again.host(), again.sidecar(), again.client() as ann:
            assert ann.ended(kept.id).status == EXECUTED
            assert ann.submit("unknown", flag="unknown", wait_seconds=10).status == EXECUTED
        assert len(again.effects()) == 2
        assert again.verify().returncode == 0


def test_a_collector_that_does_not_answer_does_not_hold_the_end_up(tmp_path: Path) -> None:
    """Spans that nobody takes are dropped; everything else is on disk."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        endpoint = f"http://127.0.0.1:{silent.getsockname()[1]}"
        deployment = Deployment(tmp_path, {"OTEL_EXPORTER_OTLP_ENDPOINT": endpoint})
        with deployment.host(), deployment.sidecar() as running, deployment.client() as ann:
            ann.submit("first", flag="first", wait_seconds=10)
            assert running.stop() == 0
    assert '"part": "telemetry"' in running.log.read_text()
