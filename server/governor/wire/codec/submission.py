"""What callers ask, as domain values. The shape rules have passed before any of this is called."""

from hashlib import sha256

from google.protobuf.timestamp_pb2 import Timestamp

from governance.v1 import governance_service_pb2, mutation_pb2
from governor.domain.compensation import Compensation
from governor.domain.request import (
    Content,
    Evidence,
    Intent,
    Payload,
    RuntimeContext,
)
from governor.domain.values import ExecutionId, Micros, RequestId
from governor.wire.codec import values
from governor.wire.codec.enums import (
    BLAST_RADIUS,
    COMPENSATION_KIND,
    COMPENSATION_TRIGGER,
    DEPENDENCY_FAILURE,
    EXECUTION_MODE,
    REVERSIBILITY,
    RISK,
    STALE_STRATEGY,
)

NO_INTENT = Intent()


def content(request: governance_service_pb2.SubmitRequest, actor: str) -> Content:
    """What is asked, with the caller as its actor. Tags are sorted: their order says nothing."""
    mutation = request.mutation
    return Content(
        context=context(request.context, actor),
        mutation_type=mutation.type,
        state=values.state(mutation.state),
        payload=payload(mutation.payload),
        expected_version=(
            mutation.expected_version if mutation.HasField("expected_version") else None
        ),
        stale_strategy=STALE_STRATEGY.to_domain[mutation.stale_strategy],
        intent=intent(request.intent) if request.HasField("intent") else NO_INTENT,
        justification=request.justification,
        evidence=tuple(evidence(item) for item in request.evidence) if request.evidence else (),
        metadata=values.text_map(request.metadata) if request.metadata else {},
        tags=tuple(sorted(request.tags)) if request.tags else (),
        execute_after=optional_moment(request, "execute_after"),
        depends_on=tuple(RequestId(id) for id in request.depends_on) if request.depends_on else (),
        execution_mode=EXECUTION_MODE.to_domain[request.execution_mode],
        on_dependency_failure=DEPENDENCY_FAILURE.to_domain[request.on_dependency_failure],
    )


def context(source: mutation_pb2.RuntimeContext, actor: str) -> RuntimeContext:
    """Where the change is asked, and by whom as the transport knows them."""
    return RuntimeContext(
        tenant=source.tenant,
        actor=actor,
        environment=source.environment,
        service=source.service,
        region=source.region,
        correlation_id=source.correlation_id,
        causation_id=source.causation_id,
    )


def payload(source: mutation_pb2.Payload) -> Payload:
    """The argument, measured here once; what a caller says of its size and digest is not read."""
    data = source.data
    return Payload(
        content_type=source.content_type,
        data=data,
        size_bytes=len(data),
        sha256=sha256(data).digest(),
    )


def intent(source: mutation_pb2.Intent) -> Intent:
    """What the caller says of the change."""
    return Intent(
        category=source.category,
        risk=RISK.to_domain[source.risk],
        reversibility=REVERSIBILITY.to_domain[source.reversibility],
        blast_radius=BLAST_RADIUS.to_domain[source.blast_radius],
    )


def compensation(source: mutation_pb2.Compensation) -> Compensation:
    """What is taken back or put right, as an answer shows it."""
    return Compensation(
        request_id=RequestId(source.mutation_request_id),
        execution_id=ExecutionId(source.execution_id),
        kind=COMPENSATION_KIND.to_domain[source.kind],
        trigger=COMPENSATION_TRIGGER.to_domain[source.trigger],
        undo_token=source.undo_token,
        reason=values.reason(source.reason),
    )


def evidence(source: mutation_pb2.Evidence) -> Evidence:
    """One piece of evidence."""
    return Evidence(
        kind=source.kind,
        uri=source.uri,
        sha256=source.sha256,
        description=source.description,
    )


def optional_moment(
    request: governance_service_pb2.SubmitRequest
    | governance_service_pb2.SubmitBatchRequest
    | governance_service_pb2.ListRequestsRequest
    | governance_service_pb2.DecisionFilter
    | governance_service_pb2.CompensateRequest,
    field: str,
) -> Micros | None:
    """The moment in a field that may be absent."""
    if not request.HasField(field):  # type: ignore[arg-type]  # the stubs want a literal name
        return None
    source: Timestamp = getattr(request, field)
    return values.moment(source)
