"""Claims about every event at every stage of a request's life: what it leads to, or its refusal."""

from collections.abc import Callable, Sequence
from copy import deepcopy
from itertools import product

import pytest

from governor.domain.approval import VoteKind
from governor.domain.auditing import audited
from governor.domain.emergency import glass_lost
from governor.domain.errors import Conflict, IllegalTransition, NotEligible, NotInDoubt
from governor.domain.executing import (
    Progression,
    claimed,
    in_doubt,
    not_applied,
    reclaimed,
    settled,
    withdrawn,
)
from governor.domain.execution import Applied, Outcome, Refused, VersionMismatch
from governor.domain.policy import Verdict
from governor.domain.request import Pending, PendingReason, Status
from governor.domain.resolution import Resolution
from governor.domain.staleness import revalidated, stale_before_claim
from governor.domain.values import AuditId, ExecutionId, Identity, Reason, RequestId
from governor.domain.workflow import (
    Advance,
    canceled,
    dependency_failed,
    expired,
    reason_resolved,
    submitted,
    superseded,
    voted,
)
from tests.support.domain_builders import (
    ALLOWED,
    ANN,
    APPLIED,
    BOB,
    DENIED,
    DEPENDENCY,
    DOUBT,
    INVALID,
    LEASE_US,
    OPERATOR,
    REQUESTER,
    SCHEDULE,
    STAGES,
    Stage,
    deferred,
    later,
)

NOW = later(5)
LOOKED = Reason(code="LOOKED", message="I looked")

Event = Callable[[Stage], Advance | Progression]


def submits(verdict: Verdict, *waits: Pending) -> Event:
    return lambda at: submitted(at.request, verdict=verdict, waits=waits, actor=REQUESTER, now=NOW)


def votes(voter: Identity, kind: VoteKind) -> Event:
    return lambda at: voted(
        at.request,
        voter=voter,
        kind=kind,
        seen_digest=at.request.progress.digest,
        now=NOW,
        reason=None,
    )


def resolves(reason: PendingReason) -> Event:
    return lambda at: reason_resolved(at.request, reason, now=NOW)


def claims(resolution: Resolution | None) -> Event:
    return lambda at: claimed(
        at.request,
        execution_id=ExecutionId("x-9"),
        audit_id=AuditId("audit-x-9"),
        starter=OPERATOR,
        now=NOW,
        lease_us=LEASE_US,
        resolution=resolution,
    )


def settles(outcome: Outcome) -> Event:
    return lambda at: settled(at.request, at.running, outcome, attempts=1, now=NOW)


def reclaims(*, lease_lost: bool) -> Event:
    return lambda at: reclaimed(
        at.request, at.running, now=NOW, lease_us=LEASE_US, lease_lost=lease_lost
    )


def audits(found: Applied | None) -> Event:
    return lambda at: audited(
        at.request, at.running, found=found, actor=OPERATOR, now=NOW, reason=LOOKED
    )


def revalidates(verdict: Verdict, violation: Reason | None = None) -> Event:
    return lambda at: revalidated(
        at.request, verdict=verdict, violation=violation, current_version="9", now=NOW
    )


def cancels(at: Stage) -> Advance:
    return canceled(at.request, actor=OPERATOR, now=NOW, comment="no longer needed")


def supersedes(at: Stage) -> Advance:
    return superseded(at.request, by=RequestId("r-2"), actor=REQUESTER, now=NOW)


def withdraws(at: Stage) -> Progression:
    return withdrawn(at.running, cancels(at), now=NOW)


EVENTS: dict[str, Event] = {
    "submitted, allowed": submits(ALLOWED),
    "submitted, allowed, with a schedule": submits(ALLOWED, SCHEDULE),
    "submitted, deferred": submits(deferred()),
    "submitted, deferred, with waits": submits(deferred(), SCHEDULE, DEPENDENCY),
    "submitted, denied": submits(DENIED),
    "submitted, denied, with a schedule": submits(DENIED, SCHEDULE),
    "Ann approves": votes(ANN, VoteKind.APPROVE),
    "Bob approves": votes(BOB, VoteKind.APPROVE),
    "Bob rejects": votes(BOB, VoteKind.REJECT),
    "the schedule is due": resolves(PendingReason.SCHEDULE),
    "the dependency is executed": resolves(PendingReason.DEPENDENCY),
    "approval is waved through": resolves(PendingReason.APPROVAL),
    "revalidation is waved through": resolves(PendingReason.REVALIDATION),
    "audit is waved through": resolves(PendingReason.AUDIT),
    "the dependency failed": lambda at: dependency_failed(
        at.request, on=RequestId("r-0"), status=Status.FAILED, now=NOW
    ),
    "the glass was not theirs to break": lambda at: glass_lost(at.request, now=NOW),
    "canceled": cancels,
    "superseded": supersedes,
    "expired": lambda at: expired(at.request, now=NOW),
    "claimed": claims(None),
    "claimed, validated": claims(Resolution.VALIDATED),
    "claimed, unversioned": claims(Resolution.UNVERSIONED),
    "reclaimed": reclaims(lease_lost=False),
    "reclaimed, lease lost": reclaims(lease_lost=True),
    "applied": settles(APPLIED),
    "refused": settles(Refused(reason=INVALID)),
    "mismatched": settles(VersionMismatch(current_version="9")),
    "not applied": lambda at: not_applied(
        at.request, at.running, attempts=1, now=NOW, reason=DOUBT
    ),
    "fenced and canceled": withdraws,
    "in doubt": lambda at: in_doubt(at.request, at.running, attempts=1, now=NOW, reason=DOUBT),
    "audited, applied": audits(APPLIED),
    "audited, not applied": audits(None),
    "stale before the claim": lambda at: stale_before_claim(
        at.request, current_version="9", now=NOW
    ),
    "revalidated, allowed": revalidates(ALLOWED),
    "revalidated, deferred": revalidates(deferred()),
    "revalidated, denied": revalidates(DENIED),
    "revalidated, invalid": revalidates(ALLOWED, INVALID),
}

WAITING = ("asked", "half approved", "asked and scheduled", "scheduled", "dependent")
READY = ("approved", "consented", "glass broken", "free again")

# event: {stages: (status, what it then waits for, the decisions in their order)}
LAW: dict[str, dict[Sequence[str], tuple[str, str, str]]] = {
    "submitted, allowed": {
        ("created",): ("APPROVED", "", "submitted policy:allowed approved"),
    },
    "submitted, allowed, with a schedule": {
        ("created",): ("PENDING", "SCHEDULE", "submitted policy:allowed pending"),
    },
    "submitted, deferred": {
        ("created",): (
            "PENDING",
            "APPROVAL",
            "submitted policy:deferred pending approval:requested",
        ),
    },
    "submitted, deferred, with waits": {
        ("created",): (
            "PENDING",
            "APPROVAL SCHEDULE DEPENDENCY",
            "submitted policy:deferred pending approval:requested",
        ),
    },
    "submitted, denied": {
        ("created",): ("REJECTED", "", "submitted policy:denied rejected"),
    },
    "submitted, denied, with a schedule": {
        ("created",): ("REJECTED", "", "submitted policy:denied rejected"),
    },
    "Ann approves": {
        ("asked",): ("PENDING", "APPROVAL", "approval:granted"),
        ("asked and scheduled",): ("PENDING", "APPROVAL SCHEDULE", "approval:granted"),
    },
    "Bob approves": {
        ("asked",): ("PENDING", "APPROVAL", "approval:granted"),
        ("asked and scheduled",): ("PENDING", "APPROVAL SCHEDULE", "approval:granted"),
        ("half approved",): (
            "APPROVED",
            "",
            "approval:granted approval:quorum_satisfied approved",
        ),
    },
    "Bob rejects": {
        ("asked", "half approved", "asked and scheduled"): (
            "REJECTED",
            "",
            "approval:rejected rejected",
        ),
    },
    "the schedule is due": {
        ("scheduled",): ("APPROVED", "", "approved"),
        ("asked and scheduled",): ("PENDING", "APPROVAL", "pending"),
    },
    "the dependency is executed": {("dependent",): ("APPROVED", "", "approved")},
    "approval is waved through": {},
    "revalidation is waved through": {},
    "audit is waved through": {},
    "the dependency failed": {("dependent",): ("REJECTED", "", "rejected")},
    "the glass was not theirs to break": {
        ("glass broken",): (
            "PENDING",
            "APPROVAL",
            "approval:voided pending approval:requested",
        ),
    },
    "canceled": {
        (*WAITING, "revalidating", *READY, "executing"): ("CANCELED", "", "canceled"),
    },
    "superseded": {
        (*WAITING, "revalidating", *READY, "executing"): ("SUPERSEDED", "", "superseded"),
    },
    "expired": {(*WAITING, "revalidating", *READY): ("EXPIRED", "", "expired")},
    "claimed": {READY: ("EXECUTING", "", "execution:claimed")},
    "claimed, validated": {
        READY: ("EXECUTING", "", "version_resolution:validated execution:claimed"),
    },
    "claimed, unversioned": {
        READY: ("EXECUTING", "", "version_resolution:unversioned execution:claimed"),
    },
    "reclaimed": {("executing",): ("EXECUTING", "", "execution:claimed")},
    "reclaimed, lease lost": {
        ("executing",): ("EXECUTING", "", "execution:lease_lost execution:claimed"),
    },
    "applied": {
        ("executing",): (
            "EXECUTED",
            "",
            "version_resolution:validated execution:applied executed",
        ),
    },
    "refused": {("executing",): ("FAILED", "", "execution:refused failed")},
    "mismatched": {
        ("executing",): ("REJECTED", "", "version_resolution:rejected_as_stale rejected"),
    },
    "not applied": {("executing",): ("APPROVED", "", "execution:resolved")},
    "fenced and canceled": {("executing",): ("CANCELED", "", "execution:resolved canceled")},
    "in doubt": {("executing",): ("PENDING", "AUDIT", "execution:in_doubt pending")},
    "audited, applied": {("in audit",): ("EXECUTED", "", "execution:resolved executed")},
    "audited, not applied": {("in audit",): ("FAILED", "", "execution:resolved failed")},
    "stale before the claim": {
        READY: ("REJECTED", "", "version_resolution:rejected_as_stale rejected"),
    },
    "revalidated, allowed": {
        ("revalidating",): ("APPROVED", "", "check:passed policy:allowed approved"),
    },
    "revalidated, deferred": {
        ("revalidating",): (
            "PENDING",
            "APPROVAL",
            "check:passed policy:deferred pending approval:requested",
        ),
    },
    "revalidated, denied": {
        ("revalidating",): ("REJECTED", "", "policy:denied rejected"),
    },
    "revalidated, invalid": {("revalidating",): ("FAILED", "", "check:failed failed")},
}

# Refusals whose cause is not the status: who votes twice, what is not in doubt, what is over.
OTHER_REFUSALS: dict[tuple[str, str], type[Exception]] = {
    ("Ann approves", "half approved"): NotEligible,
    **{("audited, applied", stage): NotInDoubt for stage in STAGES if stage != "in audit"},
    **{("audited, not applied", stage): NotInDoubt for stage in STAGES if stage != "in audit"},
    **{("fenced and canceled", stage): Conflict for stage in (*WAITING, "revalidating", *READY)},
}


def lawful(event: str, stage: str) -> tuple[str, str, str] | None:
    answers = [row for stages, row in LAW[event].items() if stage in stages]
    assert len(answers) <= 1
    return answers[0] if answers else None


LEGAL = [pair for pair in product(EVENTS, STAGES) if lawful(*pair)]
ILLEGAL = [pair for pair in product(EVENTS, STAGES) if not lawful(*pair)]


def test_the_law_speaks_of_every_event_and_of_known_stages_only() -> None:
    assert set(LAW) == set(EVENTS)
    assert {stage for rows in LAW.values() for stages in rows for stage in stages} <= set(STAGES)
    assert {STAGES[stage]().request.status for stage in STAGES} == set(Status)
    assert {
        pending.reason for stage in STAGES for pending in STAGES[stage]().request.progress.pending
    } == set(PendingReason)


@pytest.mark.parametrize(("event", "stage"), ILLEGAL)
def test_an_event_out_of_place_is_refused_and_nothing_has_changed(event: str, stage: str) -> None:
    at = STAGES[stage]()
    before = deepcopy(at)
    with pytest.raises(OTHER_REFUSALS.get((event, stage), IllegalTransition)):
        EVENTS[event](at)
    assert at == before


@pytest.mark.parametrize(("event", "stage"), LEGAL)
def test_an_event_in_place_leads_where_the_law_says_and_is_decided_in_order(
    event: str, stage: str
) -> None:
    status, waits_for, codes = lawful(event, stage) or ("", "", "")
    after = EVENTS[event](STAGES[stage]())
    assert after.request.status == status
    assert " ".join(pending.reason for pending in after.request.progress.pending) == waits_for
    assert [decision.code.category.value.lower() for decision in after.decisions] == [
        code.split(":")[0] if ":" in code else "lifecycle" for code in codes.split()
    ]
    assert [decision.code.text for decision in after.decisions] == [
        code.split(":")[-1] for code in codes.split()
    ]


@pytest.mark.parametrize(("event", "stage"), LEGAL)
def test_every_decision_names_its_request_and_execution_as_they_stand_afterwards(
    event: str, stage: str
) -> None:
    at = STAGES[stage]()
    after = EVENTS[event](at)
    execution = after.execution if isinstance(after, Progression) else None
    request = after.request
    assert after.decisions
    for decision in after.decisions:
        assert decision.request_id == request.id
        assert decision.request_audit_id == request.audit_id
        assert decision.tenant == request.tenant
        assert decision.state == request.state
        assert decision.mutation_type == request.content.mutation_type
        assert decision.status in (at.request.status, request.status)
        assert decision.digest == request.progress.digest != b""
        assert decision.at == NOW
        assert decision.execution_id == (execution.id if execution else None)
        assert decision.execution_audit_id == (execution.audit_id if execution else None)
    assert after.decisions[-1].status is request.status


@pytest.mark.parametrize(("event", "stage"), LEGAL)
def test_an_event_changes_the_progress_alone_and_leaves_its_arguments_as_they_were(
    event: str, stage: str
) -> None:
    at = STAGES[stage]()
    before = deepcopy(at)
    after = EVENTS[event](at).request
    assert at == before
    assert after.but(progress=before.request.progress) == before.request
    assert after.progress.updated_at == NOW


@pytest.mark.parametrize(("event", "stage"), LEGAL)
def test_what_has_ended_waits_for_nothing_and_is_due_for_a_review_alone(
    event: str, stage: str
) -> None:
    after = EVENTS[event](STAGES[stage]()).request
    if after.is_terminal:
        assert after.progress.pending == ()
        owes_a_review = after.progress.review is not None
        assert (after.due_at is None) is not owes_a_review


@pytest.mark.parametrize(("event", "stage"), LEGAL)
def test_an_execution_keeps_what_it_was_claimed_for(event: str, stage: str) -> None:
    at = STAGES[stage]()
    after = EVENTS[event](at)
    if not isinstance(after, Progression):
        return
    execution = after.execution
    assert after.request.progress.execution_id == execution.id
    assert execution.request_id == after.request.id
    assert execution.slot == after.request.slot
    assert execution.digest == at.request.progress.digest
    assert execution.is_active is (
        after.request.status is Status.EXECUTING or after.request.waits_for(PendingReason.AUDIT)
    )
    assert (execution.finished_at is None) is execution.is_active


CONTINUE = ("applied", "refused", "mismatched", "not applied", "in doubt", "reclaimed")


@pytest.mark.parametrize("event", CONTINUE)
def test_a_former_owner_can_say_nothing_about_the_execution_that_runs_now(event: str) -> None:
    running = STAGES["executing"]()
    another = running.running.but(id=ExecutionId("x-0"))
    over = STAGES["free again"]().running
    for stale in (another, over):
        with pytest.raises(Conflict):
            EVENTS[event](Stage(request=running.request, execution=stale))


def test_an_audit_of_another_execution_is_refused() -> None:
    doubtful = STAGES["in audit"]()
    another = doubtful.running.but(id=ExecutionId("x-0"))
    with pytest.raises(Conflict):
        audits(None)(Stage(request=doubtful.request, execution=another))


@pytest.mark.parametrize(
    "resolution",
    [
        Resolution.REJECTED_AS_STALE,
        Resolution.RENEWED_APPROVAL_REQUIRED,
        Resolution.REVALIDATION_REQUIRED,
    ],
)
def test_a_resolution_that_is_not_clean_lets_nothing_be_claimed(resolution: Resolution) -> None:
    with pytest.raises(ValueError, match=resolution.value):
        claims(resolution)(STAGES["approved"]())
