"""`governor submit` and `governor supersede`: asking for a mutation."""

import time
from typing import Annotated

import typer

from governance.v1 import governance_service_pb2, request_pb2
from governor.cli import options
from governor.cli.command import calls_server
from governor.cli.draft import Draft
from governor.cli.durations import duration_of
from governor.cli.exits import exit_code_of, leave
from governor.cli.session import Session
from governor.cli.show import show_preview
from governor.cli.standing import show_standing
from governor.cli.submission import content_of, lay_over
from governor.cli.texts import safe

# The server answers a longer wait at its own limit; short pieces need no agreement about it.
WAIT_SECONDS_PER_CALL = 20.0

_STILL_MOVING = (request_pb2.REQUEST_STATUS_APPROVED, request_pb2.REQUEST_STATUS_EXECUTING)

ValidateOnly = Annotated[
    bool, typer.Option("--validate-only", help="Say what would happen, and write nothing.")
]


def add_to(app: typer.Typer) -> None:
    """Registers the commands."""
    calls_server(app, "submit")(submit)
    calls_server(app, "supersede")(supersede)


def submit(
    session: Session,
    draft: Draft,
    validate_only: ValidateOnly = False,
    wait: options.Wait = None,
    request_id: options.RequestKey = None,
) -> None:
    """Ask for a mutation.

    Prints what became of it so far. With --wait the exit code tells whether it was executed.
    """
    _require(draft)
    request = governance_service_pb2.SubmitRequest(
        request_id=session.key(request_id), validate_only=validate_only
    )
    request.context.tenant = session.tenant()
    lay_over(request, draft)
    until = time.monotonic() + (wait or 0.0)
    if wait is not None:
        request.wait.CopyFrom(duration_of(min(wait, WAIT_SECONDS_PER_CALL)))
    answer = session.call(session.stub.Submit, request, wait_seconds=wait or 0.0)
    if wait is not None and not validate_only:
        answer.request.CopyFrom(see_through(session, answer.request, until))
    _show(session, answer)
    leave(exit_code_of(answer.request, waited=wait is not None and not validate_only))


def supersede(
    session: Session,
    id: options.Id,
    draft: Draft,
    etag: options.Etag = "",
    request_id: options.RequestKey = None,
) -> None:
    """Replace a request by a new one, without its votes.

    What is not said here is taken over from the request that is replaced, but for its expiry.
    """
    old = session.call(session.stub.GetRequest, governance_service_pb2.GetRequestRequest(id=id))
    replacement = content_of(old.request)
    replacement.context.actor = ""
    lay_over(replacement, draft)
    request = governance_service_pb2.SupersedeRequest(
        request_id=session.key(request_id), id=id, etag=etag, replacement=replacement
    )
    answer = session.call(session.stub.Supersede, request)
    if session.output.as_json:
        session.output.json(answer)
    else:
        session.output.line(f"{safe(answer.request.id)} supersedes {safe(id)}")
        show_standing(session.output, answer.request)
    leave(exit_code_of(answer.request, waited=False))


def see_through(
    session: Session, request: request_pb2.MutationRequest, until: float
) -> request_pb2.MutationRequest:
    """The request once it has ended or waits for somebody; as it stands when the time is up."""
    while request.status in _STILL_MOVING and (left := until - time.monotonic()) > 0:
        wait = governance_service_pb2.WaitRequestRequest(
            id=request.id,
            after_revision=request.revision,
            timeout=duration_of(min(left, WAIT_SECONDS_PER_CALL)),
        )
        request = session.call(session.stub.WaitRequest, wait, wait_seconds=left).request
    return request


def _require(draft: Draft) -> None:
    """What a mutation cannot go without; the server checks everything else."""
    for option, value in (("--type", draft.mutation_type), ("--state", draft.state)):
        if not value:
            raise typer.BadParameter("is needed", param_hint=option)
    if draft.payload is None and draft.payload_file is None:
        raise typer.BadParameter("is needed (or --payload-file)", param_hint="--payload")


def _show(session: Session, answer: governance_service_pb2.SubmitResponse) -> None:
    output, request = session.output, answer.request
    if output.as_json:
        output.json(answer)
        return
    if request.id:
        output.line(f"{safe(request.id)} at revision {request.revision}")
    else:
        output.line("nothing was written; this is what would happen:")
    show_standing(output, request)
    if answer.HasField("preview"):
        show_preview(output, answer.preview)
