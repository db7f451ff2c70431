"""Which requests a list is about: the options that `requests list` and `pending` share."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated

import typer

from governance.v1 import governance_service_pb2, request_pb2
from governor.cli import options
from governor.cli.durations import timestamp_of
from governor.cli.session import Session
from governor.cli.submission import chosen, pair, state_filter
from governor.wire.codec.enums import BLAST_RADIUS, LINK_KIND, PENDING_REASON, RISK

PAGE_SIZE_MAX = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class About:
    """What the requests are about. Each field is an option; all must match."""

    reason: Annotated[
        list[str] | None,
        typer.Option(
            "--reason",
            "--waiting-for",
            metavar="REASON",
            help="Waiting for this, such as approval, external-check or schedule; repeatable.",
        ),
    ] = None
    mine: Annotated[bool, typer.Option("--mine", help="Only what the caller can act on now.")] = (
        False
    )
    state: options.StateFilter = ""
    requester: Annotated[str, typer.Option(metavar="ACTOR", help="Asked for by this actor.")] = ""
    category: Annotated[str, typer.Option(help="With this intent category.")] = ""
    tag: Annotated[str, typer.Option(help="With this tag.")] = ""
    tag_any: Annotated[
        list[str] | None,
        typer.Option(metavar="TAG", help="With at least one of these tags; repeatable."),
    ] = None
    tag_all: Annotated[
        list[str] | None, typer.Option(metavar="TAG", help="With all of these tags; repeatable.")
    ] = None
    metadata: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=VALUE", help="With this fact of the requester's; repeatable."),
    ] = None
    risk: Annotated[
        list[str] | None,
        typer.Option(metavar="RISK", help="low, medium, high or critical; repeatable."),
    ] = None
    blast_radius: Annotated[
        list[str] | None,
        typer.Option(metavar="RADIUS", help="single, service, region or global; repeatable."),
    ] = None
    linked: Annotated[
        str,
        typer.Option(
            metavar="KIND:ID",
            help="Linked to this: depends-on, supersedes, compensates, correlation or causation.",
        ),
    ] = ""
    since: Annotated[
        datetime | None,
        typer.Option(
            parser=options.past_moment,
            metavar="TIME",
            help="Submitted since then, such as 24h ago: 24h.",
        ),
    ] = None
    until: Annotated[
        datetime | None,
        typer.Option(parser=options.past_moment, metavar="TIME", help="Submitted before then."),
    ] = None


def query_of(session: Session, about: About) -> governance_service_pb2.ListRequestsRequest:
    """The query that the options describe."""
    return governance_service_pb2.ListRequestsRequest(
        tenant=session.tenant(),
        pending_reasons=[chosen(PENDING_REASON, word, "--reason") for word in about.reason or ()],
        waiting_for_me=about.mine,
        state=state_filter(about.state),
        actor=about.requester,
        category=about.category,
        tag=about.tag,
        tags_any=about.tag_any or (),
        tags_all=about.tag_all or (),
        metadata=dict(pair(text, "--metadata") for text in about.metadata or ()),
        risks=[chosen(RISK, word, "--risk") for word in about.risk or ()],
        blast_radii=[
            chosen(BLAST_RADIUS, word, "--blast-radius") for word in about.blast_radius or ()
        ],
        link=_link(about.linked),
        submitted_from=timestamp_of(about.since) if about.since else None,
        submitted_until=timestamp_of(about.until) if about.until else None,
    )


def requests_of(
    session: Session, query: governance_service_pb2.ListRequestsRequest, limit: int
) -> Iterator[request_pb2.MutationRequest]:
    """Requests page by page, newest first; says so when there are more than `limit`."""
    left = limit
    while left > 0:
        query.page_size = min(left, PAGE_SIZE_MAX)
        answer = session.call(session.stub.ListRequests, query)
        yield from answer.requests
        left -= len(answer.requests)
        query.page_token = answer.next_page_token
        if not query.page_token:
            return
    session.output.note("there are more; --limit prints them")


def _link(text: str) -> governance_service_pb2.Link | None:
    """Reads `kind:id`; the id may hold further colons. None for nothing."""
    if not text:
        return None
    kind, _, id = text.partition(":")
    if not id:
        raise typer.BadParameter(f"must be KIND:ID, not {text!r}", param_hint="--linked")
    return governance_service_pb2.Link(kind=chosen(LINK_KIND, kind, "--linked"), id=id)
