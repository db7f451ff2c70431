"""Arguments and options that several commands share, each declared once."""

from datetime import UTC, datetime
from typing import Annotated

import typer

from governor.cli.durations import parse_moment, parse_seconds
from governor.clock import SystemClock


def seconds(text: str | float) -> float:
    """A length of time off the command line; a default is a number already."""
    if isinstance(text, float):
        return text
    try:
        return parse_seconds(text)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None


def moment(text: str, *, is_past: bool = False) -> datetime:
    """A point in time off the command line, absolute or from now."""
    now = datetime.fromtimestamp(SystemClock().now() / 1e6, UTC)
    try:
        return parse_moment(text, now, is_past=is_past)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None


def past_moment(text: str) -> datetime:
    """A point in time off the command line, absolute or so long ago."""
    return moment(text, is_past=True)


Id = Annotated[str, typer.Argument(metavar="ID", help="The mutation request, mr-...")]
ExecutionId = Annotated[str, typer.Argument(metavar="ID", help="The execution, ex-...")]
RequestKey = Annotated[
    str | None,
    typer.Option("--request-id", help="The idempotency key. Left out: a fresh one."),
]
Etag = Annotated[
    str, typer.Option("--etag", help="Act only if the request still is as it was at this etag.")
]
Comment = Annotated[str, typer.Option("--comment", "-m", help="Why, in words.")]
ReasonCode = Annotated[
    str, typer.Option("--code", help="Why, as a code in UPPER_SNAKE_CASE for programs.")
]
ReasonCategory = Annotated[
    str,
    typer.Option(
        "--category", help="The class of that code, which reports group by, such as RISK."
    ),
]
ReasonFacts = Annotated[
    list[str] | None,
    typer.Option("--metadata", metavar="NAME=VALUE", help="A fact beside it; repeatable."),
]
Wait = Annotated[
    float | None,
    typer.Option(
        "--wait",
        parser=seconds,
        metavar="TIME",
        help="Wait until it has ended or waits for somebody, at most this long, such as 10s.",
    ),
]
Limit = Annotated[int, typer.Option("--limit", min=1, max=100_000, help="Print at most so many.")]
StateFilter = Annotated[
    str, typer.Option("--state", metavar="TYPE[/ID]", help="Only about this state.")
]
