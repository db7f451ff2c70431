"""The network between one sidecar and its host, as uncertain as chance makes it.

The host itself is the scripted one, which keeps what it promises: what goes wrong here goes wrong
on the way. An order travels as a part of the world: it arrives though its sender has died.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from governor.domain.errors import HostUnavailable
from governor.domain.execution import ApplyAnswer, Execution, LookupAnswer, NotSeen, Outcome
from governor.domain.request import MutationRequest, StateRef
from governor.usecases.ports import Capabilities, HostCondition, Order, Validation
from tests.simulation.chance import Chance
from tests.simulation.loop import Process
from tests.support.scripted_host import BUSY, NO, UNHEARD, ScriptedHost

_T = TypeVar("_T")

_Serve = Callable[[], Awaitable[LookupAnswer]]
_Heard = asyncio.Future[LookupAnswer]

TRAVEL_SECONDS: Final = 0.02
LATE_SECONDS_MAX: Final = 12.0
REFUSED_FLAG: Final = "refused"


class ChoosyHost(ScriptedHost):
    """A host that refuses every change of one of its states."""

    def _conclude(self, order: Order) -> Outcome:
        if order.execution.state.id == REFUSED_FLAG:
            return NO
        return ScriptedHost._conclude(self, order)


class HostLink:
    """Implements governor.usecases.ports.Host for one life of a sidecar."""

    def __init__(
        self, host: ScriptedHost, world: Process, chance: Chance, *, call_seconds_max: float
    ) -> None:
        self._host = host
        self._world = world
        self._chance = chance
        self._call_seconds_max = call_seconds_max
        self._known: Capabilities | None = None
        self._listeners: list[Callable[[Capabilities], None]] = []

    @property
    def condition(self) -> HostCondition:
        return self._host.condition

    def listen(self, listener: Callable[[Capabilities], None]) -> None:
        self._listeners.append(listener)

    @property
    def known_capabilities(self) -> Capabilities | None:
        return self._known

    async def capabilities(self) -> Capabilities:
        if self._known is None or not self._host.is_reachable:
            self._known = await self._called(self._host.capabilities)
            for listener in self._listeners:
                listener(self._known)
        return self._known

    async def state_version(self, tenant: str, state: StateRef) -> str:
        return await self._called(lambda: self._host.state_version(tenant, state))

    async def validate(self, request: MutationRequest) -> Validation:
        return await self._called(lambda: self._host.validate(request))

    async def apply(self, order: Order, *, traceparent: str) -> ApplyAnswer:
        answer = await self._ordered(
            f"apply {_token(order.execution)}",
            lambda: self._host.apply(order, traceparent=traceparent),
        )
        assert not isinstance(answer, NotSeen), "no host answers an order with not seen"
        return answer

    async def lookup(self, execution: Execution, *, fence: bool, traceparent: str) -> LookupAnswer:
        return await self._ordered(
            f"{'fence' if fence else 'look up'} {_token(execution)}",
            lambda: self._host.lookup(execution, fence=fence, traceparent=traceparent),
        )

    # --- There and back -------------------------------------------------------------------------

    async def _called(self, serve: Callable[[], Awaitable[_T]]) -> _T:
        """A call without effects."""
        await self._chance.delay(TRAVEL_SECONDS)
        if self._chance.strikes("lost_answer"):
            raise HostUnavailable("the host does not answer")
        answer = await serve()
        await self._chance.delay(TRAVEL_SECONDS)
        return answer

    async def _ordered(self, what: str, serve: _Serve) -> LookupAnswer:
        """A call that may change something, now or later, heard of or not."""
        self._chance.note(f"host: {what}")
        if self._chance.strikes("busy_host"):
            await self._chance.delay(TRAVEL_SECONDS)
            return BUSY
        heard: _Heard = asyncio.get_running_loop().create_future()
        self._world.start(self._carry(serve, heard))
        try:
            async with asyncio.timeout(self._call_seconds_max):
                answer = await heard
        except TimeoutError:
            answer = UNHEARD
        self._chance.note(f"host: {what}: {type(answer).__name__}")
        return answer

    async def _carry(self, serve: _Serve, heard: _Heard) -> None:
        await self._chance.delay(TRAVEL_SECONDS)
        if self._chance.strikes("lost_order"):
            await self._lose(heard)
            return
        if self._chance.strikes("late_order"):
            await asyncio.sleep(self._chance.between(0, LATE_SECONDS_MAX))
        answer = await serve()
        if self._host.promises.exactly_once and self._chance.strikes("doubled_order"):
            self._world.start(self._carry_again(serve))
        if self._chance.strikes("lost_answer"):
            await self._lose(heard)
            return
        await self._chance.delay(TRAVEL_SECONDS)
        if not heard.done():
            heard.set_result(answer)

    async def _carry_again(self, serve: _Serve) -> None:
        """The same call once more: nobody hears what is answered."""
        await asyncio.sleep(self._chance.between(0, LATE_SECONDS_MAX))
        await serve()

    async def _lose(self, heard: _Heard) -> None:
        """Nothing comes back: the caller learns it from a broken connection, or by its deadline."""
        if self._chance.happens(0.5):
            await self._chance.delay(TRAVEL_SECONDS)
            if not heard.done():
                heard.set_result(UNHEARD)


def _token(execution: Execution) -> str:
    return f"{execution.id} under token {execution.fencing_token}"
