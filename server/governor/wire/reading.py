"""The RPCs that change nothing: each decodes, asks one use case, and encodes its answer."""

from collections.abc import AsyncGenerator, Callable, Sequence
from typing import NamedTuple, TypeAlias, TypeVar, assert_never, cast

from governance.v1 import governance_service_pb2 as wire
from governor.domain.execution import Execution
from governor.domain.request import MutationRequest
from governor.domain.values import ExecutionId, RequestId, Revision
from governor.usecases import inbox, query, trace, watch
from governor.usecases.app import App
from governor.usecases.commands import Caller, CaughtUp, Heartbeat, Subscribe, WaitFor
from governor.usecases.commits import StoredEntry
from governor.usecases.questions import Cursor, DecisionFilter, ExecutionQuery, Link, RequestQuery
from governor.wire import limits
from governor.wire.codec import enums, submission, values
from governor.wire.codec.execution import put_execution, put_validation
from governor.wire.codec.host import put_host
from governor.wire.codec.request import put_request
from governor.wire.pages import PAGE_BYTES_MAX, cursor_in, listing_of, token_after
from governor.wire.splicing import listed, streamed

Item: TypeAlias = StoredEntry | CaughtUp | Heartbeat
_T = TypeVar("_T")


class Frame(NamedTuple):
    """One message of a stream, and the revision that it brings its reader to."""

    data: bytes
    revision: int


async def get_request(
    app: App, caller: Caller, request: wire.GetRequestRequest
) -> wire.GetRequestResponse:
    found, executions = await query.get_request(
        app, caller, RequestId(request.id), request.min_revision
    )
    response = wire.GetRequestResponse()
    put_request(response.request, found)
    for execution in executions:
        put_execution(response.executions.add(), execution)
    opinion = await query.preview(app, found) if request.preview else None
    if opinion is not None:
        put_validation(response.preview, opinion)
    return response


async def trace_request(
    app: App, caller: Caller, request: wire.TraceRequestRequest
) -> wire.TraceRequestResponse:
    traced = await trace.trace_request(
        app,
        caller,
        RequestId(request.id),
        requests_max=request.requests_max or limits.REQUESTS_TRACED,
        min_revision=request.min_revision,
    )
    response = wire.TraceRequestResponse()

    def add(one: MutationRequest) -> int:
        row = response.requests.add()
        put_request(row, one, with_data=False)
        return row.ByteSize()

    shown = _fill(traced.requests, add)
    ids = {one.id for one in traced.requests[:shown]}
    for link in traced.links:
        if link.source in ids and link.target in ids:
            response.links.add(
                kind=enums.LINK_KIND.to_wire[link.kind], from_id=link.source, to_id=link.target
            )
    response.truncated = traced.truncated or shown < len(traced.requests)
    return response


async def get_execution(
    app: App, caller: Caller, request: wire.GetExecutionRequest
) -> wire.GetExecutionResponse:
    found = await query.get_execution(
        app, caller, ExecutionId(request.execution_id), request.min_revision
    )
    response = wire.GetExecutionResponse()
    put_execution(response.execution, found)
    return response


async def wait_request(
    app: App, caller: Caller, request: wire.WaitRequestRequest
) -> wire.WaitRequestResponse:
    waited = await watch.wait_request(
        app,
        caller,
        WaitFor(
            id=RequestId(request.id),
            after_revision=(
                Revision(request.after_revision) if request.HasField("after_revision") else None
            ),
            timeout_seconds=values.span_seconds(request.timeout)
            if request.HasField("timeout")
            else None,
        ),
    )
    response = wire.WaitRequestResponse(timed_out=waited.timed_out)
    put_request(response.request, waited.request)
    return response


async def get_host(app: App, caller: Caller, request: wire.GetHostRequest) -> wire.GetHostResponse:
    response = wire.GetHostResponse()
    put_host(response.host, await query.get_host(app, caller, request.tenant))
    return response


async def list_requests(
    app: App, caller: Caller, request: wire.ListRequestsRequest
) -> wire.ListRequestsResponse:
    listing = listing_of(request, app.store.head.store_id)
    size = request.page_size or limits.REQUESTS_PAGE
    # One more than is shown tells whether there is another page.
    asked = _query(request, after=cursor_in(request.page_token, listing), limit=size + 1)
    goes_on_after: Cursor | None = None
    if request.waiting_for_me:
        waiting = await inbox.waiting_for(app, caller, asked, request.min_revision)
        found, goes_on_after = waiting.requests, waiting.goes_on_after
    else:
        found = await query.list_requests(app, caller, asked, request.min_revision)
    response = wire.ListRequestsResponse()

    def add(one: MutationRequest) -> int:
        row = response.requests.add()
        put_request(row, one, with_data=False)
        return row.ByteSize()

    shown = _fill(found[:size], add)
    if shown < len(found):
        last = found[shown - 1]
        goes_on_after = Cursor(revision=last.submitted_revision, id=last.id)
    if goes_on_after is not None:
        response.next_page_token = token_after(goes_on_after, listing)
    return response


def _query(request: wire.ListRequestsRequest, *, after: Cursor | None, limit: int) -> RequestQuery:
    link = request.link
    return RequestQuery(
        tenant=request.tenant,
        statuses=tuple(enums.STATUS.to_domain[status] for status in request.statuses),
        pending_reasons=tuple(
            enums.PENDING_REASON.to_domain[reason] for reason in request.pending_reasons
        ),
        state_type=request.state.type,
        state_id=request.state.id,
        actor=request.actor,
        category=request.category,
        tag=request.tag,
        tags_any=tuple(request.tags_any),
        tags_all=tuple(request.tags_all),
        metadata=tuple(sorted(request.metadata.items())),
        risks=tuple(enums.RISK.to_domain[risk] for risk in request.risks),
        blast_radii=tuple(enums.BLAST_RADIUS.to_domain[one] for one in request.blast_radii),
        side_effect_type=request.side_effect_type,
        side_effect_severity=enums.SEVERITY.to_domain[request.side_effect_severity],
        link=Link(kind=enums.LINK_KIND.to_domain[link.kind], id=link.id)
        if request.HasField("link")
        else None,
        review_open=request.review_open,
        batch_id=request.batch_id,
        uncompensated=request.uncompensated,
        submitted_from=submission.optional_moment(request, "submitted_from"),
        submitted_until=submission.optional_moment(request, "submitted_until"),
        after=after,
        limit=limit,
    )


async def count_requests(
    app: App, caller: Caller, request: wire.CountRequestsRequest
) -> wire.CountRequestsResponse:
    counts = await query.count_requests(app, caller, request.tenant, request.min_revision)
    response = wire.CountRequestsResponse(
        reviews_open=counts.reviews_open, reviews_overdue=counts.reviews_overdue
    )
    for status in sorted(counts.statuses):
        count = counts.statuses[status]
        response.statuses.add(status=enums.STATUS.to_wire[status], count=count)
    for reason in sorted(counts.pending):
        count = counts.pending[reason]
        response.pending.add(reason=enums.PENDING_REASON.to_wire[reason], count=count)
    return response


async def list_executions(
    app: App, caller: Caller, request: wire.ListExecutionsRequest
) -> wire.ListExecutionsResponse:
    listing = listing_of(request, app.store.head.store_id)
    size = request.page_size or limits.EXECUTIONS_PAGE
    found = await query.list_executions(
        app,
        caller,
        ExecutionQuery(
            tenant=request.tenant,
            request_id=request.mutation_request_id,
            statuses=tuple(enums.EXECUTION_STATUS.to_domain[status] for status in request.statuses),
            state_type=request.state.type,
            state_id=request.state.id,
            after=cursor_in(request.page_token, listing),
            limit=size + 1,
        ),
        request.min_revision,
    )
    response = wire.ListExecutionsResponse()

    def add(one: Execution) -> int:
        row = response.executions.add()
        put_execution(row, one)
        return row.ByteSize()

    shown = _fill(found[:size], add)
    if shown < len(found):
        last = found[shown - 1]
        cursor = Cursor(revision=last.submitted_revision, id=last.id)
        response.next_page_token = token_after(cursor, listing)
    return response


async def list_decisions(app: App, caller: Caller, request: wire.ListDecisionsRequest) -> bytes:
    listing = listing_of(request, app.store.head.store_id)
    size = request.page_size or limits.DECISIONS_PAGE
    cursor = cursor_in(request.page_token, listing)
    filter, least = _filter(request.filter), request.min_revision
    place = Revision(cursor.revision) if cursor else None
    if request.newest_first:
        found = await query.list_newest_decisions(app, caller, filter, place, size + 1, least)
    else:
        start = place or Revision(0)
        found = await query.list_decisions(app, caller, filter, start, size + 1, least)
    shown = _fill(found[:size], lambda entry: len(entry.data))
    token = ""
    if shown < len(found):
        token = token_after(Cursor(revision=found[shown - 1].revision, id=""), listing)
    return listed(found[:shown], token)


def stream_decisions(
    app: App, caller: Caller, request: wire.StreamDecisionsRequest
) -> AsyncGenerator[Item, None]:
    every = request.heartbeat_interval
    after = Revision(request.after_revision) if request.HasField("after_revision") else None
    seconds = values.span_seconds(every) if request.HasField("heartbeat_interval") else None
    command = Subscribe(
        filter=_filter(request.filter),
        after=after,
        store_id=request.store_id,
        heartbeat_seconds=seconds,
    )
    # It is a generator, to be closed when its reader goes, though its signature says less.
    return cast("AsyncGenerator[Item, None]", watch.stream_decisions(app, caller, command))


def frame(item: Item) -> Frame:
    match item:
        case StoredEntry():
            return Frame(streamed(item.data), item.revision)
        case CaughtUp():
            caught_up = wire.CaughtUp(revision=item.revision, store_id=item.store_id)
            told = wire.StreamDecisionsResponse(caught_up=caught_up)
        case Heartbeat():
            heartbeat = wire.Heartbeat(revision=item.revision)
            told = wire.StreamDecisionsResponse(heartbeat=heartbeat)
        case _:
            assert_never(item)
    return Frame(told.SerializeToString(), item.revision)


def _filter(source: wire.DecisionFilter) -> DecisionFilter:
    return DecisionFilter(
        tenant=source.tenant,
        request_ids=frozenset(source.mutation_request_ids),
        categories=frozenset(enums.CATEGORY.to_domain[category] for category in source.categories),
        codes=frozenset(source.codes),
        actor=source.actor,
        execution_id=source.execution_id,
        include_host=source.include_host,
        from_time=submission.optional_moment(source, "from_time"),
        until_time=submission.optional_moment(source, "until_time"),
    )


def _fill(rows: Sequence[_T], add: Callable[[_T], int]) -> int:
    """Adds rows as long as those before leave room, the first one always; answers how many."""
    total = 0
    for index, row in enumerate(rows):
        if total > PAGE_BYTES_MAX:
            return index
        total += add(row)
    return len(rows)
