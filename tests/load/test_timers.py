"""Ten thousand clocks of every kind that have all run out: each rings once, and few at a time are
in memory.
"""

from collections import Counter
from pathlib import Path

from governor.domain.request import MutationRequest
from governor.domain.values import RequestId, Revision
from governor.usecases.app import Limits
from governor.usecases.commits import Commit, Committed
from governor.usecases.timers import TOGETHER_MAX
from tests.support.due import CLOCKS, clock_of, due_requests, put_all
from tests.support.governed import Governed, governed
from tests.support.invariants import check_ledger

REQUESTS = 10_000
PAGE = 200


class Held:
    """How many requests the timers have read and not done with."""

    def __init__(self, sidecar: Governed) -> None:
        self.now = self.most = self.reads = 0
        self._read, self._commit = sidecar.store.request, sidecar.store.commit
        sidecar.store.request = self._reading
        sidecar.store.commit = self._committing  # type: ignore[method-assign]  # watched

    async def _reading(self, id: RequestId) -> MutationRequest | None:
        self.reads += 1
        self.now += 1
        self.most = max(self.most, self.now)
        return await self._read(id)

    async def _committing(self, commit: Commit) -> Committed:
        try:
            return await self._commit(commit)
        finally:
            self.now -= 1


async def test_ten_thousand_clocks_of_every_kind_ring_once(tmp_path: Path) -> None:
    async with governed(tmp_path, limits=Limits(timer_page=PAGE)) as sidecar:
        requests = due_requests(REQUESTS, submitted_at=sidecar.clock.now())
        await put_all(sidecar.store.commit, requests)
        before = sidecar.store.head.revision
        await sidecar.quiet()
        sidecar.clock.advance(120)
        held = Held(sidecar)

        assert await sidecar.timers.run_due() == REQUESTS
        assert await sidecar.timers.run_due() == 0

        assert held.most <= TOGETHER_MAX
        assert (held.now, held.reads) == (0, REQUESTS)
        entries = await sidecar.ledger(after=before)
        last = {entry.decision.request_id: entry.decision for entry in entries}
        assert len(last) == REQUESTS
        for id, decision in last.items():
            assert decision.code is CLOCKS[clock_of(int(id.removeprefix("r-")))], id
        said = Counter((one.decision.request_id, one.decision.code) for one in entries)
        assert max(said.values()) == 1, "a clock has rung twice"
        stored = await sidecar.store.entries(after=Revision(0), limit=100_000)
        check_ledger(sidecar.store.head, [entry.data for entry in stored])
