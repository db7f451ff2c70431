"""Shape rules at work. Each table is compiled twice.

`accepts` answers yes or no and runs on every call; `violations` looks again when the answer is no,
and collects every broken rule with the path that leads to it.
"""

import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, NamedTuple, TypeAlias

from governor.wire.shapes import Scalar
from governor.wire.table import Entries, Field, Items, Rules, Unread, Unset

KEY_CHARACTERS_TOLD_MAX: Final = 64


class Violation(NamedTuple):
    """One broken rule: where, and which."""

    field: str
    fact: str


Accepts: TypeAlias = Callable[[Any], object]
"""Answers something true for a good message."""

Check: TypeAlias = Callable[[Any, str, list[Violation]], None]
"""Adds what is wrong with a value at a path to what was found before."""


def validator(rules: Rules) -> Callable[[Any], list[Violation]]:
    """What answers everything that is wrong with a message; empty when nothing is."""
    accepts, check = predicate(rules), collector(rules)

    def violations(message: Any) -> list[Violation]:
        found: list[Violation] = []
        if not accepts(message):
            check(message, "", found)
        return found

    return violations


# --- Compiled to a yes or no ----------------------------------------------------------------------


def predicate(rules: Rules) -> Accepts:
    """One expression over all fields, true for a good message.

    It is compiled from text because that is three times as fast as calling a closure per field; the
    text is made of field names and nothing that a caller ever sends.
    """
    names: dict[str, object] = {}

    def named(function: object) -> str:
        name = f"f{len(names)}"
        names[name] = function
        return name

    terms = [
        _term(row, rules.message.fields_by_name[row.name].has_presence, named)
        for row in rules.fields
    ]
    terms.extend(f"{named(relation.holds)}(m)" for relation in rules.relations)
    source = f"lambda m: {' and '.join(term for term in terms if term) or 'True'}"
    accepts: Accepts = eval(source, names)  # noqa: S307  # our own table, as text
    return accepts


def _term(row: Field, has_presence: bool, named: Callable[[object], str]) -> str:
    """What must be true of one field; empty when nothing must."""
    name = row.name
    if isinstance(row.shape, Unread):
        return ""
    if isinstance(row.shape, Unset):
        return f"not m.HasField({name!r})" if has_presence else f"not m.{name}"
    passes = named(_passes(row.shape))
    if has_presence and row.required:
        return f"m.HasField({name!r}) and {passes}(m.{name})"
    if has_presence:
        return f"(not m.HasField({name!r}) or {passes}(m.{name}))"
    if row.required:
        return f"(v := m.{name}) and {passes}(v)"
    return f"(not (v := m.{name}) or {passes}(v))"


def _passes(shape: Scalar | Items | Entries | Rules) -> Accepts:
    match shape:
        case Scalar():
            return shape.passes
        case Items():
            return _items_pass(shape)
        case Entries():
            return _entries_pass(shape)
        case Rules():
            return predicate(shape)


def _items_pass(shape: Items) -> Accepts:
    count_max, unique = shape.count_max, shape.unique
    each = predicate(shape.of) if isinstance(shape.of, Rules) else shape.of.passes

    def passes(values: Any) -> bool:
        return (
            len(values) <= count_max
            and all(map(each, values))
            and not (unique and len(set(values)) < len(values))
        )

    return passes


def _entries_pass(shape: Entries) -> Accepts:
    count_max, key, value = shape.count_max, shape.key.passes, shape.value.passes

    def passes(entries: Any) -> bool:
        return (
            len(entries) <= count_max
            and all(map(key, entries))
            and all(map(value, entries.values()))
        )

    return passes


# --- Compiled to the list of what is wrong --------------------------------------------------------


def collector(rules: Rules) -> Check:
    """Looks at every field, in the order of the table; at relations only between good ones."""
    checks = [
        _field_check(row, rules.message.fields_by_name[row.name].has_presence)
        for row in rules.fields
        if not isinstance(row.shape, Unread)
    ]
    relations = rules.relations

    def check(message: Any, path: str, found: list[Violation]) -> None:
        before = len(found)
        for each in checks:
            each(message, path, found)
        if len(found) == before:
            found.extend(
                Violation(path + relation.name, relation.words)
                for relation in relations
                if not relation.holds(message)
            )

    return check


def _field_check(row: Field, has_presence: bool) -> Check:
    match row.shape:
        case Scalar() as shape:
            return _single(row, _item_check(shape), has_presence)
        case Items() as shape:
            return _items(row, shape)
        case Entries() as shape:
            return _entries(row, shape)
        case Rules() as rules:
            return _single(row, _item_check(rules), has_presence)
        case Unset() as shape:
            return _unset(row, shape.words, has_presence)
        case Unread():
            raise AssertionError("what is not read is not checked")


def _is_there(message: Any, name: str, has_presence: bool) -> bool:
    return bool(message.HasField(name) if has_presence else getattr(message, name))


def _single(row: Field, each: Check, has_presence: bool) -> Check:
    name, required = row.name, row.required

    def check(message: Any, path: str, found: list[Violation]) -> None:
        if _is_there(message, name, has_presence):
            each(getattr(message, name), path + name, found)
        elif required:
            found.append(Violation(path + name, "is required"))

    return check


def _items(row: Field, shape: Items) -> Check:
    name, count_max, unique = row.name, shape.count_max, shape.unique
    each = _item_check(shape.of)

    def check(message: Any, path: str, found: list[Violation]) -> None:
        values = getattr(message, name)
        if not values:
            return
        if len(values) > count_max:
            fact = f"must be at most {count_max} items, not {len(values)}"
            found.append(Violation(path + name, fact))
            return
        for index, value in enumerate(values):
            each(value, f"{path}{name}[{index}]", found)
        if unique and len(set(values)) < len(values):
            found.extend(
                Violation(f"{path}{name}[{index}]", "is named twice")
                for index in _repetitions(values)
            )

    return check


def _item_check(of: Scalar | Rules) -> Check:
    if isinstance(of, Rules):
        inner = collector(of)
        return lambda value, path, found: inner(value, path + ".", found)
    passes, fault = of.passes, of.fault

    def check(value: Any, path: str, found: list[Violation]) -> None:
        if not passes(value):
            found.append(Violation(path, fault(value)))

    return check


def _entries(row: Field, shape: Entries) -> Check:
    name, count_max, key_shape, value_shape = row.name, shape.count_max, shape.key, shape.value

    def check(message: Any, path: str, found: list[Violation]) -> None:
        entries: Mapping[str, str] = getattr(message, name)
        if not entries:
            return
        if len(entries) > count_max:
            fact = f"must be at most {count_max} entries, not {len(entries)}"
            found.append(Violation(path + name, fact))
            return
        for key, value in entries.items():
            where = f"{path}{name}[{_quoted(key)}]"
            if not key_shape.passes(key):
                found.append(Violation(where, f"key {key_shape.fault(key)}"))
            if not value_shape.passes(value):
                found.append(Violation(where, f"value {value_shape.fault(value)}"))

    return check


def _unset(row: Field, words: str, has_presence: bool) -> Check:
    name = row.name

    def check(message: Any, path: str, found: list[Violation]) -> None:
        if _is_there(message, name, has_presence):
            found.append(Violation(path + name, words))

    return check


def _repetitions(values: Iterable[str]) -> list[int]:
    seen: set[str] = set()
    repeated = []
    for index, value in enumerate(values):
        if value in seen:
            repeated.append(index)
        seen.add(value)
    return repeated


def _quoted(key: str) -> str:
    cut = key if len(key) <= KEY_CHARACTERS_TOLD_MAX else key[:KEY_CHARACTERS_TOLD_MAX] + "…"
    return json.dumps(cut)
