"""Between the wire's messages and the author's values, and the rules of shape at that border."""

import hashlib
from typing import Final

from governance.v1 import execution_pb2, mutation_engine_pb2, mutation_pb2
from governor.hostkit.errors import InvalidField
from governor.hostkit.journal import Claim, Inquiry, Record
from governor.hostkit.model import (
    Applied,
    Change,
    Compensation,
    CompensationKind,
    CompensationTrigger,
    Host,
    Order,
    Refused,
    Reversibility,
    Severity,
    SideEffect,
    State,
    TransactionT,
)

CONTRACT_VERSION: Final = "governance.v1"
DIGEST_BYTES: Final = 32
TEXT_CHARACTERS_MAX: Final = 1024
# SQL integers are signed.
FENCING_TOKEN_MAX: Final = 2**63 - 1

_SEVERITIES: Final = {
    severity: execution_pb2.Severity.Value(f"SEVERITY_{severity.name}") for severity in Severity
}
_REVERSIBILITIES: Final = {
    reversibility: mutation_pb2.Reversibility.Value(f"REVERSIBILITY_{reversibility.name}")
    for reversibility in Reversibility
}


_COMPENSATION_KINDS: Final = {
    mutation_pb2.CompensationKind.Value(f"COMPENSATION_KIND_{kind.name}"): kind
    for kind in CompensationKind
}
_COMPENSATION_TRIGGERS: Final = {
    mutation_pb2.CompensationTrigger.Value(f"COMPENSATION_TRIGGER_{trigger.name}"): trigger
    for trigger in CompensationTrigger
}


def claim(request: mutation_engine_pb2.ApplyMutationRequest) -> Claim:
    _require_key(request.execution_id, request.fencing_token)
    if len(request.request_digest) != DIGEST_BYTES:
        raise InvalidField(field="request_digest", rule=f"must be {DIGEST_BYTES} bytes")
    return Claim(
        execution_id=request.execution_id,
        fencing_token=request.fencing_token,
        request_digest=request.request_digest,
    )


def inquiry(request: mutation_engine_pb2.LookupMutationRequest) -> Inquiry:
    _require_key(request.execution_id, request.fencing_token)
    return Inquiry(
        execution_id=request.execution_id,
        fencing_token=request.fencing_token,
        fence=request.fence,
    )


def tenant(name: str) -> str:
    _require_text(name, "tenant")
    return name


def state(message: mutation_pb2.StateRef, *, field: str) -> State:
    _require_text(message.type, f"{field}.type")
    _require_text(message.id, f"{field}.id")
    return State(type=message.type, id=message.id)


def order(request: mutation_engine_pb2.ApplyMutationRequest) -> Order:
    context, mutation = request.context, request.mutation
    _require_text(context.tenant, "context.tenant")
    _require_text(mutation.type, "mutation.type")
    return Order(
        type=mutation.type,
        state=state(mutation.state, field="mutation.state"),
        payload=mutation.payload.data,
        content_type=mutation.payload.content_type,
        expected_version=(
            mutation.expected_version if mutation.HasField("expected_version") else None
        ),
        tenant=context.tenant,
        actor=context.actor,
        environment=context.environment,
        service=context.service,
        region=context.region,
        correlation_id=context.correlation_id,
        causation_id=context.causation_id,
        approvers=tuple(request.approvers),
        execution_id=request.execution_id,
        mutation_request_id=request.mutation_request_id,
        request_audit_id=request.request_audit_id,
        execution_audit_id=request.execution_audit_id,
        compensation=(
            compensation(request.compensation, mutation)
            if request.HasField("compensation")
            else None
        ),
    )


def compensation(
    message: mutation_pb2.Compensation, mutation: mutation_pb2.Mutation
) -> Compensation:
    kind = _COMPENSATION_KINDS.get(message.kind)
    if kind is None:
        raise InvalidField(field="compensation.kind", rule="must be ROLLBACK or FORWARD")
    if kind is CompensationKind.ROLLBACK and mutation.payload.data:
        raise InvalidField(field="mutation.payload.data", rule="must be empty in a rollback")
    _require_text(message.execution_id, "compensation.execution_id")
    return Compensation(
        kind=kind,
        execution_id=message.execution_id,
        mutation_request_id=message.mutation_request_id,
        trigger=_COMPENSATION_TRIGGERS.get(message.trigger, CompensationTrigger.UNSPECIFIED),
        undo_token=message.undo_token,
    )


def proposal(request: mutation_engine_pb2.ValidateMutationRequest) -> Order:
    """Read an order that no execution stands behind."""
    return order(
        mutation_engine_pb2.ApplyMutationRequest(
            context=request.context,
            mutation=request.mutation,
            compensation=request.compensation if request.HasField("compensation") else None,
        )
    )


def applied(
    answer: Applied,
    *,
    previous_version: str,
    resulting_version: str,
    undo_token: bytes = b"",
    undo_expires_at: int | None = None,
) -> mutation_engine_pb2.ApplyMutationResponse:
    message = execution_pb2.Applied(
        resulting_version=resulting_version,
        changes=[_change(change) for change in answer.changes],
        side_effects=[_side_effect(side_effect) for side_effect in answer.side_effects],
        previous_version=previous_version,
        undo_token=undo_token,
    )
    if undo_expires_at is not None:
        message.undo_expire_time.FromMicroseconds(undo_expires_at)
    return mutation_engine_pb2.ApplyMutationResponse(applied=message)


def refused(answer: Refused) -> mutation_engine_pb2.ApplyMutationResponse:
    return mutation_engine_pb2.ApplyMutationResponse(
        refused=execution_pb2.Refused(
            reason=mutation_pb2.Reason(
                code=answer.code, message=answer.message, metadata=answer.metadata
            )
        )
    )


def version_mismatch(*, current_version: str) -> mutation_engine_pb2.ApplyMutationResponse:
    return mutation_engine_pb2.ApplyMutationResponse(
        version_mismatch=execution_pb2.VersionMismatch(current_version=current_version)
    )


def opinion(
    response: mutation_engine_pb2.ApplyMutationResponse, *, current_version: str
) -> mutation_engine_pb2.ValidateMutationResponse:
    """Turn what an undone apply came to into the host's opinion of the proposal."""
    if response.HasField("refused"):
        reason = response.refused.reason
        return mutation_engine_pb2.ValidateMutationResponse(
            violations=[mutation_engine_pb2.Violation(code=reason.code, message=reason.message)],
            current_version=current_version,
        )
    return mutation_engine_pb2.ValidateMutationResponse(
        preview=response.applied.changes,
        current_version=current_version,
        plan_digest=_plan_digest(response.applied),
    )


def finding(record: Record) -> mutation_engine_pb2.LookupMutationResponse:
    if record.conclusion is None:
        return mutation_engine_pb2.LookupMutationResponse(
            not_seen=mutation_engine_pb2.NotSeen(fenced=record.fenced)
        )
    return mutation_engine_pb2.LookupMutationResponse(
        outcome=outcome(record.conclusion.outcome, replayed=True),
        request_digest=record.conclusion.request_digest,
    )


def outcome(stored: bytes, *, replayed: bool) -> mutation_engine_pb2.ApplyMutationResponse:
    response = mutation_engine_pb2.ApplyMutationResponse.FromString(stored)
    response.replayed = replayed
    return response


def capabilities(
    host: Host[TransactionT], *, lineage_id: str
) -> mutation_engine_pb2.GetCapabilitiesResponse:
    response = mutation_engine_pb2.GetCapabilitiesResponse(
        contract_version=CONTRACT_VERSION,
        mutation_types=[
            mutation_engine_pb2.MutationType(
                name=name,
                reversibility=_REVERSIBILITIES[
                    mutation_type.reversibility
                    if mutation_type.undo is None
                    else Reversibility.REVERSIBLE
                ],
                description=mutation_type.description,
            )
            for name, mutation_type in host.mutations.items()
        ],
        payload_bytes_max=host.payload_bytes_max,
        exactly_once=True,
        compare_and_apply=True,
        lineage_id=lineage_id,
        host_name=host.name,
        rollback=host.rollback,
    )
    if host.rollback and host.undo_retention_seconds is not None:
        response.undo_retention.FromSeconds(host.undo_retention_seconds)
    return response


def _change(change: Change) -> execution_pb2.Change:
    return execution_pb2.Change(path=change.path, before=change.before, after=change.after)


def _side_effect(side_effect: SideEffect) -> execution_pb2.SideEffect:
    return execution_pb2.SideEffect(
        type=side_effect.type,
        severity=_SEVERITIES[side_effect.severity],
        description=side_effect.description,
        data=side_effect.data,
    )


def _plan_digest(plan: execution_pb2.Applied) -> bytes:
    # Without the versions: the same plan may be made again on a newer one.
    bare = execution_pb2.Applied(changes=plan.changes, side_effects=plan.side_effects)
    return hashlib.sha256(bare.SerializeToString(deterministic=True)).digest()


def _require_key(execution_id: str, fencing_token: int) -> None:
    _require_text(execution_id, "execution_id")
    if not 1 <= fencing_token <= FENCING_TOKEN_MAX:
        raise InvalidField(field="fencing_token", rule=f"must be from 1 to {FENCING_TOKEN_MAX}")


def _require_text(text: str, field: str) -> None:
    if not 1 <= len(text) <= TEXT_CHARACTERS_MAX:
        raise InvalidField(field=field, rule=f"must have 1 to {TEXT_CHARACTERS_MAX} characters")
