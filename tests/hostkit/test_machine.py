"""Any sequence of calls and restarts agrees with a model of the promises that fits on a page."""

import asyncio
import tempfile
from collections.abc import Awaitable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import grpc.aio
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from governance.v1 import mutation_engine_pb2
from tests.hostkit.support import (
    DIGEST,
    OTHER_DIGEST,
    Caller,
    apply_request,
    database,
    read_ledger,
    running,
    told,
)

EXECUTION_IDS = st.sampled_from(["a", "b", "c"])
TOKENS = st.integers(min_value=1, max_value=4)
DIGESTS = st.sampled_from([DIGEST, OTHER_DIGEST])
MUTATION_TYPES = st.sampled_from(
    ["counter.add", "counter.refuse", "counter.fail", "counter.be_busy", "counter.unheard_of"]
)
EXPECTED_VERSIONS = st.sampled_from([None, "", "1", "2"])
# What an answer comes to, as one word that the model can predict.
Answer = str
ResultT = TypeVar("ResultT")


@dataclass(slots=True)
class Remembered:
    token: int = 0
    fenced: bool = False
    digest: bytes = b""
    # Empty while the execution is open.
    answer: Answer = ""


class Model:
    """The promises, written once more and differently: as mutable state, call by call."""

    def __init__(self) -> None:
        self.executions: dict[str, Remembered] = {}
        self.effects: list[str] = []

    def apply(
        self, execution_id: str, token: int, digest: bytes, mutation_type: str, expected: str | None
    ) -> tuple[Answer, bool]:
        known = self.executions.get(execution_id, Remembered())
        if known.fenced or token < known.token:
            return "FENCED", False
        if known.answer and known.digest != digest:
            return "EXECUTION_DIGEST_MISMATCH", False
        if known.answer:
            known.token = token
            return known.answer, True
        answer = self._decide(mutation_type, expected)
        if answer == "HOST_BUSY":
            return answer, False
        if answer.startswith("applied"):
            self.effects.append(execution_id)
        self.executions[execution_id] = Remembered(token=token, digest=digest, answer=answer)
        return answer, False

    def look_up(self, execution_id: str, token: int, *, fence: bool) -> Answer:
        known = self.executions.get(execution_id, Remembered())
        if token < known.token:
            return "FENCED"
        known.token = token
        known.fenced = known.fenced or (fence and not known.answer)
        self.executions[execution_id] = known
        return known.answer or ("never" if known.fenced else "open")

    def _decide(self, mutation_type: str, expected: str | None) -> Answer:
        current = str(len(self.effects) or "")
        if mutation_type == "counter.unheard_of":
            return "MUTATION_NOT_SUPPORTED"
        if expected not in (None, current):
            return f"moved to {current}"
        return {
            "counter.add": f"applied as {len(self.effects) + 1}",
            "counter.refuse": "NOT_TODAY",
            "counter.fail": "HOST_FAULT",
            "counter.be_busy": "HOST_BUSY",
        }[mutation_type]


def read_answer(response: mutation_engine_pb2.ApplyMutationResponse) -> Answer:
    match response.WhichOneof("outcome"):
        case "applied":
            return f"applied as {response.applied.resulting_version}"
        case "refused":
            return response.refused.reason.code
        case "version_mismatch":
            return f"moved to {response.version_mismatch.current_version}"
        case _:
            raise AssertionError("an answer without an outcome")


def read_finding(response: mutation_engine_pb2.LookupMutationResponse) -> Answer:
    if response.HasField("outcome"):
        return read_answer(response.outcome)
    return "never" if response.not_seen.fenced else "open"


class HostMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.model = Model()
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
        return await self.serving.enter_async_context(running(self.folder))

    def run(self, awaitable: Awaitable[ResultT]) -> ResultT:
        async def wait() -> ResultT:
            return await awaitable

        return self.runner.run(wait())

    @rule(
        execution_id=EXECUTION_IDS,
        token=TOKENS,
        digest=DIGESTS,
        mutation_type=MUTATION_TYPES,
        expected=EXPECTED_VERSIONS,
    )
    def apply(
        self, execution_id: str, token: int, digest: bytes, mutation_type: str, expected: str | None
    ) -> None:
        request = apply_request(
            execution_id,
            token=token,
            digest=digest,
            mutation_type=mutation_type,
            expected_version=expected,
        )
        expectation = self.model.apply(execution_id, token, digest, mutation_type, expected)
        try:
            response = self.run(self.host.apply(request))
            answer = (read_answer(response), response.replayed)
        except grpc.aio.AioRpcError as error:
            # An error has no word for "replayed".
            answer = (told(error).reason, expectation[1])
        assert answer == expectation

    @rule(execution_id=EXECUTION_IDS, token=TOKENS, fence=st.booleans())
    def look_up(self, execution_id: str, token: int, fence: bool) -> None:
        expectation = self.model.look_up(execution_id, token, fence=fence)
        try:
            found = self.run(self.host.look_up(execution_id, token=token, fence=fence))
            answer = read_finding(found)
            assert found.request_digest == self.model.executions[execution_id].digest
        except grpc.aio.AioRpcError as error:
            answer = told(error).reason
        assert answer == expectation

    @rule()
    def restart(self) -> None:
        self.run(self.serving.aclose())
        self.host = self.run(self.enter())

    @invariant()
    def effects_are_those_of_the_model(self) -> None:
        if not self.model.executions:
            return
        assert read_ledger(database(self.folder)).effects == dict.fromkeys(self.model.effects, 1)

    def teardown(self) -> None:
        try:
            self.run(self.serving.aclose())
            self.run(self.stack.aclose())
        finally:
            self.runner.close()


HostMachine.TestCase.settings = settings(
    max_examples=40,
    stateful_step_count=30,
    deadline=None,  # a restart takes what the disk takes
    suppress_health_check=[HealthCheck.too_slow],
)
TestHostMachine = HostMachine.TestCase
