"""Callers who will not take silence for an answer, and a subscriber who will not miss an entry.

Each caller sees some requests through from submission to end. Whatever breaks meanwhile, it repeats
the same call with the same request_id until it is answered, and keeps the answer as a receipt.
"""

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final, NamedTuple, TypeAlias

import grpc
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from governance.v1 import (
    governance_service_pb2,
    governance_service_pb2_grpc,
    mutation_pb2,
    request_pb2,
)
from tests.support.deployment import TENANT, submission

REPEATS_MAX: Final = 400
CALL_SECONDS_MAX: Final = 3.0
ANSWER_SECONDS_MAX: Final = 30.0
PAUSE_SECONDS: Final = 0.05
"""Between two tries of a call, as every client makes one: an answer of silence may come at once."""
DAY_SECONDS: Final = 86_400
SCHEDULE_MILLISECONDS: Final = 200

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


# ---------------------------------------------------------------- what is asked for

EXECUTED: Final = request_pb2.REQUEST_STATUS_EXECUTED


@dataclass(frozen=True, slots=True)
class Everyday:
    """One request of every kind, by three callers at once; between them they pass every place.

    `name` keeps the rounds of one store apart.
    """

    callers: Callers
    name: str

    def lives(self) -> tuple[Callable[[], None], ...]:
        return (self.in_line, self.voted_and_stale, self.timed)

    def in_line(self) -> None:
        """One that runs at once, and the next on the same state."""
        first = self._submit("first", flag="shared")
        second = self._submit("second", flag="shared")
        self.callers.see_through("first", first, EXECUTED)
        self.callers.see_through("second", second, EXECUTED)

    def voted_and_stale(self) -> None:
        """One that was made for a version there never was, one that two people approve, and one
        that depends on the latter.
        """
        stale = self._message("stale", expected_version="another")
        stale.mutation.stale_strategy = mutation_pb2.STALE_STRATEGY_REVALIDATE_ON_LATEST
        stale_id = self.callers.acknowledged("Submit", "ann", stale).id
        message = self._message("voted", risk=mutation_pb2.RISK_MEDIUM)
        voted = self.callers.acknowledged("Submit", "ann", message)
        dependent = self._submit("dependent", depends_on=[voted.id])
        for voter in ("ben", "cleo"):
            vote = governance_service_pb2.ApproveRequest(
                request_id=f"{self.name}-{voter}", id=voted.id, request_digest=voted.request_digest
            )
            self.callers.acknowledged("Approve", voter, vote)
        self.callers.see_through("voted", voted.id, EXECUTED)
        self.callers.see_through("dependent", dependent, EXECUTED)
        self.callers.see_through("stale", stale_id, EXECUTED)

    def timed(self) -> None:
        """One for later, one that is withdrawn, and one that nobody approves in time."""
        later = from_now(milliseconds=SCHEDULE_MILLISECONDS)
        scheduled = self._submit("scheduled", execute_after=later)
        # No expire_time: it lives as long as the server's setting says, from when it is taken.
        forgotten = self._message("forgotten", risk=mutation_pb2.RISK_MEDIUM)
        forgotten.ClearField("expire_time")
        forgotten_id = self.callers.acknowledged("Submit", "ann", forgotten).id
        withdrawn = self._submit("withdrawn", risk=mutation_pb2.RISK_MEDIUM)
        cancel = governance_service_pb2.CancelRequest(
            request_id=f"{self.name}-cancel", id=withdrawn
        )
        self.callers.acknowledged("Cancel", "ann", cancel)
        self.callers.see_through("withdrawn", withdrawn, request_pb2.REQUEST_STATUS_CANCELED)
        self.callers.see_through("forgotten", forgotten_id, request_pb2.REQUEST_STATUS_EXPIRED)
        self.callers.see_through("scheduled", scheduled, EXECUTED)

    def _submit(self, what: str, **fields: Any) -> str:
        return self.callers.acknowledged("Submit", "ann", self._message(what, **fields)).id

    def _message(
        self, what: str, *, flag: str = "", **fields: Any
    ) -> governance_service_pb2.SubmitRequest:
        return submission(
            f"{self.name}-{what}",
            flag=f"{self.name}-{flag or what}",
            expire_time=from_now(milliseconds=DAY_SECONDS * 1000),
            **fields,
        )


@dataclass(frozen=True, slots=True)
class Busy:
    """Callers who submit one request after the other, and get in each other's way on few states."""

    callers: Callers
    name: str
    each: int
    how_many: int = 4

    def lives(self) -> tuple[Callable[[], None], ...]:
        return tuple(partial(self.one, number) for number in range(self.how_many))

    def one(self, number: int) -> None:
        for index in range(self.each):
            what = f"{self.name}-{number}-{index}"
            message = submission(
                what,
                flag=f"{self.name}-{index % 3}",
                expire_time=from_now(milliseconds=DAY_SECONDS * 1000),
            )
            request = self.callers.acknowledged("Submit", "ann", message)
            self.callers.see_through(what, request.id, EXECUTED)


@dataclass(frozen=True, slots=True)
class Alone:
    """A single request: whatever breaks, breaks on it."""

    callers: Callers
    name: str

    def lives(self) -> tuple[Callable[[], None], ...]:
        return (self.only,)

    def only(self) -> None:
        message = submission(
            f"{self.name}-only",
            flag=f"{self.name}-only",
            expire_time=from_now(milliseconds=DAY_SECONDS * 1000),
        )
        request = self.callers.acknowledged("Submit", "ann", message)
        self.callers.see_through("only", request.id, EXECUTED)


def from_now(*, milliseconds: int) -> Timestamp:
    moment = Timestamp()
    moment.GetCurrentTime()
    moment.FromMilliseconds(moment.ToMilliseconds() + milliseconds)
    return moment


Kind: TypeAlias = Everyday | Busy | Alone


@dataclass
class Workload:
    """Lives that are lived at the same time, and whether they are over."""

    pool: ThreadPoolExecutor
    lives: list[Future[None]] = field(default_factory=list)

    def begin(self, kind: "Kind") -> None:
        self.lives.extend(self.pool.submit(life) for life in kind.lives())

    @property
    def is_over(self) -> bool:
        return all(life.done() for life in self.lives)

    def is_over_in(self, seconds: float) -> bool:
        """Whether it is over by then."""
        wait(self.lives, seconds)
        return self.is_over

    def finish(self, seconds_max: float) -> None:
        """Returns when all have ended. Raises what one of them raised."""
        for life in self.lives:
            life.result(seconds_max)


# ---------------------------------------------------------------- who follows


class Subscriber:
    """Follows the stream from the first entry; whenever it breaks, resumes after the last one."""

    def __init__(self, callers: Callers) -> None:
        self._callers = callers
        self._goal: int | None = None
        self._is_given_up = False
        self.entries: list[bytes] = []
        self.revisions: list[int] = []
        self.cuts = 0
        self._thread = threading.Thread(target=self._follow, daemon=True)

    def begin(self) -> None:
        """Once, however many begin to call after that."""
        if self._thread.ident is None:
            self._thread.start()

    def reach(self, revision: int, seconds_max: float) -> None:
        """Returns when it has seen everything up to `revision`. Raises AssertionError."""
        self._goal = revision
        self._thread.join(seconds_max)
        self.give_up()
        assert not self._thread.is_alive(), f"a subscriber stands at {self._cursor}, not {revision}"

    def give_up(self) -> None:
        """Whatever it has seen by now is all that it will see."""
        self._is_given_up = True

    @property
    def _cursor(self) -> int:
        return self.revisions[-1] if self.revisions else 0

    @property
    def _is_done(self) -> bool:
        return self._is_given_up or (self._goal is not None and self._cursor >= self._goal)

    def _follow(self) -> None:
        turn = 0
        while not self._is_done:
            try:
                self._read(turn)
            except grpc.RpcError as error:
                self.cuts += 1
                turn += 1
                if error.code() not in SILENCE:
                    raise
            except ValueError:  # the channel is closed: the test is over
                return

    def _read(self, turn: int) -> None:
        request = governance_service_pb2.StreamDecisionsRequest(
            after_revision=self._cursor,
            filter=governance_service_pb2.DecisionFilter(tenant=TENANT),
        )
        request.heartbeat_interval.FromMilliseconds(100)
        stream = self._callers.stub(turn).StreamDecisions(
            request,
            timeout=2 * CALL_SECONDS_MAX,
            metadata=(("governor-actor", "ada"),),
            wait_for_ready=True,
        )
        try:
            for message in stream:
                if message.HasField("decision"):
                    decision = message.decision
                    self.entries.append(decision.SerializeToString(deterministic=True))
                    self.revisions.append(decision.revision)
                if self._is_done:
                    return
        finally:
            stream.cancel()
