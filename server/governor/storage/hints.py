"""Hints between replicas that there is something new in the ledger, over LISTEN and NOTIFY.

A hint is empty and may be lost: behind a pooler that lends sessions out nobody is ever told. What
is true is found by looking; a hint only makes somebody look sooner.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Final

import asyncpg

logger = logging.getLogger(__name__)

CHANNEL: Final = "governor_ledger"
_RECONNECT_SECONDS: Final = 2.0
_CLOSE_SECONDS_MAX: Final = 1.0


class Hints:
    """One connection that listens, and tells: as often as is asked while one telling runs, once."""

    def __init__(
        self,
        connect: Callable[[], Awaitable[asyncpg.Connection]],
        heard: Callable[[], None],
    ) -> None:
        self._connect = connect
        self._heard = heard
        self._has_news = asyncio.Event()
        self._lost = asyncio.Event()
        self._task = asyncio.create_task(self._run(), name="governor-hints")

    def tell(self) -> None:
        """Something is new for the others."""
        self._has_news.set()

    async def close(self) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        while True:
            try:
                await self._listen_and_tell()
            except Exception as error:  # without hints there is still polling
                logger.debug("no hints between replicas for the moment", exc_info=error)
            await asyncio.sleep(_RECONNECT_SECONDS)

    async def _listen_and_tell(self) -> None:
        connection = await self._connect()
        try:
            self._lost.clear()
            connection.add_termination_listener(self._on_lost)
            await connection.add_listener(CHANNEL, self._on_notification)
            self._heard()  # of whatever was told while nobody listened
            while not self._lost.is_set():
                await self._has_news.wait()
                self._has_news.clear()
                if not self._lost.is_set():
                    await connection.execute(f"NOTIFY {CHANNEL}")
        finally:
            with suppress(Exception):
                await connection.close(timeout=_CLOSE_SECONDS_MAX)

    def _on_notification(self, *_: object) -> None:
        self._heard()

    def _on_lost(self, *_: object) -> None:
        self._lost.set()
        self._has_news.set()
