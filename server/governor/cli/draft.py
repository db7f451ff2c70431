"""What a person asks for on the command line: the options of a mutation, as they were typed."""

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from governor.cli import options


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """None means that nothing was said. Each field is an option of `submit` and `supersede`."""

    mutation_type: Annotated[
        str | None, typer.Option("--type", "-t", help="The kind of change, such as flag.set.")
    ] = None
    state: Annotated[
        str | None, typer.Option("--state", "-s", metavar="TYPE/ID", help="What is changed.")
    ] = None
    payload: Annotated[
        str | None, typer.Option("--payload", "-p", help="The argument of the change, as text.")
    ] = None
    payload_file: Annotated[
        Path | None,
        typer.Option("--payload-file", help="The argument from a file, or - for stdin."),
    ] = None
    content_type: Annotated[
        str | None,
        typer.Option(
            "--content-type",
            help="The payload's media type. Left out: application/json, which is then checked.",
        ),
    ] = None
    expected_version: Annotated[
        str | None,
        typer.Option(
            "--expected-version",
            help="The version it was made for; empty for a state that must not exist yet. "
            "Left out: whatever is there.",
        ),
    ] = None
    stale: Annotated[
        str | None,
        typer.Option("--stale", help="If the state has moved on: reject, renew or revalidate."),
    ] = None
    category: Annotated[
        str | None, typer.Option("--category", help="A free classification, such as rollout.")
    ] = None
    risk: Annotated[str | None, typer.Option("--risk", help="low, medium, high or critical.")] = (
        None
    )
    reversibility: Annotated[
        str | None, typer.Option(help="reversible, compensable or irreversible.")
    ] = None
    blast_radius: Annotated[str | None, typer.Option(help="single, service, region or global.")] = (
        None
    )
    justification: Annotated[
        str | None, typer.Option("--justification", "-m", help="Why, for the approvers.")
    ] = None
    evidence: Annotated[
        list[str] | None,
        typer.Option("--evidence", metavar="KIND=URI", help="Something to look at; repeatable."),
    ] = None
    metadata: Annotated[
        list[str] | None,
        typer.Option("--metadata", metavar="NAME=VALUE", help="A fact of yours; repeatable."),
    ] = None
    tag: Annotated[
        list[str] | None,
        typer.Option("--tag", metavar="TAG", help="A label to filter by; repeatable."),
    ] = None
    depends_on: Annotated[
        list[str] | None,
        typer.Option(metavar="ID", help="A request that must be executed first; repeatable."),
    ] = None
    on_dependency_failure: Annotated[
        str | None,
        typer.Option(help="If one of them ends without being executed: reject, proceed or review."),
    ] = None
    execute_after: Annotated[
        datetime | None,
        typer.Option(
            parser=options.moment,
            metavar="TIME",
            help="Not before: 2030-01-31T12:00:00Z, or 2h from now.",
        ),
    ] = None
    expires: Annotated[
        datetime | None,
        typer.Option(
            parser=options.moment,
            metavar="TIME",
            help="When it expires unless claimed before. Left out: the server's default.",
        ),
    ] = None
    mode: Annotated[
        str | None, typer.Option(help="Who starts it once approved: automatic or on-execute.")
    ] = None
    break_glass: Annotated[
        str | None,
        typer.Option(
            metavar="WHY",
            help="Go past the approval, in an emergency that others will review afterwards. Needs "
            "the role break_glass; what policy denies stays denied.",
        ),
    ] = None
    environment: Annotated[str | None, typer.Option(help="Such as production.")] = None
    service: Annotated[str | None, typer.Option(help="The calling service.")] = None
    region: Annotated[str | None, typer.Option(help="Such as eu-west-1.")] = None
    correlation_id: Annotated[
        str | None, typer.Option(help="Groups requests that belong to one undertaking.")
    ] = None
    causation_id: Annotated[str | None, typer.Option(help="What led to it.")] = None
