"""How a sidecar's parts are closed: each within a bound, so that it goes down whoever is away."""

import asyncio
import logging
import threading
from collections.abc import Awaitable, Callable
from typing import Final

log = logging.getLogger(__name__)

CLOSING_SECONDS_MAX: Final = 3.0
"""How long each of store, host and telemetry may take. By then every answer has been given, and
what was acknowledged is on disk."""


async def close_in_time(part: str, close: Callable[[], Awaitable[None]]) -> None:
    """Closes a part, or leaves it to the end of the process."""
    try:
        async with asyncio.timeout(CLOSING_SECONDS_MAX):
            await close()
    except TimeoutError:
        log.warning("a part did not close in time and ends with the process", extra={"part": part})


async def beside_the_loop(work: Callable[[], None]) -> None:
    """Runs blocking work in a thread that does not keep the process from ending."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[None] = loop.create_future()

    def settle(failure: Exception | None) -> None:
        if done.done():
            return  # whoever waited has given up
        if failure is None:
            done.set_result(None)
        else:
            done.set_exception(failure)

    def run() -> None:
        failure: Exception | None = None
        try:
            work()
        except Exception as error:  # noqa: BLE001 - whatever it is, whoever waits is told
            failure = error
        try:
            loop.call_soon_threadsafe(settle, failure)
        except RuntimeError:
            return  # the loop has ended before the work

    threading.Thread(target=run, name="governor-closing", daemon=True).start()
    await done
