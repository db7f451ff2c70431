"""ResolvePending: somebody answers a check, releases from a quota, or gives a review."""

from governor.domain.digest import fingerprint
from governor.domain.gating import gate_answered
from governor.usecases.access import authorised_request
from governor.usecases.app import App
from governor.usecases.batch_ends import whole
from governor.usecases.commands import Caller, Changed, ResolvePending
from governor.usecases.commits import Commit, Committed, IdempotencyKey
from governor.usecases.once import check_etag, once

RPC = "ResolvePending"


async def resolve_pending(app: App, caller: Caller, command: ResolvePending) -> Changed:
    """Raises NotFound, MissingRole, EtagMismatch, IllegalTransition, NotWaiting, DigestMismatch,
    NotEligible, RequestIdReused, Conflict.
    """
    request, _ = await authorised_request(app, caller, command.id, RPC)
    finding = command.finding
    key = IdempotencyKey(
        tenant=request.tenant,
        actor=caller.actor,
        rpc=RPC,
        request_id=command.request_id,
        fingerprint=fingerprint(
            command.id,
            command.etag,
            command.digest,
            command.reason,
            command.name,
            str(command.passed),
            finding.code,
            finding.message,
            finding.category,
            *(part for item in sorted(finding.metadata.items()) for part in item),
        ),
    )

    async def attempt() -> Committed:
        current, actor = await authorised_request(app, caller, command.id, RPC)
        check_etag(current, command.etag)
        step = gate_answered(
            current,
            reason=command.reason,
            name=command.name,
            passed=command.passed,
            seen_digest=command.digest,
            actor=actor,
            finding=finding,
            now=app.clock.now(),
        )
        commit = Commit(requests=(step.request,), decisions=step.decisions, key=key)
        return await app.store.commit(await whole(app, commit))

    committed = await once(app, key, attempt)
    return Changed(request=committed.requests[0], revision=committed.revision)
