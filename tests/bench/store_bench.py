"""The store alone: commits per second and processor time per commit, without any RPC around them.

`python -m tests.bench.store_bench [--url URL] [--seconds N] [COMMITTERS ...]`; without a URL it
makes a SQLite file in a temporary folder.
"""

import argparse
import asyncio
import os
import tempfile
import time
from dataclasses import dataclass
from itertools import count
from pathlib import Path

from governor.storage.open import open_store
from governor.usecases.commits import Commit
from tests.support.builders import encode_entry, make_key, make_request, submission

COMMITTERS = (1, 16, 64, 256)
PAYLOAD = b"x" * 200
COMMITS_PER_SECOND_MAX = 15_000  # how many are prepared: a faster store runs out of them


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """One load on the store. Processor time is that of all threads of the process."""

    per_second: float
    processor_us: float
    batches: int
    commits: int
    p50_ms: float
    p99_ms: float


async def commits_per_second(database: Path, committers: int, seconds: float) -> float:
    """How many commits of one request and three decisions a new store takes from that many."""
    measured = await measure(f"sqlite:///{database}", committers, seconds)
    return measured.per_second


async def measure(url: str, committers: int, seconds: float) -> Measured:
    """Closed loop: every committer has one commit under way at all times."""
    store = await open_store(url, encode=encode_entry, migrate=True)
    batches = 0

    def count_batch(_: object) -> None:
        nonlocal batches
        batches += 1

    store.listen(count_batch)
    commits = prepared(
        f"{os.urandom(4).hex()}-{committers}", round(seconds * COMMITS_PER_SECOND_MAX)
    )
    latencies: list[float] = []
    begun, processor = time.perf_counter(), time.process_time()
    until = begun + seconds

    async def committer() -> None:
        while (now := time.perf_counter()) < until and commits:
            await store.commit(commits.pop())
            latencies.append(time.perf_counter() - now)

    await asyncio.gather(*(committer() for _ in range(committers)))
    took, processor = time.perf_counter() - begun, time.process_time() - processor
    await store.close()
    latencies.sort()
    done = len(latencies)
    return Measured(
        per_second=done / took,
        processor_us=processor / done * 1e6,
        batches=batches,
        commits=done,
        p50_ms=latencies[done // 2] * 1e3,
        p99_ms=latencies[done * 99 // 100] * 1e3,
    )


def prepared(run: str, total: int) -> list[Commit]:
    """Made beforehand: what it takes to think a commit up is not the store's."""
    numbers = count()
    return [
        submission(
            make_request(f"{run}-{number:012}", payload=PAYLOAD),
            key=make_key(f"{hash((run, number)) & (1 << 64) - 1:016x}"),
        )
        for number in (next(numbers) for _ in range(total))
    ][::-1]


def main() -> None:
    """Prints one line per number of committers."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--url", default="")
    arguments.add_argument("--seconds", type=float, default=3.0)
    arguments.add_argument("committers", nargs="*", type=int, default=COMMITTERS)
    options = arguments.parse_args()
    print("committers  commits/s  cpu us/commit  commits/batch    p50 ms    p99 ms")
    with tempfile.TemporaryDirectory(prefix="governor-bench-") as folder:
        for committers in options.committers:
            url = options.url or f"sqlite:///{folder}/store-{committers}.db"
            measured = asyncio.run(measure(url, committers, options.seconds))
            print(
                f"{committers:10} {measured.per_second:10,.0f} {measured.processor_us:14.0f}"
                f" {measured.commits / measured.batches:14.1f}"
                f" {measured.p50_ms:9.2f} {measured.p99_ms:9.2f}"
            )


if __name__ == "__main__":
    main()
