"""How callers reach the sidecar: calls get lost on the way there and on the way back, callers hang
up, and the sidecar dies in the middle.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager
from typing import Any, Final, TypeVar, cast

from governor.domain.errors import Draining, GovernorError, StoreUnavailable
from governor.usecases.app import App
from governor.usecases.commands import Caller, CaughtUp, Heartbeat, Subscribe
from governor.usecases.commits import StoredEntry
from governor.usecases.watch import stream_decisions
from tests.simulation.chance import Chance
from tests.simulation.sidecar import Sidecar

_T = TypeVar("_T")

TRAVEL_SECONDS: Final = 0.005
CALL_SECONDS_MAX: Final = 15.0
IN_FLIGHT_MAX: Final = 4
"""Messages of a stream that are under way: then the sender waits for the receiver."""

Message = StoredEntry | CaughtUp | Heartbeat


class NoAnswer(Exception):
    """The caller knows nothing: the call took effect, or it did not, or it still will."""


async def call(
    chance: Chance, sidecar: Sidecar | None, serve: Callable[[App], Awaitable[_T]]
) -> _T:
    """The sidecar's answer. Raises what it refuses with, or NoAnswer."""
    await chance.delay(TRAVEL_SECONDS)
    if sidecar is None or sidecar.process.is_dead or chance.strikes("lost_call"):
        await asyncio.sleep(TRAVEL_SECONDS)
        raise NoAnswer
    process = sidecar.process
    handler = process.spawn(_served(serve, sidecar.app))
    patience = chance.between(0, 0.1) if chance.strikes("impatience") else CALL_SECONDS_MAX
    either: set[asyncio.Future[Any]] = {handler, process.ended}
    await asyncio.wait(either, timeout=patience, return_when=asyncio.FIRST_COMPLETED)
    if not handler.done() and not process.is_dead:
        handler.cancel()
    if not handler.done() or handler.cancelled() or chance.strikes("lost_reply"):
        await chance.delay(TRAVEL_SECONDS)
        raise NoAnswer
    await chance.delay(TRAVEL_SECONDS)
    match handler.result():
        case StoreUnavailable() | Draining() as unavailable:
            raise NoAnswer from unavailable
        case GovernorError() as refusal:
            raise refusal
        case answer:
            return answer


async def _served(serve: Callable[[App], Awaitable[_T]], app: App) -> _T | GovernorError:
    """What is sent back: nobody may be there any more to be told of a refusal."""
    try:
        return await serve(app)
    except GovernorError as refusal:
        return refusal


@asynccontextmanager
async def stream(
    sidecar: Sidecar, caller: Caller, command: Subscribe
) -> AsyncIterator["asyncio.Queue[Message | BaseException]"]:
    """A stream's messages as they arrive; the last is the reason why no more come."""
    wire: asyncio.Queue[Message | BaseException] = asyncio.Queue(IN_FLIGHT_MAX)
    pumping = sidecar.process.spawn(_pump(sidecar.app, caller, command, wire))
    try:
        yield wire
    finally:
        pumping.cancel()


async def _pump(
    app: App,
    caller: Caller,
    command: Subscribe,
    wire: "asyncio.Queue[Message | BaseException]",
) -> None:
    end: BaseException = NoAnswer()
    try:
        # It is a generator, whatever its type lets on, and is to be closed here and now.
        generator = cast(AsyncGenerator[Message], stream_decisions(app, caller, command))
        async with aclosing(generator) as messages:
            async for message in messages:
                await wire.put(message)
    except (StoreUnavailable, Draining):
        return
    except Exception as failure:  # noqa: BLE001 - handed to the receiver, who raises it
        end = failure
    finally:
        while not wire.empty():
            wire.get_nowait()  # what was under way is lost with the connection
        wire.put_nowait(end)
