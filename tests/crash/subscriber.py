"""A subscriber who will not miss an entry, however often the stream breaks."""

import threading

import grpc

from governance.v1 import governance_service_pb2
from tests.crash.callers import CALL_SECONDS_MAX, SILENCE, Callers
from tests.support.deployment import TENANT


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
