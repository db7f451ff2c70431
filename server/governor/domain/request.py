"""The MutationRequest aggregate: what is to be changed, by whom, why, and where it stands."""

from enum import StrEnum

from governor.domain.approval import Approval
from governor.domain.break_glass import Review
from governor.domain.compensation import CompensatedBy, Compensation
from governor.domain.policy import Verdict
from governor.domain.values import AuditId, ExecutionId, Micros, Reason, RequestId, Revision, Value


class Status(StrEnum):
    """Where a request stands. CREATED exists only inside the submitting commit."""

    CREATED = "CREATED"
    PENDING = "PENDING"
    APPROVED = "APPROVED"
    EXECUTING = "EXECUTING"
    EXECUTED = "EXECUTED"
    REJECTED = "REJECTED"
    CANCELED = "CANCELED"
    EXPIRED = "EXPIRED"
    SUPERSEDED = "SUPERSEDED"
    FAILED = "FAILED"


TERMINAL = frozenset(
    {
        Status.EXECUTED,
        Status.REJECTED,
        Status.CANCELED,
        Status.EXPIRED,
        Status.SUPERSEDED,
        Status.FAILED,
    }
)


class PendingReason(StrEnum):
    """What a PENDING request waits for."""

    APPROVAL = "APPROVAL"
    SCHEDULE = "SCHEDULE"
    DEPENDENCY = "DEPENDENCY"
    REVALIDATION = "REVALIDATION"
    AUDIT = "AUDIT"
    EXTERNAL_CHECK = "EXTERNAL_CHECK"
    QUOTA = "QUOTA"
    MANUAL_REVIEW = "MANUAL_REVIEW"
    BATCH = "BATCH"


class DependencyFailure(StrEnum):
    """What a request does when one that it depends on ends without being executed."""

    REJECT = "REJECT"
    PROCEED = "PROCEED"
    REVIEW = "REVIEW"


class StaleStrategy(StrEnum):
    """What happens when the state has moved on before execution."""

    REJECT_STALE = "REJECT_STALE"
    REQUIRE_RENEWED_APPROVAL = "REQUIRE_RENEWED_APPROVAL"
    REVALIDATE_ON_LATEST = "REVALIDATE_ON_LATEST"


class ExecutionMode(StrEnum):
    """Who starts the execution of an approved request."""

    AUTOMATIC = "AUTOMATIC"
    ON_EXECUTE = "ON_EXECUTE"


class Risk(StrEnum):
    """The caller's own estimate."""

    UNSPECIFIED = "UNSPECIFIED"
    LOW = "LOW"
    MEDIUM = "MEDIUM"
    HIGH = "HIGH"
    CRITICAL = "CRITICAL"


class Reversibility(StrEnum):
    """Whether the change can be taken back."""

    UNSPECIFIED = "UNSPECIFIED"
    REVERSIBLE = "REVERSIBLE"
    COMPENSABLE = "COMPENSABLE"
    IRREVERSIBLE = "IRREVERSIBLE"


class BlastRadius(StrEnum):
    """How much is affected if the change is wrong."""

    UNSPECIFIED = "UNSPECIFIED"
    SINGLE = "SINGLE"
    SERVICE = "SERVICE"
    REGION = "REGION"
    GLOBAL = "GLOBAL"


class BatchOrdering(StrEnum):
    """When the members of a batch are executed."""

    SEQUENTIAL = "SEQUENTIAL"
    INDEPENDENT = "INDEPENDENT"


class BatchFailureMode(StrEnum):
    """What follows when a member of a batch ends without being executed."""

    STOP = "STOP"
    CONTINUE = "CONTINUE"
    COMPENSATE = "COMPENSATE"


class BatchDecisionMode(StrEnum):
    """What of a batch policy and people decide on."""

    BATCH = "BATCH"
    PER_MEMBER = "PER_MEMBER"


class Membership(Value, frozen=True, kw_only=True):
    """The batch that a request belongs to, and its place there, from 0."""

    batch_id: RequestId
    position: int


class BatchSpec(Value, frozen=True, kw_only=True):
    """What makes a request a batch. Its payload says the same, and binds each member's digest."""

    ordering: BatchOrdering
    failure_mode: BatchFailureMode
    decision_mode: BatchDecisionMode
    member_ids: tuple[RequestId, ...]


class BatchProgress(Value, frozen=True, kw_only=True):
    """How far a batch has come.

    `applied` are the members that were executed, in the order in which they were seen to be, and
    `failed` those that ended otherwise. Once `stopped`, no further member is begun. `undone` are
    those of the applied that were put right again, the last of them first. `is_broken` once what
    was applied is less than was asked for, and stays whatever a person comes to say of it.
    """

    applied: tuple[RequestId, ...] = ()
    failed: tuple[RequestId, ...] = ()
    stopped: Reason | None = None
    undone: tuple[RequestId, ...] = ()
    is_broken: bool = False


class StateRef(Value, frozen=True, kw_only=True):
    """One piece of state in the host."""

    type: str
    id: str


class Payload(Value, frozen=True, kw_only=True):
    """The exact argument of a mutation; never looked into.

    `size_bytes` and `sha256` tell of `data` also where that is left out, as it is in lists.
    """

    content_type: str
    data: bytes = b""
    size_bytes: int = 0
    sha256: bytes = b""


class RuntimeContext(Value, frozen=True, kw_only=True):
    """Where and for whom a change is asked."""

    tenant: str
    actor: str
    environment: str = ""
    service: str = ""
    region: str = ""
    correlation_id: str = ""
    causation_id: str = ""


class Intent(Value, frozen=True, kw_only=True):
    """What the caller says about the nature of the change."""

    category: str = ""
    risk: Risk = Risk.UNSPECIFIED
    reversibility: Reversibility = Reversibility.UNSPECIFIED
    blast_radius: BlastRadius = BlastRadius.UNSPECIFIED


class Evidence(Value, frozen=True, kw_only=True):
    """Something an approver or auditor may want to look at."""

    kind: str
    uri: str
    sha256: bytes = b""
    description: str = ""


class Content(Value, frozen=True, kw_only=True):
    """What was asked. Written once, never changed."""

    context: RuntimeContext
    mutation_type: str
    state: StateRef
    payload: Payload
    expected_version: str | None = None
    stale_strategy: StaleStrategy = StaleStrategy.REJECT_STALE
    intent: Intent = Intent()
    justification: str = ""
    evidence: tuple[Evidence, ...] = ()
    metadata: dict[str, str] = {}
    tags: tuple[str, ...] = ()
    execute_after: Micros | None = None
    depends_on: tuple[RequestId, ...] = ()
    execution_mode: ExecutionMode = ExecutionMode.AUTOMATIC
    on_dependency_failure: DependencyFailure = DependencyFailure.REJECT
    compensation: Compensation | None = None
    batch: Membership | None = None
    batch_spec: BatchSpec | None = None


class Pending(Value, frozen=True, kw_only=True):
    """One thing a request waits for, since when, and when time itself decides it.

    `name` tells several of one reason apart: which check, quota or review.
    """

    reason: PendingReason
    since: Micros
    until: Micros | None = None
    detail: str = ""
    name: str = ""


class Progress(Value, frozen=True, kw_only=True):
    """Where a request stands: everything about it that changes.

    `execute_before` is set by an approval whose policy limits the time from there to the claim.
    `review`, `compensation_id` (the latest request that was to compensate it) and `compensated_by`
    are the only things that may still change once the request has ended.
    """

    status: Status = Status.CREATED
    pending: tuple[Pending, ...] = ()
    expected_version: str | None = None
    digest: bytes = b""
    verdict: Verdict | None = None
    approval: Approval | None = None
    status_reason: Reason | None = None
    superseded_by: RequestId | None = None
    execution_id: ExecutionId | None = None
    executions: int = 0
    updated_at: Micros = Micros(0)
    approval_traceparents: tuple[str, ...] = ()
    execute_before: Micros | None = None
    review: Review | None = None
    compensation_id: RequestId | None = None
    compensated_by: CompensatedBy | None = None
    batch: BatchProgress | None = None


class MutationRequest(Value, frozen=True, kw_only=True):
    """One change under governance.

    `revision` is the ledger revision of its last change, 0 before the first commit; the store
    assigns it. `expires_at` is the moment after which it can no longer be claimed. A compensation's
    `compensated_traceparents` are those of the request and of the execution that it goes back to.
    """

    id: RequestId
    audit_id: AuditId
    content: Content
    requester: str
    submitted_at: Micros
    expires_at: Micros
    supersedes: RequestId | None = None
    traceparent: str = ""
    compensated_traceparents: tuple[str, ...] = ()
    progress: Progress = Progress()
    submitted_revision: Revision = Revision(0)
    revision: Revision = Revision(0)

    @property
    def status(self) -> Status:
        """Where it stands."""
        return self.progress.status

    @property
    def tenant(self) -> str:
        """The tenant that owns the state."""
        return self.content.context.tenant

    @property
    def state(self) -> StateRef:
        """What is to be changed."""
        return self.content.state

    @property
    def slot(self) -> "Slot":
        """The state within its tenant: what at most one execution may hold at a time."""
        return (self.content.context.tenant, self.content.state.type, self.content.state.id)

    @property
    def is_rollback(self) -> bool:
        """Whether the host is to restore what was there before another request."""
        compensation = self.content.compensation
        return compensation is not None and compensation.is_rollback

    @property
    def is_batch(self) -> bool:
        """Whether it has members, and nothing of it is ordered from the host."""
        return self.content.batch_spec is not None

    @property
    def is_terminal(self) -> bool:
        """Whether it has ended."""
        return self.progress.status in TERMINAL

    def waits_for(self, reason: PendingReason) -> bool:
        """Whether `reason` holds it back."""
        return any(pending.reason is reason for pending in self.progress.pending)

    @property
    def due_at(self) -> Micros | None:
        """When a timer must next look at it: whichever of its clocks is first. None: never again.

        The clocks: its lifetime, the time to claim it after its approval, what time decides of
        what it waits for, and the review that it owes.
        """
        progress, moments = self.progress, list[Micros]()
        if progress.review is not None and progress.review.is_awaited:
            moments.append(progress.review.due_at)
        if progress.status in (Status.PENDING, Status.APPROVED) and not self.waits_for(
            PendingReason.AUDIT
        ):
            if not self.waits_for(PendingReason.BATCH):
                # Until its turn comes, the clocks of its batch are those that run.
                moments.append(self.expires_at)
            moments.extend(p.until for p in progress.pending if p.until is not None)
            if progress.status is Status.APPROVED and progress.execute_before is not None:
                moments.append(progress.execute_before)
        return min(moments, default=None)


Slot = tuple[str, str, str]
"""(tenant, state type, state id)."""
