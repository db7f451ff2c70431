"""Trouble with the host, between real processes: decisions go on, and what is executed is true."""

import shutil
import signal
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
from typer.testing import CliRunner, Result

from governance.v1 import execution_pb2, host_pb2, mutation_pb2, request_pb2
from governance.v1 import governance_service_pb2 as service
from governance.v1 import mutation_engine_pb2 as engine
from governor.cli.exits import ExitCode
from governor.cli.main import app
from governor.hostkit import begin_new_lineage
from tests.support.deployment import TENANT, Client, Deployment

QUICK = {
    "GOVERNOR_APPLY_SECONDS_MAX": "0.5",
    "GOVERNOR_IN_DOUBT_SECONDS_MAX": "2",
    "GOVERNOR_HOST_FAILURES_MAX": "2",
    "GOVERNOR_HOST_PAUSE_SECONDS_INITIAL": "0.2",
    "GOVERNOR_HOST_PAUSE_SECONDS_MAX": "0.4",
}


def governor(deployment: Deployment, *arguments: str, actor: str = "oli") -> Result:
    """A command against the sidecar."""
    environment = {
        "GOVERNOR_ADDRESS": deployment.target,
        "GOVERNOR_TENANT": TENANT,
        "GOVERNOR_ACTOR": actor,
    }
    return CliRunner().invoke(app, arguments, env=environment, catch_exceptions=False)


def until(client: Client, holds: Callable[[host_pb2.Host], bool]) -> host_pb2.Host:
    """The host as the sidecar knows it, once that is so."""
    while not holds(host := client.host()):
        """Each look is a call over the socket."""
    return host


def changed(client: Client, id: str, *statuses: "request_pb2.RequestStatus.ValueType") -> Any:
    """The request, once it stands in one of these statuses."""
    request = client.call("GetRequest", service.GetRequestRequest(id=id)).request
    while request.status not in statuses:
        waited = service.WaitRequestRequest(id=id, after_revision=request.revision)
        request = client.call("WaitRequest", waited).request
    return request


EXECUTED = request_pb2.REQUEST_STATUS_EXECUTED
APPROVED = request_pb2.REQUEST_STATUS_APPROVED
PENDING = request_pb2.REQUEST_STATUS_PENDING


# ---------------------------------------------------------------- a host that went back in time


def copy_database(source: Path, target: Path) -> None:
    """A closed SQLite database, with whatever lies beside it."""
    for path in (target, target.with_name(f"{target.name}-wal")):
        path.unlink(missing_ok=True)
    shutil.copy(source, target)


def test_a_host_restored_from_a_backup_executes_nothing_until_a_person_trusts_it(
    tmp_path: Path,
) -> None:
    """An order was carried out and its answer lost; then an older copy of the host's database was
    put in its place. Looking it up there would say "not seen", and carry it out a second time.
    """
    deployment = Deployment(tmp_path)
    backup = tmp_path / "backup.db"
    with deployment.sidecar(), deployment.client() as client, deployment.client("oli") as oli:
        with deployment.host():
            before = client.submit("before", flag="before", wait_seconds=20)
            assert before.status == EXECUTED
            first = until(oli, lambda host: bool(host.trusted_lineage_id)).trusted_lineage_id
        copy_database(deployment.database, backup)

        with deployment.host(failpoint="after_commit_before_answer=kill") as host:
            lost = client.submit("lost", flag="lost")
            host.wait_for_death()
        assert len(deployment.effects()) == 2

        copy_database(backup, deployment.database)
        begin_new_lineage(deployment.database)
        with deployment.host():
            held = until(oli, lambda host: host.HasField("hold"))
            assert held.hold.code == host_pb2.HOLD_CODE_LINEAGE_CHANGED
            assert held.trusted_lineage_id == first != held.lineage_id
            doubtful = changed(client, lost.id, PENDING)
            assert [pending.reason for pending in doubtful.pending] == [
                request_pb2.PENDING_REASON_AUDIT
            ]
            assert doubtful.status_reason.code == "HOST_LINEAGE_CHANGED"
            waiting = client.submit("waiting", flag="waiting")
            assert waiting.status == APPROVED
            assert len(deployment.effects()) == 1, "nothing was carried out in the restored host"

            shown = governor(deployment, "host", "show")
            assert "LINEAGE_CHANGED since" in shown.stdout
            wrong = governor(deployment, "host", "trust", first, "--code", "LOOKED")
            assert wrong.exit_code == ExitCode.REFUSED
            assert "LINEAGE_MISMATCH" in wrong.stderr
            trust = ("host", "trust", held.lineage_id, "--code", "RESTORED", "-m", "on purpose")
            given = governor(deployment, *trust)
            assert given.exit_code == ExitCode.OK, given.stderr
            assert f"trusted: lineage {held.lineage_id}" in given.stdout

            assert changed(client, waiting.id, EXECUTED).status == EXECUTED
            assert len(deployment.effects()) == 2
            execution = client.executions(lost.id)[-1].id
            resolved = governor(
                deployment, "resolve", execution, "--not-applied", "--code", "LOST_IN_RESTORE"
            )
            assert resolved.exit_code == ExitCode.OK, resolved.stderr
        listed = governor(deployment, "decisions", "--include-host", "--category", "host")
        assert [word for word in listed.stdout.split() if word.startswith("HOST.")] == [
            "HOST.trusted",
            "HOST.held",
            "HOST.trusted",
        ]
    assert deployment.verify().returncode == ExitCode.OK


def test_a_hold_is_said_at_the_start_and_outlives_the_process(tmp_path: Path) -> None:
    deployment = Deployment(tmp_path)
    with deployment.host(), deployment.sidecar(), deployment.client() as client:
        until(client, lambda host: bool(host.trusted_lineage_id))
    begin_new_lineage(deployment.database)
    with deployment.host(), deployment.sidecar(), deployment.client() as client:
        until(client, lambda host: host.HasField("hold"))
    with deployment.host(), deployment.sidecar() as sidecar, deployment.client() as client:
        assert client.host().hold.code == host_pb2.HOLD_CODE_LINEAGE_CHANGED
        assert client.submit("waiting").status == APPROVED
        assert sidecar.stop() == 0
    assert "careful: the host is held (LINEAGE_CHANGED)" in sidecar.log.read_text()
    assert deployment.effects() == []


# ---------------------------------------------------------------- a host that does not answer


def test_decisions_are_taken_whatever_the_host_does(tmp_path: Path) -> None:
    """Away at the start, for as long as it likes: submitted, voted on, approved. Then executed."""
    deployment = Deployment(tmp_path, QUICK)
    with (
        deployment.sidecar(),
        deployment.client() as ann,
        deployment.client("ben") as ben,
        deployment.client("cleo") as cleo,
    ):
        allowed = ann.submit("allowed", flag="allowed")
        voted = ann.submit("voted", flag="voted", risk=mutation_pb2.RISK_MEDIUM)
        ben.approve("ben", voted)
        approved = cleo.approve("cleo", voted)
        assert (allowed.status, approved.status) == (APPROVED, APPROVED)
        until(ann, lambda host: host.circuit != host_pb2.CIRCUIT_STATE_CLOSED)
        later = ann.submit("later", flag="later")
        assert later.status == APPROVED
        with deployment.host():
            for request in (allowed, voted, later):
                assert ann.ended(request.id).status == EXECUTED
            until(ann, lambda host: host.circuit == host_pb2.CIRCUIT_STATE_CLOSED)
    assert len(deployment.effects()) == 3


def test_a_host_that_hangs_is_left_alone_and_each_order_takes_effect_once(tmp_path: Path) -> None:
    """Stopped in its tracks, so that calls run into their deadlines; then it goes on."""
    deployment = Deployment(tmp_path, QUICK | {"GOVERNOR_IN_DOUBT_SECONDS_MAX": "60"})
    with deployment.host() as host, deployment.sidecar(), deployment.client() as client:
        client.submit("first", flag="first", wait_seconds=20)
        host.process.send_signal(signal.SIGSTOP)
        try:
            hanging = [client.submit(f"hanging-{n}", flag=f"flag-{n}") for n in range(4)]
            until(client, lambda host: host.circuit != host_pb2.CIRCUIT_STATE_CLOSED)
        finally:
            host.process.send_signal(signal.SIGCONT)
        for request in hanging:
            assert client.ended(request.id).status == EXECUTED
    assert len(deployment.effects()) == 5


def test_a_host_that_comes_and_goes_carries_everything_out_once(tmp_path: Path) -> None:
    deployment = Deployment(tmp_path, QUICK | {"GOVERNOR_IN_DOUBT_SECONDS_MAX": "60"})
    requests: list[request_pb2.MutationRequest] = []
    with deployment.sidecar(), deployment.client() as client:
        for life in range(4):
            with deployment.host() as host:
                requests += [
                    client.submit(f"{life}-{n}", flag=f"flag-{life}-{n}") for n in range(5)
                ]
                host.kill()
        with deployment.host():
            for request in requests:
                assert client.ended(request.id).status == EXECUTED
    assert len(deployment.effects()) == len(set(deployment.effects())) == 20
    assert deployment.verify().returncode == ExitCode.OK


# ---------------------------------------------------------------- a host that talks nonsense

GARBAGE = b"\xff\xff\xff"
CAPABLE = engine.GetCapabilitiesResponse(
    contract_version="governance.v1", exactly_once=True, compare_and_apply=True, lineage_id="one"
)


@contextmanager
def engine_that_says(deployment: Deployment, replies: Mapping[str, bytes]) -> Iterator[list[str]]:
    """A host with these answers, byte for byte; yields the methods it was asked."""
    asked: list[str] = []

    def handler(method: str) -> "grpc.RpcMethodHandler[Any, Any]":
        def answer(_: bytes, context: grpc.ServicerContext) -> bytes:
            asked.append(method)
            return replies.get(method, GARBAGE)

        return grpc.unary_unary_rpc_method_handler(answer)

    methods = engine.DESCRIPTOR.services_by_name["MutationEngine"].methods_by_name
    server = grpc.server(ThreadPoolExecutor(max_workers=4))
    handlers = {name: handler(name) for name in methods}
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler("governance.v1.MutationEngine", handlers),)
    )
    server.add_insecure_port(f"unix:{deployment.home}/flags.sock")
    server.start()
    try:
        yield asked
    finally:
        server.stop(None).wait()


def test_answers_that_mean_nothing_are_no_outcome(tmp_path: Path) -> None:
    """Not for the order, not for the look-ups, not for the fence: so a person must say."""
    deployment = Deployment(tmp_path, QUICK)
    replies = {"GetCapabilities": CAPABLE.SerializeToString()}
    with (
        engine_that_says(deployment, replies) as asked,
        deployment.sidecar(),
        deployment.client() as client,
    ):
        request = client.submit("garbled")
        doubtful = changed(client, request.id, PENDING)
        assert doubtful.status_reason.code == "UNREADABLE_ANSWER"
        assert client.executions(request.id)[0].status == execution_pb2.EXECUTION_STATUS_IN_DOUBT
        assert not client.host().HasField("hold"), "nonsense breaks no promise"
    assert "LookupMutation" in asked
    assert asked.count("ApplyMutation") == 1


def test_a_host_that_breaks_a_promise_is_held_and_says_of_which_execution(tmp_path: Path) -> None:
    """The order is not answered; looked up, it has the digest of something nobody approved."""
    deployment = Deployment(tmp_path, QUICK)
    outcome = engine.ApplyMutationResponse(applied=execution_pb2.Applied(resulting_version="8"))
    lie = engine.LookupMutationResponse(request_digest=b"\x01" * 32, outcome=outcome)
    replies = {
        "GetCapabilities": CAPABLE.SerializeToString(),
        "LookupMutation": lie.SerializeToString(),
    }
    with (
        engine_that_says(deployment, replies) as asked,
        deployment.sidecar() as sidecar,
        deployment.client() as client,
    ):
        request = client.submit("betrayed")
        doubtful = changed(client, request.id, PENDING)
        assert doubtful.status_reason.code == "HOST_PROMISE_BROKEN"
        (execution,) = client.executions(request.id)
        host = client.host()
        assert host.hold.code == host_pb2.HOLD_CODE_PROMISE_BROKEN
        assert host.hold.facts == {"execution_id": execution.id}
        asked.clear()
        assert client.submit("later", flag="later").status == APPROVED
        assert "ApplyMutation" not in asked
    assert "the host broke a promise" in sidecar.log.read_text()
    assert deployment.verify().returncode == ExitCode.OK
