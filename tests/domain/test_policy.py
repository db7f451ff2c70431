"""Claims about policy: the strictest rule that matches decides, and absence denies."""

from itertools import combinations, product

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from governor.domain.approval import Plan
from governor.domain.gates import Window
from governor.domain.policy import Effect, Facts, Rule, Verdict, evaluate
from tests.support.domain_builders import (
    CHECK,
    LOOK,
    QUOTA,
    TWO_APPROVERS,
    plan,
    requirement,
    step,
)

FACTS = Facts(
    tenant="acme",
    environment="production",
    actor="rita",
    roles=frozenset({"developer", "on-call"}),
    groups=frozenset({"checkout"}),
    mutation_type="flag.set",
    state_type="flag",
    category="release",
    risk="LOW",
    reversibility="REVERSIBLE",
    blast_radius="SINGLE",
    versioned=True,
)
NIGHTS = Window(name="nights", opens="0 22 * * *", lasts_seconds=3600)
POLICY = b"\x0f" * 32

ALLOW = Rule(id="allow", effect=Effect.ALLOW)
DENY = Rule(id="deny", effect=Effect.DENY)
DEFER = Rule(id="defer", effect=Effect.DEFER, steps=TWO_APPROVERS.steps)
TO_NOBODY = Rule(id="to-nobody", effect=Effect.DEFER)
RULES = (ALLOW, DENY, DEFER, TO_NOBODY)


# ---------------------------------------------------------------- precedence


@pytest.mark.parametrize(
    "matching", [some for count in range(5) for some in combinations(RULES, count)]
)
def test_deny_beats_defer_beats_allow_and_nothing_denies(matching: tuple[Rule, ...]) -> None:
    effect = Effect.DENY
    if DENY not in matching and TO_NOBODY not in matching:
        if DEFER in matching:
            effect = Effect.DEFER
        elif ALLOW in matching:
            effect = Effect.ALLOW
    for rules in (matching, matching[::-1]):
        verdict = evaluate(rules, FACTS, POLICY)
        assert verdict.effect is effect
        assert verdict.policy_sha256 == POLICY
        assert (verdict.plan is not None) is (effect is Effect.DEFER)
        assert (verdict.reason is not None) is (effect is Effect.DENY)


def test_an_empty_policy_denies_and_says_that_no_rule_spoke() -> None:
    verdict = evaluate((), FACTS, POLICY)
    assert verdict.effect is Effect.DENY
    assert verdict.rules == ()
    assert verdict.reason is not None
    assert verdict.reason.code == "NO_RULE_MATCHED"


def test_rules_that_do_not_match_are_as_good_as_none() -> None:
    elsewhere = {"tenants": ("other",)}
    verdict = evaluate([rule.but(**elsewhere) for rule in RULES], FACTS)
    assert verdict.reason is not None
    assert verdict.reason.code == "NO_RULE_MATCHED"


def test_a_rule_that_defers_to_nobody_denies_though_others_name_their_people() -> None:
    verdict = evaluate((ALLOW, DEFER, TO_NOBODY), FACTS, POLICY)
    assert verdict.effect is Effect.DENY
    assert verdict.reason is not None
    assert verdict.reason.code == "RULE_WITHOUT_STEPS"


@pytest.mark.parametrize("asked", [None, Plan(steps=())])
def test_no_verdict_defers_to_nobody(asked: Plan | None) -> None:
    with pytest.raises(ValueError, match="to whom"):
        Verdict(effect=Effect.DEFER, plan=asked)


def test_the_verdict_names_the_rules_that_decided_in_their_order_and_no_others() -> None:
    rules = (ALLOW, DENY.but(id="d2"), DEFER, DENY.but(id="d1"))
    assert evaluate(rules, FACTS).rules == ("d2", "d1")
    assert evaluate(rules[::2], FACTS).rules == ("defer",)
    assert evaluate((ALLOW.but(id="a1"), ALLOW), FACTS).rules == ("a1", "allow")


def test_all_rules_that_defer_are_obeyed_in_their_order() -> None:
    first = (step("security", requirement("s")), step("legal", requirement("l")))
    second = (step("owner", requirement("o")),)
    rules = (DEFER.but(id="one", steps=first), ALLOW, DEFER.but(id="two", steps=second))
    verdict = evaluate(rules, FACTS)
    assert verdict.plan == plan(*first, *second)
    assert verdict.rules == ("one", "two")


def test_the_gates_of_all_rules_that_defer_are_demanded_each_once() -> None:
    rules = (
        DEFER.but(id="one", gates=(CHECK, LOOK)),
        ALLOW.but(gates=(QUOTA,)),
        Rule(id="two", effect=Effect.DEFER, gates=(QUOTA, CHECK.but(detail="again"))),
    )
    verdict = evaluate(rules, FACTS)
    assert verdict.gates == (CHECK, LOOK, QUOTA)
    assert verdict.plan == TWO_APPROVERS


@pytest.mark.parametrize(
    "demands", [{"gates": (CHECK,)}, {"windows": (NIGHTS,)}, {"gates": (QUOTA, LOOK)}]
)
def test_a_rule_may_defer_to_gates_and_windows_alone(demands: dict[str, object]) -> None:
    verdict = evaluate((Rule(id="r", effect=Effect.DEFER).but(**demands),), FACTS)
    assert verdict.effect is Effect.DEFER
    assert verdict.plan is None


def test_the_shortest_execution_window_holds() -> None:
    rules = [
        DEFER.but(id=f"r-{n}", execution_window_seconds=seconds)
        for n, seconds in enumerate((None, 600, 60))
    ]
    assert evaluate(rules, FACTS).execution_window_seconds == 60
    assert evaluate(rules[:1], FACTS).execution_window_seconds is None


def test_a_window_must_do_for_every_rule_that_names_any() -> None:
    days = NIGHTS.but(name="days")
    either = DEFER.but(id="either", windows=(NIGHTS, days))
    night = DEFER.but(id="night", windows=(NIGHTS,))
    assert evaluate((either, DEFER), FACTS).windows == (NIGHTS, days)
    assert evaluate((either, night, DEFER), FACTS).windows == (NIGHTS,)


def test_rules_without_a_common_window_deny() -> None:
    rules = (
        DEFER.but(id="night", windows=(NIGHTS,)),
        DEFER.but(id="day", windows=(NIGHTS.but(name="days"),)),
    )
    verdict = evaluate(rules, FACTS)
    assert verdict.effect is Effect.DENY
    assert verdict.rules == ("night", "day")
    assert verdict.reason is not None
    assert verdict.reason.code == "NO_COMMON_WINDOW"


def test_a_denial_says_what_its_rules_say() -> None:
    loud = (DENY.but(message="not on Fridays"), DENY.but(id="quiet"), DENY.but(message="frozen"))
    reason = evaluate(loud, FACTS).reason
    assert reason is not None
    assert (reason.code, reason.message) == ("POLICY_DENIED", "not on Fridays; frozen")
    quiet = evaluate((DENY,), FACTS).reason
    assert quiet is not None
    assert quiet.message == "denied by deny"


# ---------------------------------------------------------------- conditions

Changes = dict[str, object]
Row = tuple[str, object, list[Changes], list[Changes]]
"""A condition, what a rule states there, facts for which it holds, facts for which it does not."""


def by_pattern(condition: str, fact: str) -> list[Row]:
    return [
        (
            condition,
            ("flag.*",),
            [{fact: "flag.set"}, {fact: "flag."}],
            [{fact: "flag"}, {fact: "xflag.set"}],
        ),
        (condition, ("Flag",), [{fact: "Flag"}], [{fact: "flag"}, {fact: ""}]),
        (
            condition,
            ("a", "b?"),
            [{fact: "a"}, {fact: "bc"}],
            [{fact: "b"}, {fact: "bcd"}, {fact: "a\n"}],
        ),
        (condition, ("*",), [{fact: ""}, {fact: "line\nline"}], []),
    ]


def by_name(condition: str, fact: str) -> list[Row]:
    return [
        (
            condition,
            ("a",),
            [{fact: "a"}],
            [{fact: "A"}, {fact: "ab"}, {fact: ""}, {fact: "UNSPECIFIED"}],
        ),
        (condition, ("a", "*"), [{fact: "a"}, {fact: "*"}], [{fact: "b"}]),
        (condition, ("",), [{fact: ""}], [{fact: "a"}]),
        (condition, (), [{fact: "a"}, {fact: ""}], []),
    ]


def by_what_is_held(condition: str, fact: str) -> list[Row]:
    return [
        (
            condition,
            ("a", "b"),
            [{fact: frozenset("b")}, {fact: frozenset("bc")}],
            [{fact: frozenset()}, {fact: frozenset("c")}, {fact: frozenset({"ab"})}],
        ),
        (condition, (), [{fact: frozenset()}, {fact: frozenset("a")}], []),
    ]


ROWS: list[Row] = [
    *by_pattern("mutation_types", "mutation_type"),
    *by_pattern("state_types", "state_type"),
    *by_pattern("tenants", "tenant"),
    *by_name("environments", "environment"),
    *by_name("categories", "category"),
    *by_name("risks", "risk"),
    *by_name("reversibilities", "reversibility"),
    *by_name("blast_radii", "blast_radius"),
    *by_what_is_held("requester_roles", "roles"),
    *by_what_is_held("requester_groups", "groups"),
    ("versioned", True, [{"versioned": True}], [{"versioned": False}]),
    ("versioned", False, [{"versioned": False}], [{"versioned": True}]),
    (
        "compensations",
        ("ROLLBACK",),
        [{"compensation": "ROLLBACK"}],
        [{}, {"compensation": "FORWARD"}],
    ),
    (
        "compensations",
        ("FORWARD",),
        [{"compensation": "FORWARD"}],
        [{}, {"compensation": "ROLLBACK"}],
    ),
    ("compensations", (), [{}, {"compensation": "FORWARD"}], [{"compensation": "ROLLBACK"}]),
    ("versioned", None, [{"versioned": True}, {"versioned": False}], []),
]
HOLDING = [(name, stated, facts) for name, stated, holding, _ in ROWS for facts in holding]
BROKEN = [(name, stated, facts) for name, stated, _, breaking in ROWS for facts in breaking]


def test_a_rollback_is_allowed_by_no_rule_that_does_not_speak_of_it_and_bound_by_every_other() -> (
    None
):
    back = FACTS.but(compensation="ROLLBACK")
    assert evaluate((ALLOW,), back).effect is Effect.DENY
    assert evaluate((ALLOW, ALLOW.but(compensations=("ROLLBACK",))), back).effect is Effect.ALLOW
    assert evaluate((ALLOW, DEFER), back) == evaluate((ALLOW, DEFER), FACTS)
    assert evaluate((ALLOW, DENY), back) == evaluate((ALLOW, DENY), FACTS)


def test_every_condition_that_a_rule_can_state_is_tried_here() -> None:
    fields = {field.name for field in msgspec.structs.fields(Rule)}
    demands = {"steps", "gates", "windows", "execution_window_seconds", "repeat_voters"}
    assert fields - {"id", "effect", "message"} - demands == {name for name, *_ in ROWS}


@pytest.mark.parametrize(("name", "stated", "facts"), HOLDING)
def test_a_stated_condition_that_holds_matches(name: str, stated: object, facts: Changes) -> None:
    assert ALLOW.but(**{name: stated}).matches(FACTS.but(**facts))


@pytest.mark.parametrize(("name", "stated", "facts"), BROKEN)
def test_a_stated_condition_that_does_not_hold_does_not_match_whatever_else_does(
    name: str, stated: object, facts: Changes
) -> None:
    rule = ALLOW.but(**{name: stated})
    assert not rule.matches(FACTS.but(**facts))
    assert evaluate((rule,), FACTS.but(**facts)).effect is Effect.DENY


@pytest.mark.parametrize("name", ["mutation_types", "state_types", "tenants"])
def test_an_empty_list_of_patterns_matches_nothing(name: str) -> None:
    assert not ALLOW.but(**{name: ()}).matches(FACTS)


def test_a_rule_without_conditions_matches_everything() -> None:
    nothing = Facts(
        tenant="",
        environment="",
        actor="",
        roles=frozenset(),
        groups=frozenset(),
        mutation_type="",
        state_type="",
        category="",
        risk="UNSPECIFIED",
        reversibility="UNSPECIFIED",
        blast_radius="UNSPECIFIED",
        versioned=False,
    )
    assert ALLOW.matches(FACTS)
    assert ALLOW.matches(nothing)


def test_an_unspecified_estimate_is_none_of_the_stated_ones() -> None:
    unspecified = FACTS.but(risk="UNSPECIFIED")
    low_only = ALLOW.but(risks=("LOW", "MEDIUM", "HIGH", "CRITICAL"))
    assert evaluate((low_only,), unspecified).effect is Effect.DENY


# ---------------------------------------------------------------- in general

ANY_RULE = st.builds(
    lambda rule, types, roles, versioned: rule.but(
        mutation_types=types, requester_roles=roles, versioned=versioned
    ),
    st.sampled_from(RULES),
    st.sampled_from([("*",), ("flag.*",), ("role.*",), ("flag.set", "x")]),
    st.sampled_from([(), ("developer",), ("admin",)]),
    st.sampled_from([None, True, False]),
)
SHUFFLED = st.lists(ANY_RULE, max_size=5).flatmap(
    lambda rules: st.tuples(st.just(rules), st.permutations(rules))
)
STRICTNESS = (Effect.ALLOW, Effect.DEFER, Effect.DENY)


@given(SHUFFLED)
def test_the_order_of_the_rules_decides_nothing(
    orders: tuple[list[Rule], list[Rule]],
) -> None:
    one, other = orders
    assert evaluate(one, FACTS).effect is evaluate(other, FACTS).effect


@given(st.lists(ANY_RULE, max_size=5), ANY_RULE)
def test_one_more_rule_never_loosens_what_the_others_demand(rules: list[Rule], more: Rule) -> None:
    before = evaluate(rules, FACTS)
    after = evaluate([*rules, more], FACTS)
    if any(rule.matches(FACTS) for rule in rules):
        assert STRICTNESS.index(after.effect) >= STRICTNESS.index(before.effect)


@given(st.lists(ANY_RULE, max_size=5))
def test_what_is_allowed_was_allowed_by_a_rule_that_matches_and_by_nothing_else(
    rules: list[Rule],
) -> None:
    verdict = evaluate(rules, FACTS)
    effects = {rule.effect for rule in rules if rule.matches(FACTS)}
    assert (verdict.effect is Effect.ALLOW) is (effects == {Effect.ALLOW})


@pytest.mark.parametrize("said", list(product((False, True), repeat=2)))
def test_one_person_counts_in_several_steps_only_where_every_rule_that_asks_says_so(
    said: tuple[bool, bool],
) -> None:
    asking = step("review", requirement("one"))
    rules = [
        Rule(id=str(number), effect=Effect.DEFER, steps=(asking,), repeat_voters=repeats)
        for number, repeats in enumerate(said)
    ]
    plan = evaluate(rules, FACTS).plan
    assert plan is not None
    assert plan.repeat_voters is all(said)
