"""The Execution: one governed attempt chain, and what the host can answer to it."""

from enum import StrEnum

from governor.domain.request import Slot, StateRef
from governor.domain.resolution import Resolution
from governor.domain.values import AuditId, ExecutionId, Micros, Reason, RequestId, Revision, Value


class ExecutionStatus(StrEnum):
    """What is known of an execution."""

    RUNNING = "RUNNING"
    APPLIED = "APPLIED"
    REFUSED = "REFUSED"
    STALE = "STALE"
    NOT_APPLIED = "NOT_APPLIED"
    IN_DOUBT = "IN_DOUBT"


ACTIVE = frozenset({ExecutionStatus.RUNNING, ExecutionStatus.IN_DOUBT})
"""The statuses that hold the state: nothing else may execute on it."""


class Severity(StrEnum):
    """How much a side effect matters."""

    UNSPECIFIED = "UNSPECIFIED"
    INFO = "INFO"
    WARNING = "WARNING"
    CRITICAL = "CRITICAL"


class Change(Value, frozen=True, kw_only=True):
    """One difference the host made. None: there was, or is, no value."""

    path: str
    before: str | None = None
    after: str | None = None


class SideEffect(Value, frozen=True, kw_only=True):
    """Something that happened beside the change."""

    type: str
    severity: Severity = Severity.UNSPECIFIED
    description: str = ""
    data: dict[str, str] = {}


class Applied(Value, frozen=True, kw_only=True, tag=True):
    """Known: the change is in effect.

    `undo_token` is what the host needs to take it back; empty: it cannot be taken back. The host
    takes the token until `undo_expires_at`; None: for ever.
    """

    resulting_version: str
    changes: tuple[Change, ...] = ()
    side_effects: tuple[SideEffect, ...] = ()
    previous_version: str | None = None
    undo_token: bytes = b""
    undo_expires_at: Micros | None = None


class Refused(Value, frozen=True, kw_only=True, tag=True):
    """Known: the host made no change and will not."""

    reason: Reason


class VersionMismatch(Value, frozen=True, kw_only=True, tag=True):
    """Known: nothing was applied, because the state has moved on."""

    current_version: str


class Busy(Value, frozen=True, kw_only=True, tag=True):
    """Known: nothing was applied; come again with the same key after `retry_after_us`."""

    reason: Reason
    retry_after_us: int | None = None


class Fenced(Value, frozen=True, kw_only=True, tag=True):
    """A higher fencing token was seen: somebody else carries this execution on. Write nothing."""


class InDoubt(Value, frozen=True, kw_only=True, tag=True):
    """Nothing is known; only a look-up, a fence or a person can tell."""

    reason: Reason


class NotSeen(Value, frozen=True, kw_only=True, tag=True):
    """The host has no outcome. With `fenced` it never will; without, a delayed call may land."""

    fenced: bool


Outcome = Applied | Refused | VersionMismatch
"""What is known for good."""

ApplyAnswer = Applied | Refused | VersionMismatch | Busy | Fenced | InDoubt
LookupAnswer = Applied | Refused | VersionMismatch | NotSeen | Busy | Fenced | InDoubt


class Execution(Value, frozen=True, kw_only=True):
    """One attempt chain under one idempotency key. `revision` is that of its last change.

    `compensates` and `compensated_by` are audit ids of executions, set when the later of the two
    has been applied.
    """

    id: ExecutionId
    audit_id: AuditId
    request_id: RequestId
    request_audit_id: AuditId
    tenant: str
    state: StateRef
    digest: bytes
    started_by: str
    started_at: Micros
    lease_expires_at: Micros
    status: ExecutionStatus = ExecutionStatus.RUNNING
    fencing_token: int = 1
    attempts: int = 0
    expected_version: str | None = None
    resolution: Resolution | None = None
    current_version: str | None = None
    finished_at: Micros | None = None
    applied: Applied | None = None
    error: Reason | None = None
    resolved_by: str = ""
    traceparent: str = ""
    compensates: AuditId | None = None
    compensated_by: AuditId | None = None
    submitted_revision: Revision = Revision(0)
    revision: Revision = Revision(0)

    @property
    def is_active(self) -> bool:
        """Whether it holds the state."""
        return self.status in ACTIVE

    @property
    def slot(self) -> Slot:
        """The state within its tenant."""
        return (self.tenant, self.state.type, self.state.id)
