"""The shape rules of what asks for mutations: Submit, SubmitBatch and Compensate."""

from governance.v1 import governance_service_pb2, mutation_pb2
from governor.domain.batches import BATCH_MEMBERS_MAX
from governor.wire import limits
from governor.wire.codec import enums
from governor.wire.codec.values import moment
from governor.wire.rule_parts import (
    BREAK_GLASS,
    CONTEXT,
    EVIDENCE,
    IF_ETAG,
    INTENT,
    REASON,
    REQUEST_ID,
    STATE,
    TARGET_ID,
)
from governor.wire.shapes import (
    MOMENT,
    choice,
    octets_up_to,
)
from governor.wire.table import Field, Items, Relation, Rules, Unread, Unset
from governor.wire.texts import (
    ID,
    MEDIA_TYPE,
    METADATA,
    NAME,
    TAG,
    TEXT,
    VERSION,
    WAIT,
)


def _payload(bytes_max: int) -> Rules:
    return Rules(
        message=mutation_pb2.Payload.DESCRIPTOR,
        fields=(
            Field(name="content_type", shape=MEDIA_TYPE, required=True),
            Field(name="data", shape=octets_up_to(bytes_max)),
            Field(name="size_bytes", shape=Unread(words="ignored")),
            Field(name="sha256", shape=Unread(words="ignored")),
        ),
    )


def _mutation(payload_bytes_max: int) -> Rules:
    return Rules(
        message=mutation_pb2.Mutation.DESCRIPTOR,
        fields=(
            Field(name="type", shape=NAME, required=True),
            Field(name="state", shape=STATE, required=True),
            Field(name="payload", shape=_payload(payload_bytes_max), required=True),
            Field(name="expected_version", shape=VERSION),
            Field(name="stale_strategy", shape=choice(enums.STALE_STRATEGY)),
        ),
    )


def submit_rules(payload_bytes_max: int) -> Rules:
    return Rules(
        message=governance_service_pb2.SubmitRequest.DESCRIPTOR,
        fields=(
            REQUEST_ID,
            Field(name="context", shape=CONTEXT, required=True),
            Field(name="mutation", shape=_mutation(payload_bytes_max), required=True),
            Field(name="intent", shape=INTENT),
            Field(name="justification", shape=TEXT),
            Field(name="evidence", shape=Items(of=EVIDENCE, count_max=limits.EVIDENCE_MAX)),
            Field(name="metadata", shape=METADATA),
            Field(name="tags", shape=Items(of=TAG, count_max=limits.TAGS_MAX, unique=True)),
            Field(name="expire_time", shape=MOMENT),
            Field(name="execute_after", shape=MOMENT),
            Field(
                name="depends_on",
                shape=Items(of=ID, count_max=limits.DEPENDENCIES_MAX, unique=True),
            ),
            Field(name="execution_mode", shape=choice(enums.EXECUTION_MODE)),
            Field(name="validate_only", shape=Unread(words="true or false")),
            Field(name="wait", shape=WAIT),
            Field(name="on_dependency_failure", shape=choice(enums.DEPENDENCY_FAILURE)),
            Field(name="break_glass", shape=BREAK_GLASS),
        ),
        relations=(
            Relation(
                name="execute_after",
                words="must lie before expire_time",
                holds=_executes_before_it_expires,
            ),
        ),
    )


def submit_batch_rules(submit: Rules) -> Rules:
    member = submit.but(
        *(
            Field(name=name, shape=Unset())
            for name in (
                "request_id",
                "expire_time",
                "execution_mode",
                "validate_only",
                "wait",
                "break_glass",
            )
        )
    )
    return Rules(
        message=governance_service_pb2.SubmitBatchRequest.DESCRIPTOR,
        fields=(
            REQUEST_ID,
            Field(name="members", shape=Items(of=member, count_max=BATCH_MEMBERS_MAX)),
            Field(name="ordering", shape=choice(enums.BATCH_ORDERING)),
            Field(name="failure_mode", shape=choice(enums.BATCH_FAILURE_MODE)),
            Field(name="decision_mode", shape=choice(enums.BATCH_DECISION_MODE)),
            Field(name="expire_time", shape=MOMENT),
            Field(name="justification", shape=TEXT),
        ),
    )


def compensate_rules(payload_bytes_max: int) -> Rules:
    return Rules(
        message=governance_service_pb2.CompensateRequest.DESCRIPTOR,
        fields=(
            REQUEST_ID,
            TARGET_ID,
            IF_ETAG,
            Field(name="kind", shape=choice(enums.COMPENSATION_KIND), required=True),
            Field(name="trigger", shape=choice(enums.COMPENSATION_TRIGGER)),
            Field(name="reason", shape=REASON, required=True),
            Field(name="justification", shape=TEXT),
            Field(name="stale_strategy", shape=choice(enums.STALE_STRATEGY)),
            Field(name="expire_time", shape=MOMENT),
            Field(name="execution_mode", shape=choice(enums.EXECUTION_MODE)),
            Field(name="payload", shape=_payload(payload_bytes_max)),
            Field(name="mutation_type", shape=NAME),
            Field(name="expected_version", shape=VERSION),
        ),
        relations=(
            Relation(
                name="trigger",
                words="must not be BATCH_FAILURE: batches say it themselves",
                holds=_is_asked_for_by_somebody,
            ),
            Relation(
                name="payload",
                words="must be set for FORWARD, unset for ROLLBACK",
                holds=_has_a_payload_unless_it_takes_back,
            ),
            Relation(
                name="mutation_type",
                words="must be unset for ROLLBACK",
                holds=lambda request: not (_takes_back(request) and request.mutation_type),
            ),
            Relation(
                name="expected_version",
                words="must be unset for ROLLBACK",
                holds=lambda request: (
                    not (_takes_back(request) and request.HasField("expected_version"))
                ),
            ),
        ),
    )


def _takes_back(request: governance_service_pb2.CompensateRequest) -> bool:
    return request.kind == mutation_pb2.COMPENSATION_KIND_ROLLBACK


def _is_asked_for_by_somebody(request: governance_service_pb2.CompensateRequest) -> bool:
    return request.trigger != mutation_pb2.COMPENSATION_TRIGGER_BATCH_FAILURE


def _has_a_payload_unless_it_takes_back(
    request: governance_service_pb2.CompensateRequest,
) -> bool:
    if request.kind == mutation_pb2.COMPENSATION_KIND_FORWARD:
        return request.HasField("payload")
    return not (_takes_back(request) and request.HasField("payload"))


def _executes_before_it_expires(request: governance_service_pb2.SubmitRequest) -> bool:
    return (
        not request.HasField("execute_after")
        or not request.HasField("expire_time")
        or moment(request.execute_after) < moment(request.expire_time)
    )
