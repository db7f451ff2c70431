"""`governor host show` and `host trust`: whether the host is trusted, and saying that it is."""

from typing import Annotated

import typer
from rich.text import Text

from governance.v1 import governance_service_pb2, host_pb2, mutation_pb2
from governor.cli import options
from governor.cli.command import calls_server
from governor.cli.durations import shown_moment
from governor.cli.session import Session
from governor.cli.show import Fields, facts_text
from governor.cli.texts import safe

Lineage = Annotated[
    str,
    typer.Argument(
        metavar="LINEAGE",
        help="The lineage that you have looked at, as `host show` prints it; '' for a host "
        "without one.",
    ),
]


def add_to(app: typer.Typer) -> None:
    """Registers the commands."""
    group = typer.Typer(no_args_is_help=True, help="Look at the host, and trust it.")
    calls_server(group, "show")(show_host)
    calls_server(group, "trust")(trust)
    app.add_typer(group, name="host")


def show_host(session: Session) -> None:
    """Show what the host promises, whether it is trusted, and whether it answers."""
    ask = governance_service_pb2.GetHostRequest(tenant=session.tenant())
    host = session.call(session.stub.GetHost, ask).host
    if session.output.as_json:
        session.output.json(host)
    else:
        session.output.fields(_fields(host))


def trust(
    session: Session,
    lineage: Lineage,
    code: options.ReasonCode,
    comment: options.Comment = "",
    request_id: options.RequestKey = None,
) -> None:
    """Lift the hold on the host: you have looked, and take it as it is now.

    Refused unless the host announces that lineage at this moment. What waited is executed.
    """
    request = governance_service_pb2.TrustHostRequest(
        request_id=session.key(request_id),
        tenant=session.tenant(),
        lineage_id=lineage,
        reason=mutation_pb2.Reason(code=code, message=comment),
    )
    answer = session.call(session.stub.TrustHost, request)
    if session.output.as_json:
        session.output.json(answer)
    else:
        lineage = safe(answer.lineage_id) or "(none)"
        session.output.line(f"trusted: lineage {lineage}, at revision {answer.revision}")


def _fields(host: host_pb2.Host) -> Fields:
    if not host.contract_version:
        promises = "not reached yet"
    elif host.exactly_once:
        promises = "exactly once"
    else:
        promises = "at most once, without retry"
    if host.compare_and_apply:
        promises += ", compares the version"
    reached = shown_moment(host.reached_time) if host.HasField("reached_time") else "not yet"
    circuit = host_pb2.CircuitState.Name(host.circuit).removeprefix("CIRCUIT_STATE_")
    fields: Fields = [
        ("host", safe(host.name) or "(without a name)"),
        ("promises", promises),
        ("lineage", safe(host.lineage_id) or "(none)"),
        ("trusted lineage", safe(host.trusted_lineage_id) or "(none)"),
        ("circuit", circuit),
        ("last answered", reached),
    ]
    if not host.HasField("hold"):
        return [*fields, ("held", "no")]
    hold = host.hold
    word = host_pb2.HoldCode.Name(hold.code).removeprefix("HOLD_CODE_")
    return [
        *fields,
        ("held", Text(f"{word} since {shown_moment(hold.since_time)}", style="bold red")),
        ("because", safe(hold.detail + facts_text(hold.facts))),
    ]
