"""`governor resolve-pending` and `break-glass`: answering what a request waits for, or owes."""

from typing import Annotated

import typer

from governance.v1 import governance_service_pb2, request_pb2
from governor.cli import options
from governor.cli.command import calls_server
from governor.cli.durations import shown_moment
from governor.cli.exits import ExitCode, leave
from governor.cli.filters import About, query_of, requests_of
from governor.cli.seen import Look, Seen, look_at
from governor.cli.session import Session
from governor.cli.show import pending_word, state_text
from governor.cli.standing import RESOLVABLE, show_changed, targets_text
from governor.cli.submission import chosen, reason_of
from governor.cli.texts import safe
from governor.wire.codec.enums import PENDING_REASON

Reason = Annotated[
    str,
    typer.Option(
        "--reason",
        help="external-check, quota or manual-review. Left out: the one it waits for.",
    ),
]
Name = Annotated[
    str, typer.Option("--name", help="Which check, quota or review. Left out: the one there is.")
]
Passed = Annotated[bool, typer.Option("--passed", help="It does not stand in the way any more.")]
Failed = Annotated[
    bool, typer.Option("--failed", help="It ends the request; a quota is only ever passed.")
]
Justified = Annotated[bool, typer.Option("--justified", help="The emergency was one.")]
Unjustified = Annotated[bool, typer.Option("--unjustified", help="It was not.")]


def add_to(app: typer.Typer) -> None:
    """Registers the commands."""
    calls_server(app, "resolve-pending")(resolve_pending)
    group = typer.Typer(no_args_is_help=True, help="Look after emergencies that skipped approval.")
    calls_server(group, "list")(list_owed)
    calls_server(group, "review")(review)
    app.add_typer(group, name="break-glass")


def resolve_pending(
    session: Session,
    id: options.Id,
    look: Look,
    code: options.ReasonCode,
    passed: Passed = False,
    failed: Failed = False,
    reason: Reason = "",
    name: Name = "",
    category: options.ReasonCategory = "",
    comment: options.Comment = "",
    metadata: options.ReasonFacts = None,
    etag: options.Etag = "",
    request_id: options.RequestKey = None,
) -> None:
    """Answer an outside check, a quota or a manual review, after showing what will run."""
    outcome = _outcome(passed=passed, failed=failed)
    finding = reason_of(code, comment, category, metadata)
    wanted = chosen(PENDING_REASON, reason, "--reason") if reason else None
    seen = look_at(session, id, look, "Let it pass?" if passed else "Let it fail?")
    pending = _the_one(session, seen, wanted, name)
    resolution = governance_service_pb2.ResolvePendingRequest(
        request_id=session.key(request_id),
        id=id,
        etag=etag,
        request_digest=seen.digest,
        reason=pending.reason,
        name=pending.name,
        outcome=outcome,
        finding=finding,
    )
    answer = session.call(session.stub.ResolvePending, resolution)
    what = safe(f"{pending_word(pending.reason)} {pending.name}")
    said = f"{what} has {'passed' if passed else 'failed'}"
    show_changed(session.output, said, answer, answer.request)


def list_owed(session: Session, about: About, limit: options.Limit = 50) -> None:
    """List the emergencies that still owe their review, newest first."""
    query = query_of(session, about)
    query.review_open = True
    requests = requests_of(session, query, limit)
    if session.output.as_json:
        for request in requests:
            session.output.json(request)
        return
    columns = ("ID", "CHANGE", "BROKEN BY", "WHY", "REVIEW", "OWED BY", "REVIEWERS")
    session.output.table(columns, [_row(request) for request in requests])


def review(
    session: Session,
    id: options.Id,
    look: Look,
    code: options.ReasonCode,
    justified: Justified = False,
    unjustified: Unjustified = False,
    category: options.ReasonCategory = "",
    comment: options.Comment = "",
    metadata: options.ReasonFacts = None,
    etag: options.Etag = "",
    request_id: options.RequestKey = None,
) -> None:
    """Give the review that an emergency owes, after showing what was run."""
    if justified == unjustified:
        raise typer.BadParameter("say one of --justified and --unjustified")
    reason = reason_of(code, comment, category, metadata)
    question = "Was this emergency justified?" if justified else "Was this no emergency?"
    seen = look_at(session, id, look, question)
    given = governance_service_pb2.ReviewBreakGlassRequest(
        request_id=session.key(request_id),
        id=id,
        etag=etag,
        request_digest=seen.digest,
        justified=justified,
        reason=reason,
    )
    answer = session.call(session.stub.ReviewBreakGlass, given)
    show_changed(session.output, "reviewed", answer, answer.request)


def _outcome(*, passed: bool, failed: bool) -> governance_service_pb2.PendingOutcome.ValueType:
    if passed == failed:
        raise typer.BadParameter("say one of --passed and --failed")
    if passed:
        return governance_service_pb2.PENDING_OUTCOME_PASSED
    return governance_service_pb2.PENDING_OUTCOME_FAILED


def _the_one(
    session: Session,
    seen: Seen,
    reason: request_pb2.PendingReason.ValueType | None,
    name: str,
) -> request_pb2.Pending:
    """What is meant among the things the request waits for; ends the command unless it is one."""
    if reason is not None and name:
        # Whether it waits for that is the server's to say.
        return request_pb2.Pending(reason=reason, name=name)
    found = [
        pending
        for pending in seen.request.pending
        if pending.reason in RESOLVABLE
        and (reason is None or pending.reason == reason)
        and (not name or pending.name == name)
    ]
    if len(found) != 1:
        words = ", ".join(safe(f"{pending_word(p.reason)} {p.name}") for p in found) or "none"
        session.output.note(
            f"refused: say --reason and --name; {safe(seen.request.id)} waits for: {words}"
        )
        leave(ExitCode.REFUSED)
    return found[0]


def _row(request: request_pb2.MutationRequest) -> tuple[str, ...]:
    broken, review = request.approval.break_glass, request.review
    status = request_pb2.ReviewStatus.Name(review.status).removeprefix("REVIEW_STATUS_")
    return (
        safe(request.id),
        f"{safe(request.mutation.type)} {state_text(request.mutation.state)}",
        safe(broken.actor.id),
        safe(broken.justification),
        status,
        shown_moment(review.due_time),
        targets_text(review.reviewers),
    )
