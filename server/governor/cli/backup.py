"""`governor backup` and `governor restore`: copies of a store, and the way back to one."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from governor.cli.console import Output
from governor.cli.exits import ExitCode, leave
from governor.cli.server import ConfigFile, StoreUrl, loaded, log_in_one_line
from governor.cli.texts import safe
from governor.cli.verify import facts_of, read_checkpoint, report_finding
from governor.config.reference import shown

if TYPE_CHECKING:
    from governor.storage.restore import Restored
    from governor.storage.verify import Verified

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object a line.")]


def add_to(app: typer.Typer) -> None:
    """Registers the commands."""
    app.command("backup")(backup)
    app.command("restore")(restore)


def backup(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Where to put the backup.")],
    config_file: ConfigFile = None,
    store: StoreUrl = None,
    as_json: AsJson = False,
) -> None:
    """Back up a SQLite store, while Governor runs on it or not.

    Copies it as of one moment, verifies the whole copy, and only then gives it the name FILE, with
    a checkpoint of it in FILE.checkpoint. Overwrites nothing.
    """
    from governor import bootstrap  # noqa: PLC0415 - a client's command needs no database driver

    output = Output(as_json=as_json)
    log_in_one_line(output)
    url = loaded(output, config_file, {"store_url": store}, None).settings.store_url
    try:
        verified = bootstrap.back_up(
            url,
            file,
            report=lambda finding: report_finding(output, finding),
            progress=_Progress(output),
        )
    except bootstrap.CannotStart as refusal:
        output.note(f"cannot back up: {safe(str(refusal), lines=True)}")
        leave(ExitCode.CANNOT_START)
    _leave_if_unsound(output, verified, "not backed up")
    facts = {"file": str(file), "checkpoint": f"{file}.checkpoint", **facts_of(verified)}
    _summarise(output, "backed up", facts)
    output.note("keep a copy of the checkpoint where the operator of the store cannot write")


def restore(
    file: Annotated[
        Path | None,
        typer.Argument(
            metavar="[FILE]",
            help="The backup. Left out: the store was put where it is by other means.",
        ),
    ] = None,
    config_file: ConfigFile = None,
    store: StoreUrl = None,
    checkpoint: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="A checkpoint that the backup must agree with."),
    ] = None,
    replace: Annotated[
        bool,
        typer.Option("--replace", help="Keep the store that is there under another name."),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Restore a store from a backup, under a new id.

    Verifies it first, and changes nothing if anything is found. No Governor may run on the store.
    With PostgreSQL, put the database back by its own tools, then run this without FILE: it verifies
    the store and gives it its new id.
    """
    from governor import bootstrap  # noqa: PLC0415 - as above

    output = Output(as_json=as_json)
    if replace and file is None:
        raise typer.BadParameter("needs a FILE to put there instead", param_hint="--replace")
    log_in_one_line(output)
    url = loaded(output, config_file, {"store_url": store}, None).settings.store_url
    earlier = read_checkpoint(output, checkpoint, "cannot restore") if checkpoint else None
    try:
        outcome = bootstrap.restore(
            url,
            file,
            replace=replace,
            checkpoint=earlier,
            report=lambda finding: report_finding(output, finding),
            progress=_Progress(output),
        )
    except bootstrap.CannotStart as refusal:
        output.note(f"cannot restore: {safe(str(refusal), lines=True)}")
        leave(ExitCode.CANNOT_START)
    if not isinstance(outcome, bootstrap.Restored):
        _leave_if_unsound(output, outcome, "not restored")
        return
    _tell(output, outcome, str(shown("store_url", url)))
    if earlier is None:
        output.note("no checkpoint was given: that this is the ledger of before is not shown")


def _tell(output: Output, restored: "Restored", url: str) -> None:
    former = facts_of(restored.verified)
    facts: dict[str, str | int] = {"store": url, "formerStoreId": former["storeId"], **former}
    facts["storeId"] = restored.store_id
    if restored.replaced is not None:
        facts["replaced"] = str(restored.replaced)
    _summarise(output, "restored", facts)
    output.note("subscribers start over from 0, and the host may be ahead: see docs/operations.md")


def _leave_if_unsound(output: Output, verified: "Verified", verdict: str) -> None:
    if verified.findings:
        _summarise(output, verdict, facts_of(verified))
        leave(ExitCode.VERIFICATION_FAILED)


def _summarise(output: Output, verdict: str, facts: dict[str, str | int]) -> None:
    if output.as_json:
        typer.echo(json.dumps(facts))
        return
    output.line(verdict)
    output.fields([(name, safe(str(value))) for name, value in facts.items()])


class _Progress:
    """A line for every tenth of the pages, and one at the end: verifying takes its time as well."""

    def __init__(self, output: Output) -> None:
        self._output = output
        self._tenths = 0

    def __call__(self, done: int, pages: int) -> None:
        tenths = 10 * done // pages if pages else 10
        if tenths > self._tenths:
            self._tenths = tenths
            more = "; verifying the copy" if done == pages else ""
            self._output.note(f"copied {done} of {pages} pages{more}")
