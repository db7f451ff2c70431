"""The policy file: strict, bounded, swapped whole; and what its absence means."""

import hashlib
from pathlib import Path

import pytest

from governor import policy_file
from governor.domain.approval import Requirement, Step, StepMode, Target, VoteKind
from governor.domain.policy import Effect, Facts, Rule
from governor.domain.values import TargetKind
from governor.policy_file import FilePolicy, load_policy
from governor.strict_toml import FILE_BYTES_MAX, FileRefused

EXAMPLES = Path(__file__).parents[2] / "examples" / "policy"

ALLOW = '[[rule]]\nid = "a"\neffect = "allow"\n'
ASK = '[[rule]]\nid = "a"\neffect = "require_approval"\n'
STEP = '[[rule.step]]\nname = "s"\n'
REQUIREMENT = '[[rule.step.requirement]]\nid = "r"\ntargets = ["role:owner"]\n'
ACTORS = '[[rule.step.requirement]]\nid = "r"\ntargets = ["actor:a", "actor:b"]\n'


def facts(**changes: object) -> Facts:
    usual = Facts(
        tenant="acme",
        environment="",
        actor="ann",
        roles=frozenset({"submitter"}),
        groups=frozenset(),
        mutation_type="flag.set",
        state_type="flag",
        category="",
        risk="LOW",
        reversibility="UNSPECIFIED",
        blast_radius="UNSPECIFIED",
        versioned=True,
    )
    return usual.but(**changes)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "policy.toml"


def refusal(path: Path, text: str) -> str:
    path.write_text(text)
    with pytest.raises(FileRefused) as refused:
        load_policy(path)
    return str(refused.value)


def many(count: int, text: str, name: str) -> str:
    return "".join(text.replace(f'"{name}"', f'"{name}{n}"') for n in range(count))


@pytest.mark.parametrize(
    ("text", "fact"),
    [
        ("rule = 3", "rule: should be a valid list"),
        ("a = 1\na = 2", "is not TOML: "),
        ("[[rule]\n", "is not TOML: "),
        ("[[rules]]\n", "rules: there is no such key"),
        (ALLOW + "risk = ['low']", "rule[0] ('a').risk: there is no such key"),
        (ALLOW + "risks = ['LOW']", "rule[0] ('a').risks[0]: should be 'low', 'medium'"),
        (ALLOW + "risks = ['unspecified']", "rule[0] ('a').risks[0]: should be 'low', 'medium'"),
        (ALLOW + "risks = 'low'", "rule[0] ('a').risks: should be a valid list"),
        (ALLOW + "risks = []", "rule[0] ('a').risks: list should have at least 1 item"),
        (ALLOW + "mutation_types = []", "mutation_types: list should have at least 1 item"),
        (ALLOW + "mutation_types = ['']", "mutation_types[0]: string should have at least 1"),
        (ALLOW + "versioned = 'yes'", "versioned: should be a valid boolean"),
        (ALLOW + "versioned = 1", "versioned: should be a valid boolean"),
        (ALLOW + "blast_radii = ['world']", "blast_radii[0]: should be 'single'"),
        ("[[rule]]\neffect = 'allow'", "rule[0].id: is required"),
        ("[[rule]]\nid = 'a'", "rule[0] ('a').effect: is required"),
        ("[[rule]]\nid = 'a b'\neffect = 'allow'", "rule[0] ('a b').id: string should match"),
        ("[[rule]]\nid = 'a'\neffect = 'permit'", "effect: should be 'allow', 'deny', 're"),
        (ALLOW + ALLOW, "rule id 'a' is used more than once"),
        (ALLOW + STEP + REQUIREMENT, "rule[0] ('a'): allow takes no [[rule.step]]"),
        (ASK, "rule[0] ('a'): require_approval needs at least one [[rule.step]]"),
        (ASK + STEP, "rule[0] ('a').step[0] ('s').requirement: is required"),
        (ASK + STEP + "mode = 'most_of'\n" + REQUIREMENT, "mode: should be 'all_of' or 'any_of'"),
        (ASK + (STEP + REQUIREMENT) * 2, "step name 's' is used more than once"),
        (ASK + STEP + REQUIREMENT * 2, "requirement id 'r' is used more than once"),
        (ASK + STEP + REQUIREMENT + "quorum = 0", "quorum: should be greater than or equal to 1"),
        (ASK + STEP + REQUIREMENT + "quorum = '2'", "quorum: should be a valid integer"),
        (ASK + STEP + REQUIREMENT + "quorum = 101", "quorum: should be less than or equal to 100"),
        (ASK + STEP + ACTORS + "quorum = 3", "quorum 3 out of 2 named actors"),
        (ASK + STEP + ACTORS + "rejections = 3", "3 rejections out of 2 named actors"),
        (ASK + STEP + REQUIREMENT + "rejections = 0", "rejections: should be greater than or"),
        (ASK + STEP + REQUIREMENT + "deadline_seconds = 0", "deadline_seconds: should be greater"),
        (ASK + STEP + REQUIREMENT + "deadline_seconds = 7776001", "less than or equal to 7776000"),
        (ASK + STEP + REQUIREMENT + "meaning = 'reject'", "meaning: should be 'approve' or"),
        (ASK + "repeat_voters = 'no'\n" + STEP + REQUIREMENT, "repeat_voters: should be a valid"),
        (ALLOW + "repeat_voters = true", "repeat_voters needs [[rule.step]] in which to vote"),
        (
            ASK + STEP + REQUIREMENT.replace("role:owner", "owner"),
            "targets[0]: must be actor:NAME, role:NAME or group:NAME, not 'owner'",
        ),
        (ASK + STEP + REQUIREMENT.replace("role:owner", "role:"), "must be actor:NAME, role:NAME"),
        (ASK + STEP + REQUIREMENT.replace('["role:owner"]', "[]"), "at least 1 item"),
        (ASK + many(9, STEP + REQUIREMENT, "s"), "step: list should have at most 8 items"),
        (ASK + STEP + many(9, REQUIREMENT, "r"), "requirement: list should have at most 8 items"),
    ],
)
def test_a_faulty_file_is_refused_with_the_key_and_the_fact(
    path: Path, text: str, fact: str
) -> None:
    found = refusal(path, text)
    assert found.startswith(f"{path}: ")
    assert fact in found


def test_every_fault_is_told_at_once(path: Path) -> None:
    found = refusal(path, ALLOW + "risk = 1\nversioned = 2\n")
    assert [line.partition(": ")[2].partition(":")[0] for line in found.splitlines()] == [
        "rule[0] ('a').versioned",
        "rule[0] ('a').risk",
    ]


def test_choices_that_nobody_could_try_out_are_refused(path: Path) -> None:
    either = STEP + 'mode = "any_of"\n' + many(8, REQUIREMENT, "r")
    assert "the any_of steps leave 512 ways, more than 64" in refusal(
        path, ASK + many(3, either, "s")
    )


def test_more_rules_than_the_bound_are_refused(path: Path) -> None:
    assert "rule: list should have at most 1000 items" in refusal(path, many(1001, ALLOW, "a"))


def test_a_file_that_is_no_text_or_too_large_or_not_there_is_refused(path: Path) -> None:
    with pytest.raises(FileRefused, match="cannot be read: No such file"):
        load_policy(path)
    path.write_bytes(b"\xff")
    with pytest.raises(FileRefused, match="is not UTF-8 at byte 0"):
        load_policy(path)
    path.write_bytes(b"#" * (FILE_BYTES_MAX + 1))
    with pytest.raises(FileRefused, match="is larger than"):
        load_policy(path)


def test_a_rule_is_read_as_the_domain_has_it(path: Path) -> None:
    path.write_text(
        """
        [[rule]]
        id = "whole"
        effect = "require_approval"
        mutation_types = ["flag.*", "role.grant"]
        state_types = ["flag"]
        tenants = ["acme"]
        environments = ["production"]
        categories = ["rollout"]
        risks = ["high", "critical"]
        reversibilities = ["irreversible"]
        blast_radii = ["global"]
        requester_roles = ["submitter"]
        requester_groups = ["team"]
        versioned = true
        repeat_voters = true
        message = "ask first"
        [[rule.step]]
        name = "owners"
        mode = "any_of"
        [[rule.step.requirement]]
        id = "one"
        targets = ["actor:ann", "role:owner"]
        [[rule.step.requirement]]
        id = "two"
        targets = ["group:a:b"]
        quorum = 2
        meaning = "review"
        rejections = 3
        deadline_seconds = 3600
        """
    )
    assert load_policy(path).rules == (
        Rule(
            id="whole",
            effect=Effect.DEFER,
            mutation_types=("flag.*", "role.grant"),
            state_types=("flag",),
            tenants=("acme",),
            environments=("production",),
            categories=("rollout",),
            risks=("HIGH", "CRITICAL"),
            reversibilities=("IRREVERSIBLE",),
            blast_radii=("GLOBAL",),
            requester_roles=("submitter",),
            requester_groups=("team",),
            versioned=True,
            repeat_voters=True,
            message="ask first",
            steps=(
                Step(
                    name="owners",
                    mode=StepMode.ANY_OF,
                    requirements=(
                        Requirement(
                            id="one",
                            targets=(
                                Target(kind=TargetKind.ACTOR, name="ann"),
                                Target(kind=TargetKind.ROLE, name="owner"),
                            ),
                        ),
                        Requirement(
                            id="two",
                            targets=(Target(kind=TargetKind.GROUP, name="a:b"),),
                            quorum=2,
                            meaning=VoteKind.REVIEW,
                            rejections=3,
                            deadline_seconds=3600,
                        ),
                    ),
                ),
            ),
        ),
    )


def test_a_condition_that_is_left_out_always_holds(path: Path) -> None:
    path.write_text(ALLOW)
    assert load_policy(path).rules == (Rule(id="a", effect=Effect.ALLOW),)


def test_without_a_file_everything_is_denied() -> None:
    verdict = FilePolicy(None).evaluate(facts())
    assert (verdict.effect, verdict.rules) == (Effect.DENY, ())
    assert verdict.reason is not None
    assert verdict.reason.code == "NO_RULE_MATCHED"
    assert not FilePolicy(None).reload()


def test_a_verdict_carries_the_hash_of_the_file_as_it_lies_on_the_disk(path: Path) -> None:
    path.write_text(ALLOW + "# a comment counts\n")
    verdict = FilePolicy(path).evaluate(facts())
    assert verdict.effect is Effect.ALLOW
    assert verdict.policy_sha256 == hashlib.sha256(path.read_bytes()).digest()


def test_a_changed_file_holds_from_its_reload_on(path: Path) -> None:
    path.write_text(ALLOW)
    policy = FilePolicy(path)
    path.write_text(ALLOW.replace("allow", "deny"))
    assert policy.evaluate(facts()).effect is Effect.ALLOW
    assert policy.reload()
    assert policy.evaluate(facts()).effect is Effect.DENY


def test_a_faulty_file_changes_nothing_and_is_logged(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path.write_text(ALLOW)
    policy = FilePolicy(path)
    before = policy.loaded
    path.write_text(ALLOW + "risks = 'low'\n")
    assert not policy.reload()
    assert policy.loaded == before
    assert "risks: should be a valid list" in caplog.text


def test_a_rule_that_fails_denies(
    path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    path.write_text(ALLOW)
    policy = FilePolicy(path)

    def fail(*_: object) -> None:
        raise RuntimeError("a fault of ours")

    monkeypatch.setattr(policy_file, "evaluate", fail)
    verdict = policy.evaluate(facts())
    assert verdict.effect is Effect.DENY
    assert verdict.reason is not None
    assert verdict.reason.code == "POLICY_FAILED"
    assert "a fault of ours" not in verdict.reason.message
    assert "a fault of ours" in caplog.text


@pytest.mark.parametrize(
    ("changes", "effect", "rules"),
    [
        ({}, Effect.ALLOW, ("flags-are-free-at-low-risk",)),
        ({"risk": "MEDIUM"}, Effect.DEFER, ("flags-need-two-reviewers",)),
        ({"risk": "UNSPECIFIED"}, Effect.DENY, ()),
        ({"risk": "CRITICAL"}, Effect.DENY, ("nothing-critical-through-this-door",)),
        ({"mutation_type": "role.grant"}, Effect.DEFER, ("roles-need-their-owner-and-security",)),
        ({"mutation_type": "quota.set"}, Effect.DENY, ()),
    ],
)
def test_the_example_policy_says_what_its_rules_are_called(
    changes: dict[str, object], effect: Effect, rules: tuple[str, ...]
) -> None:
    verdict = FilePolicy(EXAMPLES / "policy.toml").evaluate(facts(**changes))
    assert (verdict.effect, verdict.rules) == (effect, rules)
