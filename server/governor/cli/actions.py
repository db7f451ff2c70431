"""`governor cancel`, `execute` and `resolve`: acting on a request that is there already."""

import time
from typing import Annotated

import typer

from governance.v1 import governance_service_pb2, mutation_pb2
from governor.cli import options
from governor.cli.command import calls_server
from governor.cli.durations import duration_of
from governor.cli.exits import exit_code_of, leave
from governor.cli.session import Session
from governor.cli.show import show_execution
from governor.cli.standing import show_standing
from governor.cli.submit import WAIT_SECONDS_PER_CALL, see_through

Applied = Annotated[
    str | None,
    typer.Option(
        "--applied", metavar="VERSION", help="It is in effect, and the state has this version now."
    ),
]
NotApplied = Annotated[
    bool, typer.Option("--not-applied", help="It is not in effect and never will be.")
]


def add_to(app: typer.Typer) -> None:
    """Registers the commands."""
    calls_server(app, "cancel")(cancel)
    calls_server(app, "execute")(execute)
    calls_server(app, "resolve")(resolve)


def cancel(
    session: Session,
    id: options.Id,
    comment: options.Comment = "",
    etag: options.Etag = "",
    request_id: options.RequestKey = None,
) -> None:
    """Withdraw a request.

    One that is executing is fenced in the host first; if it turns out to be applied, this is
    refused.
    """
    request = governance_service_pb2.CancelRequest(
        request_id=session.key(request_id), id=id, comment=comment, etag=etag
    )
    answer = session.call(session.stub.Cancel, request)
    if session.output.as_json:
        session.output.json(answer)
    else:
        show_standing(session.output, answer.request)


def execute(
    session: Session,
    id: options.Id,
    wait: options.Wait = None,
    etag: options.Etag = "",
    request_id: options.RequestKey = None,
) -> None:
    """Start the execution of an approved request."""
    request = governance_service_pb2.ExecuteRequest(
        request_id=session.key(request_id), id=id, etag=etag
    )
    until = time.monotonic() + (wait or 0.0)
    if wait is not None:
        request.wait.CopyFrom(duration_of(min(wait, WAIT_SECONDS_PER_CALL)))
    answer = session.call(session.stub.Execute, request, wait_seconds=wait or 0.0)
    if wait is not None:
        answer.request.CopyFrom(see_through(session, answer.request, until))
        ask = governance_service_pb2.GetExecutionRequest(execution_id=answer.execution.id)
        answer.execution.CopyFrom(session.call(session.stub.GetExecution, ask).execution)
    if session.output.as_json:
        session.output.json(answer)
    else:
        show_standing(session.output, answer.request)
        show_execution(session.output, answer.execution)
    leave(exit_code_of(answer.request, waited=wait is not None))


def resolve(
    session: Session,
    id: options.ExecutionId,
    code: options.ReasonCode,
    applied: Applied = None,
    not_applied: NotApplied = False,
    comment: options.Comment = "",
    etag: options.Etag = "",
    request_id: options.RequestKey = None,
) -> None:
    """Say what became of an execution whose outcome is in doubt."""
    if (applied is not None) == not_applied:
        raise typer.BadParameter("say one of --applied VERSION and --not-applied")
    claim = (
        governance_service_pb2.OUTCOME_CLAIM_NOT_APPLIED
        if not_applied
        else governance_service_pb2.OUTCOME_CLAIM_APPLIED
    )
    request = governance_service_pb2.ResolveExecutionRequest(
        request_id=session.key(request_id),
        execution_id=id,
        outcome=claim,
        resulting_version=applied or "",
        reason=mutation_pb2.Reason(code=code, message=comment),
        etag=etag,
    )
    answer = session.call(session.stub.ResolveExecution, request)
    if session.output.as_json:
        session.output.json(answer)
    else:
        show_standing(session.output, answer.request)
        show_execution(session.output, answer.execution)
