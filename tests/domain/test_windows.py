"""Claims about maintenance windows: when they are open, and when they open next."""

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from governor.domain.gates import Window
from governor.domain.values import Micros
from governor.domain.windows import check_window, is_open, next_opening

HOUR = 3600
BERLIN = "Europe/Berlin"
NIGHTS = Window(name="nights", opens="0 22 * * MON-THU", lasts_seconds=8 * HOUR, timezone=BERLIN)
SATURDAYS = Window(name="saturdays", opens="30 9 * * SAT", lasts_seconds=2 * HOUR)


def at(text: str, zone: str = "UTC") -> Micros:
    local = datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone))
    return Micros(int(local.timestamp()) * 1_000_000)


def utc(moment: Micros | None) -> str:
    assert moment is not None
    return datetime.fromtimestamp(moment / 1_000_000, UTC).isoformat(timespec="minutes")[:-6]


@pytest.mark.parametrize(
    ("moment", "expected"),
    [
        ("2026-07-06T21:59:59", False),  # a Monday
        ("2026-07-06T22:00:00", True),
        ("2026-07-07T05:59:59", True),
        ("2026-07-07T06:00:00", False),
        ("2026-07-10T22:00:00", False),  # a Friday
        ("2026-07-10T02:00:00", True),  # Thursday's
    ],
)
def test_a_window_is_open_from_its_opening_for_as_long_as_it_lasts(
    moment: str, *, expected: bool
) -> None:
    assert is_open((NIGHTS,), at(moment, BERLIN)) is expected


def test_of_several_windows_one_that_is_open_is_enough_and_the_first_to_open_is_next() -> None:
    both = (NIGHTS, SATURDAYS)
    assert is_open(both, at("2026-07-11T10:00"))
    assert next_opening(both, at("2026-07-10T12:00")) == at("2026-07-11T09:30")
    assert next_opening(both, at("2026-07-11T12:00")) == at("2026-07-13T22:00", BERLIN)


def test_without_a_window_any_time_is_right() -> None:
    assert is_open((), Micros(0))
    assert next_opening((), Micros(7)) == 7


def test_an_open_window_opens_now() -> None:
    inside = at("2026-07-11T10:00")
    assert next_opening((SATURDAYS,), inside) == inside


@pytest.mark.parametrize(
    ("opens", "before", "expected"),
    [
        # 02:30 is left out on 29 March 2026 in Berlin: it opens as the clock goes on, at 03:00.
        ("30 2 * * *", "2026-03-29T00:00", "2026-03-29T01:00"),
        ("30 2 * * *", "2026-03-29T12:00", "2026-03-30T00:30"),
        # 02:30 comes twice on 25 October: it opens the first time, and not again.
        ("30 2 * * *", "2026-10-24T12:00", "2026-10-25T00:30"),
        ("30 2 * * *", "2026-10-25T00:32", "2026-10-26T01:30"),
        # A job that runs every hour goes by time, and not by the clock on the wall.
        ("0 * * * *", "2026-10-25T00:02", "2026-10-25T01:00"),
        ("0 * * * *", "2026-10-25T01:02", "2026-10-25T02:00"),
    ],
)
def test_daylight_saving_neither_loses_nor_doubles_an_opening(
    opens: str, before: str, expected: str
) -> None:
    window = Window(name="w", opens=opens, lasts_seconds=60, timezone=BERLIN)
    assert utc(next_opening((window,), at(before))) == expected


def test_a_window_lasts_its_time_whatever_the_clock_on_the_wall_does() -> None:
    autumn = Window(name="w", opens="0 1 25 10 *", lasts_seconds=3 * HOUR, timezone=BERLIN)
    opening = at("2026-10-25T01:00", BERLIN)
    assert is_open((autumn,), Micros(opening + 3 * HOUR * 1_000_000 - 1))
    assert not is_open((autumn,), Micros(opening + 3 * HOUR * 1_000_000))


ZONES = st.sampled_from(["UTC", BERLIN, "America/New_York", "Australia/Lord_Howe", "Asia/Kolkata"])
CRON = st.sampled_from(
    ["30 2 * * *", "0 * * * *", "*/20 1-3 * * *", "0 22 * * MON-FRI", "15 0 1 * *", "0 4 * * SUN#1"]
)
MOMENTS = st.integers(1_750_000_000_000_000, 1_830_000_000_000_000).map(Micros)


@given(CRON, ZONES, st.integers(60, 3 * 86_400), MOMENTS)
def test_the_next_opening_is_open_and_nothing_before_it_is(
    opens: str, zone: str, lasts_seconds: int, moment: Micros
) -> None:
    windows = (Window(name="w", opens=opens, lasts_seconds=lasts_seconds, timezone=zone),)
    opening = next_opening(windows, moment)
    assert opening is not None
    assert opening >= moment
    assert is_open(windows, opening)
    if opening > moment:
        for part in range(8):
            assert not is_open(windows, Micros(moment + (opening - moment) * part // 8))
        assert not is_open(windows, Micros(opening - 1))


@pytest.mark.parametrize(
    ("opens", "zone", "fact"),
    [
        ("0 22 * *", "UTC", "5 cron fields"),
        ("0 0 22 * * *", "UTC", "5 cron fields"),
        ("61 * * * *", "UTC", "Bad minute"),
        ("0 0 31 2 *", "UTC", "Bad day-of-month"),
        ("0 0 * * *", "Europe/Nowhere", "Europe/Nowhere"),
        ("0 0 * * *", "../etc/passwd", "passwd"),
    ],
)
def test_what_is_no_window_is_refused_by_name(opens: str, zone: str, fact: str) -> None:
    with pytest.raises(ValueError, match=fact):
        check_window(Window(name="w", opens=opens, lasts_seconds=60, timezone=zone))
