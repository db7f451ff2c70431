"""Any sequence of changes, rollbacks, repeats and restarts leaves what a model of undoing says."""

import asyncio
import tempfile
from collections.abc import Awaitable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from governance.v1 import mutation_engine_pb2
from tests.hostkit.registers import REGISTERS, RETENTION_SECONDS, SCHEMA, setting, values
from tests.hostkit.support import Caller, effects, rollback_request, running

STATES = st.sampled_from(["a", "b"])
VALUES = st.sampled_from(["one", "two", "three"])
# How far behind the state the version is that an order expects; None: it expects none.
LAGS = st.sampled_from([None, 0, 0, 1])
SECONDS = st.sampled_from([1, RETENTION_SECONDS // 2, RETENTION_SECONDS])
ResultT = TypeVar("ResultT")
Request = mutation_engine_pb2.ApplyMutationRequest
Response = mutation_engine_pb2.ApplyMutationResponse


@dataclass(slots=True)
class Register:
    """A state as a list of all that it ever was; its version is how long the list is."""

    past: list[str | None] = field(default_factory=lambda: [None])

    @property
    def version(self) -> str:
        return str(len(self.past) - 1 or "")

    def behind(self, lag: int | None) -> str | None:
        return None if lag is None else str(max(0, len(self.past) - 1 - lag) or "")


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """An order that was applied, and what was there before it."""

    request: Request
    response: Response
    state_id: str
    before: str | None
    expires_at: float


class UndoMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.registers = {"a": Register(), "b": Register()}
        self.answered: list[tuple[Request, Response]] = []
        self.done: list[Done] = []
        self.seconds = 0.0
        self.runner = asyncio.Runner()
        self.stack = AsyncExitStack()

    @initialize()
    def start(self) -> None:
        # Not tmp_path: every example wants a folder of its own.
        folder = tempfile.TemporaryDirectory(prefix="hostkit-")
        self.stack.callback(folder.cleanup)
        self.folder = Path(folder.name)
        self.host: Caller = self.run(self.enter())

    async def enter(self) -> Caller:
        self.serving = AsyncExitStack()
        return await self.serving.enter_async_context(
            running(self.folder, host=REGISTERS, schema=SCHEMA, clock=lambda: self.seconds)
        )

    def run(self, awaitable: Awaitable[ResultT]) -> ResultT:
        async def wait() -> ResultT:
            return await awaitable

        return self.runner.run(wait())

    @rule(state_id=STATES, value=VALUES, lag=LAGS)
    def change(self, state_id: str, value: str, lag: int | None) -> None:
        expected = self.registers[state_id].behind(lag)
        request = setting(
            value, f"ex-{len(self.answered)}", state_id=state_id, expected_version=expected
        )
        self.order(request, state_id, value, expected)

    @precondition(lambda self: self.done)
    @rule(data=st.data(), lag=LAGS)
    def take_back(self, data: st.DataObject, lag: int | None) -> None:
        """Also what has been taken back before, and rollbacks themselves."""
        done = data.draw(st.sampled_from(self.done))
        expected = self.registers[done.state_id].behind(lag)
        request = rollback_request(
            done.request,
            done.response.applied,
            f"ex-{len(self.answered)}",
            expected_version=expected,
        )
        if self.seconds >= done.expires_at:
            response = self.run(self.host.apply(request))
            assert response.refused.reason.code == "UNDO_EXPIRED"
            self.answered.append((request, response))
            return
        self.order(request, done.state_id, done.before, expected)

    @precondition(lambda self: self.answered)
    @rule(data=st.data())
    def repeat(self, data: st.DataObject) -> None:
        request, first = data.draw(st.sampled_from(self.answered))
        again = self.run(self.host.apply(request))
        assert again.replayed
        again.replayed = False
        assert again == first

    @rule(seconds=SECONDS)
    def time_passes(self, seconds: int) -> None:
        self.seconds += seconds

    @rule()
    def restart(self) -> None:
        self.run(self.serving.aclose())
        self.host = self.run(self.enter())

    @invariant()
    def the_host_holds_what_the_model_says(self) -> None:
        if not self.answered:
            return
        now = {name: register.past[-1] for name, register in self.registers.items()}
        held = values(self.folder)
        assert {name: held.get(name) for name in now} == now
        assert effects(self.folder) == {done.request.execution_id: 1 for done in self.done}

    def order(
        self, request: Request, state_id: str, after: str | None, expected: str | None
    ) -> None:
        """Send what is to make the state `after`, unless it expects another version."""
        register = self.registers[state_id]
        response = self.run(self.host.apply(request))
        self.answered.append((request, response))
        if expected not in (None, register.version):
            assert response.version_mismatch.current_version == register.version
            return
        before = register.past[-1]
        register.past.append(after)
        assert response.applied.resulting_version == register.version
        self.done.append(
            Done(
                request=request,
                response=response,
                state_id=state_id,
                before=before,
                expires_at=self.seconds + RETENTION_SECONDS,
            )
        )

    def teardown(self) -> None:
        try:
            self.run(self.serving.aclose())
            self.run(self.stack.aclose())
        finally:
            self.runner.close()


UndoMachine.TestCase.settings = settings(
    max_examples=40,
    stateful_step_count=30,
    deadline=None,  # a restart takes what the disk takes
    suppress_health_check=[HealthCheck.too_slow],
)
TestUndoMachine = UndoMachine.TestCase
