"""config prints what is in effect and where it came from; migrate makes the schema."""

import json
import tomllib
from pathlib import Path

from typer.testing import CliRunner, Result

from governor.cli.exits import ExitCode
from governor.cli.main import app
from governor.config.reference import reference_page


def run(*arguments: str, **environment: str) -> Result:
    return CliRunner().invoke(app, arguments, env=environment, catch_exceptions=False)


def test_values_and_their_origins_are_printed_and_passwords_are_not(tmp_path: Path) -> None:
    file = tmp_path / "governor.toml"
    file.write_text("lease_seconds = 20\nstore_url = 'postgresql://ann:hush@host/db'\n")
    result = run("config", "-c", str(file), "--set", "timer_page=7", GOVERNOR_LOG_LEVEL="debug")
    assert result.exit_code == ExitCode.OK, result.output
    for line in (
        "lease_seconds = 20.0  # file",
        "timer_page = 7  # flag",
        'log_level = "debug"  # environment',
        "wait_seconds_max = 30.0  # default",
        "# policy_file is not set",
    ):
        assert line in result.stdout.splitlines(), line
    assert "hush" not in result.stdout
    assert tomllib.loads(result.stdout)["store_url"] == "postgresql://ann:***@host/db"


def test_the_same_for_programs() -> None:
    values = json.loads(run("config", "--json", "--set", "listen=unix:/s").stdout)
    assert values["listen"] == {"value": "unix:/s", "origin": "flag"}
    assert values["policy_file"] == {"value": None, "origin": "default"}


def test_the_reference_needs_no_usable_settings() -> None:
    result = run("config", "--reference", GOVERNOR_LEASE_SECONDS="never")
    assert result.stdout == reference_page()


def test_settings_that_cannot_be_used_are_named(tmp_path: Path) -> None:
    result = run("config", GOVERNOR_LEASE_SECONDS="never")
    assert result.exit_code == ExitCode.CANNOT_START
    assert "environment GOVERNOR_LEASE_SECONDS: lease_seconds: " in result.stderr


def test_migrate_makes_the_schema_and_may_be_repeated(tmp_path: Path) -> None:
    arguments = ("migrate", "--store", f"sqlite:///{tmp_path}/governor.db")
    first, second = run(*arguments), run(*arguments)
    assert first.exit_code == second.exit_code == ExitCode.OK, first.output
    assert first.stdout == second.stdout
    assert first.stdout.startswith("the schema of sqlite:///")


def test_the_version_is_printed() -> None:
    assert run("--version").stdout.startswith("governor ")
