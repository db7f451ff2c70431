"""Claims about a state that has moved on: rejected, approved again, or looked at again."""

from collections.abc import Callable
from itertools import product

import pytest

from governor.domain.approval import Approval, Plan
from governor.domain.decision import Code, Decision
from governor.domain.digest import request_digest
from governor.domain.errors import DigestMismatch
from governor.domain.executing import Progression, settled
from governor.domain.execution import VersionMismatch
from governor.domain.policy import Verdict
from governor.domain.request import MutationRequest, PendingReason, StaleStrategy, Status
from governor.domain.resolution import Resolution
from governor.domain.staleness import revalidated, stale_before_claim
from governor.domain.values import Reason
from governor.domain.voting import voted
from governor.domain.workflow import Advance
from tests.support.domain_builders import (
    ALLOWED,
    ANN,
    BOB,
    CROWD,
    DENIED,
    INVALID,
    actor_target,
    claim,
    deferred,
    later,
    new_request,
    plan,
    plan_seen,
    requirement,
    step,
    submit,
    vote,
)

NOW = later(5)
ANOTHER_PLAN = plan(step("release", requirement("bob", actor_target("bob"))))

REJECT = StaleStrategy.REJECT_STALE
RENEW = StaleStrategy.REQUIRE_RENEWED_APPROVAL
REVALIDATE = StaleStrategy.REVALIDATE_ON_LATEST


Approve = Callable[[StaleStrategy], MutationRequest]
Find = Callable[[MutationRequest], Advance | Progression]


def approved_by_policy(strategy: StaleStrategy) -> MutationRequest:
    return submit(new_request(stale_strategy=strategy))


def approved_by_people(strategy: StaleStrategy) -> MutationRequest:
    return vote(vote(submit(new_request(stale_strategy=strategy), deferred()), ANN), BOB)


def found_before_the_claim(request: MutationRequest) -> Advance:
    return stale_before_claim(request, current_version="9", now=NOW)


def found_by_the_host(request: MutationRequest) -> Progression:
    at = claim(request)
    outcome = VersionMismatch(current_version="9")
    return settled(at.request, at.running, outcome, attempts=1, now=NOW)


def revalidate(
    request: MutationRequest, verdict: Verdict = ALLOWED, violation: Reason | None = None
) -> Advance:
    return revalidated(request, verdict=verdict, violation=violation, current_version="9", now=NOW)


def by_code(after: Advance | Progression) -> dict[Code, Decision]:
    return {decision.code: decision for decision in after.decisions}


def approval_of(request: MutationRequest) -> Approval:
    assert request.progress.approval is not None
    return request.progress.approval


# (strategy, who approved): (status, what it waits for, the resolution, the decisions)
LAW: dict[tuple[StaleStrategy, Approve], tuple[str, tuple[str, ...], str, str]] = {
    (REJECT, approved_by_policy): ("REJECTED", (), "REJECTED_AS_STALE", "rejected"),
    (REJECT, approved_by_people): ("REJECTED", (), "REJECTED_AS_STALE", "rejected"),
    (RENEW, approved_by_people): (
        "PENDING",
        ("APPROVAL",),
        "RENEWED_APPROVAL_REQUIRED",
        "voided pending requested",
    ),
    # Where nobody was asked there is nothing to renew: policy looks again.
    (RENEW, approved_by_policy): ("PENDING", ("REVALIDATION",), "REVALIDATION_REQUIRED", "pending"),
    (REVALIDATE, approved_by_policy): (
        "PENDING",
        ("REVALIDATION",),
        "REVALIDATION_REQUIRED",
        "pending",
    ),
    (REVALIDATE, approved_by_people): (
        "PENDING",
        ("REVALIDATION",),
        "REVALIDATION_REQUIRED",
        "pending",
    ),
}
CASES = [(*key, found) for key, found in product(LAW, (found_before_the_claim, found_by_the_host))]


@pytest.mark.parametrize(("strategy", "approved", "found"), CASES)
def test_the_strategy_decides_wherever_the_difference_was_found(
    strategy: StaleStrategy, approved: Approve, found: Find
) -> None:
    after = found(approved(strategy))
    status, waits_for, resolution, codes = LAW[strategy, approved]
    assert after.request.status == status
    assert tuple(pending.reason for pending in after.request.progress.pending) == waits_for
    assert [decision.code.text for decision in after.decisions] == [
        resolution.lower(),
        *codes.split(),
    ]
    assert after.decisions[0].facts == {"expected_version": "7", "current_version": "9"}
    if isinstance(after, Progression):
        assert after.execution.resolution == resolution


def test_a_stale_rejection_is_told_apart_from_every_other() -> None:
    after = found_before_the_claim(approved_by_people(REJECT)).request
    reason = after.progress.status_reason
    assert reason is not None
    assert reason.code == "STALE"
    assert reason.metadata == {"expected_version": "7", "current_version": "9"}
    assert approval_of(after).current_votes() != ()


def test_stale_before_the_claim_tells_its_resolution() -> None:
    step_back = stale_before_claim(approved_by_policy(RENEW), current_version="9", now=NOW)
    assert step_back.resolution is Resolution.REVALIDATION_REQUIRED


@pytest.mark.parametrize(
    ("expected_version", "stated"), [(None, {}), ("", {"expected_version": ""})]
)
def test_what_was_expected_is_told_apart_from_nothing_expected(
    expected_version: str | None, stated: dict[str, str]
) -> None:
    """A host may find fault with a version though none was expected."""
    at = claim(submit(new_request(expected_version=expected_version)))
    outcome = VersionMismatch(current_version="9")
    after = settled(at.request, at.running, outcome, attempts=1, now=NOW)
    assert after.decisions[0].facts == {"current_version": "9"} | stated


# ---------------------------------------------------------------- renewal


@pytest.mark.parametrize("found", [found_before_the_claim, found_by_the_host])
def test_a_renewal_voids_the_votes_and_binds_the_new_round_to_the_version_there_is(
    found: Find,
) -> None:
    before = approved_by_people(RENEW)
    after = found(before)
    progress = after.request.progress
    approval = approval_of(after.request)
    assert progress.expected_version == "9"
    assert progress.digest == request_digest(before.content, "9") != before.progress.digest
    assert (approval.round, approval.open_step) == (2, 0)
    assert approval.current_votes() == ()
    assert approval.votes == approval_of(before).votes
    assert after.request.content == before.content
    assert by_code(after)[Code.APPROVAL_VOIDED].facts == {"round": "1", "voters": "ann,bob"}
    assert by_code(after)[Code.APPROVAL_REQUESTED].facts == {"round": "2", "step": "review"}


def test_the_same_people_can_approve_again_and_only_what_is_asked_now() -> None:
    before = approved_by_people(RENEW)
    renewed = found_before_the_claim(before).request
    with pytest.raises(DigestMismatch):
        voted(
            renewed,
            voter=ANN,
            kind=approval_of(before).votes[0].kind,
            seen_digest=before.progress.digest,
            seen_plan=plan_seen(renewed),
            electorate=CROWD,
            now=NOW,
            reason=None,
        )
    again = vote(vote(renewed, ANN), BOB)
    assert again.status is Status.APPROVED
    claimed = claim(again)
    assert claimed.running.expected_version == "9"
    assert claimed.running.digest == request_digest(before.content, "9")


def test_a_request_can_be_renewed_round_after_round() -> None:
    request = approved_by_people(RENEW)
    for number in range(2, 5):
        request = found_before_the_claim(request).request
        assert approval_of(request).round == number
        request = vote(vote(request, BOB), ANN)
    assert request.status is Status.APPROVED
    assert len(approval_of(request).votes) == 8


def test_a_renewal_after_several_steps_begins_with_the_first() -> None:
    asked = plan(
        step("review", requirement("ann", actor_target("ann"))),
        step("release", requirement("bob", actor_target("bob"))),
    )
    request = vote(vote(submit(new_request(stale_strategy=RENEW), deferred(asked)), ANN), BOB)
    after = found_before_the_claim(request)
    assert by_code(after)[Code.APPROVAL_REQUESTED].facts["step"] == "review"
    assert approval_of(after.request).open_step == 0


# ---------------------------------------------------------------- revalidation


def revalidating(approved: MutationRequest) -> MutationRequest:
    request = found_before_the_claim(approved).request
    assert request.waits_for(PendingReason.REVALIDATION)
    return request


def test_waiting_for_revalidation_moves_neither_version_nor_digest_nor_votes() -> None:
    before = approved_by_people(REVALIDATE)
    after = revalidating(before)
    assert after.progress.expected_version == "7"
    assert after.progress.digest == before.progress.digest
    assert after.progress.approval == before.progress.approval


@pytest.mark.parametrize("strategy", [RENEW, REVALIDATE])
def test_what_policy_alone_allowed_it_allows_again_on_the_latest_version(
    strategy: StaleStrategy,
) -> None:
    before = revalidating(approved_by_policy(strategy))
    again = ALLOWED.but(rules=("allow-again",))
    after = revalidate(before, again)
    assert after.request.status is Status.APPROVED
    assert after.request.progress.expected_version == "9"
    assert after.request.progress.digest == before.progress.digest
    assert after.request.progress.verdict == again
    assert by_code(after)[Code.CHECK_PASSED].facts == {"current_version": "9"}
    assert by_code(after)[Code.POLICY_ALLOWED].facts["rules"] == "allow-again"
    assert by_code(after)[Code.APPROVED].facts == {"resolved": "REVALIDATION"}


def test_the_very_plan_that_is_satisfied_already_is_not_asked_again() -> None:
    before = revalidating(approved_by_people(REVALIDATE))
    after = revalidate(before, deferred()).request
    assert after.status is Status.APPROVED
    assert after.progress.expected_version == "9"
    assert after.progress.digest == before.progress.digest
    assert approval_of(after) == approval_of(before)


@pytest.mark.parametrize(
    ("approved", "round_number", "voided"),
    [(approved_by_people, 2, ["voided"]), (approved_by_policy, 1, [])],
)
def test_a_plan_that_nobody_agreed_to_opens_a_new_round_on_the_latest_version(
    approved: Approve, round_number: int, voided: list[str]
) -> None:
    before = revalidating(approved(REVALIDATE))
    after = revalidate(before, deferred(ANOTHER_PLAN))
    progress = after.request.progress
    approval = approval_of(after.request)
    assert after.request.status is Status.PENDING
    assert [pending.reason for pending in progress.pending] == [PendingReason.APPROVAL]
    assert progress.expected_version == "9"
    assert progress.digest == request_digest(before.content, "9")
    assert (approval.plan, approval.round, approval.open_step) == (ANOTHER_PLAN, round_number, 0)
    assert approval.current_votes() == ()
    assert [decision.code.text for decision in after.decisions] == [
        "passed",
        "deferred",
        *voided,
        "pending",
        "requested",
    ]
    assert vote(after.request, BOB).status is Status.APPROVED


@pytest.mark.parametrize("asked", [None, ANOTHER_PLAN])
def test_an_objection_of_the_host_ends_the_request_whatever_policy_says(
    asked: Plan | None,
) -> None:
    before = revalidating(approved_by_people(REVALIDATE))
    after = revalidate(before, deferred(asked) if asked else ALLOWED, INVALID)
    assert after.request.status is Status.FAILED
    assert after.request.progress.status_reason == INVALID
    assert by_code(after)[Code.CHECK_FAILED].reason == INVALID


def test_a_denial_on_the_latest_version_ends_the_request() -> None:
    after = revalidate(revalidating(approved_by_people(REVALIDATE)), DENIED)
    assert after.request.status is Status.REJECTED
    assert after.request.progress.status_reason == DENIED.reason
    assert after.request.progress.verdict == DENIED
    assert by_code(after)[Code.POLICY_DENIED].reason == DENIED.reason


def test_a_revalidated_request_may_turn_out_stale_once_more() -> None:
    request = approved_by_people(REVALIDATE)
    for version in ("9", "10", "11"):
        waiting = stale_before_claim(request, current_version=version, now=NOW).request
        request = revalidated(
            waiting, verdict=deferred(), violation=None, current_version=version, now=NOW
        ).request
        assert request.progress.expected_version == version
    assert claim(request).running.expected_version == "11"
