"""Claims: how a request is taken for execution, and how an execution is taken over.

The version is resolved on the way: before the claim by asking the host, or by the host itself as
part of applying, where it compares and applies in one step.
"""

from governor.domain.compensating import rollback_impossible
from governor.domain.errors import Conflict, GovernorError, IllegalTransition
from governor.domain.executing import Progression, claimed, reclaimed
from governor.domain.execution import Execution
from governor.domain.lifecycle import Trigger
from governor.domain.request import MutationRequest, Status
from governor.domain.resolution import CLEAN, Resolution, resolve
from governor.domain.staleness import stale_before_claim
from governor.domain.values import ExecutionId, Identity
from governor.domain.voting import eligibility_lost
from governor.domain.waits import is_claimable, is_in_window
from governor.domain.workflow import Advance, window_closed
from governor.usecases.app import App
from governor.usecases.break_glass import ground_lost
from governor.usecases.commits import Commit, Committed, IdempotencyKey
from governor.usecases.eligibility import Electorate
from governor.usecases.ports import ExecutionTrace

MICROS = 1_000_000


class Claims:
    """Makes claims, and keeps the trace of each until its execution begins."""

    def __init__(self, app: App) -> None:
        self._app = app
        self._lease_us = round(app.limits.lease_seconds * MICROS)
        self._traces: dict[ExecutionId, ExecutionTrace] = {}

    def propose(self, request: MutationRequest, starter: Identity) -> Progression:
        """A claim, not committed yet, that leaves the version to the host."""
        return self._claimed(request, starter, _upfront(request), None)

    def trace_of(self, execution_id: ExecutionId) -> ExecutionTrace | None:
        """The trace that a claim has begun, once: it is its execution's from then on."""
        return self._traces.pop(execution_id, None)

    async def claim(
        self, request: MutationRequest, starter: Identity, key: IdempotencyKey | None = None
    ) -> Committed:
        """Resolves the version, where the host does not, and commits the claim.

        The committed request is not EXECUTING when its version turned out to be stale, or when
        something has come to stand in the way: what it was approved on, its maintenance window, or
        a host that takes nothing back. Raises StateBusy, Conflict, HostUnavailable, HostHeld,
        DirectoryUnavailable, IllegalTransition.
        """
        app = self._app
        while (setback := self._setback(request)) is not None:
            commit = Commit(requests=(setback.request,), decisions=setback.decisions)
            if setback.request.status is not Status.APPROVED:
                return await app.store.commit(commit.but(key=key))
            request = (await app.store.commit(commit)).requests[0]
        # Nothing of a batch is ordered from the host; each of its members asks for itself.
        capabilities = None if request.is_batch else await app.standing.vouch()
        if capabilities and request.is_rollback and not capabilities.rollback:
            # Such a host would take it for the original change, with an empty payload.
            step = rollback_impossible(request, now=app.clock.now())
            return await app.store.commit(
                Commit(requests=(step.request,), decisions=step.decisions, key=key)
            )
        resolution, current = _upfront(request), None
        if resolution is None and capabilities and not capabilities.compare_and_apply:
            current = await app.host.state_version(request.tenant, request.state)
            resolution = resolve(
                request.progress.expected_version, current, request.content.stale_strategy
            )
            if resolution not in CLEAN:
                stale = stale_before_claim(request, current_version=current, now=app.clock.now())
                return await app.store.commit(
                    Commit(requests=(stale.request,), decisions=stale.decisions, key=key)
                )
        claim = self._claimed(request, starter, resolution, current)
        try:
            app.failpoints("execute.before_claim")
            return await app.store.commit(
                Commit(
                    requests=(claim.request,),
                    executions=(claim.execution,),
                    decisions=claim.decisions,
                    key=key,
                )
            )
        except GovernorError:
            self.trace_of(claim.execution.id)
            raise

    async def take_over(
        self, request: MutationRequest, *, actor: Identity, lease_lost: bool
    ) -> Progression:
        """The request's execution under the next fencing token, committed. Raises Conflict."""
        execution = await self._execution_of(request)
        step = reclaimed(
            request,
            execution,
            now=self._app.clock.now(),
            lease_us=self._lease_us,
            actor=actor,
            lease_lost=lease_lost,
        )
        committed = await self._app.store.commit(
            Commit(requests=(step.request,), executions=(step.execution,), decisions=step.decisions)
        )
        return step.but(request=committed.requests[0], execution=committed.executions[0])

    def _setback(self, request: MutationRequest) -> Advance | None:
        """What an approved request meets on its way to the claim; None: nothing.

        It may still be approved afterwards, by the votes that are left.
        """
        return (
            self._eligibility_lost(request)
            or ground_lost(self._app, request)
            or self._window_closed(request)
        )

    def _window_closed(self, request: MutationRequest) -> Advance | None:
        """What its maintenance window does to a request whose turn it is; None: it may go on."""
        now = self._app.clock.now()
        if request.status is not Status.APPROVED or is_in_window(request, now):
            return None
        return window_closed(request, now=now)

    def _eligibility_lost(self, request: MutationRequest) -> Advance | None:
        """Costs nothing where nobody has voted."""
        approval = request.progress.approval
        if approval is None or not approval.votes:
            return None
        electorate = Electorate(self._app, request.tenant)
        return eligibility_lost(request, electorate=electorate, now=self._app.clock.now())

    def _claimed(
        self,
        request: MutationRequest,
        starter: Identity,
        resolution: Resolution | None,
        current_version: str | None,
    ) -> Progression:
        now = self._app.clock.now()
        if not is_claimable(request, now):
            raise IllegalTransition(request.status, Trigger.CLAIMED)
        trace = self._app.tracing.execution_started(request)
        claim = claimed(
            request,
            execution_id=self._app.ids.execution_id(),
            audit_id=self._app.ids.audit_id(),
            starter=starter,
            now=now,
            lease_us=self._lease_us,
            resolution=resolution,
            current_version=current_version,
            traceparent=trace.traceparent,
        )
        self._traces[claim.execution.id] = trace
        return claim

    async def _execution_of(self, request: MutationRequest) -> Execution:
        id = request.progress.execution_id
        execution = await self._app.store.execution(id) if id else None
        if execution is None:
            raise Conflict(f"the request {request.id} has no execution")
        return execution


def _upfront(request: MutationRequest) -> Resolution | None:
    """What is resolved without asking anybody: a request that expects no version."""
    return Resolution.UNVERSIONED if request.progress.expected_version is None else None
