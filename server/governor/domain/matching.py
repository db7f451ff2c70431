"""Filling places with different voices, step after step: which places stay empty at best.

A maximum bipartite matching by augmenting paths (Kuhn 1955, as in Hopcroft and Karp 1973, without
the layering): each place takes a free voice, or one whose present place can move to another. A
place that is filled stays filled, so what comes first is filled first.
"""

from collections.abc import Iterable, Sequence

from governor.domain.values import Value


class Need(Value, frozen=True, kw_only=True):
    """What needs `count` different voices, and the voices that it may have."""

    id: str
    count: int
    voices: frozenset[str]


Way = tuple[Need, ...]
"""Needs that are met together."""


class Filling(Value, frozen=True, kw_only=True):
    """How far the steps can be filled at best: the first that cannot, and what is missing there,
    one id per voice.
    """

    step: int
    missing: tuple[str, ...] = ()


def fullest(steps: Sequence[Sequence[Way]]) -> Filling:
    """Of all choices of one way per step, the one that fills the most steps from the first one on,
    and lacks the least in the next. `step` is the number of steps when all can be filled.
    """
    return _fullest(steps, 0, (), {})


def _fullest(
    steps: Sequence[Sequence[Way]],
    at: int,
    places: tuple[frozenset[str], ...],
    place_of: dict[str, int],
) -> Filling:
    if at == len(steps):
        return Filling(step=at)
    best: Filling | None = None
    for way in steps[at]:
        taken = dict(place_of)
        wider, missing = _fill(way, places, taken)
        found = (
            Filling(step=at, missing=missing) if missing else _fullest(steps, at + 1, wider, taken)
        )
        if found.step == len(steps):
            return found
        if best is None or _rank(found) > _rank(best):
            best = found
    return best or Filling(step=at, missing=("",))


def _rank(filling: Filling) -> tuple[int, int]:
    return filling.step, -len(filling.missing)


def _fill(
    needs: Iterable[Need], before: tuple[frozenset[str], ...], place_of: dict[str, int]
) -> tuple[tuple[frozenset[str], ...], tuple[str, ...]]:
    """The places with those of `needs`, and one id per place that stays empty; moves `place_of`."""
    ids = [need.id for need in needs for _ in range(need.count)]
    places = (*before, *(need.voices for need in needs for _ in range(need.count)))

    def place(number: int, tried: set[str]) -> bool:
        # Whoever is free first: it keeps the search flat. Which of them it is makes no difference
        # to which places stay empty.
        free = next((voice for voice in places[number] if voice not in place_of), None)
        if free is not None:
            place_of[free] = number
            return True
        for voice in places[number]:
            if voice not in tried:
                tried.add(voice)
                if place(place_of[voice], tried):
                    place_of[voice] = number
                    return True
        return False

    missing = [id for number, id in enumerate(ids, len(before)) if not place(number, set())]
    return places, tuple(missing)
