"""Every question that people ask of a store of 200,000 requests: how long, and by what plan.

`python -m tests.bench.queries [--requests N] [--only sqlite|postgresql] [--page FILE]` fills a
store of each kind and prints a table for each; with a page, it writes them there.
"""

import argparse
import asyncio
import re
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, NamedTuple

import asyncpg
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from governor.storage import postgres, sqlite
from governor.storage.open import migrate, open_store, parse
from tests.support.builders import encode_entry
from tests.support.filling import fill
from tests.support.postgres import own_postgres
from tests.support.questions import Question, questions

REQUESTS: Final = 200_000
RUNS: Final = 15
FIRST_LINE: Final = "<!-- Written by `python -m tests.bench.queries --page docs/queries.md`. -->"


class Answer(NamedTuple):
    """What a question took, half of the time, and how it was answered."""

    question: Question
    milliseconds: float
    rows: int
    plan: str


async def measured(url: str, engine: AsyncEngine, requests: int) -> list[Answer]:
    """Every question, asked of a store that is filled for it."""
    await migrate(url)
    store = await open_store(url, encode=encode_entry)
    await fill(store, requests)
    await store.close()
    if engine.dialect.name == "postgresql":
        await _vacuum(url)
    async with engine.connect() as connection:
        answers = [await _ask(connection, question) for question in questions(requests)]
    await engine.dispose()
    return answers


async def _vacuum(url: str) -> None:
    """What the server does by itself now and then."""
    connection = await asyncpg.connect(url)
    await connection.execute("VACUUM ANALYZE")
    await connection.close()


async def _ask(connection: AsyncConnection, question: Question) -> Answer:
    rows, times = 0, []
    for _ in range(RUNS):
        begun = time.perf_counter()
        rows = len((await connection.execute(question.statement)).all())
        times.append((time.perf_counter() - begun) * 1e3)
    return Answer(question, statistics.median(times), rows, await _plan(connection, question))


async def _plan(connection: AsyncConnection, question: Question) -> str:
    """The steps that read something, as the database says them, each once."""
    is_sqlite = connection.dialect.name == "sqlite"
    compiled = question.statement.compile(
        dialect=connection.dialect,
        compile_kwargs={"literal_binds": True, "render_postcompile": True},
    )
    explain = "EXPLAIN QUERY PLAN" if is_sqlite else "EXPLAIN (COSTS OFF)"
    found = await connection.exec_driver_sql(f"{explain} {compiled}")
    steps = [str(row[-1]).strip().removeprefix("->").strip() for row in found]
    telling = (
        r"SEARCH \w|SCAN (?!anon)\w+ |TEMP B-TREE" if is_sqlite else r"Scan (?!on [\"a])|Sort$"
    )
    told = [_shortened(step) for step in steps if re.search(telling, step)]
    counted = {step: told.count(step) for step in told}
    return "; ".join(f"{n} x {step}" if n > 1 else step for step, n in counted.items())


def _shortened(step: str) -> str:
    """Without the aliases that a statement gives its tables."""
    return re.sub(r" (\w+)_\d+$", "", step)


# ---------------------------------------------------------------- what is told


def page(told: dict[str, list[Answer]], requests: int) -> str:
    """The whole page."""
    return "\n".join([FIRST_LINE, INTRODUCTION.format(requests=requests), *_tables(told)]) + "\n"


def _tables(told: dict[str, list[Answer]]) -> Iterator[str]:
    for name, answers in told.items():
        yield f"## {name}\n"
        yield "| question | rows | ms | `EXPLAIN` |"
        yield "|---|---|---|---|"
        for question, milliseconds, rows, plan in answers:
            yield f"| {question.name} | {rows} | {milliseconds:.1f} | {plan} |"
        yield ""
    yield "## What is sorted, or passed over, and why\n"
    answers = next(iter(told.values()))
    reasons: dict[str, list[str]] = {}
    for question, *_ in answers:
        if question.why:
            reasons.setdefault(question.why, []).append(question.name)
    for why, names in reasons.items():
        yield f"- {why[0].upper()}{why[1:]}: {', '.join(names)}."


INTRODUCTION: Final = """\
# Queries

Each question that people ask of a store of {requests:,} requests, how long the database takes for
its first page of 50, and how it says that it answers. `python -m tests.bench.queries` fills a store
of each kind and asks them all; `tests/contract/test_plans.py` holds that each is answered by the
index named here.

The figures are medians of 15, warm, with one reader and nobody writing, on a small virtual machine
(2 cores) whose processor and disk are shared with others. **Read them against each other:** another
run differs by half. One request in ten is another tenant's; one in twenty is pending, one in ten
has a vote, and a fifth of those that were executed had side effects.
"""


@contextmanager
def stores(folder: Path, only: str) -> Iterator[dict[str, tuple[str, AsyncEngine]]]:
    """Where each kind of store is to be, and how it is read."""
    path = folder / "store.db"
    made: dict[str, tuple[str, AsyncEngine]] = {}
    if only != "postgresql":
        made["SQLite"] = (f"sqlite:///{path}", sqlite.snapshot_engine(path))
    if only == "sqlite":
        yield made
        return
    with own_postgres() as server:
        url = server.new_database(folder / "queries")
        made["PostgreSQL"] = (url, postgres.snapshot_engine(postgres.Server.of(parse(url))))
        yield made


def main() -> None:
    """Prints the tables, and writes the page."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--requests", type=int, default=REQUESTS)
    arguments.add_argument("--only", choices=("sqlite", "postgresql"), default="")
    arguments.add_argument("--page", type=Path)
    options = arguments.parse_args()
    with tempfile.TemporaryDirectory(prefix="governor-queries-") as folder:
        Path(folder).chmod(0o755)
        with stores(Path(folder), options.only) as made:
            told = {
                name: asyncio.run(measured(url, engine, options.requests))
                for name, (url, engine) in made.items()
            }
    written = page(told, options.requests)
    print(written)
    if options.page is not None:
        options.page.write_text(written)


if __name__ == "__main__":
    main()
