"""Seeing before saying: exactly what will run is shown, checked against its digests, and asked for.

Every command that answers for a request goes through here: approve, reject, resolve-pending and the
review of an emergency.
"""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from governance.v1 import governance_service_pb2, request_pb2
from governor.cli.exits import ExitCode, leave
from governor.cli.protobuf_payload import payload_reader
from governor.cli.session import Session
from governor.cli.show import PayloadReader, show_circumstances, show_content, show_preview
from governor.cli.standing import show_standing, show_still_to_act
from governor.cli.submission import content_of
from governor.cli.texts import safe
from governor.domain.approval import Plan, Requirement, Step, Target
from governor.domain.digest import plan_digest, request_digest
from governor.wire.codec import submission
from governor.wire.codec.enums import STEP_MODE, TARGET_KIND, VOTE_KIND


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """How a request is looked at before it is answered for. Each field is an option."""

    digest: Annotated[
        str,
        typer.Option(metavar="HEX", help="Go on only if the request has this digest."),
    ] = ""
    yes: Annotated[
        bool, typer.Option("--yes", "-y", help="Do not ask; needed without a terminal.")
    ] = False
    descriptors: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="A FileDescriptorSet by which to show a protobuf payload; goes with --message.",
        ),
    ] = None
    message: Annotated[
        str, typer.Option(metavar="NAME", help="The payload's message, such as acme.v1.SetFlag.")
    ] = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What was shown, with the digests that were computed from it."""

    request: request_pb2.MutationRequest
    digest: bytes
    plan_digest: bytes


def look_at(session: Session, id: str, look: Look, question: str) -> Seen:
    """The request that the person has seen and means; ends the command where they do not."""
    output, reader = session.output, payload_reader(look.descriptors, look.message)
    ask = governance_service_pb2.GetRequestRequest(id=id, preview=not output.as_json)
    answer = session.call(session.stub.GetRequest, ask)
    seen = _checked(session, answer.request, look.digest)
    if not output.as_json:
        _show(session, answer, reader)
    if not look.yes:
        _ask(question)
    return seen


def digest_of(request: request_pb2.MutationRequest) -> bytes:
    """The digest of what the server shows, computed without believing it."""
    mutation = request.mutation
    content = submission.content(content_of(request), request.context.actor)
    if request.HasField("compensation"):
        content = content.but(compensation=submission.compensation(request.compensation))
    version = mutation.expected_version if mutation.HasField("expected_version") else None
    return request_digest(content, version)


def plan_digest_of(approval: request_pb2.Approval) -> bytes:
    """The digest of the plan that the server shows; empty where there is none."""
    if not approval.steps:
        return b""
    steps = tuple(
        Step(
            name=step.name,
            mode=STEP_MODE.to_domain[step.mode],
            requirements=tuple(_requirement(item) for item in step.requirements),
        )
        for step in approval.steps
    )
    return plan_digest(Plan(steps=steps, repeat_voters=approval.repeat_voters), approval.round)


def _requirement(item: request_pb2.Requirement) -> Requirement:
    return Requirement(
        id=item.id,
        targets=tuple(
            Target(kind=TARGET_KIND.to_domain[target.kind], name=target.name)
            for target in item.targets
        ),
        quorum=item.quorum,
        meaning=VOTE_KIND.to_domain[item.meaning],
        rejections=item.rejections,
        deadline_seconds=item.deadline.seconds if item.HasField("deadline") else None,
    )


def _checked(session: Session, request: request_pb2.MutationRequest, meant: str) -> Seen:
    computed, of_plan = digest_of(request), plan_digest_of(request.approval)
    for what, told, found in (
        ("", request.request_digest, computed),
        ("the plan of ", request.approval.plan_digest, of_plan),
    ):
        if told != found:
            session.output.note(
                f"refused: {what}{safe(request.id)} is not what its digest says: "
                f"{told.hex()}, but what the server shows has {found.hex()}"
            )
            leave(ExitCode.VERIFICATION_FAILED)
    if meant and meant.lower() != computed.hex():
        session.output.note(
            f"refused: {safe(request.id)} has the digest {computed.hex()}, not {safe(meant)}"
        )
        leave(ExitCode.REFUSED)
    return Seen(request=request, digest=computed, plan_digest=of_plan)


def _show(
    session: Session, answer: governance_service_pb2.GetRequestResponse, reader: PayloadReader
) -> None:
    output, request = session.output, answer.request
    show_content(output, request, reader)
    if answer.HasField("preview"):
        show_preview(output, answer.preview)
        if _has_moved_on(answer):
            output.line("careful: that is not the version it was made for")
    else:
        output.line("the host was not asked, or did not answer: there is no preview")
    output.line()
    show_circumstances(output, request)
    output.line()
    show_standing(output, request)
    output.line()
    show_still_to_act(output, request)
    output.line()


def _has_moved_on(answer: governance_service_pb2.GetRequestResponse) -> bool:
    mutation = answer.request.mutation
    return (
        mutation.HasField("expected_version")
        and mutation.expected_version != answer.preview.current_version
    )


def _ask(question: str) -> None:
    if not sys.stdin.isatty():
        raise typer.BadParameter("is needed where nobody can be asked", param_hint="--yes")
    if not typer.confirm(question, err=True):
        leave(ExitCode.REFUSED)
