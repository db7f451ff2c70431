"""Claims about what claims, outcomes, doubts and audits record; where they lead: test_stages."""

from hashlib import sha256

import pytest

from governor.domain.auditing import audited
from governor.domain.decision import Code, Decision
from governor.domain.executing import (
    Progression,
    claimed,
    in_doubt,
    not_applied,
    outcome_digest,
    reclaimed,
    settled,
    withdrawn,
)
from governor.domain.execution import (
    Applied,
    Change,
    Execution,
    ExecutionStatus,
    Refused,
    Severity,
    SideEffect,
    VersionMismatch,
)
from governor.domain.request import MutationRequest
from governor.domain.resolution import Resolution
from governor.domain.values import GOVERNOR, AuditId, ExecutionId, Reason
from governor.domain.workflow import canceled
from tests.support.domain_builders import (
    APPLIED,
    DOUBT,
    INVALID,
    LEASE_US,
    OPERATOR,
    STAGES,
    claim,
    later,
    new_request,
    submit,
)

NOW = later(5)


def by_code(after: Progression) -> dict[Code, Decision]:
    return {decision.code: decision for decision in after.decisions}


def claim_with(
    request: MutationRequest, resolution: Resolution | None, current_version: str | None = None
) -> Progression:
    return claimed(
        request,
        execution_id=ExecutionId("x-1"),
        audit_id=AuditId("audit-x-1"),
        starter=OPERATOR,
        now=NOW,
        lease_us=LEASE_US,
        resolution=resolution,
        current_version=current_version,
        traceparent="00-x",
    )


# ---------------------------------------------------------------- claims


def test_a_claim_starts_an_execution_of_exactly_what_was_approved() -> None:
    request = STAGES["consented"]().request
    after = claim_with(request, None)
    assert after.execution == Execution(
        id=ExecutionId("x-1"),
        audit_id=AuditId("audit-x-1"),
        request_id=request.id,
        request_audit_id=request.audit_id,
        tenant="acme",
        state=request.state,
        digest=request.progress.digest,
        started_by="otto",
        started_at=NOW,
        lease_expires_at=later(5 + 30),
        status=ExecutionStatus.RUNNING,
        fencing_token=1,
        attempts=0,
        expected_version="7",
        traceparent="00-x",
    )
    assert after.request.progress.execution_id == "x-1"
    assert after.request.progress.executions == 1


def test_a_claim_is_decided_by_who_starts_it_and_names_token_and_digest() -> None:
    request = STAGES["approved"]().request
    decision = by_code(claim_with(request, None))[Code.CLAIMED]
    assert decision.actor == OPERATOR
    assert decision.facts == {"fencing_token": "1", "digest": request.progress.digest.hex()}


def test_a_version_that_governor_compared_is_decided_before_the_claim() -> None:
    after = claim_with(STAGES["approved"]().request, Resolution.VALIDATED, "7")
    assert [decision.code for decision in after.decisions] == [
        Code.VERSION_VALIDATED,
        Code.CLAIMED,
    ]
    assert after.decisions[0].actor == GOVERNOR
    assert after.decisions[0].facts == {"expected_version": "7", "current_version": "7"}
    assert (after.execution.resolution, after.execution.current_version) == (
        Resolution.VALIDATED,
        "7",
    )


def test_each_new_execution_counts_and_starts_with_a_fresh_token() -> None:
    free = STAGES["free again"]().request
    again = claim(free, id="x-2")
    assert again.request.progress.executions == 2
    assert again.request.progress.execution_id == "x-2"
    assert again.running.fencing_token == 1
    assert again.running.attempts == 0


# ---------------------------------------------------------------- leases


def test_taking_over_raises_the_token_and_moves_the_lease() -> None:
    at = STAGES["executing"]()
    first = reclaimed(at.request, at.running, now=NOW, lease_us=LEASE_US, actor=OPERATOR)
    second = reclaimed(first.request, first.execution, now=later(9), lease_us=LEASE_US)
    assert (first.execution.fencing_token, second.execution.fencing_token) == (2, 3)
    assert second.execution.lease_expires_at == later(9 + 30)
    assert first.execution.but(fencing_token=1, lease_expires_at=0) == at.running.but(
        lease_expires_at=0
    )
    assert first.decisions[0].actor == OPERATOR
    assert first.decisions[0].facts["fencing_token"] == "2"


def test_a_lost_lease_is_decided_first_and_names_the_token_that_lost_it() -> None:
    at = STAGES["executing"]()
    after = reclaimed(at.request, at.running, now=NOW, lease_us=LEASE_US, lease_lost=True)
    assert [decision.code for decision in after.decisions] == [Code.LEASE_LOST, Code.CLAIMED]
    assert after.decisions[0].facts == {"fencing_token": "1"}
    assert after.decisions[1].facts["fencing_token"] == "2"


# ---------------------------------------------------------------- outcomes


@pytest.mark.parametrize(
    ("expected_version", "upfront", "resolution", "codes"),
    [
        ("7", None, Resolution.VALIDATED, [Code.VERSION_VALIDATED]),
        ("", None, Resolution.VALIDATED, [Code.VERSION_VALIDATED]),
        (None, None, Resolution.UNVERSIONED, [Code.VERSION_UNVERSIONED]),
        ("7", Resolution.VALIDATED, Resolution.VALIDATED, []),
        (None, Resolution.UNVERSIONED, Resolution.UNVERSIONED, []),
    ],
)
def test_the_version_is_resolved_once_per_execution_at_the_claim_or_by_the_application(
    expected_version: str | None,
    upfront: Resolution | None,
    resolution: Resolution,
    codes: list[Code],
) -> None:
    running = claim_with(submit(new_request(expected_version=expected_version)), upfront)
    after = settled(running.request, running.execution, APPLIED, attempts=1, now=NOW)
    assert after.execution.resolution is resolution
    assert [decision.code for decision in after.decisions] == [
        *codes,
        Code.APPLIED,
        Code.EXECUTED,
    ]


def test_an_application_is_recorded_with_the_token_and_the_digest_of_its_outcome() -> None:
    at = STAGES["executing"]()
    after = settled(at.request, at.running, APPLIED, attempts=3, now=NOW)
    assert after.execution.status is ExecutionStatus.APPLIED
    assert after.execution.applied == APPLIED
    assert after.execution.attempts == 3
    assert after.execution.current_version == "7"
    assert after.execution.finished_at == NOW
    assert by_code(after)[Code.APPLIED].facts == {
        "resulting_version": "8",
        "fencing_token": "1",
        "outcome_sha256": outcome_digest(APPLIED),
    }


def test_the_version_that_governor_saw_is_kept_over_the_one_the_host_reports() -> None:
    running = claim_with(submit(new_request()), Resolution.VALIDATED, "7")
    outcome = Applied(resulting_version="8", previous_version="6")
    after = settled(running.request, running.execution, outcome, attempts=1, now=NOW)
    assert after.execution.current_version == "7"
    assert after.execution.applied == outcome


def test_the_digest_of_an_outcome_covers_all_of_it() -> None:
    written = (
        b'{"type":"Applied","resulting_version":"8",'
        b'"changes":[{"path":"on","before":"false","after":"true"}],'
        b'"side_effects":[{"type":"cache","severity":"INFO","data":{"a":"1","b":"2"}}],'
        b'"previous_version":"7"}'
    )
    outcome = Applied(
        resulting_version="8",
        changes=(Change(path="on", before="false", after="true"),),
        side_effects=(SideEffect(type="cache", severity=Severity.INFO, data={"a": "1", "b": "2"}),),
        previous_version="7",
    )
    assert outcome_digest(outcome) == sha256(written).hexdigest()


def test_equal_outcomes_have_equal_digests() -> None:
    def outcome(data: dict[str, str]) -> Applied:
        return Applied(resulting_version="8", side_effects=(SideEffect(type="t", data=data),))

    one, same = outcome({"a": "1", "b": "2"}), outcome({"b": "2", "a": "1"})
    assert one == same
    assert outcome_digest(one) == outcome_digest(same)
    assert outcome_digest(one) != outcome_digest(outcome({"a": "2", "b": "1"}))


def test_a_refusal_keeps_the_hosts_words_but_not_its_keys() -> None:
    at = STAGES["executing"]()
    said = Reason(code="NO_SUCH_FLAG", message="unknown", metadata={"flag": "x", "code": "FAKE"})
    after = settled(at.request, at.running, Refused(reason=said), attempts=1, now=NOW)
    assert after.execution.status is ExecutionStatus.REFUSED
    assert after.execution.error == said
    assert after.execution.applied is None
    assert after.request.progress.status_reason == Reason(
        code="HOST_REFUSED", message="unknown", metadata={"flag": "x", "code": "NO_SUCH_FLAG"}
    )
    assert by_code(after)[Code.REFUSED].reason == said
    assert by_code(after)[Code.FAILED].reason == after.request.progress.status_reason


def test_a_mismatch_ends_the_execution_as_stale_with_what_the_host_has() -> None:
    at = STAGES["executing"]()
    outcome = VersionMismatch(current_version="9")
    after = settled(at.request, at.running, outcome, attempts=2, now=NOW)
    assert after.execution.status is ExecutionStatus.STALE
    assert after.execution.attempts == 2
    assert after.execution.current_version == "9"
    assert after.execution.resolution is Resolution.REJECTED_AS_STALE
    assert after.execution.error is not None
    assert after.execution.error.metadata == {"current_version": "9"}


def test_attempts_add_up_over_the_owners_of_an_execution() -> None:
    at = STAGES["executing"]()
    tried = at.running.but(attempts=2)
    assert settled(at.request, tried, APPLIED, attempts=3, now=NOW).execution.attempts == 5
    doubted = in_doubt(at.request, tried, attempts=1, now=NOW, reason=DOUBT)
    assert doubted.execution.attempts == 3
    released = not_applied(at.request, tried, attempts=0, now=NOW, reason=DOUBT)
    assert released.execution.attempts == 2


def test_what_was_surely_not_applied_frees_the_request_for_another_execution() -> None:
    at = STAGES["executing"]()
    after = not_applied(at.request, at.running, attempts=1, now=NOW, reason=DOUBT)
    assert after.execution.status is ExecutionStatus.NOT_APPLIED
    assert after.execution.error == DOUBT
    resolved = by_code(after)[Code.RESOLVED]
    assert resolved.reason == DOUBT
    assert resolved.facts == {"outcome": "not_applied", "fencing_token": "1"}
    assert claim(after.request, id="x-2").request.progress.executions == 2


def test_a_withdrawal_ends_the_fenced_execution_together_with_its_request() -> None:
    at = STAGES["executing"]()
    ending = canceled(at.request, actor=OPERATOR, now=NOW, comment="stop")
    after = withdrawn(at.running, ending, attempts=1, now=NOW)
    assert after.request == ending.request
    assert after.execution.status is ExecutionStatus.NOT_APPLIED
    assert after.execution.attempts == 1
    assert after.execution.error is not None
    assert after.execution.error.code == "FENCED"
    assert [decision.code for decision in after.decisions] == [Code.RESOLVED, Code.CANCELED]
    assert after.decisions[1].actor == OPERATOR


# ---------------------------------------------------------------- doubt and audit


def test_doubt_keeps_the_state_taken_and_asks_for_a_person() -> None:
    at = STAGES["executing"]()
    after = in_doubt(at.request, at.running, attempts=1, now=NOW, reason=DOUBT)
    assert after.execution.status is ExecutionStatus.IN_DOUBT
    assert after.execution.is_active
    assert after.execution.error == DOUBT
    assert after.request.progress.status_reason == DOUBT
    (audit,) = after.request.progress.pending
    assert (audit.since, audit.until, audit.detail) == (NOW, None, DOUBT.message)
    assert after.request.due_at is None
    assert by_code(after)[Code.PENDING].facts == {"waits_for": "AUDIT"}


def test_a_person_who_found_it_applied_closes_the_doubt_with_what_they_found() -> None:
    at = STAGES["in audit"]()
    looked = Reason(code="LOOKED", message="seen in the host")
    found = Applied(resulting_version="8")
    after = audited(at.request, at.running, found=found, actor=OPERATOR, now=NOW, reason=looked)
    assert after.execution.status is ExecutionStatus.APPLIED
    assert after.execution.applied == found
    assert after.execution.error is None
    assert after.execution.resolved_by == "otto"
    assert after.execution.finished_at == NOW
    assert after.request.progress.status_reason is None
    assert by_code(after)[Code.RESOLVED].actor == OPERATOR
    assert by_code(after)[Code.RESOLVED].reason == looked
    assert by_code(after)[Code.RESOLVED].facts == {
        "outcome": "applied",
        "resulting_version": "8",
        "outcome_sha256": outcome_digest(found),
    }
    assert by_code(after)[Code.EXECUTED].actor == OPERATOR


def test_a_person_who_found_nothing_ends_the_request_as_failed() -> None:
    at = STAGES["in audit"]()
    after = audited(at.request, at.running, found=None, actor=OPERATOR, now=NOW, reason=INVALID)
    assert after.execution.status is ExecutionStatus.NOT_APPLIED
    assert after.execution.applied is None
    assert after.execution.error == INVALID
    assert by_code(after)[Code.RESOLVED].facts == {"outcome": "not_applied"}
    reason = Reason(
        code="AUDITED_NOT_APPLIED",
        message=INVALID.message,
        metadata={"by": "otto", "code": "NO_SUCH_FLAG"},
    )
    assert after.request.progress.status_reason == reason
    assert by_code(after)[Code.FAILED].reason == reason
