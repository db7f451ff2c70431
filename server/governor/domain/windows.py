"""Maintenance windows: whether one is open at a moment, and when the next one opens.

A window opens as cron would start a job, by the wall clock of its zone: what falls into the hour
that is left out in spring opens right after it, and what falls into the hour that comes twice in
autumn opens the first time. From there it lasts its seconds, whatever the wall clock does.
"""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Final
from zoneinfo import ZoneInfo

from cronsim import CronSim

from governor.domain.gates import Window
from governor.domain.values import Micros

CRON_FIELDS: Final = 5

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)
_MICROS: Final = 1_000_000


def is_open(windows: Sequence[Window], at: Micros) -> bool:
    """Whether `at` lies within one of them; where none is named, any time does."""
    return not windows or any(_is_open(window, at) for window in windows)


def next_opening(windows: Sequence[Window], at: Micros) -> Micros | None:
    """The first moment from `at` on that lies within one of them. None: there is no such moment."""
    if is_open(windows, at):
        return at
    openings = (next(_openings(window, after=at), None) for window in windows)
    return min((opening for opening in openings if opening is not None), default=None)


def check_window(window: Window) -> None:
    """Raises ValueError unless the window is one, in a zone there is, and opens at some time."""
    if len(window.opens.split()) != CRON_FIELDS:
        raise ValueError(f"must be {CRON_FIELDS} cron fields, not {window.opens!r}")
    try:
        first = next(_openings(window, after=Micros(0)), None)
    except Exception as error:
        raise ValueError(f"{window.opens!r} in {window.timezone!r}: {error}") from error
    if first is None:
        raise ValueError(f"{window.opens!r} never comes")


def _is_open(window: Window, at: Micros) -> bool:
    """It opened last within the time that it lasts."""
    opening = next(_openings(window, after=Micros(at - window.lasts_seconds * _MICROS)), None)
    return opening is not None and opening <= at


def _openings(window: Window, *, after: Micros) -> Iterator[Micros]:
    """When it opens, from after `after` on, in order."""
    begin = (_EPOCH + timedelta(microseconds=after)).astimezone(_zone(window.timezone))
    for opening in CronSim(window.opens, begin):
        moment = Micros((opening.astimezone(UTC) - _EPOCH) // _MICROSECOND)
        # From within the hour that comes twice, it looks at the first one again.
        if moment > after:
            yield moment


def _zone(name: str) -> tzinfo:
    return UTC if name == "UTC" else ZoneInfo(name)
