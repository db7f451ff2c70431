"""Claims about a broken glass: what it skips, what is owed for it, and who may give that."""

from typing import Any

import pytest

from governor.domain.approval import BreakGlass, StepMode
from governor.domain.break_glass import Emergency, ReviewStatus
from governor.domain.decision import Code
from governor.domain.digest import request_digest, submission_fingerprint
from governor.domain.emergency import glass_lost, review_overdue, reviewed
from governor.domain.errors import DigestMismatch, IllegalTransition, NoReviewOpen, NotEligible
from governor.domain.policy import Verdict
from governor.domain.request import (
    TERMINAL,
    MutationRequest,
    Pending,
    PendingReason,
    StaleStrategy,
    Status,
)
from governor.domain.staleness import revalidated, stale_before_claim
from governor.domain.values import Identity, Micros, Reason, rfc3339
from governor.domain.workflow import Advance, submitted
from tests.support.domain_builders import (
    ALLOWED,
    ANN,
    APPROVERS,
    BOB,
    DENIED,
    DEPENDENCY,
    REQUESTER,
    SCHEDULE,
    STAGES,
    T0,
    actor_target,
    content,
    deferred,
    later,
    new_request,
    person,
    plan,
    requirement,
    step,
    vote,
)

DUE = later(600)
BROKEN = BreakGlass(by=REQUESTER, justification="checkout is down", at=T0)
EMERGENCY = Emergency(broken=BROKEN, review_due_at=DUE)
OWNER = person("olga")
FOUND = Reason(code="REAL", category="OUTAGE", message="it was", metadata={"ticket": "T-1"})
TWO_STEPS = plan(
    step("security", requirement("one")),
    step(
        "owner",
        requirement("olga", actor_target("olga"), APPROVERS),
        requirement("bob", actor_target("bob")),
        mode=StepMode.ANY_OF,
    ),
)


def declared(verdict: Verdict | None = None, *waits: Pending, **changes: Any) -> Advance:
    return submitted(
        new_request("r-1", **changes),
        verdict=verdict or deferred(TWO_STEPS),
        waits=waits,
        actor=REQUESTER,
        now=T0,
        emergency=EMERGENCY,
    )


def broken(verdict: Verdict | None = None, *waits: Pending, **changes: Any) -> MutationRequest:
    return declared(verdict, *waits, **changes).request


def under_review(stage: str) -> MutationRequest:
    """A request anywhere in its life, that owes a review."""
    request = STAGES[stage]().request
    _, review = EMERGENCY.past(TWO_STEPS)
    return request.but(progress=request.progress.but(review=review))


def give(
    request: MutationRequest, reviewer: Identity = ANN, *, justified: bool = True, **changes: Any
) -> Advance:
    said: dict[str, Any] = {
        "seen_digest": request.progress.digest,
        "justified": justified,
        "reason": FOUND,
        "now": later(60),
    }
    return reviewed(request, reviewer=reviewer, **said | changes)


# --- Breaking it --------------------------------------------------------------------------------


def test_a_broken_glass_skips_the_approval_and_is_decided_with_its_justification() -> None:
    step = declared()
    request = step.request

    assert request.status is Status.APPROVED
    approval = request.progress.approval
    assert approval is not None
    assert approval.is_satisfied
    assert approval.break_glass == BROKEN
    assert [decision.code for decision in step.decisions] == [
        Code.SUBMITTED,
        Code.POLICY_DEFERRED,
        Code.BREAK_GLASS_USED,
        Code.APPROVED,
    ]
    used = step.decisions[2]
    assert used.actor == REQUESTER
    assert used.reason == Reason(code="BREAK_GLASS", message="checkout is down")
    assert used.facts == {"skipped_steps": "security,owner", "review_due": rfc3339(DUE)}


def test_everybody_whom_the_skipped_plan_names_owes_the_review() -> None:
    review = broken().progress.review

    assert review is not None
    assert review.reviewers == (APPROVERS, actor_target("olga"), actor_target("bob"))
    assert (review.due_at, review.status) == (DUE, ReviewStatus.OPEN)


def test_a_broken_glass_skips_nothing_but_the_approval() -> None:
    request = broken(None, SCHEDULE, DEPENDENCY)

    assert request.status is Status.PENDING
    assert [pending.reason for pending in request.progress.pending] == [
        PendingReason.SCHEDULE,
        PendingReason.DEPENDENCY,
    ]
    assert request.progress.review is not None


def test_a_broken_glass_never_passes_a_denial() -> None:
    step = declared(DENIED)

    assert step.request.status is Status.REJECTED
    assert step.request.progress.review is None
    assert Code.BREAK_GLASS_USED not in [decision.code for decision in step.decisions]


def test_where_nothing_is_skipped_no_glass_is_broken() -> None:
    request = broken(ALLOWED)

    assert request.status is Status.APPROVED
    assert request.progress.approval is None
    assert request.progress.review is None


def test_the_digest_does_not_tell_of_a_broken_glass_and_the_fingerprint_does() -> None:
    asked = content()

    assert broken().progress.digest == request_digest(asked, asked.expected_version)
    plain = submission_fingerprint(asked, None)
    first = submission_fingerprint(asked, None, "it burns")
    assert len({plain, first, submission_fingerprint(asked, None, "it smokes")}) == 3


# --- The review ---------------------------------------------------------------------------------


@pytest.mark.parametrize("stage", sorted(set(STAGES) - {"created"}))
def test_a_review_is_given_at_every_stage_and_changes_nothing_else(stage: str) -> None:
    request = under_review(stage)

    after = give(request)

    review = after.request.progress.review
    assert review is not None
    assert review.status is ReviewStatus.JUSTIFIED
    assert (review.reviewer, review.reviewed_at, review.reason) == (ANN, later(60), FOUND)
    assert after.request == request.but(
        progress=request.progress.but(review=review, updated_at=later(60))
    )
    (decision,) = after.decisions
    assert decision.code is Code.BREAK_GLASS_REVIEWED
    assert (decision.status, decision.digest) == (request.status, request.progress.digest)
    assert (decision.actor, decision.reason) == (ANN, FOUND)


def test_the_stages_of_a_review_include_every_end() -> None:
    assert {STAGES[stage]().request.status for stage in STAGES} >= TERMINAL


@pytest.mark.parametrize("justified", [True, False])
def test_a_review_says_whether_it_was_justified(justified: bool) -> None:
    after = give(broken(), justified=justified)

    review = after.request.progress.review
    assert review is not None
    assert review.status is (ReviewStatus.JUSTIFIED if justified else ReviewStatus.UNJUSTIFIED)
    assert after.decisions[0].facts == {
        "justified": str(justified).lower(),
        "person": "ann",
        "review_due": rfc3339(DUE),
    }


def test_what_a_reviewer_says_overwrites_none_of_the_facts() -> None:
    lie = Reason(code="X", metadata={"justified": "true", "person": "bob"})

    (decision,) = give(broken(), justified=False, reason=lie).decisions

    assert decision.facts["justified"] == "false"
    assert decision.facts["person"] == "ann"


@pytest.mark.parametrize(
    "reviewer",
    [REQUESTER, person("ritas-robot", alias_of="rita", roles=["approver"])],
)
def test_nobody_reviews_their_own_emergency_under_any_name(reviewer: Identity) -> None:
    with pytest.raises(NotEligible, match="may not review this request"):
        give(broken(), reviewer)


@pytest.mark.parametrize("reviewer", [person("cleo"), person("olgas", roles=["owner"])])
def test_whom_the_plan_does_not_ask_does_not_review(reviewer: Identity) -> None:
    with pytest.raises(NotEligible):
        give(broken(), reviewer)


@pytest.mark.parametrize("reviewer", [ANN, BOB, OWNER])
def test_each_whom_any_step_of_the_plan_asks_may_review(reviewer: Identity) -> None:
    assert give(broken(), reviewer).request.progress.review is not None


def test_a_review_of_another_content_is_refused() -> None:
    with pytest.raises(DigestMismatch):
        give(broken(), seen_digest=b"\x00" * 32)


@pytest.mark.parametrize("first", [True, False])
def test_a_second_review_is_refused(first: bool) -> None:
    after = give(broken(), justified=first).request

    with pytest.raises(NoReviewOpen) as refused:
        give(after, BOB)
    assert refused.value.facts == {"status": "JUSTIFIED" if first else "UNJUSTIFIED"}


def test_what_owes_no_review_gets_none() -> None:
    with pytest.raises(NoReviewOpen) as refused:
        give(STAGES["executed"]().request)
    assert refused.value.facts == {"status": "NONE"}


# --- Its deadline -------------------------------------------------------------------------------


@pytest.mark.parametrize("stage", sorted(set(STAGES) - {"created"}))
def test_a_review_that_nobody_gave_becomes_overdue_at_every_stage(stage: str) -> None:
    request = under_review(stage)

    after = review_overdue(request, now=DUE)

    review = after.request.progress.review
    assert review is not None
    assert review.status is ReviewStatus.OVERDUE
    assert after.request.status is request.status
    (decision,) = after.decisions
    assert (decision.code, decision.status) == (Code.BREAK_GLASS_REVIEW_OVERDUE, request.status)


def test_an_overdue_review_can_still_be_given_and_is_not_due_again() -> None:
    late = review_overdue(broken(), now=DUE).request

    with pytest.raises(NoReviewOpen):
        review_overdue(late, now=later(700))
    review = give(late, now=later(700)).request.progress.review
    assert review is not None
    assert review.status is ReviewStatus.JUSTIFIED


def test_a_review_is_a_clock_of_its_own_also_after_the_end() -> None:
    assert broken().due_at == DUE
    for stage in ("executed", "canceled", "expired", "superseded", "rejected", "failed"):
        request = under_review(stage)
        assert request.due_at == DUE
        assert give(request).request.due_at is None
        assert review_overdue(request, now=DUE).request.due_at is None


# --- What the glass does not outlast ------------------------------------------------------------


def test_a_glass_that_may_not_be_broken_any_more_gives_way_to_the_plan() -> None:
    step = glass_lost(broken(), now=later(5))

    request = step.request
    assert request.status is Status.PENDING
    assert request.waits_for(PendingReason.APPROVAL)
    approval = request.progress.approval
    assert approval is not None
    assert approval.break_glass is None
    assert (approval.open_step, approval.round) == (0, 1)
    assert [decision.code for decision in step.decisions] == [
        Code.APPROVAL_VOIDED,
        Code.PENDING,
        Code.APPROVAL_REQUESTED,
    ]
    assert step.decisions[0].reason is not None
    assert step.decisions[0].reason.code == "BREAK_GLASS_ROLE_LOST"
    review = request.progress.review
    assert review is not None
    assert review.is_open, "it stays owed"
    assert vote(vote(request, ANN), BOB).status is Status.APPROVED


@pytest.mark.parametrize("stage", ["consented", "approved", "executing", "executed", "asked"])
def test_only_an_approval_on_a_broken_glass_gives_way(stage: str) -> None:
    with pytest.raises(IllegalTransition):
        glass_lost(STAGES[stage]().request, now=T0)


def test_a_new_round_is_an_ordinary_one_and_the_review_stays_owed() -> None:
    request = broken(stale_strategy=StaleStrategy.REQUIRE_RENEWED_APPROVAL)

    renewed = stale_before_claim(request, current_version="8", now=later(5)).request

    assert renewed.waits_for(PendingReason.APPROVAL)
    approval = renewed.progress.approval
    assert approval is not None
    assert approval.break_glass is None
    assert not approval.is_satisfied
    assert renewed.progress.review == request.progress.review
    assert vote(vote(renewed, ANN), BOB).status is Status.APPROVED


@pytest.mark.parametrize(
    ("verdict", "status"),
    [
        (deferred(TWO_STEPS), Status.APPROVED),
        (ALLOWED, Status.APPROVED),
        (deferred(), Status.PENDING),
        (DENIED, Status.REJECTED),
    ],
    ids=["the same plan", "allowed by now", "another plan", "denied by now"],
)
def test_a_revalidation_asks_policy_as_ever(verdict: Verdict, status: Status) -> None:
    """The glass was broken for one plan; another one asks its people."""
    request = broken(stale_strategy=StaleStrategy.REVALIDATE_ON_LATEST)
    waiting = stale_before_claim(request, current_version="8", now=T0).request

    after = revalidated(
        waiting, verdict=verdict, violation=None, current_version="8", now=later(5)
    ).request

    assert after.status is status
    assert after.progress.review == request.progress.review


def test_a_point_in_time_is_told_to_the_second() -> None:
    assert rfc3339(Micros(1_700_000_000_999_999)) == "2023-11-14T22:13:20Z"
