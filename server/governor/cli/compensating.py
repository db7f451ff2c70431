"""`governor compensate`: taking back, or putting right, what an executed request has done."""

import time
from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from governance.v1 import governance_service_pb2
from governor.cli import options
from governor.cli.command import calls_server
from governor.cli.draft import Draft
from governor.cli.durations import timestamp_of
from governor.cli.exits import exit_code_of, leave
from governor.cli.session import Session
from governor.cli.standing import show_standing
from governor.cli.submission import lay_over, reason_of
from governor.cli.submit import see_through
from governor.domain.compensation import CompensationKind
from governor.wire.codec.enums import COMPENSATION_KIND

Rollback = Annotated[
    bool, typer.Option("--rollback", help="Have the host restore what was there before.")
]
Forward = Annotated[
    bool, typer.Option("--forward", help="Put it right by a further change, with a payload.")
]
Payload = Annotated[str | None, typer.Option("--payload", help="The further change, as text.")]
PayloadFile = Annotated[
    Path | None,
    typer.Option("--payload-file", metavar="FILE", help="The same from a file; - is stdin."),
]
ContentType = Annotated[
    str | None, typer.Option("--content-type", help="Left out: application/json, checked.")
]
Type = Annotated[
    str | None, typer.Option("--type", help="The kind of the further change. Left out: the same.")
]
ExpectedVersion = Annotated[
    str | None,
    typer.Option(
        "--expected-version",
        help="The version it was made for. Left out: the one that the request has led to.",
    ),
]
Stale = Annotated[
    str | None,
    typer.Option("--stale", help="If the state has moved on: reject, renew or revalidate."),
]
Mode = Annotated[
    str | None, typer.Option("--mode", help="Who starts it once approved: automatic or on-execute.")
]
Expires = Annotated[
    datetime | None,
    typer.Option(
        "--expires", parser=options.moment, metavar="TIME", help="When it expires, such as 2h."
    ),
]
Justification = Annotated[str, typer.Option("--justification", help="Why, for the approvers.")]


def add_to(app: typer.Typer) -> None:
    """Registers the commands."""
    calls_server(app, "compensate")(compensate)


def compensate(
    session: Session,
    id: options.Id,
    code: options.ReasonCode,
    rollback: Rollback = False,
    forward: Forward = False,
    payload: Payload = None,
    payload_file: PayloadFile = None,
    content_type: ContentType = None,
    type_: Type = None,
    expected_version: ExpectedVersion = None,
    stale: Stale = None,
    mode: Mode = None,
    expires: Expires = None,
    justification: Justification = "",
    category: options.ReasonCategory = "",
    comment: options.Comment = "",
    metadata: options.ReasonFacts = None,
    wait: options.Wait = None,
    etag: options.Etag = "",
    request_id: options.RequestKey = None,
) -> None:
    """Take back, or put right, what an executed request has done.

    That is a request of its own: policy and people decide on it, and a state that has moved on
    since is handled as --stale says.
    """
    if rollback == forward:
        raise typer.BadParameter("say one of --rollback and --forward")
    kind = CompensationKind.ROLLBACK if rollback else CompensationKind.FORWARD
    draft = Draft(
        mutation_type=type_,
        payload=payload,
        payload_file=payload_file,
        content_type=content_type,
        expected_version=expected_version,
        stale=stale,
        mode=mode,
        expires=expires,
    )
    asked = governance_service_pb2.SubmitRequest()
    lay_over(asked, draft)
    mutation = asked.mutation
    request = governance_service_pb2.CompensateRequest(
        request_id=session.key(request_id),
        id=id,
        etag=etag,
        kind=COMPENSATION_KIND.to_wire[kind],
        reason=reason_of(code, comment, category, metadata),
        justification=justification,
        stale_strategy=mutation.stale_strategy,
        execution_mode=asked.execution_mode,
        mutation_type=mutation.type,
        payload=mutation.payload if mutation.HasField("payload") else None,
        expected_version=expected_version,
        expire_time=timestamp_of(expires) if expires is not None else None,
    )
    until = time.monotonic() + (wait or 0.0)
    answer = session.call(session.stub.Compensate, request)
    if wait is not None:
        answer.request.CopyFrom(see_through(session, answer.request, until))
    if session.output.as_json:
        session.output.json(answer)
    else:
        session.output.fields([("request", answer.request.id), ("compensates", id)])
        show_standing(session.output, answer.request)
    leave(exit_code_of(answer.request, waited=wait is not None))
