"""Pages of lists: opaque tokens that fit one list with one set of filters, and answers that fit."""

import base64
import binascii
from hashlib import sha256
from typing import Any, Final

import msgspec
from google.protobuf.message import Message

from governor.domain.errors import BadPageToken
from governor.usecases.questions import Cursor

PAGE_BYTES_MAX: Final = 3 * 1_048_576
"""Where a page ends however few rows it has: clients refuse answers of 4 MiB unless told."""

_FINGERPRINT_BYTES: Final = 12
_PAGING_FIELDS: Final = ("page_size", "page_token", "min_revision")


class _Token(msgspec.Struct, frozen=True, array_like=True):
    """Where the page before ended, and what was listed."""

    revision: int
    id: str
    listing: str


_decoder: Final = msgspec.json.Decoder(_Token, strict=True)


def listing_of(request: Message, store_id: str) -> str:
    """Tells one list with its filters from every other; how it is paged makes no difference.

    The same list of another store is another one: a store that was restored gives revisions out
    again, and a page that began after one of them would leave out what now stands before it.
    """
    bare: Any = type(request)()
    bare.CopyFrom(request)
    for field in _PAGING_FIELDS:
        bare.ClearField(field)
    said = f"{store_id}:{bare.DESCRIPTOR.name}:".encode() + bare.SerializeToString(
        deterministic=True
    )
    return base64.b64encode(sha256(said).digest()[:_FINGERPRINT_BYTES]).decode()


def token_after(cursor: Cursor, listing: str) -> str:
    """The token of the page that begins after `cursor`."""
    token = _Token(revision=cursor.revision, id=cursor.id, listing=listing)
    return base64.urlsafe_b64encode(msgspec.json.encode(token)).decode()


def cursor_in(token: str, listing: str) -> Cursor | None:
    """Where to go on; None for the first page. Raises BadPageToken."""
    if not token:
        return None
    try:
        read = _decoder.decode(base64.b64decode(token, altchars=b"-_", validate=True))
    except (binascii.Error, msgspec.DecodeError, ValueError) as error:
        raise BadPageToken("the page token was not made by this server") from error
    if read.listing != listing:
        raise BadPageToken("the page token was made for other filters, or by another store")
    return Cursor(revision=read.revision, id=read.id)
