"""The store's floor: what one durable SQLite transaction per call costs, beside group commit."""

import asyncio
import sqlite3
import time
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tests.bench.store_bench import commits_per_second

ROWS_PER_CALL = 4
ROW = b"x" * 400


def transactions_per_second(database: Path, seconds: float) -> float:
    """One transaction of a few rows after another, each on disk before the next (FULL, WAL)."""
    connection = sqlite3.connect(database, isolation_level=None)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")
    connection.execute("CREATE TABLE row (id INTEGER PRIMARY KEY, data BLOB)")
    count, begun = 0, time.perf_counter()
    while time.perf_counter() - begun < seconds:
        connection.execute("BEGIN IMMEDIATE")
        for _ in range(ROWS_PER_CALL):
            connection.execute("INSERT INTO row (data) VALUES (?)", (ROW,))
        connection.execute("COMMIT")
        count += 1
    connection.close()
    return count / seconds


def report(console: Console, home: Path, seconds: float) -> None:
    """Prints the floor and the store's own throughput as a ratio to it."""
    floor = transactions_per_second(home / "floor.db", seconds)
    table = Table(title="the store alone", title_justify="left", min_width=90)
    for column in ("what", "commits/s", "x one transaction per call"):
        table.add_column(column, justify="right")
    table.add_row("one durable SQLite transaction per call", f"{floor:,.0f}", "1.00")
    for committers in (1, 64, 256):
        rate = asyncio.run(commits_per_second(home / f"store-{committers}.db", committers, seconds))
        name = f"group commit, {committers} committers"
        table.add_row(name, f"{rate:,.0f}", f"{rate / floor:.2f}")
    console.print(table)
