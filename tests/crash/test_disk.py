"""A disk that takes no more, or nothing at all: a named refusal, nothing by half, and on again."""

import os
import resource
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from shutil import which
from signal import SIGCONT, SIGSTOP
from typing import cast

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from governance.v1 import governance_service_pb2, mutation_pb2, request_pb2
from governor.cli.exits import ExitCode
from tests.support.deployment import REPOSITORY, TENANT, Client, Deployment, Running

DISK_BYTES = 4 * 1_048_576

Disk = Callable[[Running], AbstractContextManager[None]]
"""Takes no more while the context lasts."""


class Limited:
    """The process may not make any file larger than the log is by now."""

    cause = "DISK_FAILED"

    def __init__(self, folder: Path) -> None:
        self._log = folder / "governor.db-wal"

    @contextmanager
    def full(self, sidecar: Running) -> Iterator[None]:
        pid = sidecar.process.pid
        before = resource.prlimit(pid, resource.RLIMIT_FSIZE)
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (self._log.stat().st_size, before[1]))
        try:
            yield
        finally:
            resource.prlimit(pid, resource.RLIMIT_FSIZE, before)


class Filled:
    """A small disk on which somebody else's file takes all there is left."""

    cause = "DISK_FULL"

    def __init__(self, folder: Path) -> None:
        self._filler = folder / "filler"

    @contextmanager
    def full(self, sidecar: Running) -> Iterator[None]:
        with self._filler.open("wb", buffering=0) as file, suppress(OSError):
            while file.write(bytes(4_096)):
                pass
        try:
            yield
        finally:
            self._filler.unlink()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own, in memory."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "tmpfs", str(folder)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("mounting a small disk takes privileges that this process does not have")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


@pytest.fixture(params=["a limit on the process", "a full file system"])
def disk(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Deployment, Limited | Filled]:
    """A deployment, and how its disk is made to take no more."""
    deployment = Deployment(tmp_path)
    if request.param == "a limit on the process":
        return deployment, Limited(tmp_path)
    folder: Path = request.getfixturevalue("small_disk")
    deployment.settings["GOVERNOR_STORE_URL"] = f"sqlite:///{folder}/governor.db"
    return deployment, Filled(folder)


def refusal(client: Client, request_id: str) -> error_details_pb2.ErrorInfo:
    """What a submission is told that cannot be written."""
    with pytest.raises(grpc.RpcError) as raised:
        client.submit(request_id, flag=request_id)
    assert raised.value.code() is grpc.StatusCode.UNAVAILABLE
    status = rpc_status.from_call(cast("grpc.Call", raised.value))
    assert status is not None
    info = error_details_pb2.ErrorInfo()
    assert status.details[0].Unpack(info)
    return info


def requests_there(client: Client) -> list[request_pb2.MutationRequest]:
    page = client.call("ListRequests", governance_service_pb2.ListRequestsRequest(tenant=TENANT))
    return list(page.requests)


def test_a_full_disk_is_a_named_refusal_and_once_there_is_room_the_process_goes_on(
    disk: tuple[Deployment, Limited | Filled],
) -> None:
    """Reads are answered meanwhile. What was refused is not there by half: the same request_id
    makes exactly one request of it.
    """
    deployment, way = disk
    with deployment.host(), deployment.sidecar() as sidecar, deployment.client() as ann:
        for number in range(3):
            ann.submit(f"before-{number}", flag=f"before-{number}", wait_seconds=10)
        history = ann.decisions()
        with way.full(sidecar):
            for request_id in ("first", "second", "first"):
                info = refusal(ann, request_id)
                assert (info.reason, dict(info.metadata)) == (
                    "STORE_UNAVAILABLE",
                    {"cause": way.cause},
                )
            assert ann.decisions() == history
            assert len(requests_there(ann)) == 3
            assert deployment.verify().returncode == 0
        request = ann.submit("first", flag="first", wait_seconds=10)
        assert request.status == request_pb2.REQUEST_STATUS_EXECUTED
        assert ann.submit("first", flag="first").id == request.id
        assert len(requests_there(ann)) == 4
        assert sidecar.process.poll() is None, "it is the same process"
    said = sidecar.log.read_text()
    assert f'"cause": "{way.cause}"' in said
    verified = deployment.verify()
    assert verified.returncode == 0, verified.stdout
    assert len(deployment.effects()) == 4


def test_an_outcome_that_finds_the_disk_full_is_recorded_once_there_is_room(
    disk: tuple[Deployment, Limited | Filled],
) -> None:
    """The host was called, and answers when nothing can be written. The effect happens once, and
    is in the ledger as soon as it can be.
    """
    deployment, way = disk
    with deployment.host() as host, deployment.sidecar() as sidecar, deployment.client() as ann:
        ann.submit("before", wait_seconds=10)
        host.process.send_signal(SIGSTOP)
        try:
            claimed = ann.submit("paused", flag="paused")
            assert claimed.status == request_pb2.REQUEST_STATUS_EXECUTING
            with way.full(sidecar):
                host.process.send_signal(SIGCONT)
                sidecar.wait_for_line(way.cause)
        finally:
            host.process.send_signal(SIGCONT)
        assert ann.ended(claimed.id).status == request_pb2.REQUEST_STATUS_EXECUTED
        executions = ann.executions(claimed.id)
    assert deployment.verify().returncode == 0
    assert deployment.effects()[1:] == [executions[-1].id]


# ---------------------------------------------------------------- nothing at all


def unprivileged() -> list[str]:
    """How a command is run for which permissions count; as root none do."""
    if os.geteuid() != 0:
        return []
    if which("setpriv") is None:
        pytest.skip("root reads and writes everything, and setpriv is not there to change that")
    return ["setpriv", "--bounding-set", "-dac_override,-dac_read_search,-fowner"]


def refused_start(url: str, folder: Path, *prefix: str) -> str:
    """What serve says when it does not start."""
    serve = [sys.executable, "-m", "governor", "serve", "--store", url]
    listen = ["--listen", f"unix:{folder}/governor.sock", "--host", f"unix:{folder}/flags.sock"]
    ended = subprocess.run(
        [*prefix, *serve, *listen],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert ended.returncode == ExitCode.CANNOT_START, ended.stderr
    assert "listening" not in ended.stdout
    return ended.stderr.splitlines()[-1]


@pytest.fixture
def stopped(tmp_path: Path) -> Deployment:
    """One that has written something and was stopped: its store is one file."""
    deployment = Deployment(tmp_path)
    with deployment.sidecar(), deployment.client() as ann:
        ann.submit("first", risk=mutation_pb2.RISK_MEDIUM)
    return deployment


def test_a_file_that_may_not_be_written_is_refused_at_the_start(stopped: Deployment) -> None:
    """SQLite would open it, and refuse the first commit."""
    database = stopped.home / "governor.db"
    database.chmod(0o444)
    said = refused_start(stopped.store_url, stopped.home, *unprivileged())
    assert said == f"cannot start: {database} cannot be used: Permission denied"


def test_a_folder_that_may_not_be_written_is_refused_at_the_start(stopped: Deployment) -> None:
    """The log could not be made beside the file."""
    prefix = unprivileged()
    (stopped.home / "listens").mkdir()
    stopped.home.chmod(0o555)
    try:
        said = refused_start(stopped.store_url, stopped.home / "listens", *prefix)
    finally:
        stopped.home.chmod(0o755)
    assert said == "cannot start: the store cannot be written to"


def test_a_file_system_that_is_read_only_is_refused_at_the_start(
    small_disk: Path, tmp_path: Path
) -> None:
    """Also to root."""
    url = f"sqlite:///{small_disk}/governor.db"
    with Deployment(tmp_path, {"GOVERNOR_STORE_URL": url}).sidecar():
        pass
    remount = ["mount", "-o", "remount,ro", str(small_disk)]
    subprocess.run(remount, check=True)
    said = refused_start(url, tmp_path)
    assert said == f"cannot start: {small_disk}/governor.db cannot be used: Read-only file system"
