"""The shape rules as tables for people; a test holds docs/contract.md to what is printed here."""

from collections.abc import Iterator, Mapping

from governor.wire.limits import WireLimits
from governor.wire.rules import request_rules
from governor.wire.table import Field, Items, Rules, Unset

HEADER = ("| field | | rule |", "|---|---|---|")


def shape_rules_page(bounds: WireLimits | None = None) -> str:
    """Markdown: one section per RPC, then one per message inside, each once."""
    by_rpc = request_rules(bounds or WireLimits())
    lines: list[str] = []
    for rpc, rules in by_rpc.items():
        lines += [f"### {rpc}", "", *_table(rules), ""]
    for name, rules in _parts(by_rpc).items():
        lines += [f"### {name}", "", *_table(rules), ""]
    return "\n".join(lines).rstrip("\n") + "\n"


def _parts(by_rpc: Mapping[str, Rules]) -> dict[str, Rules]:
    parts: dict[str, Rules] = {}
    for rules in by_rpc.values():
        for part in rules.nested():
            parts.setdefault(_title(part), part)
    return dict(sorted(parts.items()))


def _title(rules: Rules) -> str:
    """Its message's name, told apart where a call takes less or more of the same message."""
    if rules.name == "StateRef" and not all(row.required for row in rules.fields):
        return "StateRef, as a filter"
    if rules.name == "DecisionFilter" and any(isinstance(r.shape, Unset) for r in rules.fields):
        return "DecisionFilter, of a stream"
    if any(isinstance(row.shape, Unset) for row in rules.fields):
        return f"{rules.name}, as a replacement"
    return rules.name


def _table(rules: Rules) -> Iterator[str]:
    yield from HEADER
    for row in rules.fields:
        presence = "required" if row.required else ""
        yield f"| `{row.name}` | {presence} | {_words(row)} |"
    for relation in rules.relations:
        yield f"| `{relation.name}` | | {relation.words} |"


def _words(row: Field) -> str:
    shape = row.shape
    if isinstance(shape, Rules):
        return f"see {_title(shape)}"
    if isinstance(shape, Items) and isinstance(shape.of, Rules):
        return f"at most {shape.count_max}, each: see {_title(shape.of)}"
    return shape.words.replace("|", "\\|")
