"""verify: a sound store, a changed one, and checkpoints that are kept outside."""

import json
import sqlite3
from contextlib import closing
from pathlib import Path
from shutil import copy

import pytest
from typer.testing import CliRunner, Result

from governor.cli.exits import ExitCode
from governor.cli.main import app
from tests.support.deployment import Deployment


def verify(store: Path, *arguments: str) -> Result:
    url = f"sqlite:///{store}"
    result = CliRunner().invoke(app, ("verify", "--store", url, *arguments), catch_exceptions=False)
    assert "Traceback" not in result.output
    return result


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store that a sidecar has written to."""
    deployment = Deployment(tmp_path_factory.mktemp("verify"))
    with deployment.host(), deployment.sidecar(), deployment.client() as ann:
        for number in range(3):
            ann.submit(f"r-{number}", flag=f"f-{number}", wait_seconds=10)
    return deployment.home / "governor.db"


@pytest.fixture
def store(made: Path, tmp_path: Path) -> Path:
    return Path(copy(made, tmp_path / "governor.db"))


def tamper(store: Path, statement: str) -> None:
    """Writes past every guard the database has."""
    with closing(sqlite3.connect(store)) as connection, connection:
        guards = connection.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'")
        for (name,) in guards.fetchall():
            connection.execute(f"DROP TRIGGER {name}")
        connection.execute(statement)


def test_a_sound_store_verifies_and_gives_a_checkpoint(store: Path, tmp_path: Path) -> None:
    checkpoint = tmp_path / "checkpoint"
    first = verify(store, "--write-checkpoint", str(checkpoint))
    assert first.exit_code == ExitCode.OK, first.output
    assert first.stdout.startswith("verified\n")
    assert "no checkpoint was given" in first.stderr
    again = verify(store, "--checkpoint", str(checkpoint), "--json")
    assert again.exit_code == ExitCode.OK, again.output
    summary = json.loads(again.stdout)
    assert (summary["requests"], summary["findings"]) == (3, 0)
    assert checkpoint.read_text().splitlines()[:2] == [summary["storeId"], str(summary["entries"])]


def test_a_flipped_byte_is_found_where_it_is(store: Path, tmp_path: Path) -> None:
    tamper(
        store,
        "UPDATE ledger SET entry = CAST(substr(entry, 1, length(entry) - 1) || x'00' AS BLOB) "
        "WHERE revision = 2",
    )
    checkpoint = tmp_path / "checkpoint"
    result = verify(store, "--write-checkpoint", str(checkpoint))
    assert result.exit_code == ExitCode.VERIFICATION_FAILED
    assert "ENTRY_CHANGED" in result.stdout
    assert "revision 2" in result.stdout
    assert "not verified" in result.stdout
    assert not checkpoint.exists()


def test_findings_are_objects_for_programs(store: Path) -> None:
    tamper(store, "UPDATE head SET root = zeroblob(32)")
    result = verify(store, "--json")
    assert result.exit_code == ExitCode.VERIFICATION_FAILED
    *findings, summary = [json.loads(line) for line in result.stdout.splitlines()]
    assert [finding["fault"] for finding in findings] == ["HEAD_ROOT"]
    assert summary["findings"] == 1


def test_another_stores_checkpoint_is_told_apart(store: Path, tmp_path: Path) -> None:
    checkpoint = tmp_path / "checkpoint"
    verify(store, "--write-checkpoint", str(checkpoint))
    text = checkpoint.read_text()
    checkpoint.write_text("another\n" + text.partition("\n")[2])
    result = verify(store, "--checkpoint", str(checkpoint))
    assert result.exit_code == ExitCode.VERIFICATION_FAILED
    assert "CHECKPOINT_OF_ANOTHER_STORE" in result.stdout


@pytest.mark.parametrize(
    ("content", "fact"),
    [(None, "No such file"), (b"", "three lines"), (b"\xff", "utf-8"), (b"a\nb\nc\n", "size")],
)
def test_what_is_no_checkpoint_is_refused(
    store: Path, tmp_path: Path, content: bytes | None, fact: str
) -> None:
    checkpoint = tmp_path / "checkpoint"
    if content is not None:
        checkpoint.write_bytes(content)
    result = verify(store, "--checkpoint", str(checkpoint))
    assert result.exit_code == ExitCode.CANNOT_START
    assert fact in result.stderr


def test_a_store_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    result = verify(tmp_path / "nowhere.db")
    assert result.exit_code == ExitCode.CANNOT_START
    assert "there is no store at" in result.stderr
    assert not (tmp_path / "nowhere.db").exists()


def test_a_checkpoint_that_cannot_be_written_is_said(store: Path) -> None:
    result = verify(store, "--write-checkpoint", "/dev/null/checkpoint")
    assert result.exit_code == ExitCode.CANNOT_START
    assert "the checkpoint was not written" in result.stderr
