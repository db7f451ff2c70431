"""The Decision: one append-only ledger entry, before it is given its place in the order."""

from enum import Enum, StrEnum

from governor.domain.execution import Execution
from governor.domain.request import MutationRequest, StateRef, Status
from governor.domain.values import (
    AuditId,
    ExecutionId,
    Identity,
    Micros,
    Reason,
    RequestId,
    Value,
)


class Category(StrEnum):
    """What kind of thing was decided."""

    LIFECYCLE = "LIFECYCLE"
    POLICY = "POLICY"
    APPROVAL = "APPROVAL"
    CHECK = "CHECK"
    VERSION_RESOLUTION = "VERSION_RESOLUTION"
    EXECUTION = "EXECUTION"
    HOST = "HOST"
    BREAK_GLASS = "BREAK_GLASS"
    COMPENSATION = "COMPENSATION"
    BATCH = "BATCH"


class Code(Enum):
    """Every decision there is: its category and its stable code."""

    SUBMITTED = (Category.LIFECYCLE, "submitted")
    PENDING = (Category.LIFECYCLE, "pending")
    APPROVED = (Category.LIFECYCLE, "approved")
    REJECTED = (Category.LIFECYCLE, "rejected")
    CANCELED = (Category.LIFECYCLE, "canceled")
    EXPIRED = (Category.LIFECYCLE, "expired")
    SUPERSEDED = (Category.LIFECYCLE, "superseded")
    EXECUTED = (Category.LIFECYCLE, "executed")
    FAILED = (Category.LIFECYCLE, "failed")
    COMPENSATED = (Category.LIFECYCLE, "compensated")
    POLICY_ALLOWED = (Category.POLICY, "allowed")
    POLICY_DENIED = (Category.POLICY, "denied")
    POLICY_DEFERRED = (Category.POLICY, "deferred")
    APPROVAL_REQUESTED = (Category.APPROVAL, "requested")
    APPROVAL_GRANTED = (Category.APPROVAL, "granted")
    APPROVAL_REJECTED = (Category.APPROVAL, "rejected")
    APPROVAL_REVOKED = (Category.APPROVAL, "revoked")
    APPROVAL_EXPIRED = (Category.APPROVAL, "expired")
    QUORUM_SATISFIED = (Category.APPROVAL, "quorum_satisfied")
    APPROVAL_VOIDED = (Category.APPROVAL, "voided")
    CHECK_PASSED = (Category.CHECK, "passed")
    CHECK_FAILED = (Category.CHECK, "failed")
    CHECK_TIMED_OUT = (Category.CHECK, "timed_out")
    VERSION_VALIDATED = (Category.VERSION_RESOLUTION, "validated")
    VERSION_UNVERSIONED = (Category.VERSION_RESOLUTION, "unversioned")
    VERSION_REJECTED_AS_STALE = (Category.VERSION_RESOLUTION, "rejected_as_stale")
    VERSION_RENEWED_APPROVAL_REQUIRED = (
        Category.VERSION_RESOLUTION,
        "renewed_approval_required",
    )
    VERSION_REVALIDATION_REQUIRED = (Category.VERSION_RESOLUTION, "revalidation_required")
    CLAIMED = (Category.EXECUTION, "claimed")
    APPLIED = (Category.EXECUTION, "applied")
    REFUSED = (Category.EXECUTION, "refused")
    IN_DOUBT = (Category.EXECUTION, "in_doubt")
    RESOLVED = (Category.EXECUTION, "resolved")
    LEASE_LOST = (Category.EXECUTION, "lease_lost")
    HOST_TRUSTED = (Category.HOST, "trusted")
    HOST_HELD = (Category.HOST, "held")
    BREAK_GLASS_USED = (Category.BREAK_GLASS, "used")
    BREAK_GLASS_REVIEWED = (Category.BREAK_GLASS, "reviewed")
    BREAK_GLASS_REVIEW_OVERDUE = (Category.BREAK_GLASS, "review_overdue")
    COMPENSATION_REQUESTED = (Category.COMPENSATION, "requested")
    COMPENSATION_COMPLETED = (Category.COMPENSATION, "completed")
    BATCH_ADVANCED = (Category.BATCH, "advanced")
    BATCH_STOPPED = (Category.BATCH, "stopped")
    BATCH_COMPENSATING = (Category.BATCH, "compensating")
    BATCH_PUT_RIGHT = (Category.BATCH, "put_right")

    def __init__(self, category: Category, text: str) -> None:
        self.category = category
        self.text = text


class Decision(Value, frozen=True, kw_only=True):
    """What was decided about which request, by whom, and why. The store gives it its revision.

    A decision about the host is about no request: it has no tenant and no status, and its ids are
    empty. No other decision is like that.
    """

    code: Code
    actor: Identity
    at: Micros
    tenant: str
    request_id: RequestId
    request_audit_id: AuditId
    status: Status | None
    digest: bytes
    state: StateRef
    mutation_type: str
    execution_id: ExecutionId | None = None
    execution_audit_id: AuditId | None = None
    reason: Reason | None = None
    facts: dict[str, str] = {}


def decide(
    code: Code,
    request: MutationRequest,
    *,
    actor: Identity,
    at: Micros,
    execution: Execution | None = None,
    reason: Reason | None = None,
    facts: dict[str, str] | None = None,
) -> Decision:
    """A decision about `request` as it stands after the change that the decision records."""
    return Decision(
        code=code,
        actor=actor,
        at=at,
        tenant=request.content.context.tenant,
        request_id=request.id,
        request_audit_id=request.audit_id,
        status=request.progress.status,
        digest=request.progress.digest,
        state=request.content.state,
        mutation_type=request.content.mutation_type,
        execution_id=execution.id if execution else None,
        execution_audit_id=execution.audit_id if execution else None,
        reason=reason,
        facts=facts or {},
    )
