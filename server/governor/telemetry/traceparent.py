"""The W3C trace context as text: read strictly, written in version 00."""

import re
from typing import Final

from opentelemetry.trace import SpanContext, TraceFlags, TraceState

TRACEPARENT: Final = "traceparent"
TRACESTATE: Final = "tracestate"
TRACESTATE_CHARACTERS_MAX: Final = 512

_FIELDS = re.compile(
    r"(?P<version>[0-9a-f]{2})-(?P<trace>[0-9a-f]{32})-(?P<span>[0-9a-f]{16})-(?P<flags>[0-9a-f]{2})"
    r"(?P<rest>-.*)?",
    re.ASCII,
).fullmatch
_NO_TRACE: Final = "0" * 32
_NO_SPAN: Final = "0" * 16
_VERSION: Final = "00"
_FORBIDDEN_VERSION: Final = "ff"


def canonical(text: str) -> str:
    """The same context in version 00, or nothing when `text` is no valid traceparent.

    Of later versions the fields that version 00 has are taken over, as the specification demands.
    """
    fields = _FIELDS(text)
    if fields is None:
        return ""
    version, trace, span, flags, rest = fields.groups()
    if version == _FORBIDDEN_VERSION or trace == _NO_TRACE or span == _NO_SPAN:
        return ""
    if version == _VERSION:
        return "" if rest else text
    return f"{_VERSION}-{trace}-{span}-{flags}"


def parse(text: str, tracestate: str = "") -> SpanContext | None:
    """The remote span that `text` names, or None when it names none."""
    plain = canonical(text)
    if not plain:
        return None
    _, trace, span, flags = plain.split("-")
    state = None
    if tracestate and len(tracestate) <= TRACESTATE_CHARACTERS_MAX:
        state = TraceState.from_header([tracestate])
    return SpanContext(
        trace_id=int(trace, 16),
        span_id=int(span, 16),
        is_remote=True,
        # Only the flag that has a meaning here: whether the caller records its span.
        trace_flags=TraceFlags(int(flags, 16) & TraceFlags.SAMPLED),
        trace_state=state,
    )


def text_of(span: SpanContext) -> str:
    """The traceparent of a span; empty when there is none."""
    if not span.is_valid:
        return ""
    return f"{_VERSION}-{span.trace_id:032x}-{span.span_id:016x}-{span.trace_flags:02x}"
