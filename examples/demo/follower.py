"""A subscriber that loses its connection again and again, and must not lose a decision."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager, suppress

from examples.demo.client import Client
from governance.v1.decision_pb2 import Decision

CUT_AFTER_DECISIONS = 10
CAUGHT_UP_SECONDS_MAX = 10.0


class Follower:
    """Follows the whole ledger from its first entry, and hangs up after every few decisions."""

    def __init__(self, client: Client) -> None:
        self.decisions: list[Decision] = []
        self.cuts = 0
        self._client = client
        self._revision = 0
        self._store_id = ""
        self._listening = asyncio.Event()
        self._listening.set()
        self._grew = asyncio.Condition()
        self._call: asyncio.Task[None] | None = None

    @property
    def revision(self) -> int:
        """The last revision that it knows everything up to."""
        return self._revision

    async def run(self) -> None:
        """Follows until it is cancelled; each new call resumes after the last revision seen."""
        while True:
            await self._listening.wait()
            self._call = asyncio.create_task(self._listen())
            try:
                await asyncio.wait((self._call,))
            finally:
                self._call.cancel()
            if not self._call.cancelled():
                self._call.result()
            self.cuts += 1

    def hang_up(self) -> None:
        """Cut the stream, and stay away until `resume`."""
        self._listening.clear()
        if self._call is not None:
            self._call.cancel()

    def resume(self) -> None:
        self._listening.set()

    async def until(self, revision: int) -> None:
        """Returns when everything up to `revision` has arrived. Raises TimeoutError."""
        async with asyncio.timeout(CAUGHT_UP_SECONDS_MAX), self._grew:
            await self._grew.wait_for(lambda: self._revision >= revision)

    async def _listen(self) -> None:
        messages = self._client.follow(after_revision=self._revision, store_id=self._store_id)
        received = 0
        async with aclosing(messages):
            async for message in messages:
                match message.WhichOneof("message"):
                    case "decision":
                        self.decisions.append(message.decision)
                        self._revision = message.decision.revision
                        received += 1
                    case "caught_up":
                        self._store_id = message.caught_up.store_id
                    case "heartbeat":
                        self._revision = message.heartbeat.revision
                    case _:
                        continue
                async with self._grew:
                    self._grew.notify_all()
                if received == CUT_AFTER_DECISIONS:
                    return


@asynccontextmanager
async def following(client: Client) -> AsyncIterator[Follower]:
    """A follower at work until the block ends. What broke it, if anything, is raised there."""
    follower = Follower(client)
    work = asyncio.create_task(follower.run())
    try:
        yield follower
    finally:
        work.cancel()
        with suppress(asyncio.CancelledError):
            await work
