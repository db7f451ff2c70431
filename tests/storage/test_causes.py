"""What the databases say is wrong, as a cause that may be told: from errors they really raise."""

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy.exc import DBAPIError, EmulatedDBAPIException, OperationalError

from governor.storage.causes import UNNAMED, Cause, cause_name, cause_of
from governor.storage.transaction import unavailable


def full(path: Path) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("CREATE TABLE t (x)")
        connection.execute("PRAGMA max_page_count = 2")
        connection.execute("INSERT INTO t VALUES (zeroblob(100000))")


def read_only(path: Path) -> None:
    sqlite3.connect(path).close()
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection:
        connection.execute("CREATE TABLE t (x)")


def no_folder(path: Path) -> None:
    sqlite3.connect(path / "none" / "x.db")


def no_database(path: Path) -> None:
    path.write_bytes(b"Dear Sir or Madam, " * 100)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("SELECT 1 FROM sqlite_master")


def damaged(path: Path) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA page_size = 4096")
        connection.execute("CREATE TABLE t (x)")
    page = bytearray(path.read_bytes())
    page[4096] ^= 0xFF
    path.write_bytes(page)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("SELECT * FROM t").fetchall()


@pytest.mark.parametrize(
    ("spoil", "cause"),
    [
        (full, Cause.DISK_FULL),
        (read_only, Cause.READ_ONLY),
        (no_folder, Cause.CANNOT_OPEN),
        (no_database, Cause.DAMAGED),
        (damaged, Cause.DAMAGED),
    ],
)
def test_what_sqlite_says_is_a_cause(
    tmp_path: Path, spoil: Callable[[Path], None], cause: Cause
) -> None:
    """Also behind the library's error, and behind a COMMIT that did not answer."""
    with pytest.raises(sqlite3.Error) as raised:
        spoil(tmp_path / "x.db")
    wrapped = OperationalError("COMMIT", None, raised.value)
    behind = RuntimeError("the COMMIT did not answer")
    behind.__cause__ = wrapped
    for error in (raised.value, wrapped, behind):
        assert cause_of(error) is cause


@pytest.mark.parametrize(
    ("state", "cause"),
    [
        ("53100", Cause.DISK_FULL),
        ("58030", Cause.DISK_FAILED),
        ("25006", Cause.READ_ONLY),
        ("XX001", Cause.DAMAGED),
        ("XX002", Cause.DAMAGED),
        ("40001", None),
        ("", None),
    ],
)
def test_what_postgresql_says_is_a_cause(state: str, cause: Cause | None) -> None:
    """By its SQLSTATE, never by its words."""

    class Said(Exception):
        sqlstate = state

    said = EmulatedDBAPIException("words of the driver", orig=Said())
    assert cause_of(DBAPIError("COMMIT", None, said)) is cause


@pytest.mark.parametrize("error", [None, ValueError("no"), sqlite3.OperationalError("locked")])
def test_what_is_no_known_cause_has_no_name(error: BaseException | None) -> None:
    """Better none than a wrong one."""
    assert cause_of(error) is None
    assert unavailable(error).facts == {}
    assert cause_name(unavailable(error)) == UNNAMED


def test_a_caller_is_told_the_name_and_our_sentence_and_nothing_of_the_drivers(
    tmp_path: Path,
) -> None:
    """The driver's text may hold values of other people's requests."""
    with pytest.raises(sqlite3.Error) as raised:
        full(tmp_path / "x.db")
    told = unavailable(OperationalError("INSERT secret", ("secret",), raised.value))
    assert (told.message, told.facts) == ("the store's disk is full", {"cause": "DISK_FULL"})
    assert cause_name(told) == "DISK_FULL"
