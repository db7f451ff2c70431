"""`governor pending`: what waits for whom, why, since when and until when."""

from collections.abc import Iterable, Iterator

import typer
from google.protobuf.timestamp_pb2 import Timestamp

from governance.v1 import request_pb2
from governor.cli import options
from governor.cli.command import calls_server
from governor.cli.durations import shown_age, shown_moment
from governor.cli.filters import About, query_of, requests_of
from governor.cli.session import Session
from governor.cli.show import pending_word, state_text
from governor.cli.standing import RESOLVABLE, is_owed, targets_text
from governor.cli.texts import safe
from governor.clock import SystemClock

_COLUMNS = ("ID", "AGE", "CHANGE", "WAITS FOR", "OF WHOM", "SINCE", "UNTIL")


def add_to(app: typer.Typer) -> None:
    """Registers the commands."""
    calls_server(app, "pending")(pending)


def pending(session: Session, about: About, limit: options.Limit = 50) -> None:
    """List what waits for somebody or something: one line for each thing a request waits for.

    UNTIL is when time itself decides it. With --mine only requests that the caller can act on, with
    the command to type, and the reviews that emergencies owe; of several things that one request
    waits for, one at least is the caller's.
    """
    query = query_of(session, about)
    if not about.mine:
        # A review can be owed by a request that has ended.
        query.statuses.append(request_pb2.REQUEST_STATUS_PENDING)
    requests = requests_of(session, query, limit)
    if session.output.as_json:
        for request in requests:
            session.output.json(request)
        return
    columns, rows = _COLUMNS, list(_rows(requests, set(query.pending_reasons), mine=about.mine))
    session.output.table((*columns, "TO ACT") if about.mine else columns, rows)


def commands_for(
    request: request_pb2.MutationRequest, pending: request_pb2.Pending
) -> tuple[str, ...]:
    """What a person types to act on it; nothing where no person can."""
    if pending.reason == request_pb2.PENDING_REASON_APPROVAL:
        return tuple(
            f"governor approve {request.id}{option}" for option in _meanings(request.approval)
        )
    if pending.reason in RESOLVABLE:
        word = pending_word(pending.reason).lower().replace("_", "-")
        which = f"--reason {word} --name {pending.name}"
        return (f"governor resolve-pending {request.id} {which} --passed --code ...",)
    if pending.reason == request_pb2.PENDING_REASON_AUDIT:
        return (f"governor resolve {request.execution_id} --not-applied --code ...",)
    return ()


def _rows(
    requests: Iterable[request_pb2.MutationRequest],
    reasons: set[request_pb2.PendingReason.ValueType],
    *,
    mine: bool,
) -> Iterator[tuple[str, ...]]:
    now = Timestamp()
    now.FromMicroseconds(SystemClock().now())
    for request in requests:
        for pending in request.pending:
            if reasons and pending.reason not in reasons:
                continue
            commands = commands_for(request, pending)
            if not mine:
                yield (*_which(request, now), *_wait(pending))
            elif commands:
                yield (*_which(request, now), *_wait(pending), safe(", or ".join(commands)))
        if mine and not reasons and is_owed(request.review):
            command = f"governor break-glass review {request.id} --justified --code ..."
            yield (*_which(request, now), *_owed(request), safe(command))


def _which(request: request_pb2.MutationRequest, now: Timestamp) -> tuple[str, ...]:
    return (
        safe(request.id),
        shown_age(request.submit_time, now),
        f"{safe(request.mutation.type)} {state_text(request.mutation.state)}",
    )


def _wait(pending: request_pb2.Pending) -> tuple[str, ...]:
    name = f" {pending.name}" if pending.name else ""
    has_end = pending.HasField("until_time")
    return (
        safe(f"{pending_word(pending.reason)}{name}"),
        targets_text(pending.waits_for) or safe(pending.detail),
        shown_moment(pending.since_time),
        shown_moment(pending.until_time) if has_end else "",
    )


def _owed(request: request_pb2.MutationRequest) -> tuple[str, ...]:
    review, broken = request.review, request.approval.break_glass
    return (
        "its review",
        targets_text(review.reviewers),
        shown_moment(broken.actor.time),
        shown_moment(review.due_time),
    )


def _meanings(approval: request_pb2.Approval) -> list[str]:
    """As options: what the requirements that are still open ask votes to mean."""
    steps = approval.steps[approval.open_step : approval.open_step + 1]
    asked = {
        requirement.meaning
        for step in steps
        for requirement in step.requirements
        if requirement.id in approval.open_requirements
    }
    options = [""] if asked != {request_pb2.VOTE_KIND_REVIEW} else []
    return options + [" --meaning review"] * (request_pb2.VOTE_KIND_REVIEW in asked)
