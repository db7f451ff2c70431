"""Every bound of the wire; the rules of shape and the server take theirs from here."""

from dataclasses import dataclass
from typing import Final

ID_CHARACTERS_MAX: Final = 128
TENANT_CHARACTERS_MAX: Final = 64
NAME_CHARACTERS_MAX: Final = 128
TAG_CHARACTERS_MAX: Final = 64
CODE_CHARACTERS_MAX: Final = 64
ACTOR_CHARACTERS_MAX: Final = 256
VERSION_CHARACTERS_MAX: Final = 256
MEDIA_TYPE_CHARACTERS_MAX: Final = 128
URI_CHARACTERS_MAX: Final = 2048
TEXT_CHARACTERS_MAX: Final = 4096
LINE_CHARACTERS_MAX: Final = 1024
METADATA_KEY_CHARACTERS_MAX: Final = 64
METADATA_VALUE_CHARACTERS_MAX: Final = 1024
PAGE_TOKEN_CHARACTERS_MAX: Final = 512
DIGEST_BYTES: Final = 32

METADATA_ENTRIES_MAX: Final = 32
TAGS_MAX: Final = 32
EVIDENCE_MAX: Final = 16
DEPENDENCIES_MAX: Final = 32
FILTER_VALUES_MAX: Final = 64

REQUESTS_PAGE: Final = 50
REQUESTS_PAGE_MAX: Final = 500
EXECUTIONS_PAGE: Final = 50
EXECUTIONS_PAGE_MAX: Final = 500
DECISIONS_PAGE: Final = 100
DECISIONS_PAGE_MAX: Final = 1000
REQUESTS_TRACED: Final = 50
REQUESTS_TRACED_MAX: Final = 200
"""How many requests one trace holds. Each of them costs a look at what it names, and four at who
names it."""

HEARTBEAT_SECONDS_MIN: Final = 0.1
HEARTBEAT_SECONDS_MAX: Final = 300.0
WAIT_SECONDS_MAX: Final = 3600.0
"""The longest wait that may be asked for; how long is really waited is the server's setting."""

REVISION_MAX: Final = 2**63 - 1
"""Revisions are signed in every store."""

MOMENT_SECONDS_MAX: Final = 253_402_300_799
"""The end of the year 9999, where Timestamp ends."""

VIOLATIONS_TOLD_MAX: Final = 32
STATUS_BYTES_MAX: Final = 4096
"""Error details travel as metadata, of which gRPC clients take 8 KiB in all unless told otherwise;
base64 adds a third."""

HARD_LIMIT_FACTOR: Final = 4
"""gRPC itself refuses messages this many times larger than the server takes. Between the two a
caller is told TOO_LARGE with the limit; beyond, gRPC's own words."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WireLimits:
    """The bounds that an operator may move."""

    payload_bytes_max: int = 1_048_576
    """The largest `Payload.data`."""
    message_bytes_max: int = 2_097_152
    """The largest request message; leaves the payload room for what comes with it."""
    calls_running_max: int = 2_000
    """How many calls are worked on at once, beside streams and WaitRequest."""
    streams_open_max: int = 1_000
    """How many streams are open at once."""
    bytes_in_flight_max: int = 128 * 1_048_576
    """How many bytes the requests of all calls and streams under way come to."""
    connections_max: int = 4_096
    """How many connections the server takes."""
    connection_calls_max: int = 1_000
    """How many calls and streams one connection carries at once."""
    stream_blocked_seconds_max: float = 30.0
    """How long one message of a stream may wait for its reader."""
    keepalive_seconds: float = 60.0
    """After how long without traffic the server asks whether a client is still there."""
    keepalive_timeout_seconds: float = 20.0
    """How long it waits for the answer."""
