"""Lengths of time and moments as people type them."""

from datetime import UTC, datetime

import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from governor.cli.durations import (
    duration_of,
    parse_moment,
    parse_seconds,
    shown_age,
    shown_duration,
    shown_moment,
    timestamp_of,
)

NOW = datetime(2030, 1, 31, 12, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("500ms", 0.5), ("10s", 10), ("1.5h", 5400), ("1h30m", 5400), ("7d", 604_800), ("0s", 0)],
)
def test_a_length_of_time_is_read(text: str, seconds: float) -> None:
    assert parse_seconds(text) == seconds


@pytest.mark.parametrize("text", ["", "10", "s", "10 s", "-1s", "1y", "10sx", "1e9s", "9999w"])
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"length of time|longer"):
        parse_seconds(text)


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2h", datetime(2030, 1, 31, 14, 0, tzinfo=UTC)),
        ("2030-02-01T00:00:00Z", datetime(2030, 2, 1, tzinfo=UTC)),
        ("2030-02-01T02:00:00+02:00", datetime(2030, 2, 1, tzinfo=UTC)),
    ],
)
def test_a_moment_is_read(text: str, moment: datetime) -> None:
    assert parse_moment(text, NOW) == moment


def test_a_length_can_count_back_from_now() -> None:
    assert parse_moment("2h", NOW, is_past=True) == datetime(2030, 1, 31, 10, 0, tzinfo=UTC)
    absolute = "2030-02-01T00:00:00Z"
    assert parse_moment(absolute, NOW, is_past=True) == parse_moment(absolute, NOW)


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(-5, "0s"), (45, "45s"), (720, "12m"), (11_100, "3h05m"), (187_200, "2d4h")],
)
def test_an_age_is_shown_by_its_largest_units(seconds: int, shown: str) -> None:
    since = Timestamp(seconds=1_900_000_000)
    assert shown_age(since, Timestamp(seconds=1_900_000_000 + seconds)) == shown


@pytest.mark.parametrize("text", ["tomorrow", "2030-02-01T00:00:00", "2030-13-01T00:00:00Z"])
def test_a_moment_without_a_zone_or_sense_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"zone|neither"):
        parse_moment(text, NOW)


def test_what_is_read_is_carried_and_shown() -> None:
    assert duration_of(0.25) == Duration(nanos=250_000_000)
    assert shown_moment(timestamp_of(NOW)) == "2030-01-31 12:00:00.000Z"


@pytest.mark.parametrize(
    ("seconds", "shown"), [(0.0123, "12ms"), (2.5, "2.5s"), (61, "1m01s"), (7260, "2h01m")]
)
def test_a_duration_is_shown_as_long_as_it_is(seconds: float, shown: str) -> None:
    assert shown_duration(duration_of(seconds)) == shown
