"""Claims about every event at every stage of a request's life: what it leads to, or its refusal."""

from collections.abc import Callable, Sequence
from copy import deepcopy
from itertools import product

import pytest

from governor.domain.approval import VoteKind
from governor.domain.auditing import audited
from governor.domain.compensating import rollback_impossible
from governor.domain.emergency import glass_lost
from governor.domain.errors import (
    Conflict,
    IllegalTransition,
    NotEligible,
    NotInDoubt,
    NotWaiting,
    NoVote,
)
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
from governor.domain.gates import Gate
from governor.domain.gating import gate_answered, gate_timed_out
from governor.domain.lifecycle import Trigger
from governor.domain.policy import Verdict
from governor.domain.request import Pending, PendingReason, Status
from governor.domain.resolution import Resolution
from governor.domain.staleness import revalidated, stale_before_claim
from governor.domain.values import AuditId, ExecutionId, Identity, Reason, RequestId
from governor.domain.voting import approval_lapsed, eligibility_lost, revoked, voted
from governor.domain.waits import gates_wait
from governor.domain.workflow import (
    Advance,
    canceled,
    dependencies_ended,
    dependency_failed,
    execution_window_passed,
    expired,
    reason_resolved,
    submitted,
    superseded,
    window_closed,
)
from tests.support.domain_builders import (
    ALLOWED,
    ANN,
    APPLIED,
    BOB,
    CHECK,
    CROWD,
    DENIED,
    DEPENDENCY,
    DOUBT,
    INVALID,
    LEASE_US,
    LOOK,
    OPERATOR,
    QUOTA,
    REQUESTER,
    SCHEDULE,
    STAGES,
    Crowd,
    Stage,
    deferred,
    later,
    plan_seen,
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
        seen_plan=plan_seen(at.request),
        electorate=CROWD,
        now=NOW,
        reason=None,
    )


def takes_back(voter: Identity) -> Event:
    return lambda at: revoked(at.request, actor=voter, reason=LOOKED, now=NOW)


def loses_the_role(voter: Identity) -> Event:
    people = Crowd(**{voter.id: "no role any more"})
    return lambda at: unless_none(
        at, eligibility_lost(at.request, electorate=people, now=NOW), Trigger.VOTE_REVOKED
    )


def lets_the_deadline_pass(at: Stage) -> Advance:
    return unless_none(at, approval_lapsed(at.request, now=NOW), Trigger.EXPIRED)


def unless_none(at: Stage, after: Advance | None, trigger: Trigger) -> Advance:
    """Nothing to be done is a refusal here."""
    if after is None:
        raise IllegalTransition(at.request.status, trigger)
    return after


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


def answers(gate: Gate, *, passed: bool) -> Event:
    return lambda at: gate_answered(
        at.request,
        reason=PendingReason(gate.reason),
        name=gate.name,
        passed=passed,
        seen_digest=at.request.progress.digest,
        actor=OPERATOR,
        finding=LOOKED,
        now=NOW,
    )


def runs_out(gate: Gate) -> Event:
    (pending,) = gates_wait((gate,), NOW)
    return lambda at: gate_timed_out(at.request, pending, now=NOW)


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
    "Ann takes it back": takes_back(ANN),
    "Bob takes it back": takes_back(BOB),
    "Ann loses her role": loses_the_role(ANN),
    "the deadline has passed": lets_the_deadline_pass,
    "the schedule is due": resolves(PendingReason.SCHEDULE),
    "the dependency is executed": resolves(PendingReason.DEPENDENCY),
    "approval is waved through": resolves(PendingReason.APPROVAL),
    "revalidation is waved through": resolves(PendingReason.REVALIDATION),
    "audit is waved through": resolves(PendingReason.AUDIT),
    "the dependency failed": lambda at: dependency_failed(
        at.request, on=RequestId("r-0"), status=Status.FAILED, now=NOW
    ),
    "the dependencies ended, one otherwise": lambda at: dependencies_ended(
        at.request, failed={RequestId("r-0"): Status.FAILED}, now=NOW
    ),
    "the dependencies are executed": lambda at: dependencies_ended(at.request, failed={}, now=NOW),
    "the check passes": answers(CHECK, passed=True),
    "the check fails": answers(CHECK, passed=False),
    "the check runs out of time": runs_out(CHECK),
    "the quota is released": answers(QUOTA, passed=True),
    "the quota is refreshed": runs_out(QUOTA),
    "the review passes": answers(LOOK, passed=True),
    "the review fails": answers(LOOK, passed=False),
    "the review runs out of time": runs_out(LOOK),
    "the glass was not theirs to break": lambda at: glass_lost(at.request, now=NOW),
    "canceled": cancels,
    "superseded": supersedes,
    "expired": lambda at: expired(at.request, now=NOW),
    "the execution window passed": lambda at: execution_window_passed(at.request, now=NOW),
    "the host takes nothing back": lambda at: rollback_impossible(at.request, now=NOW),
    "the window closed": lambda at: window_closed(at.request, now=NOW),
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

WAITING = (
    "asked",
    "half approved",
    "asked and scheduled",
    "asked with a deadline",
    "consented and scheduled",
    "scheduled",
    "dependent",
    "checked",
    "asked and gated",
)
ALL = "APPROVAL EXTERNAL_CHECK QUOTA MANUAL_REVIEW"
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
        ("asked and gated",): ("PENDING", ALL, "approval:granted"),
    },
    "Bob approves": {
        ("asked",): ("PENDING", "APPROVAL", "approval:granted"),
        ("asked and scheduled",): ("PENDING", "APPROVAL SCHEDULE", "approval:granted"),
        ("asked and gated",): ("PENDING", ALL, "approval:granted"),
        ("half approved",): (
            "APPROVED",
            "",
            "approval:granted approval:quorum_satisfied approved",
        ),
    },
    "Bob rejects": {
        ("asked", "half approved", "asked and scheduled", "asked and gated"): (
            "REJECTED",
            "",
            "approval:rejected rejected",
        ),
    },
    "Ann takes it back": {
        ("half approved",): ("PENDING", "APPROVAL", "approval:revoked"),
        ("consented", "free again"): (
            "PENDING",
            "APPROVAL",
            "approval:revoked pending approval:requested",
        ),
        ("consented and scheduled",): (
            "PENDING",
            "APPROVAL SCHEDULE",
            "approval:revoked pending approval:requested",
        ),
    },
    "Bob takes it back": {
        ("consented", "free again"): (
            "PENDING",
            "APPROVAL",
            "approval:revoked pending approval:requested",
        ),
        ("consented and scheduled",): (
            "PENDING",
            "APPROVAL SCHEDULE",
            "approval:revoked pending approval:requested",
        ),
    },
    "Ann loses her role": {
        ("half approved",): ("PENDING", "APPROVAL", "approval:voided"),
        ("consented", "free again"): (
            "PENDING",
            "APPROVAL",
            "approval:voided pending approval:requested",
        ),
        ("consented and scheduled",): (
            "PENDING",
            "APPROVAL SCHEDULE",
            "approval:voided pending approval:requested",
        ),
    },
    "the deadline has passed": {
        ("asked with a deadline",): ("EXPIRED", "", "approval:expired expired"),
    },
    "the schedule is due": {
        ("scheduled", "consented and scheduled"): ("APPROVED", "", "approved"),
        ("asked and scheduled",): ("PENDING", "APPROVAL", "pending"),
    },
    "the dependency is executed": {("dependent",): ("APPROVED", "", "approved")},
    "approval is waved through": {},
    "revalidation is waved through": {},
    "audit is waved through": {},
    "the dependency failed": {("dependent",): ("REJECTED", "", "rejected")},
    "the dependencies ended, one otherwise": {("dependent",): ("REJECTED", "", "rejected")},
    "the dependencies are executed": {("dependent",): ("APPROVED", "", "approved")},
    "the check passes": {
        ("checked",): ("APPROVED", "", "check:passed approved"),
        ("asked and gated",): ("PENDING", "APPROVAL QUOTA MANUAL_REVIEW", "check:passed pending"),
    },
    "the check fails": {
        ("checked", "asked and gated"): ("REJECTED", "", "check:failed rejected"),
    },
    "the check runs out of time": {
        ("checked", "asked and gated"): ("REJECTED", "", "check:timed_out rejected"),
    },
    "the quota is released": {
        ("asked and gated",): (
            "PENDING",
            "APPROVAL EXTERNAL_CHECK MANUAL_REVIEW",
            "check:passed pending",
        ),
    },
    "the quota is refreshed": {
        ("asked and gated",): (
            "PENDING",
            "APPROVAL EXTERNAL_CHECK MANUAL_REVIEW",
            "check:passed pending",
        ),
    },
    "the review passes": {
        ("asked and gated",): ("PENDING", "APPROVAL EXTERNAL_CHECK QUOTA", "check:passed pending"),
    },
    "the review fails": {("asked and gated",): ("REJECTED", "", "check:failed rejected")},
    "the review runs out of time": {
        ("asked and gated",): ("REJECTED", "", "check:timed_out rejected"),
    },
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
    "the execution window passed": {
        (*WAITING, "revalidating", *READY): ("EXPIRED", "", "expired"),
    },
    "the host takes nothing back": {READY: ("REJECTED", "", "rejected")},
    "the window closed": {READY: ("PENDING", "SCHEDULE", "pending")},
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
GATE_EVENTS = (
    "the check passes",
    "the check fails",
    "the check runs out of time",
    "the quota is released",
    "the quota is refreshed",
    "the review passes",
    "the review fails",
    "the review runs out of time",
)
OTHER_REFUSALS: dict[tuple[str, str], type[Exception]] = {
    **{(event, stage): NotWaiting for event in GATE_EVENTS for stage in (*WAITING, "revalidating")},
    ("Ann approves", "half approved"): NotEligible,
    **{
        (event, "asked with a deadline"): NotEligible
        for event in ("Ann approves", "Bob approves", "Bob rejects")
    },
    **{("Ann takes it back", stage): NoVote for stage in (*WAITING, "revalidating", *READY)},
    **{("Bob takes it back", stage): NoVote for stage in (*WAITING, "revalidating", *READY)},
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
    } == set(PendingReason) - {PendingReason.BATCH}, "what a batch lets go, see test_batches.py"


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
