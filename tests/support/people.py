"""Who there is, and what policy says of their requests, as plain values."""

from collections.abc import Iterable, Sequence

from governor.domain.approval import Requirement, Step, StepMode, Target
from governor.domain.policy import Effect, Facts, Rule, Verdict, evaluate
from governor.domain.request import Risk
from governor.domain.values import Identity, Micros, TargetKind
from governor.usecases.access import (
    ADMIN,
    APPROVER,
    AUDITOR,
    BREAK_GLASS,
    OPERATOR,
    SUBMITTER,
)

TENANT = "acme"
OTHER_TENANT = "umbrella"
REVIEWERS = Target(kind=TargetKind.GROUP, name="reviewers")

RITA, SAM, ANN, BOB, CLEO = "rita", "sam", "ann", "bob", "cleo"
OTTO, ADA, AUDREY, ROBOT, EVE = "otto", "ada", "audrey", "robot", "eve"
FAYE, FAYES_PHONE = "faye", "fayes-phone"


def reviewed(quorum: int, name: str = "review") -> Step:
    """A step of `quorum` reviewers."""
    requirement = Requirement(id=f"{name}-{quorum}", targets=(REVIEWERS,), quorum=quorum)
    return Step(name=name, requirements=(requirement,), mode=StepMode.ALL_OF)


LOW_IS_ALLOWED = Rule(id="low", effect=Effect.ALLOW, risks=(Risk.LOW,))
MEDIUM_TAKES_ONE = Rule(
    id="medium", effect=Effect.DEFER, risks=(Risk.MEDIUM,), steps=(reviewed(1),)
)
HIGH_TAKES_TWO = Rule(id="high", effect=Effect.DEFER, risks=(Risk.HIGH,), steps=(reviewed(2),))
CRITICAL_IS_DENIED = Rule(id="critical", effect=Effect.DENY, risks=(Risk.CRITICAL,))
RULES = (LOW_IS_ALLOWED, MEDIUM_TAKES_ONE, HIGH_TAKES_TWO, CRITICAL_IS_DENIED)


class PlainPolicy:
    """The rules it holds at the moment."""

    def __init__(self, rules: Sequence[Rule] = RULES) -> None:
        self.rules = tuple(rules)

    def evaluate(self, facts: Facts) -> Verdict:
        return evaluate(self.rules, facts, b"\x01" * 32)


class PlainDirectory:
    """The people it holds at the moment; those who may approve count as members.

    While it has a `fault`, that is its answer to who somebody is.
    """

    def __init__(self) -> None:
        self.people: dict[tuple[str, str], Identity] = {}
        self.delegations: list[tuple[str, str, str, Micros, Micros]] = []
        self.fault: Exception | None = None
        for id, roles, groups in (
            (RITA, (SUBMITTER,), ()),
            (SAM, (SUBMITTER,), ()),
            (ANN, (APPROVER,), ("reviewers",)),
            (BOB, (APPROVER,), ("reviewers",)),
            (CLEO, (APPROVER,), ("reviewers",)),
            (OTTO, (OPERATOR,), ()),
            (ADA, (ADMIN,), ()),
            (AUDREY, (AUDITOR,), ()),
        ):
            self.put(id, TENANT, roles, groups)
        on_call = (SUBMITTER, BREAK_GLASS)
        self.put(FAYE, TENANT, on_call)
        self.put(FAYES_PHONE, TENANT, on_call, person=FAYE)
        self.put(ROBOT, TENANT, (APPROVER,), ("reviewers",), person=RITA)
        everything = (SUBMITTER, APPROVER, OPERATOR, AUDITOR, ADMIN)
        self.put(EVE, OTHER_TENANT, everything, ("reviewers",))

    def put(
        self,
        id: str,
        tenant: str,
        roles: Iterable[str],
        groups: Iterable[str] = (),
        *,
        person: str | None = None,
    ) -> None:
        """Somebody has a place in a tenant, or has another one there from now on."""
        self.people[id, tenant] = Identity(
            id=id, person=person or id, roles=frozenset(roles), groups=frozenset(groups)
        )

    def delegate(
        self, giver: str, to: str, *, starts: Micros, ends: Micros, tenant: str = TENANT
    ) -> None:
        """`to` may vote in the place of `giver` for some time."""
        self.delegations.append((giver, to, tenant, starts, ends))

    def identity(self, actor: str, tenant: str) -> Identity | None:
        if self.fault is not None:
            raise self.fault
        return self.people.get((actor, tenant))

    def delegators(self, actor: str, tenant: str, at: Micros) -> tuple[Identity, ...]:
        return tuple(
            self.people[giver, tenant]
            for giver, to, place, starts, ends in self.delegations
            if (actor, tenant) in self.people
            and (to, tenant) in self.people
            and self.people[actor, tenant].person == self.people[to, tenant].person
            and (giver, tenant) in self.people
            and place == tenant
            and starts <= at < ends
        )

    def members(self, target: Target, tenant: str) -> frozenset[str]:
        here = (one for (_, place), one in self.people.items() if place == tenant)
        return frozenset(
            one.person for one in here if APPROVER in one.roles and _names(target, one)
        )


def _names(target: Target, one: Identity) -> bool:
    match target.kind:
        case TargetKind.ACTOR:
            return target.name in (one.id, one.person)
        case TargetKind.ROLE:
            return target.name in one.roles
        case TargetKind.GROUP:
            return target.name in one.groups
