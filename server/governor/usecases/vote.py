"""Approve and Reject: one person's word on the exact content they saw."""

from governor.domain.approval import VoteKind
from governor.domain.digest import fingerprint
from governor.domain.values import RequestId
from governor.domain.voting import voted
from governor.usecases.access import authorised_request
from governor.usecases.app import App
from governor.usecases.batch_ends import whole
from governor.usecases.commands import Caller, CastVote, Changed
from governor.usecases.commits import Commit, Committed, IdempotencyKey
from governor.usecases.eligibility import Electorate
from governor.usecases.once import check_etag, once

_RPCS = {VoteKind.APPROVE: "Approve", VoteKind.REVIEW: "Approve", VoteKind.REJECT: "Reject"}


async def vote(app: App, caller: Caller, command: CastVote) -> Changed:
    """Raises NotFound, MissingRole, EtagMismatch, IllegalTransition, DigestMismatch, PlanMismatch,
    NotEligible, DirectoryUnavailable, RequestIdReused, Conflict.
    """
    rpc = _RPCS[command.kind]
    request, _ = await authorised_request(app, caller, command.id, rpc)
    key = IdempotencyKey(
        tenant=request.tenant,
        actor=caller.actor,
        rpc=rpc,
        request_id=command.request_id,
        fingerprint=_fingerprint(command),
    )

    async def attempt() -> Committed:
        current, voter = await authorised_request(app, caller, RequestId(command.id), rpc)
        check_etag(current, command.etag)
        now, electorate = app.clock.now(), Electorate(app, current.tenant)
        in_place_of = None
        if command.on_behalf_of:
            in_place_of = electorate.delegator(voter, command.on_behalf_of, now)
        step = voted(
            current,
            voter=voter,
            kind=command.kind,
            seen_digest=command.digest,
            seen_plan=command.plan_digest,
            now=now,
            reason=command.reason,
            electorate=electorate,
            on_behalf_of=in_place_of,
            traceparent=caller.traceparent,
        )
        commit = Commit(requests=(step.request,), decisions=step.decisions, key=key)
        return await app.store.commit(await whole(app, commit))

    committed = await once(app, key, attempt)
    return Changed(request=committed.requests[0], revision=committed.revision)


def _fingerprint(command: CastVote) -> bytes:
    reason = command.reason
    said = (reason.code, reason.message, *sorted(reason.metadata.items())) if reason else ()
    flat = (part for item in said for part in (item if isinstance(item, tuple) else (item,)))
    about = (command.digest, command.plan_digest, command.kind, command.on_behalf_of)
    category = (reason.category,) if reason else ()
    return fingerprint(command.id, command.etag, *about, *category, *flat)
