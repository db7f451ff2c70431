"""Messages put together around bytes that exist already: stored decisions are never re-serialised.

A message field on the wire is its tag, its length and its bytes, so a message that holds stored
bytes is these bytes with a few in front.
"""

from collections.abc import Iterable
from typing import Final

from governance.v1 import governance_service_pb2
from governor.usecases.commits import StoredEntry

_LENGTH_DELIMITED: Final = 2


def _tag(field_number: int) -> bytes:
    return bytes((field_number << 3 | _LENGTH_DELIMITED,))


_STREAMED: Final = _tag(governance_service_pb2.StreamDecisionsResponse.DECISION_FIELD_NUMBER)
_LISTED: Final = _tag(governance_service_pb2.ListDecisionsResponse.DECISIONS_FIELD_NUMBER)


def streamed(data: bytes) -> bytes:
    """A StreamDecisionsResponse with the Decision of these bytes.

    Making it takes less time than finding a copy in a cache would.
    """
    return _STREAMED + varint(len(data)) + data


def listed(entries: Iterable[StoredEntry], next_page_token: str) -> bytes:
    """A ListDecisionsResponse with these decisions."""
    parts = [part for entry in entries for part in (_LISTED, varint(len(entry.data)), entry.data)]
    rest = governance_service_pb2.ListDecisionsResponse(next_page_token=next_page_token)
    return b"".join((*parts, rest.SerializeToString()))


def varint(number: int) -> bytes:
    """Seven bits a byte, the least significant first."""
    if number < 0x80:
        return bytes((number,))
    if number < 0x4000:
        return bytes((number & 0x7F | 0x80, number >> 7))
    encoded = bytearray()
    while number >= 0x80:
        encoded.append(number & 0x7F | 0x80)
        number >>= 7
    encoded.append(number)
    return bytes(encoded)
