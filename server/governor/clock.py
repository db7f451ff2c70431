"""What the sidecar asks the machine for: the time, and new names.

The only module that may: everything else is handed a Clock and an Ids.
"""

import asyncio
import os
import struct
import threading
import time

from governor.domain.values import AuditId, ExecutionId, Micros, RequestId

_NANOS_PER_MILLISECOND = 1_000_000
_SUBMILLISECOND_BITS = 12
_CHANCE_BITS = 62
_DRAWN_AT_ONCE = 256


class SystemClock:
    """The machine's clock."""

    def now(self) -> Micros:
        return Micros(time.time_ns() // 1000)

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


class SystemIds:
    """Names that sort by the time they were made, so that indexes grow at their end.

    The 32 hex digits have the layout of a UUID of version 7 (RFC 9562): milliseconds, then the
    fraction of the millisecond, then 62 bits of chance. Names of one process never run backwards,
    also when the machine's clock does.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._last_ticks = 0
        self._chances: list[int] = []

    def request_id(self) -> RequestId:
        return RequestId(f"mr-{self._hex()}")

    def execution_id(self) -> ExecutionId:
        return ExecutionId(f"ex-{self._hex()}")

    def audit_id(self) -> AuditId:
        return AuditId(f"au-{self._hex()}")

    def store_id(self) -> str:
        """What a store is called from when it was restored on."""
        return self._hex()

    def call_id(self) -> str:
        """An idempotency key for a caller who chose none."""
        return f"rq-{self._hex()}"

    def incident_id(self) -> str:
        """What a caller is given of a fault, and the log has the rest under."""
        return f"in-{self._hex()}"

    def _hex(self) -> str:
        milliseconds, fraction = divmod(self._next_ticks(), 1 << _SUBMILLISECOND_BITS)
        number = milliseconds << 80
        number |= 0x7 << 76 | fraction << 64
        number |= 0b10 << _CHANCE_BITS | self._next_chance()
        return f"{number:032x}"

    def _next_chance(self) -> int:
        """From the system's source of randomness, asked for many at a time: it is a system call."""
        try:
            return self._chances.pop()
        except IndexError:
            drawn = struct.unpack(f"{_DRAWN_AT_ONCE}Q", os.urandom(8 * _DRAWN_AT_ONCE))
            self._chances = [number & (1 << _CHANCE_BITS) - 1 for number in drawn]
            return self._chances.pop()

    def _next_ticks(self) -> int:
        """The time in 4096ths of a millisecond, or one more than the last time it was asked."""
        milliseconds, rest = divmod(time.time_ns(), _NANOS_PER_MILLISECOND)
        ticks = milliseconds << _SUBMILLISECOND_BITS
        ticks |= (rest << _SUBMILLISECOND_BITS) // (_NANOS_PER_MILLISECOND)
        with self._lock:
            self._last_ticks = max(ticks, self._last_ticks + 1)
            return self._last_ticks
