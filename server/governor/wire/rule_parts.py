"""The shape rules of what several requests have in common: fields, and messages inside of them."""

from typing import Final

from governance.v1 import governance_service_pb2, mutation_pb2
from governor.wire.codec import enums
from governor.wire.shapes import (
    choice,
)
from governor.wire.table import Field, Rules
from governor.wire.texts import (
    ACTOR,
    DIGEST,
    ETAG,
    ID,
    LINE,
    METADATA,
    NAME,
    REASON_CODE,
    REVISION,
    TENANT,
    TEXT,
    URI,
)

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


BREAK_GLASS: Final = Rules(
    message=governance_service_pb2.BreakGlassUse.DESCRIPTOR,
    fields=(Field(name="justification", shape=TEXT, required=True),),
)
