"""Orders to the host as protobuf, and the host's answers as domain values.

A host's answer is evidence: what is applied stays applied however odd the words around it are. So
nothing here refuses an outcome; it is cut to a size that can be stored, and says so.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from google.protobuf.timestamp_pb2 import Timestamp

from governance.v1 import execution_pb2, mutation_engine_pb2, mutation_pb2
from governor.domain.compensation import Compensation, CompensationKind, CompensationTrigger
from governor.domain.execution import (
    Applied,
    Change,
    Execution,
    Outcome,
    Refused,
    Severity,
    SideEffect,
    VersionMismatch,
)
from governor.domain.request import MutationRequest, Reversibility, StaleStrategy
from governor.domain.values import Micros, Reason
from governor.usecases.ports import Capabilities, Order, Validation

CONTRACT_VERSION: Final = "governance.v1"

MICROS_PER_SECOND: Final = 1_000_000
NANOS_PER_MICRO: Final = 1_000
MICROS_MAX: Final = 253_402_300_799_999_999
"""The end of the year 9999, after which a Timestamp has no meaning."""

CHANGES_MAX: Final = 256
SIDE_EFFECTS_MAX: Final = 64
VIOLATIONS_MAX: Final = 64
MUTATION_TYPES_MAX: Final = 1_000
ENTRIES_MAX: Final = 32
TEXT_CHARACTERS_MAX: Final = 4096
CODE_CHARACTERS_MAX: Final = 128
UNDO_TOKEN_BYTES_MAX: Final = 4096
TRUNCATED: Final = "governor.outcome_truncated"
UNDO_DROPPED: Final = "governor.undo_token_dropped"
UNKNOWN_CODE: Final = "UNSPECIFIED"

STALE_STRATEGIES: Final[Mapping[StaleStrategy, mutation_pb2.StaleStrategy.ValueType]] = {
    StaleStrategy.REJECT_STALE: mutation_pb2.STALE_STRATEGY_REJECT_STALE,
    StaleStrategy.REQUIRE_RENEWED_APPROVAL: mutation_pb2.STALE_STRATEGY_REQUIRE_RENEWED_APPROVAL,
    StaleStrategy.REVALIDATE_ON_LATEST: mutation_pb2.STALE_STRATEGY_REVALIDATE_ON_LATEST,
}

COMPENSATION_KINDS: Final[Mapping[CompensationKind, mutation_pb2.CompensationKind.ValueType]] = {
    CompensationKind.ROLLBACK: mutation_pb2.COMPENSATION_KIND_ROLLBACK,
    CompensationKind.FORWARD: mutation_pb2.COMPENSATION_KIND_FORWARD,
}

COMPENSATION_TRIGGERS: Final[
    Mapping[CompensationTrigger, mutation_pb2.CompensationTrigger.ValueType]
] = {
    CompensationTrigger.OPERATOR: mutation_pb2.COMPENSATION_TRIGGER_OPERATOR,
    CompensationTrigger.BATCH_FAILURE: mutation_pb2.COMPENSATION_TRIGGER_BATCH_FAILURE,
    CompensationTrigger.FAILED_EXECUTION: mutation_pb2.COMPENSATION_TRIGGER_FAILED_EXECUTION,
}

REVERSIBILITIES: Final[Mapping[int, Reversibility]] = {
    mutation_pb2.REVERSIBILITY_REVERSIBLE: Reversibility.REVERSIBLE,
    mutation_pb2.REVERSIBILITY_COMPENSABLE: Reversibility.COMPENSABLE,
    mutation_pb2.REVERSIBILITY_IRREVERSIBLE: Reversibility.IRREVERSIBLE,
}
"""What a host may state of a type; a value of tomorrow counts as not stated."""

SEVERITIES: Final[Mapping[int, Severity]] = {
    execution_pb2.SEVERITY_UNSPECIFIED: Severity.UNSPECIFIED,
    execution_pb2.SEVERITY_INFO: Severity.INFO,
    execution_pb2.SEVERITY_WARNING: Severity.WARNING,
    execution_pb2.SEVERITY_CRITICAL: Severity.CRITICAL,
}


# --- Orders -------------------------------------------------------------------------------------


def apply_request(order: Order) -> mutation_engine_pb2.ApplyMutationRequest:
    """The order as it is sent."""
    request, execution = order.request, order.execution
    message = mutation_engine_pb2.ApplyMutationRequest()
    message.execution_id = execution.id
    message.fencing_token = execution.fencing_token
    message.request_digest = execution.digest
    message.mutation_request_id = request.id
    message.request_audit_id = execution.request_audit_id
    message.execution_audit_id = execution.audit_id
    _put_context(message.context, request)
    _put_mutation(message.mutation, request, execution.expected_version)
    if order.approvers:
        message.approvers.extend(order.approvers)
    if request.content.compensation is not None:
        _put_compensation(message.compensation, request.content.compensation)
    return message


def lookup_request(
    execution: Execution, *, fence: bool
) -> mutation_engine_pb2.LookupMutationRequest:
    """The question what became of an execution."""
    return mutation_engine_pb2.LookupMutationRequest(
        execution_id=execution.id, fencing_token=execution.fencing_token, fence=fence
    )


def validate_request(request: MutationRequest) -> mutation_engine_pb2.ValidateMutationRequest:
    """The question as it is sent."""
    message = mutation_engine_pb2.ValidateMutationRequest()
    _put_context(message.context, request)
    _put_mutation(message.mutation, request, request.progress.expected_version)
    if request.content.compensation is not None:
        _put_compensation(message.compensation, request.content.compensation)
    return message


def _put_context(target: mutation_pb2.RuntimeContext, request: MutationRequest) -> None:
    context = request.content.context
    target.tenant = context.tenant
    target.environment = context.environment
    target.service = context.service
    target.region = context.region
    target.actor = context.actor
    target.correlation_id = context.correlation_id
    target.causation_id = context.causation_id


def _put_mutation(
    target: mutation_pb2.Mutation, request: MutationRequest, expected_version: str | None
) -> None:
    """The change; its payload goes byte for byte, without the size and digest that answers have."""
    content = request.content
    target.type = content.mutation_type
    target.state.type = content.state.type
    target.state.id = content.state.id
    target.payload.content_type = content.payload.content_type
    target.payload.data = content.payload.data
    if expected_version is not None:
        target.expected_version = expected_version
    target.stale_strategy = STALE_STRATEGIES[content.stale_strategy]


def _put_compensation(target: mutation_pb2.Compensation, compensation: Compensation) -> None:
    target.mutation_request_id = compensation.request_id
    target.execution_id = compensation.execution_id
    target.kind = COMPENSATION_KINDS[compensation.kind]
    target.trigger = COMPENSATION_TRIGGERS[compensation.trigger]
    target.undo_token = compensation.undo_token
    reason = compensation.reason
    if reason.code:
        target.reason.code = reason.code
        target.reason.message = reason.message
        target.reason.category = reason.category
        target.reason.metadata.update(reason.metadata)


# --- Answers ------------------------------------------------------------------------------------


def outcome(response: mutation_engine_pb2.ApplyMutationResponse) -> Outcome | None:
    """What the host says is so for good; None when it says nothing."""
    match response.WhichOneof("outcome"):
        case "applied":
            return _applied(response.applied)
        case "refused":
            return Refused(reason=reason(response.refused.reason))
        case "version_mismatch":
            return VersionMismatch(current_version=_cut(response.version_mismatch.current_version))
        case _:
            return None


def validation(response: mutation_engine_pb2.ValidateMutationResponse) -> Validation:
    """The host's opinion."""
    return Validation(
        violations=tuple(
            Reason(
                code=_cut(violation.code, CODE_CHARACTERS_MAX) or UNKNOWN_CODE,
                message=_cut(violation.message),
            )
            for violation in response.violations[:VIOLATIONS_MAX]
        ),
        preview=_changes(response.preview[:CHANGES_MAX]),
        current_version=_cut(response.current_version),
        plan_digest=response.plan_digest[:TEXT_CHARACTERS_MAX],
    )


def capabilities(response: mutation_engine_pb2.GetCapabilitiesResponse) -> Capabilities:
    """What the host promises."""
    kinds = response.mutation_types[:MUTATION_TYPES_MAX]
    return Capabilities(
        contract_version=_cut(response.contract_version, CODE_CHARACTERS_MAX),
        host_name=_cut(response.host_name, CODE_CHARACTERS_MAX),
        lineage_id=_cut(response.lineage_id, CODE_CHARACTERS_MAX),
        exactly_once=response.exactly_once,
        compare_and_apply=response.compare_and_apply,
        payload_bytes_max=response.payload_bytes_max,
        mutation_types=tuple(_cut(kind.name, CODE_CHARACTERS_MAX) for kind in kinds),
        reversibility={
            _cut(kind.name, CODE_CHARACTERS_MAX): REVERSIBILITIES[kind.reversibility]
            for kind in kinds
            if kind.reversibility in REVERSIBILITIES
        },
        rollback=response.rollback,
        undo_retention_seconds=(
            max(0, response.undo_retention.seconds) if response.HasField("undo_retention") else None
        ),
    )


def reason(source: mutation_pb2.Reason) -> Reason:
    """The host's cause; one without a code still is one."""
    return Reason(
        code=_cut(source.code, CODE_CHARACTERS_MAX) or UNKNOWN_CODE,
        message=_cut(source.message),
        metadata=_entries(source.metadata),
    )


def _applied(source: execution_pb2.Applied) -> Applied:
    effects = tuple(
        SideEffect(
            type=_cut(effect.type, CODE_CHARACTERS_MAX),
            severity=SEVERITIES.get(effect.severity, Severity.UNSPECIFIED),
            description=_cut(effect.description),
            data=_entries(effect.data),
        )
        for effect in source.side_effects[:SIDE_EFFECTS_MAX]
    )
    is_kept = len(source.undo_token) <= UNDO_TOKEN_BYTES_MAX
    return Applied(
        resulting_version=_cut(source.resulting_version),
        changes=_changes(source.changes[:CHANGES_MAX]),
        side_effects=(*effects, *_truncation(source)),
        previous_version=(
            _cut(source.previous_version) if source.HasField("previous_version") else None
        ),
        undo_token=source.undo_token if is_kept else b"",
        undo_expires_at=(
            _moment(source.undo_expire_time) if source.HasField("undo_expire_time") else None
        ),
    )


def _truncation(source: execution_pb2.Applied) -> Iterable[SideEffect]:
    """Says that an outcome was too long to be kept whole."""
    changes, effects = len(source.changes), len(source.side_effects)
    if changes > CHANGES_MAX or effects > SIDE_EFFECTS_MAX:
        yield SideEffect(
            type=TRUNCATED,
            severity=Severity.WARNING,
            description="the host reported more than is kept",
            data={"changes": str(changes), "side_effects": str(effects)},
        )
    if len(source.undo_token) > UNDO_TOKEN_BYTES_MAX:
        # A token that was cut would be another one; without any, the change is not reversible.
        yield SideEffect(
            type=UNDO_DROPPED,
            severity=Severity.WARNING,
            description="the host's undo token is too long to be kept, so this cannot be undone",
            data={"bytes": str(len(source.undo_token)), "bytes_max": str(UNDO_TOKEN_BYTES_MAX)},
        )


def _changes(source: Sequence[execution_pb2.Change]) -> tuple[Change, ...]:
    return tuple(
        Change(
            path=_cut(change.path),
            before=_cut(change.before) if change.HasField("before") else None,
            after=_cut(change.after) if change.HasField("after") else None,
        )
        for change in source
    )


def _entries(source: Mapping[str, str]) -> dict[str, str]:
    return {
        _cut(key, CODE_CHARACTERS_MAX): _cut(source[key]) for key in sorted(source)[:ENTRIES_MAX]
    }


def _moment(source: Timestamp) -> Micros:
    """The moment, or the nearest one that can be kept and shown."""
    micros = source.seconds * MICROS_PER_SECOND + source.nanos // NANOS_PER_MICRO
    return Micros(min(max(micros, 0), MICROS_MAX))


def _cut(text: str, characters_max: int = TEXT_CHARACTERS_MAX) -> str:
    return text if len(text) <= characters_max else text[: characters_max - 1] + "…"
