"""What README.md lets a newcomer do works as it stands there, against a real sidecar and host."""

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator

import pytest

from governance.v1 import request_pb2
from tests.support.deployment import REPOSITORY, TENANT, Client, Deployment

README = (REPOSITORY / "README.md").read_text()
EXAMPLES = REPOSITORY / "examples" / "policy"
MR = "mr-..."


@pytest.fixture(scope="module")
def deployment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    settings = {
        "GOVERNOR_POLICY_FILE": str(EXAMPLES / "policy.toml"),
        "GOVERNOR_DIRECTORY_FILE": str(EXAMPLES / "directory.toml"),
    }
    made = Deployment(tmp_path_factory.mktemp("readme"), settings)
    with made.host(), made.sidecar():
        yield made


def shown_calls() -> list[list[str]]:
    """The commands of the third terminal, in order, as they are typed."""
    session = README.replace("\\\n", " ")
    lines = re.findall(r"^\$ governor (?!serve)(.*)$", session, re.MULTILINE)
    return [shlex.split(line, comments=True) for line in lines]


def run(deployment: Deployment, arguments: list[str], answer: str = "") -> str:
    done = subprocess.run(
        [sys.executable, "-m", "governor", *arguments],
        env={
            **os.environ,
            "GOVERNOR_ADDRESS": deployment.target,
            "GOVERNOR_STORE_URL": deployment.store_url,
            "GOVERNOR_TENANT": TENANT,
        },
        cwd=REPOSITORY,
        input=answer,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{arguments}: {done.stdout}{done.stderr}"
    return done.stdout


def test_the_session_that_is_shown_leads_to_an_executed_request(deployment: Deployment) -> None:
    """Without a terminal, approve wants --yes; and watch is told to end."""
    id = MR
    for shown in shown_calls():
        arguments = [id if word == MR else word for word in shown]
        if arguments[0] == "approve":
            arguments.append("--yes")
        if arguments[0] == "watch":
            arguments.append("--until-caught-up")
        output = run(deployment, arguments)
        if arguments[0] == "submit":
            id = output.split()[0]
        if arguments[:2] == ["requests", "show"]:
            assert id in output

    with deployment.client("ruth") as auditor:
        assert ended(auditor, id) == "REQUEST_STATUS_EXECUTED"


def test_the_client_that_is_shown_submits_and_may_be_run_twice(
    deployment: Deployment, capsys: pytest.CaptureFixture[str]
) -> None:
    found = re.search(r"<!-- example:client -->\n```python\n(.*?)```\n", README, re.DOTALL)
    assert found, "README.md has no example client"
    program = found[1].replace("127.0.0.1:50051", deployment.target)
    names: dict[str, object] = {}
    exec(compile(program, "README.md", "exec"), names)
    exec(compile(program, "README.md", "exec"), {})

    first, again = capsys.readouterr().out.splitlines()
    assert first == again
    with deployment.client("ruth") as auditor:
        assert ended(auditor, first.split()[0]) == "REQUEST_STATUS_EXECUTED"


def ended(client: Client, id: str) -> str:
    return request_pb2.RequestStatus.Name(client.ended(id).status)
