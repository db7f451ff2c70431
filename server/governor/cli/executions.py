"""`governor executions list` and `executions show`: reading what was done in the host."""

from collections.abc import Iterator
from typing import Annotated

import typer

from governance.v1 import execution_pb2, governance_service_pb2
from governor.cli import options
from governor.cli.command import calls_server
from governor.cli.durations import shown_duration, shown_moment
from governor.cli.filters import PAGE_SIZE_MAX
from governor.cli.session import Session
from governor.cli.show import execution_word, reason_text, show_execution, state_text
from governor.cli.submission import chosen, state_filter
from governor.cli.texts import safe
from governor.wire.codec.enums import EXECUTION_STATUS

Statuses = Annotated[
    list[str] | None,
    typer.Option("--status", metavar="STATUS", help="Such as applied or in-doubt; repeatable."),
]
OfRequest = Annotated[
    str, typer.Option("--request", metavar="ID", help="Of this mutation request.")
]


def add_to(app: typer.Typer) -> None:
    """Registers the commands."""
    group = typer.Typer(no_args_is_help=True, help="Read executions.")
    calls_server(group, "list")(list_executions)
    calls_server(group, "show")(show_one)
    app.add_typer(group, name="executions")


def list_executions(
    session: Session,
    request: OfRequest = "",
    status: Statuses = None,
    state: options.StateFilter = "",
    limit: options.Limit = 50,
) -> None:
    """List executions, newest first. All filters must match."""
    query = governance_service_pb2.ListExecutionsRequest(
        tenant=session.tenant(),
        mutation_request_id=request,
        statuses=[chosen(EXECUTION_STATUS, word, "--status") for word in status or ()],
        state=state_filter(state),
    )
    executions = _pages(session, query, limit)
    if session.output.as_json:
        for execution in executions:
            session.output.json(execution)
        return
    rows = [_row(execution) for execution in executions]
    columns = ("ID", "STATUS", "REQUEST", "STATE", "STARTED", "TOOK", "ERROR")
    session.output.table(columns, rows)


def show_one(session: Session, id: options.ExecutionId) -> None:
    """Show an execution with what it changed."""
    ask = governance_service_pb2.GetExecutionRequest(execution_id=id)
    execution = session.call(session.stub.GetExecution, ask).execution
    if session.output.as_json:
        session.output.json(execution)
        return
    session.output.fields(
        [
            ("request", safe(execution.mutation_request_id)),
            ("state", state_text(execution.state)),
        ]
    )
    show_execution(session.output, execution)


def _pages(
    session: Session, query: governance_service_pb2.ListExecutionsRequest, limit: int
) -> Iterator[execution_pb2.Execution]:
    left = limit
    while left > 0:
        query.page_size = min(left, PAGE_SIZE_MAX)
        answer = session.call(session.stub.ListExecutions, query)
        yield from answer.executions
        left -= len(answer.executions)
        query.page_token = answer.next_page_token
        if not query.page_token:
            return
    session.output.note("there are more; --limit prints them")


def _row(execution: execution_pb2.Execution) -> tuple[str, ...]:
    return (
        safe(execution.id),
        execution_word(execution),
        safe(execution.mutation_request_id),
        state_text(execution.state),
        shown_moment(execution.start_time),
        shown_duration(execution.duration) if execution.HasField("duration") else "",
        reason_text(execution.error) if execution.HasField("error") else "",
    )
