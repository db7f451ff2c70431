"""Why bytes are not the message they should be: a text field that is not UTF-8, if that is it.

protobuf refuses a whole message for one lone surrogate and does not say where. This walk runs only
then, over bytes of bounded size, and goes no deeper than the contract's messages nest.
"""

from collections import Counter
from collections.abc import Iterator
from typing import Final

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.empty_pb2 import Empty
from google.protobuf.message import DecodeError
from google.protobuf.unknown_fields import UnknownFieldSet

from governor.wire.checking import Violation

DEPTH_MAX: Final = 8
NOT_UTF8: Final = "must be UTF-8 text, without lone surrogates"
NOT_THE_MESSAGE: Final = "the bytes are no such message"


def diagnose(message: Descriptor, data: bytes) -> list[Violation]:
    """What is wrong with bytes that did not decode; never empty."""
    found = list(_broken_texts(message, data, "", DEPTH_MAX))
    return found or [Violation(message.name, NOT_THE_MESSAGE)]


def _broken_texts(message: Descriptor, data: bytes, path: str, depth: int) -> Iterator[Violation]:
    # A message without fields keeps every field of another one as unknown, unjudged.
    try:
        fields = UnknownFieldSet(Empty.FromString(data))
    except DecodeError:
        return
    seen: Counter[int] = Counter()
    for unknown in (fields[index] for index in range(len(fields))):
        field = message.fields_by_number.get(unknown.field_number)
        value = unknown.data
        if field is None or not isinstance(value, bytes):
            continue
        where = path + field.name
        if field.is_repeated:
            where += f"[{seen[field.number]}]"
            seen[field.number] += 1
        if field.type == FieldDescriptor.TYPE_STRING and not _is_text(value):
            yield Violation(where, NOT_UTF8)
        elif field.message_type is not None and depth > 0:
            yield from _broken_texts(field.message_type, value, f"{where}.", depth - 1)


def _is_text(value: bytes) -> bool:
    try:
        value.decode()
    except UnicodeDecodeError:
        return False
    return True
