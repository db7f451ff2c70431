"""The newest stretch of the ledger in memory, shared by every subscriber."""

import asyncio
from collections import deque
from collections.abc import Sequence
from itertools import islice

from governor.domain.values import Revision
from governor.usecases.commits import Batch, StoredEntry

TAIL_BYTES_MAX = 32 * 1_048_576


class Tail:
    """The last entries, without gaps, and a way to wait for the next one.

    A subscriber is a cursor: there is no queue for each, so a slow one costs nothing.
    """

    def __init__(
        self, *, head: Revision, entries_max: int, bytes_max: int = TAIL_BYTES_MAX
    ) -> None:
        self._entries: deque[StoredEntry] = deque()
        self._entries_max = entries_max
        self._bytes = 0
        self._bytes_max = bytes_max
        self._head = head
        self._grown: asyncio.Event = asyncio.Event()
        self._closed = False

    @property
    def head(self) -> Revision:
        """The revision of the last entry seen."""
        return self._head

    @property
    def is_closed(self) -> bool:
        """Whether streams should end."""
        return self._closed

    def publish(self, batch: Batch) -> None:
        """Appends a batch and wakes those who wait."""
        if not batch.entries:
            return
        self._entries.extend(batch.entries)
        self._bytes += sum(len(entry.data) for entry in batch.entries)
        while len(self._entries) > self._entries_max or self._bytes > self._bytes_max:
            self._bytes -= len(self._entries.popleft().data)
        self._head = batch.entries[-1].revision
        self._wake()

    def close(self) -> None:
        """Wakes everybody for the last time."""
        self._closed = True
        self._wake()

    def after(self, revision: Revision, limit: int) -> Sequence[StoredEntry] | None:
        """The entries after `revision`, at most `limit`; None when they are no longer here."""
        if revision >= self._head:
            return ()
        if not self._entries or self._entries[0].revision > revision + 1:
            return None
        skip = revision + 1 - self._entries[0].revision
        distance = len(self._entries) - skip
        if distance < skip:
            # Near the end: walk backwards from there, as a live subscriber always is.
            newest = list(islice(reversed(self._entries), distance))
            newest.reverse()
            return newest[:limit]
        return list(islice(self._entries, skip, skip + limit))

    async def grown_beyond(self, revision: Revision) -> None:
        """Returns when the ledger has grown beyond `revision`, or the tail is closed."""
        while self._head <= revision and not self._closed:
            await self._grown.wait()

    def _wake(self) -> None:
        grown, self._grown = self._grown, asyncio.Event()
        grown.set()
