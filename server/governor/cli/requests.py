"""`governor requests list`, `requests show` and `governor counts`: reading requests."""

from typing import Annotated

import typer
from rich.text import Text

from governance.v1 import governance_service_pb2, request_pb2
from governor.cli import options
from governor.cli.batches import members_of, show_members
from governor.cli.command import calls_server
from governor.cli.decisions import decisions_of
from governor.cli.durations import shown_moment
from governor.cli.filters import About, query_of, requests_of
from governor.cli.session import Session
from governor.cli.show import (
    pending_word,
    show_circumstances,
    show_content,
    show_decisions,
    show_execution,
    state_text,
    status_text,
    status_word,
)
from governor.cli.standing import show_standing
from governor.cli.submission import chosen
from governor.cli.texts import safe
from governor.cli.tree import show_tree
from governor.wire.codec.enums import SEVERITY, STATUS

Statuses = Annotated[
    list[str] | None,
    typer.Option("--status", metavar="STATUS", help="Such as pending or executed; repeatable."),
]
SideEffect = Annotated[
    str, typer.Option("--side-effect", metavar="TYPE", help="Executed with such a side effect.")
]
Severity = Annotated[
    str,
    typer.Option(
        "--severity", help="Executed with a side effect that is at least info, warning or critical."
    ),
]
ReviewOpen = Annotated[
    bool, typer.Option("--review-open", help="Only emergencies that still owe their review.")
]

AsTree = Annotated[
    bool, typer.Option("--tree", help="Everything that came of it, and the trail of it all.")
]


def add_to(app: typer.Typer) -> None:
    """Registers the commands."""
    group = typer.Typer(no_args_is_help=True, help="Read mutation requests.")
    calls_server(group, "list")(list_requests)
    calls_server(group, "show")(show_request)
    app.add_typer(group, name="requests")
    calls_server(app, "counts")(counts)


def list_requests(
    session: Session,
    about: About,
    status: Statuses = None,
    side_effect: SideEffect = "",
    severity: Severity = "",
    review_open: ReviewOpen = False,
    limit: options.Limit = 50,
) -> None:
    """List requests, newest first. All filters must match."""
    query = query_of(session, about)
    query.statuses.extend(chosen(STATUS, word, "--status") for word in status or ())
    query.side_effect_type = side_effect
    if severity:
        query.side_effect_severity = chosen(SEVERITY, severity, "--severity")
    query.review_open = review_open
    requests = requests_of(session, query, limit)
    if session.output.as_json:
        for request in requests:
            session.output.json(request)
        return
    rows = [_row(request) for request in requests]
    session.output.table(("ID", "STATUS", "MUTATION", "STATE", "REQUESTER", "SUBMITTED"), rows)


def show_request(session: Session, id: options.Id, tree: AsTree = False) -> None:
    """Show a request: what it is, where it stands, its executions and its timeline.

    With --json: the request with its executions on the first line, then one decision a line. With
    --tree: everything that is linked to it, then every decision about any of that.
    """
    output = session.output
    if tree:
        show_tree(session, id)
        return
    ask = governance_service_pb2.GetRequestRequest(id=id)
    answer = session.call(session.stub.GetRequest, ask)
    request = answer.request
    filter = governance_service_pb2.DecisionFilter(
        tenant=request.context.tenant, mutation_request_ids=[id]
    )
    decisions = list(decisions_of(session, filter))
    if output.as_json:
        output.json(answer)
        for decision in decisions:
            output.json(decision)
        return
    output.fields(
        [
            ("request", safe(request.id)),
            ("audit id", safe(request.request_audit_id)),
            ("submitted", shown_moment(request.submit_time)),
            ("changed", f"{shown_moment(request.update_time)}, revision {request.revision}"),
            ("etag", safe(request.etag)),
        ]
    )
    output.line()
    show_content(output, request)
    output.line()
    show_circumstances(output, request)
    output.line()
    show_standing(output, request)
    if request.HasField("batch_spec"):
        output.line()
        show_members(output, request, members_of(session, request))
    for execution in answer.executions:
        output.line()
        show_execution(output, execution)
    output.line()
    show_decisions(output, decisions, of_one_request=True)


def counts(session: Session) -> None:
    """Count requests by status and by what they wait for.

    A request that waits for several things counts in each. What is zero is left out.
    """
    ask = governance_service_pb2.CountRequestsRequest(tenant=session.tenant())
    answer = session.call(session.stub.CountRequests, ask)
    if session.output.as_json:
        session.output.json(answer)
        return
    rows = [("STATUS", status_word(item.status), item.count) for item in answer.statuses]
    rows += [("WAITS FOR", pending_word(item.reason), item.count) for item in answer.pending]
    reviews = (("open", answer.reviews_open), ("overdue", answer.reviews_overdue))
    rows += [("REVIEW", word, count) for word, count in reviews if count]
    session.output.table(
        ("BY", "WHICH", "COUNT"), [(by, which, str(count)) for by, which, count in rows]
    )


def _row(request: request_pb2.MutationRequest) -> tuple[Text | str, ...]:
    return (
        safe(request.id),
        status_text(request),
        safe(request.mutation.type),
        state_text(request.mutation.state),
        safe(request.context.actor),
        shown_moment(request.submit_time),
    )
