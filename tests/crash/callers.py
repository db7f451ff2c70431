"""Callers who will not take silence for an answer.

Whatever breaks, they repeat the same call with the same request_id until it is answered, and keep
the answer as a receipt.
"""

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import grpc
from google.protobuf.duration_pb2 import Duration

from governance.v1 import (
    governance_service_pb2,
    governance_service_pb2_grpc,
    mutation_pb2,
    request_pb2,
)
from tests.support.deployment import TENANT

REPEATS_MAX: Final = 400
CALL_SECONDS_MAX: Final = 3.0
ANSWER_SECONDS_MAX: Final = 30.0
PAUSE_SECONDS: Final = 0.05
"""Between two tries of a call, as every client makes one: an answer of silence may come at once."""

SILENCE: Final = frozenset(
    {
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.CANCELLED,
        grpc.StatusCode.RESOURCE_EXHAUSTED,
    }
)
"""What says nothing of what became of a call: it is made again."""

CHANNEL_OPTIONS: Final = (
    ("grpc.default_authority", "localhost"),
    ("grpc.initial_reconnect_backoff_ms", 50),
    ("grpc.min_reconnect_backoff_ms", 50),
    ("grpc.max_reconnect_backoff_ms", 200),
    # Channels to one address would share a connection, and its pauses.
    ("grpc.use_local_subchannel_pool", 1),
)


class Silence(NamedTuple):
    """A call that was not answered."""

    rpc: str
    code: grpc.StatusCode
    details: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """An acknowledged call: what was asked, by whom, and what was answered."""

    rpc: str
    actor: str
    message: Any
    id: str
    revision: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """A request that was seen through, and how it should have ended."""

    name: str
    id: str
    expected: "request_pb2.RequestStatus.ValueType"


class Callers:
    """Everybody who calls, over connections that are made again whenever they break.

    With several targets a call that is met with silence goes to the next one.
    """

    def __init__(self, targets: Sequence[str], effects: Callable[[], list[str]]) -> None:
        self._effects = effects
        self._channels = [grpc.insecure_channel(target, CHANNEL_OPTIONS) for target in targets]
        self._stubs = [
            governance_service_pb2_grpc.GovernanceServiceStub(channel) for channel in self._channels
        ]
        self._guard = threading.Lock()
        self._closed = threading.Event()
        self._place = threading.local()
        self._count = 0
        self.receipts: list[Receipt] = []
        self.seen: list[Seen] = []
        self.silences: list[Silence] = []
        self.revision = 0

    def close(self) -> None:
        self._closed.set()
        for channel in self._channels:
            channel.close()

    def stub(self, turn: int) -> governance_service_pb2_grpc.GovernanceServiceStub:
        """The connection to try at the n-th turn."""
        return self._stubs[turn % len(self._stubs)]

    def call(self, rpc: str, actor: str, message: Any) -> Any:
        """The answer, however often that takes. Raises a refusal, or the last silence."""
        for _ in range(REPEATS_MAX):
            try:
                return self._once(rpc, actor, message)
            except grpc.RpcError as error:
                if error.code() not in SILENCE:
                    raise
                with self._guard:
                    self.silences.append(Silence(rpc, error.code(), error.details() or ""))
                self._turn_elsewhere()
        return self._once(rpc, actor, message)

    def _once(self, rpc: str, actor: str, message: Any) -> Any:
        return getattr(self.stub(self._turn), rpc)(
            message,
            timeout=CALL_SECONDS_MAX,
            metadata=(("governor-actor", actor),),
            # With others to turn to, a dead one is not waited for.
            wait_for_ready=len(self._stubs) == 1,
        )

    @property
    def _turn(self) -> int:
        """Each caller stays where it was answered last; they begin at different targets."""
        if not hasattr(self._place, "turn"):
            with self._guard:
                self._count += 1
                self._place.turn = self._count
        turn: int = self._place.turn
        return turn

    def _turn_elsewhere(self) -> None:
        self._place.turn += 1
        self._closed.wait(PAUSE_SECONDS)

    def ask(self, target: int) -> None:
        """Returns when that target answers, for which it may first have to come up or come back."""
        stub = self._stubs[target]
        message = governance_service_pb2.ListRequestsRequest(tenant=TENANT, page_size=1)
        metadata = (("governor-actor", "ada"),)
        stub.ListRequests(
            message, timeout=ANSWER_SECONDS_MAX, metadata=metadata, wait_for_ready=True
        )

    def acknowledged(self, rpc: str, actor: str, message: Any) -> request_pb2.MutationRequest:
        """As `call`, for a call that changes something: the receipt is kept."""
        answer = self.call(rpc, actor, message)
        receipt = Receipt(
            rpc=rpc, actor=actor, message=message, id=answer.request.id, revision=answer.revision
        )
        with self._guard:
            self.receipts.append(receipt)
            self.revision = max(self.revision, receipt.revision)
        request: request_pb2.MutationRequest = answer.request
        return request

    def acknowledged_batch(
        self, actor: str, message: governance_service_pb2.SubmitBatchRequest
    ) -> governance_service_pb2.SubmitBatchResponse:
        """As `call`, for a batch: who sees its members through keeps no receipt."""
        answer: governance_service_pb2.SubmitBatchResponse
        answer = self.call("SubmitBatch", actor, message)
        with self._guard:
            self.revision = max(self.revision, answer.revision)
        return answer

    def outlast(self, id: str) -> None:
        """Returns when a request has ended that has no effect of its own, as a batch has none."""
        message = governance_service_pb2.WaitRequestRequest(id=id, timeout=Duration(seconds=1))
        for _ in range(REPEATS_MAX):
            answer = self.call("WaitRequest", "ann", message)
            if not answer.timed_out:
                with self._guard:
                    self.revision = max(self.revision, answer.request.revision)
                return
        raise TimeoutError(f"{id} does not end")

    def see_through(
        self, name: str, id: str, expected: "request_pb2.RequestStatus.ValueType"
    ) -> None:
        """Returns when the request has ended. Doubt is settled as a person would settle it."""
        with self._guard:
            self.seen.append(Seen(name=name, id=id, expected=expected))
        message = governance_service_pb2.WaitRequestRequest(id=id, timeout=Duration(seconds=1))
        for _ in range(REPEATS_MAX):
            answer = self.call("WaitRequest", "ann", message)
            if not answer.timed_out:
                with self._guard:
                    self.revision = max(self.revision, answer.request.revision)
                return
            if any(
                one.reason == request_pb2.PENDING_REASON_AUDIT for one in answer.request.pending
            ):
                self._settle_by_hand(answer.request)
        raise AssertionError(f"{name} ({id}) does not end")

    def _settle_by_hand(self, request: request_pb2.MutationRequest) -> None:
        """The operator looks at what the host owns, and says what they found."""
        applied = request.execution_id in self._effects()
        claim = governance_service_pb2.ResolveExecutionRequest(
            request_id=f"by-hand-{request.execution_id}",
            execution_id=request.execution_id,
            outcome=(
                governance_service_pb2.OUTCOME_CLAIM_APPLIED
                if applied
                else governance_service_pb2.OUTCOME_CLAIM_NOT_APPLIED
            ),
            resulting_version="found-by-hand" if applied else "",
            reason=mutation_pb2.Reason(code="LOOKED", message="the host's own ledger was read"),
        )
        self.acknowledged("ResolveExecution", "oli", claim)
