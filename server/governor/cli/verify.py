"""`governor verify`: whether a store is what its ledger and a checkpoint kept outside say."""

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from governor.cli.console import Output
from governor.cli.exits import ExitCode, leave
from governor.cli.server import ConfigFile, StoreUrl, loaded, log_in_one_line
from governor.cli.texts import safe
from governor.domain.ledger import Checkpoint, LedgerError

if TYPE_CHECKING:
    from governor.storage.findings import Finding
    from governor.storage.verify import Verified

CHECKPOINT_BYTES_MAX = 4096


def add_to(app: typer.Typer) -> None:
    """Registers the command."""
    app.command("verify")(verify)


def verify(
    config_file: ConfigFile = None,
    store: StoreUrl = None,
    checkpoint: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="A checkpoint taken earlier and kept elsewhere."),
    ] = None,
    write_checkpoint: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Where to put a checkpoint if nothing was found."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object a line.")] = False,
) -> None:
    """Verify a store's ledger, requests and executions.

    Reads everything, as of one moment, and writes nothing into the store. Only a checkpoint shows
    that nobody has rewritten the whole: keep it where the store's operator cannot write.
    """
    from governor import bootstrap  # noqa: PLC0415 - a client's command needs no database driver

    output = Output(as_json=as_json)
    log_in_one_line(output)
    url = loaded(output, config_file, {"store_url": store}, None).settings.store_url
    earlier = read_checkpoint(output, checkpoint, "cannot verify") if checkpoint else None
    try:
        verified = bootstrap.verify(url, earlier, lambda finding: report_finding(output, finding))
    except bootstrap.CannotStart as refusal:
        output.note(f"cannot verify: {safe(str(refusal), lines=True)}")
        leave(ExitCode.CANNOT_START)
    _summarise(output, verified)
    if verified.findings:
        leave(ExitCode.VERIFICATION_FAILED)
    if earlier is None:
        output.note("no checkpoint was given: that this is the ledger of before is not shown")
    if write_checkpoint is not None:
        _write(output, write_checkpoint, verified)


def report_finding(output: Output, finding: "Finding") -> None:
    """One fault, and where it is."""
    places = {
        "revision": finding.revision,
        "request": finding.request_id,
        "execution": finding.execution_id,
    }
    known = {name: value for name, value in places.items() if value is not None}
    if output.as_json:
        detail = {"detail": finding.detail} if finding.detail else {}
        typer.echo(json.dumps({"fault": finding.fault.name, **known, **detail}))
        return
    facts = [f"{name} {value}" for name, value in known.items()]
    facts += [finding.detail] if finding.detail else []
    place = f" ({', '.join(facts)})" if facts else ""
    output.line(safe(f"{finding.fault.name}: {finding.fault.value}{place}"))


def facts_of(verified: "Verified") -> dict[str, str | int]:
    """What was looked at, by the names it is printed under."""
    return {
        "storeId": verified.store_id,
        "entries": verified.size,
        "requests": verified.requests,
        "executions": verified.executions,
        "findings": verified.findings,
        "root": verified.root.hex(),
    }


def _summarise(output: Output, verified: "Verified") -> None:
    facts = facts_of(verified)
    if output.as_json:
        typer.echo(json.dumps(facts))
        return
    output.line("not verified" if verified.findings else "verified")
    output.fields([(name, safe(str(value))) for name, value in facts.items()])


def read_checkpoint(output: Output, path: Path, failure: str) -> Checkpoint:
    """Ends the command, beginning with the words of `failure`, if there is none in the file."""
    try:
        with path.open("rb") as file:
            text = file.read(CHECKPOINT_BYTES_MAX).decode()
        return Checkpoint.from_text(text)
    except OSError as error:
        output.note(safe(f"{failure}: {path}: {error.strerror}"))
    except (LedgerError, UnicodeDecodeError) as error:
        output.note(safe(f"{failure}: {path}: {error}"))
    raise typer.Exit(ExitCode.CANNOT_START)


def _write(output: Output, path: Path, verified: "Verified") -> None:
    """Whole or not at all: half a checkpoint would look like a forged one."""
    checkpoint = Checkpoint(origin=verified.store_id, size=verified.size, root=verified.root)
    draft = path.with_name(path.name + ".new")
    try:
        with draft.open("w") as file:
            file.write(checkpoint.to_text())
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    except OSError as error:
        output.note(safe(f"the checkpoint was not written: {path}: {error.strerror}"))
        leave(ExitCode.CANNOT_START)
    output.note(safe(f"the checkpoint is in {path}: keep it elsewhere"))
