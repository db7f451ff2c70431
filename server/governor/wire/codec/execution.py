"""Executions, outcomes and the host's opinion as answers to callers."""

from collections.abc import Iterable

from google.protobuf.internal.containers import RepeatedCompositeFieldContainer

from governance.v1 import execution_pb2, mutation_engine_pb2
from governor.domain.execution import Applied, Change, Execution
from governor.usecases.ports import Validation
from governor.wire.codec import values
from governor.wire.codec.enums import EXECUTION_STATUS, RESOLUTION, SEVERITY


def put_execution(target: execution_pb2.Execution, execution: Execution) -> None:
    """Sets `target` to the execution as it stands."""
    target.id = execution.id
    target.execution_audit_id = execution.audit_id
    target.mutation_request_id = execution.request_id
    target.request_audit_id = execution.request_audit_id
    target.tenant = execution.tenant
    values.put_state(target.state, execution.state)
    target.status = EXECUTION_STATUS.to_wire[execution.status]
    target.fencing_token = execution.fencing_token
    target.attempts = execution.attempts
    target.request_digest = execution.digest
    if execution.expected_version is not None:
        target.expected_version = execution.expected_version
    if execution.resolution is not None:
        target.resolution = RESOLUTION.to_wire[execution.resolution]
    if execution.current_version is not None:
        target.current_version = execution.current_version
    target.started_by = execution.started_by
    values.put_moment(target.start_time, execution.started_at)
    if execution.finished_at is not None:
        values.put_moment(target.finish_time, execution.finished_at)
        # The clock may have been set back in between; a span is never negative.
        values.put_span(target.duration, max(0, execution.finished_at - execution.started_at))
    values.put_moment(target.lease_expire_time, execution.lease_expires_at)
    if execution.applied is not None:
        put_applied(target.applied, execution.applied)
    if execution.error is not None:
        values.put_reason(target.error, execution.error)
    target.resolved_by = execution.resolved_by
    target.traceparent = execution.traceparent
    target.revision = execution.revision
    target.compensates_execution_audit_id = execution.compensates or ""
    target.compensated_by_execution_audit_id = execution.compensated_by or ""


def put_applied(target: execution_pb2.Applied, applied: Applied) -> None:
    """Sets `target` to what the host did."""
    target.resulting_version = applied.resulting_version
    _add_changes(target.changes, applied.changes)
    for effect in applied.side_effects:
        target.side_effects.add(
            type=effect.type,
            severity=SEVERITY.to_wire[effect.severity],
            description=effect.description,
            data=effect.data,
        )
    if applied.previous_version is not None:
        target.previous_version = applied.previous_version
    target.undo_token = applied.undo_token
    if applied.undo_expires_at is not None:
        values.put_moment(target.undo_expire_time, applied.undo_expires_at)


def put_validation(
    target: mutation_engine_pb2.ValidateMutationResponse, validation: Validation
) -> None:
    """Sets `target` to the host's opinion."""
    for violation in validation.violations:
        target.violations.add(code=violation.code, message=violation.message)
    _add_changes(target.preview, validation.preview)
    target.current_version = validation.current_version
    target.plan_digest = validation.plan_digest


def _add_changes(
    target: RepeatedCompositeFieldContainer[execution_pb2.Change], changes: Iterable[Change]
) -> None:
    for change in changes:
        target.add(path=change.path, before=change.before, after=change.after)
