"""The whole application against a small model: random lives, with a host that loses answers and a
process that dies anywhere; after every step the invariants hold, and in the end nothing is stuck.

The model knows no transition table. It predicts the answer to a call from what the request showed
before it; where the host or a death has a say, it knows the few answers there may be.
"""

import asyncio
import shutil
import tempfile
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from governor.domain.approval import VoteKind
from governor.domain.errors import (
    Conflict,
    DependencyFailed,
    GovernorError,
    HostUnavailable,
    IllegalTransition,
    MissingRole,
    NoReviewOpen,
    NotEligible,
    Overloaded,
    RequestIdReused,
    ReviewOverdue,
    StateBusy,
)
from governor.domain.execution import Execution, ExecutionStatus, Outcome
from governor.domain.request import (
    ExecutionMode,
    MutationRequest,
    PendingReason,
    Risk,
    StaleStrategy,
    Status,
)
from governor.domain.values import Micros, RequestId, Revision
from governor.usecases.app import Limits
from governor.usecases.commands import CaughtUp, Changed, Submitted, Subscribe
from governor.usecases.commits import StoredEntry
from governor.usecases.ports import Capabilities, Order
from governor.usecases.questions import DecisionFilter
from governor.usecases.watch import stream_decisions
from tests.support.builders import MICROS_PER_SECOND
from tests.support.governed import Governed, caller
from tests.support.invariants import check_everything, check_nothing_is_stuck
from tests.support.people import (
    ANN,
    AUDREY,
    BOB,
    CLEO,
    FAYE,
    FAYES_PHONE,
    OTTO,
    RITA,
    ROBOT,
    SAM,
    TENANT,
)
from tests.support.scripted_host import (
    AT_MOST_ONCE,
    BUSY,
    COMPARING,
    EXACTLY_ONCE,
    NO,
    Loss,
    ScriptedHost,
)

_T = TypeVar("_T")

LIMITS = Limits(
    lease_seconds=10.0,
    apply_seconds_max=4.0,
    in_doubt_seconds_max=15.0,
    executions_running_max=2,
    executions_per_request_max=3,
    request_lifetime_seconds=3600.0,
    break_glass_lifetime_seconds=300.0,
    break_glass_review_seconds=40.0,
    tail_entries_max=16,
)
QUORUMS = {Risk.LOW: 0, Risk.MEDIUM: 1, Risk.HIGH: 2, Risk.CRITICAL: 0}
PERSONS = {ROBOT: RITA, FAYES_PHONE: FAYE}
REFUSED_FLAG = "refused"
FLAGS = ("a", "a", "b", REFUSED_FLAG)
FATES = (Loss.ORDER, Loss.ANSWER, Loss.DELAY, BUSY)
DEATHS = (
    "store.batch.before_begin",
    "store.batch.before_commit",
    "store.batch.after_commit",
    "execute.before_claim",
    "execute.before_apply",
    "execute.after_apply",
    "execute.before_fence",
    "execute.before_outcome",
    "execute.after_outcome",
    "recover.before_reclaim",
    "recover.after_reclaim",
)
PATIENCE_SECONDS = 300.0
"""Longer than any call waits for a host."""

Call = Callable[[], Coroutine[Any, Any, _T]]


class Choosy(ScriptedHost):
    """A host that refuses every change of one of its states."""

    def _conclude(self, order: Order) -> Outcome:
        if order.execution.state.id == REFUSED_FLAG:
            return NO
        return ScriptedHost._conclude(self, order)


@dataclass
class Known:
    """What the model keeps of a request."""

    id: RequestId
    requester: str
    risk: Risk
    ended: Status | None = None
    voters: dict[bytes, set[str]] = field(default_factory=dict)


@dataclass
class Said:
    """A call that was answered, to be made again."""

    call: Call[Any]
    answer: object


class Lives(RuleBasedStateMachine):
    """One store and one host; one sidecar after another."""

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.folder = Path(tempfile.mkdtemp())
        self.known: dict[RequestId, Known] = {}
        self.said: list[Said] = []
        self.seen: list[int] = []
        self.without_the_role: set[str] = set()
        self.sidecar: Governed

    def run(self, doing: Coroutine[Any, Any, _T]) -> _T:
        return self.runner.run(doing)

    @initialize(promises=st.sampled_from([COMPARING, EXACTLY_ONCE, AT_MOST_ONCE]))
    def begin(self, promises: Capabilities) -> None:
        async def begin() -> None:
            host = Choosy(promises=promises)
            host.deadlines.open()
            self.sidecar = Governed(self.folder, LIMITS, host)
            await self.sidecar.open()
            await self.sidecar.start()

        self.run(begin())

    def teardown(self) -> None:
        async def end() -> None:
            await self.heal()
            await check_nothing_is_stuck(
                self.sidecar.store,
                executions_per_request_max=LIMITS.executions_per_request_max,
            )
            await self.sidecar.close()

        try:
            if hasattr(self, "sidecar"):
                self.run(end())
        finally:
            self.runner.close()
            shutil.rmtree(self.folder)

    # --- What callers do ------------------------------------------------------------------------

    @rule(
        actor=st.sampled_from([RITA, SAM]),
        flag=st.sampled_from(FLAGS),
        risk=st.sampled_from([Risk.LOW, Risk.LOW, Risk.MEDIUM, Risk.HIGH, Risk.CRITICAL]),
        mode=st.sampled_from(ExecutionMode),
        strategy=st.sampled_from(StaleStrategy),
        version=st.sampled_from(["none", "right", "wrong"]),
        after_seconds=st.sampled_from([None, None, None, 20]),
        lifetime_seconds=st.sampled_from([None, None, 30]),
        data=st.data(),
    )
    def submit(
        self,
        actor: str,
        flag: str,
        risk: Risk,
        mode: ExecutionMode,
        strategy: StaleStrategy,
        version: str,
        after_seconds: int | None,
        lifetime_seconds: int | None,
        data: st.DataObject,
    ) -> None:
        sidecar = self.sidecar
        depends_on: tuple[RequestId, ...] = ()
        if self.known and data.draw(st.integers(0, 4), "depends") == 0:
            depends_on = (data.draw(st.sampled_from(sorted(self.known)), "on"),)
        current = sidecar.host.version((TENANT, "flag", flag))
        fields = {
            "flag": flag,
            "risk": risk,
            "execution_mode": mode,
            "stale_strategy": strategy,
            "expected_version": {"none": None, "right": current, "wrong": "wrong"}[version],
            "execute_after": self.moment(after_seconds),
            "expires_at": self.moment(lifetime_seconds),
            "depends_on": depends_on,
        }
        key = sidecar.next_key()

        async def submit() -> None:
            on = await self.show(depends_on[0]) if depends_on else None
            answer, died = await self.ask(lambda: sidecar.submitted(actor, key=key, **fields))
            if isinstance(answer, GovernorError):
                assert isinstance(answer, DependencyFailed), answer
                assert died or (on is not None and on.is_terminal)
                return
            assert isinstance(answer, Submitted)
            request = answer.request
            self.known[request.id] = Known(id=request.id, requester=actor, risk=risk)
            if died:
                return
            waits = on is not None and on.status is not Status.EXECUTED
            if risk is Risk.CRITICAL:
                expected = {Status.REJECTED}
            elif QUORUMS[risk] or waits or after_seconds is not None:
                expected = {Status.PENDING}
            elif mode is ExecutionMode.ON_EXECUTE:
                expected = {Status.APPROVED}
            else:
                expected = {Status.APPROVED, Status.EXECUTING}
            assert request.status in expected, request.status

        self.step(submit())

    @rule(
        actor=st.sampled_from([FAYE, FAYES_PHONE, RITA]),
        flag=st.sampled_from(FLAGS),
        risk=st.sampled_from([Risk.LOW, Risk.MEDIUM, Risk.HIGH, Risk.CRITICAL]),
        mode=st.sampled_from(ExecutionMode),
        strategy=st.sampled_from(StaleStrategy),
        version=st.sampled_from(["none", "right", "wrong"]),
    )
    def break_the_glass(
        self,
        actor: str,
        flag: str,
        risk: Risk,
        mode: ExecutionMode,
        strategy: StaleStrategy,
        version: str,
    ) -> None:
        sidecar, key, person = self.sidecar, self.sidecar.next_key(), PERSONS.get(actor, actor)
        current = sidecar.host.version((TENANT, "flag", flag))
        fields = {
            "flag": flag,
            "risk": risk,
            "execution_mode": mode,
            "stale_strategy": strategy,
            "expected_version": {"none": None, "right": current, "wrong": "wrong"}[version],
            "break_glass": "it burns",
        }

        async def submit() -> None:
            owes = await self.owes_a_review(person)
            may = person == FAYE and actor not in self.without_the_role
            answer, died = await self.ask(lambda: sidecar.submitted(actor, key=key, **fields))
            if isinstance(answer, Submitted):
                request = answer.request
                self.known[request.id] = Known(id=request.id, requester=person, risk=risk)
                is_owed = request.progress.review is not None
                assert is_owed is (risk in (Risk.MEDIUM, Risk.HIGH))
                assert died or (may and not owes)
                if not died and risk is not Risk.CRITICAL:
                    assert request.status in {Status.APPROVED, Status.EXECUTING}, request.status
                return
            refusal = ReviewOverdue if may else MissingRole
            assert isinstance(answer, refusal), answer
            assert died or owes or not may

        self.step(submit())

    @rule(actor=st.sampled_from([FAYE, FAYES_PHONE]))
    def the_role_comes_or_goes(self, actor: str) -> None:
        self.without_the_role ^= {actor}
        held = {"submitter"} | ({"break_glass"} if actor not in self.without_the_role else set())
        self.sidecar.directory.put(actor, TENANT, held, person=FAYE)

    @precondition(lambda self: self.known)
    @rule(reviewer=st.sampled_from([ANN, ROBOT, AUDREY]), justified=st.booleans(), data=st.data())
    def review(self, reviewer: str, justified: bool, data: st.DataObject) -> None:
        id = self.draw_owing(data)
        key = self.sidecar.next_key()

        async def review() -> None:
            before = await self.show(id)
            owed = before.progress.review
            answer, died = await self.ask(
                lambda: self.sidecar.review(reviewer, before, key=key, justified=justified),
                known=id,
            )
            if isinstance(answer, Changed):
                assert answer.request.status is before.status
                assert owed is not None
                assert reviewer != AUDREY
                assert owed.is_open
            elif not died:
                is_open = owed is not None and owed.is_open
                assert isinstance(answer, NotEligible if is_open else NoReviewOpen), answer
                assert reviewer == AUDREY or not is_open

        self.step(review())

    @precondition(lambda self: self.known)
    @rule(
        voter=st.sampled_from([ANN, BOB, CLEO, ROBOT]),
        kind=st.sampled_from([VoteKind.APPROVE] * 4 + [VoteKind.REJECT]),
        data=st.data(),
    )
    def vote(self, voter: str, kind: VoteKind, data: st.DataObject) -> None:
        asked = [
            id for id, known in self.known.items() if known.ended is None and QUORUMS[known.risk]
        ]
        id = data.draw(st.sampled_from(sorted(asked)), "request") if asked else self.draw_open(data)
        key = self.sidecar.next_key()

        async def vote() -> None:
            before = await self.show(id)
            known, person = self.known[id], PERSONS.get(voter, voter)
            voters = known.voters.setdefault(before.progress.digest, set())
            answer, died = await self.ask(
                lambda: self.sidecar.vote(voter, before, kind, key=key), known=id
            )
            if died:
                if isinstance(answer, Changed):
                    voters.add(person)
                return
            if not before.waits_for(PendingReason.APPROVAL):
                assert isinstance(answer, IllegalTransition), answer
                return
            if person == known.requester or person in voters:
                assert isinstance(answer, NotEligible), answer
                return
            assert isinstance(answer, Changed), answer
            voters.add(person)
            after = answer.request
            if kind is VoteKind.REJECT:
                assert after.status is Status.REJECTED
            elif len(voters) < QUORUMS[known.risk]:
                assert after.waits_for(PendingReason.APPROVAL)
            else:
                assert not after.waits_for(PendingReason.APPROVAL)
                others = len(before.progress.pending) - 1
                assert after.status is (Status.PENDING if others else Status.APPROVED)

        self.step(vote())

    @precondition(lambda self: self.known)
    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        id = self.draw_any(data)
        key = self.sidecar.next_key()

        async def cancel() -> None:
            before = await self.show(id)
            answer, died = await self.ask(
                lambda: self.sidecar.cancel(OTTO, before, key=key), known=id
            )
            if isinstance(answer, MutationRequest):
                assert answer.status is Status.CANCELED
            self.check_ending(before, answer, died)

        self.step(cancel())

    @precondition(lambda self: self.known)
    @rule(risk=st.sampled_from([Risk.LOW, Risk.MEDIUM]), data=st.data())
    def supersede(self, risk: Risk, data: st.DataObject) -> None:
        id = self.draw_any(data)
        key = self.sidecar.next_key()

        async def supersede() -> None:
            before = await self.show(id)
            owner = self.known[id].requester
            answer, died = await self.ask(
                lambda: self.sidecar.supersede(owner, before, key=key, risk=risk), known=id
            )
            if isinstance(answer, Changed):
                new = answer.request
                self.known[new.id] = Known(id=new.id, requester=owner, risk=risk)
                assert answer.superseded is not None
                assert answer.superseded.status is Status.SUPERSEDED
            self.check_ending(before, answer, died)

        self.step(supersede())

    def check_ending(self, before: MutationRequest, answer: object, died: bool) -> None:
        """What withdrawing a request may be answered with."""
        if died:
            return
        if before.is_terminal or before.waits_for(PendingReason.AUDIT):
            assert isinstance(answer, IllegalTransition), answer
        elif before.status is Status.EXECUTING:
            assert isinstance(
                answer, MutationRequest | Changed | IllegalTransition | HostUnavailable | Conflict
            ), answer
        else:
            assert isinstance(answer, MutationRequest | Changed), answer

    @precondition(lambda self: self.known)
    @rule(data=st.data())
    def execute(self, data: st.DataObject) -> None:
        id = self.draw_open(data)
        key = self.sidecar.next_key()

        async def execute() -> None:
            before = await self.show(id)
            answer, died = await self.ask(
                lambda: self.sidecar.execute(OTTO, before, key=key), known=id
            )
            if isinstance(answer, GovernorError):
                may = (IllegalTransition, StateBusy, HostUnavailable, Overloaded)
                assert isinstance(answer, may), answer
            elif not died:
                assert before.status is Status.APPROVED
            if not died and before.status is not Status.APPROVED:
                assert isinstance(answer, IllegalTransition), answer

        self.step(execute())

    @precondition(lambda self: self.known)
    @rule(data=st.data())
    def resolve(self, data: st.DataObject) -> None:
        """An honest person looks into the host."""
        key = self.sidecar.next_key()

        async def resolve() -> None:
            doubtful = await self.in_doubt()
            if not doubtful:
                return
            execution = doubtful[data.draw(st.integers(0, len(doubtful) - 1), "which")]
            effects = self.sidecar.host.effects
            made = [e.version for e in effects if e.execution_id == execution.id]
            found = made[0] if made else None
            answer, _ = await self.ask(
                lambda: self.sidecar.resolve(OTTO, execution, found, key=key)
            )
            assert isinstance(answer, Changed), answer
            assert answer.request.status is (Status.EXECUTED if made else Status.FAILED)

        self.step(resolve())

    @precondition(lambda self: self.said)
    @rule(data=st.data())
    def say_again(self, data: st.DataObject) -> None:
        """The same call with the same key gives the same answer, whatever happened since."""
        said = self.said[data.draw(st.integers(0, len(self.said) - 1), "which")]

        async def again() -> None:
            before = self.sidecar.store.head.revision
            answer, died = await self.ask(said.call, keep=False)
            assert answer == said.answer
            assert died or self.sidecar.store.head.revision >= before

        self.step(again())

    @precondition(lambda self: self.known)
    @rule(data=st.data(), callers=st.integers(2, 5))
    def all_at_once(self, data: st.DataObject, callers: int) -> None:
        """Several want something of the same request in the same moment."""
        id = self.draw_open(data)
        kinds = data.draw(
            st.lists(
                st.sampled_from(["approve", "reject", "cancel", "execute", "supersede", "review"]),
                min_size=callers,
                max_size=callers,
            ),
            "what",
        )

        async def at_once() -> None:
            before = await self.show(id)
            owner, sidecar = self.known[id].requester, self.sidecar
            calls: dict[str, Callable[[str], Coroutine[Any, Any, object]]] = {
                "approve": lambda voter: sidecar.vote(voter, before),
                "reject": lambda voter: sidecar.vote(voter, before, VoteKind.REJECT),
                "cancel": lambda _: sidecar.cancel(OTTO, before),
                "execute": lambda _: sidecar.execute(OTTO, before),
                "supersede": lambda _: sidecar.supersede(owner, before, risk=Risk.MEDIUM),
                "review": lambda reviewer: sidecar.review(reviewer, before),
            }
            voters = (ANN, BOB, CLEO, ANN, BOB)
            asking = [
                asyncio.ensure_future(calls[kind](voter))
                for kind, voter in zip(kinds, voters, strict=False)
            ]
            await self.wait_for(asking)
            if self.sidecar.is_dead.is_set():
                return
            answers = await asyncio.gather(*asking, return_exceptions=True)
            ended = 0
            for kind, answer in zip(kinds, answers, strict=True):
                if isinstance(answer, BaseException):
                    assert isinstance(answer, GovernorError), answer
                else:
                    ended += kind in ("reject", "cancel", "supersede")
            assert ended <= 1, "a request was ended more than once"

        self.step(at_once())

    # --- What the world does --------------------------------------------------------------------

    @rule(
        fates=st.lists(st.sampled_from(FATES), min_size=1, max_size=4),
        flag=st.sampled_from(FLAGS),
        mode=st.sampled_from(ExecutionMode),
    )
    def calls_go_wrong(self, fates: list[Any], flag: str, mode: ExecutionMode) -> None:
        """Those of a request that runs at once, if its state is free, or of what comes next."""
        self.sidecar.host.script.extend(fates)
        self.step(self.submit_plainly(flag, mode))

    @rule(
        failpoint=st.sampled_from(DEATHS),
        passing=st.integers(1, 3),
        fates=st.lists(st.sampled_from(FATES), max_size=2),
        flag=st.sampled_from(FLAGS),
    )
    def the_process_is_to_die(
        self, failpoint: str, passing: int, fates: list[Any], flag: str
    ) -> None:
        """In the middle of a request that runs at once, or later."""
        self.sidecar.die_at(failpoint, passing=passing)
        self.sidecar.host.script.extend(fates)
        self.step(self.submit_plainly(flag, ExecutionMode.AUTOMATIC))

    async def submit_plainly(self, flag: str, mode: ExecutionMode) -> None:
        sidecar, key = self.sidecar, self.sidecar.next_key()
        answer, _ = await self.ask(
            lambda: sidecar.submitted(SAM, key=key, flag=flag, execution_mode=mode)
        )
        assert isinstance(answer, Submitted), answer
        id = answer.request.id
        self.known[id] = Known(id=id, requester=SAM, risk=Risk.LOW)

    @rule()
    def the_process_dies(self) -> None:
        self.step(self.sidecar.crash())

    @rule(seconds=st.sampled_from([1.0, 25.0]))
    def the_host_is_away(self, seconds: float) -> None:
        async def away() -> None:
            self.sidecar.host.is_reachable = False
            await self.sidecar.pass_time(seconds)
            self.sidecar.host.is_reachable = True

        self.step(away())

    @rule(flag=st.sampled_from(FLAGS), late=st.booleans())
    def the_world_moves(self, flag: str, late: bool) -> None:
        """Somebody changes a state behind our back; and what was late may arrive."""
        self.sidecar.host.touch((TENANT, "flag", flag))
        if late:
            self.sidecar.host.deliver()

    @rule(seconds=st.sampled_from([0.05, 1.0, 6.0, 25.0]))
    def time_passes(self, seconds: float) -> None:
        self.step(self.sidecar.pass_time(seconds))

    # --- After every step -----------------------------------------------------------------------

    def step(self, doing: Coroutine[Any, Any, None]) -> None:
        """Does it, comes to rest, in another life if need be, and looks at everything."""

        async def step() -> None:
            await doing
            await self.come_to_rest()
            await check_everything(self.sidecar)
            await self.what_ended_stays_ended()
            await self.follow()

        self.run(step())

    async def nothing(self) -> None:
        """What follows by itself."""

    async def come_to_rest(self) -> None:
        await self.sidecar.quiet()
        while self.sidecar.store.is_dead:
            await self.sidecar.crash()
            await self.sidecar.open()
            await self.sidecar.unless_it_dies(self.sidecar.start())
            await self.sidecar.quiet()

    async def ask(
        self, call: Call[Any], *, known: RequestId | None = None, keep: bool = True
    ) -> tuple[object, bool]:
        """The answer or the refusal, and whether the process died on the way: then the caller
        asked again, with the same key.
        """
        died = False
        while True:
            asking = asyncio.ensure_future(call())
            await self.wait_for([asking])
            if not self.sidecar.store.is_dead:
                break
            died = True
            await self.come_to_rest()
        try:
            answer = await asking
        except RequestIdReused:
            raise
        except GovernorError as refusal:
            return refusal, died
        if keep:
            self.said.append(Said(call, answer))
        return answer, died

    async def wait_for(self, asking: Sequence[asyncio.Future[Any]]) -> None:
        """Time passes, if it must, until all are answered or the process is dead."""
        deadline = self.sidecar.clock.now() + PATIENCE_SECONDS * MICROS_PER_SECOND
        await self.sidecar.quiet()
        while not all(one.done() for one in asking) and not self.sidecar.store.is_dead:
            assert self.sidecar.clock.now() < deadline, "nobody answers"
            await self.sidecar.pass_time(1.0)
        for one in asking:
            if one.done() and not one.cancelled():
                one.exception()  # whoever died before the answer does not look at it

    async def what_ended_stays_ended(self) -> None:
        for known in self.known.values():
            now = await self.show(known.id)
            assert known.ended in (None, now.status)
            known.ended = now.status if now.is_terminal else None

    async def follow(self) -> None:
        """One subscriber resumes where it was cut, and misses nothing."""
        command = Subscribe(
            filter=DecisionFilter(tenant=TENANT),
            after=Revision(self.seen[-1] if self.seen else 0),
        )
        async for message in stream_decisions(self.sidecar.app, caller(AUDREY), command):
            if isinstance(message, CaughtUp):
                break
            assert isinstance(message, StoredEntry)
            self.seen.append(message.revision)
        assert self.seen == list(range(1, self.sidecar.store.head.revision + 1))

    # --- In the end -----------------------------------------------------------------------------

    async def heal(self) -> None:
        """Everything works again, for long enough."""
        self.sidecar.forget_ends()
        host = self.sidecar.host
        host.script.clear()
        host.is_reachable = True
        await self.come_to_rest()
        await self.sidecar.pass_time(200.0)
        host.deliver()
        await check_everything(self.sidecar)

    # --- Looking --------------------------------------------------------------------------------

    async def show(self, id: RequestId) -> MutationRequest:
        found = await self.sidecar.store.request(id)
        assert found is not None
        return found

    async def in_doubt(self) -> list[Execution]:
        return [
            execution
            for id in self.known
            for execution in await self.sidecar.store.executions_of(id)
            if execution.status is ExecutionStatus.IN_DOUBT
        ]

    async def owes_a_review(self, person: str) -> bool:
        """Whether one is overdue, by the clock."""
        reviews = [
            (await self.show(known.id)).progress.review
            for known in self.known.values()
            if known.requester == person
        ]
        now = self.sidecar.clock.now()
        return any(one is not None and one.is_open and one.due_at <= now for one in reviews)

    def draw_owing(self, data: st.DataObject) -> RequestId:
        """Rather one of those for which the glass may have been broken."""
        emergencies = [id for id, known in self.known.items() if known.requester == FAYE]
        return data.draw(st.sampled_from(sorted(emergencies) or sorted(self.known)), "request")

    def draw_open(self, data: st.DataObject) -> RequestId:
        """A request that has not ended, as long as there is one."""
        open_ones = [id for id, known in self.known.items() if known.ended is None]
        return data.draw(st.sampled_from(sorted(open_ones) or sorted(self.known)), "request")

    def draw_any(self, data: st.DataObject) -> RequestId:
        return data.draw(st.sampled_from(sorted(self.known)), "request")

    def moment(self, seconds: int | None) -> Micros | None:
        if seconds is None:
            return None
        return Micros(self.sidecar.clock.now() + seconds * MICROS_PER_SECOND)


TestGovernedMachine = Lives.TestCase
TestGovernedMachine.settings = settings(
    max_examples=25,
    stateful_step_count=30,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
