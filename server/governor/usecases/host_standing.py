"""Whether anything may be executed in the host: its standing, held in memory and kept true."""

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import Any

from governor.domain.decision import Category
from governor.domain.errors import Conflict, HostHeld
from governor.domain.execution import Execution, NotSeen, Outcome
from governor.domain.host_standing import (
    UNMET,
    Hold,
    HoldCode,
    HostStanding,
    Stance,
    promise_broken,
    seen,
)
from governor.domain.values import Micros
from governor.usecases.app import App
from governor.usecases.commits import Batch, Commit
from governor.usecases.patience import persistently
from governor.usecases.ports import Capabilities
from governor.usecases.promises import check_word

log = logging.getLogger(__name__)

Judgement = Callable[[HostStanding], Stance | None]


class Standing:
    """Judges the host each time it says who it is, and whenever it has broken a promise.

    A hold is in force here from that moment, and durable as soon as the store allows. What another
    replica, or a person, has decided is learnt from the ledger.
    """

    def __init__(self) -> None:
        self._app: App
        self._durable = UNMET
        self._imminent: Hold | None = None
        self._is_known = False
        self._was_allowed = False
        self._lifted: list[Callable[[], None]] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._comparisons: set[asyncio.Task[None]] = set()
        self._recording = asyncio.Lock()
        self._recordings = 0
        self._changed = asyncio.Event()

    # --- Life -----------------------------------------------------------------------------------

    def attach(self, app: App) -> None:
        """Ties it to its application and begins to listen, to the store and to the host."""
        self._app = app
        app.store.listen(self._notice)
        app.host.listen(self._met)

    async def start(self) -> None:
        """Reads what a former process has left. Raises StoreUnavailable."""
        self._durable = await self._app.store.host_standing()
        self._is_known = True
        self._was_allowed = self.allows
        if (met := self._app.host.known_capabilities) is not None:
            self._met(met)

    async def stop(self) -> None:
        """Leaves what is not durable yet to the next start, which meets the same host."""
        running = self._tasks | self._comparisons
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)

    def when_lifted(self, go_on: Callable[[], None]) -> None:
        """Calls `go_on` each time that the host is trusted again."""
        self._lifted.append(go_on)

    # --- What stands ----------------------------------------------------------------------------

    @property
    def current(self) -> HostStanding:
        """As it is in force."""
        return self._durable if self._imminent is None else self._durable.but(hold=self._imminent)

    @property
    def allows(self) -> bool:
        """Whether anything may be executed."""
        return self._is_known and self._imminent is None and self._durable.hold is None

    def check(self) -> None:
        """Raises HostHeld."""
        hold = self.current.hold
        if hold is not None:
            raise HostHeld(hold.code, hold.detail)

    async def vouch(self) -> Capabilities:
        """The promises of the host that would answer now, which is one that is trusted.

        Asked before anything that rests on the host's memory. Raises HostHeld, HostUnavailable.
        """
        while True:
            if not self._tasks:
                self.check()  # whoever is held need not be reached
            capabilities = await self._app.host.capabilities()
            self._judge_lineage(capabilities.lineage_id)
            if not self._tasks:
                self.check()
                return capabilities
            # The first lineage is durable before the first order, a hold before what follows from
            # it. By then it may be another host that would answer.
            await asyncio.wait(set(self._tasks))

    async def restoration_looked_at(self) -> None:
        """Returns unless the host is held for a restored store, or as soon as it is not any more.

        What was executing when the backup was made is found out from the host, as after a crash,
        once a person has said that it is the one.
        """
        while (hold := self.current.hold) and hold.code is HoldCode.STORE_RESTORED:
            await self._changed.wait()

    # --- What happens ---------------------------------------------------------------------------

    def report_broken(self, execution: Execution, detail: str) -> None:
        """The host has said of `execution` what it promised not to."""
        log.error(
            "the host broke a promise: %s",
            detail,
            extra={"execution": execution.id, "execution_audit_id": execution.audit_id},
        )
        now = self._app.clock.now()
        self._judge(lambda standing: promise_broken(standing, execution, detail, now=now))

    def hold_to(self, said: Outcome | NotSeen, execution: Execution, *, until: Micros) -> None:
        """Compares the host's word with what is recorded of the execution, now or until then."""
        self._spawn(check_word(self._app, execution, said, until=until), self._comparisons)

    def _met(self, capabilities: Capabilities) -> None:
        self._judge_lineage(capabilities.lineage_id)

    def _judge_lineage(self, lineage_id: str) -> None:
        now = self._app.clock.now()
        self._judge(lambda standing: seen(standing, lineage_id, now=now))

    def _judge(self, judgement: Judgement) -> None:
        stance = judgement(self.current) if self._is_known else None
        if stance is None:
            return
        hold = stance.standing.hold
        if hold is not None:
            self._imminent = hold
            self._was_allowed = False
            log.error("the host is held: %s", hold.detail, extra={"hold": hold.code.value})
        self._recordings += 1
        self._spawn(self._record(judgement))

    async def _record(self, judgement: Judgement) -> None:
        """Makes a judgement durable, on what stands by then."""
        try:
            async with self._recording:
                while (stance := judgement(self._durable)) is not None:
                    commit = Commit(decisions=(stance.decision,), standing=stance.standing)
                    try:
                        # The batch that makes it durable brings it here (see _notice).
                        await persistently(self._app, self._app.store.commit, commit)
                    except Conflict:
                        await self._read_persistently()
        finally:
            self._recordings -= 1
            if not self._recordings:
                self._imminent = None
                self._look_whether_lifted()

    def _notice(self, batch: Batch) -> None:
        for commit in batch.commits:
            if commit.standing is not None and not commit.replayed:
                self._take(commit.standing)
        if not batch.commits and any(e.category is Category.HOST for e in batch.entries):
            self._spawn(self._read_persistently())  # another replica's: only its entries are known

    async def _read_persistently(self) -> None:
        self._take(await persistently(self._app, self._app.store.host_standing))

    def _take(self, standing: HostStanding) -> None:
        """The newest there is, unless something newer has come by."""
        if standing.revision >= self._durable.revision:
            self._durable = standing
            self._look_whether_lifted()

    def _look_whether_lifted(self) -> None:
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()
        was_allowed, self._was_allowed = self._was_allowed, self.allows
        if self._was_allowed and not was_allowed:
            for go_on in self._lifted:
                go_on()

    def _spawn(
        self, work: Coroutine[Any, Any, None], tasks: set[asyncio.Task[None]] | None = None
    ) -> None:
        among = self._tasks if tasks is None else tasks
        task = asyncio.get_running_loop().create_task(work)
        among.add(task)
        task.add_done_callback(among.discard)
        task.add_done_callback(_finished)


def _finished(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (failure := task.exception()) is not None:
        log.error("the host's standing could not be kept", exc_info=failure)
