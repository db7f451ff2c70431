"""Taking up what nobody sees to: what a former process left, what a replica that died leaves."""

import asyncio
import logging
from collections.abc import Callable, Sequence

from governor.domain.errors import Overloaded, StoreUnavailable
from governor.domain.request import MutationRequest
from governor.usecases.app import App

log = logging.getLogger(__name__)

ADOPTIONS_PER_LEASE = 8
"""How often, in the time of an execution's lease, somebody looks for what nobody sees to."""

ADOPTION_PAGE = 200

Taker = Callable[[Sequence[MutationRequest]], None]
"""Sees to those among unfinished requests that are its to see to."""


class Adoption:
    """Hands unfinished requests to those who see to them, in the order in which they were given."""

    def __init__(self) -> None:
        self._app: App
        self._takers: tuple[Taker, ...] = ()
        self._task: asyncio.Task[None] | None = None
        self._is_failing = False

    def attach(self, app: App, *takers: Taker) -> None:
        """Ties it to its application, and to those who see to requests."""
        self._app = app
        self._takers = takers

    async def start(self) -> None:
        """Takes up everything there is now; and then, of a shared store, whatever comes to be."""
        await self.adopt()
        if self._app.store.is_shared:
            self._task = asyncio.get_running_loop().create_task(self._keep_adopting())

    async def stop(self) -> None:
        """Leaves the rest to others, or to the next start."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def adopt(self) -> int:
        """Takes up all that nobody sees to at the moment; answers how many requests those were.

        All pages together, because the order of approval runs across them.
        """
        adopted: list[MutationRequest] = []
        self._app.failpoints("adopt.before_page")
        while page := await self._app.store.adopt(limit=ADOPTION_PAGE):
            adopted.extend(page)
            self._app.failpoints("adopt.after_page")
        for take in self._takers if adopted else ():
            take(adopted)
        return len(adopted)

    async def _keep_adopting(self) -> None:
        pause = self._app.limits.lease_seconds / ADOPTIONS_PER_LEASE
        while True:
            await self._app.clock.sleep(pause)
            if self._app.executions.is_stopping:
                return  # what would be adopted now would not be seen to
            try:
                adopted = await self.adopt()
            except (StoreUnavailable, Overloaded) as unavailable:
                if not self._is_failing:
                    log.warning("nothing can be taken over for now", exc_info=unavailable)
                self._is_failing = True
                continue
            self._is_failing = False
            if adopted:
                log.warning("%d requests of a replica that is gone were taken over", adopted)
