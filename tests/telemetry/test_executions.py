"""An execution is a root of its own, linked to what led to it as stored with the request."""

from opentelemetry.trace import StatusCode

from governor.domain.compensation import Compensation, CompensationKind, CompensationTrigger
from governor.domain.execution import ExecutionStatus
from governor.domain.request import MutationRequest
from governor.domain.values import ExecutionId, RequestId
from governor.telemetry.executions import NoTracing
from governor.telemetry.traceparent import parse
from tests.support.builders import make_execution, make_request
from tests.telemetry.recorded import recorded

SUBMISSION = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
APPROVAL = "00-1af7651916cd43dd8448eb211c80319c-c7ad6b7169203331-00"
ORIGINAL = "00-2af7651916cd43dd8448eb211c80319c-d7ad6b7169203331-01"
ITS_EXECUTION = "00-3af7651916cd43dd8448eb211c80319c-e7ad6b7169203331-01"


def stored_request() -> MutationRequest:
    request = make_request()
    progress = request.progress.but(approval_traceparents=(APPROVAL, "", "garbage", APPROVAL))
    return request.but(traceparent=SUBMISSION, progress=progress)


def test_an_execution_is_a_root_linked_to_submission_and_approvals() -> None:
    told = recorded()
    tracer = told.telemetry.tracer
    assert tracer is not None
    with tracer.start_as_current_span("somebody else's call"):
        started = told.telemetry.tracing.execution_started(stored_request())
    execution = make_execution(make_request(), status=ExecutionStatus.APPLIED, attempts=2)
    started.finish(execution)
    span = told.span("governor.execution")
    assert span.parent is None
    assert [link.context for link in span.links] == [parse(SUBMISSION), parse(APPROVAL)]
    assert [link.context.trace_flags.sampled for link in span.links] == [True, False]
    assert dict(span.attributes or {}) == {
        "governor.request_audit_id": "audit-request-1",
        "governor.mutation_request_id": "request-1",
        "governor.mutation_type": "flag.set",
        "governor.tenant": "acme",
        "governor.execution_audit_id": "audit-execution-of-request-1",
        "governor.execution_id": "execution-of-request-1",
        "governor.execution.status": "APPLIED",
        "governor.execution.attempts": 2,
        "governor.execution.fencing_token": 1,
    }
    assert span.status.status_code is StatusCode.UNSET
    assert parse(started.traceparent) is not None


def test_a_compensation_is_linked_to_what_it_goes_back_to_and_says_of_which_kind() -> None:
    told = recorded()
    asked = Compensation(
        request_id=RequestId("r-0"),
        execution_id=ExecutionId("x-0"),
        kind=CompensationKind.ROLLBACK,
        trigger=CompensationTrigger.OPERATOR,
    )
    rollback = make_request(compensation=asked).but(
        traceparent=SUBMISSION, compensated_traceparents=(ORIGINAL, ITS_EXECUTION)
    )
    started = told.telemetry.tracing.execution_started(rollback)
    started.finish(make_execution(rollback, status=ExecutionStatus.APPLIED))
    span = told.span("governor.execution")
    linked = [parse(origin) for origin in (SUBMISSION, ORIGINAL, ITS_EXECUTION)]
    assert [link.context for link in span.links] == linked
    attributes = span.attributes or {}
    assert attributes["governor.compensation.kind"] == "ROLLBACK"
    assert attributes["governor.compensation.trigger"] == "OPERATOR"
    assert attributes["governor.compensates.mutation_request_id"] == "r-0"
    assert attributes["governor.compensates.execution_id"] == "x-0"


def test_an_outcome_in_doubt_is_an_error() -> None:
    told = recorded()
    started = told.telemetry.tracing.execution_started(make_request())
    started.finish(make_execution(make_request(), status=ExecutionStatus.IN_DOUBT))
    assert told.span("governor.execution").status.status_code is StatusCode.ERROR


def test_a_second_end_is_none() -> None:
    told = recorded()
    started = told.telemetry.tracing.execution_started(make_request())
    execution = make_execution(make_request(), status=ExecutionStatus.APPLIED)
    started.finish(execution)
    started.finish(execution)
    assert len(told.spans) == 1


def test_the_span_at_hand_is_told() -> None:
    told = recorded()
    tracer = told.telemetry.tracer
    assert tracer is not None
    assert told.telemetry.tracing.current_traceparent() == ""
    with tracer.start_as_current_span("call"):
        assert parse(told.telemetry.tracing.current_traceparent()) is not None


def test_without_tracing_nothing_is_told() -> None:
    tracing = NoTracing()
    started = tracing.execution_started(make_request())
    started.finish(make_execution(make_request()))
    assert (started.traceparent, tracing.current_traceparent()) == ("", "")
