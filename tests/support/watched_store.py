"""A store seen from outside: what is on its way in it, what fails, and whether it still answers."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, ParamSpec, TypeVar

from governor.usecases.commits import Batch, Commit, Committed, Head
from governor.usecases.ports import Store

_P = ParamSpec("_P")
_T = TypeVar("_T")


class WatchedStore:
    """Passes everything on to a real store.

    A dead one takes no call, gives no answer and tells nobody, like the store of a process that is
    gone; what its file holds by then stays. Each commit first takes the next of `interruptions`:
    what another caller does in the moment before it, or an error that it then meets.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._listeners: list[Callable[[Batch], None]] = []
        self._landed = asyncio.Event()
        self.on_their_way = 0
        self.is_dead = False
        self.interruptions: deque[Callable[[Commit], Awaitable[object]] | Exception] = deque()
        self.replay = self._watched(store.replay)
        self.request = self._watched(store.request)
        self.execution = self._watched(store.execution)
        self.executions_of = self._watched(store.executions_of)
        self.requests = self._watched(store.requests)
        self.executions = self._watched(store.executions)
        self.entries = self._watched(store.entries)
        self.newest_entries = self._watched(store.newest_entries)
        self.host_standing = self._watched(store.host_standing)
        self.due = self._watched(store.due)
        self.next_due = self._watched(store.next_due)
        self.overdue_reviews = self._watched(store.overdue_reviews)
        self.request_counts = self._watched(store.request_counts)
        self.adopt = self._watched(store.adopt)
        self.owns = self._watched(store.owns)
        self.refresh = self._watched(store.refresh)
        self.dependents = self._watched(store.dependents)
        self._commit = self._watched(store.commit)
        self.close = store.close
        store.listen(self._tell)

    async def commit(self, commit: Commit) -> Committed:
        if self.interruptions:
            interruption = self.interruptions.popleft()
            if isinstance(interruption, Exception):
                raise interruption
            await interruption(commit)
        return await self._commit(commit)

    async def committed_behind(self, commit: Commit) -> Committed:
        """Commits as an interruption does: none of those to come is meant for it."""
        return await self._commit(commit)

    @property
    def head(self) -> Head:
        return self._store.head

    @property
    def is_shared(self) -> bool:
        return self._store.is_shared

    @property
    def leads(self) -> bool:
        return self._store.leads

    def listen(self, listener: Callable[[Batch], None]) -> None:
        self._listeners.append(listener)

    async def at_rest(self) -> None:
        """Returns when nothing is on its way."""
        while self.on_their_way:
            self._landed.clear()
            await self._landed.wait()

    def _tell(self, batch: Batch) -> None:
        if not self.is_dead:
            for listener in self._listeners:
                listener(batch)

    def _watched(
        self, call: Callable[_P, Coroutine[Any, Any, _T]]
    ) -> Callable[_P, Coroutine[Any, Any, _T]]:
        async def watched(*args: _P.args, **kwargs: _P.kwargs) -> _T:
            if not self.is_dead:
                try:
                    with self._on_its_way():
                        answer = await call(*args, **kwargs)
                except Exception:
                    if not self.is_dead:
                        raise
                else:
                    if not self.is_dead:
                        return answer
            nothing: _T = await _nothing()
            return nothing

        return watched

    @contextmanager
    def _on_its_way(self) -> Iterator[None]:
        self.on_their_way += 1
        try:
            yield
        finally:
            self.on_their_way -= 1
            self._landed.set()


async def _nothing() -> Any:
    """Never."""
    return await asyncio.get_running_loop().create_future()
