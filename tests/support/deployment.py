"""A sidecar and a real host as processes of their own, with a client that speaks gRPC to them."""

import os
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
from google.protobuf.duration_pb2 import Duration

from governance.v1 import (
    decision_pb2,
    execution_pb2,
    governance_service_pb2,
    governance_service_pb2_grpc,
    host_pb2,
    mutation_pb2,
    request_pb2,
)

REPOSITORY = Path(__file__).resolve().parents[2]
TENANT = "acme"
READY_SECONDS_MAX = 60.0
CALL_SECONDS_MAX = 30.0

POLICY = """
[[rule]]
id = "low-risk-flags"
effect = "allow"
mutation_types = ["flag.*"]
risks = ["low"]

[[rule]]
id = "two-reviewers"
effect = "require_approval"
mutation_types = ["flag.*"]
risks = ["medium"]

[[rule.step]]
name = "review"

[[rule.step.requirement]]
id = "reviewers"
targets = ["group:reviewers"]
quorum = 2

[[check]]
name = "scan"
address = "unix:@HOME@/check.sock"
timeout_seconds = 3600
call_seconds_max = 2.0

[[rule]]
id = "high-risk-flags-are-scanned"
effect = "defer"
mutation_types = ["flag.*"]
risks = ["high"]
checks = ["scan"]
"""

DIRECTORY = "\n".join(
    f"""
[[actor]]
id = "{name}"
tenants = ["{TENANT}"]
roles = {roles}
groups = {groups}
"""
    for name, roles, groups in (
        ("ann", '["submitter"]', "[]"),
        ("ben", '["approver"]', '["reviewers"]'),
        ("cleo", '["approver"]', '["reviewers"]'),
        ("oli", '["operator"]', "[]"),
        ("ada", '["auditor"]', "[]"),
    )
)


@dataclass
class Running:
    """One process; its output goes to a log file that a failing test can show."""

    process: subprocess.Popen[str]
    log: Path
    reader: threading.Thread
    ready: threading.Event
    hanging: threading.Event

    def kill(self) -> None:
        """As a power cut would."""
        self.process.send_signal(signal.SIGKILL)
        self.wait_for_death()

    def pause(self) -> None:
        """By SIGSTOP: it stands still, and does not know that it does."""
        self.process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        """By SIGCONT."""
        self.process.send_signal(signal.SIGCONT)

    def stop(self) -> int:
        """By SIGTERM, also when it is paused; answers the exit code."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            self.go_on()
        return self.wait_for_death()

    def wait_for_line(self, words: str) -> str:
        """The line of its log with these words, as soon as the process has said it."""
        follow = ["tail", "-n", "+1", "-f", f"--pid={self.process.pid}", str(self.log)]
        with subprocess.Popen(follow, stdout=subprocess.PIPE, text=True) as tail:
            assert tail.stdout is not None
            try:
                for line in tail.stdout:
                    if words in line:
                        return line
            finally:
                tail.kill()
        raise AssertionError(f"never said: {words}")

    def wait_until_it_listens(self) -> None:
        """Raises AssertionError when it ends instead, or takes too long."""
        if not self.ready.wait(READY_SECONDS_MAX) or self.process.poll() is not None:
            self.process.kill()
            self.wait_for_death()
            raise AssertionError(f"{self.process.args!r} did not come up:\n{self.log.read_text()}")

    def wait_until_it_hangs(self) -> bool:
        """Blocks until it says that it hangs, or has ended; whether it hangs."""
        self.hanging.wait()
        return self.process.poll() is None

    def wait_until_it_stands_still(self) -> bool:
        """Blocks until it is paused or has ended; whether it is paused."""
        look = os.WSTOPPED | os.WEXITED | os.WNOWAIT  # the exit code is left for whoever waits
        state = os.waitid(os.P_PID, self.process.pid, look)
        return state is not None and state.si_code == os.CLD_STOPPED

    def wait_for_death(self) -> int:
        """The exit code, once it has ended."""
        code = self.process.wait(timeout=READY_SECONDS_MAX)
        self.reader.join()
        return code


def start(command: list[str], *, log: Path, environment: dict[str, str]) -> Running:
    """Starts a process, which may take its time until it listens."""
    with log.open("a") as errors:
        process = subprocess.Popen(
            command,
            cwd=REPOSITORY,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            env={**os.environ, **environment},
        )
    ready, hanging = threading.Event(), threading.Event()

    def read() -> None:
        assert process.stdout is not None
        with process.stdout, log.open("a") as copy:
            for line in process.stdout:
                copy.write(line)
                copy.flush()
                if "listening" in line:
                    ready.set()
                if "hanging on purpose" in line:
                    hanging.set()
        ready.set()
        hanging.set()

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    return Running(process, log, reader, ready, hanging)


def wait_for_line(running: Running, words: str, times: int = 1) -> str:
    """The line with these words, as soon as the process has said it that often."""
    with subprocess.Popen(
        ["tail", "-n", "+1", "-f", str(running.log)], stdout=subprocess.PIPE, text=True
    ) as tail:
        assert tail.stdout is not None
        try:
            for line in tail.stdout:
                times -= words in line
                if not times:
                    return line
        finally:
            tail.kill()
    raise AssertionError(f"never said: {words}")


@dataclass
class Deployment:
    """A sidecar and the flags host in one folder, each startable, killable and startable again."""

    home: Path
    settings: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        (self.home / "policy.toml").write_text(POLICY.replace("@HOME@", str(self.home)))
        (self.home / "directory.toml").write_text(DIRECTORY)

    @property
    def target(self) -> str:
        """Where the sidecar listens."""
        return self.target_of("governor")

    def target_of(self, replica: str) -> str:
        """Where one of several sidecars listens."""
        return f"unix:{self.home}/{replica}.sock"

    @property
    def store_url(self) -> str:
        """Where the sidecar's state lies."""
        return self.settings.get("GOVERNOR_STORE_URL", f"sqlite:///{self.home}/governor.db")

    def meet_the_host(self) -> None:
        """A first life, in which the host is met and trusted.

        One that is then to die at a certain passing commits nothing but what its test is about.
        """
        with self.sidecar(), self.client("ada") as client:
            while not client.host().trusted_lineage_id:
                """It is on its way to the disk."""

    @contextmanager
    def sidecar(
        self, replica: str = "governor", *, failpoints: str = "", is_awaited: bool = True
    ) -> Iterator[Running]:
        """A running sidecar, stopped at the end unless it is dead already.

        Without `is_awaited` it may still be on its way up, or die on it.
        """
        environment = {
            "GOVERNOR_LISTEN": self.target_of(replica),
            "GOVERNOR_STORE_URL": self.store_url,
            "GOVERNOR_POLICY_FILE": str(self.home / "policy.toml"),
            "GOVERNOR_DIRECTORY_FILE": str(self.home / "directory.toml"),
            "GOVERNOR_HOST_ADDRESS": f"unix:{self.home}/flags.sock",
            "GOVERNOR_BACKOFF_SECONDS_INITIAL": "0.02",
            "GOVERNOR_BACKOFF_SECONDS_MAX": "0.2",
            **self.settings,
        }
        if failpoints:
            environment |= {"GOVERNOR_FAILPOINTS": failpoints, "GOVERNOR_ALLOW_FAILPOINTS": "1"}
        command = [sys.executable, "-m", "governor", "serve"]
        running = start(command, log=self.home / f"{replica}.log", environment=environment)
        try:
            if is_awaited:
                running.wait_until_it_listens()
            yield running
        finally:
            running.stop()

    @contextmanager
    def host(self, *, failpoint: str = "") -> Iterator[Running]:
        """A running flags host, stopped at the end unless it is dead already."""
        command = [
            sys.executable,
            "examples/hosts/flags/server.py",
            "--listen",
            f"unix:{self.home}/flags.sock",
            "--database",
            str(self.database),
            *(["--failpoint", failpoint] if failpoint else []),
        ]
        running = start(command, log=self.home / "host.log", environment={})
        try:
            running.wait_until_it_listens()
            yield running
        finally:
            running.stop()

    @property
    def database(self) -> Path:
        """The host's own data."""
        return self.home / "flags.db"

    def effects(self) -> list[str]:
        """The execution ids of all effects the host ever made: the oracle of every crash test."""
        with closing(sqlite3.connect(f"file:{self.database}?mode=ro", uri=True)) as connection:
            rows = connection.execute("SELECT execution_id FROM effect ORDER BY rowid")
            return [row[0] for row in rows]

    def touch(self, flag: str) -> None:
        """Changes a flag behind Governor's back."""
        script = ["examples/hosts/flags/touch.py", "--database", str(self.database), "flag", flag]
        subprocess.run([sys.executable, *script], cwd=REPOSITORY, check=True, capture_output=True)

    @contextmanager
    def client(self, actor: str = "ann") -> Iterator["Client"]:
        """A client that calls as `actor`."""
        options = [("grpc.default_authority", "localhost")]
        with grpc.insecure_channel(self.target, options) as channel:
            yield Client(governance_service_pb2_grpc.GovernanceServiceStub(channel), actor)

    def verify(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """`governor verify` on the store, in a process of its own."""
        command = [sys.executable, "-m", "governor", "verify", "--store", self.store_url]
        return subprocess.run(
            [*command, *arguments], cwd=REPOSITORY, capture_output=True, text=True, check=False
        )


@dataclass
class Client:
    """The stub with an identity and a deadline on every call."""

    stub: governance_service_pb2_grpc.GovernanceServiceStub
    actor: str

    def call(self, rpc: str, request: Any, *, wait_for_ready: bool = True) -> Any:
        """Any unary call."""
        return getattr(self.stub, rpc)(
            request,
            timeout=CALL_SECONDS_MAX,
            metadata=(("governor-actor", self.actor),),
            wait_for_ready=wait_for_ready,
        )

    def submit(
        self,
        request_id: str,
        *,
        flag: str = "checkout",
        risk: "mutation_pb2.Risk.ValueType" = mutation_pb2.RISK_LOW,
        expected_version: str | None = None,
        wait_seconds: int | None = None,
        **fields: Any,
    ) -> request_pb2.MutationRequest:
        """Asks for a flag to be switched on."""
        request = submission(
            request_id,
            flag=flag,
            risk=risk,
            expected_version=expected_version,
            wait_seconds=wait_seconds,
            **fields,
        )
        answer: request_pb2.MutationRequest = self.call("Submit", request).request
        return answer

    def approve(
        self, request_id: str, request: request_pb2.MutationRequest
    ) -> request_pb2.MutationRequest:
        """Votes for what `request` shows."""
        answer: request_pb2.MutationRequest = self.call(
            "Approve",
            governance_service_pb2.ApproveRequest(
                request_id=request_id,
                id=request.id,
                request_digest=request.request_digest,
                plan_digest=request.approval.plan_digest,
            ),
        ).request
        return answer

    def ended(self, id: str) -> request_pb2.MutationRequest:
        """The request once it has ended."""
        while True:
            answer = self.call(
                "WaitRequest",
                governance_service_pb2.WaitRequestRequest(id=id, timeout=Duration(seconds=10)),
            )
            if not answer.timed_out:
                request: request_pb2.MutationRequest = answer.request
                return request

    def host(self) -> host_pb2.Host:
        """The host as the sidecar knows it."""
        request = governance_service_pb2.GetHostRequest(tenant=TENANT)
        host: host_pb2.Host = self.call("GetHost", request).host
        return host

    def executions(self, id: str) -> list[execution_pb2.Execution]:
        """All executions of a request, oldest first."""
        request = governance_service_pb2.GetRequestRequest(id=id)
        return list(self.call("GetRequest", request).executions)

    def decisions(self, *ids: str, include_host: bool = False) -> list[decision_pb2.Decision]:
        """The decisions about some requests, or all there are, oldest first."""
        found: list[decision_pb2.Decision] = []
        token = ""
        while True:
            page = self.call(
                "ListDecisions",
                governance_service_pb2.ListDecisionsRequest(
                    filter=governance_service_pb2.DecisionFilter(
                        tenant=TENANT, mutation_request_ids=ids, include_host=include_host
                    ),
                    page_size=1000,
                    page_token=token,
                ),
            )
            found.extend(page.decisions)
            token = page.next_page_token
            if not token:
                return found


def submission(
    request_id: str,
    *,
    flag: str,
    risk: "mutation_pb2.Risk.ValueType" = mutation_pb2.RISK_LOW,
    expected_version: str | None = None,
    wait_seconds: int | None = None,
    **fields: Any,
) -> governance_service_pb2.SubmitRequest:
    """A submission that switches a flag on."""
    return governance_service_pb2.SubmitRequest(
        request_id=request_id,
        context=mutation_pb2.RuntimeContext(tenant=TENANT),
        mutation=mutation_pb2.Mutation(
            type="flag.set",
            state=mutation_pb2.StateRef(type="flag", id=flag),
            payload=mutation_pb2.Payload(
                content_type="application/json", data=b'{"enabled": true, "rollout_percent": 50}'
            ),
            expected_version=expected_version,
        ),
        intent=mutation_pb2.Intent(risk=risk),
        wait=None if wait_seconds is None else Duration(seconds=wait_seconds),
        **fields,
    )


def codes(decisions: list[decision_pb2.Decision]) -> list[str]:
    """`CATEGORY code` of each, for comparing histories at a glance."""
    category = decision_pb2.DecisionCategory
    return [
        f"{category.Name(d.category).removeprefix('DECISION_CATEGORY_')} {d.code}"
        for d in decisions
    ]
