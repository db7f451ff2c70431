"""host show and host trust: what they print of a host in each of its states."""

import json
import re
from pathlib import Path
from typing import Any

import grpc
import pytest
from typer.testing import CliRunner, Result

from governance.v1 import governance_service_pb2 as service
from governance.v1 import host_pb2
from governor.cli.exits import ExitCode
from governor.cli.main import app
from tests.support.scripted_service import refuse, scripted_service

TRUSTED = host_pb2.Host(
    name="flags",
    contract_version="governance.v1",
    exactly_once=True,
    compare_and_apply=True,
    lineage_id="one",
    trusted_lineage_id="one",
    circuit=host_pb2.CIRCUIT_STATE_CLOSED,
    revision=7,
)
TRUSTED.reached_time.seconds = 1_700_000_000


def held() -> host_pb2.Host:
    host = host_pb2.Host()
    host.CopyFrom(TRUSTED)
    host.lineage_id = "two\x1b[2J"
    host.hold.code = host_pb2.HOLD_CODE_LINEAGE_CHANGED
    host.hold.detail = "another lineage"
    host.hold.facts["found_lineage_id"] = "two\x1b[2J"
    host.hold.since_time.seconds = 1_700_000_060
    return host


def governor(address: str, *arguments: str) -> Result:
    environment = {"GOVERNOR_ADDRESS": address, "GOVERNOR_TENANT": "acme"}
    return CliRunner().invoke(app, ("host", *arguments), env=environment, catch_exceptions=False)


def shown(folder: Path, host: host_pb2.Host, *more: str) -> Result:
    """What `host show` prints of this host."""
    answer = service.GetHostResponse(host=host)
    with scripted_service(folder, GetHost=lambda *_: answer) as address:
        return governor(address, "show", *more)


def test_a_trusted_host_is_shown_with_its_promises(tmp_path: Path) -> None:
    printed = shown(tmp_path, TRUSTED)
    assert printed.exit_code == ExitCode.OK
    for fact in (
        "host +flags",
        "promises +exactly once, compares the version",
        "lineage +one",
        "trusted lineage +one",
        "circuit +CLOSED",
        "last answered +2023-11-14",
        "held +no",
    ):
        assert re.search(f"^{fact}", printed.stdout, re.MULTILINE), printed.stdout


def test_a_held_host_says_why_and_moves_no_cursor(tmp_path: Path) -> None:
    """What a host calls its lineage is foreign text."""
    printed = shown(tmp_path, held())
    assert "LINEAGE_CHANGED since 2023-11-14" in printed.stdout
    assert "another lineage (found_lineage_id=two\\x1b[2J)" in printed.stdout
    assert "\x1b" not in printed.stdout


def test_a_host_that_was_never_reached_is_shown_as_that(tmp_path: Path) -> None:
    unmet = host_pb2.Host(circuit=host_pb2.CIRCUIT_STATE_OPEN)
    printed = shown(tmp_path, unmet)
    for fact in ("promises +not reached yet", "lineage +\\(none\\)", "last answered +not yet"):
        assert re.search(f"^{fact}", printed.stdout, re.MULTILINE), printed.stdout


def test_a_program_gets_the_message(tmp_path: Path) -> None:
    told = json.loads(shown(tmp_path, held(), "--json").stdout)
    assert told["hold"]["code"] == "HOLD_CODE_LINEAGE_CHANGED"
    assert told["circuit"] == "CIRCUIT_STATE_CLOSED"


@pytest.mark.parametrize("lineage", ["two", ""])
def test_trust_sends_what_was_looked_at_and_why(tmp_path: Path, lineage: str) -> None:
    asked: list[service.TrustHostRequest] = []

    def trust(request: Any, context: Any) -> service.TrustHostResponse:
        asked.append(request)
        return service.TrustHostResponse(lineage_id=request.lineage_id, revision=9)

    with scripted_service(tmp_path, TrustHost=trust) as address:
        more = ("--code", "RESTORED", "-m", "on purpose", "--request-id", "once")
        printed = governor(address, "trust", lineage, *more)
    assert printed.exit_code == ExitCode.OK, printed.stderr
    assert printed.stdout == f"trusted: lineage {lineage or '(none)'}, at revision 9\n"
    (request,) = asked
    assert (request.request_id, request.tenant, request.lineage_id) == ("once", "acme", lineage)
    assert (request.reason.code, request.reason.message) == ("RESTORED", "on purpose")


def test_a_refused_trust_says_what_is_announced(tmp_path: Path) -> None:
    def trust(request: Any, context: Any) -> None:
        facts = {"named": "two", "announced": "three"}
        code = grpc.StatusCode.FAILED_PRECONDITION
        refuse(context, code, "LINEAGE_MISMATCH", "another lineage", facts)

    with scripted_service(tmp_path, TrustHost=trust) as address:
        printed = governor(address, "trust", "two", "--code", "LOOKED")
    assert printed.exit_code == ExitCode.REFUSED
    assert "announced: three" in printed.stderr
