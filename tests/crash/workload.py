"""What is asked for: requests of every kind, each seen through from submission to end."""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final, TypeAlias

from google.protobuf.timestamp_pb2 import Timestamp

from governance.v1 import governance_service_pb2, mutation_pb2, request_pb2
from tests.crash.callers import Callers
from tests.support.deployment import submission

DAY_SECONDS: Final = 86_400
SCHEDULE_MILLISECONDS: Final = 200
EXECUTED: Final = request_pb2.REQUEST_STATUS_EXECUTED


@dataclass(frozen=True, slots=True)
class Everyday:
    """One request of every kind, by four callers at once; between them they pass every place.

    `name` keeps the rounds of one store apart.
    """

    callers: Callers
    name: str

    def lives(self) -> tuple[Callable[[], None], ...]:
        return (self.in_line, self.voted_and_stale, self.timed, self.checked, self.batched)

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
                request_id=f"{self.name}-{voter}",
                id=voted.id,
                request_digest=voted.request_digest,
                plan_digest=voted.approval.plan_digest,
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

    def checked(self) -> None:
        """One that an outside service is asked about."""
        checked = self._submit("checked", risk=mutation_pb2.RISK_HIGH)
        self.callers.see_through("checked", checked, EXECUTED)

    def batched(self) -> None:
        """Three that are decided on as one."""
        members = [self._message(what) for what in ("batched-1", "batched-2", "batched-3")]
        for member in members:
            member.ClearField("request_id")
            member.ClearField("expire_time")
        batch = governance_service_pb2.SubmitBatchRequest(
            request_id=f"{self.name}-batch",
            members=members,
            expire_time=from_now(milliseconds=DAY_SECONDS * 1000),
        )
        answer = self.callers.acknowledged_batch("ann", batch)
        for number, one in enumerate(answer.members):
            self.callers.see_through(f"batched-{number}", one.id, EXECUTED)
        self.callers.outlast(answer.batch.id)

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
