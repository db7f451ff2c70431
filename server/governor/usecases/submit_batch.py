"""SubmitBatch: ask for several mutations as one, all of them durable in one commit, or none."""

from collections.abc import Sequence

from governor.domain.batches import (
    BATCH_MEMBERS_MAX,
    BATCH_TYPE,
    manifest,
    members_ended,
    turn,
    verdict_within,
)
from governor.domain.counting import check_satisfiable
from governor.domain.digest import fingerprint, request_digest, submission_fingerprint
from governor.domain.errors import InvalidField
from governor.domain.policy import Effect, Verdict, united
from governor.domain.request import (
    BatchDecisionMode,
    BatchSpec,
    BlastRadius,
    Content,
    ExecutionMode,
    Intent,
    Membership,
    MutationRequest,
    Reversibility,
    Risk,
    RuntimeContext,
    StateRef,
)
from governor.domain.values import Identity, Micros, RequestId, Revision
from governor.domain.workflow import Advance, submitted
from governor.usecases.access import authorise
from governor.usecases.app import App
from governor.usecases.batch_ends import members_of
from governor.usecases.commands import BatchSubmitted, Caller, SubmitBatch
from governor.usecases.commits import Commit, Committed, IdempotencyKey
from governor.usecases.once import once
from governor.usecases.submit import (
    ask_policy,
    check_ordinary,
    expiry_of,
    lifetime_of,
    waits_of,
)

PER_MEMBER_RULE = "governor.batch.per_member"
"""What stands for the rules of a batch about which each member's own verdict says all."""

RPC = "SubmitBatch"


async def submit_batch(app: App, caller: Caller, command: SubmitBatch) -> BatchSubmitted:
    """Raises what submit does, the fields named below `members`."""
    _check(command)
    tenant = command.members[0].context.tenant
    identity = authorise(app, caller, tenant, RPC)
    key = IdempotencyKey(
        tenant=tenant,
        actor=caller.actor,
        rpc=RPC,
        request_id=command.request_id,
        fingerprint=fingerprint(
            command.ordering,
            command.failure_mode,
            command.decision_mode,
            command.justification,
            command.expires_at,
            *(submission_fingerprint(content, None) for content in command.members),
        ),
    )

    async def attempt() -> Committed:
        return await app.store.commit(
            (await _proposed(app, caller, identity, command)).but(key=key)
        )

    committed = await once(app, key, attempt)
    batch = committed.requests[0]
    members = committed.requests[1:]
    if committed.replayed:
        members = await members_of(app, batch)
    return BatchSubmitted(batch=batch, members=members, revision=committed.revision)


def _check(command: SubmitBatch) -> None:
    if not command.members:
        raise InvalidField("members", "is empty")
    if len(command.members) > BATCH_MEMBERS_MAX:
        raise InvalidField("members", f"holds more than {BATCH_MEMBERS_MAX}")
    for position, content in enumerate(command.members):
        field = f"members[{position}]"
        check_ordinary(content, f"{field}.mutation")
        if content.context.tenant != command.members[0].context.tenant:
            raise InvalidField(f"{field}.context.tenant", "is not that of the first member")
        if content.execution_mode is not ExecutionMode.AUTOMATIC:
            raise InvalidField(f"{field}.execution_mode", "is not AUTOMATIC: its batch starts it")


async def _proposed(app: App, caller: Caller, identity: Identity, command: SubmitBatch) -> Commit:
    """The batch and its members as policy leaves them."""
    now = app.clock.now()
    batch_id, batch_audit_id = app.ids.request_id(), app.ids.audit_id()
    ids = tuple(app.ids.request_id() for _ in command.members)
    contents = tuple(
        content.but(batch=Membership(batch_id=batch_id, position=position))
        for position, content in enumerate(command.members)
    )
    spec = BatchSpec(
        ordering=command.ordering,
        failure_mode=command.failure_mode,
        decision_mode=command.decision_mode,
        member_ids=ids,
    )
    whole = _content(batch_id, spec, contents, command.justification)
    expires_at = _expiry(app, whole, contents, command.expires_at, now)

    def created(id: RequestId, content: Content) -> MutationRequest:
        return MutationRequest(
            id=id,
            audit_id=batch_audit_id if id == batch_id else app.ids.audit_id(),
            content=content,
            requester=identity.person,
            submitted_at=now,
            expires_at=expires_at,
            traceparent=caller.traceparent,
        )

    verdicts = [ask_policy(app, content, identity) for content in contents]
    is_whole = command.decision_mode is BatchDecisionMode.BATCH
    verdict = _one_verdict(app, identity, command, verdicts) if is_whole else _no_verdict(verdicts)
    batch = submitted(created(batch_id, whole), verdict=verdict, waits=(), actor=identity, now=now)
    members: list[Advance] = []
    guards: list[tuple[RequestId, Revision]] = []
    for id, content, own in zip(ids, contents, verdicts, strict=True):
        waits = await waits_of(app, content, now)
        guards.extend(waits.guards)
        members.append(
            submitted(
                created(id, content),
                verdict=verdict_within(own) if is_whole else own,
                waits=(turn(batch_id, now), *waits.pending),
                actor=identity,
                now=now,
            )
        )
    if batch.request.is_terminal:
        members = _ended(batch.request, members, now)
    return Commit(
        requests=(batch.request, *(step.request for step in members)),
        decisions=(*batch.decisions, *(one for step in members for one in step.decisions)),
        guards=tuple(dict.fromkeys(guards)),
    )


def _one_verdict(
    app: App, identity: Identity, command: SubmitBatch, verdicts: Sequence[Verdict]
) -> Verdict:
    """The verdict on all members together, with a plan that the people there are can meet.

    Raises UnsatisfiableApproval.
    """
    verdict, tenant = united(verdicts), command.members[0].context.tenant
    if verdict.plan is not None:
        check_satisfiable(
            verdict.plan,
            members=lambda target: app.directory.members(target, tenant),
            requester=identity.person,
        )
    return verdict


def _no_verdict(verdicts: Sequence[Verdict]) -> Verdict:
    """That of a batch each of whose members has its own."""
    return Verdict(
        effect=Effect.ALLOW, rules=(PER_MEMBER_RULE,), policy_sha256=verdicts[0].policy_sha256
    )


def _ended(batch: MutationRequest, members: Sequence[Advance], now: Micros) -> list[Advance]:
    """The members of a batch that policy denies: each ends in the commit in which it begins."""
    ends = {
        step.request.id: step
        for step in members_ended(batch, [one.request for one in members], now)
    }
    ended: list[Advance] = []
    for one in members:
        end = ends.get(one.request.id)
        ended.append(one if end is None else end.but(decisions=(*one.decisions, *end.decisions)))
    return ended


def _expiry(
    app: App,
    whole: Content,
    contents: Sequence[Content],
    expires_at: Micros | None,
    now: Micros,
) -> Micros:
    """The moment at which all of them expire, be they claimed or not; after every schedule."""
    schedules = [one.execute_after for one in contents if one.execute_after is not None]
    scheduled = whole.but(execute_after=max(schedules, default=None))
    try:
        return expiry_of(lifetime_of(app), scheduled, expires_at, now)
    except InvalidField as invalid:
        if invalid.field != "execute_after":
            raise
        late = next(at for at, one in enumerate(contents) if one.execute_after == max(schedules))
        raise InvalidField(f"members[{late}].execute_after", invalid.fact) from None


def _content(
    batch_id: RequestId, spec: BatchSpec, contents: Sequence[Content], justification: str
) -> Content:
    """The batch as a mutation of its own. It says what all of its members say, and the worst that
    any of them expects.
    """
    digests = [request_digest(content, content.expected_version) for content in contents]
    contexts, intents = [one.context for one in contents], [one.intent for one in contents]
    return Content(
        context=RuntimeContext(
            tenant=contexts[0].tenant,
            actor=contexts[0].actor,
            environment=_common([one.environment for one in contexts]),
            service=_common([one.service for one in contexts]),
            region=_common([one.region for one in contexts]),
            correlation_id=_common([one.correlation_id for one in contexts]),
            causation_id=_common([one.causation_id for one in contexts]),
        ),
        mutation_type=BATCH_TYPE,
        state=StateRef(type=BATCH_TYPE, id=batch_id),
        payload=manifest(spec, digests),
        intent=Intent(
            category=_common([one.category for one in intents]),
            risk=max((one.risk for one in intents), key=list(Risk).index),
            reversibility=max(
                (one.reversibility for one in intents), key=list(Reversibility).index
            ),
            blast_radius=max((one.blast_radius for one in intents), key=list(BlastRadius).index),
        ),
        justification=justification,
        batch_spec=spec,
    )


def _common(texts: Sequence[str]) -> str:
    """What all say; nothing where they differ."""
    return texts[0] if len(set(texts)) == 1 else ""
