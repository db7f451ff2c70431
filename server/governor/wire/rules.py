"""The shape rules: for every message a caller sends, what each of its fields must look like.

These tables are the law and the documentation: docs/contract.md prints them.
"""

from collections.abc import Mapping
from typing import Final

from governance.v1 import governance_service_pb2, request_pb2
from governor.wire import limits
from governor.wire.asking_rules import compensate_rules, submit_batch_rules, submit_rules
from governor.wire.codec import enums
from governor.wire.limits import WireLimits
from governor.wire.reading_rules import (
    LIST_DECISIONS,
    LIST_EXECUTIONS,
    LIST_REQUESTS,
    STREAM_DECISIONS,
)
from governor.wire.rule_parts import (
    COMMENT,
    IF_ETAG,
    IN_PLACE_OF,
    MIN_REVISION,
    OF_TENANT,
    REASON,
    REQUEST_ID,
    SEEN_DIGEST,
    SEEN_PLAN,
    TARGET_ID,
)
from governor.wire.shapes import (
    choice,
    number,
)
from governor.wire.table import Field, Relation, Rules, Unread, Unset
from governor.wire.texts import (
    ID,
    LINEAGE,
    NAME,
    REVISION,
    VERSION,
    WAIT,
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


def request_rules(bounds: WireLimits) -> Mapping[str, Rules]:
    """The rules of each RPC's request, by the RPC's name."""
    submit = submit_rules(bounds.payload_bytes_max)
    return {
        "Submit": submit,
        "SubmitBatch": submit_batch_rules(submit),
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
        "Compensate": compensate_rules(bounds.payload_bytes_max),
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
