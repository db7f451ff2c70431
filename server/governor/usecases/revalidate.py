"""Revalidation: policy and the host look at a request again, on the latest version of its state."""

from governor.domain.batches import is_covered, verdict_within
from governor.domain.errors import Conflict, UnsatisfiableApproval
from governor.domain.policy import Effect, Verdict
from governor.domain.request import BatchDecisionMode, MutationRequest, PendingReason
from governor.domain.staleness import revalidated
from governor.domain.values import Reason, RequestId
from governor.usecases.app import App
from governor.usecases.batch_ends import batch_of
from governor.usecases.commits import Commit
from governor.usecases.ports import Validation
from governor.usecases.submit import ask_policy


async def revalidate(app: App, id: RequestId) -> None:
    """Ends the wait for REVALIDATION, one way or another.

    Raises HostUnavailable, StoreUnavailable; nothing has changed then.
    """
    while True:
        request = await app.store.request(id)
        if request is None or not request.waits_for(PendingReason.REVALIDATION):
            return
        # A host need not say in its opinion which version that was formed on. Asked for before it,
        # the version can only be too old, and then the claim finds the request stale once more.
        version_before = await app.host.state_version(request.tenant, request.state)
        validation = await app.host.validate(request)
        step = revalidated(
            request,
            verdict=await _within_its_batch(app, request, _verdict(app, request)),
            violation=_violation(validation),
            current_version=validation.current_version or version_before,
            now=app.clock.now(),
        )
        app.failpoints("revalidate.before_commit")
        try:
            await app.store.commit(Commit(requests=(step.request,), decisions=step.decisions))
            app.failpoints("revalidate.after_commit")
        except Conflict:
            continue
        return


def _verdict(app: App, request: MutationRequest) -> Verdict:
    context = request.content.context
    requester = app.directory.identity(context.actor, context.tenant)
    if requester is None:
        reason = Reason(code="REQUESTER_GONE", message=f"{context.actor} has no place any more")
        return Verdict(effect=Effect.DENY, reason=reason)
    try:
        return ask_policy(app, request.content, requester)
    except UnsatisfiableApproval as unsatisfiable:
        reason = Reason(code="UNSATISFIABLE_APPROVAL", message=unsatisfiable.message)
        return Verdict(effect=Effect.DENY, reason=reason)


async def _within_its_batch(app: App, request: MutationRequest, verdict: Verdict) -> Verdict:
    """What policy demands of a member beyond what its batch was asked for as a whole."""
    batch = await batch_of(app, request)
    if batch is None or batch.content.batch_spec is None or batch.progress.verdict is None:
        return verdict
    is_whole = batch.content.batch_spec.decision_mode is BatchDecisionMode.BATCH
    if is_whole and is_covered(verdict, batch.progress.verdict):
        return verdict_within(verdict)
    return verdict


def _violation(validation: Validation) -> Reason | None:
    if not validation.violations:
        return None
    first = validation.violations[0]
    words = "; ".join(violation.message for violation in validation.violations)
    return Reason(code="VALIDATION_FAILED", message=words, metadata={"code": first.code})
