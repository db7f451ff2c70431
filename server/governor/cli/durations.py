"""Lengths of time and moments as people type and read them."""

import re
from datetime import UTC, datetime

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

SECONDS_PER_UNIT = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0, "w": 604_800.0}
SECONDS_MAX = 10 * 366 * 86_400.0

_LENGTH = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d|w)")


def parse_seconds(text: str) -> float:
    """Reads `500ms`, `10s`, `1h30m`. Raises ValueError."""
    parts = _LENGTH.findall(text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise ValueError(f"{text!r} is not a length of time such as 500ms, 10s, 1h30m or 7d")
    seconds = sum(float(number) * SECONDS_PER_UNIT[unit] for number, unit in parts)
    if seconds > SECONDS_MAX:
        raise ValueError(f"{text} is longer than ten years")
    return seconds


def parse_moment(text: str, now: datetime, *, is_past: bool = False) -> datetime:
    """Reads an ISO 8601 time with a zone, or a length of time from now. Raises ValueError.

    With `is_past` a length counts back.
    """
    if _LENGTH.match(text) and "-" not in text:
        seconds = parse_seconds(text)
        return datetime.fromtimestamp(now.timestamp() + (-seconds if is_past else seconds), UTC)
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(
            f"{text!r} is neither a time such as 2030-01-31T12:00:00Z nor a length such as 2h"
        ) from None
    if moment.tzinfo is None:
        raise ValueError(f"{text!r} needs a zone, such as {text}Z")
    return moment


def duration_of(seconds: float) -> Duration:
    """As the contract carries it."""
    duration = Duration()
    duration.FromNanoseconds(round(seconds * 1e9))
    return duration


def timestamp_of(moment: datetime) -> Timestamp:
    """As the contract carries it."""
    timestamp = Timestamp()
    timestamp.FromDatetime(moment)
    return timestamp


def shown_moment(timestamp: Timestamp) -> str:
    """In UTC, to the millisecond."""
    moment = timestamp.ToDatetime(tzinfo=UTC)
    return f"{moment:%Y-%m-%d %H:%M:%S}.{moment.microsecond // 1000:03d}Z"


def shown_duration(duration: Duration) -> str:
    """To the millisecond below a minute, to the second above."""
    seconds = duration.ToNanoseconds() / 1e9
    if seconds < 1:
        return f"{seconds * 1000:.0f}ms"
    if seconds < 60:
        return f"{seconds:.3g}s"
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h{minutes:02d}m" if hours else f"{minutes}m{seconds:02d}s"


def shown_age(since: Timestamp, now: Timestamp) -> str:
    """How long ago, by its two largest units at most: `45s`, `12m`, `3h05m`, `2d4h`."""
    seconds = max(0, now.seconds - since.seconds)
    minutes, hours, days = seconds // 60, seconds // 3600, seconds // 86_400
    if days:
        return f"{days}d{hours % 24}h"
    if hours:
        return f"{hours}h{minutes % 60:02d}m"
    return f"{minutes}m" if minutes else f"{seconds}s"
