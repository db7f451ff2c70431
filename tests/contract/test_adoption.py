"""What a process that is gone has left is taken over, by one that lives, and by one alone."""

from governor.domain.gating import gate_answered
from governor.domain.request import ExecutionMode, MutationRequest, PendingReason, Status
from governor.domain.values import GOVERNOR, Reason, RequestId
from governor.storage.store import SqlStore
from governor.usecases.commits import Commit
from tests.support.backends import Opener
from tests.support.builders import START, change, make_request, moved, submission
from tests.support.domain_builders import CHECK, LOOK, QUOTA, gated, new_request, submit


async def put(store: SqlStore, *requests: MutationRequest) -> list[MutationRequest]:
    """Submits them one after the other."""
    return [(await store.commit(submission(request))).requests[0] for request in requests]


async def adopted(store: SqlStore, *, limit: int = 100) -> list[RequestId]:
    """All that the store has to give, in the order in which it gives it."""
    found: list[RequestId] = []
    while page := await store.adopt(limit=limit):
        assert len(page) <= limit
        found.extend(request.id for request in page)
    return found


async def test_the_unfinished_are_adopted_in_pages_oldest_first(opened: Opener) -> None:
    """What waits for people or for the clock is not among them, nor what has ended."""
    former = await opened()
    await put(
        former,
        make_request("executing", status=Status.EXECUTING),
        make_request("approved"),
        make_request("approved-on-execute", mode=ExecutionMode.ON_EXECUTE),
        make_request("wants-approval", status=Status.PENDING, waits_for=(PendingReason.APPROVAL,)),
        make_request("scheduled", status=Status.PENDING, waits_for=(PendingReason.SCHEDULE,)),
        make_request("in-audit", status=Status.PENDING, waits_for=(PendingReason.AUDIT,)),
        make_request("stale", status=Status.PENDING, waits_for=(PendingReason.REVALIDATION,)),
        make_request(
            "dependent",
            status=Status.PENDING,
            waits_for=(PendingReason.APPROVAL, PendingReason.DEPENDENCY),
        ),
        make_request("executed", status=Status.EXECUTED),
    )
    await former.close()

    successor = await opened()
    assert await adopted(successor, limit=2) == ["executing", "approved", "stale", "dependent"]
    assert await adopted(successor) == [], "and none of them twice"
    assert await successor.owns(RequestId("executing"))


async def test_who_waits_for_a_check_that_is_called_is_adopted_and_nobody_who_is_answered(
    opened: Opener,
) -> None:
    """Somebody has to call; for an answer that comes by itself nobody has to do anything."""
    called = CHECK.but(called=True)
    former = await opened()
    _, passed = await put(
        former,
        submit(new_request("called"), gated(called, LOOK)),
        submit(new_request("passed"), gated(called, LOOK)),
    )
    await put(former, submit(new_request("answered"), gated(CHECK, LOOK, QUOTA)))
    step = gate_answered(
        passed,
        reason=PendingReason.EXTERNAL_CHECK,
        name=called.name,
        passed=True,
        seen_digest=passed.progress.digest,
        actor=GOVERNOR,
        finding=Reason(code="CLEAN"),
        now=START,
    )
    await former.commit(Commit(requests=(step.request,), decisions=step.decisions))
    await former.close()
    assert await adopted(await opened()) == ["called"]


async def test_a_request_that_ended_is_adopted_by_nobody(opened: Opener) -> None:
    """And one that was approved again is."""
    former = await opened()
    first, second = await put(former, make_request("first"), make_request("second"))
    await former.commit(change(moved(first, Status.EXECUTED)))
    ended = await former.commit(change(moved(second, Status.EXECUTED)))
    await former.commit(change(moved(ended.requests[0], Status.APPROVED)))
    await former.close()
    assert await adopted(await opened()) == ["second"]


async def test_what_is_adopted_is_the_request_without_its_payload(opened: Opener) -> None:
    """A page of large ones must fit into memory; who carries one out reads it whole."""
    former = await opened()
    (put_there,) = await put(former, make_request(payload=b"x" * 1000))
    await former.close()
    (found,) = await (await opened()).adopt(limit=10)
    payload = put_there.content.payload.but(data=b"")
    assert found == put_there.but(content=put_there.content.but(payload=payload))
