"""`python -m tests.simulation`: runs seeds, or shows one with everything that happens in it."""

import argparse
import sys

from tests.simulation.run import Result, Run, replay_command, run_seed, run_seeds


def main() -> int:
    """Answers 1 if a seed has failed."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    chosen = parser.add_mutually_exclusive_group(required=True)
    chosen.add_argument("--seed", type=int, help="runs this one")
    chosen.add_argument("--seeds", type=_range, metavar="A..B", help="runs A, A+1, ... up to B")
    parser.add_argument("--trace", action="store_true", help="prints everything that happens")
    parser.add_argument("--failures", type=int, default=1, help="stops after so many (1)")
    arguments = parser.parse_args()
    if arguments.seed is not None:
        return _show(run_seed(arguments.seed), with_trace=arguments.trace)
    result = run_seeds(arguments.seeds, failures_max=arguments.failures, tell=_tell)
    _print_sum(result)
    return 1 if result.failed else 0


def _range(text: str) -> range:
    first, _, last = text.partition("..")
    return range(int(first), int(last or first) + 1)


def _show(run: Run, *, with_trace: bool) -> int:
    if with_trace:
        print("\n".join(run.trace.lines))
    print(run.failure or "all is well")
    print(
        f"seed {run.seed}: {run.decisions} decisions, {run.effects} effects, "
        f"{run.replicas} replicas, {run.lives - run.replicas} crashes, "
        f"{run.seconds:.1f} virtual seconds, trace {run.trace.digest}"
    )
    return 1 if run.failure else 0


def _tell(run: Run) -> None:
    if run.failure:
        print(f"seed {run.seed} has failed: {run.failure}\n{replay_command(run.seed)}")


def _print_sum(result: Result) -> None:
    faults = ", ".join(f"{name} {count}" for name, count in sorted(result.faults.items()))
    print(
        f"{result.seeds} seeds, {len(result.failed)} failed: {result.commits} commits, "
        f"{result.decisions} decisions, {result.effects} effects, {result.crashes} crashes, "
        f"{result.operations} operations, {result.seconds / 3600:.1f} virtual hours\n"
        f"faults: {faults}"
    )


if __name__ == "__main__":
    sys.exit(main())
