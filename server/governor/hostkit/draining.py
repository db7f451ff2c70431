"""Knows which calls are under way, so that a host can stop between calls and not within one."""

import asyncio
from contextlib import suppress
from typing import Final

from governor.hostkit.errors import HostBusy

RETRY_AFTER_SECONDS: Final = 1.0


class CallsUnderWay:
    """Entered by every call; refuses them once the host drains."""

    def __init__(self) -> None:
        self._count = 0
        self._draining = False
        self._ended = asyncio.Event()

    def __enter__(self) -> None:
        if self._draining:
            # Better than a closed connection: the caller learns that nothing was applied.
            raise HostBusy("the host is stopping", retry_after_seconds=RETRY_AFTER_SECONDS)
        self._count += 1

    def __exit__(self, *exception: object) -> None:
        self._count -= 1
        if self._count == 0 and self._draining:
            self._ended.set()

    async def drain(self, seconds_max: float) -> None:
        """Refuse new calls and return once the last one under way has ended, or the time is up."""
        self._draining = True
        if self._count > 0:
            with suppress(TimeoutError):
                async with asyncio.timeout(seconds_max):
                    await self._ended.wait()
