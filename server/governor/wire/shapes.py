"""The kinds of single value a field can hold: each says itself in words and judges a value."""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Final

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from governor.wire.codec.enums import EnumTable
from governor.wire.codec.values import NANOS_PER_SECOND, span_seconds
from governor.wire.limits import MOMENT_SECONDS_MAX


@dataclass(frozen=True, slots=True, kw_only=True)
class Scalar:
    """A value that is judged alone. `passes` answers something true for a good one and is asked on
    every call; `fault` says what is wrong with a bad one.
    """

    words: str
    passes: Callable[[Any], object]
    fault: Callable[[Any], str]


def text(pattern: str, words: str) -> Scalar:
    """A text that must match a pattern as a whole; bounds are part of the pattern."""
    return _scalar(words, re.compile(pattern, re.ASCII).fullmatch)


def _scalar(
    words: str, passes: Callable[[Any], object], got: Callable[[Any], object] | None = None
) -> Scalar:
    """Its fault is its words; `got` adds what the value is, where that is safe and short."""
    return Scalar(
        words=words,
        passes=passes,
        fault=lambda value: f"must be {words}" + (f", not {got(value)}" if got else ""),
    )


_UNPRINTABLE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f"  # control characters, but for newline and tab
    "\u2028\u2029"  # separators that end a line for some readers only
    "\u202a-\u202e\u2066-\u2069"  # what makes an approver read another text than is stored
    "\ud800-\udfff\ufffe\uffff]"  # no characters at all
)


def prose(characters_max: int, *, lines: bool = True) -> Scalar:
    """Words for people: any script, but nothing that hides or reorders them."""
    kind = "" if lines else "one line of "
    search = _UNPRINTABLE.search

    def passes(value: str) -> bool:
        return len(value) <= characters_max and (
            # Most texts are printable to the last character, which is known in no time.
            value.isprintable()
            or (search(value) is None and (lines or not ("\n" in value or "\t" in value)))
        )

    return _scalar(
        f"{kind}at most {characters_max} characters without control characters or marks that "
        "change the direction of reading",
        passes,
    )


def octets(*, exactly: int) -> Scalar:
    """Bytes of one length."""
    return _scalar(f"{exactly} bytes", lambda value: len(value) == exactly, len)


def octets_up_to(bytes_max: int) -> Scalar:
    """Any bytes of a bounded length."""
    return _scalar(f"at most {bytes_max} bytes", lambda value: len(value) <= bytes_max, len)


def number(low: int, high: int) -> Scalar:
    """A whole number within bounds."""
    return _scalar(f"{low} to {high}", lambda value: low <= value <= high, str)


def choice(table: EnumTable[Any, Any]) -> Scalar:
    """One of the enumeration's values that the table knows; in a list, zero is none of them."""
    known = frozenset(table.to_wire.values())
    prefix = table.outer.values_by_number[0].name.removesuffix("UNSPECIFIED")
    names = ", ".join(
        value.name.removeprefix(prefix)
        for value in table.outer.values
        if value.number and value.number in known
    )
    return _scalar(f"one of {names}", (known - {0}).__contains__, str)


def member(names: Iterable[str], words: str) -> Scalar:
    """One of a closed set of texts."""
    return _scalar(words, frozenset(names).__contains__)


def _is_moment(value: Timestamp) -> bool:
    return 0 <= value.seconds <= MOMENT_SECONDS_MAX and 0 <= value.nanos < NANOS_PER_SECOND


MOMENT: Final = _scalar("a Timestamp from 1970 to 9999", _is_moment)


def span(low_seconds: float, high_seconds: float) -> Scalar:
    """A length of time within bounds."""

    def passes(value: Duration) -> bool:
        # Bounded first: a Duration's seconds reach far beyond what a float holds exactly.
        return (
            0 <= value.seconds <= high_seconds
            and 0 <= value.nanos < NANOS_PER_SECOND
            and low_seconds <= span_seconds(value) <= high_seconds
        )

    return _scalar(f"a Duration of {low_seconds:g} s to {high_seconds:g} s", passes)
