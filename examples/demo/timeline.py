"""One request's decisions as a table: what was decided, when, by whom, and on what grounds."""

from collections.abc import Sequence
from typing import Final

from rich import box
from rich.table import Table

from governance.v1.decision_pb2 import Decision, DecisionCategory
from governance.v1.request_pb2 import RequestStatus

# Digests and audit ids bind the entries together, and say nothing to a reader.
FACTS_SHOWN: Final = (
    "rules",
    "waits_for",
    "round",
    "step",
    "expected_version",
    "current_version",
    "resulting_version",
    "fencing_token",
)


def timeline(decisions: Sequence[Decision]) -> Table:
    """The decisions, one a row; times count from the first."""
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column("rev", justify="right")
    table.add_column("ms", justify="right")
    for column in ("category", "code", "by", "then"):
        table.add_column(column, no_wrap=True)
    table.add_column("grounds", overflow="fold")
    for decision in decisions:
        elapsed = decision.time.ToNanoseconds() - decisions[0].time.ToNanoseconds()
        table.add_row(
            str(decision.revision),
            f"{elapsed / 1e6:.0f}",
            _without_prefix(DecisionCategory.Name(decision.category), "DECISION_CATEGORY_"),
            decision.code,
            decision.actor.id,
            _without_prefix(RequestStatus.Name(decision.status), "REQUEST_STATUS_"),
            _grounds(decision),
        )
    return table


def _grounds(decision: Decision) -> str:
    facts = [f"{name}={decision.facts[name]}" for name in FACTS_SHOWN if name in decision.facts]
    said = decision.reason.message
    return ", ".join([f"{said!r}", *facts] if said else facts)


def _without_prefix(name: str, prefix: str) -> str:
    return name.removeprefix(prefix).replace("_", " ").lower()
