"""Whose turn it is: one holder per state, and a line of approved requests behind it."""

from collections import Counter, OrderedDict, deque

from governor.domain.request import Slot
from governor.domain.values import RequestId


class Turns:
    """Who holds which state, and who waits for it, in the order of their approval.

    Memory only: the store refuses a second active execution on a state whatever this says, and a
    new process rebuilds it from the store.
    """

    def __init__(self) -> None:
        self._holders: dict[Slot, str] = {}
        self._slots: dict[str, Slot] = {}  # the same, the other way round
        self._lines: dict[Slot, OrderedDict[RequestId, None]] = {}
        self._ready: deque[Slot] = deque()
        self._submitting: Counter[Slot] = Counter()

    def occupy(self, slot: Slot, holder: str) -> None:
        """The state is held by `holder`, an execution or a request on its way to one."""
        self._slots.pop(self._holders.get(slot, ""), None)
        self._holders[slot] = holder
        self._slots[holder] = slot

    def held_by(self, holder: str) -> Slot | None:
        """The state that `holder` holds."""
        return self._slots.get(holder)

    def free(self, slot: Slot, holder: str) -> None:
        """`holder` lets go; the next in line may have its turn. Somebody else's hold stays."""
        if self._holders.get(slot) != holder:
            return
        del self._holders[slot]
        del self._slots[holder]
        if slot in self._lines:
            self._ready.append(slot)

    def join(self, slot: Slot, id: RequestId) -> None:
        """The request takes its place at the end of the line, once."""
        line = self._lines.setdefault(slot, OrderedDict())
        line[id] = None
        if slot not in self._holders and len(line) == 1:
            self._ready.append(slot)

    def rejoin(self, slot: Slot, id: RequestId) -> None:
        """Back to the head of the line; whoever still holds the state keeps it until freed."""
        line = self._lines.setdefault(slot, OrderedDict())
        line[id] = None
        line.move_to_end(id, last=False)
        if slot not in self._holders:
            self._ready.append(slot)

    def take(self) -> tuple[Slot, RequestId] | None:
        """The next request that may run; it holds its state from now on. None: nobody may."""
        while self._ready:
            slot = self._ready.popleft()
            if slot in self._holders or slot not in self._lines:
                continue
            line = self._lines[slot]
            id, _ = line.popitem(last=False)
            if not line:
                del self._lines[slot]
            self.occupy(slot, id)
            return slot, id
        return None

    def begin_submission(self, slot: Slot) -> None:
        """A commit that approves a request on the state is on its way to the store."""
        self._submitting[slot] += 1

    def end_submission(self, slot: Slot) -> None:
        """It has arrived, or failed."""
        self._submitting[slot] -= 1
        if not self._submitting[slot]:
            del self._submitting[slot]

    def may_jump_in(self, slot: Slot) -> bool:
        """Whether a submission under way is alone: nobody holds the state, waits or comes along."""
        return slot not in self._holders and slot not in self._lines and self._submitting[slot] == 1
