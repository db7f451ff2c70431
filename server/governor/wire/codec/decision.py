"""The bytes of a ledger entry: made once per decision, then stored, hashed and streamed as is."""

from google.protobuf.message import DecodeError

from governance.v1 import decision_pb2
from governor.domain.decision import Decision
from governor.domain.values import AuditId, ExecutionId, RequestId, Revision
from governor.usecases.commits import Entry
from governor.wire.codec import values
from governor.wire.codec.enums import CODE, CODE_OF, STATUS


class MalformedEntry(ValueError):
    """Bytes that are no entry of this ledger."""


def encode_entry(decision: Decision, revision: Revision) -> bytes:
    """The one serialisation of `decision` at its place in the order.

    Field by field: four of these are made per mutation, and keyword construction takes twice as
    long.
    """
    message = decision_pb2.Decision()
    message.revision = revision
    message.tenant = decision.tenant
    message.mutation_request_id = decision.request_id
    message.request_audit_id = decision.request_audit_id
    if decision.execution_id is not None:
        message.execution_id = decision.execution_id
    if decision.execution_audit_id is not None:
        message.execution_audit_id = decision.execution_audit_id
    message.category, message.code = CODE[decision.code]
    values.put_actor(message.actor, decision.actor, decision.at)
    if decision.reason is not None:
        values.put_reason(message.reason, decision.reason)
    if decision.facts:
        message.facts.update(decision.facts)
    message.request_digest = decision.digest
    values.put_moment(message.time, decision.at)
    if decision.status is not None:
        message.status = STATUS.to_wire[decision.status]
        values.put_state(message.state, decision.state)
    message.mutation_type = decision.mutation_type
    return message.SerializeToString(deterministic=True)


def decode_entry(data: bytes) -> Entry:
    """The entry with these bytes, its actor's person left as the actor. Raises MalformedEntry."""
    try:
        message = decision_pb2.Decision.FromString(data)
        return Entry(
            revision=Revision(message.revision),
            decision=_decision(message),
            data=data,
        )
    except (DecodeError, KeyError) as error:
        raise MalformedEntry(f"no ledger entry: {error}") from error


def _decision(message: decision_pb2.Decision) -> Decision:
    execution_id, execution_audit_id = message.execution_id, message.execution_audit_id
    return Decision(
        code=CODE_OF[message.category, message.code],
        actor=values.actor(message.actor),
        at=values.moment(message.time),
        tenant=message.tenant,
        request_id=RequestId(message.mutation_request_id),
        request_audit_id=AuditId(message.request_audit_id),
        status=STATUS.to_domain[message.status] if message.status else None,
        digest=message.request_digest,
        state=values.state(message.state),
        mutation_type=message.mutation_type,
        execution_id=ExecutionId(execution_id) if execution_id else None,
        execution_audit_id=AuditId(execution_audit_id) if execution_audit_id else None,
        reason=values.reason(message.reason) if message.HasField("reason") else None,
        facts=values.text_map(message.facts),
    )
