"""Reading: what was written is found, at the revision that was asked for or not at all."""

import pytest

from governor.domain.approval import VoteKind
from governor.domain.decision import Category
from governor.domain.errors import NotFound, RevisionAhead
from governor.domain.execution import ExecutionStatus
from governor.domain.request import MutationRequest, Payload, PendingReason, Risk, Status
from governor.domain.values import ExecutionId, RequestId, Revision
from governor.usecases.commands import Caller
from governor.usecases.query import (
    count_requests,
    get_execution,
    get_request,
    list_decisions,
    list_executions,
    list_newest_decisions,
    list_requests,
    preview,
)
from governor.usecases.questions import Cursor, DecisionFilter, ExecutionQuery, RequestQuery
from tests.support.governed import Governed, caller
from tests.support.people import AUDREY, RITA, TENANT
from tests.support.scripted_host import Loss

READER: Caller = caller(AUDREY)


async def test_a_request_is_read_with_its_executions_oldest_first(sidecar: Governed) -> None:
    sidecar.host.script.append(Loss.SILENCE)
    request = await sidecar.submit()
    await sidecar.quiet()
    await sidecar.cancel(RITA, request)

    found, executions = await get_request(sidecar.app, READER, request.id, 0)

    assert found == await sidecar.now(request)
    assert [one.status for one in executions] == [ExecutionStatus.NOT_APPLIED]
    one = await get_execution(sidecar.app, READER, executions[0].id, 0)
    assert one == executions[0]


async def test_what_was_never_executed_has_no_executions(sidecar: Governed) -> None:
    request = await sidecar.submit(risk=Risk.HIGH)

    assert await get_request(sidecar.app, READER, request.id, 0) == (request, ())


async def test_what_does_not_exist_is_not_found(sidecar: Governed) -> None:
    with pytest.raises(NotFound):
        await get_request(sidecar.app, READER, RequestId("none"), 0)
    with pytest.raises(NotFound):
        await get_execution(sidecar.app, READER, ExecutionId("none"), 0)


async def test_a_read_from_the_future_is_refused(sidecar: Governed) -> None:
    request = await sidecar.submit()
    await sidecar.quiet()
    execution = await sidecar.execution_of(request)
    app, head = sidecar.app, sidecar.store.head.revision

    for revision, refused in ((head, False), (head + 1, True)):
        for read in (
            get_request(app, READER, request.id, revision),
            get_execution(app, READER, execution.id, revision),
            list_requests(app, READER, RequestQuery(tenant=TENANT), revision),
            list_executions(app, READER, ExecutionQuery(tenant=TENANT), revision),
            list_decisions(app, READER, DecisionFilter(tenant=TENANT), Revision(0), 10, revision),
        ):
            if refused:
                with pytest.raises(RevisionAhead):
                    await read
            else:
                await read


async def test_lists_are_newest_first_paged_and_without_payloads(sidecar: Governed) -> None:
    data = Payload(content_type="application/json", data=b"x" * 100)
    made = [await sidecar.submit(flag=f"flag-{n}", risk=Risk.HIGH, payload=data) for n in range(5)]

    query = RequestQuery(tenant=TENANT, limit=2)
    seen: list[MutationRequest] = []
    while page := await list_requests(sidecar.app, READER, query, 0):
        seen.extend(page)
        last = page[-1]
        query = query.but(after=Cursor(revision=last.submitted_revision, id=last.id))

    assert [one.id for one in seen] == [one.id for one in reversed(made)]
    assert {one.content.payload.data for one in seen} == {b""}
    assert (await sidecar.now(made[0])).content.payload == data


async def test_a_request_that_came_out_of_a_list_is_still_executed_with_its_payload(
    sidecar: Governed,
) -> None:
    """Nothing that reads a list may thin out what is sent to the host."""
    request = await sidecar.submit(risk=Risk.MEDIUM)
    await sidecar.restart()
    await list_requests(sidecar.app, READER, RequestQuery(tenant=TENANT), 0)

    await sidecar.approve("ann", request)
    await sidecar.quiet()

    assert (await sidecar.now(request)).status is Status.EXECUTED
    assert [effect.payload for effect in sidecar.host.effects] == [b'{"on":true}']


async def test_decisions_are_listed_oldest_first(sidecar: Governed) -> None:
    request = await sidecar.submit(risk=Risk.HIGH)
    await sidecar.approve("ann", request)

    filter = DecisionFilter(tenant=TENANT, request_ids=frozenset({request.id}))
    first = await list_decisions(sidecar.app, READER, filter, Revision(0), 3, 0)
    rest = await list_decisions(sidecar.app, READER, filter, first[-1].revision, 3, 0)

    codes = [entry.code for entry in (*first, *rest)]
    assert codes == ["submitted", "deferred", "pending", "requested", "granted"]


async def test_decisions_are_listed_newest_first_from_any_place(sidecar: Governed) -> None:
    """What comes next was there before: pages do not move while the ledger grows at its end."""
    request = await sidecar.submit(risk=Risk.HIGH)
    filter = DecisionFilter(tenant=TENANT, request_ids=frozenset({request.id}))
    first = await list_newest_decisions(sidecar.app, READER, filter, None, 3, 0)
    await sidecar.approve("ann", request)
    rest = await list_newest_decisions(sidecar.app, READER, filter, first[-1].revision, 3, 0)

    codes = [entry.code for entry in (*first, *rest)]
    assert codes == ["requested", "pending", "deferred", "submitted"]


async def test_recent_votes_are_what_a_person_said_newest_first(sidecar: Governed) -> None:
    one, two = [await sidecar.submit(flag=flag, risk=Risk.HIGH) for flag in ("a", "b")]
    await sidecar.approve("ann", one)
    await sidecar.approve("bob", two)
    await sidecar.vote("ann", two, VoteKind.REJECT)

    votes = DecisionFilter(
        tenant=TENANT,
        actor="ann",
        categories=frozenset({Category.APPROVAL}),
        codes=frozenset({"granted", "rejected"}),
    )
    found = await list_newest_decisions(sidecar.app, READER, votes, None, 10, 0)

    said = [(entry.request_id, entry.code) for entry in found]
    assert said == [(two.id, "rejected"), (one.id, "granted")]


async def test_requests_are_counted_where_they_stand(sidecar: Governed) -> None:
    await sidecar.submit(flag="a", risk=Risk.HIGH)
    await sidecar.submit(flag="b")
    await sidecar.quiet()

    counts = await count_requests(sidecar.app, READER, TENANT, 0)

    assert counts.statuses == {Status.PENDING: 1, Status.EXECUTED: 1}
    assert counts.pending == {PendingReason.APPROVAL: 1}


async def test_a_preview_is_what_the_host_would_say_now(sidecar: Governed) -> None:
    """Nothing is asked about what can no longer run, and a host that is away has no opinion."""
    request = await sidecar.submit(risk=Risk.HIGH)
    opinion = await preview(sidecar.app, request)
    assert opinion is not None
    assert opinion.current_version == await sidecar.host.state_version(TENANT, request.state)

    sidecar.host.is_reachable = False
    assert await preview(sidecar.app, request) is None
    sidecar.host.is_reachable = True

    await sidecar.cancel(RITA, request)
    assert await preview(sidecar.app, await sidecar.now(request)) is None
