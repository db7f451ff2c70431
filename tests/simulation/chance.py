"""Everything that is left to chance in a run: one generator, one list of faults, one trace."""

import asyncio
import hashlib
import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Final, TypeVar

from tests.simulation.loop import running_process

_T = TypeVar("_T")

_LEFT_OUT: Final = 0.35
"""How likely a run is to go without one kind of fault: too many at once hide each other."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Faults:
    """How likely each fault is, wherever it is possible."""

    slow: float = 0.04
    """A delay is a hundred times what it usually is."""
    lost_call: float = 0.06
    """A caller's call does not reach the sidecar."""
    lost_reply: float = 0.08
    """The sidecar's answer does not reach the caller, who does not know what became of it."""
    impatience: float = 0.05
    """A caller hangs up in the middle of a call."""
    lost_order: float = 0.08
    lost_answer: float = 0.1
    late_order: float = 0.06
    """It arrives long after the sidecar has given up on it, perhaps fenced it."""
    doubled_order: float = 0.05
    busy_host: float = 0.05
    unreadable: float = 0.01
    """A read of the store fails."""
    unwritable: float = 0.02
    """A transaction fails before its COMMIT, at it, or after it: the last two look the same."""
    lost_connection: float = 0.02
    """A replica's connection to the database breaks."""
    lost_hint: float = 0.3
    """A replica is not told that another one has written."""
    crash: float = 0.004
    """The sidecar dies, wherever it stands."""
    cut_stream: float = 0.05


NO_FAULTS: Final = Faults(**{field.name: 0.0 for field in fields(Faults)})


class Trace:
    """What happened, line by line; its digest tells whether two runs were the same."""

    def __init__(self, *, keep: bool) -> None:
        self._hash = hashlib.sha256()
        self._keep = keep
        self.lines: list[str] = []

    def add(self, line: str) -> None:
        self._hash.update(line.encode())
        self._hash.update(b"\n")
        if self._keep:
            self.lines.append(line)

    @property
    def digest(self) -> str:
        return self._hash.hexdigest()


class Chance:
    """Decides by a seed. What it decided against the sidecar is counted in `faults_made`."""

    def __init__(self, seed: int, trace: Trace) -> None:
        self._random = random.Random(seed)
        self._trace = trace
        self.faults_made: Counter[str] = Counter()
        self.faults = replace(
            Faults(),
            **{field.name: 0.0 for field in fields(Faults) if self.happens(_LEFT_OUT)},
        )

    def heal(self) -> None:
        """From now on nothing goes wrong."""
        self.faults = NO_FAULTS

    def note(self, what: str) -> None:
        """Writes a line of the trace."""
        process = running_process()
        name = process.name if process else "world"
        self._trace.add(f"{asyncio.get_running_loop().time():12.6f} {name:10} {what}")

    # --- Choices --------------------------------------------------------------------------------

    def happens(self, likelihood: float) -> bool:
        return likelihood > 0 and self._random.random() < likelihood

    def pick(self, choices: Sequence[_T]) -> _T:
        return choices[int(self._random.random() * len(choices))]

    def weighted(self, **weights: float) -> str:
        return self._random.choices(list(weights), list(weights.values()))[0]

    def between(self, least: float, most: float) -> float:
        return self._random.uniform(least, most)

    def strikes(self, fault: str) -> bool:
        """Whether that fault comes about here."""
        struck = self.happens(getattr(self.faults, fault))
        if struck:
            self.faults_made[fault] += 1
            self.note(f"fault: {fault}")
        return struck

    # --- Delays ---------------------------------------------------------------------------------

    async def delay(self, usual_seconds: float) -> None:
        """What a call takes on its way: nothing, one turn of the loop, or some time.

        The process that calls may die of it.
        """
        process = running_process()
        if process is not None and process.is_mortal and self.strikes("crash"):
            process.die()
            await process.never()
        draw = self._random.random()
        if draw < 0.3:
            return
        if draw < 0.5:
            await asyncio.sleep(0)
            return
        seconds = self._random.uniform(0, 2 * usual_seconds)
        if self.strikes("slow"):
            seconds *= 100
        await asyncio.sleep(seconds)
