"""Where commands write: tables and lines for people, one JSON object per line for programs."""

import sys
from collections.abc import Sequence
from typing import IO

from google.protobuf.json_format import MessageToJson
from google.protobuf.message import Message
from rich.console import Console
from rich.table import Table
from rich.text import Text

# A pipe has no width: nothing that a program or a test reads is ever cut or wrapped.
UNBOUNDED_COLUMNS = 100_000


class Output:
    """Answers go to stdout, everything about them to stderr."""

    def __init__(self, *, as_json: bool, out: IO[str] | None = None, err: IO[str] | None = None):
        self.as_json = as_json
        self._out = _console(out or sys.stdout)
        self._err = _console(err or sys.stderr)

    def json(self, message: Message) -> None:
        """One object on one line, in protobuf's JSON mapping."""
        self._out.file.write(MessageToJson(message, indent=None) + "\n")
        self._out.file.flush()

    def line(self, text: Text | str = "") -> None:
        """One line for a person."""
        self._out.print(text, soft_wrap=True)

    def note(self, text: Text | str) -> None:
        """One line beside the answer."""
        self._err.print(text, soft_wrap=True)

    def table(self, columns: Sequence[str], rows: Sequence[Sequence[Text | str]]) -> None:
        """Rows under their headings; long cells fold rather than lose a character."""
        table = Table(box=None, pad_edge=False, header_style="bold", show_edge=False)
        for column in columns:
            table.add_column(column, overflow="fold")
        for row in rows:
            table.add_row(*row)
        self._print(table)

    def fields(self, fields: Sequence[tuple[str, Text | str]]) -> None:
        """Names and values, one below the other; a value of several lines stays in its column."""
        table = Table(box=None, pad_edge=False, show_header=False, show_edge=False)
        table.add_column(style="dim", no_wrap=True)
        table.add_column(overflow="fold")
        for name, value in fields:
            table.add_row(name, value)
        self._print(table)

    def _print(self, table: Table) -> None:
        if self._out.is_terminal:
            self._out.print(table)
            return
        with self._out.capture() as capture:
            self._out.print(table)
        # The last column is padded to its width, which in a pipe is nothing but blanks.
        for line in capture.get().splitlines():
            self._out.file.write(line.rstrip() + "\n")
        self._out.file.flush()


def _console(file: IO[str]) -> Console:
    width = None if file.isatty() else UNBOUNDED_COLUMNS
    return Console(file=file, width=width, highlight=False, markup=False, emoji=False)
