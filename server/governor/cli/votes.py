"""`governor votes`: who has voted lately, in whose place, and what became of it."""

from typing import Annotated

import typer

from governance.v1 import decision_pb2, governance_service_pb2
from governor.cli import options
from governor.cli.command import calls_server
from governor.cli.decisions import From, Until, decisions_of, set_span
from governor.cli.durations import shown_moment
from governor.cli.session import Session
from governor.cli.show import reason_text
from governor.cli.texts import safe

CODES = ("granted", "rejected", "revoked", "voided")

Mine = Annotated[
    bool, typer.Option("--mine", help="Only your own; needs the name that --actor gives.")
]
OfRequest = Annotated[
    list[str] | None,
    typer.Option("--request", metavar="ID", help="On this mutation request; repeatable."),
]
By = Annotated[str, typer.Option("--by", metavar="ACTOR", help="By this actor.")]


def add_to(app: typer.Typer) -> None:
    """Registers the command."""
    calls_server(app, "votes")(votes)


def votes(
    session: Session,
    mine: Mine = False,
    by: By = "",
    request: OfRequest = None,
    from_: From = None,
    until: Until = None,
    limit: options.Limit = 50,
) -> None:
    """List recent votes, newest first: given, against, taken back, and taken out by Governor."""
    if mine and not session.connection.actor:
        raise typer.BadParameter("is needed for --mine", param_hint="--actor")
    if mine and by:
        raise typer.BadParameter("goes without --mine", param_hint="--by")
    filter = governance_service_pb2.DecisionFilter(
        tenant=session.tenant(),
        mutation_request_ids=request or (),
        categories=[decision_pb2.DECISION_CATEGORY_APPROVAL],
        codes=CODES,
        actor=session.connection.actor if mine else by,
    )
    set_span(filter, from_, until)
    found = decisions_of(session, filter, limit, newest_first=True)
    if session.output.as_json:
        for decision in found:
            session.output.json(decision)
        return
    columns = ("REVISION", "TIME", "REQUEST", "VOTE", "BY", "STEP", "WHY")
    session.output.table(columns, [_row(decision) for decision in found])


def _row(decision: decision_pb2.Decision) -> tuple[str, ...]:
    """What `decisions` shows of a vote, without the digests that bind it."""
    facts = decision.facts
    place = f" for {facts['on_behalf_of']}" if "on_behalf_of" in facts else ""
    meaning = f" ({facts['meaning']})" if "meaning" in facts else ""
    return (
        str(decision.revision),
        shown_moment(decision.time),
        safe(decision.mutation_request_id),
        safe(f"{decision.code}{meaning}"),
        safe(f"{decision.actor.id}{place}"),
        safe(facts.get("step", "")),
        reason_text(decision.reason) if decision.HasField("reason") else "",
    )
