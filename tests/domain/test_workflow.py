"""Claims about what submissions, votes and endings record; where they lead is in test_stages."""

import pytest

from governor.domain.approval import Approval, StepMode, VoteKind
from governor.domain.decision import Code, Decision
from governor.domain.digest import request_digest
from governor.domain.errors import DigestMismatch, IllegalTransition, NotEligible
from governor.domain.policy import Effect, Verdict
from governor.domain.request import MutationRequest, Pending, PendingReason, Progress, Status
from governor.domain.values import GOVERNOR, Identity, Reason, RequestId
from governor.domain.voting import approval_lapsed, voted
from governor.domain.workflow import (
    Advance,
    canceled,
    dependency_failed,
    expired,
    reason_resolved,
    submitted,
    superseded,
)
from tests.support.domain_builders import (
    ALLOWED,
    ANN,
    BOB,
    CROWD,
    DENIED,
    DEPENDENCY,
    OPERATOR,
    REQUESTER,
    SCHEDULE,
    STAGES,
    TWO_APPROVERS,
    actor_target,
    deferred,
    later,
    new_request,
    person,
    plan,
    plan_seen,
    requirement,
    step,
    submit,
    vote,
)

NOW = later(5)
CAROL = person("carol")
IN_TWO_STEPS = plan(
    step("review", requirement("one", actor_target("ann"))),
    step("release", requirement("two", actor_target("carol"))),
)


def propose(verdict: Verdict, *waits: Pending, **content_changes: object) -> Advance:
    return submitted(
        new_request(**content_changes), verdict=verdict, waits=waits, actor=REQUESTER, now=NOW
    )


def cast(
    request: MutationRequest,
    voter: Identity,
    kind: VoteKind = VoteKind.APPROVE,
    *,
    seen_digest: bytes | None = None,
    reason: Reason | None = None,
    traceparent: str = "",
) -> Advance:
    return voted(
        request,
        voter=voter,
        kind=kind,
        seen_digest=request.progress.digest if seen_digest is None else seen_digest,
        seen_plan=plan_seen(request),
        electorate=CROWD,
        now=NOW,
        reason=reason,
        traceparent=traceparent,
    )


def by_code(after: Advance) -> dict[Code, Decision]:
    return {decision.code: decision for decision in after.decisions}


# ---------------------------------------------------------------- submission


@pytest.mark.parametrize("expected_version", [None, "", "7"])
def test_a_submission_binds_the_digest_of_what_was_asked(expected_version: str | None) -> None:
    after = propose(ALLOWED, expected_version=expected_version).request
    assert after.progress.expected_version == expected_version
    assert after.progress.digest == request_digest(after.content, expected_version)
    assert after.progress.verdict == ALLOWED


def test_a_submission_is_the_callers_and_the_verdict_governors() -> None:
    decisions = by_code(propose(deferred()))
    assert decisions[Code.SUBMITTED].actor == REQUESTER
    assert {
        decisions[code].actor
        for code in (Code.POLICY_DEFERRED, Code.PENDING, Code.APPROVAL_REQUESTED)
    } == {GOVERNOR}


def test_the_policy_decision_names_the_rules_and_the_policy_they_stood_in() -> None:
    facts = by_code(propose(ALLOWED))[Code.POLICY_ALLOWED].facts
    assert facts == {"rules": "allow-low", "policy_sha256": "01" * 32}


def test_a_denial_gives_policys_reason_in_all_three_places() -> None:
    after = propose(DENIED, SCHEDULE)
    assert after.request.progress.status_reason == DENIED.reason
    assert after.request.progress.approval is None
    decisions = by_code(after)
    assert decisions[Code.POLICY_DENIED].reason == DENIED.reason
    assert decisions[Code.REJECTED].reason == DENIED.reason


def test_a_deferral_opens_the_first_round_of_its_plan() -> None:
    after = propose(deferred(IN_TWO_STEPS), SCHEDULE, DEPENDENCY)
    assert after.request.progress.approval == Approval(plan=IN_TWO_STEPS, step_opened_at=NOW)
    assert after.request.progress.pending == (
        Pending(reason=PendingReason.APPROVAL, since=NOW),
        SCHEDULE,
        DEPENDENCY,
    )
    decisions = by_code(after)
    assert decisions[Code.PENDING].facts == {"waits_for": "APPROVAL,SCHEDULE,DEPENDENCY"}
    assert decisions[Code.APPROVAL_REQUESTED].facts == {"round": "1", "step": "review"}


def test_a_verdict_that_allows_but_brings_a_plan_still_asks_its_people() -> None:
    after = propose(Verdict(effect=Effect.ALLOW, plan=TWO_APPROVERS)).request
    assert after.status is Status.PENDING
    assert after.waits_for(PendingReason.APPROVAL)


def test_a_submission_inherits_nothing_from_a_progress_it_was_given() -> None:
    forged = new_request().but(progress=Progress(digest=b"forged", executions=7))
    after = submitted(forged, verdict=ALLOWED, waits=(), actor=REQUESTER, now=NOW).request
    assert after.progress.digest == request_digest(after.content, "7")
    assert after.progress.executions == 0


# ---------------------------------------------------------------- votes


def test_a_vote_records_the_person_the_round_the_step_and_the_digest() -> None:
    asked = STAGES["asked"]().request
    thumbs_up = Reason(code="FINE", message="looks right")
    after = cast(asked, person("ann-laptop", alias_of="ann", roles=["approver"]), reason=thumbs_up)
    granted = by_code(after)[Code.APPROVAL_GRANTED]
    assert granted.actor.id == "ann-laptop"
    assert granted.reason == thumbs_up
    assert granted.facts == {
        "person": "ann",
        "meaning": "APPROVE",
        "round": "1",
        "step": "review",
        "requirements": "two",
        "digest": asked.progress.digest.hex(),
        "plan_digest": plan_seen(asked).hex(),
    }


def test_a_vote_on_another_content_is_refused() -> None:
    asked = STAGES["asked"]().request
    for seen in (b"", b"\x00" * 32, asked.progress.digest[:-1]):
        with pytest.raises(DigestMismatch) as refusal:
            cast(asked, ANN, seen_digest=seen)
        assert refusal.value.facts == {"expected": asked.progress.digest.hex(), "got": seen.hex()}


@pytest.mark.parametrize("kind", VoteKind)
def test_the_requester_neither_approves_nor_rejects_under_any_name(kind: VoteKind) -> None:
    asked = STAGES["asked"]().request
    for voter in (REQUESTER, person("robot", alias_of="rita", roles=["approver"])):
        with pytest.raises(NotEligible):
            cast(asked, voter, kind)


def test_a_rejection_keeps_the_approvers_words_but_not_their_keys() -> None:
    asked = STAGES["asked"]().request
    words = Reason(code="TOO_LATE", message="after hours", metadata={"approver": "somebody-else"})
    after = cast(asked, ANN, VoteKind.REJECT, reason=words)
    assert by_code(after)[Code.APPROVAL_REJECTED].reason == words
    assert after.request.progress.status_reason == Reason(
        code="APPROVER_REJECTED",
        message="after hours",
        metadata={"approver": "ann", "code": "TOO_LATE", "requirement": "two"},
    )
    assert by_code(after)[Code.REJECTED].reason == after.request.progress.status_reason


def test_a_rejection_ends_the_request_whatever_else_it_waited_for() -> None:
    after = cast(STAGES["asked and scheduled"]().request, BOB, VoteKind.REJECT).request
    assert after.status is Status.REJECTED
    assert after.progress.pending == ()


def test_a_satisfied_step_asks_the_people_of_the_next() -> None:
    after = cast(submit(new_request(), deferred(IN_TWO_STEPS)), ANN)
    assert [decision.code for decision in after.decisions] == [
        Code.APPROVAL_GRANTED,
        Code.QUORUM_SATISFIED,
        Code.APPROVAL_REQUESTED,
    ]
    assert by_code(after)[Code.QUORUM_SATISFIED].facts["step"] == "review"
    assert by_code(after)[Code.APPROVAL_REQUESTED].facts == {"round": "1", "step": "release"}
    assert after.request.status is Status.PENDING


def test_the_steps_are_open_one_after_the_other() -> None:
    asked = submit(new_request(), deferred(IN_TWO_STEPS))
    with pytest.raises(NotEligible):
        cast(asked, CAROL)
    after = cast(vote(asked, ANN), CAROL)
    assert [decision.code for decision in after.decisions] == [
        Code.APPROVAL_GRANTED,
        Code.QUORUM_SATISFIED,
        Code.APPROVED,
    ]
    assert by_code(after)[Code.APPROVED].facts == {"resolved": "APPROVAL"}


def test_an_approval_in_full_still_waits_for_the_schedule() -> None:
    asked = STAGES["asked and scheduled"]().request
    after = cast(vote(asked, ANN), BOB)
    assert after.request.status is Status.PENDING
    assert after.request.progress.pending == (SCHEDULE,)
    assert by_code(after)[Code.PENDING].facts == {"resolved": "APPROVAL", "waits_for": "SCHEDULE"}
    due = reason_resolved(after.request, PendingReason.SCHEDULE, now=NOW)
    assert due.request.status is Status.APPROVED


def test_whoever_votes_after_the_approval_is_complete_is_told_that_none_is_waited_for() -> None:
    complete = vote(vote(STAGES["asked and scheduled"]().request, ANN), BOB)
    for kind in VoteKind:
        with pytest.raises(IllegalTransition):
            cast(complete, person("carl", roles=["approver"]), kind)


def test_a_schedule_that_comes_due_leaves_the_approval_to_the_people() -> None:
    after = reason_resolved(
        STAGES["asked and scheduled"]().request, PendingReason.SCHEDULE, now=NOW
    )
    assert after.decisions[0].facts == {"resolved": "SCHEDULE", "waits_for": "APPROVAL"}
    approved = cast(vote(after.request, ANN), BOB).request
    assert approved.status is Status.APPROVED


@pytest.mark.parametrize("kind", [VoteKind.APPROVE, VoteKind.REJECT])
def test_the_traces_of_the_votes_are_kept_in_order_and_an_absent_one_is_no_trace(
    kind: VoteKind,
) -> None:
    asked = STAGES["asked"]().request
    once = cast(asked, ANN, traceparent="00-a").request
    assert once.progress.approval_traceparents == ("00-a",)
    assert cast(asked, ANN).request.progress.approval_traceparents == ()
    twice = cast(once, BOB, kind, traceparent="00-b").request
    assert twice.progress.approval_traceparents == ("00-a", "00-b")


def test_deadlines_that_passed_while_nobody_looked_are_dealt_with_one_after_the_other() -> None:
    either = step(
        "either",
        requirement("first", actor_target("ann")).but(deadline_seconds=1),
        requirement("second", actor_target("carol")).but(deadline_seconds=2),
        mode=StepMode.ANY_OF,
    )
    asked = submit(new_request(), deferred(plan(either)))
    once = approval_lapsed(asked, now=later(60))
    assert once is not None
    assert [decision.code for decision in once.decisions] == [Code.APPROVAL_EXPIRED]
    assert once.request.due_at == later(2)
    twice = approval_lapsed(once.request, now=later(60))
    assert twice is not None
    assert [decision.code for decision in twice.decisions] == [Code.APPROVAL_EXPIRED, Code.EXPIRED]
    assert twice.request.status is Status.EXPIRED


# ---------------------------------------------------------------- endings


def test_a_cancellation_says_who_and_why() -> None:
    after = canceled(STAGES["approved"]().request, actor=OPERATOR, now=NOW, comment="not today")
    reason = Reason(code="CANCELED", message="not today", metadata={"by": "otto"})
    assert after.request.progress.status_reason == reason
    assert by_code(after)[Code.CANCELED].reason == reason
    assert by_code(after)[Code.CANCELED].actor == OPERATOR


def test_a_superseded_request_names_its_successor() -> None:
    asked = STAGES["half approved"]().request
    after = superseded(asked, by=RequestId("r-2"), actor=REQUESTER, now=NOW)
    assert after.request.progress.superseded_by == "r-2"
    assert by_code(after)[Code.SUPERSEDED].actor == REQUESTER
    reason = after.request.progress.status_reason
    assert reason is not None
    assert (reason.code, reason.metadata) == ("SUPERSEDED", {"by": "rita"})


def test_an_expiry_is_governors_own_doing() -> None:
    after = expired(STAGES["approved"]().request, now=NOW)
    assert by_code(after)[Code.EXPIRED].actor == GOVERNOR
    reason = after.request.progress.status_reason
    assert reason is not None
    assert reason.code == "EXPIRED"


def test_a_failed_dependency_is_told_apart_from_every_other_rejection() -> None:
    after = dependency_failed(
        STAGES["dependent"]().request, on=RequestId("r-0"), status=Status.CANCELED, now=NOW
    )
    reason = after.request.progress.status_reason
    assert reason is not None
    assert reason.code == "DEPENDENCY_FAILED"
    assert reason.metadata == {"depends_on": "r-0", "status": "CANCELED"}
    assert by_code(after)[Code.REJECTED].reason == reason
