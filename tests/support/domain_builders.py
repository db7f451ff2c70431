"""Small values of the domain, and a request driven by it to every stage of its life."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from governor.domain.approval import (
    BreakGlass,
    Plan,
    Requirement,
    Step,
    StepMode,
    Target,
    Vote,
    VoteKind,
)
from governor.domain.auditing import audited
from governor.domain.break_glass import Emergency
from governor.domain.digest import plan_digest
from governor.domain.executing import claimed, in_doubt, not_applied, settled
from governor.domain.execution import Applied, Execution, Refused
from governor.domain.gates import Gate
from governor.domain.policy import Effect, Verdict
from governor.domain.request import (
    Content,
    MutationRequest,
    Payload,
    Pending,
    PendingReason,
    RuntimeContext,
    StaleStrategy,
    StateRef,
)
from governor.domain.staleness import stale_before_claim
from governor.domain.values import (
    AuditId,
    ExecutionId,
    Identity,
    Micros,
    Reason,
    RequestId,
    TargetKind,
)
from governor.domain.voting import voted
from governor.domain.workflow import canceled, expired, submitted, superseded

T0 = Micros(1_700_000_000_000_000)
LEASE_US = 30_000_000
LIFETIME_US = 3_600_000_000


def later(seconds: int) -> Micros:
    return Micros(T0 + seconds * 1_000_000)


def person(
    id: str, *, alias_of: str | None = None, roles: Iterable[str] = (), groups: Iterable[str] = ()
) -> Identity:
    return Identity(id=id, person=alias_of or id, roles=frozenset(roles), groups=frozenset(groups))


REQUESTER = person("rita", roles=["approver"])
ANN = person("ann", roles=["approver"])
BOB = person("bob", roles=["approver"])
OPERATOR = person("otto", roles=["operator"])
APPROVERS = Target(kind=TargetKind.ROLE, name="approver")


def actor_target(name: str) -> Target:
    return Target(kind=TargetKind.ACTOR, name=name)


def requirement(id: str, *targets: Target, quorum: int = 1) -> Requirement:
    return Requirement(id=id, targets=targets or (APPROVERS,), quorum=quorum)


def step(name: str, *requirements: Requirement, mode: StepMode = StepMode.ALL_OF) -> Step:
    return Step(name=name, requirements=requirements, mode=mode)


def plan(*steps: Step) -> Plan:
    return Plan(steps=steps)


TWO_APPROVERS = plan(step("review", requirement("two", quorum=2)))

ALLOWED = Verdict(effect=Effect.ALLOW, rules=("allow-low",), policy_sha256=b"\x01" * 32)
DENIED = Verdict(
    effect=Effect.DENY,
    rules=("deny-all",),
    reason=Reason(code="POLICY_DENIED", message="denied by deny-all"),
    policy_sha256=b"\x01" * 32,
)


def deferred(asked: Plan = TWO_APPROVERS) -> Verdict:
    return Verdict(effect=Effect.DEFER, rules=("ask-two",), plan=asked, policy_sha256=b"\x01" * 32)


class Crowd:
    """More people than anybody asks for, of whom nobody loses anything but whom a test names."""

    def __init__(self, **faults: str) -> None:
        self.faults = faults

    def members(self, target: Target) -> Iterable[str]:
        if target.kind is TargetKind.ACTOR:
            return (target.name,)
        return ("ann", "bob", "carol", "carl", "dave", "eve")

    def fault(self, vote: Vote, request: MutationRequest) -> str:
        return self.faults.get(vote.voter.id, "") if request.requester else ""


CROWD = Crowd()


def plan_seen(request: MutationRequest) -> bytes:
    """The plan as whoever looks at the request sees it; nothing where there is none."""
    approval = request.progress.approval
    return plan_digest(approval.plan, approval.round) if approval is not None else b""


def content(**changes: Any) -> Content:
    plain = Content(
        context=RuntimeContext(tenant="acme", actor="rita"),
        mutation_type="flag.set",
        state=StateRef(type="flag", id="checkout"),
        payload=Payload(content_type="application/json", data=b'{"on":true}'),
        expected_version="7",
    )
    return plain.but(**changes)


def new_request(id: str = "r-1", /, **content_changes: Any) -> MutationRequest:
    return MutationRequest(
        id=RequestId(id),
        audit_id=AuditId(f"audit-{id}"),
        content=content(**content_changes),
        requester=REQUESTER.person,
        submitted_at=T0,
        expires_at=Micros(T0 + LIFETIME_US),
    )


SCHEDULE = Pending(reason=PendingReason.SCHEDULE, since=T0, until=later(60))
DEPENDENCY = Pending(reason=PendingReason.DEPENDENCY, since=T0, detail="r-0")
CHECK = Gate(reason="EXTERNAL_CHECK", name="scan", timeout_seconds=600)
QUOTA = Gate(reason="QUOTA", name="daily", timeout_seconds=900)
LOOK = Gate(reason="MANUAL_REVIEW", name="risk", timeout_seconds=1200)


def gated(*gates: Gate, asked: Plan | None = None, **fields: Any) -> Verdict:
    """A verdict that defers to gates, and to people if `asked`."""
    plain = Verdict(
        effect=Effect.DEFER, rules=("gate",), plan=asked, gates=gates or (CHECK,), **fields
    )
    return plain.but(policy_sha256=b"\x01" * 32)


DOUBT = Reason(code="UNAVAILABLE", message="the host does not answer")
INVALID = Reason(code="NO_SUCH_FLAG", message="there is no such flag")
APPLIED = Applied(resulting_version="8", previous_version="7")


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """A request somewhere in its life, with its latest execution if it ever had one."""

    request: MutationRequest
    execution: Execution | None = None

    @property
    def running(self) -> Execution:
        """The execution, or one that was never started."""
        return self.execution or STRAY


STRAY = Execution(
    id=ExecutionId("x-stray"),
    audit_id=AuditId("audit-x-stray"),
    request_id=RequestId("r-stray"),
    request_audit_id=AuditId("audit-r-stray"),
    tenant="acme",
    state=StateRef(type="flag", id="checkout"),
    digest=b"",
    started_by="governor",
    started_at=T0,
    lease_expires_at=T0,
)


def submit(
    request: MutationRequest, verdict: Verdict = ALLOWED, *waits: Pending
) -> MutationRequest:
    return submitted(request, verdict=verdict, waits=waits, actor=REQUESTER, now=T0).request


def vote(
    request: MutationRequest, voter: Identity, kind: VoteKind = VoteKind.APPROVE
) -> MutationRequest:
    return voted(
        request,
        voter=voter,
        kind=kind,
        seen_digest=request.progress.digest,
        seen_plan=plan_seen(request),
        now=T0,
        reason=None,
        electorate=CROWD,
    ).request


def claim(request: MutationRequest, id: str = "x-1") -> Stage:
    step = claimed(
        request,
        execution_id=ExecutionId(id),
        audit_id=AuditId(f"audit-{id}"),
        starter=OPERATOR,
        now=T0,
        lease_us=LEASE_US,
    )
    return Stage(request=step.request, execution=step.execution)


def doubted(stage: Stage) -> Stage:
    step = in_doubt(stage.request, stage.running, attempts=1, now=T0, reason=DOUBT)
    return Stage(request=step.request, execution=step.execution)


def _created() -> Stage:
    return Stage(request=new_request())


def _asked() -> Stage:
    return Stage(request=submit(new_request(), deferred()))


def _half_approved() -> Stage:
    return Stage(request=vote(_asked().request, ANN))


def _asked_and_scheduled() -> Stage:
    return Stage(request=submit(new_request(), deferred(), SCHEDULE))


def _asked_with_a_deadline() -> Stage:
    soon = requirement("two", quorum=2).but(deadline_seconds=3)
    return Stage(request=submit(new_request(), deferred(plan(step("review", soon)))))


def _consented_and_scheduled() -> Stage:
    return Stage(request=vote(vote(_asked_and_scheduled().request, ANN), BOB))


def _scheduled() -> Stage:
    return Stage(request=submit(new_request(), ALLOWED, SCHEDULE))


def _dependent() -> Stage:
    return Stage(request=submit(new_request(), ALLOWED, DEPENDENCY))


def _checked() -> Stage:
    return Stage(request=submit(new_request(), gated(CHECK)))


def _asked_and_gated() -> Stage:
    return Stage(request=submit(new_request(), gated(CHECK, QUOTA, LOOK, asked=TWO_APPROVERS)))


def _revalidating() -> Stage:
    ready = submit(new_request(stale_strategy=StaleStrategy.REVALIDATE_ON_LATEST))
    return Stage(request=stale_before_claim(ready, current_version="8", now=T0).request)


def _approved() -> Stage:
    return Stage(request=submit(new_request()))


def _consented() -> Stage:
    return Stage(request=vote(_half_approved().request, BOB))


def _glass_broken() -> Stage:
    emergency = Emergency(
        broken=BreakGlass(by=REQUESTER, justification="it burns", at=T0), review_due_at=later(600)
    )
    step = submitted(
        new_request(), verdict=deferred(), waits=(), actor=REQUESTER, now=T0, emergency=emergency
    )
    return Stage(request=step.request)


def _executing() -> Stage:
    return claim(_consented().request)


def _free_again() -> Stage:
    was = _executing()
    step = not_applied(was.request, was.running, attempts=1, now=T0, reason=DOUBT)
    return Stage(request=step.request, execution=step.execution)


def _in_audit() -> Stage:
    return doubted(_executing())


def _executed() -> Stage:
    was = _executing()
    step = settled(was.request, was.running, APPLIED, attempts=1, now=T0)
    return Stage(request=step.request, execution=step.execution)


def _failed() -> Stage:
    was = _executing()
    step = settled(was.request, was.running, Refused(reason=INVALID), attempts=1, now=T0)
    return Stage(request=step.request, execution=step.execution)


def _rejected() -> Stage:
    return Stage(request=vote(_half_approved().request, BOB, VoteKind.REJECT))


def _canceled() -> Stage:
    step = canceled(_asked().request, actor=REQUESTER, now=T0, comment="")
    return Stage(request=step.request)


def _superseded() -> Stage:
    step = superseded(_asked().request, by=RequestId("r-2"), actor=REQUESTER, now=T0)
    return Stage(request=step.request)


def _expired() -> Stage:
    return Stage(request=expired(_asked().request, now=T0).request)


def _audited() -> Stage:
    was = _in_audit()
    step = audited(
        was.request, was.running, found=None, actor=OPERATOR, now=T0, reason=Reason(code="LOOKED")
    )
    return Stage(request=step.request, execution=step.execution)


STAGES: dict[str, Callable[[], Stage]] = {
    "created": _created,
    "asked": _asked,
    "half approved": _half_approved,
    "asked and scheduled": _asked_and_scheduled,
    "asked with a deadline": _asked_with_a_deadline,
    "consented and scheduled": _consented_and_scheduled,
    "scheduled": _scheduled,
    "dependent": _dependent,
    "checked": _checked,
    "asked and gated": _asked_and_gated,
    "revalidating": _revalidating,
    "approved": _approved,
    "consented": _consented,
    "glass broken": _glass_broken,
    "executing": _executing,
    "free again": _free_again,
    "in audit": _in_audit,
    "executed": _executed,
    "failed": _failed,
    "rejected": _rejected,
    "canceled": _canceled,
    "superseded": _superseded,
    "expired": _expired,
    "audited": _audited,
}
"""Every place a request can stand in, made anew by each call."""
