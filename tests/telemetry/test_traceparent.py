"""The W3C trace context is read strictly."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.trace import TraceFlags

from governor.telemetry.traceparent import TRACESTATE_CHARACTERS_MAX, canonical, parse, text_of

GOOD = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def test_a_good_one_is_taken_as_it_is() -> None:
    assert canonical(GOOD) == GOOD
    span = parse(GOOD)
    assert span is not None
    assert span.is_remote
    assert span.trace_id == 0x0AF7651916CD43DD8448EB211C80319C
    assert span.span_id == 0xB7AD6B7169203331
    assert span.trace_flags.sampled
    assert text_of(span) == GOOD


@pytest.mark.parametrize(
    "bad",
    [
        "",
        "00",
        GOOD.upper(),
        f" {GOOD}",
        f"{GOOD}\n",
        f"{GOOD}-extra",
        GOOD.replace("00-", "ff-", 1),
        "00-00000000000000000000000000000000-b7ad6b7169203331-01",
        "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
        "00-0af7651916cd43dd8448eb211c80319-b7ad6b7169203331-01",
        "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-1",
        "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-0g",
        "00-\N{ARABIC-INDIC DIGIT ZERO}af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        "01-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01extra",
    ],
)
def test_anything_else_is_none(bad: str) -> None:
    assert canonical(bad) == ""
    assert parse(bad) is None


def test_a_later_version_is_taken_for_what_this_one_knows() -> None:
    later = GOOD.replace("00-", "cc-", 1)
    assert canonical(later) == GOOD
    assert canonical(f"{later}-what-the-future-may-be") == GOOD


@pytest.mark.parametrize(("flags", "is_sampled"), [("00", False), ("01", True), ("fe", False)])
def test_whether_the_caller_records_is_kept(flags: str, is_sampled: bool) -> None:
    span = parse(f"{GOOD[:-2]}{flags}")
    assert span is not None
    assert span.trace_flags == (TraceFlags.SAMPLED if is_sampled else TraceFlags.DEFAULT)


def test_a_tracestate_is_carried_unless_it_is_too_long() -> None:
    span = parse(GOOD, "vendor=1,other=2")
    assert span is not None
    assert span.trace_state["vendor"] == "1"
    long = parse(GOOD, "vendor=" + "x" * TRACESTATE_CHARACTERS_MAX)
    assert long is not None
    assert not long.trace_state


@given(st.text(max_size=80))
def test_no_text_breaks_the_reader(text: str) -> None:
    assert canonical(text) in ("", text)
    parse(text, text)
