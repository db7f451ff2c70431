"""Watches how large SQLite's write-ahead log has become.

The writer starts it over whenever all of it is in the database file and nobody reads an older
state. A reader who does not end keeps it growing, until the disk is full.
"""

import logging
from pathlib import Path

logger = logging.getLogger(__name__)


class LogWatch:
    """Says once when the log passes its bound, and once when it is back. One thread at a time."""

    def __init__(self, database: Path, *, bytes_alarm: int) -> None:
        self._path = database.with_name(f"{database.name}-wal")
        self._bytes_alarm = bytes_alarm
        self._is_alarmed = False
        self.bytes = 0
        """The size of the file when it was last looked at."""

    def look(self) -> None:
        """Only asks for its size: to open and close one of SQLite's files takes its locks away."""
        try:
            self.bytes = self._path.stat().st_size
        except OSError:
            self.bytes = 0  # there is none before the first transaction
        is_large = self.bytes > self._bytes_alarm
        if is_large and not self._is_alarmed:
            logger.warning(
                "the store's write-ahead log has %d bytes, more than wal_bytes_alarm: somebody "
                "reads an old state and does not end (a verification, a backup, a shell), or the "
                "disk takes no more",
                self.bytes,
                extra={"wal_bytes": self.bytes},
            )
        elif self._is_alarmed and not is_large:
            logger.warning(
                "the store's write-ahead log is back at %d bytes",
                self.bytes,
                extra={"wal_bytes": self.bytes},
            )
        self._is_alarmed = is_large
