"""The whole domain against a small model: random lives of a request, with the invariants checked
after every step.

The model knows no transition table, no matching and no digest of the product's. For every event it
says what must follow, or that the event must be refused; the machine then holds the domain to it.
"""

from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass, replace
from hashlib import sha256
from itertools import combinations, permutations
from typing import assert_never

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from governor.domain.approval import Plan, VoteKind
from governor.domain.auditing import audited
from governor.domain.decision import Code, Decision
from governor.domain.digest import canonical_form
from governor.domain.errors import GovernorError
from governor.domain.executing import (
    Progression,
    claimed,
    in_doubt,
    not_applied,
    reclaimed,
    settled,
    withdrawn,
)
from governor.domain.execution import Applied, Execution, Outcome, Refused, VersionMismatch
from governor.domain.policy import Effect, Facts, Rule, Verdict, evaluate
from governor.domain.request import MutationRequest, Pending, PendingReason, StaleStrategy, Status
from governor.domain.resolution import resolve
from governor.domain.staleness import revalidated, stale_before_claim
from governor.domain.values import AuditId, ExecutionId, Identity, Micros, Reason, RequestId
from governor.domain.voting import revoked, voted
from governor.domain.workflow import (
    Advance,
    canceled,
    dependency_failed,
    expired,
    reason_resolved,
    submitted,
    superseded,
)
from tests.support.domain_builders import (
    CROWD,
    DEPENDENCY,
    DOUBT,
    INVALID,
    LEASE_US,
    OPERATOR,
    REQUESTER,
    SCHEDULE,
    STRAY,
    T0,
    actor_target,
    new_request,
    person,
    plan,
    plan_seen,
    requirement,
    step,
)

RESOLVED_BY_THE_WORLD = {"SCHEDULE", "DEPENDENCY"}
ENDS = {"EXECUTED", "REJECTED", "CANCELED", "EXPIRED", "SUPERSEDED", "FAILED"}

# The people there are; two names of one person each for Ann and for the requester.
VOTERS = (
    person("ann"),
    person("ann-laptop", alias_of="ann"),
    person("bob"),
    person("carol"),
    person("dave"),
    REQUESTER,
    person("rita-robot", alias_of="rita"),
)

EVERYBODY = frozenset(voter.person for voter in VOTERS) - {"rita"}

# Plans as the model reads them: per step, per requirement, whom it asks and how many of them.
ModelPlan = tuple[tuple[tuple[frozenset[str], int], ...], ...]
PLANS: tuple[ModelPlan, ...] = (
    (((frozenset({"ann", "bob", "rita"}), 1),),),
    (((frozenset({"ann", "bob", "carol"}), 2),),),
    (((frozenset({"ann", "bob"}), 1), (frozenset({"ann"}), 1)),),
    (
        ((frozenset({"ann", "bob"}), 1),),
        ((frozenset({"bob", "carol", "dave"}), 2),),
    ),
    (
        ((frozenset({"ann", "bob", "carol"}), 1),),
        ((frozenset({"ann"}), 1), (frozenset({"ann", "carol", "dave"}), 1)),
    ),
)


def plan_of(asked: ModelPlan) -> Plan:
    return plan(
        *(
            step(
                f"step-{place}",
                *(
                    requirement(f"{place}.{number}", *map(actor_target, sorted(names)), quorum=many)
                    for number, (names, many) in enumerate(requirements)
                ),
            )
            for place, requirements in enumerate(asked)
        )
    )


Places = list[frozenset[str]]


def is_seated(places: Places) -> bool:
    """Whether different people fill every place, by trying every way to seat them."""
    people = sorted(frozenset[str]().union(*places))
    return any(
        all(name in place for name, place in zip(seating, places, strict=True))
        for seating in permutations(people, len(places))
    )


def places_of(
    asked: ModelPlan, steps: range, there: Callable[[int], frozenset[str]]
) -> list[frozenset[str]]:
    """The places of these steps, each with those of its people who are there."""
    return [
        names & there(number)
        for number in steps
        for names, many in asked[number]
        for _ in range(many)
    ]


# ---------------------------------------------------------------- the model


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """What must be true of a request, in the fewest words."""

    status: str = "CREATED"
    waits: frozenset[str] = frozenset()
    strategy: str = "REJECT_STALE"
    asked: ModelPlan | None = None
    round: int = 1
    step: int = 0
    voted: tuple[tuple[str, int], ...] = ()  # who said yes in which step of this round
    version: str | None = None
    digest_version: str | None = None  # the version that the digest was made of
    execution: str = ""  # "", RUNNING, IN_DOUBT, or how the last one ended
    token: int = 0
    claims: int = 0

    @property
    def is_in_audit(self) -> bool:
        return "AUDIT" in self.waits

    @property
    def is_pending(self) -> bool:
        """Waiting for something other than a person's look at what happened."""
        return self.status == "PENDING" and not self.is_in_audit

    def ended(self, status: str, execution: str | None = None) -> "Model":
        return replace(
            self, status=status, waits=frozenset(), execution=execution or self.execution
        )

    def without(self, reason: str) -> "Model":
        left = self.waits - {reason}
        return replace(self, status="PENDING" if left else "APPROVED", waits=left)

    def asking_again(self, asked: ModelPlan, version: str) -> "Model":
        return replace(
            self,
            status="PENDING",
            waits=frozenset({"APPROVAL"}),
            asked=asked,
            round=self.round + 1 if self.asked else 1,
            step=0,
            voted=(),
            version=version,
            digest_version=version,
        )

    def overtaken(self, version: str) -> "Model":
        if self.strategy == "REJECT_STALE":
            return self.ended("REJECTED")
        if self.strategy == "REQUIRE_RENEWED_APPROVAL" and self.asked:
            return self.asking_again(self.asked, version)
        return replace(self, status="PENDING", waits=frozenset({"REVALIDATION"}))

    def in_step(self, number: int) -> frozenset[str]:
        return frozenset(who for who, where in self.voted if where == number)

    def filled(self) -> int:
        """How many steps the votes fill, from the first one on, each person counting once."""
        assert self.asked is not None
        for count in range(len(self.asked), 0, -1):
            if is_seated(places_of(self.asked, range(count), self.in_step)):
                return count
        return 0

    def places_filled(self) -> int:
        """How many places of the open step are filled at best, beside all those before it."""
        assert self.asked is not None
        before = places_of(self.asked, range(self.step), self.in_step)
        here = places_of(self.asked, range(self.step, self.step + 1), self.in_step)
        return max(
            len(some)
            for count in range(len(here) + 1)
            for some in combinations(here, count)
            if is_seated([*before, *some])
        )

    def can_go_on(self) -> bool:
        """Whether the people there could fill the rest, if the open step used up its voters."""
        assert self.asked is not None
        spent = self.in_step(self.step)

        def there(number: int) -> frozenset[str]:
            if number < self.step:
                return self.in_step(number)
            everybody = EVERYBODY if number == self.step else EVERYBODY - spent
            return everybody | (self.in_step(number) - (spent if number > self.step else set()))

        return is_seated(places_of(self.asked, range(len(self.asked)), there))

    def voted_by(self, name: str, kind: VoteKind) -> "Model | None":
        if not self.is_pending or "APPROVAL" not in self.waits or self.asked is None:
            return None
        is_asked = any(name in names for names, _ in self.asked[self.step])
        if name == "rita" or not is_asked or name in self.in_step(self.step):
            return None
        if kind is VoteKind.REJECT:
            without = replace(self, voted=tuple(vote for vote in self.voted if vote[0] != name))
            is_needed = without.filled() < self.step
            speaks_later = any(who == name and where > self.step for who, where in self.voted)
            return None if is_needed or speaks_later else self.ended("REJECTED")
        after = replace(self, voted=(*self.voted, (name, self.step)))
        if after.places_filled() <= self.places_filled():
            return None
        after = replace(after, step=after.filled())
        if after.step == len(self.asked):
            return after.without("APPROVAL")
        return None if self.can_go_on() and not after.can_go_on() else after

    def taken_back_by(self, name: str) -> "Model | None":
        if not (self.is_pending or self.status == "APPROVED") or self.asked is None:
            return None
        theirs = [place for place, (who, _) in enumerate(self.voted) if who == name]
        if not theirs:
            return None
        left = (*self.voted[: theirs[-1]], *self.voted[theirs[-1] + 1 :])
        after = replace(self, voted=left)
        after = replace(after, step=after.filled())
        if after.step == len(self.asked):
            return after
        return replace(after, status="PENDING", waits=after.waits | {"APPROVAL"})

    @property
    def is_consented(self) -> bool:
        """Whether different people, none of them the requester, fill every step that was asked."""
        if self.asked is None:
            return True
        return "rita" not in {name for name, _ in self.voted} and self.filled() == len(self.asked)


# ---------------------------------------------------------------- the machine

FACTS = Facts(
    tenant="acme",
    environment="",
    actor="rita",
    roles=frozenset(),
    groups=frozenset(),
    mutation_type="flag.set",
    state_type="flag",
    category="",
    risk="UNSPECIFIED",
    reversibility="UNSPECIFIED",
    blast_radius="UNSPECIFIED",
    versioned=True,
)
NOBODY = evaluate((), FACTS)
ALLOWING = evaluate((Rule(id="allow", effect=Effect.ALLOW),), FACTS)
DENYING = evaluate((Rule(id="deny", effect=Effect.DENY),), FACTS)


def deferring(asked: ModelPlan) -> Verdict:
    return evaluate((Rule(id="defer", effect=Effect.DEFER, steps=plan_of(asked).steps),), FACTS)


SUBMISSIONS = st.one_of(
    st.just((ALLOWING, None)),
    st.just((DENYING, None)),
    st.just((NOBODY, None)),
    st.sampled_from(PLANS).map(lambda asked: (deferring(asked), asked)),
    st.sampled_from(PLANS).map(lambda asked: (deferring(asked), asked)),
)
WAITS = st.lists(st.sampled_from((SCHEDULE, DEPENDENCY)), max_size=2, unique=True)
VERSIONS = st.sampled_from(("", "1", "2"))
EXPECTED = st.none() | VERSIONS
STRATEGIES = st.sampled_from(StaleStrategy)

KINDS = st.sampled_from((*[VoteKind.APPROVE] * 5, VoteKind.REJECT))
OUTCOMES = st.one_of(
    VERSIONS.map(lambda version: Applied(resulting_version=version)),
    st.just(Refused(reason=INVALID)),
    VERSIONS.map(lambda version: VersionMismatch(current_version=version)),
)
VIOLATIONS = st.sampled_from((None, None, None, INVALID))
FINDINGS = st.none() | VERSIONS.map(lambda version: Applied(resulting_version=version))

# Most lives go on.
EARLY_ENDS = st.sampled_from((*["no"] * 9, "expire", "withdraw", "fail the dependency"))
WITHDRAWALS = st.sampled_from(("CANCELED", "SUPERSEDED"))

Step = Advance | Progression


class Lives(RuleBasedStateMachine):
    """One request after the other, each from its submission to its end; the dead are kept."""

    def __init__(self) -> None:
        super().__init__()
        self.model = Model()
        self.request: MutationRequest | None = None
        self.execution: Execution | None = None
        self.former: list[Execution] = []
        self.dead: list[tuple[MutationRequest, MutationRequest]] = []
        self.ledger: list[Decision] = []
        self.lives = 0

    # --- What every event goes through ----------------------------------------------------------

    @property
    def now(self) -> Micros:
        return Micros(T0 + len(self.ledger))

    @property
    def alive(self) -> MutationRequest:
        assert self.request is not None
        return self.request

    @property
    def handled(self) -> Execution:
        """The execution that an owner speaks of; any there was, when none is running."""
        return self.execution or STRAY

    def happens(self, event: Callable[[], Step], predicted: Model | None) -> None:
        """The event leads where the model says; or it is refused, and nothing has changed."""
        before, handled = deepcopy(self.alive), deepcopy(self.execution)
        if predicted is None:
            with pytest.raises(GovernorError):
                event()
            assert (self.alive, self.execution) == (before, handled)
            return
        after = event()
        assert (self.alive, self.execution) == (before, handled), "an argument was changed"
        self.committed(after, predicted)

    def committed(self, after: Step, predicted: Model) -> None:
        before = self.request
        assert after.decisions, "a change without a decision"
        assert after.decisions[-1].status is after.request.status
        assert {decision.request_id for decision in after.decisions} == {after.request.id}
        if before is not None:
            assert not before.is_terminal, "a terminal request has changed"
            assert after.request.content == before.content
        self.ledger.extend(after.decisions)
        self.request, self.model = after.request, predicted
        if isinstance(after, Progression):
            self.execution = after.execution
        self.agrees()
        if after.request.is_terminal:
            self.dead.append((after.request, deepcopy(after.request)))
        if self.execution is not None and not self.execution.is_active:
            self.former.append(self.execution)

    def agrees(self) -> None:
        progress, model = self.alive.progress, self.model
        assert progress.status == model.status
        assert {pending.reason.value for pending in progress.pending} == model.waits
        assert progress.expected_version == model.version
        assert progress.executions == model.claims
        approval = progress.approval
        if model.status != "REJECTED":
            assert (approval is not None) is (model.asked is not None)
        if approval is not None and model.asked is not None:
            assert (approval.round, approval.open_step) == (model.round, model.step)
            assert approval.plan == plan_of(model.asked)
            yes = [vote for vote in approval.current_votes() if vote.kind is VoteKind.APPROVE]
            assert [(vote.voter.person, vote.step) for vote in yes] == list(model.voted)
        if self.execution is not None:
            assert self.execution.status == model.execution
            assert self.execution.fencing_token == model.token

    # --- Events before the execution ------------------------------------------------------------

    @precondition(lambda self: self.request is None or self.request.is_terminal)
    @rule(verdict=SUBMISSIONS, waits=WAITS, expected=EXPECTED, strategy=STRATEGIES)
    def submit(
        self,
        verdict: tuple[Verdict, ModelPlan | None],
        waits: list[Pending],
        expected: str | None,
        strategy: StaleStrategy,
    ) -> None:
        self.lives += 1
        said, asked = verdict
        request = new_request(f"r-{self.lives}", expected_version=expected, stale_strategy=strategy)
        reasons = {pending.reason.value for pending in waits} | ({"APPROVAL"} if asked else set())
        model = Model(
            status="PENDING" if reasons else "APPROVED",
            waits=frozenset(reasons),
            strategy=strategy.value,
            asked=asked,
            version=expected,
            digest_version=expected,
        )
        if said.effect is Effect.DENY:
            model = replace(model, status="REJECTED", waits=frozenset())
        self.request, self.execution, self.former = None, None, []
        after = submitted(request, verdict=said, waits=waits, actor=REQUESTER, now=self.now)
        self.committed(after, model)

    def submit_once_more(
        self, verdict: tuple[Verdict, ModelPlan | None], waits: list[Pending]
    ) -> None:
        self.happens(
            lambda: submitted(
                self.alive, verdict=verdict[0], waits=waits, actor=REQUESTER, now=self.now
            ),
            None,
        )

    @precondition(lambda self: "APPROVAL" in self.model.waits)
    @rule(voter=st.sampled_from(VOTERS), kind=KINDS)
    def vote(self, voter: Identity, kind: VoteKind) -> None:
        self.happens(
            lambda: voted(
                self.alive,
                voter=voter,
                kind=kind,
                seen_digest=self.alive.progress.digest,
                seen_plan=plan_seen(self.alive),
                electorate=CROWD,
                now=self.now,
                reason=None,
            ),
            self.model.voted_by(voter.person, kind),
        )

    @precondition(lambda self: bool(self.model.voted))
    @rule(voter=st.sampled_from(VOTERS))
    def take_it_back(self, voter: Identity) -> None:
        self.happens(
            lambda: revoked(
                self.alive, actor=voter, reason=Reason(code="ON_SECOND_THOUGHT"), now=self.now
            ),
            self.model.taken_back_by(voter.person),
        )

    def vote_on_another_content(self, voter: Identity, kind: VoteKind, version: str | None) -> None:
        seen = sha256(canonical_form(self.alive.content.but(tags=("other",)), version)).digest()
        self.happens(
            lambda: voted(
                self.alive,
                voter=voter,
                kind=kind,
                seen_digest=seen,
                seen_plan=plan_seen(self.alive),
                electorate=CROWD,
                now=self.now,
                reason=None,
            ),
            None,
        )

    @precondition(lambda self: bool(self.model.waits & RESOLVED_BY_THE_WORLD))
    @rule(reason=st.sampled_from(PendingReason))
    def resolve_a_reason(self, reason: PendingReason) -> None:
        resolves = reason.value in self.model.waits & RESOLVED_BY_THE_WORLD
        self.happens(
            lambda: reason_resolved(self.alive, reason, now=self.now),
            self.model.without(reason.value) if resolves else None,
        )

    def fail_the_dependency(self) -> None:
        waits = "DEPENDENCY" in self.model.waits
        self.happens(
            lambda: dependency_failed(
                self.alive, on=RequestId("r-0"), status=Status.FAILED, now=self.now
            ),
            self.model.ended("REJECTED") if waits else None,
        )

    def withdraw(self, status: str) -> None:
        is_running = self.model.status == "EXECUTING"
        ends = is_running or self.model.is_pending or self.model.status == "APPROVED"

        def end() -> Step:
            ending = (
                canceled(self.alive, actor=OPERATOR, now=self.now, comment="")
                if status == "CANCELED"
                else superseded(self.alive, by=RequestId("r-next"), actor=REQUESTER, now=self.now)
            )
            return withdrawn(self.handled, ending, now=self.now) if is_running else ending

        execution = "NOT_APPLIED" if is_running else None
        self.happens(end, self.model.ended(status, execution) if ends else None)

    def expire(self) -> None:
        ends = self.model.is_pending or self.model.status == "APPROVED"
        self.happens(
            lambda: expired(self.alive, now=self.now),
            self.model.ended("EXPIRED") if ends else None,
        )

    # --- Events of the execution ----------------------------------------------------------------

    @precondition(lambda self: self.model.status == "APPROVED")
    @rule(asks_first=st.booleans())
    def claim(self, asks_first: bool) -> None:
        """With the version that GetState said, or without where the host compares by itself."""
        progress, model = self.alive.progress, self.model
        current = (progress.expected_version or "") if asks_first else None
        resolution = (
            None
            if current is None
            else resolve(progress.expected_version, current, self.alive.content.stale_strategy)
        )
        id = f"x-{self.lives}-{model.claims + 1}"
        self.happens(
            lambda: claimed(
                self.alive,
                execution_id=ExecutionId(id),
                audit_id=AuditId(f"audit-{id}"),
                starter=OPERATOR,
                now=self.now,
                lease_us=LEASE_US,
                resolution=resolution,
                current_version=current,
            ),
            replace(
                model, status="EXECUTING", execution="RUNNING", token=1, claims=model.claims + 1
            )
            if model.status == "APPROVED"
            else None,
        )

    @precondition(lambda self: self.model.status == "APPROVED" and self.model.version is not None)
    @rule()
    def find_it_stale(self) -> None:
        """GetState says, before the claim, that somebody else has moved the state on."""
        moved = f"{self.model.version}+"
        self.happens(
            lambda: stale_before_claim(self.alive, current_version=moved, now=self.now),
            self.model.overtaken(moved) if self.model.status == "APPROVED" else None,
        )

    @precondition(lambda self: self.model.status == "EXECUTING")
    @rule(lease_lost=st.booleans())
    def reclaim(self, lease_lost: bool) -> None:
        model = self.model
        self.happens(
            lambda: reclaimed(
                self.alive, self.handled, now=self.now, lease_us=LEASE_US, lease_lost=lease_lost
            ),
            replace(model, token=model.token + 1) if model.status == "EXECUTING" else None,
        )

    @precondition(lambda self: self.model.status == "EXECUTING")
    @rule(version=VERSIONS)
    def apply(self, version: str) -> None:
        self.settle(Applied(resulting_version=version))

    @precondition(lambda self: self.model.status == "EXECUTING")
    @rule()
    def refuse(self) -> None:
        self.settle(Refused(reason=INVALID))

    @precondition(lambda self: self.model.status == "EXECUTING")
    @rule()
    def mismatch(self) -> None:
        self.settle(VersionMismatch(current_version=f"{self.model.version}+"))

    def settle(self, outcome: Outcome) -> None:
        match outcome:
            case Applied():
                after = self.model.ended("EXECUTED", "APPLIED")
            case Refused():
                after = self.model.ended("FAILED", "REFUSED")
            case VersionMismatch():
                after = replace(self.model.overtaken(outcome.current_version), execution="STALE")
            case _:
                assert_never(outcome)
        self.happens(
            lambda: settled(self.alive, self.handled, outcome, attempts=1, now=self.now),
            after if self.model.status == "EXECUTING" else None,
        )

    @precondition(lambda self: self.model.status == "EXECUTING")
    @rule()
    def learn_that_nothing_was_applied(self) -> None:
        after = replace(self.model, status="APPROVED", execution="NOT_APPLIED")
        self.happens(
            lambda: not_applied(self.alive, self.handled, attempts=1, now=self.now, reason=DOUBT),
            after if self.model.status == "EXECUTING" else None,
        )

    @precondition(lambda self: self.model.status == "EXECUTING")
    @rule()
    def fall_into_doubt(self) -> None:
        after = replace(
            self.model, status="PENDING", waits=frozenset({"AUDIT"}), execution="IN_DOUBT"
        )
        self.happens(
            lambda: in_doubt(self.alive, self.handled, attempts=1, now=self.now, reason=DOUBT),
            after if self.model.status == "EXECUTING" else None,
        )

    @precondition(lambda self: self.model.is_in_audit)
    @rule(found=FINDINGS)
    def audit(self, found: Applied | None) -> None:
        after = (
            self.model.ended("FAILED", "NOT_APPLIED")
            if found is None
            else self.model.ended("EXECUTED", "APPLIED")
        )
        self.happens(
            lambda: audited(
                self.alive,
                self.handled,
                found=found,
                actor=OPERATOR,
                now=self.now,
                reason=Reason(code="LOOKED"),
            ),
            after if self.model.is_in_audit else None,
        )

    @precondition(lambda self: "REVALIDATION" in self.model.waits)
    @rule(current=VERSIONS)
    def revalidate_to_the_same(self, current: str) -> None:
        asked = self.model.asked
        self.revalidate((deferring(asked), asked) if asked else (ALLOWING, None), None, current)

    @precondition(lambda self: "REVALIDATION" in self.model.waits)
    @rule(verdict=SUBMISSIONS, violation=VIOLATIONS, current=VERSIONS)
    def revalidate(
        self,
        verdict: tuple[Verdict, ModelPlan | None],
        violation: Reason | None,
        current: str,
    ) -> None:
        said, asked = verdict
        model = self.model
        if violation is not None:
            after = model.ended("FAILED")
        elif said.effect is Effect.DENY:
            after = model.ended("REJECTED")
        elif asked is None or (asked == model.asked and "APPROVAL" not in model.waits):
            after = replace(model.without("REVALIDATION"), version=current)
        else:
            after = model.asking_again(asked, current)
        self.happens(
            lambda: revalidated(
                self.alive,
                verdict=said,
                violation=violation,
                current_version=current,
                now=self.now,
            ),
            after if "REVALIDATION" in model.waits else None,
        )

    @precondition(lambda self: bool(self.former) and self.request is not None)
    @rule(data=st.data(), outcome=st.just(Applied(resulting_version="late")))
    def hear_late_of_a_former_execution(self, data: st.DataObject, outcome: Outcome) -> None:
        former = data.draw(st.sampled_from(self.former))
        self.happens(lambda: settled(self.alive, former, outcome, attempts=1, now=self.now), None)

    # --- Events that are rare, or out of place --------------------------------------------------

    @precondition(lambda self: self.request is not None)
    @rule(data=st.data(), how=EARLY_ENDS)
    def end_early(self, data: st.DataObject, how: str) -> None:
        if how == "expire":
            self.expire()
        elif how == "withdraw":
            self.withdraw(data.draw(WITHDRAWALS))
        elif how == "fail the dependency":
            self.fail_the_dependency()

    @precondition(lambda self: self.request is not None)
    @rule(data=st.data())
    def try_what_is_out_of_place(self, data: st.DataObject) -> None:
        """Any event at any time: the model says whether it may happen, mostly that it may not."""
        draw = data.draw
        events: dict[str, Callable[[], None]] = {
            "submit once more": lambda: self.submit_once_more(draw(SUBMISSIONS), draw(WAITS)),
            "vote": lambda: self.vote(draw(st.sampled_from(VOTERS)), draw(KINDS)),
            "take a vote back": lambda: self.take_it_back(draw(st.sampled_from(VOTERS))),
            "vote on another content": lambda: self.vote_on_another_content(
                draw(st.sampled_from(VOTERS)), draw(KINDS), draw(EXPECTED)
            ),
            "resolve": lambda: self.resolve_a_reason(draw(st.sampled_from(PendingReason))),
            "fail the dependency": self.fail_the_dependency,
            "claim": lambda: self.claim(draw(st.booleans())),
            "find it stale": self.find_it_stale,
            "reclaim": lambda: self.reclaim(draw(st.booleans())),
            "settle": lambda: self.settle(draw(OUTCOMES)),
            "not applied": self.learn_that_nothing_was_applied,
            "in doubt": self.fall_into_doubt,
            "audit": lambda: self.audit(draw(FINDINGS)),
            "revalidate": lambda: self.revalidate(
                draw(SUBMISSIONS), draw(VIOLATIONS), draw(VERSIONS)
            ),
        }
        events[draw(st.sampled_from(sorted(events)))]()

    # --- Invariants -----------------------------------------------------------------------------

    @invariant()
    def nothing_runs_that_was_not_approved_by_others_on_this_very_digest(self) -> None:
        """Invariants 1 and 8."""
        if self.request is None or self.model.status not in {"APPROVED", "EXECUTING", "EXECUTED"}:
            return
        assert self.model.is_consented
        progress = self.request.progress
        approval = progress.approval
        if approval is None:
            return
        assert approval.is_satisfied
        people = [(vote.voter.person, vote.step) for vote in approval.current_votes()]
        assert self.request.requester not in {person for person, _ in people}
        assert len(people) == len(set(people))
        assert {vote.kind for vote in approval.current_votes()} == {VoteKind.APPROVE}

    @invariant()
    def what_was_approved_is_what_runs(self) -> None:
        """Invariant 2."""
        if self.request is None:
            return
        progress = self.request.progress
        form = canonical_form(self.request.content, self.model.digest_version)
        assert progress.digest == sha256(form).digest()
        if progress.approval is not None:
            for vote in progress.approval.current_votes():
                assert vote.digest == progress.digest
        if self.execution is not None and self.execution.is_active:
            assert self.execution.digest == progress.digest
            assert self.execution.expected_version == progress.expected_version
            assert self.execution.id == progress.execution_id

    @invariant()
    def a_claim_follows_an_approval_in_the_ledger(self) -> None:
        """Invariants 1 and 3, from the decisions alone, as an auditor reads them."""
        standing: dict[str, Status] = {}
        for decision in self.ledger:
            last = standing.get(decision.request_id)
            if decision.code is Code.CLAIMED:
                assert last in (Status.APPROVED, Status.EXECUTING)
            if last is not None and last.value in ENDS:
                assert decision.status is last, "a decision after the end changed the status"
            assert decision.status is not None
            standing[decision.request_id] = decision.status
        if self.request is not None:
            assert standing[self.request.id] is self.request.status

    @invariant()
    def what_has_ended_has_not_changed(self) -> None:
        """Invariant 3."""
        for request, as_it_ended in self.dead:
            assert request == as_it_ended
            assert request.status.value in ENDS

    @invariant()
    def absence_permits_nothing(self) -> None:
        """Invariant 7."""
        if self.request is None or self.request.status in (Status.REJECTED, Status.FAILED):
            return
        verdict = self.request.progress.verdict
        assert verdict is not None
        assert verdict.effect is not Effect.DENY
        assert verdict.rules

    @invariant()
    def the_state_is_taken_exactly_while_an_execution_is_active(self) -> None:
        if self.request is None:
            return
        is_taken = self.execution is not None and self.execution.is_active
        assert is_taken is (self.model.status == "EXECUTING" or self.model.is_in_audit)


Lives.TestCase.settings = settings(max_examples=200, stateful_step_count=50, deadline=None)
TestLives = Lives.TestCase
