"""`make mutants`: every deliberately broken build, and which test caught it.

With words as arguments, only those whose names contain one of them.
"""

import sys
import tempfile
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tests.mutants.catalogue import MUTANTS
from tests.mutants.hunting import hunted

TABLE_CHARACTERS = 180


def main() -> int:
    wanted = sys.argv[1:]
    mutants = [m for m in MUTANTS if not wanted or any(word in m.name for word in wanted)]
    table = Table("broken build", "what it would mean", "caught by", "which said", show_lines=True)
    escaped = 0
    with tempfile.TemporaryDirectory() as folder:
        for mutant, verdict in hunted(mutants, Path(folder).resolve()):
            is_caught = verdict.catches(mutant)
            escaped += not is_caught
            tests = "\n".join(mutant.caught_by) if is_caught else "nobody"
            table.add_row(mutant.name, mutant.why, tests, "\n".join(verdict.failed.values()))
    Console(width=TABLE_CHARACTERS).print(table)
    return 1 if escaped or not mutants else 0


if __name__ == "__main__":
    sys.exit(main())
