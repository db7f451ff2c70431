"""What was made good and what has done so are written together, found by the link, and verified."""

import asyncio
from typing import Any

import pytest

from governor.domain.compensating import Completion, completed, requested
from governor.domain.compensation import Compensation, CompensationKind, CompensationTrigger
from governor.domain.errors import Conflict
from governor.domain.executing import claimed, settled
from governor.domain.execution import Applied, Execution, Severity, SideEffect
from governor.domain.policy import Effect, Verdict
from governor.domain.request import MutationRequest, Status
from governor.domain.values import AuditId, ExecutionId, Reason
from governor.domain.workflow import canceled, submitted
from governor.storage.findings import Fault, Finding
from governor.storage.store import SqlStore
from governor.storage.verify import verify
from governor.usecases.commits import Commit
from governor.usecases.questions import Link, LinkKind, RequestQuery
from tests.support.backends import Backend, Opener
from tests.support.builders import ALICE, LEASE_US, START, decode_entry, make_request, moved

FLUSHED = SideEffect(type="cache.flushed", severity=Severity.WARNING)
ALLOWED = Verdict(effect=Effect.ALLOW, rules=("all",))


async def put(store: SqlStore, id: str, *others: MutationRequest, **content: Any) -> Commit:
    """The commit of a new request that policy allows."""
    step = submitted(
        moved(make_request(id, state="s", **content), Status.CREATED),
        verdict=ALLOWED,
        waits=(),
        actor=ALICE,
        now=START,
    )
    return Commit(requests=(step.request, *others), decisions=step.decisions)


async def executed(store: SqlStore, request: MutationRequest) -> tuple[MutationRequest, Execution]:
    """The request, claimed and applied."""
    step = claimed(
        request,
        execution_id=ExecutionId(f"x-{request.id}"),
        audit_id=AuditId(f"audit-x-{request.id}"),
        starter=ALICE,
        now=START,
        lease_us=LEASE_US,
    )
    done = await store.commit(
        Commit(requests=(step.request,), executions=(step.execution,), decisions=step.decisions)
    )
    return done.requests[0], done.executions[0]


async def original_of(store: SqlStore) -> tuple[MutationRequest, Execution]:
    """A change that was applied, with something beside it."""
    new = (await store.commit(await put(store, "r"))).requests[0]
    request, execution = await executed(store, new)
    outcome = Applied(resulting_version="1", undo_token=b"token", side_effects=(FLUSHED,))
    end = settled(request, execution, outcome, attempts=1, now=START)
    done = await store.commit(
        Commit(requests=(end.request,), executions=(end.execution,), decisions=end.decisions)
    )
    return done.requests[0], done.executions[0]


async def asked(store: SqlStore, original: MutationRequest, id: str) -> tuple[MutationRequest, ...]:
    """The compensation and the original, as the commit that asks for it leaves them."""
    plain = await put(
        store,
        id,
        compensation=Compensation(
            request_id=original.id,
            execution_id=ExecutionId(f"x-{original.id}"),
            kind=CompensationKind.ROLLBACK,
            trigger=CompensationTrigger.OPERATOR,
            undo_token=b"token",
            reason=Reason(code="WRONG"),
        ),
    )
    step = requested(original, plain.requests[0], actor=ALICE, now=START)
    whole = plain.but(
        requests=(*plain.requests, step.request), decisions=(*plain.decisions, *step.decisions)
    )
    return (await store.commit(whole)).requests


async def completion(
    store: SqlStore, rollback: MutationRequest, original: MutationRequest, execution: Execution
) -> Completion:
    request, own = await executed(store, rollback)
    end = settled(request, own, Applied(resulting_version="2"), attempts=1, now=START)
    return completed(end, original, execution, now=START)


def commit_of(done: Completion) -> Commit:
    own, theirs = done.compensation, done.original
    return Commit(
        requests=(own.request, theirs.request),
        executions=(own.execution, theirs.execution),
        decisions=(*own.decisions, *theirs.decisions),
    )


async def faults(backend: Backend) -> set[Fault]:
    said = [said async for said in verify(backend.url, decode=decode_entry)]
    return {finding.fault for finding in said if isinstance(finding, Finding)}


async def test_both_ends_are_written_in_one_commit_and_read_back_by_another_process(
    store: SqlStore, backend: Backend, opened: Opener
) -> None:
    original, execution = await original_of(store)
    rollback, original = await asked(store, original, "back")
    done = await completion(store, rollback, original, execution)

    written = await store.commit(commit_of(done))

    await store.close()
    other = await opened()
    for request in written.requests:
        assert await other.request(request.id) == request
        assert request.revision == written.revision
    for one in written.executions:
        assert await other.execution(one.id) == one
    assert written.requests[1].progress.compensated_by is not None
    assert written.executions[1].compensated_by == written.executions[0].audit_id
    assert await faults(backend) == set()


async def test_a_compensation_is_found_by_its_original_and_a_side_effect_once(
    store: SqlStore, backend: Backend
) -> None:
    original, execution = await original_of(store)
    first, original = await asked(store, original, "first")
    end = canceled(first, actor=ALICE, now=START, comment="")
    await store.commit(Commit(requests=(end.request,), decisions=end.decisions))
    second, original = await asked(store, original, "second")
    await store.commit(commit_of(await completion(store, second, original, execution)))

    link = Link(kind=LinkKind.COMPENSATES, id=original.id)
    found = await store.requests(RequestQuery(tenant="acme", link=link))
    assert [one.id for one in found] == ["second", "first"]
    effect = RequestQuery(tenant="acme", side_effect_type="cache.flushed")
    assert [one.id for one in await store.requests(effect)] == ["r"]
    assert await faults(backend) == set()


async def test_of_two_at_once_the_second_loses_whole(store: SqlStore, backend: Backend) -> None:
    original, _ = await original_of(store)

    results = await asyncio.gather(
        asked(store, original, "a"), asked(store, original, "b"), return_exceptions=True
    )

    lost = [isinstance(result, Conflict) for result in results]
    assert sorted(lost) == [False, True]
    assert (await store.request(("a", "b")[lost.index(True)])) is None  # type: ignore[arg-type]  # a name
    assert await faults(backend) == set()


async def test_an_outcome_whose_original_has_changed_is_not_written_by_half(
    store: SqlStore, backend: Backend
) -> None:
    original, execution = await original_of(store)
    rollback, original = await asked(store, original, "back")
    stale = original.but(revision=original.revision - 1)
    done = await completion(store, rollback, stale, execution)

    with pytest.raises(Conflict):
        await store.commit(commit_of(done))

    running = await store.execution(ExecutionId("x-back"))
    assert running is not None
    assert running.is_active
    assert (await store.execution(execution.id)) == execution
    assert await faults(backend) == set()


@pytest.mark.parametrize("field", ["compensation_id", "compensated_by"])
async def test_nobody_is_told_of_a_compensation_that_the_ledger_does_not_tell_of(
    store: SqlStore, backend: Backend, field: str
) -> None:
    """Written past the ledger, as by somebody who has the database."""
    original, execution = await original_of(store)
    rollback, original = await asked(store, original, "back")
    done = await completion(store, rollback, original, execution)
    forged = done.original.request.but(progress=done.original.request.progress.but(**{field: None}))
    commit = commit_of(done)
    await store.commit(commit.but(requests=(commit.requests[0], forged)))

    assert await faults(backend) == {Fault.REQUEST_COMPENSATION}
