"""backup and restore: what they say, what they refuse, and how they end."""

import json
from pathlib import Path
from shutil import copyfile

import pytest
from typer.testing import CliRunner, Result

from governor.cli.exits import ExitCode
from governor.cli.main import app
from tests.support.deployment import Deployment
from tests.support.pages import Pages


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store that a sidecar has written to."""
    deployment = Deployment(tmp_path_factory.mktemp("backup"))
    with deployment.host(), deployment.sidecar(), deployment.client() as ann:
        for number in range(3):
            ann.submit(f"r-{number}", flag=f"f-{number}", wait_seconds=10)
    return deployment.home / "governor.db"


@pytest.fixture
def store(made: Path, tmp_path: Path) -> Path:
    copyfile(made, tmp_path / "governor.db")
    return tmp_path / "governor.db"


def run(store: Path, *arguments: str) -> Result:
    command = (*arguments, "--store", f"sqlite:///{store}")
    result = CliRunner().invoke(app, command, catch_exceptions=False)
    assert "Traceback" not in result.output
    return result


def fields(result: Result) -> dict[str, str]:
    """The facts of a summary for people."""
    pairs = (line.split(maxsplit=1) for line in result.stdout.splitlines()[1:])
    return {pair[0]: pair[1] for pair in pairs}


def test_a_backup_says_what_was_verified_and_where_it_is(store: Path, tmp_path: Path) -> None:
    backup = tmp_path / "backup.db"
    result = run(store, "backup", str(backup))
    assert result.exit_code == ExitCode.OK, result.output
    assert result.stdout.startswith("backed up\n")
    facts = fields(result)
    assert (facts["file"], facts["checkpoint"]) == (str(backup), f"{backup}.checkpoint")
    assert (facts["requests"], facts["findings"]) == ("3", "0")
    assert "pages; verifying the copy" in result.stderr
    against = run(backup, "verify", "--checkpoint", f"{backup}.checkpoint")
    assert against.exit_code == ExitCode.OK, against.output


def test_a_restore_says_both_ids_and_what_it_replaced(store: Path, tmp_path: Path) -> None:
    backup = tmp_path / "backup.db"
    run(store, "backup", str(backup))
    arguments = ("restore", str(backup), "--checkpoint", f"{backup}.checkpoint", "--json")
    refused = run(store, *arguments)
    assert refused.exit_code == ExitCode.CANNOT_START
    assert "cannot restore" in refused.stderr
    assert "--replace" in refused.stderr
    result = run(store, *arguments, "--replace")
    assert result.exit_code == ExitCode.OK, result.output
    facts = json.loads(result.stdout)
    assert Path(facts["replaced"]).name.startswith("governor.db.replaced-")
    assert (facts["requests"], facts["findings"]) == (3, 0)
    assert facts["storeId"] != facts["formerStoreId"]
    assert len(facts["storeId"]) == len(facts["formerStoreId"]) == 32
    assert "no checkpoint" not in result.stderr
    (origin, *_) = Path(f"{backup}.checkpoint").read_text().splitlines()
    assert origin == facts["formerStoreId"]


def test_a_store_that_was_put_there_by_other_means_is_given_a_new_id(store: Path) -> None:
    result = run(store, "restore")
    assert result.exit_code == ExitCode.OK, result.output
    assert result.stdout.startswith("restored\n")
    assert "no checkpoint was given" in result.stderr
    facts = fields(run(store, "verify"))
    assert facts["storeId"] == fields(result)["storeId"]


@pytest.mark.parametrize(("command", "verdict"), [("backup", "backed up"), ("restore", "restored")])
def test_faults_are_told_and_nothing_is_made(
    store: Path, tmp_path: Path, command: str, verdict: str
) -> None:
    pages = Pages(store)
    *_, leaf = pages.tree("ledger_by_request")
    pages.flip(leaf.header)
    before = store.read_bytes()
    target = tmp_path / "target.db"
    if command == "backup":
        result = run(store, "backup", str(target))
    else:
        result = run(target, "restore", str(store))
    assert result.exit_code == ExitCode.VERIFICATION_FAILED, result.output
    assert "FILE_DAMAGED: the database file contradicts itself" in result.stdout
    assert f"not {verdict}\n" in result.stdout
    assert not target.exists()
    assert store.read_bytes() == before


def test_replacing_wants_something_to_put_there(store: Path) -> None:
    result = run(store, "restore", "--replace")
    assert result.exit_code == ExitCode.USAGE
    assert "needs a FILE" in result.stderr


def test_what_cannot_be_done_is_said(store: Path, tmp_path: Path) -> None:
    for arguments, words in (
        (("backup", str(store)), "is there already"),
        (("backup", str(tmp_path / "no" / "backup.db")), "No such file or directory"),
        (("restore", str(tmp_path / "none.db")), "there is no store at"),
        (("restore", str(store), "--checkpoint", str(tmp_path / "none")), "No such file"),
    ):
        result = run(store, *arguments)
        assert result.exit_code == ExitCode.CANNOT_START, result.output
        assert words in result.stderr
