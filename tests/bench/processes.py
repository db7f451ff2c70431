"""The processes of the benchmark: started, waited for, measured, and always ended."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

from tests.bench.generator import Plan, Result

REPOSITORY = Path(__file__).resolve().parents[2]

POLICY = """
[[rule]]
id = "bench-allows-flags"
effect = "allow"
mutation_types = ["flag.*"]
"""

DIRECTORY = """
[[actor]]
id = "bench"
tenants = ["bench"]
roles = ["submitter", "operator"]
"""


@contextmanager
def running(command: list[str], *, ready: str, environment: dict[str, str]) -> Iterator[str]:
    """A process from the line that contains `ready`, which is yielded, to its end by SIGTERM."""
    process = subprocess.Popen(
        command,
        cwd=REPOSITORY,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, **environment},
    )
    try:
        assert process.stdout is not None
        for line in process.stdout:
            if ready in line:
                yield line.strip()
                break
        else:
            raise RuntimeError(f"{command} ended before it was ready")
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@contextmanager
def echo(target: str, answer_bytes: int) -> Iterator[None]:
    """The bare server."""
    command = [sys.executable, "-m", "tests.bench.echo", target, str(answer_bytes)]
    with running(command, ready="listening", environment={}):
        yield


@contextmanager
def sidecar(home: Path, *, host: str | None) -> Iterator[str]:
    """A real sidecar on the embedded store; yields its target."""
    home.mkdir(parents=True)
    (home / "policy.toml").write_text(POLICY)
    (home / "directory.toml").write_text(DIRECTORY)
    target = f"unix:{home}/governor.sock"
    environment = {
        "GOVERNOR_LISTEN": target,
        "GOVERNOR_STORE_URL": f"sqlite:///{home}/governor.db",
        "GOVERNOR_POLICY_FILE": str(home / "policy.toml"),
        "GOVERNOR_DIRECTORY_FILE": str(home / "directory.toml"),
        "GOVERNOR_LOG_LEVEL": "error",
        "GOVERNOR_HOST_ADDRESS": host or f"unix:{home}/nobody.sock",
    }
    command = [sys.executable, "-m", "governor", "serve"]
    with running(command, ready="listening", environment=environment):
        yield target


@contextmanager
def flags_host(home: Path) -> Iterator[str]:
    """The example host; yields its target."""
    home.mkdir(parents=True)
    target = f"unix:{home}/flags.sock"
    command = [
        sys.executable,
        "examples/hosts/flags/server.py",
        "--listen",
        target,
        "--database",
        str(home / "flags.db"),
    ]
    with running(command, ready="listening", environment={}):
        yield target


def generate(plan: Plan) -> Result:
    """Runs the load generator to its end."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.bench.generator"],
        cwd=REPOSITORY,
        input=json.dumps(asdict(plan)),
        capture_output=True,
        text=True,
        check=True,
    )
    return Result(**json.loads(done.stdout))
