"""One round: processes are set up, callers call, something breaks at a named place, all is mended,
and the oracle judges.
"""

import signal
import subprocess
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Any, Final, assert_never

from governance.v1.governance_service_pb2 import (
    DecisionFilter,
    GetRequestRequest,
    ListDecisionsRequest,
)
from governor.bootstrap import verify
from tests.crash.callers import Callers
from tests.crash.oracle import Evidence, Verdict, judge
from tests.crash.subscriber import Subscriber
from tests.crash.workload import Alone, Everyday, Kind, Workload
from tests.support.check_server import check_server
from tests.support.deployment import TENANT, Deployment, Running
from tests.support.fault_proxy import FaultProxy, Link, Portal, Way, proxied

LEASE_SECONDS: Final = 1.0
SECONDS_MAX: Final = 60.0
AFTERWARDS_SECONDS: Final = 1.0
"""How long after the last answer something may still happen."""
THREADS: Final = 24

SETTINGS: Final = {
    "GOVERNOR_LEASE_SECONDS": str(LEASE_SECONDS),
    "GOVERNOR_APPLY_SECONDS_MAX": "0.6",
    "GOVERNOR_IN_DOUBT_SECONDS_MAX": "30",
    "GOVERNOR_REQUEST_LIFETIME_SECONDS": "0.4",
    "GOVERNOR_TIMER_RETRY_SECONDS": "0.2",
    "GOVERNOR_DRAIN_SECONDS_MAX": "2",
}
"""Everything a little quicker than in production, in the same proportions."""

IMPATIENT: Final = {"GOVERNOR_IN_DOUBT_SECONDS_MAX": "0.01"}

AN_APPLY: Final = b"rollout_percent"
"""What the payload says: an Apply carries it, a Lookup does not."""

COLLISION: Final = "a commit cannot be written"

PREDECESSOR_DIES_AT: Final = "execute.after_apply=kill"


class Where(StrEnum):
    SIDECAR = "sidecar"
    HOST = "host"


class Stage(StrEnum):
    """What has to be the case for a place to be passed at all."""

    EVERYDAY = "callers call"
    FIRST_START = "the store has no schema yet"
    SUCCESSOR = "an earlier sidecar died with an order out"
    ORDERS_LOST = "no order reaches the host until it is asked to fence one"
    HOST_AWAY = "the host is gone from the first order on"


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """Where what happens, at which passing, and on which stage."""

    where: Where
    failpoint: str
    kind: str
    passing: int = 1
    stage: Stage = Stage.EVERYDAY

    def __str__(self) -> str:
        return f"{self.where} {self.failpoint}={self.kind}@{self.passing}"

    @property
    def armed(self) -> str:
        return f"{self.failpoint}={self.kind}@{self.passing}"

    def at(self, passing: int) -> "Scenario":
        return replace(self, passing=passing)


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    """How it went: whether the place was reached, and what the oracle says."""

    scenario: Scenario
    reached: bool
    verdict: Verdict


def play(scenario: Scenario, folder: Path, *, store_url: str | None = None) -> Round:
    """Plays it in `folder`, which is its own. Raises AssertionError when something never ends."""
    settings = dict(SETTINGS)
    if store_url is not None:
        settings |= {"GOVERNOR_STORE_URL": store_url, "GOVERNOR_MIGRATE_AT_START": "always"}
    with ExitStack() as open_parts:
        world = World(Deployment(folder, settings=settings), open_parts)
        victim = world.set_up(scenario)
        reached = world.until_it_happens(scenario, victim)
        world.mend(scenario, victim)
        return Round(scenario=scenario, reached=reached, verdict=world.judged())


class World:
    """A store and a host with their processes, those who call, and the one who follows."""

    def __init__(
        self,
        deployment: Deployment,
        open_parts: ExitStack,
        replicas: Sequence[str] = ("governor",),
    ) -> None:
        self.deployment = deployment
        self.seconds_max = SECONDS_MAX
        self._open_parts = open_parts
        self._pool = open_parts.enter_context(ThreadPoolExecutor(THREADS))
        self.callers = Callers(list(map(deployment.target_of, replicas)), deployment.effects)
        open_parts.callback(self.callers.close)
        self.subscriber = Subscriber(self.callers)
        open_parts.callback(self.subscriber.give_up)
        self.workload = Workload(self._pool)
        open_parts.enter_context(check_server(deployment.home))
        self._bring_back: Callable[[], None] = lambda: None

    # ------------------------------------------------------------ before

    def set_up(self, scenario: Scenario) -> Running:
        """Everything runs and calls; answers the process to which it will happen."""
        is_host = scenario.where is Where.HOST
        host = self.start_host(scenario.armed if is_host else "")
        match scenario.stage:
            case Stage.EVERYDAY | Stage.FIRST_START:
                self.begin(Everyday(self.callers, "round"))
            case Stage.SUCCESSOR:
                predecessor = self.start_sidecar(PREDECESSOR_DIES_AT)
                self.begin(Everyday(self.callers, "round"))
                predecessor.wait_for_death()
            case Stage.ORDERS_LOST:
                proxy, _ = self._put_a_proxy_before_the_host()
                proxy.trap(Way.TO_SERVER, AN_APPLY, times=2, then=Link.abandon_client)
                self.begin(Alone(self.callers, "round"))
            case Stage.HOST_AWAY:
                self._lose_the_host_at_the_first_order()
                self.begin(Alone(self.callers, "round"))
            case _:
                assert_never(scenario.stage)
        sidecar = self.start_sidecar("" if is_host else scenario.armed)
        return host if is_host else sidecar

    def begin(self, *kinds: Kind) -> None:
        """They call from now on, and somebody follows the stream."""
        for kind in kinds:
            self.workload.begin(kind)
        self.subscriber.begin()

    def start_host(self, failpoint: str = "") -> Running:
        return self._open_parts.enter_context(self.deployment.host(failpoint=failpoint))

    def start_sidecar(self, failpoints: str = "", *, replica: str = "governor") -> Running:
        """Nobody waits until it listens: it may die before, and the callers are patient."""
        return self._open_parts.enter_context(
            self.deployment.sidecar(replica, failpoints=failpoints, is_awaited=False)
        )

    def _put_a_proxy_before_the_host(self) -> tuple[FaultProxy, Portal]:
        upstream = f"unix:{self.deployment.home}/flags.sock"
        proxy, portal = self._open_parts.enter_context(proxied(upstream))
        self.deployment.settings |= {"GOVERNOR_HOST_ADDRESS": proxy.address, **IMPATIENT}
        return proxy, portal

    def _lose_the_host_at_the_first_order(self) -> None:
        proxy, _ = self._put_a_proxy_before_the_host()

        async def lose(_: Link) -> None:
            proxy.refuses = True
            await proxy.reset_all()

        def bring_back() -> None:
            proxy.refuses = False

        proxy.trap(Way.TO_SERVER, AN_APPLY, then=lose)
        self._bring_back = bring_back

    # ------------------------------------------------------------ meanwhile

    def until_it_happens(self, scenario: Scenario, victim: Running) -> bool:
        """Whether it did, before all callers had what they wanted; if not, the victim is killed."""
        is_hang = scenario.kind == "hang"
        fate = self._pool.submit(
            victim.wait_until_it_hangs if is_hang else victim.wait_until_it_stands_still
        )
        waiting: set[Future[Any]] = {fate, *self.workload.lives}
        while not fate.done() and not self.workload.is_over:
            done, waiting = wait(waiting, SECONDS_MAX, FIRST_COMPLETED)
            assert done, f"{scenario}: neither that nor anything else happens"
        with suppress(TimeoutError):
            fate.result(AFTERWARDS_SECONDS)
            return True
        victim.kill()
        return False

    def mend(self, scenario: Scenario, victim: Running) -> None:
        """The host can be reached again, what stood still goes on, what died is replaced."""
        self._bring_back()
        if scenario.kind != "kill" and victim.process.poll() is None:
            stands_still(victim, LEASE_SECONDS)
            if scenario.kind == "stop":
                victim.go_on()
                return
            victim.kill()
        # Killed, and not gone down for a reason of its own.
        assert victim.wait_for_death() == -signal.SIGKILL, victim.log.read_text()
        if scenario.where is Where.HOST:
            self.start_host()
        else:
            self.start_sidecar()

    # ------------------------------------------------------------ after

    def judged(self) -> Verdict:
        """When every caller has what they wanted: what the oracle says, and `governor verify`."""
        try:
            self.workload.finish(SECONDS_MAX)
        except TimeoutError as error:
            raise AssertionError("\n".join(unfinished(self.callers))) from error
        evidence = Evidence(self.callers, self.subscriber, self.deployment.effects())
        evidence.gather(SECONDS_MAX)
        verify(self.deployment.store_url, None, lambda one: evidence.faults.append(str(one)))
        evidence.faults.extend(self._collisions())
        return judge(evidence)

    def _collisions(self) -> Iterator[str]:
        """Two batches that claimed one place in the ledger: the database refuses the second one,
        whose callers would be told that the store is away, and none would be the wiser.
        """
        for log in self.deployment.home.glob("*.log"):
            if COLLISION in log.read_text():
                yield f"{log.stem} logged that {COLLISION}"


def unfinished(callers: Callers) -> Iterator[str]:
    """What has not ended, with its history: what to look at when a round does not."""
    for one in callers.seen:
        answer = callers.call("GetRequest", "ada", GetRequestRequest(id=one.id))
        if answer.request.status != one.expected:
            only = DecisionFilter(tenant=TENANT, mutation_request_ids=[one.id])
            told = callers.call("ListDecisions", "ada", ListDecisionsRequest(filter=only))
            history = ", ".join(f"{told.revision} {told.code}" for told in told.decisions)
            yield f"{one.name} does not end: {history}\n{answer}"


def stands_still(victim: Running, seconds: float) -> None:
    """Lets that time pass, in which it must not end."""
    with suppress(subprocess.TimeoutExpired):
        victim.process.wait(seconds)
        raise AssertionError(f"{victim.process.args!r} ended:\n{victim.log.read_text()}")
