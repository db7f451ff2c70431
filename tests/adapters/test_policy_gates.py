"""The policy file's checks, quotas, reviews and windows: strict, and by value in every rule."""

from pathlib import Path

import pytest

from governor.domain.approval import Target
from governor.domain.gates import Gate, Window
from governor.domain.policy import Effect
from governor.domain.values import TargetKind
from governor.policy_file import FilePolicy, load_policy
from governor.policy_gates import CheckService
from governor.strict_toml import FileRefused

CHECK = '[[check]]\nname = "calendar"\ntimeout_seconds = 60\n'
QUOTA = '[[quota]]\nname = "daily"\n'
WINDOW = '[[window]]\nname = "nights"\nopens = "0 22 * * MON-THU"\nlasts_minutes = 480\n'
DEFER = '[[rule]]\nid = "a"\neffect = "defer"\n'
ALLOW = '[[rule]]\nid = "a"\neffect = "allow"\n'
REVIEW = '[rule.manual_review]\nname = "risk"\n'
ASK = '[[rule]]\nid = "b"\neffect = "require_approval"\n'
STEP = '[[rule.step]]\nname = "s"\n[[rule.step.requirement]]\nid = "r"\ntargets = ["role:owner"]\n'


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "policy.toml"


def refusal(path: Path, text: str) -> str:
    path.write_text(text)
    with pytest.raises(FileRefused) as refused:
        load_policy(path)
    return str(refused.value)


@pytest.mark.parametrize(
    ("text", "fact"),
    [
        (DEFER, "rule[0] ('a'): defer needs a [[rule.step]], checks, quotas, windows or a man"),
        (DEFER + "execution_window_seconds = 60", "rule[0] ('a'): defer needs a [[rule.step]]"),
        (ASK + "quotas = ['daily']\n" + QUOTA, "require_approval needs at least one [[rule.step]]"),
        (CHECK + ALLOW + "checks = ['calendar']", "allow makes nothing wait"),
        (ALLOW + "execution_window_seconds = 60", "allow makes nothing wait"),
        (ALLOW + REVIEW, "allow makes nothing wait"),
        (CHECK + DEFER + "checks = ['calender']", "checks names 'calender', which is not there; "),
        (CHECK + DEFER + "checks = ['calender']", "did you mean calendar?"),
        (QUOTA + DEFER + "quotas = ['calendar']", "quotas names 'calendar', which is not there"),
        (WINDOW + DEFER + "windows = ['night']", "windows names 'night', which is not there; did"),
        (DEFER + "checks = []", "checks: list should have at least 1 item"),
        (CHECK * 2, "check name 'calendar' is used more than once"),
        (QUOTA * 2, "quota name 'daily' is used more than once"),
        (WINDOW * 2, "window name 'nights' is used more than once"),
        ('[[check]]\nname = "c"\n', "check[0] ('c').timeout_seconds: is required"),
        (CHECK + "timeout_seconds = 0", "is not TOML"),
        (CHECK.replace("60", "0"), "timeout_seconds: should be greater than or equal to 1"),
        (CHECK.replace("60", "7776001"), "timeout_seconds: should be less than or equal"),
        (CHECK.replace("60", '"60"'), "timeout_seconds: should be a valid integer"),
        (CHECK + "address = 'nowhere'", "check[0] ('calendar').address: "),
        (CHECK + "tls_ca_file = 'ca.pem'", "tls_ca_file is for the connection to an address"),
        (CHECK + "resolvers = ['owner']", "resolvers[0]: must be actor:NAME, role:NAME or"),
        (CHECK + "retries = 3", "check[0] ('calendar').retries: there is no such key"),
        (CHECK + "address = 'h:1'\ntls_ca_file = '/none'", "/none: No such file"),
        (CHECK + "address = 'h:1'", "h:1 is on another machine and needs tls_ca_file"),
        (QUOTA + "refresh_seconds = 0", "refresh_seconds: should be greater than or equal to 1"),
        (WINDOW.replace("480", "0"), "lasts_minutes: should be greater than or equal to 1"),
        (WINDOW.replace("480", "44641"), "lasts_minutes: should be less than or equal"),
        (WINDOW.replace("0 22 * * MON-THU", "0 22 * *"), "must be 5 cron fields"),
        (WINDOW.replace("0 22 * * MON-THU", "0 25 * * *"), "Bad hour"),
        (WINDOW.replace("0 22 * * MON-THU", "0 0 30 2 *"), "Bad day-of-month"),
        (WINDOW + "timezone = 'Europe/Berlyn'", "window[0] ('nights'): "),
        (DEFER + REVIEW.replace("risk", "dependency"), "is that of the review of a dependency"),
        (DEFER + "[rule.manual_review]\n", "manual_review.name: is required"),
        (
            DEFER + REVIEW + ASK.replace("require_approval", "defer") + REVIEW + "detail = 'x'",
            "rule 'b': manual_review 'risk' is another one in another rule",
        ),
    ],
)
def test_a_faulty_file_is_refused_with_the_key_and_the_fact(
    path: Path, text: str, fact: str
) -> None:
    found = refusal(path, text)
    assert found.startswith(f"{path}: ")
    assert fact in found


def test_a_rule_holds_what_it_demands_by_value(path: Path, tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_bytes(b"PEM")
    path.write_text(
        f"""
        [[check]]
        name = "calendar"
        address = "checks.example:443"
        tls_ca_file = "{tmp_path}/ca.pem"
        timeout_seconds = 600
        call_seconds_max = 2.5

        [[check]]
        name = "ticket"
        timeout_seconds = 60
        resolvers = ["role:desk"]

        [[quota]]
        name = "daily"
        refresh_seconds = 86400
        resolvers = ["group:capacity"]

        [[window]]
        name = "nights"
        opens = "0 22 * * MON-THU"
        lasts_minutes = 480
        timezone = "Europe/Berlin"

        [[rule]]
        id = "whole"
        effect = "defer"
        checks = ["ticket", "calendar", "ticket"]
        quotas = ["daily"]
        windows = ["nights"]
        execution_window_seconds = 3600

        [rule.manual_review]
        name = "risk"
        resolvers = ["actor:ann"]
        timeout_seconds = 900
        detail = "look at the blast radius"
        """
    )
    loaded = load_policy(path)
    (rule,) = loaded.rules
    assert rule.effect is Effect.DEFER
    assert rule.gates == (
        Gate(
            reason="EXTERNAL_CHECK",
            name="ticket",
            timeout_seconds=60,
            resolvers=(Target(kind=TargetKind.ROLE, name="desk"),),
        ),
        Gate(reason="EXTERNAL_CHECK", name="calendar", timeout_seconds=600, called=True),
        Gate(
            reason="QUOTA",
            name="daily",
            timeout_seconds=86_400,
            resolvers=(Target(kind=TargetKind.GROUP, name="capacity"),),
        ),
        Gate(
            reason="MANUAL_REVIEW",
            name="risk",
            timeout_seconds=900,
            resolvers=(Target(kind=TargetKind.ACTOR, name="ann"),),
            detail="look at the blast radius",
        ),
    )
    assert rule.windows == (
        Window(
            name="nights",
            opens="0 22 * * MON-THU",
            lasts_seconds=28_800,
            timezone="Europe/Berlin",
        ),
    )
    assert rule.execution_window_seconds == 3600
    assert loaded.check_services == {
        "calendar": CheckService(target="checks.example:443", call_seconds_max=2.5, tls_ca=b"PEM")
    }


def test_approval_and_the_rest_go_together(path: Path) -> None:
    path.write_text(CHECK + ASK + "checks = ['calendar']\n" + STEP)
    (rule,) = load_policy(path).rules
    assert [gate.name for gate in rule.gates] == ["calendar"]
    assert [step.name for step in rule.steps] == ["s"]


def test_a_check_is_answered_where_the_file_says_by_now(path: Path) -> None:
    path.write_text(CHECK + "address = 'unix:/run/a.sock'\n")
    policy = FilePolicy(path)
    assert policy.check_service("calendar") is not None
    assert policy.check_service("another") is None
    path.write_text(CHECK)
    assert policy.reload()
    assert policy.check_service("calendar") is None
