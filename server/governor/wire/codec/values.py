"""The small values that many messages share: moments, spans, reasons, actors, states."""

from collections.abc import Mapping
from typing import Final

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from governance.v1 import mutation_pb2
from governor.domain.request import StateRef
from governor.domain.values import Identity, Micros, Reason

MICROS_PER_SECOND: Final = 1_000_000
NANOS_PER_MICRO: Final = 1_000
NANOS_PER_SECOND: Final = 1_000_000_000


def put_moment(target: Timestamp, at: Micros) -> None:
    """Sets `target`; zero, too, is a moment that was said."""
    seconds, micros = divmod(at, MICROS_PER_SECOND)
    target.seconds = seconds
    target.nanos = micros * NANOS_PER_MICRO


def moment(source: Timestamp) -> Micros:
    """The point in time, cut to the microsecond: the digest and the store know nothing finer."""
    return Micros(source.seconds * MICROS_PER_SECOND + source.nanos // NANOS_PER_MICRO)


def put_span(target: Duration, micros: int) -> None:
    """Sets `target` to a length of time that is not negative."""
    seconds, rest = divmod(micros, MICROS_PER_SECOND)
    target.seconds = seconds
    target.nanos = rest * NANOS_PER_MICRO


def span_seconds(source: Duration) -> float:
    """The length of time in seconds."""
    return source.seconds + source.nanos / NANOS_PER_SECOND


def put_reason(target: mutation_pb2.Reason, reason: Reason) -> None:
    """Sets `target`."""
    target.code = reason.code
    target.message = reason.message
    if reason.metadata:
        target.metadata.update(reason.metadata)
    if reason.category:
        target.category = reason.category


def reason(source: mutation_pb2.Reason) -> Reason:
    """The cause as it was said."""
    return Reason(
        code=source.code,
        message=source.message,
        metadata=dict(source.metadata),
        category=source.category,
    )


def put_actor(target: mutation_pb2.Actor, identity: Identity, at: Micros) -> None:
    """Sets `target`; sorted, so that equal identities have equal bytes."""
    target.id = identity.id
    if identity.roles:
        target.roles.extend(sorted(identity.roles))
    if identity.groups:
        target.groups.extend(sorted(identity.groups))
    put_moment(target.time, at)


def actor(source: mutation_pb2.Actor) -> Identity:
    """The identity as far as the wire tells it: the person behind it stays inside."""
    return Identity(
        id=source.id,
        person=source.id,
        roles=frozenset(source.roles),
        groups=frozenset(source.groups),
    )


def put_state(target: mutation_pb2.StateRef, state: StateRef) -> None:
    """Sets `target`."""
    target.type = state.type
    target.id = state.id


def state(source: mutation_pb2.StateRef) -> StateRef:
    """The state that is named."""
    return StateRef(type=source.type, id=source.id)


def text_map(source: Mapping[str, str]) -> dict[str, str]:
    """A map as a dict that outlives its message, in the order of its keys."""
    return {key: source[key] for key in sorted(source)}
