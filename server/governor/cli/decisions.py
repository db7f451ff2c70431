"""`governor decisions` and `governor watch`: reading the ledger, and following it as it grows."""

import threading
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated

import grpc
import typer

from governance.v1 import decision_pb2, governance_service_pb2
from governor.cli import options
from governor.cli.command import calls_server
from governor.cli.durations import timestamp_of
from governor.cli.session import Session
from governor.cli.show import decision_row, show_decisions
from governor.cli.submission import chosen
from governor.cli.texts import safe
from governor.wire.codec.enums import CATEGORY

PAGE_SIZE = 1000
RECONNECT_SECONDS_INITIAL = 0.2
RECONNECT_SECONDS_MAX = 10.0
RECONNECTS_MAX = 60
"""How often in a row nobody may answer before `watch` gives up: some ten minutes."""

# The stream can be taken up again after the last revision seen. RESOURCE_EXHAUSTED is the server's
# word for a subscriber that read too slowly; it loses nothing either.
_RESUMABLE = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.RESOURCE_EXHAUSTED)


@dataclass(frozen=True, slots=True, kw_only=True)
class Which:
    """Which decisions. Each field is an option; all must match."""

    request: Annotated[
        list[str] | None,
        typer.Option(metavar="ID", help="About this mutation request; repeatable."),
    ] = None
    execution: Annotated[str, typer.Option(metavar="ID", help="About this execution.")] = ""
    category: Annotated[
        list[str] | None,
        typer.Option(metavar="CATEGORY", help="Such as approval or execution; repeatable."),
    ] = None
    code: Annotated[
        list[str] | None,
        typer.Option(metavar="CODE", help="Such as granted or applied; repeatable."),
    ] = None
    by: Annotated[str, typer.Option(metavar="ACTOR", help="Decided by this actor.")] = ""
    include_host: Annotated[
        bool, typer.Option("--include-host", help="Also what was decided about the host.")
    ] = False


From = Annotated[
    datetime | None,
    typer.Option(
        "--from",
        parser=options.past_moment,
        metavar="TIME",
        help="Decided since then, such as 24h ago: 24h.",
    ),
]
Until = Annotated[
    datetime | None,
    typer.Option(
        "--until", parser=options.past_moment, metavar="TIME", help="Decided before then."
    ),
]
NewestFirst = Annotated[bool, typer.Option("--newest-first", help="In the other order.")]
After = Annotated[
    int | None,
    typer.Option(
        "--after", min=0, help="Start after this revision; 0 is the oldest. Left out: now."
    ),
]
StoreId = Annotated[
    str, typer.Option("--store-id", help="The store that --after was taken from; checked.")
]
UntilCaughtUp = Annotated[
    bool, typer.Option("--until-caught-up", help="End where the live part would begin.")
]


def add_to(app: typer.Typer) -> None:
    """Registers the commands."""
    calls_server(app, "decisions")(decisions)
    calls_server(app, "watch")(watch)


def decisions(
    session: Session,
    which: Which,
    from_: From = None,
    until: Until = None,
    newest_first: NewestFirst = False,
    limit: options.Limit = 1000,
) -> None:
    """List decisions, oldest first."""
    filter = filter_of(session, which)
    set_span(filter, from_, until)
    found = decisions_of(session, filter, limit, newest_first=newest_first)
    if session.output.as_json:
        for decision in found:
            session.output.json(decision)
    else:
        show_decisions(session.output, found)


def watch(
    session: Session,
    which: Which,
    after: After = None,
    store_id: StoreId = "",
    until_caught_up: UntilCaughtUp = False,
) -> None:
    """Follow decisions as they are made.

    When the connection breaks it is taken up again where it was; nothing is skipped. Ctrl-C ends it
    and prints where to go on.
    """
    stream = Stream(session, filter_of(session, which), after=after, store_id=store_id)
    try:
        for decision in stream.decisions(until_caught_up=until_caught_up):
            if session.output.as_json:
                session.output.json(decision)
            else:
                session.output.line("  ".join(decision_row(decision).values()))
    finally:
        if stream.after is not None:
            session.output.note(
                f"to go on: --after {stream.after} --store-id {safe(stream.store_id)}"
            )


class Stream:
    """A subscription that outlives its connections. `after` is where to go on."""

    def __init__(
        self,
        session: Session,
        filter: governance_service_pb2.DecisionFilter,
        *,
        after: int | None,
        store_id: str,
    ) -> None:
        self._session = session
        self._filter = filter
        self._breaks = 0
        self._was_connected = False
        self._caught_up = False
        self.after = after
        self.store_id = store_id

    def decisions(self, *, until_caught_up: bool) -> Iterator[decision_pb2.Decision]:
        """Every decision after the cursor. Raises grpc.RpcError where going on cannot help."""
        while True:
            try:
                for message in self._messages():
                    self._take(message)
                    if message.HasField("decision"):
                        yield message.decision
                    if until_caught_up and self._caught_up:
                        return
                self._wait_after("it ended")
            except grpc.RpcError as error:
                if not self._goes_on_after(error):
                    raise
                self._wait_after(error.code().name)

    def _take(self, message: governance_service_pb2.StreamDecisionsResponse) -> None:
        """Moves the cursor: everything up to it has been seen."""
        self._breaks = 0
        self._was_connected = True
        match message.WhichOneof("message"):
            case "decision":
                self.after = message.decision.revision
            case "caught_up":
                self.after = message.caught_up.revision
                self.store_id = message.caught_up.store_id
                self._caught_up = True
            case "heartbeat":
                self.after = message.heartbeat.revision
            case None:
                pass

    def _goes_on_after(self, error: grpc.RpcError) -> bool:
        # Who never got through has most likely the wrong address: that is said at once.
        return error.code() in _RESUMABLE and self._was_connected and self._breaks < RECONNECTS_MAX

    def _wait_after(self, what: str) -> None:
        seconds = min(RECONNECT_SECONDS_INITIAL * 2**self._breaks, RECONNECT_SECONDS_MAX)
        self._breaks += 1
        self._session.output.note(f"the stream broke ({what}); again in {seconds:g} s")
        pause(seconds)

    def _messages(self) -> Iterator[governance_service_pb2.StreamDecisionsResponse]:
        request = governance_service_pb2.StreamDecisionsRequest(
            filter=self._filter, after_revision=self.after, store_id=self.store_id
        )
        # The one call without a deadline: it ends when somebody ends it.
        return self._session.stub.StreamDecisions(request, metadata=self._session.metadata)


def pause(seconds: float) -> None:
    """Waits before the next try."""
    threading.Event().wait(seconds)


def filter_of(session: Session, which: Which) -> governance_service_pb2.DecisionFilter:
    """The filter that the options describe."""
    return governance_service_pb2.DecisionFilter(
        tenant=session.tenant(),
        mutation_request_ids=which.request or (),
        categories=[chosen(CATEGORY, word, "--category") for word in which.category or ()],
        codes=which.code or (),
        actor=which.by,
        execution_id=which.execution,
        include_host=which.include_host,
    )


def decisions_of(
    session: Session,
    filter: governance_service_pb2.DecisionFilter,
    limit: int = 100_000,
    *,
    newest_first: bool = False,
) -> Iterator[decision_pb2.Decision]:
    """Decisions page by page, oldest first unless told otherwise."""
    query = governance_service_pb2.ListDecisionsRequest(filter=filter, newest_first=newest_first)
    left = limit
    while left > 0:
        query.page_size = min(left, PAGE_SIZE)
        answer = session.call(session.stub.ListDecisions, query)
        yield from answer.decisions
        left -= len(answer.decisions)
        query.page_token = answer.next_page_token
        if not query.page_token:
            return
    session.output.note("there are more; --limit prints them")


def set_span(
    filter: governance_service_pb2.DecisionFilter, since: datetime | None, until: datetime | None
) -> None:
    """Narrows the filter to a span of time, open where an end is None."""
    if since is not None:
        filter.from_time.CopyFrom(timestamp_of(since))
    if until is not None:
        filter.until_time.CopyFrom(timestamp_of(until))
