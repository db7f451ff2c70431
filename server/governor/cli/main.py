"""The program `governor`: its commands, put together."""

import typer

from governor import __version__
from governor.cli import (
    actions,
    backup,
    batches,
    compensating,
    decisions,
    executions,
    host,
    pending,
    requests,
    resolving,
    review,
    server,
    submit,
    verify,
    votes,
)
from governor.cli.console import Output

HELP_COLUMNS = 100

app = typer.Typer(
    name="governor",
    help="Governs mutations: submit, decide, execute and record them, in that order.",
    no_args_is_help=True,
    add_completion=False,
    # Help is read in terminals, pipes and docs/cli.md: plain text, always the same.
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={
        "help_option_names": ["--help", "-h"],
        "terminal_width": HELP_COLUMNS,
        "max_content_width": HELP_COLUMNS,
    },
)

for module in (
    server,
    submit,
    batches,
    pending,
    review,
    votes,
    resolving,
    actions,
    compensating,
    requests,
    executions,
    decisions,
    host,
    verify,
    backup,
):
    module.add_to(app)


@app.callback(invoke_without_command=True)
def _root(version: bool = typer.Option(False, "--version", help="Print the version.")) -> None:
    if version:
        Output(as_json=False).line(f"governor {__version__}")
        raise typer.Exit


def main() -> None:
    """Runs the command line of this process."""
    app(prog_name="governor")
