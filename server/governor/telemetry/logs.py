"""Logs on stderr: JSON for machines, lines for people; both say which trace they belong to."""

import logging
import sys
from typing import Final, Literal, TextIO

from opentelemetry import trace
from pythonjsonlogger.json import JsonFormatter

from governor.telemetry.traceparent import canonical

Format = Literal["json", "text"]

TRACE_ID: Final = "trace_id"
SPAN_ID: Final = "span_id"
TRACEPARENT: Final = "traceparent"

_JSON_FIELDS: Final = ("levelname", "name", "message")
_JSON_NAMES: Final = {"levelname": "level", "name": "logger"}
_TEXT: Final = "%(asctime)s %(levelname)-7s %(name)s: %(message)s"
_PLAIN: Final = frozenset(
    {*logging.makeLogRecord({}).__dict__, "message", "asctime", TRACE_ID, SPAN_ID, TRACEPARENT}
)


def configure_logging(
    level: str = "info", form: Format | None = None, stream: TextIO | None = None
) -> None:
    """Sends every record of that level and above to `stream`, stderr unless said otherwise.

    Without `form` a terminal gets plain lines and anything else JSON.
    """
    target = sys.stderr if stream is None else stream
    handler = logging.StreamHandler(target)
    if form is None:
        form = "text" if target.isatty() else "json"
    handler.setFormatter(_Lines(_TEXT) if form == "text" else _json_formatter())
    handler.addFilter(with_trace)
    root = logging.getLogger()
    for former in root.handlers[:]:
        root.removeHandler(former)
    root.addHandler(handler)
    root.setLevel(level.upper())


def with_trace(record: logging.LogRecord) -> bool:
    """Adds trace_id and span_id: of the `traceparent` given with the record, else of the span at
    hand. Lets every record pass.
    """
    stated = record.__dict__.pop(TRACEPARENT, "")
    if isinstance(stated, str) and (plain := canonical(stated)):
        _, trace_id, span_id, _ = plain.split("-")
        record.__dict__[TRACE_ID], record.__dict__[SPAN_ID] = trace_id, span_id
        return True
    span = trace.get_current_span().get_span_context()
    if span.is_valid:
        record.__dict__[TRACE_ID] = f"{span.trace_id:032x}"
        record.__dict__[SPAN_ID] = f"{span.span_id:016x}"
    return True


def _json_formatter() -> JsonFormatter:
    return JsonFormatter(_JSON_FIELDS, rename_fields=_JSON_NAMES, timestamp="time")


class _Lines(logging.Formatter):
    """A line for people, with the facts of the record behind its message."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802  # the name logging calls
        line = super().formatMessage(record)
        facts = " ".join(
            f"{key}={value}" for key, value in record.__dict__.items() if key not in _PLAIN
        )
        return f"{line} {facts}" if facts else line
