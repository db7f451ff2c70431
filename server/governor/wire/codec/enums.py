"""Every enumeration that crosses the wire: one table each, total in both directions."""

from collections.abc import Mapping
from enum import Enum
from typing import Final, Generic, TypeVar

from google.protobuf.descriptor import EnumDescriptor

from governance.v1 import (
    decision_pb2,
    execution_pb2,
    governance_service_pb2,
    host_pb2,
    mutation_pb2,
    request_pb2,
)
from governor.domain.approval import StepMode, VoteKind
from governor.domain.break_glass import ReviewStatus
from governor.domain.compensation import CompensationKind, CompensationTrigger
from governor.domain.decision import Category, Code
from governor.domain.execution import ExecutionStatus, Severity
from governor.domain.host_standing import HoldCode
from governor.domain.policy import Effect
from governor.domain.request import (
    BatchDecisionMode,
    BatchFailureMode,
    BatchOrdering,
    BlastRadius,
    DependencyFailure,
    ExecutionMode,
    PendingReason,
    Reversibility,
    Risk,
    StaleStrategy,
    Status,
)
from governor.domain.resolution import Resolution
from governor.domain.values import TargetKind
from governor.usecases.ports import Circuit
from governor.usecases.questions import LinkKind

Inner = TypeVar("Inner", bound=Enum)
Outer = TypeVar("Outer", bound=int)


class EnumTable(Generic[Inner, Outer]):
    """The pairs of one enumeration. `to_domain` lacks zero unless absence has a meaning."""

    __slots__ = ("outer", "to_domain", "to_wire")

    def __init__(
        self,
        outer: EnumDescriptor,
        pairs: Mapping[Inner, Outer],
        *,
        absent: Inner | None = None,
    ) -> None:
        self.outer = outer
        self.to_wire: Final[Mapping[Inner, Outer]] = dict(pairs)
        inverse: dict[int, Inner] = {wire: domain for domain, wire in pairs.items()}
        if absent is not None:
            inverse[0] = absent
        self.to_domain: Final[Mapping[int, Inner]] = inverse


STATUS: Final = EnumTable(
    request_pb2.RequestStatus.DESCRIPTOR,
    # CREATED has no row: it exists only inside the submitting commit.
    {
        Status.PENDING: request_pb2.REQUEST_STATUS_PENDING,
        Status.APPROVED: request_pb2.REQUEST_STATUS_APPROVED,
        Status.EXECUTING: request_pb2.REQUEST_STATUS_EXECUTING,
        Status.EXECUTED: request_pb2.REQUEST_STATUS_EXECUTED,
        Status.REJECTED: request_pb2.REQUEST_STATUS_REJECTED,
        Status.CANCELED: request_pb2.REQUEST_STATUS_CANCELED,
        Status.EXPIRED: request_pb2.REQUEST_STATUS_EXPIRED,
        Status.SUPERSEDED: request_pb2.REQUEST_STATUS_SUPERSEDED,
        Status.FAILED: request_pb2.REQUEST_STATUS_FAILED,
    },
)

PENDING_REASON: Final = EnumTable(
    request_pb2.PendingReason.DESCRIPTOR,
    {
        PendingReason.APPROVAL: request_pb2.PENDING_REASON_APPROVAL,
        PendingReason.SCHEDULE: request_pb2.PENDING_REASON_SCHEDULE,
        PendingReason.DEPENDENCY: request_pb2.PENDING_REASON_DEPENDENCY,
        PendingReason.REVALIDATION: request_pb2.PENDING_REASON_REVALIDATION,
        PendingReason.AUDIT: request_pb2.PENDING_REASON_AUDIT,
        PendingReason.EXTERNAL_CHECK: request_pb2.PENDING_REASON_EXTERNAL_CHECK,
        PendingReason.QUOTA: request_pb2.PENDING_REASON_QUOTA,
        PendingReason.MANUAL_REVIEW: request_pb2.PENDING_REASON_MANUAL_REVIEW,
        PendingReason.BATCH: request_pb2.PENDING_REASON_BATCH,
    },
)

BATCH_ORDERING: Final = EnumTable(
    request_pb2.BatchOrdering.DESCRIPTOR,
    {
        BatchOrdering.SEQUENTIAL: request_pb2.BATCH_ORDERING_SEQUENTIAL,
        BatchOrdering.INDEPENDENT: request_pb2.BATCH_ORDERING_INDEPENDENT,
    },
    absent=BatchOrdering.SEQUENTIAL,
)

BATCH_FAILURE_MODE: Final = EnumTable(
    request_pb2.BatchFailureMode.DESCRIPTOR,
    {
        BatchFailureMode.STOP: request_pb2.BATCH_FAILURE_MODE_STOP,
        BatchFailureMode.CONTINUE: request_pb2.BATCH_FAILURE_MODE_CONTINUE,
        BatchFailureMode.COMPENSATE: request_pb2.BATCH_FAILURE_MODE_COMPENSATE,
    },
    absent=BatchFailureMode.STOP,
)

BATCH_DECISION_MODE: Final = EnumTable(
    request_pb2.BatchDecisionMode.DESCRIPTOR,
    {
        BatchDecisionMode.BATCH: request_pb2.BATCH_DECISION_MODE_BATCH,
        BatchDecisionMode.PER_MEMBER: request_pb2.BATCH_DECISION_MODE_PER_MEMBER,
    },
    absent=BatchDecisionMode.BATCH,
)

DEPENDENCY_FAILURE: Final = EnumTable(
    request_pb2.DependencyFailure.DESCRIPTOR,
    {
        DependencyFailure.REJECT: request_pb2.DEPENDENCY_FAILURE_REJECT,
        DependencyFailure.PROCEED: request_pb2.DEPENDENCY_FAILURE_PROCEED,
        DependencyFailure.REVIEW: request_pb2.DEPENDENCY_FAILURE_REVIEW,
    },
    absent=DependencyFailure.REJECT,
)

STALE_STRATEGY: Final = EnumTable(
    mutation_pb2.StaleStrategy.DESCRIPTOR,
    {
        StaleStrategy.REJECT_STALE: mutation_pb2.STALE_STRATEGY_REJECT_STALE,
        StaleStrategy.REQUIRE_RENEWED_APPROVAL: (
            mutation_pb2.STALE_STRATEGY_REQUIRE_RENEWED_APPROVAL
        ),
        StaleStrategy.REVALIDATE_ON_LATEST: mutation_pb2.STALE_STRATEGY_REVALIDATE_ON_LATEST,
    },
    absent=StaleStrategy.REJECT_STALE,
)

COMPENSATION_KIND: Final = EnumTable(
    mutation_pb2.CompensationKind.DESCRIPTOR,
    {
        CompensationKind.ROLLBACK: mutation_pb2.COMPENSATION_KIND_ROLLBACK,
        CompensationKind.FORWARD: mutation_pb2.COMPENSATION_KIND_FORWARD,
    },
)

COMPENSATION_TRIGGER: Final = EnumTable(
    mutation_pb2.CompensationTrigger.DESCRIPTOR,
    {
        CompensationTrigger.OPERATOR: mutation_pb2.COMPENSATION_TRIGGER_OPERATOR,
        CompensationTrigger.BATCH_FAILURE: mutation_pb2.COMPENSATION_TRIGGER_BATCH_FAILURE,
        CompensationTrigger.FAILED_EXECUTION: mutation_pb2.COMPENSATION_TRIGGER_FAILED_EXECUTION,
    },
    absent=CompensationTrigger.OPERATOR,
)

EXECUTION_MODE: Final = EnumTable(
    request_pb2.ExecutionMode.DESCRIPTOR,
    {
        ExecutionMode.AUTOMATIC: request_pb2.EXECUTION_MODE_AUTOMATIC,
        ExecutionMode.ON_EXECUTE: request_pb2.EXECUTION_MODE_ON_EXECUTE,
    },
    absent=ExecutionMode.AUTOMATIC,
)

RISK: Final = EnumTable(
    mutation_pb2.Risk.DESCRIPTOR,
    {
        Risk.UNSPECIFIED: mutation_pb2.RISK_UNSPECIFIED,
        Risk.LOW: mutation_pb2.RISK_LOW,
        Risk.MEDIUM: mutation_pb2.RISK_MEDIUM,
        Risk.HIGH: mutation_pb2.RISK_HIGH,
        Risk.CRITICAL: mutation_pb2.RISK_CRITICAL,
    },
)

REVERSIBILITY: Final = EnumTable(
    mutation_pb2.Reversibility.DESCRIPTOR,
    {
        Reversibility.UNSPECIFIED: mutation_pb2.REVERSIBILITY_UNSPECIFIED,
        Reversibility.REVERSIBLE: mutation_pb2.REVERSIBILITY_REVERSIBLE,
        Reversibility.COMPENSABLE: mutation_pb2.REVERSIBILITY_COMPENSABLE,
        Reversibility.IRREVERSIBLE: mutation_pb2.REVERSIBILITY_IRREVERSIBLE,
    },
)

BLAST_RADIUS: Final = EnumTable(
    mutation_pb2.BlastRadius.DESCRIPTOR,
    {
        BlastRadius.UNSPECIFIED: mutation_pb2.BLAST_RADIUS_UNSPECIFIED,
        BlastRadius.SINGLE: mutation_pb2.BLAST_RADIUS_SINGLE,
        BlastRadius.SERVICE: mutation_pb2.BLAST_RADIUS_SERVICE,
        BlastRadius.REGION: mutation_pb2.BLAST_RADIUS_REGION,
        BlastRadius.GLOBAL: mutation_pb2.BLAST_RADIUS_GLOBAL,
    },
)

EFFECT: Final = EnumTable(
    request_pb2.PolicyEffect.DESCRIPTOR,
    {
        Effect.ALLOW: request_pb2.POLICY_EFFECT_ALLOW,
        Effect.DENY: request_pb2.POLICY_EFFECT_DENY,
        Effect.DEFER: request_pb2.POLICY_EFFECT_DEFER,
    },
)

TARGET_KIND: Final = EnumTable(
    request_pb2.TargetKind.DESCRIPTOR,
    {
        TargetKind.ACTOR: request_pb2.TARGET_KIND_ACTOR,
        TargetKind.ROLE: request_pb2.TARGET_KIND_ROLE,
        TargetKind.GROUP: request_pb2.TARGET_KIND_GROUP,
    },
)

STEP_MODE: Final = EnumTable(
    request_pb2.StepMode.DESCRIPTOR,
    {
        StepMode.ALL_OF: request_pb2.STEP_MODE_ALL_OF,
        StepMode.ANY_OF: request_pb2.STEP_MODE_ANY_OF,
    },
)

VOTE_KIND: Final = EnumTable(
    request_pb2.VoteKind.DESCRIPTOR,
    {
        VoteKind.APPROVE: request_pb2.VOTE_KIND_APPROVE,
        VoteKind.REJECT: request_pb2.VOTE_KIND_REJECT,
        VoteKind.REVIEW: request_pb2.VOTE_KIND_REVIEW,
    },
)

REVIEW_STATUS: Final = EnumTable(
    request_pb2.ReviewStatus.DESCRIPTOR,
    {
        ReviewStatus.OPEN: request_pb2.REVIEW_STATUS_OPEN,
        ReviewStatus.OVERDUE: request_pb2.REVIEW_STATUS_OVERDUE,
        ReviewStatus.JUSTIFIED: request_pb2.REVIEW_STATUS_JUSTIFIED,
        ReviewStatus.UNJUSTIFIED: request_pb2.REVIEW_STATUS_UNJUSTIFIED,
    },
)

EXECUTION_STATUS: Final = EnumTable(
    execution_pb2.ExecutionStatus.DESCRIPTOR,
    {
        ExecutionStatus.RUNNING: execution_pb2.EXECUTION_STATUS_RUNNING,
        ExecutionStatus.APPLIED: execution_pb2.EXECUTION_STATUS_APPLIED,
        ExecutionStatus.REFUSED: execution_pb2.EXECUTION_STATUS_REFUSED,
        ExecutionStatus.STALE: execution_pb2.EXECUTION_STATUS_STALE,
        ExecutionStatus.NOT_APPLIED: execution_pb2.EXECUTION_STATUS_NOT_APPLIED,
        ExecutionStatus.IN_DOUBT: execution_pb2.EXECUTION_STATUS_IN_DOUBT,
    },
)

SEVERITY: Final = EnumTable(
    execution_pb2.Severity.DESCRIPTOR,
    {
        Severity.UNSPECIFIED: execution_pb2.SEVERITY_UNSPECIFIED,
        Severity.INFO: execution_pb2.SEVERITY_INFO,
        Severity.WARNING: execution_pb2.SEVERITY_WARNING,
        Severity.CRITICAL: execution_pb2.SEVERITY_CRITICAL,
    },
)

RESOLUTION: Final = EnumTable(
    execution_pb2.VersionResolution.DESCRIPTOR,
    {
        Resolution.VALIDATED: execution_pb2.VERSION_RESOLUTION_VALIDATED,
        Resolution.UNVERSIONED: execution_pb2.VERSION_RESOLUTION_UNVERSIONED,
        Resolution.REJECTED_AS_STALE: execution_pb2.VERSION_RESOLUTION_REJECTED_AS_STALE,
        Resolution.RENEWED_APPROVAL_REQUIRED: (
            execution_pb2.VERSION_RESOLUTION_RENEWED_APPROVAL_REQUIRED
        ),
        Resolution.REVALIDATION_REQUIRED: execution_pb2.VERSION_RESOLUTION_REVALIDATION_REQUIRED,
    },
)

CATEGORY: Final = EnumTable(
    decision_pb2.DecisionCategory.DESCRIPTOR,
    {
        Category.LIFECYCLE: decision_pb2.DECISION_CATEGORY_LIFECYCLE,
        Category.POLICY: decision_pb2.DECISION_CATEGORY_POLICY,
        Category.APPROVAL: decision_pb2.DECISION_CATEGORY_APPROVAL,
        Category.CHECK: decision_pb2.DECISION_CATEGORY_CHECK,
        Category.VERSION_RESOLUTION: decision_pb2.DECISION_CATEGORY_VERSION_RESOLUTION,
        Category.EXECUTION: decision_pb2.DECISION_CATEGORY_EXECUTION,
        Category.HOST: decision_pb2.DECISION_CATEGORY_HOST,
        Category.BREAK_GLASS: decision_pb2.DECISION_CATEGORY_BREAK_GLASS,
        Category.COMPENSATION: decision_pb2.DECISION_CATEGORY_COMPENSATION,
        Category.BATCH: decision_pb2.DECISION_CATEGORY_BATCH,
    },
)

HOLD_CODE: Final = EnumTable(
    host_pb2.HoldCode.DESCRIPTOR,
    {
        HoldCode.LINEAGE_CHANGED: host_pb2.HOLD_CODE_LINEAGE_CHANGED,
        HoldCode.PROMISE_BROKEN: host_pb2.HOLD_CODE_PROMISE_BROKEN,
        HoldCode.STORE_RESTORED: host_pb2.HOLD_CODE_STORE_RESTORED,
    },
)

CIRCUIT: Final = EnumTable(
    host_pb2.CircuitState.DESCRIPTOR,
    {
        Circuit.CLOSED: host_pb2.CIRCUIT_STATE_CLOSED,
        Circuit.OPEN: host_pb2.CIRCUIT_STATE_OPEN,
        Circuit.PROBING: host_pb2.CIRCUIT_STATE_PROBING,
    },
)


LINK_KIND: Final = EnumTable(
    governance_service_pb2.LinkKind.DESCRIPTOR,
    {
        LinkKind.DEPENDS_ON: governance_service_pb2.LINK_KIND_DEPENDS_ON,
        LinkKind.SUPERSEDES: governance_service_pb2.LINK_KIND_SUPERSEDES,
        LinkKind.CORRELATION: governance_service_pb2.LINK_KIND_CORRELATION,
        LinkKind.CAUSATION: governance_service_pb2.LINK_KIND_CAUSATION,
        LinkKind.COMPENSATES: governance_service_pb2.LINK_KIND_COMPENSATES,
        LinkKind.MEMBER_OF: governance_service_pb2.LINK_KIND_MEMBER_OF,
    },
)


class Answered(Enum):
    """How one thing that a request waits for was answered; the domain has a bool."""

    PASSED = "PASSED"
    FAILED = "FAILED"


PENDING_OUTCOME: Final = EnumTable(
    governance_service_pb2.PendingOutcome.DESCRIPTOR,
    {
        Answered.PASSED: governance_service_pb2.PENDING_OUTCOME_PASSED,
        Answered.FAILED: governance_service_pb2.PENDING_OUTCOME_FAILED,
    },
)


class Found(Enum):
    """What a person says became of an execution in doubt; the domain has a version or None."""

    APPLIED = "APPLIED"
    NOT_APPLIED = "NOT_APPLIED"


OUTCOME_CLAIM: Final = EnumTable(
    governance_service_pb2.OutcomeClaim.DESCRIPTOR,
    {
        Found.APPLIED: governance_service_pb2.OUTCOME_CLAIM_APPLIED,
        Found.NOT_APPLIED: governance_service_pb2.OUTCOME_CLAIM_NOT_APPLIED,
    },
)

CODE: Final[Mapping[Code, tuple[decision_pb2.DecisionCategory.ValueType, str]]] = {
    code: (CATEGORY.to_wire[code.category], code.text) for code in Code
}
"""A decision's code travels as its category and its stable text."""

CODE_OF: Final[Mapping[tuple[int, str], Code]] = {pair: code for code, pair in CODE.items()}

TABLES: Final[tuple[EnumTable[Enum, int], ...]] = (  # type: ignore[assignment]  # read-only here, so each table's own types fit
    STATUS,
    PENDING_REASON,
    STALE_STRATEGY,
    EXECUTION_MODE,
    RISK,
    REVERSIBILITY,
    BLAST_RADIUS,
    EFFECT,
    TARGET_KIND,
    STEP_MODE,
    VOTE_KIND,
    EXECUTION_STATUS,
    SEVERITY,
    RESOLUTION,
    CATEGORY,
    HOLD_CODE,
    CIRCUIT,
    OUTCOME_CLAIM,
    DEPENDENCY_FAILURE,
    REVIEW_STATUS,
    LINK_KIND,
    PENDING_OUTCOME,
    COMPENSATION_KIND,
    COMPENSATION_TRIGGER,
    BATCH_ORDERING,
    BATCH_FAILURE_MODE,
    BATCH_DECISION_MODE,
)
