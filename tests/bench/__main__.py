"""`make bench`: the floor, then Governor, in one run on one machine, as ratios.

Every server is a process of its own, and so is the load generator. Throughput is compared with a
bare grpc.aio echo of the same message sizes; the store with one durable SQLite transaction per
call. Figures of different runs or machines must not be compared; ratios may.
"""

import sys
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tests.bench import floor, h2load, processes, streams
from tests.bench.generator import Plan, Result
from tests.bench.messages import submit_template, submitted_bytes

CALLERS = (1, 16, 64, 256)
PACED_PER_SECOND = 500.0
PACED_CALLERS = 512
ECHO = "/bench.Echo/Call"
SUBMIT = "/governance.v1.GovernanceService/Submit"
ACTOR = {"governor-actor": "bench"}


def main() -> None:
    """Runs everything and prints one table per question."""
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 5.0
    console = Console(width=110)
    with tempfile.TemporaryDirectory(prefix="governor-bench-") as folder:
        home = Path(folder)
        echo = measure_echo(console, home, seconds)
        submits = measure_submits(home, seconds)
        governed = measure_governed(home, seconds)
        console.print(table("bare grpc.aio echo (the floor)", echo, echo))
        console.print(table("Submit: decided by policy, durable", submits, echo))
        console.print(table("governed mutation: submit to recorded outcome", governed, echo))
        floor.report(console, home, seconds)
        streams.report(console, home, echo["64"].per_second)
    failures = sum(r.failures for r in (*submits.values(), *governed.values()))
    if failures:
        console.print(f"[red]{failures} calls failed: the figures above are not to be trusted")
        raise SystemExit(1)


def measure_echo(console: Console, home: Path, seconds: float) -> dict[str, Result]:
    """The echo at every number of callers, with messages of a submission's size."""
    target = f"unix:{home}/echo.sock"
    template = submit_template(on_execute=False, wait=False)
    with processes.echo(target, submitted_bytes()):
        results = {
            name: processes.generate(plan) for name, plan in plans(target, ECHO, template, seconds)
        }
        by_c = h2load.echo_per_second(
            target, ECHO, template, callers=64, seconds=seconds, home=home
        )
    told = f"{by_c:,.0f}/s" if by_c is not None else "not installed"
    console.print(f"the echo with 64 callers, by h2load: {told}")
    return results


def measure_submits(home: Path, seconds: float) -> dict[str, Result]:
    """Submissions that policy allows and nobody executes: the request is decided and durable."""
    template = submit_template(on_execute=True, wait=False)
    with processes.sidecar(home / "submits", host=None) as target:
        return run(target, template, seconds)


def measure_governed(home: Path, seconds: float) -> dict[str, Result]:
    """The whole loop: each call answers when the host has applied it and that is recorded."""
    template = submit_template(on_execute=False, wait=True)
    with (
        processes.flags_host(home / "host") as host,
        processes.sidecar(home / "governed", host=host) as target,
    ):
        return run(target, template, seconds)


def run(target: str, template: bytes, seconds: float) -> dict[str, Result]:
    """Every load in turn."""
    return {
        name: processes.generate(plan) for name, plan in plans(target, SUBMIT, template, seconds)
    }


def plans(target: str, path: str, template: bytes, seconds: float) -> Iterator[tuple[str, Plan]]:
    """The loads: closed loops of several sizes, then a steady pace."""
    basic = Plan(
        target=target,
        path=path,
        message_hex=template.hex(),
        callers=1,
        seconds=seconds,
        metadata=ACTOR,
    )
    for index, callers in enumerate(CALLERS):
        yield str(callers), replace(basic, callers=callers, first_number=index * 10**8)
    yield (
        f"{PACED_PER_SECOND:g}/s",
        replace(
            basic,
            callers=PACED_CALLERS,
            rate_per_second=PACED_PER_SECOND,
            first_number=len(CALLERS) * 10**8,
        ),
    )


def table(title: str, results: dict[str, Result], echo: dict[str, Result]) -> Table:
    """One row per load, each beside the echo under the same load."""
    made = Table(title=title, title_justify="left", min_width=90)
    for column in ("callers", "calls/s", "x echo", "p50 ms", "p99 ms", "failures"):
        made.add_column(column, justify="right")
    for name, result in results.items():
        made.add_row(
            name,
            f"{result.per_second:,.0f}",
            f"{result.per_second / echo[name].per_second:.2f}",
            f"{result.p50_ms:.2f}",
            f"{result.p99_ms:.2f}",
            str(result.failures),
        )
    return made


if __name__ == "__main__":
    main()
