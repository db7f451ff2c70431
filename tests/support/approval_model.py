"""What approvals should come to, by brute force: a reference that shares no counting with Governor.

It keeps every vote as it was acknowledged and tries all ways to give the people places. It is told
what the ledger says, entry by entry, and asks of each whether it was right in that moment.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import product

from governor.domain.approval import Plan, Requirement, StepMode, Target, VoteKind
from governor.domain.decision import Category, Code, Decision
from governor.domain.errors import (
    DigestMismatch,
    GovernorError,
    IllegalTransition,
    MissingRole,
    NotEligible,
    NotFound,
    NoVote,
    PlanMismatch,
)
from governor.domain.request import TERMINAL, PendingReason, Status
from governor.domain.values import Micros, RequestId, TargetKind
from tests.support.builders import MICROS_PER_SECOND

NOBODY = ""
DAWN = Micros(0)
Refusals = set[type[GovernorError]]
Place = tuple[int, Requirement]
Voice = tuple[int, frozenset[str]]
Wait = tuple[str, str]
"""The reason and the name of what is waited for."""
STANDING = {
    Code.PENDING: Status.PENDING,
    Code.APPROVED: Status.APPROVED,
    Code.CLAIMED: Status.EXECUTING,
    Code.REJECTED: Status.REJECTED,
    Code.CANCELED: Status.CANCELED,
    Code.EXPIRED: Status.EXPIRED,
    Code.SUPERSEDED: Status.SUPERSEDED,
    Code.EXECUTED: Status.EXECUTED,
    Code.FAILED: Status.FAILED,
}
"""Where a request stands once this was decided."""


@dataclass(kw_only=True)
class Account:
    """One name that somebody calls under, and what it holds now."""

    id: str
    person: str
    roles: set[str] = field(default_factory=set)
    groups: set[str] = field(default_factory=set)

    def is_named_by(self, target: Target) -> bool:
        match target.kind:
            case TargetKind.ACTOR:
                return target.name in (self.id, self.person)
            case TargetKind.ROLE:
                return target.name in self.roles
            case TargetKind.GROUP:
                return target.name in self.groups

    def is_asked_by(self, requirement: Requirement) -> bool:
        return any(self.is_named_by(target) for target in requirement.targets)


@dataclass(kw_only=True)
class Town:
    """Who there is now, and who may vote in whose place from when to when."""

    accounts: dict[str, Account]
    delegations: list[tuple[str, str, Micros, Micros]] = field(default_factory=list)

    def find(self, id: str) -> Account | None:
        return self.accounts.get(id)

    def members(self, requirement: Requirement) -> set[str]:
        return {
            one.person
            for one in self.accounts.values()
            if "approver" in one.roles and one.is_asked_by(requirement)
        }

    def giver(self, actor: Account, person: str, at: Micros) -> Account | None:
        """The account by which `actor` votes in that person's place."""
        for giver, to, starts, ends in self.delegations:
            gives, takes = self.find(giver), self.find(to)
            if (
                gives is not None
                and takes is not None
                and gives.person == person
                and takes.person == actor.person
                and "approver" in gives.roles
                and starts <= at < ends
            ):
                return gives
        return None


@dataclass(kw_only=True)
class Ballot:
    """One vote as it was acknowledged. `behalf` is the account in whose place it was given."""

    actor: str
    person: str
    behalf: str
    behalf_person: str
    kind: VoteKind
    round: int
    step: int
    requirements: tuple[str, ...]
    is_gone: bool = False

    @property
    def persons(self) -> set[str]:
        return {self.person, self.behalf_person} - {NOBODY}


@dataclass(kw_only=True)
class Life:
    """One request. What it waits for beside votes stands in `waits`, with the time that decides."""

    id: RequestId
    town: Town
    requester: str
    plan: Plan | None
    expires_at: Micros
    gates: dict[Wait, int | None] = field(default_factory=dict)
    window_seconds: int | None = None
    schedule_at: Micros | None = None
    digest: bytes = b""
    glass: tuple[str, str] | None = None
    status: Status = Status.CREATED
    waits: dict[Wait, Micros | None] = field(default_factory=dict)
    execute_before: Micros | None = None
    round: int = 1
    open_step: int = 0
    opened_at: Micros = DAWN
    expired: set[str] = field(default_factory=set)
    ballots: list[Ballot] = field(default_factory=list)
    codes: list[Code] = field(default_factory=list)

    # --- By brute force -------------------------------------------------------------------------

    @property
    def steps(self) -> int:
        return len(self.plan.steps) if self.plan is not None else 0

    @property
    def is_satisfied(self) -> bool:
        return self.glass is not None or self.open_step == self.steps

    @property
    def is_asking(self) -> bool:
        return self.status is Status.PENDING and not self.is_satisfied

    def counting(self) -> list[Ballot]:
        return [one for one in self.ballots if one.round == self.round and not one.is_gone]

    def fallen(self, number: int) -> set[str]:
        """The requirements of a step that were rejected, or not met in time."""
        assert self.plan is not None
        against = [
            id
            for one in self.counting()
            if one.step == number and one.kind is VoteKind.REJECT
            for id in one.requirements
        ]
        out = {
            item.id
            for item in self.plan.steps[number].requirements
            if against.count(item.id) >= item.rejections
        }
        return out | (self.expired if number == self.open_step else set())

    def ways(self, number: int, *, fallen_close: bool = False) -> list[list[Requirement]]:
        """The sets of requirements of which meeting one satisfies a step."""
        assert self.plan is not None
        step, fallen = self.plan.steps[number], self.fallen(number)
        left = [item for item in step.requirements if item.id not in fallen]
        if step.mode is StepMode.ANY_OF:
            return [[item] for item in left]
        if fallen_close and fallen:
            return []
        return [list(step.requirements)]

    def voice(self, number: int, person: str) -> Voice:
        """Everybody who speaks with one voice with a person: whom they voted for, and so on."""
        assert self.plan is not None
        scope = number if self.plan.repeat_voters else 0
        together = {person}
        bonds = [
            one.persons
            for one in self.counting()
            if not self.plan.repeat_voters or one.step == number
        ]
        for _ in bonds:
            for bond in bonds:
                if bond & together:
                    together |= bond
        return scope, frozenset(together)

    def given(self, number: int, item: Requirement) -> set[Voice]:
        return {
            self.voice(number, one.person)
            for one in self.counting()
            if one.step == number
            and one.kind is not VoteKind.REJECT
            and item.id in one.requirements
        }

    def filled(self) -> int:
        """How many steps the votes fill from the first one on."""
        for count in range(self.steps, 0, -1):
            for chosen in product(*(self.ways(number) for number in range(count))):
                if has_seats_for(places(chosen), self.given):
                    return count
        return 0

    def lacks(self) -> list[int]:
        """How many votes each way through the open step lacks, whoever is counted before it."""
        return [self._lacks(way) for way in self.ways(self.open_step)]

    def _lacks(self, way: list[Requirement]) -> int:
        here = [(self.open_step, item) for item in way for _ in range(item.quorum)]
        before = [
            places(chosen)
            for chosen in product(*(self.ways(number) for number in range(self.open_step)))
        ]
        for missing in range(len(here) + 1):
            for kept in subsets(here, len(here) - missing):
                if any(has_seats_for([*first, *kept], self.given) for first in before):
                    return missing
        return len(here) + 1

    def open_requirements(self) -> set[str]:
        """The requirements of the open step that still lack votes, the most urgent filled first."""
        assert self.plan is not None
        step = self.plan.steps[self.open_step]
        if step.mode is StepMode.ANY_OF:
            return {way[0].id for way in self.ways(self.open_step)}
        urgent = sorted(step.requirements, key=lambda item: item.deadline_seconds or 10**9)
        lacking: set[str] = set()
        for chosen in product(*(self.ways(number) for number in range(self.open_step))):
            kept = places(chosen)
            if not has_seats_for(kept, self.given):
                continue
            lacking = set()
            for place in [(self.open_step, item) for item in urgent for _ in range(item.quorum)]:
                if has_seats_for([*kept, place], self.given):
                    kept.append(place)
                else:
                    lacking.add(place[1].id)
            if not lacking:
                break
        return lacking

    def deadline_of(self, item: Requirement) -> Micros | None:
        if item.deadline_seconds is None:
            return None
        return Micros(self.opened_at + item.deadline_seconds * MICROS_PER_SECOND)

    def due_at(self) -> Micros | None:
        """When the next requirement that is still open expires."""
        if not self.is_asking or self.plan is None:
            return None
        left = self.open_requirements()
        moments = [
            moment
            for item in self.plan.steps[self.open_step].requirements
            if item.id in left and (moment := self.deadline_of(item)) is not None
        ]
        return min(moments, default=None)

    def silent(self, number: int) -> set[str]:
        """Who has had their say in a step."""
        assert self.plan is not None
        return {
            person
            for one in self.counting()
            if one.step == number or (one.kind is VoteKind.REJECT and not self.plan.repeat_voters)
            for person in one.persons
        }

    def is_within_reach(self, at: Micros, *, spent: bool = False) -> bool:
        """Whether the people there are can still fill all of it; with `spent` without those, in
        later steps, who have voted in the open one.
        """
        busy = {
            self.voice(one.step, one.person)
            for one in self.counting()
            if spent and one.step == self.open_step
        }

        def able(number: int, item: Requirement) -> set[Voice]:
            given = self.given(number, item)
            if number < self.open_step:
                return given
            until = self.deadline_of(item)
            if number == self.open_step and until is not None and until <= at:
                return given
            people = self.town.members(item) - self.silent(number) - {self.requester}
            all_of_them = given | {self.voice(number, person) for person in people}
            return all_of_them if number == self.open_step else all_of_them - busy

        choices = [self.ways(number, fallen_close=True) for number in range(self.steps)]
        return any(has_seats_for(places(chosen), able) for chosen in product(*choices))

    # --- Who may do what ------------------------------------------------------------------------

    def why_no_vote(
        self,
        actor: str,
        kind: VoteKind,
        at: Micros,
        *,
        behalf: str = NOBODY,
        digest: bytes = b"",
        is_the_plan: bool = True,
    ) -> Refusals:
        """For what a vote may be refused; empty when it must be taken."""
        who = self.town.find(actor)
        if who is None:
            return {NotFound}
        if "approver" not in who.roles:
            return {MissingRole}
        no: Refusals = set()
        holder = self.town.giver(who, behalf, at) if behalf else who
        if holder is None:
            no.add(NotEligible)
        if not self.is_asking:
            return no | {IllegalTransition}
        if digest and digest != self.digest:
            no.add(DigestMismatch)
        if not is_the_plan:
            no.add(PlanMismatch)
        persons = {who.person} | ({behalf} if behalf else set())
        if self.requester in persons or behalf == who.person:
            no.add(NotEligible)
        if holder is None or no or self._is_out_of_time(at):
            return no or {NotEligible}
        return self._why_not_needed(who, holder if behalf else None, kind, at)

    def _why_not_needed(
        self, who: Account, behalf: Account | None, kind: VoteKind, at: Micros
    ) -> Refusals:
        """Whether the open step asks for this vote, comes nearer by it, and leaves enough for the
        rest.
        """
        asked = self.asked(behalf or who, kind, at)
        ballot = self.ballot_of(who, behalf, kind, asked)
        if not asked or ballot.persons & self.silent(self.open_step):
            return {NotEligible}
        if kind is VoteKind.REJECT:
            return {NotEligible} if self._counts_elsewhere(ballot.persons) else set()
        tried = self._with([*self.ballots, ballot])
        if not any(a < b for a, b in zip(tried.lacks(), self.lacks(), strict=True)):
            return {NotEligible}
        tried.recount(at)
        if self.is_within_reach(at, spent=True) and not tried.is_within_reach(at, spent=True):
            return {NotEligible}
        return set()

    def _is_out_of_time(self, at: Micros) -> bool:
        """Whether what was not met in time has ended it, though nobody has said so yet."""
        assert self.plan is not None
        due_at, step = self.due_at(), self.plan.steps[self.open_step]
        return step.mode is StepMode.ALL_OF and due_at is not None and due_at <= at

    def asked(self, holder: Account, kind: VoteKind, at: Micros) -> tuple[str, ...]:
        """The requirements of the open step that a vote would count for, or against."""
        assert self.plan is not None
        fallen = self.fallen(self.open_step)
        return tuple(
            item.id
            for item in self.plan.steps[self.open_step].requirements
            if item.id not in fallen
            and holder.is_asked_by(item)
            and ((until := self.deadline_of(item)) is None or at < until)
            and kind in (item.meaning, VoteKind.REJECT)
        )

    def ballot_of(
        self, who: Account, behalf: Account | None, kind: VoteKind, asked: tuple[str, ...]
    ) -> Ballot:
        return Ballot(
            actor=who.id,
            person=who.person,
            behalf=behalf.id if behalf else NOBODY,
            behalf_person=behalf.person if behalf else NOBODY,
            kind=kind,
            round=self.round,
            step=self.open_step,
            requirements=asked,
        )

    def why_no_revocation(self, actor: str) -> Refusals:
        who = self.town.find(actor)
        if who is None:
            return {NotFound}
        if "approver" not in who.roles:
            return {MissingRole}
        if self.status not in (Status.PENDING, Status.APPROVED):
            return {IllegalTransition}
        return set() if self.last_of(who.person) else {NoVote}

    def last_of(self, person: str) -> Ballot | None:
        theirs = [one for one in self.counting() if person in one.persons]
        return theirs[-1] if theirs else None

    def is_eligible(self, ballot: Ballot) -> bool:
        """Whether its voter would be asked today for all that it counts for."""
        assert self.plan is not None
        for id, person in ((ballot.actor, ballot.person), (ballot.behalf, ballot.behalf_person)):
            if id == NOBODY:
                continue
            now = self.town.find(id)
            if now is None or "approver" not in now.roles:
                return False
            if now.person != person or now.person == self.requester:
                return False
        holder = self.town.find(ballot.behalf or ballot.actor)
        assert holder is not None
        return all(
            holder.is_asked_by(item)
            for item in self.plan.steps[ballot.step].requirements
            if item.id in ballot.requirements
        )

    def is_glass_held(self) -> bool:
        """Whether whoever broke it may still do so."""
        if self.glass is None:
            return False
        id, person = self.glass
        now = self.town.find(id)
        return now is not None and now.person == person and "break_glass" in now.roles

    def _counts_elsewhere(self, persons: set[str]) -> bool:
        assert self.plan is not None
        if self.plan.repeat_voters:
            return False
        theirs = [one for one in self.counting() if one.persons & persons]
        if any(one.step > self.open_step for one in theirs):
            return True
        others = [one for one in self.ballots if one not in theirs]
        without = self._with(others)
        return without.filled() < self.open_step

    def _with(self, ballots: list[Ballot]) -> "Life":
        """The same life with other votes."""
        return Life(
            **{name: getattr(self, name) for name in self.__dataclass_fields__}
            | {"ballots": ballots, "expired": set(self.expired)}
        )

    # --- What the ledger says -------------------------------------------------------------------

    def recount(self, at: Micros) -> None:
        """A step that opens, opens anew."""
        if self.plan is None or self.glass is not None:
            return
        filled = self.filled()
        if filled != self.open_step:
            self.open_step, self.opened_at, self.expired = filled, at, set()

    def hear(self, said: Decision) -> None:
        """One decision about this request. Raises AssertionError where it should not have been."""
        self.codes.append(said.code)
        match said.code.category:
            case Category.APPROVAL:
                self._hear_approval(said)
            case Category.CHECK:
                self._hear_gate(said)
            case Category.LIFECYCLE:
                self._hear_lifecycle(said)
            case Category.EXECUTION if said.code is Code.CLAIMED:
                self._hear_claim(said)
            case Category.VERSION_RESOLUTION:
                if said.code is Code.VERSION_RENEWED_APPROVAL_REQUIRED:
                    self._renew(said.at)
            case Category.BREAK_GLASS if said.code is Code.BREAK_GLASS_USED:
                assert self.is_glass_held(), "who broke the glass never held the role"
            case _:
                pass
        self.digest = said.digest
        if self.status in TERMINAL:
            assert said.code.category is Category.BREAK_GLASS, "it went on after its end"
        self.status = STANDING.get(said.code, self.status)
        if said.code is Code.RESOLVED and said.status is Status.APPROVED:
            self.status = Status.APPROVED  # fenced, and free to be claimed again

    def _hear_approval(self, said: Decision) -> None:
        match said.code:
            case Code.APPROVAL_GRANTED | Code.APPROVAL_REJECTED:
                self._hear_vote(said)
            case Code.APPROVAL_REVOKED:
                ballot = self.last_of(said.actor.person)
                assert ballot is not None, f"{said.actor.id} took back a vote that nobody gave"
                assert not self.why_no_revocation(said.actor.id)
                ballot.is_gone = True
                self.recount(said.at)
            case Code.APPROVAL_VOIDED:
                self._hear_void(said)
            case Code.APPROVAL_EXPIRED:
                self._hear_lapse(said)
            case Code.QUORUM_SATISFIED:
                assert self.plan is not None
                names = [step.name for step in self.plan.steps[: self.filled()]]
                assert said.facts["step"] in names, "a quorum without the votes"
                self._check_all_are_eligible()
            case Code.APPROVAL_REQUESTED:
                assert self.plan is not None
                assert not self.is_satisfied, "nobody had to be asked any more"
                assert said.facts["step"] == self.plan.steps[self.open_step].name
                assert said.facts["round"] == str(self.round)
            case code:
                raise AssertionError(f"the model does not know {code}")

    def _hear_lifecycle(self, said: Decision) -> None:
        match said.code:
            case Code.SUBMITTED:
                self.opened_at = said.at
                self.waits |= self._gates_from(said.at, self.gates)
                if self.schedule_at is not None:
                    self.waits[PendingReason.SCHEDULE, ""] = self.schedule_at
            case Code.PENDING | Code.APPROVED:
                self._hear_standing(said)
            case Code.EXPIRED:
                self._hear_end_of_time(said)
            case _:
                pass

    def _hear_vote(self, said: Decision) -> None:
        """It was one that had to be taken, and it ends the request exactly when it should."""
        kind, behalf = VoteKind(said.facts["meaning"]), said.facts.get("on_behalf_of", NOBODY)
        no = self.why_no_vote(
            said.actor.id,
            kind,
            said.at,
            behalf=behalf,
            digest=bytes.fromhex(said.facts["digest"]),
        )
        assert not no, f"a vote that should have been refused: {no}"
        who = self.town.find(said.actor.id)
        assert who is not None
        held = who.person, frozenset(who.roles), frozenset(who.groups)
        told = said.actor.person, said.actor.roles, said.actor.groups
        assert held == told, "it was recorded with what they do not hold"
        giver = self.town.giver(who, behalf, said.at) if behalf else None
        asked = self.asked(giver or who, kind, said.at)
        assert said.facts["requirements"] == ",".join(asked)
        fallen = self.fallen(self.open_step)
        self.ballots.append(self.ballot_of(who, giver, kind, asked))
        if kind is not VoteKind.REJECT:
            self.recount(said.at)
            return
        is_over = self._is_over(fallen) or not self.is_within_reach(said.at)
        assert (said.status is Status.REJECTED) is is_over, "rejected, or not, against the plan"

    def _is_over(self, fallen_before: set[str]) -> bool:
        """Whether what has fallen now ends the request."""
        assert self.plan is not None
        fallen, step = self.fallen(self.open_step), self.plan.steps[self.open_step]
        if fallen == fallen_before:
            return False
        return step.mode is StepMode.ALL_OF or not self.ways(self.open_step)

    def _hear_void(self, said: Decision) -> None:
        reason = said.reason.code if said.reason is not None else ""
        if reason == "BREAK_GLASS_ROLE_LOST":
            assert self.glass is not None
            assert not self.is_glass_held(), "who broke the glass still may"
            self.glass, self.opened_at = None, said.at
            self.waits.clear()
        elif reason == "NOT_ELIGIBLE_ANY_MORE":
            voided = [
                one
                for one in self.counting()
                if one.actor == said.facts["voter"] and one.kind.value == said.facts["meaning"]
            ]
            ill = [one for one in voided if not self.is_eligible(one)]
            assert ill, f"the vote of {said.facts['voter']} was good"
            ill[0].is_gone = True
            self.recount(said.at)
        elif self.codes[-2] is not Code.VERSION_RENEWED_APPROVAL_REQUIRED:
            self._renew(said.at)  # policy asked anew

    def _renew(self, at: Micros) -> None:
        self.round, self.open_step, self.opened_at, self.expired = self.round + 1, 0, at, set()
        self.glass = None
        self.waits = self._gates_from(
            at, {wait: s for wait, s in self.gates.items() if wait[0] != PendingReason.QUOTA}
        )

    def _hear_lapse(self, said: Decision) -> None:
        assert self.plan is not None
        id = said.facts["requirement"]
        (item,) = (one for one in self.plan.steps[self.open_step].requirements if one.id == id)
        until = self.deadline_of(item)
        assert until is not None
        assert until <= said.at, f"{id} was ended before its time"
        assert id in self.open_requirements(), f"{id} had been met"
        self.expired.add(id)

    def _hear_gate(self, said: Decision) -> None:
        wait = said.facts.get("reason", ""), said.facts.get("name", "")
        if wait == ("", ""):
            return  # a validation by the host
        assert wait in self.waits, f"{wait} was answered and not waited for"
        until = self.waits[wait]
        if said.actor.id == "governor":
            assert until is not None
            assert until <= said.at, f"{wait} was ended before its time"
            is_quota = wait[0] == PendingReason.QUOTA
            assert (said.code is Code.CHECK_PASSED) is is_quota, "silence was taken for a yes"
        else:
            assert said.actor.person != self.requester, "the requester passed their own gate"
        if said.code is Code.CHECK_PASSED:
            del self.waits[wait]
        else:
            assert said.status is Status.REJECTED

    def _hear_standing(self, said: Decision) -> None:
        resolved = said.facts.get("resolved")
        if resolved == PendingReason.SCHEDULE:
            until = self.waits.pop((resolved, ""))
            assert until is not None
            assert until <= said.at, "before its schedule"
        if resolved == PendingReason.APPROVAL:
            assert self.is_satisfied, "resolved without the votes"
        if said.code is Code.PENDING:
            self.execute_before = None
            return
        assert self.is_satisfied, "approved without the votes"
        assert not self.waits, f"approved while {self.waits} are waited for"
        if self.status is not Status.EXECUTING:
            window = self.window_seconds
            self.execute_before = (
                None if window is None else Micros(said.at + window * MICROS_PER_SECOND)
            )

    def _hear_claim(self, said: Decision) -> None:
        """At this very revision it is approved, by people who may, and in time."""
        if self.status is Status.EXECUTING:
            return  # the same execution, taken over by another life
        assert self.status is Status.APPROVED
        is_approved = self.filled() == self.steps if self.glass is None else self.is_glass_held()
        assert is_approved, "claimed and not approved"
        self._check_all_are_eligible()
        assert not self.waits, f"claimed while {self.waits} are waited for"
        assert said.at < self.expires_at, "claimed after its end"
        assert self.execute_before is None or said.at < self.execute_before, "claimed too late"

    def _check_all_are_eligible(self) -> None:
        for one in self.counting():
            assert self.is_eligible(one), f"{one.actor} counts and may not vote any more"
            assert self.requester not in one.persons, "the requester counts"

    def _hear_end_of_time(self, said: Decision) -> None:
        match said.reason.code if said.reason is not None else "":
            case "EXPIRED":
                assert said.at >= self.expires_at
            case "EXECUTION_WINDOW_PASSED":
                assert self.execute_before is not None
                assert said.at >= self.execute_before
            case "APPROVAL_EXPIRED":
                assert not self.ways(self.open_step, fallen_close=True), "it could go on"
            case code:
                raise AssertionError(f"ended by time for {code!r}")

    def _gates_from(self, at: Micros, gates: dict[Wait, int | None]) -> dict[Wait, Micros | None]:
        return {
            wait: None if seconds is None else Micros(at + seconds * MICROS_PER_SECOND)
            for wait, seconds in gates.items()
        }


def is_satisfiable(plan: Plan, town: Town, requester: str) -> bool:
    """Whether different people other than the requester can fill every place of a plan."""
    life = Life(id=RequestId(""), town=town, requester=requester, plan=plan, expires_at=Micros(0))
    return life.is_within_reach(Micros(0))


def places(chosen: Sequence[Iterable[Requirement]]) -> list[Place]:
    return [
        (number, item)
        for number, items in enumerate(chosen)
        for item in items
        for _ in range(item.quorum)
    ]


def has_seats_for(wanted: Sequence[Place], able: Callable[[int, Requirement], set[Voice]]) -> bool:
    """Whether each place can have a voice of its own, by trying."""
    known: dict[tuple[int, str], set[Voice]] = {}
    for number, item in wanted:
        known.setdefault((number, item.id), able(number, item))
    candidates = sorted((known[number, item.id] for number, item in wanted), key=len)

    def seat(at: int, taken: frozenset[Voice]) -> bool:
        if at == len(candidates):
            return True
        return any(seat(at + 1, taken | {one}) for one in candidates[at] - taken)

    return seat(0, frozenset())


def subsets(some: Sequence[Place], size: int) -> Iterator[list[Place]]:
    if size == 0:
        yield []
        return
    for first in range(len(some) - size + 1):
        for rest in subsets(some[first + 1 :], size - 1):
            yield [some[first], *rest]
