"""`governor submit-batch`: asking for several mutations as one, as a file lists them."""

import time
from datetime import datetime
from pathlib import Path
from typing import Annotated, Literal

import typer
from pydantic import Field

from governance.v1 import governance_service_pb2, request_pb2
from governor.cli import options
from governor.cli.command import calls_server
from governor.cli.console import Output
from governor.cli.draft import Draft
from governor.cli.exits import exit_code_of, leave
from governor.cli.session import Session
from governor.cli.show import reason_text, state_text, status_text
from governor.cli.standing import show_standing
from governor.cli.submission import lay_over
from governor.cli.submit import see_through
from governor.cli.texts import safe
from governor.domain.batches import BATCH_MEMBERS_MAX
from governor.strict_toml import FileRefused, StrictModel, read_model

BatchFile = Annotated[
    Path, typer.Argument(help="A TOML file: what holds for the batch, and a [[member]] for each.")
]


class MemberTable(StrictModel):
    """One mutation. Each key is the option of `submit` of that name."""

    type: str
    state: str
    payload: str | None = None
    payload_file: str | None = None
    content_type: str | None = None
    expected_version: str | None = None
    stale: str | None = None
    category: str | None = None
    risk: str | None = None
    reversibility: str | None = None
    blast_radius: str | None = None
    justification: str | None = None
    evidence: list[str] | None = None
    metadata: list[str] | None = None
    tags: list[str] | None = None
    depends_on: list[str] | None = None
    on_dependency_failure: str | None = None
    execute_after: datetime | None = None
    environment: str | None = None
    service: str | None = None
    region: str | None = None
    correlation_id: str | None = None
    causation_id: str | None = None


class BatchTables(StrictModel):
    """The whole file."""

    ordering: Literal["sequential", "independent"] = "sequential"
    failure_mode: Literal["stop", "continue", "compensate"] = "stop"
    decision_mode: Literal["batch", "per_member"] = "batch"
    justification: str = ""
    expires: datetime | None = None
    member: list[MemberTable] = Field(min_length=1, max_length=BATCH_MEMBERS_MAX)


def add_to(app: typer.Typer) -> None:
    """Registers the command."""
    calls_server(app, "submit-batch")(submit_batch)


def submit_batch(
    session: Session,
    file: BatchFile,
    wait: options.Wait = None,
    request_id: options.RequestKey = None,
) -> None:
    """Ask for several mutations as one batch.

    Prints what became of it and of each member so far. With --wait the exit code tells whether the
    whole of it was executed.
    """
    try:
        tables, _ = read_model(file, BatchTables)
    except FileRefused as refused:
        raise typer.BadParameter(str(refused), param_hint="FILE") from refused
    request = governance_service_pb2.SubmitBatchRequest(
        request_id=session.key(request_id),
        ordering=request_pb2.BatchOrdering.Value(f"BATCH_ORDERING_{tables.ordering.upper()}"),
        failure_mode=request_pb2.BatchFailureMode.Value(
            f"BATCH_FAILURE_MODE_{tables.failure_mode.upper()}"
        ),
        decision_mode=request_pb2.BatchDecisionMode.Value(
            f"BATCH_DECISION_MODE_{tables.decision_mode.upper()}"
        ),
        justification=tables.justification,
    )
    if tables.expires is not None:
        request.expire_time.FromDatetime(tables.expires)
    for table in tables.member:
        member = request.members.add()
        member.context.tenant = session.tenant()
        lay_over(member, _draft(table, file.parent))
    until = time.monotonic() + (wait or 0.0)
    answer = session.call(session.stub.SubmitBatch, request)
    if wait is not None:
        answer.batch.CopyFrom(see_through(session, answer.batch, until))
        found = members_of(session, answer.batch)
        del answer.members[:]
        answer.members.extend(found)
    if session.output.as_json:
        session.output.json(answer)
    else:
        session.output.line(f"{safe(answer.batch.id)} at revision {answer.batch.revision}")
        show_standing(session.output, answer.batch)
        show_members(session.output, answer.batch, list(answer.members))
    leave(exit_code_of(answer.batch, waited=wait is not None))


def members_of(
    session: Session, batch: request_pb2.MutationRequest
) -> list[request_pb2.MutationRequest]:
    """All that belongs to a batch, in its order: its members, and what put them right."""
    ask = governance_service_pb2.ListRequestsRequest(
        tenant=batch.context.tenant, batch_id=batch.id, page_size=2 * BATCH_MEMBERS_MAX
    )
    found: list[request_pb2.MutationRequest] = []
    while True:
        answer = session.call(session.stub.ListRequests, ask)
        found.extend(answer.requests)
        if not answer.next_page_token:
            return sorted(found, key=lambda one: one.batch.position)
        ask.page_token = answer.next_page_token


def show_members(
    output: Output,
    batch: request_pb2.MutationRequest,
    members: list[request_pb2.MutationRequest],
) -> None:
    """How far a batch has come, and each of its members."""
    spec = batch.batch_spec
    modes = (
        request_pb2.BatchOrdering.Name(spec.ordering).removeprefix("BATCH_ORDERING_"),
        request_pb2.BatchFailureMode.Name(spec.failure_mode).removeprefix("BATCH_FAILURE_MODE_"),
        request_pb2.BatchDecisionMode.Name(spec.decision_mode).removeprefix("BATCH_DECISION_MODE_"),
    )
    total = len(spec.member_ids)
    done = f"{len(spec.applied_ids)} of {total} applied, {len(spec.failed_ids)} ended otherwise"
    if spec.compensated_ids:
        done += f", {len(spec.compensated_ids)} put right"
    output.line(f"{', '.join(modes)}: {done}")
    output.table(
        ("MEMBER", "REQUEST", "STATUS", "MUTATION", "STATE", "WHY"),
        [
            (
                str(one.batch.position) if one.batch.position < total else "back",
                safe(one.id),
                status_text(one),
                safe(one.mutation.type),
                state_text(one.mutation.state),
                reason_text(one.status_reason) if one.HasField("status_reason") else "",
            )
            for one in members
        ],
    )


def _draft(table: MemberTable, folder: Path) -> Draft:
    if (table.payload is None) == (table.payload_file is None):
        raise typer.BadParameter(
            f"{table.state}: either payload or payload_file is needed", param_hint="FILE"
        )
    said = table.model_dump(exclude={"type", "tags", "payload_file"})
    payload_file = folder / table.payload_file if table.payload_file is not None else None
    return Draft(mutation_type=table.type, tag=table.tags, payload_file=payload_file, **said)
