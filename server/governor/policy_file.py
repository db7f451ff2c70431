"""The policy as a TOML file: strict when it is read, and swapped whole when it is read again."""

import logging
from collections.abc import Iterable, Mapping
from hashlib import sha256
from math import prod
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from governor.domain.approval import Requirement, Step, StepMode, VoteKind
from governor.domain.policy import Effect, Facts, Rule, Verdict, evaluate
from governor.domain.values import Reason, Value
from governor.policy_gates import CheckService, DemandsTable, GatesTables, demands_of, services_of
from governor.policy_texts import TARGETS_MAX, Id, TargetText, Text, refuse_duplicates, target
from governor.strict_toml import FileRefused, ReloadedFile, StrictModel, read_model

RULES_MAX = 1000
PATTERNS_MAX = 100
STEPS_PER_RULE_MAX = 8
REQUIREMENTS_PER_STEP_MAX = 8
ALTERNATIVES_PER_RULE_MAX = 64
QUORUM_MAX = 100
DEADLINE_SECONDS_MAX = 90 * 86_400

_log = logging.getLogger(__name__)

_EFFECTS = {
    "allow": Effect.ALLOW,
    "deny": Effect.DENY,
    "require_approval": Effect.DEFER,
    "defer": Effect.DEFER,
}

# An empty list would say "never" where a reader expects "always": leave the key out instead.
Texts = Annotated[list[Text], Field(min_length=1, max_length=PATTERNS_MAX)]


RiskText = Literal["low", "medium", "high", "critical"]
ReversibilityText = Literal["reversible", "compensable", "irreversible"]
BlastRadiusText = Literal["single", "service", "region", "global"]
CompensationText = Literal["rollback", "forward"]


class RequirementTable(StrictModel):
    """One quorum."""

    id: Id
    targets: list[TargetText] = Field(min_length=1, max_length=TARGETS_MAX)
    quorum: int = Field(default=1, ge=1, le=QUORUM_MAX)
    meaning: Literal["approve", "review"] = "approve"
    rejections: int = Field(default=1, ge=1, le=QUORUM_MAX)
    deadline_seconds: int | None = Field(default=None, ge=1, le=DEADLINE_SECONDS_MAX)

    @model_validator(mode="after")
    def _can_be_met(self) -> Self:
        actors = {target for target in self.targets if target.startswith("actor:")}
        if len(actors) == len(self.targets) and self.quorum > len(actors):
            raise ValueError(f"quorum {self.quorum} out of {len(actors)} named actors")
        if len(actors) == len(self.targets) and self.rejections > len(actors):
            raise ValueError(f"{self.rejections} rejections out of {len(actors)} named actors")
        return self


class StepTable(StrictModel):
    """One stage of an approval plan."""

    name: Id
    mode: Literal["all_of", "any_of"] = "all_of"
    requirement: list[RequirementTable] = Field(min_length=1, max_length=REQUIREMENTS_PER_STEP_MAX)

    @model_validator(mode="after")
    def _names_differ(self) -> Self:
        refuse_duplicates("requirement id", (table.id for table in self.requirement))
        return self


class RuleTable(DemandsTable):
    """One rule; every condition that is left out holds always."""

    id: Id
    effect: Literal["allow", "deny", "require_approval", "defer"]
    mutation_types: Texts = Field(default=["*"])
    state_types: Texts = Field(default=["*"])
    tenants: Texts = Field(default=["*"])
    environments: Texts | None = None
    categories: Texts | None = None
    risks: Annotated[list[RiskText] | None, Field(min_length=1)] = None
    reversibilities: Annotated[list[ReversibilityText] | None, Field(min_length=1)] = None
    blast_radii: Annotated[list[BlastRadiusText] | None, Field(min_length=1)] = None
    requester_roles: Texts | None = None
    requester_groups: Texts | None = None
    versioned: bool | None = None
    compensations: Annotated[list[CompensationText] | None, Field(min_length=1)] = None
    message: str = Field(default="", max_length=500)
    step: list[StepTable] = Field(default=[], max_length=STEPS_PER_RULE_MAX)
    repeat_voters: bool = False

    @model_validator(mode="after")
    def _steps_fit_the_effect(self) -> Self:
        if self.effect == "require_approval" and not self.step:
            raise ValueError("require_approval needs at least one [[rule.step]]")
        if _EFFECTS[self.effect] is Effect.DEFER:
            if not (self.step or self.makes_wait):
                raise ValueError(
                    "defer needs a [[rule.step]], checks, quotas, windows or a manual_review"
                )
        elif self.step:
            raise ValueError(f"{self.effect} takes no [[rule.step]]")
        elif self.demands_anything:
            raise ValueError(f"{self.effect} makes nothing wait, and takes no key of those that do")
        if self.repeat_voters and not self.step:
            raise ValueError("repeat_voters needs [[rule.step]] in which to vote")
        refuse_duplicates("step name", (table.name for table in self.step))
        # Whether a plan can be met is found by trying the choices its any_of steps leave open.
        choices = prod(len(step.requirement) for step in self.step if step.mode == "any_of")
        if choices > ALTERNATIVES_PER_RULE_MAX:
            raise ValueError(
                f"the any_of steps leave {choices} ways, more than {ALTERNATIVES_PER_RULE_MAX}"
            )
        return self


class PolicyTables(GatesTables):
    """The whole file."""

    rule: list[RuleTable] = Field(default=[], max_length=RULES_MAX)

    @model_validator(mode="after")
    def _ids_differ(self) -> Self:
        refuse_duplicates("rule id", (table.id for table in self.rule))
        self.check_demands((table.id, table) for table in self.rule)
        return self


class LoadedPolicy(Value, frozen=True, kw_only=True):
    """One version of the file: rules, who answers checks, and the SHA-256 of its bytes."""

    rules: tuple[Rule, ...] = ()
    check_services: Mapping[str, CheckService] = {}
    sha256: bytes = sha256(b"").digest()


def load_policy(path: Path) -> LoadedPolicy:
    """Reads the file. Raises FileRefused."""
    tables, digest = read_model(path, PolicyTables)
    try:
        services = services_of(tables)
    except OSError as error:
        raise FileRefused(path, [f"{error.filename}: {error.strerror}"]) from error
    return LoadedPolicy(
        rules=tuple(_rule(table, tables) for table in tables.rule),
        check_services=services,
        sha256=digest,
    )


class FilePolicy:
    """Answers by the file as it was last read well. Without a file all is denied."""

    def __init__(self, path: Path | None) -> None:
        self._file = ReloadedFile(path, load_policy, absent=LoadedPolicy())

    @property
    def loaded(self) -> LoadedPolicy:
        """What is in force."""
        return self._file.current

    def reload(self) -> bool:
        """Takes the file as it is now, and says whether; one with a fault changes nothing."""
        return self._file.reload()

    def check_service(self, name: str) -> CheckService | None:
        """Who answers the check by now; None when there is nobody to call."""
        return self.loaded.check_services.get(name)

    def evaluate(self, facts: Facts) -> Verdict:
        loaded = self.loaded
        try:
            return evaluate(loaded.rules, facts, loaded.sha256)
        except Exception:  # noqa: BLE001 - whatever fails in a rule, absence of an answer denies
            _log.exception("policy failed and therefore denies")
            reason = Reason(code="POLICY_FAILED", message="policy could not be evaluated")
            return Verdict(effect=Effect.DENY, reason=reason, policy_sha256=loaded.sha256)


def _rule(table: RuleTable, tables: GatesTables) -> Rule:
    demands = demands_of(table, tables)
    return Rule(
        id=table.id,
        effect=_EFFECTS[table.effect],
        mutation_types=tuple(table.mutation_types),
        state_types=tuple(table.state_types),
        tenants=tuple(table.tenants),
        environments=tuple(table.environments or ()),
        categories=tuple(table.categories or ()),
        risks=_upper(table.risks),
        reversibilities=_upper(table.reversibilities),
        blast_radii=_upper(table.blast_radii),
        requester_roles=tuple(table.requester_roles or ()),
        requester_groups=tuple(table.requester_groups or ()),
        versioned=table.versioned,
        compensations=_upper(table.compensations),
        steps=tuple(_step(step) for step in table.step),
        gates=demands.gates,
        windows=demands.windows,
        execution_window_seconds=table.execution_window_seconds,
        repeat_voters=table.repeat_voters,
        message=table.message,
    )


def _step(table: StepTable) -> Step:
    return Step(
        name=table.name,
        mode=StepMode(table.mode.upper()),
        requirements=tuple(
            Requirement(
                id=requirement.id,
                targets=tuple(target(text) for text in requirement.targets),
                quorum=requirement.quorum,
                meaning=VoteKind(requirement.meaning.upper()),
                rejections=requirement.rejections,
                deadline_seconds=requirement.deadline_seconds,
            )
            for requirement in table.requirement
        ),
    )


def _upper(names: Iterable[str] | None) -> tuple[str, ...]:
    return tuple(name.upper() for name in names or ())
