"""Claims about what a request waits for: each reason alone, and all of them together."""

from collections.abc import Callable
from itertools import chain, combinations, permutations

import pytest

from governor.domain.approval import Target
from governor.domain.clocks import what_is_due
from governor.domain.errors import (
    DigestMismatch,
    IllegalTransition,
    NotEligible,
    NotWaiting,
)
from governor.domain.gates import Gate, Window
from governor.domain.gating import calls_waiting, gate_answered
from governor.domain.policy import Verdict
from governor.domain.request import (
    DependencyFailure,
    MutationRequest,
    Pending,
    PendingReason,
    StaleStrategy,
    Status,
)
from governor.domain.staleness import revalidated, stale_before_claim
from governor.domain.values import GOVERNOR, Identity, Micros, Reason, RequestId, TargetKind
from governor.domain.waits import is_claimable
from governor.domain.workflow import dependencies_ended, reason_resolved, released, window_closed
from tests.support.domain_builders import (
    ALLOWED,
    ANN,
    BOB,
    CHECK,
    DEPENDENCY,
    LOOK,
    OPERATOR,
    QUOTA,
    SCHEDULE,
    T0,
    TWO_APPROVERS,
    claim,
    gated,
    later,
    new_request,
    person,
    submit,
    vote,
)

FINDING = Reason(code="NO_BUDGET", message="spent", metadata={"code": "forged", "name": "forged"})
ANOTHER_CHECK = CHECK.but(name="calendar")
# T0 is a Tuesday, 22:13:20 UTC.
NIGHTS = Window(name="nights", opens="0 23 * * *", lasts_seconds=3600)
OPENS = Micros(T0 + 2800 * 1_000_000)


def answer(
    request: MutationRequest, gate: Gate, *, passed: bool = True, by: Identity = OPERATOR
) -> MutationRequest:
    return gate_answered(
        request,
        reason=PendingReason(gate.reason),
        name=gate.name,
        passed=passed,
        seen_digest=request.progress.digest,
        actor=by,
        finding=FINDING,
        now=T0,
    ).request


# ---------------------------------------------------------------- together

Resolve = Callable[[MutationRequest], MutationRequest]

RESOLVED: dict[str, Resolve] = {
    "APPROVAL": lambda request: vote(vote(request, ANN), BOB),
    "SCHEDULE": lambda request: reason_resolved(request, PendingReason.SCHEDULE, now=T0).request,
    "DEPENDENCY": lambda request: dependencies_ended(request, failed={}, now=T0).request,
    "EXTERNAL_CHECK scan": lambda request: answer(request, CHECK),
    "EXTERNAL_CHECK calendar": lambda request: answer(request, ANOTHER_CHECK),
    "QUOTA daily": lambda request: answer(request, QUOTA),
    "MANUAL_REVIEW risk": lambda request: answer(request, LOOK),
}
GATES = (CHECK, ANOTHER_CHECK, QUOTA, LOOK)
SUBSETS = list(
    chain.from_iterable(combinations(RESOLVED, count) for count in range(1, len(RESOLVED) + 1))
)


def waiting(reasons: tuple[str, ...]) -> MutationRequest:
    """A request that waits for exactly these."""
    gates = tuple(gate for gate in GATES if f"{gate.reason} {gate.name}" in reasons)
    plain = {"SCHEDULE": SCHEDULE, "DEPENDENCY": DEPENDENCY}
    waits = [pending for name, pending in plain.items() if name in reasons]
    asked = TWO_APPROVERS if "APPROVAL" in reasons else None
    verdict = gated(asked=asked).but(gates=gates) if asked or gates else None
    request = new_request()
    return submit(request, verdict or ALLOWED, *waits)


def names(request: MutationRequest) -> set[str]:
    return {f"{one.reason} {one.name}".strip() for one in request.progress.pending}


@pytest.mark.parametrize("reasons", SUBSETS, ids=" and ".join)
def test_a_request_leaves_pending_exactly_when_the_last_reason_is_resolved(
    reasons: tuple[str, ...],
) -> None:
    """In every order; nothing but the reason itself resolves it."""
    start = waiting(reasons)
    assert names(start) == set(reasons)
    for order in permutations(reasons) if len(reasons) < 5 else (reasons, reasons[::-1]):
        request, left = start, set(reasons)
        for reason in order:
            assert request.status is Status.PENDING
            request = RESOLVED[reason](request)
            left.discard(reason)
            assert names(request) == left
        assert request.status is Status.APPROVED


@pytest.mark.parametrize("reasons", SUBSETS, ids=" and ".join)
def test_what_is_resolved_cannot_be_resolved_again(reasons: tuple[str, ...]) -> None:
    for reason in reasons:
        once = RESOLVED[reason](waiting(reasons))
        with pytest.raises((IllegalTransition, NotWaiting)):
            RESOLVED[reason](once)


# ---------------------------------------------------------------- answers


@pytest.mark.parametrize("gate", [CHECK, LOOK])
def test_a_failed_gate_rejects_with_governors_own_facts(gate: Gate) -> None:
    request = answer(submit(new_request(), gated(gate)), gate, passed=False)
    reason = request.progress.status_reason
    assert request.status is Status.REJECTED
    assert reason is not None
    assert reason.code == "CHECK_FAILED"
    assert reason.metadata == {
        "reason": gate.reason,
        "name": gate.name,
        "by": OPERATOR.id,
        "code": "NO_BUDGET",
    }


def test_an_answer_is_bound_to_the_content_that_was_looked_at() -> None:
    request = submit(new_request(), gated(CHECK))
    with pytest.raises(DigestMismatch):
        gate_answered(
            request,
            reason=PendingReason.EXTERNAL_CHECK,
            name=CHECK.name,
            passed=True,
            seen_digest=b"\x00" * 32,
            actor=OPERATOR,
            finding=FINDING,
            now=T0,
        )


@pytest.mark.parametrize("by", [person("rita"), person("robot", alias_of="rita")])
@pytest.mark.parametrize("passed", [True, False])
def test_the_requester_answers_nothing_under_any_name(by: Identity, *, passed: bool) -> None:
    request = submit(new_request(), gated(CHECK))
    with pytest.raises(NotEligible, match="the requester"):
        answer(request, CHECK, passed=passed, by=by)


def test_a_gate_that_names_its_resolvers_asks_nobody_else() -> None:
    security = Target(kind=TargetKind.GROUP, name="security")
    gate = CHECK.but(resolvers=(security,))
    request = submit(new_request(), gated(gate))
    with pytest.raises(NotEligible, match="does not ask them"):
        answer(request, gate)
    for by in (person("sue", groups=["security"]), GOVERNOR):
        assert answer(request, gate, by=by).status is Status.APPROVED


@pytest.mark.parametrize(
    "reason", [reason for reason in PendingReason if reason not in {"EXTERNAL_CHECK", "QUOTA"}]
)
def test_only_gates_are_answered(reason: PendingReason) -> None:
    request = submit(new_request(), gated(CHECK, asked=TWO_APPROVERS), SCHEDULE, DEPENDENCY)
    with pytest.raises(NotWaiting):
        gate_answered(
            request,
            reason=reason,
            name="",
            passed=True,
            seen_digest=request.progress.digest,
            actor=OPERATOR,
            finding=FINDING,
            now=T0,
        )


def test_governor_calls_for_what_is_called_while_it_waits() -> None:
    called = CHECK.but(called=True)
    request = submit(new_request(), gated(called, ANOTHER_CHECK, LOOK))
    assert [pending.name for pending in calls_waiting(request)] == ["scan"]
    assert calls_waiting(answer(request, called)) == ()


# ---------------------------------------------------------------- time


@pytest.mark.parametrize("gate", [CHECK, LOOK])
def test_a_gate_that_nobody_answers_in_time_is_a_no(gate: Gate) -> None:
    request = submit(new_request(), gated(gate))
    assert gate.timeout_seconds is not None
    due = later(gate.timeout_seconds)
    assert what_is_due(request, Micros(due - 1)) is None
    step = what_is_due(request, due)
    assert step is not None
    assert step.request.status is Status.REJECTED
    reason = step.request.progress.status_reason
    assert reason is not None
    assert reason.code == "CHECK_TIMED_OUT"
    assert reason.metadata == {"reason": gate.reason, "name": gate.name}


def test_a_quota_that_is_refreshed_lets_go_and_one_that_never_is_waits() -> None:
    request = submit(new_request(), gated(QUOTA))
    step = what_is_due(request, later(900))
    assert step is not None
    assert step.request.status is Status.APPROVED
    never = submit(new_request(), gated(QUOTA.but(timeout_seconds=None)))
    assert never.due_at == never.expires_at


def test_of_several_clocks_that_have_run_out_the_first_decides() -> None:
    """After a downtime: the check was to be answered before the request would have expired."""
    request = submit(new_request(), gated(CHECK, LOOK, QUOTA))
    step = what_is_due(request, Micros(request.expires_at + 1))
    assert step is not None
    assert step.request.status is Status.REJECTED
    long = submit(new_request(), gated(CHECK.but(timeout_seconds=7200)))
    step = what_is_due(long, later(9000))
    assert step is not None
    assert step.request.status is Status.EXPIRED
    together = submit(new_request(), gated(CHECK.but(timeout_seconds=3600)))
    step = what_is_due(together, later(3600))
    assert step is not None
    assert step.request.status is Status.EXPIRED


# ---------------------------------------------------------------- windows


def windowed(*waits: Pending, **fields: object) -> MutationRequest:
    verdict = gated(CHECK, windows=(NIGHTS,)).but(**fields)
    return submit(new_request().but(expires_at=later(10 * 86_400)), verdict, *waits)


def schedule(request: MutationRequest) -> Pending:
    (found,) = (one for one in request.progress.pending if one.reason == "SCHEDULE")
    return found


def test_outside_its_window_a_request_waits_for_the_next_opening() -> None:
    request = windowed(gates=())
    assert names(request) == {"SCHEDULE"}
    assert schedule(request).until == OPENS
    assert "nights" in schedule(request).detail
    assert reason_resolved(request, PendingReason.SCHEDULE, now=OPENS).request.status == "APPROVED"


def test_its_own_time_and_its_window_are_waited_for_together() -> None:
    tomorrow = later(86_400)
    request = windowed(SCHEDULE.but(until=tomorrow), gates=())
    assert schedule(request).until == OPENS + 86_400 * 1_000_000
    inside = Micros(OPENS + 60_000_000)
    assert schedule(windowed(SCHEDULE.but(until=inside), gates=())).until == inside


def test_the_last_reason_that_is_resolved_outside_the_window_leaves_the_schedule() -> None:
    request = windowed()
    opened = reason_resolved(request, PendingReason.SCHEDULE, now=OPENS).request
    assert names(opened) == {"EXTERNAL_CHECK scan"}
    late = Micros(OPENS + 3600 * 1_000_000)
    step = released(opened, PendingReason.EXTERNAL_CHECK, name="scan", now=late)
    assert step.request.status is Status.PENDING
    assert schedule(step.request).until == OPENS + 86_400 * 1_000_000
    in_time = released(opened, PendingReason.EXTERNAL_CHECK, name="scan", now=OPENS)
    assert in_time.request.status is Status.APPROVED


def test_an_opening_that_was_missed_is_waited_for_again() -> None:
    step = reason_resolved(windowed(gates=()), PendingReason.SCHEDULE, now=later(7200))
    assert step.request.status is Status.PENDING
    assert schedule(step.request).until == OPENS + 86_400 * 1_000_000


def test_nothing_is_claimed_outside_its_window() -> None:
    request = reason_resolved(windowed(gates=()), PendingReason.SCHEDULE, now=OPENS).request
    late = Micros(OPENS + 3600 * 1_000_000)
    assert is_claimable(request, OPENS)
    assert not is_claimable(request, late)
    with pytest.raises(IllegalTransition):
        claim(request)  # at T0
    back = window_closed(request, now=late).request
    assert back.status is Status.PENDING
    assert schedule(back).until == OPENS + 86_400 * 1_000_000


# ---------------------------------------------------------------- the execution window


def test_the_execution_window_begins_with_the_approval_and_not_before() -> None:
    request = submit(new_request(), gated(CHECK, execution_window_seconds=60))
    assert request.progress.execute_before is None
    approved = answer(request, CHECK)
    assert approved.progress.execute_before == later(60)
    assert approved.due_at == later(60)
    assert is_claimable(approved, Micros(later(60) - 1))
    assert not is_claimable(approved, later(60))
    step = what_is_due(approved, later(60))
    assert step is not None
    assert step.request.status is Status.EXPIRED
    reason = step.request.progress.status_reason
    assert reason is not None
    assert reason.code == "EXECUTION_WINDOW_PASSED"


def test_a_window_that_closes_ends_the_execution_window_and_the_next_begins_it_anew() -> None:
    verdict = gated(CHECK, windows=(NIGHTS,), execution_window_seconds=60).but(gates=())
    request = submit(new_request().but(expires_at=later(10 * 86_400)), verdict)
    approved = reason_resolved(request, PendingReason.SCHEDULE, now=OPENS).request
    assert approved.progress.execute_before == OPENS + 60_000_000
    back = window_closed(approved, now=OPENS).request
    assert back.progress.execute_before is None


# ---------------------------------------------------------------- a new verdict


def stale(verdict: Verdict, strategy: StaleStrategy, *passed: Gate) -> MutationRequest:
    request = submit(new_request(stale_strategy=strategy), verdict)
    for gate in passed:
        request = answer(request, gate)
    if verdict.plan is not None:
        request = vote(vote(request, ANN), BOB)
    return stale_before_claim(request, current_version="8", now=T0).request


def looked_again(request: MutationRequest, verdict: Verdict) -> MutationRequest:
    return revalidated(
        request, verdict=verdict, violation=None, current_version="8", now=T0
    ).request


def test_a_clean_revalidation_asks_only_for_gates_that_are_new() -> None:
    request = stale(gated(CHECK, QUOTA), StaleStrategy.REVALIDATE_ON_LATEST, CHECK, QUOTA)
    assert looked_again(request, gated(CHECK, QUOTA)).status is Status.APPROVED
    again = looked_again(request, gated(CHECK, LOOK, QUOTA))
    assert names(again) == {"MANUAL_REVIEW risk"}
    assert answer(again, LOOK).status is Status.APPROVED


def test_a_changed_digest_asks_for_checks_and_reviews_again_and_keeps_what_a_quota_gave() -> None:
    verdict = gated(CHECK, QUOTA, LOOK, asked=TWO_APPROVERS)
    request = stale(verdict, StaleStrategy.REQUIRE_RENEWED_APPROVAL, CHECK, QUOTA, LOOK)
    assert names(request) == {"APPROVAL", "EXTERNAL_CHECK scan", "MANUAL_REVIEW risk"}
    again = looked_again(
        stale(gated(CHECK, QUOTA), StaleStrategy.REVALIDATE_ON_LATEST, CHECK, QUOTA),
        gated(CHECK, QUOTA, asked=TWO_APPROVERS),
    )
    assert names(again) == {"APPROVAL", "EXTERNAL_CHECK scan"}


# ---------------------------------------------------------------- dependencies

FAILED = {RequestId("r-0"): Status.CANCELED}


def dependent(on_failure: DependencyFailure) -> MutationRequest:
    return submit(new_request(on_dependency_failure=on_failure), ALLOWED, DEPENDENCY)


def test_a_dependency_that_failed_resolves_as_the_request_says() -> None:
    proceeds = dependencies_ended(dependent(DependencyFailure.PROCEED), failed=FAILED, now=T0)
    assert proceeds.request.status is Status.APPROVED
    assert proceeds.decisions[0].facts["failed"] == "r-0"

    rejected = dependencies_ended(dependent(DependencyFailure.REJECT), failed=FAILED, now=T0)
    assert rejected.request.status is Status.REJECTED

    reviewed = dependencies_ended(dependent(DependencyFailure.REVIEW), failed=FAILED, now=T0)
    assert names(reviewed.request) == {"MANUAL_REVIEW dependency"}
    assert reviewed.request.progress.pending[0].detail == "r-0 ended as CANCELED"
    gate = LOOK.but(name="dependency")
    assert answer(reviewed.request, gate).status is Status.APPROVED
    assert answer(reviewed.request, gate, passed=False).status is Status.REJECTED


@pytest.mark.parametrize("on_failure", DependencyFailure)
def test_dependencies_that_are_executed_let_go_whatever_was_to_follow_otherwise(
    on_failure: DependencyFailure,
) -> None:
    step = dependencies_ended(dependent(on_failure), failed={}, now=T0)
    assert step.request.status is Status.APPROVED
