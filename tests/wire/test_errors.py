"""The table of errors is whole, says what the contract says, and stays within what travels."""

import re
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest

from governance.v1 import errors_pb2
from governor.domain import errors
from governor.domain.errors import GovernorError
from governor.wire import errors as table
from governor.wire.checking import Violation
from governor.wire.limits import STATUS_BYTES_MAX, VIOLATIONS_TOLD_MAX
from tests.wire.serving import Told, told_in

CONTRACT = Path(__file__).parents[2] / "protos" / "governance" / "v1" / "errors.proto"

EXAMPLES: list[GovernorError] = [
    table.InvalidFields([Violation("a.b", "is required")]),
    table.TooLarge(11, 10),
    errors.InvalidField("expire_time", "lies in the past"),
    errors.NotFound("mutation request", "mr-1"),
    errors.IllegalTransition("EXECUTED", "CANCELED"),
    errors.EtagMismatch("r7"),
    errors.DigestMismatch(expected="aa", got="bb"),
    errors.NotEligible("ann", "has voted"),
    errors.MissingRole(rpc="Submit", tenant="acme", needs="submitter"),
    errors.Unauthenticated("who are you"),
    errors.UnsatisfiableApproval(step="review", requirement="two"),
    errors.DependencyFailed("mr-0", "FAILED"),
    errors.NotInDoubt("APPLIED"),
    errors.HostHeld("LINEAGE_CHANGED", "another lineage"),
    errors.HostNotHeld("lineage-1"),
    errors.LineageMismatch(named="lineage-1", announced="lineage-2"),
    errors.DependencyCycle("mr-1"),
    errors.BatchGoverns("mr-1", "Cancel", "has this member in hand"),
    errors.PlanMismatch(expected="aa", got="bb"),
    errors.NoVote("ann"),
    errors.NotWaiting("QUOTA", "deploys"),
    errors.ReviewOverdue("mr-1", "2026-01-01T00:00:00Z"),
    errors.NoReviewOpen("JUSTIFIED"),
    errors.NotExecuted("REJECTED"),
    errors.NotReversible("HOST", "the host takes nothing back"),
    errors.AlreadyCompensated("mr-2", "PENDING"),
    errors.UndoExpired("2026-01-01T00:00:00Z"),
    errors.RequestIdReused("call-1"),
    errors.Conflict("somebody was faster"),
    errors.StateBusy(
        "another execution is active", state_type="flag", state_id="a", execution_id="ex-1"
    ),
    errors.RevisionAhead(9, 8),
    errors.WrongStore(store_id="a", expected="b"),
    errors.BadPageToken("not ours"),
    errors.SlowConsumer(7),
    errors.Draining("going down", revision="7"),
    errors.StoreUnavailable("the store does not answer"),
    errors.HostUnavailable("the host does not answer"),
    errors.DirectoryUnavailable("the directory does not answer"),
    errors.Overloaded("waiters_max", 10),
]


def told(error: GovernorError) -> Told:
    return told_in(table.refusal_of(error).details)


def kinds(kind: type[GovernorError] = GovernorError) -> Iterator[type[GovernorError]]:
    for subclass in kind.__subclasses__():
        # Errors of tests and of the host client are told by what they inherit from.
        if subclass.__module__ in (errors.__name__, table.__name__):
            yield subclass
        yield from kinds(subclass)


def documented() -> dict[str, tuple[str, set[str]]]:
    """For each reason the code and the metadata that errors.proto promises."""
    found = {}
    pattern = r"((?:  // .*\n)+)  ERROR_REASON_(\w+) = [1-9]\d*;"
    for comment, reason in re.findall(pattern, CONTRACT.read_text()):
        words = " ".join(line.strip().removeprefix("// ") for line in comment.splitlines())
        code = re.sub(r"^From a host\. ", "", words).split(".")[0]
        metadata = re.search(r"Metadata: ([\w, ]+?)(?:, for a stream)?\.", words)
        found[reason] = (code, set(metadata[1].split(", ")) if metadata else set())
    return found


def test_every_error_has_a_row_and_an_example() -> None:
    assert {type(error) for error in EXAMPLES} == set(kinds())
    for kind in kinds():
        table.public_of(kind)


def test_every_reason_is_given_by_a_row_or_by_hosts() -> None:
    given = {public.reason for public in (*table.PUBLIC.values(), table.INTERNAL)}
    assert given.isdisjoint(table.FROM_HOSTS)
    declared = set(errors_pb2.ErrorReason.values()) - {errors_pb2.ERROR_REASON_UNSPECIFIED}
    assert given | table.FROM_HOSTS == declared


@pytest.mark.parametrize("error", EXAMPLES, ids=lambda error: type(error).__name__)
def test_each_error_is_told_as_the_contract_says(error: GovernorError) -> None:
    answer = told(error)
    code, metadata = documented()[answer.info.reason]
    assert answer.code.name == code
    assert answer.info.domain == "governor"
    assert metadata <= set(answer.info.metadata)
    assert answer.message == table.refusal_of(error).message


def test_only_unavailable_is_told_to_be_safe_to_retry_blindly() -> None:
    for error in EXAMPLES:
        if told(error).code is grpc.StatusCode.UNAVAILABLE:
            assert told(error).retry is not None


def test_an_error_below_another_is_told_like_it_unless_it_has_its_own_row() -> None:
    class Unlucky(errors.Conflict):
        pass

    assert told(Unlucky("too many writers")).info.reason == "CONFLICT"
    assert told(errors.StateBusy("busy")).info.reason == "STATE_BUSY"


def test_an_error_without_a_row_has_no_refusal() -> None:
    class Novel(GovernorError):
        pass

    with pytest.raises(LookupError):
        table.refusal_of(Novel("new"))


def test_preconditions_name_what_did_not_hold() -> None:
    (violation,) = told(errors.IllegalTransition("EXECUTED", "CANCELED")).precondition.violations
    assert (violation.type, violation.subject) == ("ILLEGAL_TRANSITION", "EXECUTED")


def test_a_fault_is_told_as_an_incident(caplog: pytest.LogCaptureFixture) -> None:
    refusal = table.fault_refusal(RuntimeError("secret"), "Submit", lambda: "in-1")
    answer = told_in(refusal.details)
    assert answer.code is grpc.StatusCode.INTERNAL
    assert answer.info.metadata["incident"] == "in-1"
    assert b"secret" not in refusal.details
    assert "secret" not in refusal.message
    assert caplog.records[0].__dict__["incident"] == "in-1"


def test_details_stay_within_what_metadata_carries() -> None:
    """Beyond some 8 KiB clients see RESOURCE_EXHAUSTED in place of the answer."""
    long = "x" * 5000
    violations = [Violation(f"{long}[{number}]", long) for number in range(1000)]
    answer = told(table.InvalidFields(violations))
    assert 1 <= len(answer.fields) <= VIOLATIONS_TOLD_MAX
    assert answer.info.metadata["violations"] == "1000"
    short = [Violation(f"tags[{number}]", "is bad") for number in range(1000)]
    assert len(told(table.InvalidFields(short)).fields) == VIOLATIONS_TOLD_MAX
    for error in (
        table.InvalidFields(violations),
        errors.NotFound(long, long),
        errors.IllegalTransition(long, long),
        errors.HostUnavailable(long, **{f"fact{n}": long for n in range(4)}),
    ):
        assert len(table.refusal_of(error).details) <= STATUS_BYTES_MAX
