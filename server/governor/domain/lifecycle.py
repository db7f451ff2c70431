"""The law of a request's life: which trigger leads from which status to which.

Terminal statuses have an empty row. A PENDING request whose outcome is in doubt (it waits for
AUDIT) takes the AUDIT_TRIGGERS and nothing else; without that doubt it takes every other trigger of
its row and none of those.
"""

from collections.abc import Mapping
from enum import StrEnum

from governor.domain.errors import IllegalTransition
from governor.domain.request import MutationRequest, PendingReason, Status


class Trigger(StrEnum):
    """Everything that can happen to a request."""

    POLICY_ALLOWED = "POLICY_ALLOWED"
    MUST_WAIT = "MUST_WAIT"
    POLICY_DENIED = "POLICY_DENIED"
    VOTED = "VOTED"
    VOTED_DOWN = "VOTED_DOWN"
    VOTE_REVOKED = "VOTE_REVOKED"
    APPROVAL_LOST = "APPROVAL_LOST"
    REASON_RESOLVED = "REASON_RESOLVED"
    LAST_REASON_RESOLVED = "LAST_REASON_RESOLVED"
    DEPENDENCY_FAILED = "DEPENDENCY_FAILED"
    CHECK_FAILED = "CHECK_FAILED"
    CANCELED = "CANCELED"
    SUPERSEDED = "SUPERSEDED"
    EXPIRED = "EXPIRED"
    WINDOW_CLOSED = "WINDOW_CLOSED"
    NOT_REVERSIBLE = "NOT_REVERSIBLE"
    CLAIMED = "CLAIMED"
    RECLAIMED = "RECLAIMED"
    STALE_REJECTED = "STALE_REJECTED"
    RENEWAL_REQUIRED = "RENEWAL_REQUIRED"
    REVALIDATION_REQUIRED = "REVALIDATION_REQUIRED"
    VALIDATION_FAILED = "VALIDATION_FAILED"
    APPLIED = "APPLIED"
    REFUSED = "REFUSED"
    NOT_APPLIED = "NOT_APPLIED"
    IN_DOUBT = "IN_DOUBT"
    AUDITED_APPLIED = "AUDITED_APPLIED"
    AUDITED_NOT_APPLIED = "AUDITED_NOT_APPLIED"
    BATCH_ADVANCED = "BATCH_ADVANCED"
    BATCH_FAILED = "BATCH_FAILED"


_WITHDRAWALS = {
    Trigger.CANCELED: Status.CANCELED,
    Trigger.SUPERSEDED: Status.SUPERSEDED,
}

TRANSITIONS: Mapping[Status, Mapping[Trigger, Status]] = {
    Status.CREATED: {
        Trigger.POLICY_ALLOWED: Status.APPROVED,
        Trigger.MUST_WAIT: Status.PENDING,
        Trigger.POLICY_DENIED: Status.REJECTED,
    },
    Status.PENDING: {
        Trigger.VOTED: Status.PENDING,
        Trigger.VOTED_DOWN: Status.REJECTED,
        Trigger.VOTE_REVOKED: Status.PENDING,
        Trigger.APPROVAL_LOST: Status.PENDING,
        Trigger.REASON_RESOLVED: Status.PENDING,
        Trigger.LAST_REASON_RESOLVED: Status.APPROVED,
        Trigger.DEPENDENCY_FAILED: Status.REJECTED,
        Trigger.CHECK_FAILED: Status.REJECTED,
        Trigger.POLICY_DENIED: Status.REJECTED,
        Trigger.MUST_WAIT: Status.PENDING,
        Trigger.VALIDATION_FAILED: Status.FAILED,
        Trigger.EXPIRED: Status.EXPIRED,
        Trigger.AUDITED_APPLIED: Status.EXECUTED,
        Trigger.AUDITED_NOT_APPLIED: Status.FAILED,
        **_WITHDRAWALS,
    },
    Status.APPROVED: {
        Trigger.CLAIMED: Status.EXECUTING,
        Trigger.VOTE_REVOKED: Status.APPROVED,
        Trigger.APPROVAL_LOST: Status.PENDING,
        Trigger.WINDOW_CLOSED: Status.PENDING,
        Trigger.NOT_REVERSIBLE: Status.REJECTED,
        Trigger.STALE_REJECTED: Status.REJECTED,
        Trigger.RENEWAL_REQUIRED: Status.PENDING,
        Trigger.REVALIDATION_REQUIRED: Status.PENDING,
        Trigger.APPROVAL_LOST: Status.PENDING,
        Trigger.EXPIRED: Status.EXPIRED,
        **_WITHDRAWALS,
    },
    Status.EXECUTING: {
        Trigger.RECLAIMED: Status.EXECUTING,
        Trigger.APPLIED: Status.EXECUTED,
        Trigger.REFUSED: Status.FAILED,
        Trigger.NOT_APPLIED: Status.APPROVED,
        Trigger.IN_DOUBT: Status.PENDING,
        Trigger.BATCH_ADVANCED: Status.EXECUTING,
        Trigger.BATCH_FAILED: Status.FAILED,
        Trigger.STALE_REJECTED: Status.REJECTED,
        Trigger.RENEWAL_REQUIRED: Status.PENDING,
        Trigger.REVALIDATION_REQUIRED: Status.PENDING,
        **_WITHDRAWALS,
    },
    Status.EXECUTED: {},
    Status.REJECTED: {},
    Status.CANCELED: {},
    Status.EXPIRED: {},
    Status.SUPERSEDED: {},
    Status.FAILED: {},
}

AUDIT_TRIGGERS = frozenset({Trigger.AUDITED_APPLIED, Trigger.AUDITED_NOT_APPLIED})
"""What a person can find out about an outcome in doubt."""


def next_status(status: Status, trigger: Trigger, *, in_audit: bool = False) -> Status:
    """Where `trigger` leads. Raises IllegalTransition when the law has no such row."""
    target = TRANSITIONS[status].get(trigger)
    if target is None or in_audit is not (trigger in AUDIT_TRIGGERS):
        raise IllegalTransition(
            f"{status} ({PendingReason.AUDIT})" if in_audit else status, trigger
        )
    return target


def check(request: MutationRequest, trigger: Trigger) -> Status:
    """Where `trigger` leads this request. Raises IllegalTransition; changes nothing."""
    in_audit = request.waits_for(PendingReason.AUDIT)
    return next_status(request.progress.status, trigger, in_audit=in_audit)
