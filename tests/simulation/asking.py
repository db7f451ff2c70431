"""How callers ask, what they remember of the answers, and what they choose from."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final, Protocol, TypeVar

from governor.domain.errors import GovernorError
from governor.domain.request import MutationRequest, Risk
from governor.domain.values import Micros, RequestId, Revision
from governor.usecases.app import App
from governor.usecases.commands import Changed
from tests.simulation.chance import Chance
from tests.simulation.history import Call, History
from tests.simulation.model import Did, Done, No, Seen, Verb
from tests.simulation.network import NoAnswer, call
from tests.simulation.sidecar import Sidecar, SimulatedClock
from tests.support.builders import MICROS_PER_SECOND
from tests.support.scripted_host import ScriptedHost

_T = TypeVar("_T")

QUORUMS: Final = {Risk.LOW: 0, Risk.MEDIUM: 1, Risk.HIGH: 2, Risk.CRITICAL: 0}
ASKING_AGAIN_SECONDS_MAX: Final = 1.5
ATTEMPTS_MAX: Final = 12
"""So often somebody asks who gets no answer, before they leave it at that."""


class Surroundings(Protocol):
    """What the callers see of the world."""

    chance: Chance
    history: History

    @property
    def host(self) -> ScriptedHost:
        """The one host there is."""
        ...

    @property
    def clock(self) -> SimulatedClock:
        """Somebody's."""
        ...

    @property
    def is_shared(self) -> bool:
        """Whether whoever answers may be behind another one."""
        ...

    def sidecar(self) -> Sidecar | None:
        """Whoever answers at the moment, if anybody does."""
        ...


@dataclass(slots=True)
class Known:
    """A request that somebody was told of, as it was shown last."""

    request: MutationRequest
    quorum: int

    @property
    def id(self) -> RequestId:
        return self.request.id

    def show(self, request: MutationRequest) -> None:
        if request.revision > self.request.revision:
            self.request = request


class Asking:
    """What all callers of a run have in common: they share what they know, as people do who talk to
    each other.
    """

    def __init__(self, world: Surroundings) -> None:
        self._world = world
        self._chance = world.chance
        self._history = world.history
        self._keys = 0
        self._newest = Revision(0)
        self.known: dict[RequestId, Known] = {}
        self.acknowledged: list[tuple[tuple[RequestId, ...], Revision]] = []
        self._answered: list[tuple[Callable[[App], Awaitable[Any]], object]] = []

    async def _change(
        self,
        known: Known,
        did: Did,
        serve: Callable[[App], Awaitable[Changed]],
        *,
        wait_seconds: float | None = None,
    ) -> None:
        def answered(answer: Changed, calls: list[Call]) -> None:
            known.show(answer.request)
            self.acknowledged.append(((known.id,), answer.revision))
            self._took(calls[0], answer.revision, answer.request, wait_seconds)

        await self._ask([(known.id, did)], serve, answered, again=wait_seconds is None)

    async def _ask(
        self,
        dids: list[tuple[str, Did]],
        serve: Callable[[App], Awaitable[_T]],
        answered: Callable[[_T, list[Call]], None],
        *,
        again: bool = False,
        attempts_max: int = ATTEMPTS_MAX,
    ) -> None:
        """Asks until there is an answer. Each attempt is an operation of its own: one that was not
        answered may take effect while the next is under way.
        """
        what = ", ".join(f"{did.verb} {about} by {did.actor} {did.key}" for about, did in dids)
        for attempt in range(1, attempts_max + 1):
            self._chance.note(f"calls {what}, attempt {attempt}")
            calls = [self._history.begin(about, did) for about, did in dids]
            try:
                answer = await call(self._chance, self._world.sidecar(), serve)
            except NoAnswer:
                self._chance.note(f"hears nothing of {what}")
                await asyncio.sleep(self._chance.between(0, ASKING_AGAIN_SECONDS_MAX))
                continue
            except GovernorError as refusal:
                self._chance.note(f"is refused {what}: {refusal!r}")
                for one in calls:
                    self._history.end(one, No(type(refusal).__name__))
                return
            self._chance.note(f"is answered {what}")
            answered(answer, calls)
            if again:
                self._answered.append((serve, answer))
            return

    def _took(
        self,
        call: Call,
        revision: Revision,
        request: MutationRequest,
        wait_seconds: float | None,
    ) -> None:
        """Who waited is shown the request as it was later."""
        self._newest = max(self._newest, revision)
        if wait_seconds is None:
            self._history.end(call, Seen.of(request))
            return
        self._history.end(call, Done(revision))
        look = self._history.begin(request.id, Did(verb=Verb.GET, actor=call.did.actor))
        look.called = call.called
        self._look(look, request, may_be_old=True)

    def _look(self, call: Call, request: MutationRequest, *, may_be_old: bool) -> None:
        """What a replica shows may be as old as it likes, unless it was asked for better."""
        if may_be_old and self._world.is_shared:
            call.called = 0
        self._newest = max(self._newest, request.revision)
        self._history.end(call, Seen.of(request))

    def _learn(self, request: MutationRequest, risk: Risk) -> None:
        known = self.known.setdefault(request.id, Known(request, QUORUMS[risk]))
        known.show(request)

    # --- Choices --------------------------------------------------------------------------------

    def _some(self, wanted: Callable[[Known], bool]) -> Known:
        """One that is wanted, as long as there is one, and chance does not want another."""
        all_known = list(self.known.values())
        fitting = [one for one in all_known if wanted(one)]
        return self._chance.pick(fitting if fitting and self._chance.happens(0.9) else all_known)

    def _key(self) -> str:
        self._keys += 1
        return f"call-{self._keys}"

    def _moment(self, seconds: float | None) -> Micros | None:
        if seconds is None:
            return None
        return Micros(self._world.clock.now() + round(seconds * MICROS_PER_SECOND))
