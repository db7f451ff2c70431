"""The circuit breaker: a host that does not answer is left alone for a while, then tried once."""

import time
from collections.abc import Callable

from governor.domain.errors import HostUnavailable
from governor.usecases.ports import Circuit


class CircuitOpen(HostUnavailable):
    """Nothing was sent: the host has failed to answer too often in a row."""

    def __init__(self, retry_seconds: float) -> None:
        super().__init__("the host has failed to answer too often, and is not called for a while")
        self.retry_seconds = retry_seconds


class Breaker:
    """Closed until `failures_max` calls in a row went unanswered, then open for a pause.

    After the pause one call is let through. Answered, it closes; unanswered, it doubles the pause,
    up to the longest. `changed` is told of every step.
    """

    def __init__(
        self,
        *,
        failures_max: int,
        pause_seconds_initial: float,
        pause_seconds_max: float,
        changed: Callable[[Circuit], None] = lambda _: None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._failures_max = failures_max
        self._pause_initial = self._pause = pause_seconds_initial
        self._pause_max = pause_seconds_max
        self._changed = changed
        self._monotonic = monotonic
        self._failures = 0
        self._reopens_at = 0.0
        self.circuit = Circuit.CLOSED

    def admit(self) -> bool:
        """Whether the call to be made is the one that tries. Raises CircuitOpen if none may be."""
        if self.circuit is Circuit.CLOSED:
            return False
        pause = self._reopens_at - self._monotonic()
        if self.circuit is Circuit.PROBING or pause > 0:
            raise CircuitOpen(pause if pause > 0 else self._pause_initial)
        self._turn(Circuit.PROBING)
        return True

    def ended(self, *, answered: bool | None, is_probe: bool) -> None:
        """A call that was admitted is over. None: it was given up here, and tells nothing."""
        if answered:
            self._failures, self._pause = 0, self._pause_initial
            if self.circuit is not Circuit.CLOSED:
                self._turn(Circuit.CLOSED)
        elif is_probe:
            if answered is False:
                self._pause = min(self._pause * 2, self._pause_max)
                self._reopens_at = self._monotonic() + self._pause
            self._turn(Circuit.OPEN)
        elif answered is False and self.circuit is Circuit.CLOSED:
            self._failures += 1
            if self._failures >= self._failures_max:
                self._reopens_at = self._monotonic() + self._pause
                self._turn(Circuit.OPEN)

    def reconsider(self) -> None:
        """There is a new connection: the next call may try at once."""
        self._reopens_at = self._monotonic()

    def _turn(self, circuit: Circuit) -> None:
        self.circuit = circuit
        self._changed(circuit)
