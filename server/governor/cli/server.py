"""`governor serve`, `migrate` and `config`: what runs on the server's side."""

import json
import logging
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.text import Text

from governor.cli.console import Output
from governor.cli.exits import ExitCode, leave
from governor.cli.texts import safe
from governor.config.loading import ConfigRefused, Effective, load
from governor.config.reference import effective_toml, reference_page, shown
from governor.strict_toml import FileRefused

if TYPE_CHECKING:
    from governor.bootstrap import Started

ConfigFile = Annotated[
    Path | None,
    typer.Option("--config", "-c", envvar="GOVERNOR_CONFIG", help="Settings, TOML."),
]
Set = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="NAME=VALUE", help="Any setting, by its name; repeatable."),
]
StoreUrl = Annotated[
    str | None, typer.Option("--store", metavar="URL", help="The setting store_url.")
]


def add_to(app: typer.Typer) -> None:
    """Registers the commands."""
    app.command("serve")(serve)
    app.command("migrate")(migrate)
    app.command("config")(config)


def serve(
    config_file: ConfigFile = None,
    listen: Annotated[str | None, typer.Option(help="The setting listen.")] = None,
    store: StoreUrl = None,
    host: Annotated[
        str | None, typer.Option(metavar="ADDRESS", help="The setting host_address.")
    ] = None,
    policy: Annotated[
        Path | None, typer.Option(metavar="FILE", help="The setting policy_file.")
    ] = None,
    directory: Annotated[
        Path | None, typer.Option(metavar="FILE", help="The setting directory_file.")
    ] = None,
    settings: Set = None,
) -> None:
    """Run the sidecar.

    Prints where it listens once it does. SIGTERM and Ctrl-C shut it down cleanly; SIGHUP reads
    policy and directory again.
    """
    from governor import bootstrap  # noqa: PLC0415 - a client's command needs no database driver

    output = Output(as_json=False)
    flags = {
        "listen": listen,
        "store_url": store,
        "host_address": host,
        "policy_file": policy,
        "directory_file": directory,
    }
    effective = loaded(output, config_file, flags, settings)
    try:
        bootstrap.run(
            effective.settings,
            environment=os.environ,
            announce=lambda started: _announce(output, started),
        )
    except bootstrap.CannotStart as refusal:
        output.note(f"cannot start: {safe(str(refusal), lines=True)}")
        leave(ExitCode.CANNOT_START)
    output.line("stopped")


def migrate(
    config_file: ConfigFile = None,
    store: StoreUrl = None,
    settings: Set = None,
) -> None:
    """Bring the store's schema up to date.

    A step that fails leaves the schema as it was.
    """
    from governor import bootstrap  # noqa: PLC0415 - as above

    output = Output(as_json=False)
    log_in_one_line(output)
    effective = loaded(output, config_file, {"store_url": store}, settings)
    try:
        version = bootstrap.migrate(effective.settings)
    except bootstrap.CannotStart as refusal:
        output.note(f"cannot migrate: {safe(str(refusal), lines=True)}")
        leave(ExitCode.CANNOT_START)
    url = shown("store_url", effective.settings.store_url)
    output.line(f"the schema of {safe(str(url))} is at version {version}")


def config(
    config_file: ConfigFile = None,
    settings: Set = None,
    reference: Annotated[
        bool, typer.Option("--reference", help="Print every setting there is, in Markdown.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Print the settings in effect, and where each comes from. Passwords are hidden."""
    output = Output(as_json=as_json)
    if reference:
        typer.echo(reference_page(), nl=False)
        return
    effective = loaded(output, config_file, {}, settings)
    if as_json:
        values = {
            name: {"value": shown(name, getattr(effective.settings, name)), "origin": origin}
            for name, origin in effective.origins.items()
        }
        typer.echo(json.dumps(values))
    else:
        typer.echo(effective_toml(effective), nl=False)


def log_in_one_line(output: Output) -> None:
    """Shows warnings with their cause, and without its stack: for commands a person waits for."""
    logging.basicConfig(level=logging.WARNING, handlers=[_Notes(output)], force=True)


class _Notes(logging.Handler):
    def __init__(self, output: Output) -> None:
        super().__init__()
        self._output = output

    def emit(self, record: logging.LogRecord) -> None:
        error = record.exc_info[1] if record.exc_info else None
        parts = [record.getMessage()]
        if error is not None:
            parts += [type(error).__name__, *str(error).splitlines()[:1]]
        self._output.note(safe(": ".join(parts)))


def loaded(
    output: Output, file: Path | None, named: dict[str, Any], others: list[str] | None
) -> Effective:
    """The settings in effect; a command that cannot use them ends here."""
    flags = {name: value for name, value in named.items() if value is not None}
    for text in others or ():
        name, equals, value = text.partition("=")
        if not equals:
            raise typer.BadParameter(f"must be NAME=VALUE, not {text!r}", param_hint="--set")
        flags[name.strip()] = value
    try:
        return load(file=file, flags=flags, environment=os.environ)
    except (ConfigRefused, FileRefused) as refusal:
        output.note("the settings cannot be used:")
        output.note(safe(str(refusal), lines=True))
        leave(ExitCode.CANNOT_START)


def _announce(output: Output, started: "Started") -> None:
    """What an operator looks for first, one fact a line."""
    output.line(Text("governor is listening", style="bold"))
    output.fields([(name, safe(value)) for name, value in started.facts()])
    for warning in started.warnings():
        output.note(Text(f"careful: {safe(warning)}", style="yellow"))
