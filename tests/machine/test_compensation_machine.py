"""Compensations of compensations, in any order, against a model of what the state holds.

The model knows nothing of Governor's tables: it keeps the state's values in a line and, for each
change, what was there before. Whatever is asked, the state holds what the last change that counts
has left, nothing is made good twice, and both ends of every link say so.
"""

import asyncio
import tempfile
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    initialize,
    invariant,
    multiple,
    rule,
)

from governor.domain.compensation import CompensationKind
from governor.domain.errors import AlreadyCompensated, NotExecuted
from governor.domain.request import MutationRequest, Payload, StaleStrategy, Status
from tests.support.governed import Governed, governed
from tests.support.invariants import check_everything
from tests.support.people import OTTO
from tests.support.scripted_host import UNDOING, Loss, ScriptedHost
from tests.usecases.test_compensate import BACK_IS_FREE

FLAGS = ("a", "b")
_T = TypeVar("_T")
_Call = Coroutine[Any, Any, MutationRequest]


@dataclass(slots=True)
class Change:
    """What the model knows of one request."""

    request: MutationRequest
    flag: str
    before: bytes | None
    version: int  # that it has led to; 0: it was not applied
    made_good: bool = False


class Compensations(RuleBasedStateMachine):
    """One sidecar on one host, two states, and operators who change their minds."""

    changes = Bundle("changes")

    def __init__(self) -> None:
        super().__init__()
        self._loop = asyncio.new_event_loop()
        self._folder = tempfile.TemporaryDirectory()
        self._running: AbstractAsyncContextManager[Governed]
        self.sidecar: Governed
        self.values: dict[str, bytes | None] = dict.fromkeys(FLAGS)
        self.versions: dict[str, int] = dict.fromkeys(FLAGS, 0)
        self.written = 0

    def run(self, work: Awaitable[_T]) -> _T:
        async def whole() -> _T:
            return await work

        return self._loop.run_until_complete(whole())

    @initialize()
    def begins(self) -> None:
        host = ScriptedHost(promises=UNDOING)
        self._running = governed(Path(self._folder.name), host=host)
        self.sidecar = self.run(self._running.__aenter__())
        self.sidecar.policy.rules = BACK_IS_FREE

    def teardown(self) -> None:
        try:
            self.run(check_everything(self.sidecar))
            self.run(self._running.__aexit__(None, None, None))
        finally:
            self._loop.close()
            self._folder.cleanup()

    # ------------------------------------------------------------ what callers do

    @rule(target=changes, flag=st.sampled_from(FLAGS))
    def changes_it(self, flag: str) -> Change:
        payload = self._new()
        request = self.run(
            self._settled(lambda key: self.sidecar.submit(flag=flag, payload=payload, key=key))
        )
        return self._applied(request, flag, self._payload(request))

    @rule(target=changes, change=changes, strategy=st.sampled_from(StaleStrategy))
    def takes_it_back(self, change: Change, strategy: StaleStrategy) -> object:
        """A state that has moved on is rolled back only where that was looked at again."""

        def call(key: str) -> _Call:
            return self.sidecar.compensate(OTTO, change.request, key=key, stale_strategy=strategy)

        if (request := self._asked(change, call)) is None:
            return multiple()
        fresh = self.versions[change.flag] == change.version
        if not fresh and strategy is StaleStrategy.REJECT_STALE:
            return self._refused(request, change.flag)
        change.made_good = True
        return self._applied(request, change.flag, change.before)

    @rule(target=changes, change=changes)
    def puts_it_right(self, change: Change) -> object:
        payload = self._new()
        version = str(self.versions[change.flag] or "")

        def call(key: str) -> _Call:
            return self.sidecar.compensate(
                OTTO,
                change.request,
                CompensationKind.FORWARD,
                key=key,
                payload=payload,
                expected_version=version,
            )

        if (request := self._asked(change, call)) is None:
            return multiple()
        change.made_good = True
        return self._applied(request, change.flag, payload.data)

    @rule(loss=st.sampled_from([Loss.ORDER, Loss.ANSWER, Loss.DELAY]))
    def loses_the_next_call(self, loss: Loss) -> None:
        self.sidecar.host.script.append(loss)

    @rule(place=st.sampled_from(["execute.after_apply", "execute.before_outcome"]))
    def dies_in_the_next_execution(self, place: str) -> None:
        self.sidecar.die_at(place)

    @rule()
    def restarts(self) -> None:
        self.sidecar.forget_ends()
        self.run(self._restart())

    # ------------------------------------------------------------ what the model says

    @invariant()
    def the_state_holds_what_the_model_says(self) -> None:
        if not hasattr(self, "sidecar"):
            return
        held = {slot[2]: value for slot, value in self.sidecar.host.values.items()}
        for flag, value in self.values.items():
            assert held.get(flag) == value

    # ------------------------------------------------------------ how

    def _asked(self, change: Change, call: Callable[[str], _Call]) -> MutationRequest | None:
        """The compensation as it ended; None where it was rightly refused."""
        try:
            request = self.run(self._settled(call))
        except NotExecuted:
            assert not change.version
            return None
        except AlreadyCompensated:
            assert change.made_good
            return None
        assert change.version
        assert not change.made_good
        return request

    def _applied(self, request: MutationRequest, flag: str, value: bytes | None) -> Change:
        assert request.status is Status.EXECUTED, request.progress
        before, self.values[flag] = self.values[flag], value
        self.versions[flag] += 1
        return Change(request=request, flag=flag, before=before, version=self.versions[flag])

    def _refused(self, request: MutationRequest, flag: str) -> Change:
        assert request.status is Status.REJECTED
        return Change(request=request, flag=flag, before=None, version=0)

    async def _settled(self, call: Callable[[str], _Call]) -> MutationRequest:
        """The request at its end, whatever is lost and whoever dies on the way: who heard nothing
        asks again, under the same key.
        """
        key = self.sidecar.next_key()
        await self.sidecar.unless_it_dies(call(key))
        await self.sidecar.pass_time(60)
        while self.sidecar.is_dead.is_set():
            await self._restart()  # where it may die once more
        self.sidecar.forget_ends()
        request = await call(key)
        self.sidecar.host.script.clear()
        await self.sidecar.pass_time(60)
        return await self.sidecar.now(request)

    async def _restart(self) -> None:
        await self.sidecar.restart()
        self.sidecar.policy.rules = BACK_IS_FREE
        await self.sidecar.pass_time(60)

    def _new(self) -> Payload:
        self.written += 1
        return Payload(content_type="application/json", data=b"%d" % self.written)

    @staticmethod
    def _payload(request: MutationRequest) -> bytes:
        return request.content.payload.data


TestCompensations = Compensations.TestCase
TestCompensations.settings = settings(
    max_examples=25,
    stateful_step_count=15,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
