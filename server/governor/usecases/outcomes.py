"""What is committed with an outcome: of a compensation that was applied, both ends of its links."""

import logging

from governor.domain.compensating import completed
from governor.domain.executing import Progression
from governor.domain.execution import ExecutionStatus
from governor.usecases.app import App
from governor.usecases.commits import Commit

log = logging.getLogger(__name__)


async def outcome_commit(app: App, step: Progression) -> Commit:
    """The commit of a step of an execution. Only a compensation that was applied has anything read
    for it: what it has compensated changes in the same commit, or none of it does.

    Raises StoreUnavailable.
    """
    asked = step.request.content.compensation
    plain = Commit(requests=(step.request,), executions=(step.execution,), decisions=step.decisions)
    if asked is None or step.execution.status is not ExecutionStatus.APPLIED:
        return plain
    original = await app.store.request(asked.request_id)
    execution = await app.store.execution(asked.execution_id)
    if original is None or execution is None:
        # Nothing is ever deleted: the store is damaged. What the host did must be recorded still.
        log.error("what was compensated is not there", extra={"request": asked.request_id})
        return plain
    done = completed(step, original, execution, now=step.request.progress.updated_at)
    own, theirs = done.compensation, done.original
    return Commit(
        requests=(own.request, theirs.request),
        executions=(own.execution, theirs.execution),
        decisions=(*own.decisions, *theirs.decisions),
    )
