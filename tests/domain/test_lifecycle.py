"""Claims about the transition table: it is this one, whole, and it refuses everything else."""

from copy import deepcopy
from itertools import product

import pytest

from governor.domain.errors import IllegalTransition
from governor.domain.lifecycle import (
    AUDIT_TRIGGERS,
    TRANSITIONS,
    Trigger,
    check,
    next_status,
)
from governor.domain.request import TERMINAL, PendingReason, Status
from tests.support.domain_builders import STAGES

# The law once more, written by hand and by trigger where the product writes it by status.
LAW = {
    "POLICY_ALLOWED": "CREATED->APPROVED",
    "MUST_WAIT": "CREATED->PENDING PENDING->PENDING",
    "POLICY_DENIED": "CREATED->REJECTED PENDING->REJECTED",
    "VOTED": "PENDING->PENDING",
    "VOTED_DOWN": "PENDING->REJECTED",
    "VOTE_REVOKED": "PENDING->PENDING APPROVED->APPROVED",
    "APPROVAL_LOST": "PENDING->PENDING APPROVED->PENDING",
    "REASON_RESOLVED": "PENDING->PENDING",
    "LAST_REASON_RESOLVED": "PENDING->APPROVED",
    "DEPENDENCY_FAILED": "PENDING->REJECTED",
    "CHECK_FAILED": "PENDING->REJECTED",
    "CANCELED": "PENDING->CANCELED APPROVED->CANCELED EXECUTING->CANCELED",
    "SUPERSEDED": "PENDING->SUPERSEDED APPROVED->SUPERSEDED EXECUTING->SUPERSEDED",
    "EXPIRED": "PENDING->EXPIRED APPROVED->EXPIRED",
    "WINDOW_CLOSED": "APPROVED->PENDING",
    "NOT_REVERSIBLE": "APPROVED->REJECTED",
    "CLAIMED": "APPROVED->EXECUTING",
    "RECLAIMED": "EXECUTING->EXECUTING",
    "STALE_REJECTED": "APPROVED->REJECTED EXECUTING->REJECTED",
    "RENEWAL_REQUIRED": "APPROVED->PENDING EXECUTING->PENDING",
    "REVALIDATION_REQUIRED": "APPROVED->PENDING EXECUTING->PENDING",
    "VALIDATION_FAILED": "PENDING->FAILED",
    "APPLIED": "EXECUTING->EXECUTED",
    "REFUSED": "EXECUTING->FAILED",
    "NOT_APPLIED": "EXECUTING->APPROVED",
    "IN_DOUBT": "EXECUTING->PENDING",
    "BATCH_ADVANCED": "EXECUTING->EXECUTING",
    "BATCH_FAILED": "EXECUTING->FAILED",
}
AUDIT_LAW = {
    "AUDITED_APPLIED": "PENDING->EXECUTED",
    "AUDITED_NOT_APPLIED": "PENDING->FAILED",
}

EVERYTHING = list(product(Status, (False, True), Trigger))


def lawful(status: Status, in_audit: bool, trigger: Trigger) -> str | None:
    rows = (AUDIT_LAW if in_audit else LAW).get(trigger.value, "")
    return dict(row.split("->") for row in rows.split()).get(status.value)


@pytest.mark.parametrize(("status", "in_audit", "trigger"), EVERYTHING)
def test_the_table_answers_the_law_and_refuses_its_whole_complement(
    status: Status, in_audit: bool, trigger: Trigger
) -> None:
    expected = lawful(status, in_audit, trigger)
    if expected is not None:
        assert next_status(status, trigger, in_audit=in_audit) is Status(expected)
        return
    with pytest.raises(IllegalTransition) as refusal:
        next_status(status, trigger, in_audit=in_audit)
    assert refusal.value.trigger == trigger
    assert refusal.value.facts["trigger"] == trigger
    assert refusal.value.facts["status"].split(" ")[0] == status
    assert ("AUDIT" in refusal.value.facts["status"]) is in_audit


def test_every_status_has_a_row_and_every_row_knows_only_statuses() -> None:
    assert set(TRANSITIONS) == set(Status)
    assert {target for row in TRANSITIONS.values() for target in row.values()} == (
        set(Status) - {Status.CREATED}
    )


def test_terminal_rows_are_empty_and_only_they_are() -> None:
    assert {status for status, row in TRANSITIONS.items() if not row} == TERMINAL


def test_every_trigger_is_used() -> None:
    assert {trigger for row in TRANSITIONS.values() for trigger in row} == set(Trigger)
    assert set(LAW) | set(AUDIT_LAW) == {trigger.value for trigger in Trigger}


def test_every_status_can_end() -> None:
    ends = set(TERMINAL)
    while (
        more := {status for status, row in TRANSITIONS.items() if ends.intersection(row.values())}
        - ends
    ):
        ends |= more
    assert ends == set(Status)


def test_nothing_returns_to_created() -> None:
    assert all(Status.CREATED not in row.values() for row in TRANSITIONS.values())


def test_only_an_approved_request_is_claimed_and_only_a_claim_leads_to_executing() -> None:
    ways = {
        (status, trigger)
        for status, row in TRANSITIONS.items()
        for trigger, target in row.items()
        if target is Status.EXECUTING and status is not Status.EXECUTING
    }
    assert ways == {(Status.APPROVED, Trigger.CLAIMED)}


def test_what_audit_may_find_are_the_two_outcomes() -> None:
    assert {trigger.value for trigger in AUDIT_TRIGGERS} == set(AUDIT_LAW)


@pytest.mark.parametrize("name", STAGES)
@pytest.mark.parametrize("trigger", Trigger)
def test_checking_a_request_asks_the_table_and_changes_nothing(name: str, trigger: Trigger) -> None:
    request = STAGES[name]().request
    before = deepcopy(request)
    in_audit = request.waits_for(PendingReason.AUDIT)
    assert in_audit is (name == "in audit")
    expected = lawful(request.status, in_audit, trigger)
    if expected is None:
        with pytest.raises(IllegalTransition):
            check(request, trigger)
    else:
        assert check(request, trigger) is Status(expected)
    assert request == before
