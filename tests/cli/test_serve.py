"""serve as a process: what it says, how it reloads, how it goes down, and who it believes."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from shutil import which
from typing import Any

import grpc
import pytest
from google.protobuf import json_format
from grpc_health.v1 import health_pb2, health_pb2_grpc
from typer.testing import CliRunner

from governance.v1 import governance_service_pb2 as service
from governance.v1 import mutation_pb2
from governor.cli.exits import ExitCode
from governor.cli.main import app
from tests.support.deployment import (
    TENANT,
    Client,
    Deployment,
    Running,
    start,
    wait_for_line,
)


def stream_of(client: Client, after: int = 0) -> Iterator[service.StreamDecisionsResponse]:
    request = service.StreamDecisionsRequest(after_revision=after)
    request.filter.tenant = TENANT
    return client.stub.StreamDecisions(request, timeout=30, metadata=(("governor-actor", "ada"),))


def lines(running: Running) -> list[str]:
    return running.log.read_text().splitlines()


def test_it_says_where_it_listens_on_what_and_with_which_policy(tmp_path: Path) -> None:
    deployment = Deployment(tmp_path)
    with deployment.host(), deployment.sidecar() as running:
        assert running.stop() == 0
    said = "\n".join(lines(running))
    for fact in (
        "governor is listening",
        rf"address +unix:{tmp_path}/governor.sock",
        "identity +development",
        rf"store +sqlite:///{tmp_path}/governor.db, revision \d+",
        r"policy +\S+/policy.toml, 3 rules, sha256 [0-9a-f]{12}",
        r"directory +\S+/directory.toml, 5 actors",
        rf"host +unix:{tmp_path}/flags.sock \(flags, exactly once\)",
        "careful: development identity",
        "stopped",
    ):
        assert re.search(fact, said), fact


def test_it_starts_without_policy_directory_and_host_and_says_what_that_means(
    tmp_path: Path,
) -> None:
    deployment = Deployment(tmp_path)
    deployment.settings = {"GOVERNOR_POLICY_FILE": "", "GOVERNOR_DIRECTORY_FILE": ""}
    with deployment.sidecar() as running:
        pass
    said = "\n".join(lines(running))
    assert "careful: there is no policy rule: every mutation is denied" in said
    assert "careful: there is nobody in the directory" in said
    assert "careful: the host does not answer" in said


def test_a_rule_that_asks_nobody_is_pointed_out(tmp_path: Path) -> None:
    deployment = Deployment(tmp_path)
    policy = tmp_path / "policy.toml"
    policy.write_text(policy.read_text().replace("group:reviewers", "group:wizards"))
    with deployment.sidecar() as running:
        pass
    assert "rule two-reviewers asks group wizards, but nobody is that" in "\n".join(lines(running))


def test_on_sigterm_it_says_not_serving_ends_streams_with_their_cursor_and_exits_with_0(
    tmp_path: Path,
) -> None:
    deployment = Deployment(tmp_path)
    with (
        deployment.host(),
        deployment.sidecar() as running,
        deployment.client() as ann,
        grpc.insecure_channel(
            deployment.target, [("grpc.default_authority", "localhost")]
        ) as channel,
    ):
        ann.submit("one", flag="one", wait_seconds=10)
        stub: Any = health_pb2_grpc.HealthStub(channel)
        health = stub.Watch(health_pb2.HealthCheckRequest())
        assert next(health).status == health_pb2.HealthCheckResponse.SERVING
        stream = stream_of(ann)
        last = 0
        for message in stream:
            if message.HasField("caught_up"):
                last = message.caught_up.revision
                break
        running.process.send_signal(signal.SIGTERM)
        assert next(health).status == health_pb2.HealthCheckResponse.NOT_SERVING
        with pytest.raises(grpc.RpcError) as ended:
            next(stream)
        assert ended.value.code() is grpc.StatusCode.UNAVAILABLE
        assert "DRAINING" in str(ended.value.trailing_metadata())
        assert running.stop() == 0
    assert last > 0
    assert not [line for line in lines(running) if "Traceback" in line]


def test_on_sighup_policy_and_directory_are_read_again_and_a_faulty_one_is_not(
    tmp_path: Path,
) -> None:
    deployment = Deployment(tmp_path)
    policy = tmp_path / "policy.toml"
    with deployment.host(), deployment.sidecar() as running, deployment.client() as ann:
        policy.write_text(policy.read_text().replace('"allow"', '"deny"'))
        running.process.send_signal(signal.SIGHUP)
        wait_for_line(running, "policy read again")
        denied = ann.submit("denied", flag="a")
        assert list(denied.verdict.rules) == ["low-risk-flags"]
        policy.write_text("[[rules]]\n")
        running.process.send_signal(signal.SIGHUP)
        wait_for_line(running, "there is no such key")
        assert ann.submit("still-denied", flag="a").verdict == denied.verdict


# --- Mutual TLS ---------------------------------------------------------------------------------


@pytest.fixture
def certificates(tmp_path: Path) -> Path:
    """An authority, a server and two clients, `ann` and a stranger of another authority."""
    openssl = which("openssl")
    if openssl is None:
        pytest.skip("openssl is not installed")
    folder = tmp_path / "tls"
    folder.mkdir()

    def run(*arguments: str) -> None:
        subprocess.run([openssl, *arguments], cwd=folder, check=True, capture_output=True)

    key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")
    for authority in ("ca", "other"):
        subject = ("-subj", f"/CN={authority}")
        run(
            "req",
            "-x509",
            *key,
            *subject,
            "-keyout",
            f"{authority}.key",
            "-out",
            f"{authority}.pem",
        )
    for name, authority, alternative in (
        ("server", "ca", "IP:127.0.0.1"),
        ("ann", "ca", "DNS:ann"),
        ("stranger", "other", "DNS:ann"),
    ):
        request = ("-subj", f"/CN={name}", "-keyout", f"{name}.key", "-out", f"{name}.csr")
        run("req", "-new", *key, *request)
        (folder / f"{name}.ext").write_text(f"subjectAltName={alternative}\n")
        signer = ("-CA", f"{authority}.pem", "-CAkey", f"{authority}.key", "-CAcreateserial")
        extra = ("-extfile", f"{name}.ext", "-days", "2")
        run("x509", "-req", "-in", f"{name}.csr", *signer, *extra, "-out", f"{name}.pem")
    return folder


def test_with_mutual_tls_the_certificate_says_who_calls_and_the_header_says_nothing(
    tmp_path: Path, certificates: Path
) -> None:
    deployment = Deployment(tmp_path)
    settings = {
        "GOVERNOR_LISTEN": "127.0.0.1:0",
        "GOVERNOR_STORE_URL": deployment.store_url,
        "GOVERNOR_HOST_ADDRESS": f"unix:{tmp_path}/flags.sock",
        "GOVERNOR_POLICY_FILE": str(tmp_path / "policy.toml"),
        "GOVERNOR_DIRECTORY_FILE": str(tmp_path / "directory.toml"),
        "GOVERNOR_IDENTITY": "mtls",
        "GOVERNOR_TLS_CERTIFICATE_FILE": str(certificates / "server.pem"),
        "GOVERNOR_TLS_KEY_FILE": str(certificates / "server.key"),
        "GOVERNOR_TLS_CLIENT_CA_FILE": str(certificates / "ca.pem"),
    }
    command = [sys.executable, "-m", "governor", "serve"]
    running = start(command, log=tmp_path / "sidecar.log", environment=settings)
    running.wait_until_it_listens()
    try:
        address = wait_for_line(running, "127.0.0.1:").split()[-1]
        line = "submit -t flag.set -s flag/a --risk medium -p {} --json --timeout 5s"

        def submit(name: str, *more: str) -> tuple[int, str]:
            own = ("--tls-certificate", f"{certificates}/{name}.pem")
            key = ("--tls-key", f"{certificates}/{name}.key")
            ca = ("--tls-ca", f"{certificates}/ca.pem", "--address", address)
            arguments = (*line.split(), "--tenant", TENANT, *ca, *own, *key, *more)
            result = CliRunner().invoke(app, arguments, env=dict(os.environ))
            return result.exit_code, result.stdout

        code, answer = submit("ann", "--actor", "ben")
        assert code == ExitCode.OK
        parsed = service.SubmitResponse()
        json_format.Parse(answer, parsed)
        assert parsed.request.context == mutation_pb2.RuntimeContext(tenant=TENANT, actor="ann")
        assert submit("stranger")[0] == ExitCode.UNAVAILABLE
    finally:
        assert running.stop() == 0
