"""What callers ask of the use cases, and what they are answered: plain values, no wire types."""

from governor.domain.approval import VoteKind
from governor.domain.compensation import CompensationKind, CompensationTrigger
from governor.domain.execution import Execution
from governor.domain.host_standing import HostStanding
from governor.domain.request import (
    BatchDecisionMode,
    BatchFailureMode,
    BatchOrdering,
    Content,
    ExecutionMode,
    MutationRequest,
    Payload,
    PendingReason,
    StaleStrategy,
)
from governor.domain.values import ExecutionId, Micros, Reason, RequestId, Revision, Value
from governor.usecases.ports import Capabilities, HostCondition, Validation
from governor.usecases.questions import DecisionFilter


class Caller(Value, frozen=True, kw_only=True):
    """Who calls, as the transport authenticated them, and the trace the call belongs to."""

    actor: str
    traceparent: str = ""


class Submit(Value, frozen=True, kw_only=True):
    """Ask for a mutation. `content.context.actor` is the caller.

    `break_glass` is why it cannot wait for its approval; None waits.
    """

    request_id: str
    content: Content
    expires_at: Micros | None = None
    break_glass: str | None = None
    validate_only: bool = False
    wait_seconds: float | None = None


class Submitted(Value, frozen=True, kw_only=True):
    """The request, and for validate_only the host's opinion if it gave one."""

    request: MutationRequest
    revision: Revision
    preview: Validation | None = None


class SubmitBatch(Value, frozen=True, kw_only=True):
    """Ask for several mutations as one. Each `context.actor` is the caller."""

    request_id: str
    members: tuple[Content, ...]
    ordering: BatchOrdering = BatchOrdering.SEQUENTIAL
    failure_mode: BatchFailureMode = BatchFailureMode.STOP
    decision_mode: BatchDecisionMode = BatchDecisionMode.BATCH
    expires_at: Micros | None = None
    justification: str = ""


class BatchSubmitted(Value, frozen=True, kw_only=True):
    """The batch and its members, in their order."""

    batch: MutationRequest
    members: tuple[MutationRequest, ...]
    revision: Revision


class CastVote(Value, frozen=True, kw_only=True):
    """Approve, review or reject; in the place of the person `on_behalf_of`, if that is set."""

    request_id: str
    id: RequestId
    kind: VoteKind
    digest: bytes
    plan_digest: bytes
    etag: str = ""
    reason: Reason | None = None
    on_behalf_of: str = ""


class RevokeVote(Value, frozen=True, kw_only=True):
    """Take one's own vote back."""

    request_id: str
    id: RequestId
    reason: Reason
    etag: str = ""


class ResolvePending(Value, frozen=True, kw_only=True):
    """Answer the gate `name`: it `passed`, or the request ends."""

    request_id: str
    id: RequestId
    reason: PendingReason
    name: str
    digest: bytes
    passed: bool
    finding: Reason
    etag: str = ""


class ReviewBreakGlass(Value, frozen=True, kw_only=True):
    """Say whether an emergency was one."""

    request_id: str
    id: RequestId
    digest: bytes
    justified: bool
    reason: Reason
    etag: str = ""


class Cancel(Value, frozen=True, kw_only=True):
    """Withdraw a request."""

    request_id: str
    id: RequestId
    etag: str = ""
    comment: str = ""


class Supersede(Value, frozen=True, kw_only=True):
    """Replace a request."""

    request_id: str
    id: RequestId
    content: Content
    expires_at: Micros | None = None
    etag: str = ""


class Execute(Value, frozen=True, kw_only=True):
    """Start the execution of an approved request."""

    request_id: str
    id: RequestId
    etag: str = ""
    wait_seconds: float | None = None


class ResolveExecution(Value, frozen=True, kw_only=True):
    """Say what became of an execution in doubt. `resulting_version` is None for not applied."""

    request_id: str
    execution_id: ExecutionId
    resulting_version: str | None
    reason: Reason
    etag: str = ""


class Compensate(Value, frozen=True, kw_only=True):
    """Take back, or put right, what an executed request has done.

    A FORWARD one has a payload, and for `mutation_type` and `expected_version` the original's where
    they are None; a ROLLBACK has none of the three.
    """

    request_id: str
    id: RequestId
    kind: CompensationKind
    reason: Reason
    trigger: CompensationTrigger = CompensationTrigger.OPERATOR
    etag: str = ""
    justification: str = ""
    stale_strategy: StaleStrategy = StaleStrategy.REJECT_STALE
    expires_at: Micros | None = None
    execution_mode: ExecutionMode = ExecutionMode.AUTOMATIC
    payload: Payload | None = None
    mutation_type: str | None = None
    expected_version: str | None = None


class TrustHost(Value, frozen=True, kw_only=True):
    """Lift the hold on the host, as it announces itself now."""

    request_id: str
    tenant: str
    lineage_id: str
    reason: Reason


class Trusted(Value, frozen=True, kw_only=True):
    """The lineage that is trusted from `revision` on."""

    lineage_id: str
    revision: Revision


class HostSeen(Value, frozen=True, kw_only=True):
    """The host as this process knows it. `capabilities` are None until it has been reached."""

    standing: HostStanding
    condition: HostCondition
    capabilities: Capabilities | None


class Changed(Value, frozen=True, kw_only=True):
    """The request after a call that changed it, and its execution where the call is about one."""

    request: MutationRequest
    revision: Revision
    execution: Execution | None = None
    superseded: MutationRequest | None = None


class WaitFor(Value, frozen=True, kw_only=True):
    """Wait until the request's revision exceeds `after_revision`, or, without it, has ended."""

    id: RequestId
    after_revision: Revision | None = None
    timeout_seconds: float | None = None


class Waited(Value, frozen=True, kw_only=True):
    """The request now."""

    request: MutationRequest
    timed_out: bool


class Subscribe(Value, frozen=True, kw_only=True):
    """Follow decisions. `after` None means from now, 0 from the oldest."""

    filter: DecisionFilter
    after: Revision | None = None
    store_id: str = ""
    heartbeat_seconds: float | None = None


class CaughtUp(Value, frozen=True, kw_only=True):
    """Everything up to `revision` has been sent."""

    revision: Revision
    store_id: str


class Heartbeat(Value, frozen=True, kw_only=True):
    """Every later decision exceeds `revision`."""

    revision: Revision


def etag_of(request: MutationRequest) -> str:
    """Stands for this exact state of the request.

    A store that was restored gives revisions out again: the time tells the two apart.
    """
    return f"r{request.revision}-{request.progress.updated_at:x}"
