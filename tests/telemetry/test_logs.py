"""Log records carry their trace and their facts, for machines and for people."""

import io
import json
import logging
from collections.abc import Iterator

import pytest

from governor.telemetry.logs import configure_logging
from tests.telemetry.recorded import recorded

STORED = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def former_handlers() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


@pytest.fixture
def lines() -> io.StringIO:
    stream = io.StringIO()
    configure_logging("info", stream=stream)
    return stream


def last(stream: io.StringIO) -> dict[str, str]:
    found: dict[str, str] = json.loads(stream.getvalue().splitlines()[-1])
    return found


def test_a_record_is_one_object_with_its_facts(lines: io.StringIO) -> None:
    logging.getLogger("governor.test").warning(
        "an execution is in doubt", extra={"execution_audit_id": "au-1"}
    )
    record = last(lines)
    time = record.pop("time")
    assert record == {
        "level": "WARNING",
        "logger": "governor.test",
        "message": "an execution is in doubt",
        "execution_audit_id": "au-1",
    }
    assert time.endswith("+00:00")


def test_a_record_carries_the_trace_at_hand(lines: io.StringIO) -> None:
    tracer = recorded().telemetry.tracer
    assert tracer is not None
    with tracer.start_as_current_span("call") as span:
        logging.getLogger("governor.test").info("within")
    context = span.get_span_context()
    assert last(lines)["trace_id"] == f"{context.trace_id:032x}"
    assert last(lines)["span_id"] == f"{context.span_id:016x}"


def test_a_record_that_names_its_trace_carries_that_one(lines: io.StringIO) -> None:
    """As an execution does that was stored by a process long gone."""
    tracer = recorded().telemetry.tracer
    assert tracer is not None
    with tracer.start_as_current_span("call"):
        logging.getLogger("governor.test").info("stored", extra={"traceparent": STORED})
    record = last(lines)
    assert record["trace_id"] == "0af7651916cd43dd8448eb211c80319c"
    assert record["span_id"] == "b7ad6b7169203331"
    assert "traceparent" not in record


def test_a_traceback_stays_in_its_object(lines: io.StringIO) -> None:
    try:
        raise RuntimeError("deep down")
    except RuntimeError:
        logging.getLogger("governor.test").exception("it failed")
    assert len(lines.getvalue().splitlines()) == 1
    assert "deep down" in last(lines)["exc_info"]


def test_what_is_below_the_level_is_not_written(lines: io.StringIO) -> None:
    logging.getLogger("governor.test").debug("whisper")
    assert lines.getvalue() == ""


def test_a_person_at_a_terminal_reads_lines() -> None:
    stream = Terminal()
    configure_logging("info", stream=stream)
    logging.getLogger("governor.test").info(
        "a call failed", extra={"incident": "in-1", "traceparent": STORED}
    )
    line = stream.getvalue()
    assert "governor.test: a call failed incident=in-1" in line
    assert "traceparent" not in line
    assert "trace_id" not in line


def test_the_form_can_be_chosen() -> None:
    stream = Terminal()
    configure_logging("info", "json", stream=stream)
    logging.getLogger("governor.test").info("hello")
    assert last(stream)["message"] == "hello"


def test_configuring_again_replaces_what_was(lines: io.StringIO) -> None:
    again = io.StringIO()
    configure_logging("info", stream=again)
    logging.getLogger("governor.test").info("once")
    assert lines.getvalue() == ""
    assert len(again.getvalue().splitlines()) == 1
