"""How long 10,000 requests take whose clocks have all run out, and how much memory.

`python -m tests.bench.timers [--requests N] [--only sqlite|postgresql]` prints a table.
"""

import argparse
import asyncio
import tempfile
import time
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from os import getpid
from pathlib import Path
from typing import Final, NamedTuple

from governor.domain.values import Micros
from governor.usecases.app import Limits
from governor.usecases.questions import Due
from tests.load.memory import MEBIBYTE, resident_bytes
from tests.support.due import due_requests, put_all
from tests.support.governed import Governed
from tests.support.postgres import own_postgres
from tests.support.scripted_host import ScriptedHost

REQUESTS: Final = 10_000


class Run(NamedTuple):
    """One store's figures. `traced_bytes` is the peak of what Python allocated meanwhile."""

    done: int
    seconds: float
    pages: int
    traced_bytes: int
    resident_bytes: int


async def measured(folder: Path, url: str, requests: int, *, traces: bool) -> Run:
    """Fills a store, lets everything fall due, starts anew, and does it."""
    sidecar = Governed(folder, Limits(), ScriptedHost(), url=url)
    await sidecar.open()
    await sidecar.start()
    await put_all(sidecar.store.commit, due_requests(requests, submitted_at=sidecar.clock.now()))
    await sidecar.restart()
    sidecar.clock.advance(120)
    look, pages = sidecar.store.due, list[int]()

    async def watched(*, until: Micros, limit: int, after: Due | None = None) -> tuple[Due, ...]:
        page = await look(until=until, limit=limit, after=after)
        pages.append(len(page))
        return page

    sidecar.store.due = watched
    before = resident_bytes(getpid())
    if traces:
        tracemalloc.start()
    begun = time.perf_counter()
    done = await sidecar.timers.run_due()
    seconds = time.perf_counter() - begun
    traced = tracemalloc.get_traced_memory()[1] if traces else 0
    tracemalloc.stop()
    grown = resident_bytes(getpid()) - before
    await sidecar.close()
    return Run(done, seconds, len(pages), traced, grown)


@contextmanager
def stores(folder: Path, only: str) -> Iterator[dict[str, str]]:
    """Where each kind of store is to be, by its name; twice, for time and for memory."""
    made: dict[str, str] = {}
    if only != "postgresql":
        made |= {f"SQLite {n}": f"sqlite:///{folder}/timers-{n}.db" for n in ("time", "memory")}
    if only == "sqlite":
        yield made
        return
    with own_postgres() as server:
        for n in ("time", "memory"):
            made[f"PostgreSQL {n}"] = server.new_database(folder / f"timers-{n}")
        yield made


def main() -> None:
    """Prints the table."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--requests", type=int, default=REQUESTS)
    arguments.add_argument("--only", choices=("sqlite", "postgresql"), default="")
    options = arguments.parse_args()
    print("| store | done | s | done/s | pages | Python peak MiB | resident growth MiB |")
    print("|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory(prefix="governor-timers-") as folder:
        Path(folder).chmod(0o755)
        with stores(Path(folder), options.only) as made:
            for name, url in made.items():
                traces = name.endswith("memory")
                run = asyncio.run(measured(Path(folder), url, options.requests, traces=traces))
                print(
                    f"| {name} | {run.done} | {run.seconds:.1f} | {run.done / run.seconds:.0f}"
                    f" | {run.pages} | {run.traced_bytes / MEBIBYTE:.1f}"
                    f" | {run.resident_bytes / MEBIBYTE:.1f} |"
                )


if __name__ == "__main__":
    main()
