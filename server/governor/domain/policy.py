"""Policy: rules by mutation type and risk that answer allow, deny or defer. Absence denies."""

from collections.abc import Sequence
from enum import StrEnum
from fnmatch import fnmatchcase
from functools import lru_cache
from typing import Final, assert_never

from governor.domain.approval import Plan, Step
from governor.domain.compensation import CompensationKind
from governor.domain.gates import Gate, Window
from governor.domain.values import Reason, Value

NO_RULE_MATCHED: Final = "NO_RULE_MATCHED"
"""Why policy denies what no rule speaks for."""


class Effect(StrEnum):
    """What a rule, or policy as a whole, says."""

    ALLOW = "ALLOW"
    DENY = "DENY"
    DEFER = "DEFER"


class Facts(Value, frozen=True, kw_only=True):
    """What rules may look at. `compensation` is its kind; empty where the mutation is none."""

    tenant: str
    environment: str
    actor: str
    roles: frozenset[str]
    groups: frozenset[str]
    mutation_type: str
    state_type: str
    category: str
    risk: str
    reversibility: str
    blast_radius: str
    versioned: bool
    compensation: str = ""


class Verdict(Value, frozen=True, kw_only=True):
    """The answer, the rules that gave it, and what it demands. It never defers to nobody.

    `execution_window_seconds` is the time from approval to claim, where policy limits it.
    """

    effect: Effect
    rules: tuple[str, ...] = ()
    reason: Reason | None = None
    plan: Plan | None = None
    policy_sha256: bytes = b""
    gates: tuple[Gate, ...] = ()
    windows: tuple[Window, ...] = ()
    execution_window_seconds: int | None = None

    def __post_init__(self) -> None:
        asks_people = self.plan is not None and bool(self.plan.steps)
        if self.effect is Effect.DEFER and not (asks_people or self.gates or self.windows):
            raise ValueError("a verdict defers without saying to whom")


class Rule(Value, frozen=True, kw_only=True):
    """One rule. It matches when every condition it states holds; an unstated condition always does.

    But for one: a rule that allows matches a rollback only where its `compensations` name it. What
    is good to do is not for that good to take back, and nobody has looked.

    `mutation_types`, `state_types` and `tenants` are shell patterns; the others are exact. What
    stands from `steps` on is what a rule that defers demands; any of its windows will do.
    """

    id: str
    effect: Effect
    mutation_types: tuple[str, ...] = ("*",)
    state_types: tuple[str, ...] = ("*",)
    tenants: tuple[str, ...] = ("*",)
    environments: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    risks: tuple[str, ...] = ()
    reversibilities: tuple[str, ...] = ()
    blast_radii: tuple[str, ...] = ()
    requester_roles: tuple[str, ...] = ()
    requester_groups: tuple[str, ...] = ()
    versioned: bool | None = None
    compensations: tuple[str, ...] = ()
    message: str = ""
    steps: tuple[Step, ...] = ()
    repeat_voters: bool = False
    gates: tuple[Gate, ...] = ()
    windows: tuple[Window, ...] = ()
    execution_window_seconds: int | None = None

    @property
    def defers_to_something(self) -> bool:
        """Whether it demands anything that can come to pass."""
        return bool(self.steps or self.gates or self.windows)

    def matches(self, facts: Facts) -> bool:
        """Whether every stated condition holds."""
        return (
            _like(facts.mutation_type, self.mutation_types)
            and _like(facts.state_type, self.state_types)
            and _like(facts.tenant, self.tenants)
            and _among(facts.environment, self.environments)
            and _among(facts.category, self.categories)
            and _among(facts.risk, self.risks)
            and _among(facts.reversibility, self.reversibilities)
            and _among(facts.blast_radius, self.blast_radii)
            and (not self.requester_roles or not facts.roles.isdisjoint(self.requester_roles))
            and (not self.requester_groups or not facts.groups.isdisjoint(self.requester_groups))
            and (self.versioned is None or self.versioned is facts.versioned)
            and self._speaks_of(facts.compensation)
        )

    def _speaks_of(self, compensation: str) -> bool:
        if not self.compensations and compensation == CompensationKind.ROLLBACK:
            return self.effect is not Effect.ALLOW
        return _among(compensation, self.compensations)


def evaluate(rules: Sequence[Rule], facts: Facts, policy_sha256: bytes = b"") -> Verdict:
    """The strictest of the rules that match: any DENY denies, else any DEFER defers, else ALLOW.

    No match denies. What the matching DEFER rules demand is demanded together: their steps and
    gates in the order of the rules, the windows that all of them name who name any, and the
    shortest of their execution windows.
    """
    matching = [rule for rule in rules if rule.matches(facts)]
    if any(rule.effect is Effect.DEFER and not rule.defers_to_something for rule in matching):
        return _denied("RULE_WITHOUT_STEPS", "a rule defers without saying to whom", policy_sha256)
    for effect in (Effect.DENY, Effect.DEFER, Effect.ALLOW):
        deciding = [rule for rule in matching if rule.effect is effect]
        if deciding:
            return _verdict(effect, deciding, policy_sha256)
    return _denied(NO_RULE_MATCHED, "no policy rule speaks for this mutation", policy_sha256)


def united(verdicts: Sequence[Verdict]) -> Verdict:
    """One verdict on several mutations together, each with its own: the strictest, as of rules.

    What they demand is demanded together, and what is demanded alike is demanded once.
    """
    first = verdicts[0]
    for position, verdict in enumerate(verdicts):
        if verdict.effect is Effect.DENY:
            why = verdict.reason or Reason(code="POLICY_DENIED")
            metadata = {**why.metadata, "member": str(position)}
            told = why.but(message=f"member {position}: {why.message}", metadata=metadata)
            return verdict.but(reason=told)
    rules = tuple(dict.fromkeys(rule for verdict in verdicts for rule in verdict.rules))
    deferring = [verdict for verdict in verdicts if verdict.effect is Effect.DEFER]
    if not deferring:
        return Verdict(effect=Effect.ALLOW, rules=rules, policy_sha256=first.policy_sha256)
    plans = [verdict.plan for verdict in deferring if verdict.plan is not None]
    steps = tuple(dict.fromkeys(step for plan in plans for step in plan.steps))
    repeats = all(plan.repeat_voters for plan in plans)
    return _demanded(
        plan=Plan(steps=steps, repeat_voters=repeats),
        gates=[gate for verdict in deferring for gate in verdict.gates],
        choices=[verdict.windows for verdict in deferring if verdict.windows],
        limits=[
            verdict.execution_window_seconds
            for verdict in deferring
            if verdict.execution_window_seconds is not None
        ],
    ).but(rules=rules, policy_sha256=first.policy_sha256)


def _denied(code: str, message: str, policy_sha256: bytes) -> Verdict:
    reason = Reason(code=code, message=message)
    return Verdict(effect=Effect.DENY, reason=reason, policy_sha256=policy_sha256)


def _verdict(effect: Effect, deciding: Sequence[Rule], policy_sha256: bytes) -> Verdict:
    match effect:
        case Effect.DENY:
            words = "; ".join(rule.message for rule in deciding if rule.message)
            reason = Reason(code="POLICY_DENIED", message=words or f"denied by {deciding[0].id}")
            verdict = Verdict(effect=effect, reason=reason)
        case Effect.DEFER:
            verdict = _deferred(deciding)
        case Effect.ALLOW:
            verdict = Verdict(effect=effect)
        case _:
            assert_never(effect)
    return verdict.but(rules=tuple(rule.id for rule in deciding), policy_sha256=policy_sha256)


def _deferred(deciding: Sequence[Rule]) -> Verdict:
    return _demanded(
        plan=_plan(deciding),
        gates=[gate for rule in deciding for gate in rule.gates],
        choices=[rule.windows for rule in deciding if rule.windows],
        limits=[
            rule.execution_window_seconds
            for rule in deciding
            if rule.execution_window_seconds is not None
        ],
    )


def _demanded(
    *,
    plan: Plan,
    gates: Sequence[Gate],
    choices: Sequence[tuple[Window, ...]],
    limits: Sequence[int],
) -> Verdict:
    """A deferral to all of this. `choices` are the windows of each who names any."""
    named: dict[tuple[str, str], Gate] = {}
    for gate in gates:
        named.setdefault((gate.reason, gate.name), gate)
    first = choices[0] if choices else ()
    windows = tuple(window for window in first if all(window in others for others in choices))
    if choices and not windows:
        # Each of them forbids what the other one asks for; which one gives way is not ours to say.
        return Verdict(
            effect=Effect.DENY,
            reason=Reason(
                code="NO_COMMON_WINDOW",
                message="the rules that match name no maintenance window in common",
            ),
        )
    return Verdict(
        effect=Effect.DEFER,
        plan=plan if plan.steps else None,
        gates=tuple(named.values()),
        windows=windows,
        execution_window_seconds=min(limits, default=None),
    )


def _plan(deciding: Sequence[Rule]) -> Plan:
    """One person may count in several steps only where every rule that asks says so."""
    return Plan(
        steps=tuple(step for rule in deciding for step in rule.steps),
        repeat_voters=all(rule.repeat_voters for rule in deciding if rule.steps),
    )


@lru_cache(maxsize=4096)  # few types and tenants meet few patterns, on every submission
def _like(value: str, patterns: tuple[str, ...]) -> bool:
    return any(pattern == "*" or fnmatchcase(value, pattern) for pattern in patterns)


def _among(value: str, allowed: tuple[str, ...]) -> bool:
    return not allowed or value in allowed
