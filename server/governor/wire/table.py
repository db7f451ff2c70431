"""The form that shape rules have: one row per field of a message, and none forgotten."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any, Self

from google.protobuf.descriptor import Descriptor

from governor.wire.shapes import Scalar


@dataclass(frozen=True, slots=True, kw_only=True)
class Items:
    """A repeated field."""

    of: "Scalar | Rules"
    count_max: int
    unique: bool = False

    @property
    def words(self) -> str:
        each = self.of.words if isinstance(self.of, Scalar) else f"a {self.of.name}"
        return f"at most {self.count_max}, {'all different, ' if self.unique else ''}each {each}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Entries:
    """A map of texts."""

    key: Scalar
    value: Scalar
    count_max: int

    @property
    def words(self) -> str:
        return f"at most {self.count_max}; keys {self.key.words}; values {self.value.words}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Unset:
    """A field that this call does not take."""

    words: str = "must be unset"


@dataclass(frozen=True, slots=True, kw_only=True)
class Unread:
    """A field of which nothing can be wrong."""

    words: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    """The rule of one field."""

    name: str
    shape: "Scalar | Items | Entries | Unset | Unread | Rules"
    required: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Relation:
    """A rule between fields, asked only when each of them is well-formed; told at `name`."""

    name: str
    words: str
    holds: Callable[[Any], bool]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """The whole table of one message: every field has a row."""

    message: Descriptor
    fields: tuple[Field, ...]
    relations: tuple[Relation, ...] = ()

    def __post_init__(self) -> None:
        ruled = [row.name for row in self.fields]
        there = list(self.message.fields_by_name)
        if sorted(ruled) != sorted(there):
            odd = sorted(set(ruled) ^ set(there)) or ruled
            raise ValueError(f"the rules of {self.message.name} do not fit its fields: {odd}")

    @property
    def name(self) -> str:
        return self.message.name

    def but(self, *changes: Field) -> Self:
        """The same table with other rules for some fields."""
        changed = {row.name: row for row in changes}
        return replace(self, fields=tuple(changed.get(row.name, row) for row in self.fields))

    def nested(self) -> Iterator["Rules"]:
        """The tables of the messages inside, each before its own insides."""
        for row in self.fields:
            shape = row.shape.of if isinstance(row.shape, Items) else row.shape
            if isinstance(shape, Rules):
                yield shape
                yield from shape.nested()
