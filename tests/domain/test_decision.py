"""Claims about decisions: their codes are stable strings, and each says what it is about."""

import re

import pytest

from governor.domain.decision import Category, Code, decide
from governor.domain.values import GOVERNOR, Reason
from tests.support.domain_builders import OPERATOR, STAGES, T0

# What subscribers and auditors have come to rely on. A line may be added and none ever changed.
PUBLISHED = """
LIFECYCLE submitted pending approved rejected canceled expired superseded executed failed
POLICY allowed denied deferred
APPROVAL requested granted rejected revoked quorum_satisfied expired voided
CHECK passed failed timed_out
VERSION_RESOLUTION validated unversioned rejected_as_stale renewed_approval_required
VERSION_RESOLUTION revalidation_required
EXECUTION claimed applied refused in_doubt resolved lease_lost
HOST trusted held
BREAK_GLASS used reviewed review_overdue
LIFECYCLE compensated
COMPENSATION requested completed
BATCH advanced stopped compensating put_right
"""


def test_the_codes_are_the_published_ones() -> None:
    published = {
        (line.split()[0], text)
        for line in PUBLISHED.strip().splitlines()
        for text in line.split()[1:]
    }
    assert {(code.category.value, code.text) for code in Code} == published
    assert len(Code) == len(published)


def test_every_category_has_a_code() -> None:
    assert {code.category for code in Code} == set(Category)


@pytest.mark.parametrize("code", Code)
def test_a_code_is_a_lower_case_word(code: Code) -> None:
    assert re.fullmatch(r"[a-z]+(_[a-z]+)*", code.text)


def test_a_decision_carries_the_request_as_it_stands() -> None:
    request = STAGES["asked"]().request
    reason = Reason(code="BECAUSE")
    decision = decide(Code.PENDING, request, actor=OPERATOR, at=T0, reason=reason, facts={"a": "1"})
    assert (decision.code, decision.actor, decision.at) == (Code.PENDING, OPERATOR, T0)
    assert (decision.reason, decision.facts) == (reason, {"a": "1"})
    assert (decision.tenant, decision.request_id, decision.request_audit_id) == (
        "acme",
        "r-1",
        "audit-r-1",
    )
    assert (decision.status, decision.digest) == (request.status, request.progress.digest)
    assert (decision.state, decision.mutation_type) == (request.state, "flag.set")
    assert (decision.execution_id, decision.execution_audit_id) == (None, None)


def test_a_decision_about_an_execution_names_both_of_its_ids() -> None:
    at = STAGES["executing"]()
    decision = decide(Code.APPLIED, at.request, actor=GOVERNOR, at=T0, execution=at.running)
    assert (decision.execution_id, decision.execution_audit_id) == ("x-1", "audit-x-1")
    assert decision.facts == {}
