"""The texts that every part of the policy file is made of: names, and targets like role:owner."""

from collections import Counter
from collections.abc import Iterable
from typing import Annotated

from pydantic import AfterValidator, Field

from governor.domain.approval import Target
from governor.domain.values import TargetKind

TARGETS_MAX = 32

Id = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$")]
Text = Annotated[str, Field(min_length=1, max_length=200)]


def _is_target(text: str) -> str:
    kind, _, name = text.partition(":")
    if kind not in ("actor", "role", "group") or not name or name != name.strip():
        raise ValueError(f"must be actor:NAME, role:NAME or group:NAME, not {text!r}")
    return text


TargetText = Annotated[str, Field(max_length=200), AfterValidator(_is_target)]


def target(text: str) -> Target:
    """What a TargetText names."""
    kind, _, name = text.partition(":")
    return Target(kind=TargetKind(kind.upper()), name=name)


def refuse_duplicates(what: str, names: Iterable[str]) -> None:
    """Raises ValueError when a name is used twice."""
    repeated = [name for name, count in Counter(names).items() if count > 1]
    if repeated:
        raise ValueError(f"{what} {repeated[0]!r} is used more than once")
