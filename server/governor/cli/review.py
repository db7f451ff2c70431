"""`governor approve` and `governor reject`: seeing exactly what will run, then deciding."""

import sys
from typing import Annotated

import typer

from governance.v1 import governance_service_pb2, mutation_pb2, request_pb2
from governor.cli import options
from governor.cli.command import calls_server
from governor.cli.exits import ExitCode, leave
from governor.cli.session import Session
from governor.cli.show import show_circumstances, show_content, show_standing
from governor.cli.submission import content_of
from governor.cli.texts import safe
from governor.domain.digest import request_digest
from governor.wire.codec import submission

Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask; needed without a terminal.")]
Digest = Annotated[
    str,
    typer.Option("--digest", metavar="HEX", help="Vote only if the request has this digest."),
]


def add_to(app: typer.Typer) -> None:
    """Registers the commands."""
    calls_server(app, "approve")(approve)
    calls_server(app, "reject")(reject)


def approve(
    session: Session,
    id: options.Id,
    comment: options.Comment = "",
    digest: Digest = "",
    yes: Yes = False,
    request_id: options.RequestKey = None,
) -> None:
    """Vote for a request, after showing what will run.

    The digest is computed here from what is shown; a request that is not what its digest says is
    not voted on.
    """
    seen = _reviewed(session, id, digest, yes=yes, question="Approve exactly this?")
    vote = governance_service_pb2.ApproveRequest(
        request_id=session.key(request_id),
        id=id,
        request_digest=digest_of(seen),
        plan_digest=seen.approval.plan_digest,
        comment=comment,
    )
    answer = session.call(session.stub.Approve, vote)
    if session.output.as_json:
        session.output.json(answer)
    else:
        session.output.line(f"approved; {safe(id)} now stands so:")
        show_standing(session.output, answer.request)


def reject(
    session: Session,
    id: options.Id,
    code: options.ReasonCode,
    comment: options.Comment = "",
    digest: Digest = "",
    yes: Yes = False,
    request_id: options.RequestKey = None,
) -> None:
    """Vote against a request, which ends it."""
    seen = _reviewed(session, id, digest, yes=yes, question="Reject this?")
    vote = governance_service_pb2.RejectRequest(
        request_id=session.key(request_id),
        id=id,
        request_digest=digest_of(seen),
        plan_digest=seen.approval.plan_digest,
        reason=mutation_pb2.Reason(code=code, message=comment),
    )
    answer = session.call(session.stub.Reject, vote)
    if session.output.as_json:
        session.output.json(answer)
    else:
        session.output.line(f"rejected; {safe(id)} now stands so:")
        show_standing(session.output, answer.request)


def digest_of(request: request_pb2.MutationRequest) -> bytes:
    """The digest of what the server shows, computed without believing it."""
    mutation = request.mutation
    content = submission.content(content_of(request), request.context.actor)
    version = mutation.expected_version if mutation.HasField("expected_version") else None
    return request_digest(content, version)


def _reviewed(
    session: Session, id: str, digest: str, *, yes: bool, question: str
) -> request_pb2.MutationRequest:
    """The request that the person has seen and means."""
    output = session.output
    ask = governance_service_pb2.GetRequestRequest(id=id)
    request = session.call(session.stub.GetRequest, ask).request
    computed = digest_of(request)
    if computed != request.request_digest:
        output.note(
            f"refused: {safe(id)} is not what its digest says: "
            f"{request.request_digest.hex()}, but what the server shows has {computed.hex()}"
        )
        leave(ExitCode.VERIFICATION_FAILED)
    if digest and digest.lower() != computed.hex():
        output.note(f"refused: {safe(id)} has the digest {computed.hex()}, not {safe(digest)}")
        leave(ExitCode.REFUSED)
    if not output.as_json:
        show_content(output, request)
        output.line()
        show_circumstances(output, request)
        output.line()
        show_standing(output, request)
        output.line()
    if not yes:
        _ask(question)
    return request


def _ask(question: str) -> None:
    if not sys.stdin.isatty():
        raise typer.BadParameter("is needed where nobody can be asked", param_hint="--yes")
    if not typer.confirm(question, err=True):
        leave(ExitCode.REFUSED)
