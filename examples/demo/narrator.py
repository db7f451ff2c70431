"""How the demo talks: one screen of plain lines per story, in colour where a terminal is."""

import sys
from collections.abc import Iterable

from rich.console import Console, RenderableType
from rich.text import Text

WIDTH = 100
WHO_WIDTH = 11
STYLES = {"governor": "bold cyan", "host": "bold magenta"}
PERSON_STYLE = "bold"


class Narrator:
    """Prints to a terminal or a log; to the latter without colour and at a fixed width."""

    def __init__(self) -> None:
        console = Console(highlight=False)
        if not console.is_terminal or console.width > WIDTH:
            console = Console(highlight=False, width=WIDTH)
        self._console = console
        self._where = "the beginning"
        self._mark = "✓" if (sys.stdout.encoding or "").lower().startswith("utf") else "ok"

    def opens(self, title: str, subtitle: str) -> None:
        self._console.print(Text(title, style="bold"))
        self._console.print(Text(subtitle, style="dim"))

    def story(self, number: int, title: str) -> None:
        self._where = title
        self._console.print()
        self._console.print(Text(f"{number:>2}. {title}", style="bold"))

    def say(self, who: str, what: str) -> None:
        """One line of the story: who did it, and what came of it."""
        line = Text("    ")
        line.append(who.ljust(WHO_WIDTH), style=STYLES.get(who, PERSON_STYLE))
        line.append(what)
        self._console.print(line, soft_wrap=True)

    def closes(self, line: str) -> None:
        """The line that says what this story has shown."""
        self._console.print(Text(f"    {self._mark} {line}", style="green"), soft_wrap=True)

    def heading(self, title: str) -> None:
        self._where = title
        self._console.print()
        self._console.rule(Text(title, style="bold"), align="left", characters="-", style="dim")

    def command(
        self, program: str, arguments: Iterable[str], lines: Iterable[str], *, cut: bool = False
    ) -> None:
        """A command as it was run, and what it printed; with `cut`, as much of a line as fits."""
        self._console.print(Text(f"$ {' '.join((program, *arguments))}", style="bold"))
        for line in lines:
            self._console.print(Text(line), no_wrap=cut, overflow="ellipsis" if cut else None)

    def show(self, what: RenderableType) -> None:
        self._console.print(what)

    def ends(self, line: str) -> None:
        self._console.print()
        self._console.print(Text(f"{self._mark} {line}", style="bold green"))

    def fails(self, failure: Exception) -> None:
        """Where the demo was, and what went wrong there."""
        what = f"FAILED in {self._where!r}: {type(failure).__name__}: {failure}"
        self._console.print()
        self._console.print(Text(what, style="bold red"), soft_wrap=True)

    def tail(self, name: str, lines: Iterable[str]) -> None:
        self._console.print()
        self._console.print(Text(f"--- last lines of {name}", style="dim"))
        for line in lines:
            self._console.print(Text(line), soft_wrap=True)
