"""Whether a concurrent history could have been a sequential one: the search of Wing and Gong
("Testing and verifying concurrent objects", 1993), with Lowe's memory of what was tried already.

An operation takes effect in one moment between its call and its answer. One that was never answered
may take effect at any later moment, or never. Between the operations the system may take steps of
its own. The history is linearizable if there is an order of moments in which a sequential
specification gives every caller the answer that they got.
"""

from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

_State = TypeVar("_State", bound=Hashable)
_Did = TypeVar("_Did")


@dataclass(frozen=True, slots=True)
class Operation(Generic[_Did]):
    """What somebody did, between two places in the history. `answered` None: nobody knows when."""

    did: _Did
    called: int
    answered: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Specification(Generic[_State, _Did]):
    """What the object would do if one thing happened after the other.

    `step` answers every state that an operation may lead to, and none where it cannot have got the
    answer that it got; one without an answer leads wherever its effect may. `alone` answers what
    the system may make of a state by itself, in any number of steps.
    """

    initial: _State
    step: Callable[[_State, _Did], Iterable[_State]]
    alone: Callable[[_State], Iterable[_State]] = lambda _: ()


class NotLinearizable(Exception):
    """No order explains the answers. `explained` is the longest beginning that one was found for,
    and `stuck` are those of which one would have had to be next.
    """

    def __init__(self, explained: Sequence[object], stuck: Sequence[object]) -> None:
        self.explained = tuple(explained)
        self.stuck = tuple(stuck)
        lines = [f"  {did}" for did in explained]
        lines += [f"  ? {did}" for did in stuck]
        super().__init__("no order explains these answers:\n" + "\n".join(lines))


def check_linearizable(
    operations: Sequence[Operation[_Did]], specification: Specification[_State, _Did]
) -> tuple[_Did, ...]:
    """An order that explains every answer. Raises NotLinearizable."""
    return _Search(operations, specification).run()


class _Search(Generic[_State, _Did]):
    """Depth first, in the order in which the operations are given: the likeliest should come first.

    A set of operations is a number with a bit for each.
    """

    def __init__(
        self,
        operations: Sequence[Operation[_Did]],
        specification: Specification[_State, _Did],
    ) -> None:
        self._operations = operations
        self._specification = specification
        self._answered = sum(
            1 << position
            for position, operation in enumerate(operations)
            if operation.answered is not None
        )
        self._tried: set[tuple[int, _State]] = set()

    def run(self) -> tuple[_Did, ...]:
        deepest: tuple[int, ...] = ()
        open_paths: list[_Path[_State]] = [_Path(0, self._specification.initial, ())]
        while open_paths:
            path = open_paths.pop()
            if path.done & self._answered == self._answered:
                return self._told(path.order)
            if len(path.order) > len(deepest):
                deepest = path.order
            for longer in reversed(self._longer(path)):
                if (longer.done, longer.state) not in self._tried:
                    self._tried.add((longer.done, longer.state))
                    open_paths.append(longer)
        done = sum(1 << position for position in deepest)
        raise NotLinearizable(self._told(deepest), self._told(self._next(done)))

    def _longer(self, path: "_Path[_State]") -> list["_Path[_State]"]:
        """The paths that lead on from here, the likeliest first."""
        positions = self._next(path.done)
        for position in positions:
            # What changes nothing and can be done now may as well be done now: whatever order there
            # is that has it later is also one without it there.
            if self._answered >> position & 1 and path.state in self._steps(path.state, position):
                return [path.then(position, path.state)]
        before = (path.state, *self._specification.alone(path.state))
        return [
            path.then(position, after)
            for position in positions
            for after in dict.fromkeys(
                after for one in before for after in self._steps(one, position)
            )
            if after != path.state or self._answered >> position & 1
        ]

    def _next(self, done: int) -> list[int]:
        """Whoever was called before the first answer that is still to be explained."""
        left = [position for position in range(len(self._operations)) if not done >> position & 1]
        answers = (self._operations[position].answered for position in left)
        first = min((answer for answer in answers if answer is not None), default=None)
        return [
            position
            for position in left
            if first is None or self._operations[position].called < first
        ]

    def _steps(self, state: _State, position: int) -> Iterable[_State]:
        return self._specification.step(state, self._operations[position].did)

    def _told(self, order: Iterable[int]) -> tuple[_Did, ...]:
        return tuple(self._operations[position].did for position in order)


@dataclass(frozen=True, slots=True)
class _Path(Generic[_State]):
    """What is done already, in which order, and the state that it has led to."""

    done: int
    state: _State
    order: tuple[int, ...]

    def then(self, position: int, state: _State) -> "_Path[_State]":
        return _Path(self.done | 1 << position, state, (*self.order, position))
