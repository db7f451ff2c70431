"""Reading requests, executions and decisions."""

from governor.domain.errors import HostUnavailable, NotFound, RevisionAhead
from governor.domain.execution import Execution
from governor.domain.request import MutationRequest, Status
from governor.domain.values import ExecutionId, RequestId, Revision
from governor.usecases.access import authorise, authorised_request
from governor.usecases.app import App
from governor.usecases.commands import Caller, HostSeen
from governor.usecases.commits import StoredEntry
from governor.usecases.ports import Validation
from governor.usecases.questions import DecisionFilter, ExecutionQuery, RequestCounts, RequestQuery


async def get_request(
    app: App, caller: Caller, id: RequestId, min_revision: int
) -> tuple[MutationRequest, tuple[Execution, ...]]:
    """The request and its executions, oldest first. Raises NotFound, MissingRole, RevisionAhead."""
    await reach(app, Revision(min_revision))
    request, _ = await authorised_request(app, caller, id, "GetRequest")
    if request.progress.execution_id is None:
        return request, ()
    return request, await app.store.executions_of(id)


async def list_requests(
    app: App, caller: Caller, query: RequestQuery, min_revision: int
) -> tuple[MutationRequest, ...]:
    """A page, newest first, without payload data. Raises MissingRole, RevisionAhead."""
    await reach(app, Revision(min_revision))
    authorise(app, caller, query.tenant, "ListRequests")
    return await app.store.requests(query)


async def preview(app: App, request: MutationRequest) -> Validation | None:
    """The host's opinion of what a request would do now; None once it can no longer do anything,
    and when the host does not answer.
    """
    if request.status not in (Status.PENDING, Status.APPROVED):
        return None
    try:
        return await app.host.validate(request)
    except HostUnavailable:
        return None


async def count_requests(app: App, caller: Caller, tenant: str, min_revision: int) -> RequestCounts:
    """How many requests stand where. Raises MissingRole, RevisionAhead."""
    await reach(app, Revision(min_revision))
    authorise(app, caller, tenant, "CountRequests")
    return await app.store.request_counts(tenant, now=app.clock.now())


async def get_execution(app: App, caller: Caller, id: ExecutionId, min_revision: int) -> Execution:
    """Raises NotFound, MissingRole, RevisionAhead."""
    await reach(app, Revision(min_revision))
    execution = await app.store.execution(id)
    if execution is None or app.directory.identity(caller.actor, execution.tenant) is None:
        raise NotFound("execution", id)
    authorise(app, caller, execution.tenant, "GetExecution")
    return execution


async def list_executions(
    app: App, caller: Caller, query: ExecutionQuery, min_revision: int
) -> tuple[Execution, ...]:
    """A page, newest first. Raises MissingRole, RevisionAhead."""
    await reach(app, Revision(min_revision))
    authorise(app, caller, query.tenant, "ListExecutions")
    return await app.store.executions(query)


async def list_decisions(
    app: App,
    caller: Caller,
    filter: DecisionFilter,
    after: Revision,
    limit: int,
    min_revision: int,
) -> tuple[StoredEntry, ...]:
    """A page, oldest first. Raises MissingRole, RevisionAhead."""
    await reach(app, Revision(min_revision))
    authorise(app, caller, filter.tenant, "ListDecisions")
    return await app.store.entries(after=after, limit=limit, filter=filter)


async def list_newest_decisions(
    app: App,
    caller: Caller,
    filter: DecisionFilter,
    before: Revision | None,
    limit: int,
    min_revision: int,
) -> tuple[StoredEntry, ...]:
    """A page, newest first. Raises MissingRole, RevisionAhead."""
    await reach(app, Revision(min_revision))
    authorise(app, caller, filter.tenant, "ListDecisions")
    return await app.store.newest_entries(before=before, limit=limit, filter=filter)


async def get_host(app: App, caller: Caller, tenant: str) -> HostSeen:
    """The host that every tenant shares. Raises MissingRole."""
    authorise(app, caller, tenant, "GetHost")
    return HostSeen(
        standing=app.standing.current,
        condition=app.host.condition,
        capabilities=app.host.known_capabilities,
    )


async def reach(app: App, revision: Revision) -> None:
    """Makes sure that what is read is not older than `revision`. Raises RevisionAhead."""
    if revision <= app.store.head.revision:
        return
    # Another replica may have given it out a moment ago.
    await app.store.refresh(revision)
    head = app.store.head.revision
    if revision > head:
        raise RevisionAhead(revision, head)
