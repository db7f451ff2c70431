"""The shape rules of lists and streams: what is filtered by, and where a page begins."""

from dataclasses import replace
from typing import Final

from governance.v1 import governance_service_pb2
from governor.wire import limits
from governor.wire.codec import enums
from governor.wire.codec.values import moment
from governor.wire.rule_parts import MIN_REVISION, OF_TENANT, STATE_FILTER
from governor.wire.shapes import (
    MOMENT,
    choice,
    number,
    span,
)
from governor.wire.table import Field, Items, Relation, Rules, Unread, Unset
from governor.wire.texts import (
    ACTOR,
    DECISION_CODE,
    ID,
    METADATA,
    NAME,
    PAGE_TOKEN,
    REVISION,
    TAG,
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


def _is_not_empty(request: governance_service_pb2.ListRequestsRequest) -> bool:
    return (
        not request.HasField("submitted_from")
        or not request.HasField("submitted_until")
        or moment(request.submitted_from) < moment(request.submitted_until)
    )


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
