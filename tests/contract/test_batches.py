"""What a batch leaves behind, and who belongs to it, asked of every backend."""

from governor.domain.request import (
    BatchDecisionMode,
    BatchFailureMode,
    BatchOrdering,
    BatchProgress,
    BatchSpec,
    Membership,
    MutationRequest,
    Pending,
    PendingReason,
    StateRef,
    Status,
)
from governor.storage.open import open_store
from governor.storage.request_pages import requests_page
from governor.storage.store import SqlStore
from governor.usecases.commits import Commit
from governor.usecases.questions import Link, LinkKind, RequestQuery
from tests.contract.test_plans import count_anew, faults, plan_of
from tests.support.backends import Backend
from tests.support.builders import START, change, encode_entry, make_request, moved, standing
from tests.support.filling import fill
from tests.support.questions import Question

LEFT = RequestQuery(tenant="acme", uncompensated=True)


async def batch_of(store: SqlStore, name: str, count: int) -> list[MutationRequest]:
    """A batch with so many members, in one commit, all executed."""
    batch = make_request(name)
    members = [make_request(f"{name}-{number}") for number in range(count)]
    spec = BatchSpec(
        ordering=BatchOrdering.SEQUENTIAL,
        failure_mode=BatchFailureMode.STOP,
        decision_mode=BatchDecisionMode.BATCH,
        member_ids=tuple(member.id for member in members),
    )
    state = StateRef(type="governor.batch", id=batch.id)
    batch = batch.but(content=batch.content.but(batch_spec=spec, state=state))
    members = [
        member.but(content=member.content.but(batch=Membership(batch_id=batch.id, position=place)))
        for place, member in enumerate(members)
    ]
    everybody = (moved(batch, Status.EXECUTING), *(moved(one, Status.EXECUTED) for one in members))
    commit = Commit(requests=everybody, decisions=tuple(standing(one) for one in everybody))
    return list((await store.commit(commit)).requests)


async def ended(
    store: SqlStore, batch: MutationRequest, status: Status, *applied: MutationRequest
) -> MutationRequest:
    waits = (Pending(reason=PendingReason.AUDIT, since=START),) if status is Status.PENDING else ()
    progress = BatchProgress(
        applied=tuple(one.id for one in applied),
        is_broken=batch.progress.batch is None or batch.progress.batch.is_broken,
    )
    after = moved(batch, status, batch=progress)
    after = after.but(progress=after.progress.but(pending=waits))
    return (await store.commit(change(after))).requests[0]


async def ids(store: SqlStore, query: RequestQuery) -> list[str]:
    return [one.id for one in await store.requests(query)]


async def test_members_are_found_by_their_batch(store: SqlStore) -> None:
    batch, *members = await batch_of(store, "one", 3)
    await batch_of(store, "two", 2)
    wanted = [member.id for member in reversed(members)]
    assert await ids(store, RequestQuery(tenant="acme", batch_id=batch.id)) == wanted
    link = Link(kind=LinkKind.MEMBER_OF, id=batch.id)
    assert await ids(store, RequestQuery(tenant="acme", link=link)) == wanted


async def test_what_failed_batches_left_behind_is_found_until_somebody_says_that_it_is_well(
    store: SqlStore,
) -> None:
    """Of a batch that failed, and of one that waits for a person, what was applied; not of one that
    is under way.
    """
    failed, *members = await batch_of(store, "failed", 3)
    doubted, *others = await batch_of(store, "doubted", 2)
    await batch_of(store, "going", 2)
    assert await ids(store, LEFT) == []

    await ended(store, failed, Status.FAILED, *members[:2])
    waiting = await ended(store, doubted, Status.PENDING, others[0])
    assert await ids(store, LEFT) == [others[0].id, members[1].id, members[0].id]
    assert await ids(store, LEFT.but(batch_id=failed.id)) == [members[1].id, members[0].id]
    assert await ids(store, LEFT.but(limit=1)) == [others[0].id]

    await ended(store, waiting, Status.EXECUTED, others[0])
    assert await ids(store, LEFT) == [members[1].id, members[0].id]


async def test_both_questions_walk_a_range_of_the_labels(backend: Backend) -> None:
    """However many requests and batches there are, as few as answer are visited."""
    store = await open_store(backend.url, encode=encode_entry)
    await fill(store, 6_000)
    await store.close()
    if not backend.is_sqlite:
        await count_anew(backend)
    for query in (LEFT, LEFT.but(batch_id="b-1"), RequestQuery(tenant="acme", batch_id="b-1")):
        statement = requests_page(query)
        question = Question(name="batches", statement=statement, answered_by="request_labels")
        plan = await plan_of(backend, question)
        assert not faults(question, plan), plan
