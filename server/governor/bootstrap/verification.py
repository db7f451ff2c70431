"""Verifying a store, with the decoder that the store itself does not know."""

import asyncio
from collections.abc import Callable

from governor.bootstrap.refusals import refusals_told
from governor.domain.ledger import Checkpoint
from governor.storage.findings import Finding
from governor.storage.verify import Verified
from governor.storage.verify import verify as verify_store
from governor.wire.codec.decision import decode_entry


def verify(url: str, checkpoint: Checkpoint | None, report: Callable[[Finding], None]) -> Verified:
    """Reports every fault as it is found, and answers what was looked at. Raises CannotStart."""

    async def run() -> Verified:
        # To its end, which is always what was looked at: a generator that is left halfway has to
        # close its connection while the loop goes down.
        ends: list[Verified] = []
        async for item in verify_store(url, decode=decode_entry, checkpoint=checkpoint):
            if isinstance(item, Verified):
                ends.append(item)
            else:
                report(item)
        return ends[0]

    with refusals_told():
        return asyncio.run(run())
