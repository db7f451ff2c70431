"""Compensation: what makes a mutation one that takes back, or puts right, an earlier one."""

from enum import StrEnum

from governor.domain.values import AuditId, ExecutionId, Micros, Reason, RequestId, Value


class CompensationKind(StrEnum):
    """How a change that was applied is made good."""

    ROLLBACK = "ROLLBACK"
    FORWARD = "FORWARD"


class CompensationTrigger(StrEnum):
    """What a compensation was asked for."""

    OPERATOR = "OPERATOR"
    BATCH_FAILURE = "BATCH_FAILURE"
    FAILED_EXECUTION = "FAILED_EXECUTION"


class Compensation(Value, frozen=True, kw_only=True):
    """Which applied execution of which request is compensated, how, and what for.

    `undo_token` is the host's own, as that execution's outcome has it; a FORWARD one has none.
    """

    request_id: RequestId
    execution_id: ExecutionId
    kind: CompensationKind
    trigger: CompensationTrigger
    undo_token: bytes = b""
    reason: Reason = Reason(code="")

    @property
    def is_rollback(self) -> bool:
        """Whether the host is to restore what was there before."""
        return self.kind is CompensationKind.ROLLBACK


class CompensatedBy(Value, frozen=True, kw_only=True):
    """Which applied execution has made a request's change good, how, what for, and when."""

    request_id: RequestId
    execution_id: ExecutionId
    execution_audit_id: AuditId
    kind: CompensationKind
    trigger: CompensationTrigger
    at: Micros


class Irreversible(StrEnum):
    """Why nothing takes a change back."""

    INTENT = "INTENT"
    TYPE = "TYPE"
    HOST = "HOST"
    OUTCOME = "OUTCOME"
