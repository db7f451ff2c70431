"""The shape rules: for every message a caller sends, what each of its fields must look like.

These tables are the law and the documentation: docs/contract.md prints them.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from governance.v1 import governance_service_pb2, mutation_pb2, request_pb2
from governor.domain.batches import BATCH_MEMBERS_MAX
from governor.wire import limits
from governor.wire.codec import enums
from governor.wire.codec.values import moment
from governor.wire.limits import WireLimits
from governor.wire.shapes import (
    MOMENT,
    choice,
    number,
    octets_up_to,
    span,
)
from governor.wire.table import Field, Items, Relation, Rules, Unread, Unset
from governor.wire.texts import (
    ACTOR,
    DECISION_CODE,
    DIGEST,
    ETAG,
    ID,
    LINE,
    LINEAGE,
    MEDIA_TYPE,
    METADATA,
    NAME,
    PAGE_TOKEN,
    REASON_CODE,
    REVISION,
    TAG,
    TENANT,
    TEXT,
    URI,
    VERSION,
    WAIT,
)

# --- Parts of requests --------------------------------------------------------------------------

REQUEST_ID: Final = Field(name="request_id", shape=ID, required=True)
TARGET_ID: Final = Field(name="id", shape=ID, required=True)
IF_ETAG: Final = Field(name="etag", shape=ETAG)
SEEN_DIGEST: Final = Field(name="request_digest", shape=DIGEST, required=True)
SEEN_PLAN: Final = Field(name="plan_digest", shape=DIGEST, required=True)
IN_PLACE_OF: Final = Field(name="on_behalf_of", shape=ACTOR)
COMMENT: Final = Field(name="comment", shape=TEXT)
MIN_REVISION: Final = Field(name="min_revision", shape=REVISION)
OF_TENANT: Final = Field(name="tenant", shape=TENANT, required=True)

STATE: Final = Rules(
    message=mutation_pb2.StateRef.DESCRIPTOR,
    fields=(
        Field(name="type", shape=NAME, required=True),
        Field(name="id", shape=ID, required=True),
    ),
)
STATE_FILTER: Final = STATE.but(Field(name="id", shape=ID))

CONTEXT: Final = Rules(
    message=mutation_pb2.RuntimeContext.DESCRIPTOR,
    fields=(
        OF_TENANT,
        Field(name="environment", shape=NAME),
        Field(name="service", shape=NAME),
        Field(name="region", shape=NAME),
        # That it is the caller's own name is asked where the caller is known.
        Field(name="actor", shape=ACTOR),
        Field(name="correlation_id", shape=ID),
        Field(name="causation_id", shape=ID),
    ),
)

INTENT: Final = Rules(
    message=mutation_pb2.Intent.DESCRIPTOR,
    fields=(
        Field(name="category", shape=NAME),
        Field(name="risk", shape=choice(enums.RISK)),
        Field(name="reversibility", shape=choice(enums.REVERSIBILITY)),
        Field(name="blast_radius", shape=choice(enums.BLAST_RADIUS)),
    ),
)

EVIDENCE: Final = Rules(
    message=mutation_pb2.Evidence.DESCRIPTOR,
    fields=(
        Field(name="kind", shape=NAME, required=True),
        Field(name="uri", shape=URI, required=True),
        Field(name="sha256", shape=DIGEST),
        Field(name="description", shape=LINE),
    ),
)

REASON: Final = Rules(
    message=mutation_pb2.Reason.DESCRIPTOR,
    fields=(
        Field(name="code", shape=REASON_CODE, required=True),
        Field(name="message", shape=TEXT),
        Field(name="metadata", shape=METADATA),
        Field(name="category", shape=REASON_CODE),
    ),
)


def _is_a_span(filter: governance_service_pb2.DecisionFilter) -> bool:
    return (
        not filter.HasField("from_time")
        or not filter.HasField("until_time")
        or moment(filter.from_time) < moment(filter.until_time)
    )


FILTER: Final = Rules(
    message=governance_service_pb2.DecisionFilter.DESCRIPTOR,
    fields=(
        OF_TENANT,
        Field(name="mutation_request_ids", shape=Items(of=ID, count_max=limits.FILTER_VALUES_MAX)),
        Field(
            name="categories",
            shape=Items(of=choice(enums.CATEGORY), count_max=limits.FILTER_VALUES_MAX),
        ),
        Field(name="codes", shape=Items(of=DECISION_CODE, count_max=limits.FILTER_VALUES_MAX)),
        Field(name="actor", shape=ACTOR),
        Field(name="execution_id", shape=ID),
        Field(name="include_host", shape=Unread(words="true or false")),
        Field(name="from_time", shape=MOMENT),
        Field(name="until_time", shape=MOMENT),
    ),
    relations=(Relation(name="until_time", words="must lie after from_time", holds=_is_a_span),),
)

_TIMELESS: Final = Unset(words="must be unset: a stream begins at a revision, and has no end")
FILTER_OF_A_STREAM: Final = replace(
    FILTER.but(Field(name="from_time", shape=_TIMELESS), Field(name="until_time", shape=_TIMELESS)),
    relations=(),
)

LINK: Final = Rules(
    message=governance_service_pb2.Link.DESCRIPTOR,
    fields=(
        Field(name="kind", shape=choice(enums.LINK_KIND), required=True),
        Field(name="id", shape=ID, required=True),
    ),
)

BREAK_GLASS: Final = Rules(
    message=governance_service_pb2.BreakGlassUse.DESCRIPTOR,
    fields=(Field(name="justification", shape=TEXT, required=True),),
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


def _submit(payload_bytes_max: int) -> Rules:
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


def _submit_batch(submit: Rules) -> Rules:
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


def _compensate(payload_bytes_max: int) -> Rules:
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


def _is_not_empty(request: governance_service_pb2.ListRequestsRequest) -> bool:
    return (
        not request.HasField("submitted_from")
        or not request.HasField("submitted_until")
        or moment(request.submitted_from) < moment(request.submitted_until)
    )


def _names_a_version_if_applied(request: governance_service_pb2.ResolveExecutionRequest) -> bool:
    return request.outcome != governance_service_pb2.OUTCOME_CLAIM_APPLIED or bool(
        request.resulting_version
    )


def _names_no_version_unless_applied(
    request: governance_service_pb2.ResolveExecutionRequest,
) -> bool:
    return request.outcome == governance_service_pb2.OUTCOME_CLAIM_APPLIED or not (
        request.resulting_version
    )


def _is_for_it(request: governance_service_pb2.ApproveRequest) -> bool:
    return request.meaning != request_pb2.VOTE_KIND_REJECT


_RESOLVABLE: Final = frozenset(
    {
        request_pb2.PENDING_REASON_EXTERNAL_CHECK,
        request_pb2.PENDING_REASON_QUOTA,
        request_pb2.PENDING_REASON_MANUAL_REVIEW,
    }
)


def _can_be_resolved(request: governance_service_pb2.ResolvePendingRequest) -> bool:
    return request.reason in _RESOLVABLE


def _is_released_if_a_quota(request: governance_service_pb2.ResolvePendingRequest) -> bool:
    return (
        request.reason != request_pb2.PENDING_REASON_QUOTA
        or request.outcome == governance_service_pb2.PENDING_OUTCOME_PASSED
    )


# --- Every request ------------------------------------------------------------------------------


def request_rules(bounds: WireLimits) -> Mapping[str, Rules]:
    """The rules of each RPC's request, by the RPC's name."""
    submit = _submit(bounds.payload_bytes_max)
    return {
        "Submit": submit,
        "SubmitBatch": _submit_batch(submit),
        "GetRequest": Rules(
            message=governance_service_pb2.GetRequestRequest.DESCRIPTOR,
            fields=(
                TARGET_ID,
                MIN_REVISION,
                Field(name="preview", shape=Unread(words="true or false")),
            ),
        ),
        "ListRequests": LIST_REQUESTS,
        "CountRequests": Rules(
            message=governance_service_pb2.CountRequestsRequest.DESCRIPTOR,
            fields=(OF_TENANT, MIN_REVISION),
        ),
        "Approve": Rules(
            message=governance_service_pb2.ApproveRequest.DESCRIPTOR,
            fields=(
                REQUEST_ID,
                TARGET_ID,
                IF_ETAG,
                SEEN_DIGEST,
                COMMENT,
                SEEN_PLAN,
                Field(name="meaning", shape=choice(enums.VOTE_KIND)),
                IN_PLACE_OF,
            ),
            relations=(
                Relation(name="meaning", words="must be APPROVE or REVIEW", holds=_is_for_it),
            ),
        ),
        "Reject": Rules(
            message=governance_service_pb2.RejectRequest.DESCRIPTOR,
            fields=(
                REQUEST_ID,
                TARGET_ID,
                IF_ETAG,
                SEEN_DIGEST,
                Field(name="reason", shape=REASON, required=True),
                SEEN_PLAN,
                IN_PLACE_OF,
            ),
        ),
        "RevokeVote": Rules(
            message=governance_service_pb2.RevokeVoteRequest.DESCRIPTOR,
            fields=(
                REQUEST_ID,
                TARGET_ID,
                IF_ETAG,
                Field(name="reason", shape=REASON, required=True),
            ),
        ),
        "ResolvePending": RESOLVE_PENDING,
        "ReviewBreakGlass": Rules(
            message=governance_service_pb2.ReviewBreakGlassRequest.DESCRIPTOR,
            fields=(
                REQUEST_ID,
                TARGET_ID,
                IF_ETAG,
                SEEN_DIGEST,
                Field(name="justified", shape=Unread(words="true or false")),
                Field(name="reason", shape=REASON, required=True),
            ),
        ),
        "Cancel": Rules(
            message=governance_service_pb2.CancelRequest.DESCRIPTOR,
            fields=(REQUEST_ID, TARGET_ID, IF_ETAG, COMMENT),
        ),
        "Supersede": Rules(
            message=governance_service_pb2.SupersedeRequest.DESCRIPTOR,
            fields=(
                REQUEST_ID,
                TARGET_ID,
                IF_ETAG,
                Field(
                    name="replacement",
                    shape=submit.but(
                        Field(name="request_id", shape=Unset()),
                        Field(name="validate_only", shape=Unset()),
                        Field(name="wait", shape=Unset()),
                        Field(name="break_glass", shape=Unset()),
                    ),
                    required=True,
                ),
            ),
        ),
        "Execute": Rules(
            message=governance_service_pb2.ExecuteRequest.DESCRIPTOR,
            fields=(REQUEST_ID, TARGET_ID, IF_ETAG, Field(name="wait", shape=WAIT)),
        ),
        "ResolveExecution": RESOLVE_EXECUTION,
        "Compensate": _compensate(bounds.payload_bytes_max),
        "TraceRequest": Rules(
            message=governance_service_pb2.TraceRequestRequest.DESCRIPTOR,
            fields=(
                TARGET_ID,
                Field(name="requests_max", shape=number(0, limits.REQUESTS_TRACED_MAX)),
                MIN_REVISION,
            ),
        ),
        "GetExecution": Rules(
            message=governance_service_pb2.GetExecutionRequest.DESCRIPTOR,
            fields=(Field(name="execution_id", shape=ID, required=True), MIN_REVISION),
        ),
        "ListExecutions": LIST_EXECUTIONS,
        "WaitRequest": Rules(
            message=governance_service_pb2.WaitRequestRequest.DESCRIPTOR,
            fields=(
                TARGET_ID,
                Field(name="after_revision", shape=REVISION),
                Field(name="timeout", shape=WAIT),
            ),
        ),
        "ListDecisions": LIST_DECISIONS,
        "StreamDecisions": STREAM_DECISIONS,
        "GetHost": Rules(
            message=governance_service_pb2.GetHostRequest.DESCRIPTOR, fields=(OF_TENANT,)
        ),
        "TrustHost": Rules(
            message=governance_service_pb2.TrustHostRequest.DESCRIPTOR,
            fields=(
                REQUEST_ID,
                OF_TENANT,
                Field(name="lineage_id", shape=LINEAGE),
                Field(name="reason", shape=REASON, required=True),
            ),
        ),
    }


LIST_REQUESTS: Final = Rules(
    message=governance_service_pb2.ListRequestsRequest.DESCRIPTOR,
    fields=(
        OF_TENANT,
        Field(
            name="statuses",
            shape=Items(of=choice(enums.STATUS), count_max=limits.FILTER_VALUES_MAX),
        ),
        Field(
            name="pending_reasons",
            shape=Items(of=choice(enums.PENDING_REASON), count_max=limits.FILTER_VALUES_MAX),
        ),
        Field(name="state", shape=STATE_FILTER),
        Field(name="actor", shape=ACTOR),
        Field(name="category", shape=NAME),
        Field(name="tag", shape=TAG),
        Field(name="submitted_from", shape=MOMENT),
        Field(name="submitted_until", shape=MOMENT),
        Field(name="page_size", shape=number(0, limits.REQUESTS_PAGE_MAX)),
        Field(name="page_token", shape=PAGE_TOKEN),
        MIN_REVISION,
        Field(name="tags_any", shape=Items(of=TAG, count_max=limits.TAGS_MAX, unique=True)),
        Field(name="tags_all", shape=Items(of=TAG, count_max=limits.TAGS_MAX, unique=True)),
        Field(name="metadata", shape=METADATA),
        Field(name="risks", shape=Items(of=choice(enums.RISK), count_max=limits.FILTER_VALUES_MAX)),
        Field(
            name="blast_radii",
            shape=Items(of=choice(enums.BLAST_RADIUS), count_max=limits.FILTER_VALUES_MAX),
        ),
        Field(name="side_effect_type", shape=NAME),
        Field(name="side_effect_severity", shape=choice(enums.SEVERITY)),
        Field(name="link", shape=LINK),
        Field(name="waiting_for_me", shape=Unread(words="true or false")),
        Field(name="review_open", shape=Unread(words="true or false")),
        Field(name="batch_id", shape=ID),
        Field(name="uncompensated", shape=Unread(words="true or false")),
    ),
    relations=(
        Relation(
            name="submitted_until",
            words="must lie after submitted_from",
            holds=_is_not_empty,
        ),
    ),
)

RESOLVE_PENDING: Final = Rules(
    message=governance_service_pb2.ResolvePendingRequest.DESCRIPTOR,
    fields=(
        REQUEST_ID,
        TARGET_ID,
        IF_ETAG,
        SEEN_DIGEST,
        Field(name="reason", shape=choice(enums.PENDING_REASON), required=True),
        Field(name="name", shape=NAME, required=True),
        Field(name="outcome", shape=choice(enums.PENDING_OUTCOME), required=True),
        Field(name="finding", shape=REASON, required=True),
    ),
    relations=(
        Relation(
            name="reason",
            words="must be EXTERNAL_CHECK, QUOTA or MANUAL_REVIEW",
            holds=_can_be_resolved,
        ),
        Relation(name="outcome", words="must be PASSED for QUOTA", holds=_is_released_if_a_quota),
    ),
)

RESOLVE_EXECUTION: Final = Rules(
    message=governance_service_pb2.ResolveExecutionRequest.DESCRIPTOR,
    fields=(
        REQUEST_ID,
        Field(name="execution_id", shape=ID, required=True),
        Field(name="outcome", shape=choice(enums.OUTCOME_CLAIM), required=True),
        Field(name="resulting_version", shape=VERSION),
        Field(name="reason", shape=REASON, required=True),
        IF_ETAG,
    ),
    relations=(
        Relation(
            name="resulting_version",
            words="is required for APPLIED",
            holds=_names_a_version_if_applied,
        ),
        Relation(
            name="resulting_version",
            words="must be unset for NOT_APPLIED",
            holds=_names_no_version_unless_applied,
        ),
    ),
)

LIST_EXECUTIONS: Final = Rules(
    message=governance_service_pb2.ListExecutionsRequest.DESCRIPTOR,
    fields=(
        OF_TENANT,
        Field(name="mutation_request_id", shape=ID),
        Field(
            name="statuses",
            shape=Items(of=choice(enums.EXECUTION_STATUS), count_max=limits.FILTER_VALUES_MAX),
        ),
        Field(name="state", shape=STATE_FILTER),
        Field(name="page_size", shape=number(0, limits.EXECUTIONS_PAGE_MAX)),
        Field(name="page_token", shape=PAGE_TOKEN),
        MIN_REVISION,
    ),
)

LIST_DECISIONS: Final = Rules(
    message=governance_service_pb2.ListDecisionsRequest.DESCRIPTOR,
    fields=(
        Field(name="filter", shape=FILTER, required=True),
        Field(name="page_size", shape=number(0, limits.DECISIONS_PAGE_MAX)),
        Field(name="page_token", shape=PAGE_TOKEN),
        MIN_REVISION,
        Field(name="newest_first", shape=Unread(words="true or false")),
    ),
)

STREAM_DECISIONS: Final = Rules(
    message=governance_service_pb2.StreamDecisionsRequest.DESCRIPTOR,
    fields=(
        Field(name="after_revision", shape=REVISION),
        Field(name="filter", shape=FILTER_OF_A_STREAM, required=True),
        Field(
            name="heartbeat_interval",
            shape=span(limits.HEARTBEAT_SECONDS_MIN, limits.HEARTBEAT_SECONDS_MAX),
        ),
        Field(name="store_id", shape=ID),
    ),
)
