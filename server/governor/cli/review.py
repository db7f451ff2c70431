"""`governor approve`, `reject` and `revoke`: seeing exactly what will run, then voting on it."""

from typing import Annotated

import typer

from governance.v1 import governance_service_pb2, request_pb2
from governor.cli import options
from governor.cli.command import calls_server
from governor.cli.exits import ExitCode, leave
from governor.cli.seen import Look, Seen, look_at
from governor.cli.session import Session
from governor.cli.standing import show_changed
from governor.cli.submission import reason_of
from governor.cli.texts import safe

_MEANINGS = {
    "approve": request_pb2.VOTE_KIND_APPROVE,
    "review": request_pb2.VOTE_KIND_REVIEW,
}

Meaning = Annotated[
    str,
    typer.Option(
        "--meaning", help="What the vote means: approve, or review where the plan asks for that."
    ),
]
OnBehalfOf = Annotated[
    str,
    typer.Option(
        "--on-behalf-of", metavar="PERSON", help="In the place of this person, who has delegated."
    ),
]


def add_to(app: typer.Typer) -> None:
    """Registers the commands."""
    calls_server(app, "approve")(approve)
    calls_server(app, "reject")(reject)
    calls_server(app, "revoke")(revoke)


def approve(
    session: Session,
    id: options.Id,
    look: Look,
    comment: options.Comment = "",
    meaning: Meaning = "approve",
    on_behalf_of: OnBehalfOf = "",
    request_id: options.RequestKey = None,
) -> None:
    """Vote for a request, after showing what will run.

    Shown are the payload, the version it was made for and the one the host has, what would change,
    the rules that asked, and who else must still act. The digests are computed here from what is
    shown; a request or plan that is not what its digest says is not voted on.
    """
    if meaning not in _MEANINGS:
        words = ", ".join(_MEANINGS)
        raise typer.BadParameter(f"must be one of {words}, not {meaning!r}", param_hint="--meaning")
    question = "Approve exactly this?" if meaning == "approve" else "Say that you reviewed this?"
    seen = look_at(session, id, look, question)
    _require_plan(session, seen)
    vote = governance_service_pb2.ApproveRequest(
        request_id=session.key(request_id),
        id=id,
        request_digest=seen.digest,
        plan_digest=seen.plan_digest,
        comment=comment,
        meaning=_MEANINGS[meaning],
        on_behalf_of=on_behalf_of,
    )
    answer = session.call(session.stub.Approve, vote)
    said = "approved" if meaning == "approve" else "reviewed"
    show_changed(session.output, said, answer, answer.request)


def reject(
    session: Session,
    id: options.Id,
    look: Look,
    code: options.ReasonCode,
    category: options.ReasonCategory = "",
    comment: options.Comment = "",
    metadata: options.ReasonFacts = None,
    on_behalf_of: OnBehalfOf = "",
    request_id: options.RequestKey = None,
) -> None:
    """Vote against a request, which ends it unless its plan takes more than one rejection."""
    reason = reason_of(code, comment, category, metadata)
    seen = look_at(session, id, look, "Reject this?")
    _require_plan(session, seen)
    vote = governance_service_pb2.RejectRequest(
        request_id=session.key(request_id),
        id=id,
        request_digest=seen.digest,
        plan_digest=seen.plan_digest,
        reason=reason,
        on_behalf_of=on_behalf_of,
    )
    answer = session.call(session.stub.Reject, vote)
    show_changed(session.output, "rejected", answer, answer.request)


def revoke(
    session: Session,
    id: options.Id,
    code: options.ReasonCode,
    category: options.ReasonCategory = "",
    comment: options.Comment = "",
    metadata: options.ReasonFacts = None,
    etag: options.Etag = "",
    request_id: options.RequestKey = None,
) -> None:
    """Take your own vote back, until the request is executed.

    An approved request that no longer has its votes waits for them again.
    """
    revocation = governance_service_pb2.RevokeVoteRequest(
        request_id=session.key(request_id),
        id=id,
        etag=etag,
        reason=reason_of(code, comment, category, metadata),
    )
    answer = session.call(session.stub.RevokeVote, revocation)
    show_changed(session.output, "taken back", answer, answer.request)


def _require_plan(session: Session, seen: Seen) -> None:
    if not seen.plan_digest:
        session.output.note(f"refused: {safe(seen.request.id)} asks nobody for a vote")
        leave(ExitCode.REFUSED)
