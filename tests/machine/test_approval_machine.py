"""Approvals against a reference that counts by brute force: votes, people who come and go, time,
deaths and races, over the whole application.

Before a call the model says whether it must be taken, or for what it may be refused. After each
step it is told what the ledger says, and asks of each entry whether it was right in that moment;
then every request must stand where the model has it. Where a race or a death leaves the outcome
open, the ledger says which one it was, and the model whether that was one of them.
"""

import asyncio
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from governor.domain.approval import Plan, Requirement, Step, StepMode, Target, VoteKind
from governor.domain.decision import Category, Code
from governor.domain.errors import (
    GovernorError,
    HostUnavailable,
    IllegalTransition,
    MissingRole,
    NotEligible,
    NotFound,
    NotWaiting,
    Overloaded,
    RequestIdReused,
    StateBusy,
    UnsatisfiableApproval,
)
from governor.domain.gates import Gate
from governor.domain.policy import Effect, Rule
from governor.domain.request import (
    ExecutionMode,
    MutationRequest,
    PendingReason,
    StaleStrategy,
    Status,
)
from governor.domain.values import Micros, RequestId, TargetKind
from governor.usecases.app import Limits
from governor.usecases.commands import Changed, Submitted
from tests.support.approval_model import NOBODY, Account, Life, Town, is_satisfiable
from tests.support.builders import MICROS_PER_SECOND
from tests.support.governed import Governed
from tests.support.invariants import check_everything
from tests.support.people import TENANT
from tests.support.scripted_host import COMPARING, EXACTLY_ONCE, Loss, ScriptedHost

_T = TypeVar("_T")
Call = Callable[[], Coroutine[Any, Any, Any]]

LIMITS = Limits(
    lease_seconds=10.0,
    apply_seconds_max=4.0,
    in_doubt_seconds_max=15.0,
    executions_per_request_max=3,
    request_lifetime_seconds=300.0,
    break_glass_lifetime_seconds=300.0,
    break_glass_review_seconds=100_000.0,
    tail_entries_max=16,
)
PATIENCE_SECONDS = 300.0
"""Longer than any call waits for a host."""

REVIEWERS, OWNERS = (Target(kind=TargetKind.GROUP, name=name) for name in ("reviewers", "owners"))
THE_ACTORS = tuple(Target(kind=TargetKind.ACTOR, name=name) for name in ("ann", "bob"))
ANYBODY = Target(kind=TargetKind.ROLE, name="approver")
TARGETS = (REVIEWERS, REVIEWERS, OWNERS, *THE_ACTORS, ANYBODY)

VOTERS = ("ann", "ann-bot", "bob", "cleo", "dan", "sam", "robot")
REQUESTERS = ("rita", "rita", "sam")
MOVING = ("ann", "ann-bot", "bob", "cleo")
DELEGATES = (("ann", "dan"), ("bob", "dan"), ("ann", "cleo"), ("rita", "dan"), ("cleo", "ann-bot"))
FLAGS = ("a", "a", "b")
GATES = (
    Gate(reason=PendingReason.EXTERNAL_CHECK, name="screen", timeout_seconds=70),
    Gate(reason=PendingReason.MANUAL_REVIEW, name="look"),
    Gate(reason=PendingReason.QUOTA, name="room", timeout_seconds=25),
)
DEATHS = (
    "store.batch.before_begin",
    "store.batch.before_commit",
    "store.batch.after_commit",
    "execute.before_claim",
    "execute.before_apply",
    "execute.before_outcome",
    "timer.before_fire",
    "timer.after_fire",
)


def people() -> list[Account]:
    """Everybody, as the day begins."""
    approver, submitter = {"approver"}, {"submitter"}
    return [
        Account(id="rita", person="rita", roles=set(submitter)),
        Account(id="rita-ops", person="rita", roles={"operator"}),
        Account(id="robot", person="rita", roles=set(approver), groups={"reviewers", "owners"}),
        Account(id="sam", person="sam", roles=submitter | approver, groups={"reviewers"}),
        Account(id="ann", person="ann", roles=set(approver), groups={"reviewers"}),
        Account(id="ann-bot", person="ann", roles=set(approver), groups={"reviewers", "owners"}),
        Account(id="bob", person="bob", roles=set(approver), groups={"reviewers", "owners"}),
        Account(id="cleo", person="cleo", roles=set(approver), groups={"owners"}),
        Account(id="dan", person="dan", roles=set(approver)),
        Account(id="faye", person="faye", roles=submitter | {"break_glass"}),
        Account(id="otto", person="otto", roles={"operator"}),
    ]


@st.composite
def plans(draw: st.DrawFn) -> Plan:
    """One or two steps of one or two requirements; mostly what the people there can fill."""
    names = iter("abcdefgh")

    def requirement() -> Requirement:
        return Requirement(
            id=next(names),
            targets=tuple(draw(st.lists(st.sampled_from(TARGETS), min_size=1, max_size=2))),
            quorum=draw(st.sampled_from([1, 1, 2])),
            meaning=draw(st.sampled_from([VoteKind.APPROVE] * 4 + [VoteKind.REVIEW])),
            rejections=draw(st.sampled_from([1, 2, 2])),
            deadline_seconds=draw(st.sampled_from([None, None, 20, 45])),
        )

    def step(number: int) -> Step:
        return Step(
            name=f"step-{number}",
            requirements=tuple(requirement() for _ in range(draw(st.sampled_from([1, 1, 2])))),
            mode=draw(st.sampled_from(StepMode)),
        )

    steps = draw(st.sampled_from([1, 1, 2]))
    return Plan(
        steps=tuple(step(number) for number in range(steps)), repeat_voters=draw(st.booleans())
    )


@dataclass
class Said:
    """A call that was answered, to be made again."""

    call: Call
    answer: object


class Approvals(RuleBasedStateMachine):
    """One store, one town; one sidecar after another."""

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.folder = Path(tempfile.mkdtemp())
        self.town = Town(accounts={one.id: one for one in people()})
        self.lives: dict[RequestId, Life] = {}
        self.asking_rules: dict[str, Rule] = {}
        self.said: list[Said] = []
        self.acknowledged: Counter[tuple[RequestId, str, str]] = Counter()
        self.heard = 0
        self.sidecar: Governed

    @initialize(compares=st.booleans())
    def begin(self, compares: bool) -> None:
        async def begin() -> None:
            host = ScriptedHost(promises=COMPARING if compares else EXACTLY_ONCE)
            host.deadlines.open()
            self.sidecar = Governed(self.folder, LIMITS, host)
            self.sidecar.directory.people.clear()
            for account in self.town.accounts.values():
                self.tell_of(account)
            await self.sidecar.open()
            await self.sidecar.start()

        self.runner.run(begin())

    def teardown(self) -> None:
        async def end() -> None:
            self.sidecar.forget_ends()
            self.sidecar.host.script.clear()
            await self.come_to_rest()
            await self.sidecar.pass_time(2 * LIMITS.request_lifetime_seconds)
            await self.look()
            for life in self.lives.values():
                row = await self.show(life.id)
                is_done = life.status in ENDS or self.is_in_doubt(row)
                assert is_done, f"{life.id} is {life.status} after its lifetime"
            await self.sidecar.close()

        try:
            if hasattr(self, "sidecar"):
                self.runner.run(end())
        finally:
            self.runner.close()
            shutil.rmtree(self.folder)

    # --- What callers do ------------------------------------------------------------------------

    @rule(
        actor=st.sampled_from(REQUESTERS),
        flag=st.sampled_from(FLAGS),
        plan=plans(),
        gates=st.lists(st.sampled_from(GATES), unique=True, max_size=2),
        has_gates=st.sampled_from([False, False, True]),
        mode=st.sampled_from((ExecutionMode.ON_EXECUTE, *ExecutionMode)),
        strategy=st.sampled_from((StaleStrategy.REQUIRE_RENEWED_APPROVAL, *StaleStrategy)),
        is_versioned=st.sampled_from([True, True, False]),
        window_seconds=st.sampled_from([None, None, 15]),
        after_seconds=st.sampled_from([None, None, None, 10]),
    )
    def submit(
        self,
        actor: str,
        flag: str,
        plan: Plan,
        gates: list[Gate],
        has_gates: bool,
        mode: ExecutionMode,
        strategy: StaleStrategy,
        is_versioned: bool,
        window_seconds: int | None,
        after_seconds: int | None,
    ) -> None:
        name = f"ask-{len(self.asking_rules)}"
        self.asking_rules[name] = Rule(
            id=name,
            effect=Effect.DEFER,
            mutation_types=(name,),
            steps=plan.steps,
            repeat_voters=plan.repeat_voters,
            gates=tuple(gates) if has_gates else (),
            execution_window_seconds=window_seconds,
        )
        self.sidecar.policy.rules = tuple(self.asking_rules.values())
        fields: dict[str, Any] = {
            "flag": flag,
            "mutation_type": name,
            "execution_mode": mode,
            "stale_strategy": strategy,
            "expected_version": self.version_of(flag) if is_versioned else None,
            "execute_after": self.moment(after_seconds),
        }
        self.step(self.submitted(actor, fields))

    @precondition(lambda self: sum(life.glass is not None for life in self.lives.values()) < 2)
    @rule(
        flag=st.sampled_from(FLAGS),
        plan=plans(),
        mode=st.sampled_from(ExecutionMode),
        may=st.sampled_from([True, True, True, False]),
    )
    def break_the_glass(self, flag: str, plan: Plan, mode: ExecutionMode, may: bool) -> None:
        """The role may come or go just before, also for what has been broken already."""
        name = f"ask-{len(self.asking_rules)}"
        self.asking_rules[name] = Rule(
            id=name,
            effect=Effect.DEFER,
            mutation_types=(name,),
            steps=plan.steps,
            repeat_voters=plan.repeat_voters,
        )
        self.sidecar.policy.rules = tuple(self.asking_rules.values())
        fields: dict[str, Any] = {"flag": flag, "mutation_type": name, "execution_mode": mode}
        self.step(self.submitted("faye", fields, breaks=True))
        self.town.accounts["faye"].roles = {"submitter"} | ({"break_glass"} if may else set())
        self.tell_of(self.town.accounts["faye"])

    async def submitted(self, actor: str, fields: dict[str, Any], *, breaks: bool = False) -> None:
        sidecar, key = self.sidecar, self.sidecar.next_key()
        who = self.town.accounts[actor]
        rule = self.asking_rules[fields["mutation_type"]]
        plan = Plan(steps=rule.steps, repeat_voters=rule.repeat_voters)
        possible = is_satisfiable(plan, self.town, who.person)
        may = not breaks or "break_glass" in who.roles
        if breaks:
            fields = fields | {"break_glass": "it burns"}
        answer, died = await self.ask(lambda: sidecar.submitted(actor, key=key, **fields))
        if isinstance(answer, Submitted):
            assert died or (possible and may), "a plan that nobody can fill was taken"
        else:
            assert isinstance(answer, GovernorError)
            assert died or not (possible and may), f"refused though it can be filled: {answer}"
            if not may:
                return
            assert isinstance(answer, UnsatisfiableApproval), answer

    @precondition(lambda self: self.lives)
    @rule(
        voter=st.sampled_from(VOTERS),
        kind=st.sampled_from([VoteKind.APPROVE] * 5 + [VoteKind.REVIEW] * 2 + [VoteKind.REJECT]),
        stale=st.sampled_from(["", "", "", "", "", "digest", "plan"]),
        data=st.data(),
    )
    def vote(self, voter: str, kind: VoteKind, stale: str, data: st.DataObject) -> None:
        life = self.draw_asking(data)
        at = self.sidecar.clock.now()
        who = self.town.find(voter)
        givers = [
            person
            for person in ("ann", "bob", "cleo", "rita")
            if who is not None and self.town.giver(who, person, at)
        ]
        behalf = NOBODY
        if bool(givers) and data.draw(st.integers(0, 1), "in another's place"):
            behalf = data.draw(st.sampled_from(givers), "whose")
        elif data.draw(st.integers(0, 19), "claims to be a delegate") == 0:
            behalf = data.draw(st.sampled_from(["ann", "rita"]), "whose")
        self.step(self.voted(life, voter, kind, behalf, stale))

    async def voted(
        self, life: Life, voter: str, kind: VoteKind, behalf: str, stale: str = ""
    ) -> None:
        sidecar, key = self.sidecar, self.sidecar.next_key()
        before = await self.show(life.id)
        options: dict[str, Any] = {"on_behalf_of": behalf}
        digest, is_the_plan = before.progress.digest, True
        if stale == "digest":
            digest = b"\x07" * 32
            options["digest_seen"] = digest
        if stale == "plan":
            options["plan_digest"], is_the_plan = b"\x07" * 32, False
        seen = before
        if stale == "digest":
            del options["digest_seen"]
            seen = before.but(progress=before.progress.but(digest=digest))
        no = life.why_no_vote(
            voter,
            kind,
            sidecar.clock.now(),
            behalf=behalf,
            digest=digest,
            is_the_plan=is_the_plan,
        )
        head = sidecar.store.head
        answer, died = await self.ask(
            lambda: sidecar.vote(voter, seen, kind, key=key, **options),
            about=(life.id, voter, "vote"),
        )
        if isinstance(answer, Changed):
            assert died or not no, f"a vote was taken that may be refused with {no}"
            return
        assert died or type(answer) in no, f"{answer!r}, and not one of {no}"
        assert died or sidecar.store.head == head, "a refused vote changed something"

    @precondition(lambda self: self.lives)
    @rule(data=st.data())
    def they_agree(self, data: st.DataObject) -> None:
        """Whoever can, votes for it, until nobody is left or it has what it needs."""
        self.agree(self.draw_asking(data), data)

    @precondition(lambda self: self.lives)
    @rule(
        what=st.sampled_from(["role", "group", "alias", "world", "revoke", "time"]),
        who=st.integers(0, 3),
        data=st.data(),
    )
    def they_agree_too_early(self, what: str, who: int, data: st.DataObject) -> None:
        """Between the last vote and the execution something comes to pass."""
        life = self.draw_asking(data)
        self.agree(life, data)
        voters = [one for ballot in life.counting() if (one := self.town.find(ballot.actor))]
        request = self.runner.run(self.show(life.id))
        match what:
            case "role" if voters:
                voters[who % len(voters)].roles ^= {"approver"}
                self.tell_of(voters[who % len(voters)])
            case "group" if voters:
                voters[who % len(voters)].groups.clear()
                self.tell_of(voters[who % len(voters)])
            case "alias" if alias := self.town.find("ann-bot"):
                alias.person = life.requester
                self.tell_of(alias)
            case "world":
                self.sidecar.host.touch(request.slot)
            case "revoke" if counting := life.counting():
                voter = counting[0].actor
                self.step(self.revoked(life, voter))
            case _:
                self.step(self.sidecar.pass_time(10))
        self.step(self.executed(life))

    def agree(self, life: Life, data: st.DataObject) -> None:
        order = data.draw(st.permutations(VOTERS), "who comes first")
        for voter in order:
            for kind in (VoteKind.APPROVE, VoteKind.REVIEW):
                if not life.why_no_vote(voter, kind, self.sidecar.clock.now()):
                    self.step(self.voted(life, voter, kind, NOBODY))

    @precondition(lambda self: any(life.ballots for life in self.lives.values()))
    @rule(voter=st.sampled_from(VOTERS), data=st.data())
    def revoke(self, voter: str, data: st.DataObject) -> None:
        voted_on = [id for id, life in self.lives.items() if life.counting()]
        id = data.draw(st.sampled_from(sorted(voted_on or self.lives)), "request")
        self.step(self.revoked(self.lives[id], voter))

    async def revoked(self, life: Life, voter: str) -> None:
        sidecar, key = self.sidecar, self.sidecar.next_key()
        before, head = await self.show(life.id), sidecar.store.head
        no = life.why_no_revocation(voter)
        answer, died = await self.ask(
            lambda: sidecar.revoke(voter, before, key=key), about=(life.id, voter, "revoke")
        )
        if isinstance(answer, MutationRequest):
            assert died or not no, f"a vote was taken back that may be refused with {no}"
            return
        assert died or type(answer) in no, f"{answer!r}, and not one of {no}"
        assert died or sidecar.store.head == head, "a refused call changed something"

    @precondition(lambda self: any(life.waits for life in self.lives.values()))
    @rule(
        actor=st.sampled_from(["otto", "otto", "otto", "rita-ops"]),
        passed=st.sampled_from([True, True, True, False]),
        data=st.data(),
    )
    def answer_a_gate(self, actor: str, passed: bool, data: st.DataObject) -> None:
        waiting = [id for id, life in self.lives.items() if life.waits]
        life = self.lives[data.draw(st.sampled_from(sorted(waiting)), "request")]
        gate = data.draw(st.sampled_from(GATES), "gate")
        key = self.sidecar.next_key()

        async def answer_it() -> None:
            before, head = await self.show(life.id), self.sidecar.store.head
            is_open = (gate.reason, gate.name) in life.waits and life.status is Status.PENDING
            is_own = self.town.accounts[actor].person == life.requester
            answer, died = await self.ask(
                lambda: self.sidecar.answer_gate(actor, before, gate.name, passed=passed, key=key)
            )
            if died:
                return
            if isinstance(answer, MutationRequest):
                assert is_open
                assert not is_own, "the requester answered for themselves"
                return
            assert not is_open or is_own
            may = (NotEligible, NotWaiting, IllegalTransition)
            assert isinstance(answer, may), answer
            assert self.sidecar.store.head == head, "a refused answer changed something"

        self.step(answer_it())

    @precondition(lambda self: self.lives)
    @rule(data=st.data())
    def execute(self, data: st.DataObject) -> None:
        self.step(self.executed(self.draw_open(data)))

    async def executed(self, life: Life) -> None:
        sidecar, key, before = self.sidecar, self.sidecar.next_key(), await self.show(life.id)
        answer, died = await self.ask(lambda: sidecar.execute("otto", before, key=key))
        if isinstance(answer, GovernorError):
            may = (IllegalTransition, StateBusy, HostUnavailable, Overloaded)
            assert isinstance(answer, may), answer
        elif not died:
            assert before.status is Status.APPROVED

    @precondition(lambda self: self.lives)
    @rule(replaces=st.booleans(), data=st.data())
    def withdraw(self, replaces: bool, data: st.DataObject) -> None:
        life = self.draw_open(data)
        key = self.sidecar.next_key()

        async def withdraw() -> None:
            before, head = await self.show(life.id), self.sidecar.store.head
            owner = before.content.context.actor
            name = before.content.mutation_type
            if replaces:
                rule = self.asking_rules[name]
                plan = Plan(steps=rule.steps, repeat_voters=rule.repeat_voters)
                possible = is_satisfiable(plan, self.town, life.requester)
                call: Call = lambda: self.sidecar.supersede(  # noqa: E731 - one of two calls
                    owner, before, key=key, mutation_type=name
                )
            else:
                possible = True
                call = lambda: self.sidecar.cancel("otto", before, key=key)  # noqa: E731 - the other
            may = "submitter" in self.roles_of(owner) or not replaces
            answer, died = await self.ask(call)
            if died or before.status is Status.EXECUTING:
                return
            if before.is_terminal or not possible or not may or self.is_in_doubt(before):
                assert isinstance(answer, GovernorError), answer
                assert self.sidecar.store.head == head, "a refused call changed something"
            else:
                assert isinstance(answer, MutationRequest | Changed), answer

        self.step(withdraw())

    @precondition(lambda self: self.said)
    @rule(data=st.data())
    def say_again(self, data: st.DataObject) -> None:
        """The same call with the same key gives the same answer, whatever happened since."""
        said = self.said[data.draw(st.integers(0, len(self.said) - 1), "which")]

        async def again() -> None:
            answer, _ = await self.ask(said.call, keep=False)
            may_ask = not isinstance(answer, MissingRole | NotFound)
            assert answer == said.answer or not may_ask, answer

        self.step(again())

    @precondition(lambda self: self.lives)
    @rule(
        kinds=st.lists(
            st.sampled_from(["vote"] * 4 + ["no", "revoke", "cancel", "execute", "gate", "time"]),
            min_size=2,
            max_size=4,
        ),
        seconds=st.sampled_from([1.0, 15.0, 20.0]),
        data=st.data(),
    )
    def all_at_once(self, kinds: list[str], seconds: float, data: st.DataObject) -> None:
        """Several want something of the same request in the same moment."""
        life, sidecar = self.draw_asking(data), self.sidecar
        voters = data.draw(st.permutations(VOTERS), "who")

        async def time() -> None:
            sidecar.clock.advance(seconds)
            await sidecar.timers.run_due()

        async def at_once() -> None:
            before = await self.show(life.id)
            calls: list[tuple[Call, tuple[RequestId, str, str] | None]] = []
            for kind, voter in zip(kinds, voters, strict=False):
                calls.append(self.one_of_many(kind, voter, before, time))
            asking = [asyncio.ensure_future(call()) for call, _ in calls]
            await self.wait_for(asking)
            died = sidecar.store.is_dead
            if died:
                await self.come_to_rest()
            for (call, about), task in zip(calls, asking, strict=True):
                if died and call is time:
                    continue
                if died:  # whoever was left without an answer asks again
                    await self.ask(call, about=about)
                else:
                    await self.note(call, task, about)

        self.step(at_once())

    def one_of_many(
        self, kind: str, voter: str, before: MutationRequest, time: Call
    ) -> tuple[Call, tuple[RequestId, str, str] | None]:
        sidecar, key = self.sidecar, self.sidecar.next_key()
        match kind:
            case "vote":
                return lambda: sidecar.vote(voter, before, key=key), (before.id, voter, "vote")
            case "no":
                no = VoteKind.REJECT
                return lambda: sidecar.vote(voter, before, no, key=key), (before.id, voter, "vote")
            case "revoke":
                return lambda: sidecar.revoke(voter, before, key=key), (before.id, voter, "revoke")
            case "cancel":
                return lambda: sidecar.cancel("otto", before, key=key), None
            case "execute":
                return lambda: sidecar.execute("otto", before, key=key), None
            case "gate":
                return lambda: sidecar.answer_gate("otto", before, "screen", key=key), None
            case _:
                return time, None

    # --- What people and the world do -----------------------------------------------------------

    @rule(
        who=st.sampled_from(MOVING),
        what=st.sampled_from(["role", "role", "reviewers", "owners", "place"]),
    )
    def somebody_moves(self, who: str, what: str) -> None:
        """They lose a role, a group or their place, or have it back."""
        account = self.town.find(who)
        home = next(one for one in people() if one.id == who)
        if account is None or what == "place":
            if account is None:
                self.town.accounts[who] = home
            else:
                del self.town.accounts[who]
        elif what == "role":
            account.roles ^= {"approver"}
        else:
            account.groups ^= {what}
        self.tell_of(self.town.find(who) or who)
        self.step(self.nothing())

    @rule(person=st.sampled_from(["ann", "bob", "rita"]))
    def an_alias_is_given_to_another(self, person: str) -> None:
        if alias := self.town.find("ann-bot"):
            alias.person = person
            self.tell_of(alias)
        self.step(self.nothing())

    @rule(
        pair=st.sampled_from(DELEGATES),
        starts_seconds=st.sampled_from([0, 0, 10]),
        lasts_seconds=st.sampled_from([15, 200]),
    )
    def somebody_delegates(
        self, pair: tuple[str, str], starts_seconds: int, lasts_seconds: int
    ) -> None:
        starts = Micros(self.sidecar.clock.now() + starts_seconds * MICROS_PER_SECOND)
        ends = Micros(starts + lasts_seconds * MICROS_PER_SECOND)
        self.town.delegations.append((*pair, starts, ends))
        self.sidecar.directory.delegate(*pair, starts=starts, ends=ends)

    @rule(flag=st.sampled_from(FLAGS))
    def the_world_moves(self, flag: str) -> None:
        """Somebody changes a state behind our back."""
        self.sidecar.host.touch((TENANT, "flag", flag))

    @rule(seconds=st.sampled_from([0.5, 6.0, 15.0, 26.0]))
    def time_passes(self, seconds: float) -> None:
        self.step(self.sidecar.pass_time(seconds))

    @rule()
    def the_process_dies(self) -> None:
        self.step(self.sidecar.crash())

    @rule(
        failpoint=st.sampled_from(DEATHS),
        passing=st.integers(1, 2),
        loses=st.sampled_from([None, None, Loss.ANSWER, Loss.ORDER]),
    )
    def the_process_is_to_die(self, failpoint: str, passing: int, loses: Loss | None) -> None:
        """In the middle of what comes next."""
        self.sidecar.forget_ends()
        self.sidecar.die_at(failpoint, passing=passing)
        if loses is not None:
            self.sidecar.host.script.append(loses)

    async def nothing(self) -> None:
        """What follows by itself."""

    # --- After every step -----------------------------------------------------------------------

    def step(self, doing: Coroutine[Any, Any, None]) -> None:
        """Does it, comes to rest, in another life if need be, and looks at everything."""

        async def step() -> None:
            await doing
            await self.come_to_rest()
            await self.look()

        self.runner.run(step())

    async def come_to_rest(self) -> None:
        """Nothing moves any more, and what fell due in a downtime is done."""
        await self.sidecar.quiet()
        while self.sidecar.store.is_dead:
            await self.sidecar.crash()
            await self.sidecar.open()
            await self.sidecar.unless_it_dies(self.sidecar.start())
            await self.sidecar.quiet()
            await self.sidecar.pass_time(0)

    async def ask(
        self,
        call: Call,
        *,
        about: tuple[RequestId, str, str] | None = None,
        keep: bool = True,
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
        return await self.note(call, asking, about, keep=keep), died

    async def note(
        self,
        call: Call,
        asked: asyncio.Future[Any],
        about: tuple[RequestId, str, str] | None = None,
        *,
        keep: bool = True,
    ) -> object:
        """The answer, or what it was refused with."""
        try:
            answer = await asked
        except RequestIdReused:
            raise
        except GovernorError as refusal:
            return refusal
        if answer is not None and keep:
            self.said.append(Said(call, answer))
        if about is not None:
            self.acknowledged[about] += 1
        return answer

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

    async def look(self) -> None:
        """Is all that the ledger says right, and does everything stand where the model has it?"""
        await check_everything(self.sidecar)
        for entry in await self.sidecar.ledger(after=self.heard):
            self.heard = entry.revision
            said = entry.decision
            if said.code.category is Category.HOST:
                continue
            if said.request_id not in self.lives:
                self.lives[said.request_id] = await self.begun(said.request_id)
            self.lives[said.request_id].hear(said)
        for life in self.lives.values():
            self.compare(life, await self.show(life.id))
        self.count_what_was_acknowledged()

    async def begun(self, id: RequestId) -> Life:
        request = await self.show(id)
        rule = self.asking_rules[request.content.mutation_type]
        approval = request.progress.approval
        breaks = request.progress.review is not None
        return Life(
            id=id,
            town=self.town,
            requester=self.person_of(request.content.context.actor),
            plan=Plan(steps=rule.steps, repeat_voters=rule.repeat_voters) if approval else None,
            expires_at=request.expires_at,
            gates={(gate.reason, gate.name): gate.timeout_seconds for gate in rule.gates},
            window_seconds=rule.execution_window_seconds,
            schedule_at=request.content.execute_after,
            glass=("faye", "faye") if breaks else None,
        )

    def compare(self, life: Life, row: MutationRequest) -> None:
        """The row says what the model says, and nothing that is due has been forgotten."""
        progress, approval, now = row.progress, row.progress.approval, self.sidecar.clock.now()
        assert row.status is life.status, f"{life.id} is {row.status}, not {life.status}"
        assert row.requester == life.requester
        if approval is None:
            return
        assert (approval.round, approval.is_satisfied) == (life.round, life.is_satisfied)
        assert approval.open_step == life.open_step
        told = [
            (one.voter.id, one.on_behalf_of.id if one.on_behalf_of else NOBODY, one.kind, one.step)
            for one in approval.current_votes()
        ]
        kept = [(one.actor, one.behalf, one.kind, one.step) for one in life.counting()]
        assert told == kept, "other votes count than were acknowledged"
        assert len(approval.votes) == len(life.ballots), "a vote without its decision"
        for vote in approval.current_votes():
            assert vote.digest == progress.digest
        if row.status in (Status.PENDING, Status.APPROVED):
            self.compare_waits(life, row)
            assert now < row.expires_at, "it should have expired"
        if row.status is Status.APPROVED:
            assert progress.execute_before == life.execute_before
            assert life.execute_before is None or now < life.execute_before

    def compare_waits(self, life: Life, row: MutationRequest) -> None:
        pending, now = row.progress.pending, self.sidecar.clock.now()
        others = (PendingReason.APPROVAL, PendingReason.REVALIDATION, PendingReason.AUDIT)
        waits = {(one.reason, one.name): one.until for one in pending if one.reason not in others}
        if not self.is_in_doubt(row):
            assert waits == life.waits
            assert row.waits_for(PendingReason.APPROVAL) is life.is_asking
        for one in pending:
            assert one.until is None or now < one.until, f"{one.reason} should have been decided"
            if one.reason is PendingReason.APPROVAL:
                assert one.until == life.due_at()

    def count_what_was_acknowledged(self) -> None:
        """Every acknowledged vote is in the ledger once, and no other is."""
        codes = {
            "vote": (Code.APPROVAL_GRANTED, Code.APPROVAL_REJECTED),
            "revoke": (Code.APPROVAL_REVOKED,),
        }
        for id, life in self.lives.items():
            for what, said in codes.items():
                told = sum(life.codes.count(code) for code in said)
                acknowledged = sum(
                    count
                    for (about, _, kind), count in self.acknowledged.items()
                    if (about, kind) == (id, what)
                )
                assert told == acknowledged, f"{id}: {told} times {what}, {acknowledged} heard of"

    # --- Looking --------------------------------------------------------------------------------

    async def show(self, id: RequestId) -> MutationRequest:
        found = await self.sidecar.store.request(id)
        assert found is not None
        return found

    def tell_of(self, account: Account | str) -> None:
        """The directory says what the town knows."""
        directory = self.sidecar.directory
        if isinstance(account, str):
            directory.people.pop((account, TENANT), None)
        else:
            directory.put(account.id, TENANT, account.roles, account.groups, person=account.person)

    def draw_asking(self, data: st.DataObject) -> Life:
        """Rather one that waits for votes."""
        asking = [id for id, life in self.lives.items() if life.is_asking]
        return self.lives[data.draw(st.sampled_from(sorted(asking or self.lives)), "request")]

    def draw_open(self, data: st.DataObject) -> Life:
        open_ones = [id for id, life in self.lives.items() if life.status not in ENDS]
        return self.lives[data.draw(st.sampled_from(sorted(open_ones or self.lives)), "request")]

    def is_in_doubt(self, request: MutationRequest) -> bool:
        return request.waits_for(PendingReason.AUDIT)

    def roles_of(self, actor: str) -> set[str]:
        account = self.town.find(actor)
        return account.roles if account is not None else set()

    def person_of(self, actor: str) -> str:
        return next(one.person for one in people() if one.id == actor)

    def version_of(self, flag: str) -> str:
        return self.sidecar.host.version((TENANT, "flag", flag))

    def moment(self, seconds: int | None) -> Micros | None:
        if seconds is None:
            return None
        return Micros(self.sidecar.clock.now() + seconds * MICROS_PER_SECOND)


ENDS = (
    Status.EXECUTED,
    Status.REJECTED,
    Status.CANCELED,
    Status.EXPIRED,
    Status.SUPERSEDED,
    Status.FAILED,
)

TestApprovalMachine = Approvals.TestCase
TestApprovalMachine.settings = settings(
    max_examples=25,
    stateful_step_count=30,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
