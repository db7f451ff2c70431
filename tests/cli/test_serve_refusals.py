"""serve does not start where it could not keep its promises, and says why in one place."""

import os
import socket
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from governor.cli.exits import ExitCode
from governor.cli.main import app
from governor.storage.migrate import VERSION_TABLE
from governor.storage.sqlite import ProcessLock


class Attempt:
    """What would be a good configuration; each test spoils one thing of it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.database = folder / "governor.db"
        self.socket = folder / "governor.sock"
        self.environment = {
            "GOVERNOR_LISTEN": f"unix:{self.socket}",
            "GOVERNOR_STORE_URL": f"sqlite:///{self.database}",
            "GOVERNOR_HOST_ADDRESS": f"unix:{folder}/host.sock",
            "OTEL_SDK_DISABLED": "true",
        }

    def run(self, *arguments: str, **environment: str) -> Result:
        """Tries to serve."""
        return CliRunner().invoke(
            app, ("serve", *arguments), env=self.environment | environment, catch_exceptions=False
        )

    def migrated(self) -> None:
        """Makes the store."""
        arguments = ("migrate", "--store", self.environment["GOVERNOR_STORE_URL"])
        assert CliRunner().invoke(app, arguments).exit_code == ExitCode.OK


@pytest.fixture
def attempt(tmp_path: Path) -> Attempt:
    return Attempt(tmp_path)


@contextmanager
def locked(database: Path) -> Iterator[None]:
    """As a running server holds its database."""
    lock = ProcessLock(database)
    lock.acquire()
    try:
        yield
    finally:
        lock.release()


def refusal(result: Result) -> str:
    assert result.exit_code == ExitCode.CANNOT_START, result.output
    assert "listening" not in result.stdout
    assert "Traceback" not in result.stderr
    return result.stderr


def test_a_port_that_is_taken(attempt: Attempt) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        result = attempt.run("--listen", address)
    assert f"cannot start: cannot listen on {address}: it is taken" in refusal(result)


def test_a_socket_that_somebody_listens_on(attempt: Attempt) -> None:
    with socket.socket(socket.AF_UNIX) as taken:
        taken.bind(str(attempt.socket))
        taken.listen()
        result = attempt.run()
    assert f"cannot listen on unix:{attempt.socket}: somebody listens there" in refusal(result)


def test_a_file_where_the_socket_should_be(attempt: Attempt) -> None:
    attempt.socket.write_text("precious")
    assert "there is a file that is no socket" in refusal(attempt.run())
    assert attempt.socket.read_text() == "precious"


def test_a_database_that_another_process_holds(attempt: Attempt) -> None:
    attempt.migrated()
    with locked(attempt.database):
        assert f"{attempt.database} is in use by" in refusal(attempt.run())


def test_a_schema_from_the_future(attempt: Attempt) -> None:
    attempt.migrated()
    with closing(sqlite3.connect(attempt.database)) as connection, connection:
        connection.execute(f"UPDATE {VERSION_TABLE} SET version_num = '9999'")
    assert "the store has schema 9999, which is newer than" in refusal(attempt.run())


def test_a_store_that_was_not_migrated_where_that_is_not_done_at_start(attempt: Attempt) -> None:
    result = attempt.run("--set", "migrate_at_start=never")
    assert "there is no store at" in refusal(result)
    assert not attempt.database.exists()
    attempt.database.touch()
    result = attempt.run("--set", "migrate_at_start=never")
    assert "run governor migrate" in refusal(result)


@pytest.mark.parametrize("url", ["mysql://host/db", "nothing", "sqlite://", "sqlite:///:memory:"])
def test_a_store_that_cannot_keep_anything(attempt: Attempt, url: str) -> None:
    refusal(attempt.run("--store", url))


def test_a_database_server_that_does_not_answer(attempt: Attempt) -> None:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        url = f"postgresql://ann:hush@127.0.0.1:{held.getsockname()[1]}/governor"
        result = attempt.run("--store", url)
    # Beside the refusal stands the log, which has the driver's words and their stack for operators.
    assert result.exit_code == ExitCode.CANNOT_START
    assert "cannot start: the store does not answer" in result.stderr
    assert "hush" not in result.output


@pytest.mark.parametrize("address", ["0.0.0.0:0", "[::]:0", "governor.example:50051"])
def test_an_address_beyond_this_machine_without_tls(attempt: Attempt, address: str) -> None:
    assert "needs TLS" in refusal(attempt.run("--listen", address))


def test_a_certificate_that_is_not_there(attempt: Attempt) -> None:
    result = attempt.run(
        "--set", "tls_certificate_file=/nowhere.pem", "--set", "tls_key_file=/nowhere.key"
    )
    assert "/nowhere.pem: No such file" in refusal(result)


def test_no_host(attempt: Attempt) -> None:
    del attempt.environment["GOVERNOR_HOST_ADDRESS"]
    assert "host_address: is not set" in refusal(attempt.run())


@pytest.mark.parametrize("option", ["--policy", "--directory"])
def test_a_policy_or_directory_with_a_fault(attempt: Attempt, option: str) -> None:
    file = attempt.folder / "faulty.toml"
    file.write_text("[[rules]]\n")
    assert f"{file}: rules: there is no such key" in refusal(attempt.run(option, str(file)))
    assert f"{file}x: cannot be read: No such file" in refusal(attempt.run(option, f"{file}x"))


def test_failpoints_without_the_second_word(attempt: Attempt) -> None:
    result = attempt.run(GOVERNOR_FAILPOINTS="execute.before_claim=kill")
    assert "takes GOVERNOR_ALLOW_FAILPOINTS=1 as well" in refusal(result)


def test_an_exporter_that_is_not_known(attempt: Attempt) -> None:
    result = attempt.run(OTEL_SDK_DISABLED="", OTEL_TRACES_EXPORTER="zipkin")
    assert "OTEL_TRACES_EXPORTER is 'zipkin'" in refusal(result)


def test_a_setting_that_is_unknown_or_malformed(attempt: Attempt) -> None:
    assert "flags: there is no setting 'colour'" in refusal(attempt.run("--set", "colour=red"))
    result = attempt.run("--set", "colour")
    assert result.exit_code == ExitCode.USAGE
    assert "must be NAME=VALUE, not 'colour'" in result.stderr


def test_a_refusal_leaves_nothing_held(attempt: Attempt) -> None:
    """The store was open when the address turned out to be taken; it is free again afterwards."""
    attempt.socket.write_text("in the way")
    refusal(attempt.run())
    with locked(attempt.database):
        pass


Spoil = Callable[[Attempt], None]


def _not_a_folder(attempt: Attempt) -> None:
    attempt.environment["GOVERNOR_STORE_URL"] = "sqlite:////dev/null/governor.db"


def _not_a_database(attempt: Attempt) -> None:
    attempt.database.write_bytes(os.urandom(4096))


@pytest.mark.parametrize("spoil", [_not_a_folder, _not_a_database])
def test_a_place_that_cannot_hold_a_database(attempt: Attempt, spoil: Spoil) -> None:
    spoil(attempt)
    result = attempt.run()
    assert result.exit_code == ExitCode.CANNOT_START, result.output
    assert "cannot start: " in result.stderr
