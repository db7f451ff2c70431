"""`governor requests list`, `requests show` and `pending`: reading requests."""

from collections.abc import Iterator
from datetime import datetime
from typing import Annotated

import typer
from rich.text import Text

from governance.v1 import governance_service_pb2, request_pb2
from governor.cli import options
from governor.cli.command import calls_server
from governor.cli.decisions import decisions_of
from governor.cli.durations import shown_moment, timestamp_of
from governor.cli.session import Session
from governor.cli.show import (
    show_circumstances,
    show_content,
    show_decisions,
    show_execution,
    show_standing,
    state_text,
    status_text,
)
from governor.cli.submission import chosen, state_filter
from governor.cli.texts import safe
from governor.wire.codec.enums import PENDING_REASON, STATUS

PAGE_SIZE_MAX = 500

Statuses = Annotated[
    list[str] | None,
    typer.Option("--status", metavar="STATUS", help="Such as pending or executed; repeatable."),
]
Waiting = Annotated[
    list[str] | None,
    typer.Option(
        "--waiting-for", metavar="REASON", help="Such as approval, schedule or audit; repeatable."
    ),
]
Requester = Annotated[str, typer.Option("--requester", help="Asked for by this actor.")]
Category = Annotated[str, typer.Option("--category", help="With this intent category.")]
Tag = Annotated[str, typer.Option("--tag", help="With this tag.")]
Since = Annotated[
    datetime | None,
    typer.Option("--since", parser=options.moment, metavar="TIME", help="Submitted since then."),
]
Until = Annotated[
    datetime | None,
    typer.Option("--until", parser=options.moment, metavar="TIME", help="Submitted before then."),
]


def add_to(app: typer.Typer) -> None:
    """Registers the commands."""
    group = typer.Typer(no_args_is_help=True, help="Read mutation requests.")
    calls_server(group, "list")(list_requests)
    calls_server(group, "show")(show_request)
    app.add_typer(group, name="requests")
    calls_server(app, "pending")(pending)


def list_requests(
    session: Session,
    status: Statuses = None,
    waiting_for: Waiting = None,
    state: options.StateFilter = "",
    requester: Requester = "",
    category: Category = "",
    tag: Tag = "",
    since: Since = None,
    until: Until = None,
    limit: options.Limit = 50,
) -> None:
    """List requests, newest first. All filters must match."""
    query = governance_service_pb2.ListRequestsRequest(
        tenant=session.tenant(),
        statuses=[chosen(STATUS, word, "--status") for word in status or ()],
        pending_reasons=[
            chosen(PENDING_REASON, word, "--waiting-for") for word in waiting_for or ()
        ],
        state=state_filter(state),
        actor=requester,
        category=category,
        tag=tag,
        submitted_from=timestamp_of(since) if since else None,
        submitted_until=timestamp_of(until) if until else None,
    )
    _print(session, _pages(session, query, limit))


def pending(
    session: Session,
    waiting_for: Waiting = None,
    limit: options.Limit = 50,
) -> None:
    """List the requests that wait for somebody or something, newest first."""
    query = governance_service_pb2.ListRequestsRequest(
        tenant=session.tenant(),
        statuses=[request_pb2.REQUEST_STATUS_PENDING],
        pending_reasons=[
            chosen(PENDING_REASON, word, "--waiting-for") for word in waiting_for or ()
        ],
    )
    _print(session, _pages(session, query, limit))


def show_request(session: Session, id: options.Id) -> None:
    """Show a request: what it is, where it stands, its executions and its timeline.

    With --json: the request with its executions on the first line, then one decision a line.
    """
    output = session.output
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
    for execution in answer.executions:
        output.line()
        show_execution(output, execution)
    output.line()
    show_decisions(output, decisions, of_one_request=True)


def _pages(
    session: Session, query: governance_service_pb2.ListRequestsRequest, limit: int
) -> Iterator[request_pb2.MutationRequest]:
    left = limit
    while left > 0:
        query.page_size = min(left, PAGE_SIZE_MAX)
        answer = session.call(session.stub.ListRequests, query)
        yield from answer.requests
        left -= len(answer.requests)
        query.page_token = answer.next_page_token
        if not query.page_token:
            return
    session.output.note("there are more; --limit prints them")


def _print(session: Session, requests: Iterator[request_pb2.MutationRequest]) -> None:
    if session.output.as_json:
        for request in requests:
            session.output.json(request)
        return
    rows = [_row(request) for request in requests]
    session.output.table(("ID", "STATUS", "MUTATION", "STATE", "REQUESTER", "SUBMITTED"), rows)


def _row(request: request_pb2.MutationRequest) -> tuple[Text | str, ...]:
    return (
        safe(request.id),
        status_text(request),
        safe(request.mutation.type),
        state_text(request.mutation.state),
        safe(request.context.actor),
        shown_moment(request.submit_time),
    )
