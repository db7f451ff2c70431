"""Submit: ask for a mutation; what policy allows is approved and claimed in the same commit."""

from governor.domain.batches import RESERVED
from governor.domain.break_glass import Emergency
from governor.domain.counting import check_satisfiable
from governor.domain.digest import submission_fingerprint
from governor.domain.errors import (
    DependencyFailed,
    HostUnavailable,
    InvalidField,
    NotFound,
    StateBusy,
)
from governor.domain.policy import Facts, Verdict
from governor.domain.request import (
    Content,
    DependencyFailure,
    MutationRequest,
    Pending,
    PendingReason,
    Status,
)
from governor.domain.values import Identity, Micros, RequestId, Revision, Value
from governor.domain.waits import dependency_review
from governor.domain.workflow import Advance, submitted
from governor.usecases.access import authorise
from governor.usecases.app import App
from governor.usecases.break_glass import declare
from governor.usecases.commands import Caller, Submit, Submitted
from governor.usecases.commits import Commit, Committed, IdempotencyKey
from governor.usecases.depending import latest
from governor.usecases.once import once
from governor.usecases.ports import Validation
from governor.usecases.waiting import come_to_rest

MICROS = 1_000_000


class Waits(Value, frozen=True, kw_only=True):
    """What holds a new request beside approval, and the revisions that this rests on."""

    pending: tuple[Pending, ...] = ()
    guards: tuple[tuple[RequestId, Revision], ...] = ()


async def submit(app: App, caller: Caller, command: Submit) -> Submitted:
    """Raises MissingRole, InvalidField, NotFound and DependencyFailed for depends_on,
    UnsatisfiableApproval, ReviewOverdue, RequestIdReused, Overloaded, StoreUnavailable.
    """
    content = command.content
    check_ordinary(content, "mutation")
    identity = authorise(app, caller, content.context.tenant, "Submit")
    if command.validate_only:
        return await _preview(app, caller, identity, command)
    key = IdempotencyKey(
        tenant=content.context.tenant,
        actor=caller.actor,
        rpc="Submit",
        request_id=command.request_id,
        fingerprint=submission_fingerprint(content, command.expires_at, command.break_glass),
    )

    async def attempt() -> Committed:
        step, waits = await propose(
            app, caller, identity, content, command.expires_at, break_glass=command.break_glass
        )
        plain = Commit(
            requests=(step.request,), decisions=step.decisions, guards=waits.guards, key=key
        )
        return await commit_new(app, plain)

    committed = await once(app, key, attempt)
    request = committed.requests[0]
    if command.wait_seconds is not None:
        request = await come_to_rest(app, request, command.wait_seconds)
    return Submitted(request=request, revision=committed.revision)


def check_ordinary(content: Content, field: str) -> None:
    """Raises InvalidField for a mutation or state whose type is Governor's own."""
    for name, text in (("type", content.mutation_type), ("state.type", content.state.type)):
        if text.startswith(RESERVED):
            raise InvalidField(f"{field}.{name}", f"begins with {RESERVED} as Governor's own do")


async def propose(
    app: App,
    caller: Caller,
    identity: Identity,
    content: Content,
    expires_at: Micros | None,
    *,
    supersedes: RequestId | None = None,
    break_glass: str | None = None,
    compensated_traceparents: tuple[str, ...] = (),
) -> tuple[Advance, Waits]:
    """The new request as policy leaves it, not committed yet.

    `break_glass` is why it cannot wait for its approval: it then lives briefly, whatever policy
    comes to say. The plan that is skipped must be one that could be met: its people owe the review.
    """
    now = app.clock.now()
    emergency = None
    if break_glass is not None:
        emergency = await declare(app, identity, content.context.tenant, break_glass, now)
    request = MutationRequest(
        id=app.ids.request_id(),
        audit_id=app.ids.audit_id(),
        content=content,
        requester=identity.person,
        submitted_at=now,
        expires_at=expiry_of(lifetime_of(app, emergency), content, expires_at, now),
        supersedes=supersedes,
        traceparent=caller.traceparent,
        compensated_traceparents=compensated_traceparents,
    )
    waits = await waits_of(app, content, now)
    verdict = ask_policy(app, content, identity)
    step = submitted(
        request,
        verdict=verdict,
        waits=waits.pending,
        actor=identity,
        now=now,
        emergency=emergency,
    )
    return step, waits


def ask_policy(app: App, content: Content, identity: Identity) -> Verdict:
    """Policy's verdict, with a plan that the people there are can meet.

    Raises UnsatisfiableApproval.
    """
    tenant = content.context.tenant
    verdict = app.policy.evaluate(facts_of(content, identity))
    if verdict.plan is not None:
        check_satisfiable(
            verdict.plan,
            members=lambda target: app.directory.members(target, tenant),
            requester=identity.person,
        )
    return verdict


def facts_of(content: Content, identity: Identity) -> Facts:
    """What policy may look at."""
    intent = content.intent
    return Facts(
        tenant=content.context.tenant,
        environment=content.context.environment,
        actor=identity.id,
        roles=identity.roles,
        groups=identity.groups,
        mutation_type=content.mutation_type,
        state_type=content.state.type,
        category=intent.category,
        risk=intent.risk,
        reversibility=intent.reversibility,
        blast_radius=intent.blast_radius,
        versioned=content.expected_version is not None,
        compensation=content.compensation.kind if content.compensation is not None else "",
    )


async def commit_new(app: App, plain: Commit) -> Committed:
    """Commits a new request, the first in `plain`; claimed at once where nothing stands in the way
    of its execution.
    """
    new, *others = plain.requests
    if new.status is not Status.APPROVED:
        return await app.store.commit(plain)
    with app.executions.inline_claim(new) as claim:
        if claim is None:
            return await app.store.commit(plain)
        try:
            return await app.store.commit(
                plain.but(
                    requests=(claim.request, *others),
                    executions=(claim.execution,),
                    decisions=(*plain.decisions, *claim.decisions),
                )
            )
        except StateBusy:
            # Somebody else took the state meanwhile: the request waits its turn, approved.
            return await app.store.commit(plain)


async def _preview(app: App, caller: Caller, identity: Identity, command: Submit) -> Submitted:
    step, _ = await propose(
        app,
        caller,
        identity,
        command.content,
        command.expires_at,
        break_glass=command.break_glass,
    )
    preview: Validation | None
    try:
        preview = await app.host.validate(step.request)
    except HostUnavailable:
        preview = None
    nameless = step.request.but(id=RequestId(""))
    return Submitted(request=nameless, revision=Revision(0), preview=preview)


class Lifetime(Value, frozen=True, kw_only=True):
    """How long a request lives from its schedule on, and how long from now at most."""

    seconds: float
    seconds_max: float

    @property
    def words(self) -> str:
        """The bound, as a refusal names it."""
        days = self.seconds_max / 86_400
        return f"{days:g} days" if days >= 1 else f"{self.seconds_max:g} seconds"


def lifetime_of(app: App, emergency: Emergency | None = None) -> Lifetime:
    """The lifetime of what is submitted now, in an emergency or not."""
    limits = app.limits
    if emergency is not None:
        brief = limits.break_glass_lifetime_seconds
        return Lifetime(seconds=brief, seconds_max=brief)
    return Lifetime(
        seconds=limits.request_lifetime_seconds, seconds_max=limits.request_lifetime_seconds_max
    )


def expiry_of(
    lifetime: Lifetime, content: Content, expires_at: Micros | None, now: Micros
) -> Micros:
    """When a request expires. Raises InvalidField for a time that does not fit its schedule."""
    execute_after = content.execute_after
    latest = Micros(now + round(lifetime.seconds_max * MICROS))
    if execute_after is not None and execute_after >= latest:
        raise InvalidField("execute_after", f"lies {lifetime.words} or more ahead")
    if expires_at is None:
        # A schedule far ahead still leaves the request its default lifetime after it.
        begins = max(now, execute_after or 0)
        return Micros(min(begins + round(lifetime.seconds * MICROS), latest))
    if expires_at <= now:
        raise InvalidField("expire_time", "has passed already")
    if expires_at > latest:
        raise InvalidField("expire_time", f"lies more than {lifetime.words} ahead")
    if execute_after is not None and execute_after >= expires_at:
        raise InvalidField("execute_after", "does not lie before expire_time")
    return expires_at


async def waits_of(app: App, content: Content, now: Micros) -> Waits:
    """What holds a request for its own sake. Raises NotFound, DependencyFailed."""
    pending: list[Pending] = []
    guards: list[tuple[RequestId, Revision]] = []
    if content.execute_after is not None and content.execute_after > now:
        pending.append(
            Pending(reason=PendingReason.SCHEDULE, since=now, until=content.execute_after)
        )
    failed: dict[RequestId, Status] = {}
    for id in content.depends_on:
        dependency = await latest(app, id)
        if dependency is None or dependency.tenant != content.context.tenant:
            raise NotFound("mutation request", id)
        if not dependency.is_terminal:
            guards.append((dependency.id, dependency.revision))
        elif dependency.status is not Status.EXECUTED:
            failed[dependency.id] = dependency.status
            if content.on_dependency_failure is DependencyFailure.REJECT:
                raise DependencyFailed(id, dependency.status)
    if guards:
        waited_for = ", ".join(id for id, _ in guards)
        pending.append(Pending(reason=PendingReason.DEPENDENCY, since=now, detail=waited_for))
    elif failed and content.on_dependency_failure is DependencyFailure.REVIEW:
        pending.append(dependency_review(failed, now))
    return Waits(pending=tuple(pending), guards=tuple(dict.fromkeys(guards)))
