"""How commands end: the reason and its facts, one documented exit code, never a stack trace."""

import socket
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2
from typer.testing import CliRunner, Result

from governance.v1 import governance_service_pb2 as service
from governor.cli.exits import MEANINGS, ExitCode
from governor.cli.main import app
from tests.support.scripted_service import refuse, scripted_service

SUBMIT = ("submit", "-t", "flag.set", "-s", "flag/a/b", "-p", "{}")


def governor(*arguments: str, address: str = "unix:/nowhere", stdin: str = "") -> Result:
    environment = {
        "GOVERNOR_ADDRESS": address,
        "GOVERNOR_ACTOR": "ann",
        "GOVERNOR_TENANT": "acme",
        "COLUMNS": "200",
    }
    result = CliRunner().invoke(app, arguments, env=environment, input=stdin)
    assert "Traceback" not in result.output
    return result


def test_a_refusal_prints_reason_words_facts_and_fields(tmp_path: Path) -> None:
    fields = error_details_pb2.BadRequest()
    fields.field_violations.add(field="mutation.type", description="is required")

    def answer(_: Any, context: grpc.ServicerContext) -> None:
        code = grpc.StatusCode.INVALID_ARGUMENT
        refuse(context, code, "INVALID_FIELD", "1 field is wrong", {"count": "1"}, fields)

    with scripted_service(tmp_path, Submit=answer) as address:
        result = governor(*SUBMIT, address=address)
    assert result.exit_code == ExitCode.REFUSED
    assert result.stderr.splitlines() == [
        "refused: INVALID_FIELD: 1 field is wrong",
        "  count: 1",
        "  mutation.type: is required",
    ]
    assert result.stdout == ""


def test_when_to_come_again_is_printed(tmp_path: Path) -> None:
    later = error_details_pb2.RetryInfo()
    later.retry_delay.FromMilliseconds(1500)

    def answer(_: Any, context: grpc.ServicerContext) -> None:
        code = grpc.StatusCode.RESOURCE_EXHAUSTED
        refuse(context, code, "OVERLOADED", "full", {"limit": "9"}, later)

    with scripted_service(tmp_path, ListRequests=answer) as address:
        result = governor("pending", address=address)
    assert result.exit_code == ExitCode.REFUSED
    assert "  try again in 1500 ms" in result.stderr.splitlines()


def test_foreign_words_in_an_error_cannot_act_on_the_terminal(tmp_path: Path) -> None:
    def answer(_: Any, context: grpc.ServicerContext) -> None:
        refuse(context, grpc.StatusCode.NOT_FOUND, "NOT_FOUND", "no \x1b[2J", {"id": "\x1b[1m"})

    with scripted_service(tmp_path, GetRequest=answer) as address:
        result = governor("requests", "show", "mr-1", address=address)
    assert "\x1b" not in result.output
    assert r"no \x1b[2J" in result.stderr


def test_without_an_answer_the_key_to_repeat_with_is_printed() -> None:
    result = governor(*SUBMIT)
    assert result.exit_code == ExitCode.UNAVAILABLE
    assert result.stderr.startswith("unavailable: UNAVAILABLE: ")
    assert "  asked: unix:/nowhere" in result.stderr
    key = result.stderr.split("safe to repeat with: --request-id ")[1].strip()
    again = governor(*SUBMIT, "--request-id", key)
    assert f"--request-id {key}" in again.stderr


def test_a_reading_command_prints_no_key() -> None:
    assert "--request-id" not in governor("pending").stderr


def test_a_call_that_takes_too_long_is_unavailable(tmp_path: Path) -> None:
    def answer(_: Any, context: grpc.ServicerContext) -> service.ListRequestsResponse:
        while context.is_active():
            pass
        return service.ListRequestsResponse()

    with scripted_service(tmp_path, ListRequests=answer) as address:
        result = governor("pending", "--timeout", "100ms", address=address)
    assert result.exit_code == ExitCode.UNAVAILABLE
    assert result.stderr.startswith("unavailable: DEADLINE_EXCEEDED")


@pytest.mark.parametrize(
    ("arguments", "fact"),
    [
        (("submit", "-s", "flag/a", "-p", "{}"), "value for --type"),
        (("submit", "-t", "x", "-p", "{}"), "value for --state"),
        (("submit", "-t", "x", "-s", "flag/a"), "value for --payload"),
        (("submit", "-t", "x", "-s", "flag", "-p", "{}"), "must be TYPE/ID, not 'flag'"),
        ((*SUBMIT, "--payload-file", "x"), "goes without --payload"),
        (("submit", "-t", "x", "-s", "f/a", "-p", "{"), "this is not JSON"),
        (("submit", "-t", "x", "-s", "f/a", "-p", '{"a":1,"a":2}'), "more than once"),
        (("submit", "-t", "x", "-s", "f/a", "--payload-file", "/none"), "No such file"),
        ((*SUBMIT, "--risk", "huge"), "must be one of low, medium, high, critical, not 'huge'"),
        ((*SUBMIT, "--risk", "unspecified"), "must be one of low, medium, high, critical"),
        ((*SUBMIT, "--stale", "ignore"), "must be one of reject, renew, revalidate"),
        ((*SUBMIT, "--mode", "now"), "must be one of automatic, on-execute"),
        ((*SUBMIT, "--evidence", "ticket"), "must be NAME=VALUE"),
        ((*SUBMIT, "--wait", "soon"), "is not a length of time"),
        ((*SUBMIT, "--expires", "2030-01-01T00:00:00"), "needs a zone"),
        (("pending", "--waiting-for", "tea"), "must be one of approval, schedule"),
        (("pending", "--address", "nowhere"), "must be unix:/path or host:port"),
        (("pending", "--address", "10.0.0.1:5"), "is not on this machine: that takes --tls-ca"),
        (("pending", "--tls-ca", "/none"), "No such file"),
        (("pending", "--tenant", ""), "value for --tenant"),
        (("resolve", "ex-1", "--code", "X"), "say one of --applied VERSION and --not-applied"),
        (
            ("resolve", "ex-1", "--code", "X", "--applied", "1", "--not-applied"),
            "say one of --applied VERSION and --not-applied",
        ),
        (("reject", "mr-1"), "'--code'"),
        (("watch", "--after", "-1"), "--after"),
        (("brew",), "brew"),
    ],
)
def test_a_command_line_that_cannot_be_meant_is_a_usage_error(
    arguments: tuple[str, ...], fact: str
) -> None:
    result = governor(*arguments)
    assert result.exit_code == ExitCode.USAGE, result.output
    assert fact in " ".join(result.stderr.split())


def test_every_exit_code_is_explained() -> None:
    assert set(MEANINGS) == set(ExitCode)


def test_an_address_where_nobody_listens_is_unavailable() -> None:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        result = governor("pending", address=f"127.0.0.1:{held.getsockname()[1]}")
    assert result.exit_code == ExitCode.UNAVAILABLE
