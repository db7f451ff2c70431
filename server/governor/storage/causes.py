"""Why a store does not answer, as far as the database says: one table for each backend.

The name and the sentence of a cause may be told to a caller; the driver's own text never is. What
an operator can do about it stands in the log.
"""

import sqlite3
from collections.abc import Iterator, Mapping
from enum import Enum
from typing import Final

import msgspec
from sqlalchemy.exc import DBAPIError

from governor.domain.errors import GovernorError
from governor.storage.dialect import sqlstate


class Cause(Enum):
    """What is wrong, in a sentence for callers, and what to do about it, for operators."""

    DISK_FULL = (
        "the store's disk is full",
        "make room; nothing has to be started again",
    )
    DISK_FAILED = (
        "the store's disk does not read or write",
        "look at the disk, its mount and its quotas, then run governor verify",
    )
    READ_ONLY = (
        "the store cannot be written to",
        "look at the mount, at the file's owner, and whether the server is a standby by now",
    )
    CANNOT_OPEN = (
        "the store, or a file beside it, cannot be opened",
        "look at the folder, who may write into it, and how many files the process may open",
    )
    DAMAGED = (
        "the store is damaged, or is no database",
        "stop, keep a copy of all its files, run governor verify, then governor restore a backup",
    )

    def __init__(self, fact: str, remedy: str) -> None:
        self.fact = fact
        self.remedy = remedy


UNNAMED: Final = "UNNAMED"
"""What failures without a known cause are counted under."""

_BY_RESULT_CODE: Final[Mapping[int, Cause]] = {
    sqlite3.SQLITE_FULL: Cause.DISK_FULL,
    sqlite3.SQLITE_IOERR: Cause.DISK_FAILED,
    sqlite3.SQLITE_READONLY: Cause.READ_ONLY,
    sqlite3.SQLITE_CANTOPEN: Cause.CANNOT_OPEN,
    sqlite3.SQLITE_PERM: Cause.CANNOT_OPEN,
    sqlite3.SQLITE_CORRUPT: Cause.DAMAGED,
    sqlite3.SQLITE_NOTADB: Cause.DAMAGED,
}
_PRIMARY: Final = 0xFF  # what else an extended result code says is finer than our causes

_BY_SQLSTATE: Final[Mapping[str, Cause]] = {
    "53100": Cause.DISK_FULL,
    "58030": Cause.DISK_FAILED,  # io_error
    "25006": Cause.READ_ONLY,  # read_only_sql_transaction
    "XX001": Cause.DAMAGED,  # data_corrupted
    "XX002": Cause.DAMAGED,  # index_corrupted
}


def cause_of(error: BaseException | None) -> Cause | None:
    """What an error says is wrong, or the error behind it; None where nothing of the kind is."""
    for step in _behind(error):
        if isinstance(step, sqlite3.Error):
            cause = _BY_RESULT_CODE.get(getattr(step, "sqlite_errorcode", 0) & _PRIMARY)
        elif isinstance(step, DBAPIError):
            cause = _BY_SQLSTATE.get(sqlstate(step))
        else:
            # A value of ours whose stored bytes are no value.
            cause = Cause.DAMAGED if isinstance(step, msgspec.DecodeError) else None
        if cause is not None:
            return cause
    return None


def cause_name(error: GovernorError) -> str:
    """The name of the cause that a caller is told, for counting."""
    return error.facts.get("cause", UNNAMED)


def _behind(error: BaseException | None) -> Iterator[BaseException]:
    """An error and its causes; a library's error also has the driver's, as `orig`."""
    while error is not None:
        yield error
        if isinstance(error, DBAPIError) and error.orig is not None:
            yield error.orig
        error = error.__cause__
