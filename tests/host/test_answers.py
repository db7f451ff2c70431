"""The table of answers, cell by cell: every status code with and without our domain."""

import grpc
import grpc.aio
import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp
from hypothesis import given
from hypothesis import strategies as st

from governance.v1 import errors_pb2, execution_pb2, mutation_pb2
from governance.v1 import mutation_engine_pb2 as engine
from governor.domain.execution import (
    Applied,
    Busy,
    Fenced,
    InDoubt,
    LookupAnswer,
    NotSeen,
    Refused,
    VersionMismatch,
)
from governor.domain.request import Reversibility
from governor.host import answers
from governor.host.codec import (
    CHANGES_MAX,
    MICROS_MAX,
    TRUNCATED,
    UNDO_DROPPED,
    UNDO_TOKEN_BYTES_MAX,
    capabilities,
)
from tests.host.scripted_engine import Error

FAILURES = [code for code in grpc.StatusCode if code is not grpc.StatusCode.OK]
REASONS = [name.removeprefix("ERROR_REASON_") for name in errors_pb2.ErrorReason.keys()]  # noqa: SIM118  # an enum's keys, no dict's
SPECIAL = {"FENCED", "EXECUTION_DIGEST_MISMATCH"}
DIGEST = b"d" * 32

# The table of docs/contract.md, spelled out again: what is not named here is in doubt.
NOT_APPLIED = {
    grpc.StatusCode.INVALID_ARGUMENT,
    grpc.StatusCode.PERMISSION_DENIED,
    grpc.StatusCode.FAILED_PRECONDITION,
}
COME_AGAIN = {grpc.StatusCode.ABORTED, grpc.StatusCode.RESOURCE_EXHAUSTED}


def failure(error: Error) -> answers.Failure:
    return answers.failure_of(
        grpc.aio.AioRpcError(
            error.code,
            grpc.aio.Metadata(),
            grpc.aio.Metadata(*error.trailing_metadata),
            details="the host's words",
        )
    )


def test_all_sixteen_failures_are_tried() -> None:
    assert len(FAILURES) == 16


@pytest.mark.parametrize("code", FAILURES, ids=lambda code: code.name)
@pytest.mark.parametrize("details", ["none", "foreign", "garbage"])
def test_a_status_that_the_host_did_not_sign_says_nothing(
    code: grpc.StatusCode, details: str
) -> None:
    """Not even INVALID_ARGUMENT: a proxy may have said it after the host had applied."""
    error = {
        "none": Error(code=code),
        "foreign": Error(code=code, reason="FENCED", domain="example.com"),
        "garbage": Error(code=code, details=b"\xff\xff"),
    }[details]
    told = failure(error)
    assert isinstance(answers.apply_answer(told), InDoubt)
    assert isinstance(answers.lookup_answer(told), InDoubt)


@pytest.mark.parametrize("code", FAILURES, ids=lambda code: code.name)
@pytest.mark.parametrize("reason", [*(r for r in REASONS if r not in SPECIAL), "SOMETHING_NEW", ""])
def test_a_signed_status_is_read_by_its_code(code: grpc.StatusCode, reason: str) -> None:
    told = failure(Error(code=code, reason=reason))
    ordered, looked_up = answers.apply_answer(told), answers.lookup_answer(told)
    if code in NOT_APPLIED:
        assert isinstance(ordered, Refused)
        assert isinstance(looked_up, InDoubt), "a refused question is no answer to it"
    elif code in COME_AGAIN:
        assert isinstance(ordered, Busy)
        assert isinstance(looked_up, Busy)
    else:
        assert isinstance(ordered, InDoubt)
        assert isinstance(looked_up, InDoubt)


@pytest.mark.parametrize("code", FAILURES, ids=lambda code: code.name)
def test_fenced_is_believed_with_its_own_code_alone(code: grpc.StatusCode) -> None:
    told = failure(Error(code=code, reason="FENCED"))
    is_fenced = code is grpc.StatusCode.FAILED_PRECONDITION
    assert isinstance(answers.apply_answer(told), Fenced) == is_fenced
    assert isinstance(answers.lookup_answer(told), Fenced) == is_fenced


def test_another_digest_under_the_execution_id_leaves_doubt() -> None:
    """Something was applied, and it is not what was approved: only a person can tell what."""
    told = failure(
        Error(code=grpc.StatusCode.FAILED_PRECONDITION, reason="EXECUTION_DIGEST_MISMATCH")
    )
    for answer in (answers.apply_answer(told), answers.lookup_answer(told)):
        assert isinstance(answer, InDoubt)
        assert answer.reason.code == "EXECUTION_DIGEST_MISMATCH"


def test_a_busy_host_says_when_to_come_again() -> None:
    told = failure(Error(code=grpc.StatusCode.ABORTED, reason="HOST_BUSY", retry_seconds=1.5))
    answer = answers.apply_answer(told)
    assert isinstance(answer, Busy)
    assert answer.retry_after_us == 1_500_000


@given(st.floats(-1e9, 1e9))
def test_no_host_can_send_us_away_for_ever_or_back_in_time(seconds: float) -> None:
    told = failure(Error(code=grpc.StatusCode.ABORTED, reason="HOST_BUSY", retry_seconds=seconds))
    assert told.retry_after_us is not None
    assert 0 <= told.retry_after_us <= (answers.RETRY_SECONDS_MAX + 1) * 1_000_000


def test_the_cause_of_a_refusal_is_the_hosts_own() -> None:
    answer = answers.apply_answer(
        failure(
            Error(
                code=grpc.StatusCode.INVALID_ARGUMENT,
                reason="MUTATION_NOT_SUPPORTED",
                facts={"type": "flag.set"},
            )
        )
    )
    assert isinstance(answer, Refused)
    assert answer.reason.code == "MUTATION_NOT_SUPPORTED"
    assert answer.reason.message == "the host's words"
    assert answer.reason.metadata == {"type": "flag.set", "status": "INVALID_ARGUMENT"}


def test_words_that_the_host_did_not_sign_are_not_recorded() -> None:
    """They may be the text of an exception, with whatever that quotes."""
    answer = answers.apply_answer(failure(Error(code=grpc.StatusCode.UNKNOWN)))
    assert isinstance(answer, InDoubt)
    assert answer.reason.code == "UNKNOWN"
    assert answer.reason.message == "the host answered UNKNOWN"


# --- Answers that are no error ------------------------------------------------------------------


def looked_up(response: engine.LookupMutationResponse) -> LookupAnswer:
    return answers.looked_up(response.SerializeToString(), digest=DIGEST)


def outcome(**outcome: object) -> engine.ApplyMutationResponse:
    return engine.ApplyMutationResponse(**outcome)  # type: ignore[arg-type]  # one of the oneof


def test_every_outcome_is_read() -> None:
    applied = execution_pb2.Applied(
        resulting_version="2",
        previous_version="1",
        changes=[execution_pb2.Change(path="a", before="x")],
        side_effects=[execution_pb2.SideEffect(type="t", severity=99, data={"k": "v"})],  # type: ignore[arg-type]  # a value of tomorrow
    )
    read = answers.applied(outcome(applied=applied).SerializeToString())
    assert isinstance(read, Applied)
    assert (read.resulting_version, read.previous_version) == ("2", "1")
    assert (read.changes[0].before, read.changes[0].after) == ("x", None)
    assert read.side_effects[0].severity.value == "UNSPECIFIED"
    refused = answers.applied(outcome(refused=execution_pb2.Refused()).SerializeToString())
    assert isinstance(refused, Refused)
    assert refused.reason.code == "UNSPECIFIED"
    mismatch = execution_pb2.VersionMismatch(current_version="7")
    assert answers.applied(
        outcome(version_mismatch=mismatch).SerializeToString()
    ) == VersionMismatch(current_version="7")


def test_an_answer_without_an_outcome_leaves_doubt() -> None:
    ordered = answers.applied(b"")
    assert isinstance(ordered, InDoubt)
    assert ordered.reason.code == "NO_OUTCOME"
    assert isinstance(looked_up(engine.LookupMutationResponse()), InDoubt)
    empty = engine.LookupMutationResponse(
        outcome=engine.ApplyMutationResponse(), request_digest=DIGEST
    )
    assert isinstance(looked_up(empty), InDoubt)


def test_a_looked_up_outcome_counts_for_its_own_digest_alone() -> None:
    applied = outcome(applied=execution_pb2.Applied(resulting_version="2"))
    same = engine.LookupMutationResponse(outcome=applied, request_digest=DIGEST)
    assert looked_up(same) == Applied(resulting_version="2")
    for digest in (b"", b"e" * 32):
        other = engine.LookupMutationResponse(outcome=applied, request_digest=digest)
        answer = looked_up(other)
        assert isinstance(answer, InDoubt)
        assert answer.reason.code == "EXECUTION_DIGEST_MISMATCH"


@pytest.mark.parametrize("fenced", [True, False])
def test_not_seen_says_whether_it_is_for_ever(fenced: bool) -> None:
    response = engine.LookupMutationResponse(not_seen=engine.NotSeen(fenced=fenced))
    assert looked_up(response) == NotSeen(fenced=fenced)


def test_an_outcome_too_long_to_keep_is_still_applied() -> None:
    changes = [execution_pb2.Change(path=str(n), after="x" * 10_000) for n in range(1000)]
    applied = execution_pb2.Applied(resulting_version="2", changes=changes)
    read = answers.applied(outcome(applied=applied).SerializeToString())
    assert isinstance(read, Applied)
    assert len(read.changes) == CHANGES_MAX
    assert max(len(change.after or "") for change in read.changes) < 10_000
    assert read.side_effects[-1].type == TRUNCATED
    assert read.side_effects[-1].data["changes"] == "1000"


# --- What it takes to take a change back --------------------------------------------------------


def undo_of(**fields: object) -> Applied:
    applied = execution_pb2.Applied(resulting_version="2", **fields)  # type: ignore[arg-type]  # any field
    read = answers.applied(outcome(applied=applied).SerializeToString())
    assert isinstance(read, Applied)
    return read


def test_an_undo_token_is_kept_byte_for_byte_with_its_end() -> None:
    token = b"\x00" * UNDO_TOKEN_BYTES_MAX
    read = undo_of(undo_token=token, undo_expire_time=Timestamp(seconds=7, nanos=1_999))
    assert (read.undo_token, read.undo_expires_at) == (token, 7_000_001)
    assert read.side_effects == ()
    assert undo_of() == Applied(resulting_version="2")


def test_an_undo_token_too_long_to_keep_is_dropped_whole_and_said_so() -> None:
    """Cut, it would be another token; so the change counts as one that cannot be taken back."""
    read = undo_of(undo_token=b"t" * (UNDO_TOKEN_BYTES_MAX + 1))
    assert read.resulting_version == "2"
    assert read.undo_token == b""
    (warning,) = read.side_effects
    assert (warning.type, warning.severity.value) == (UNDO_DROPPED, "WARNING")
    assert warning.data["bytes"] == "4097"


@pytest.mark.parametrize(
    ("seconds", "kept"),
    [(-(2**62), 0), (-1, 0), (2**62, MICROS_MAX), (253_402_300_800, MICROS_MAX)],
)
def test_an_end_out_of_all_time_becomes_the_nearest_that_can_be_shown(
    seconds: int, kept: int
) -> None:
    read = undo_of(undo_token=b"t", undo_expire_time=Timestamp(seconds=seconds))
    assert read.undo_expires_at == kept


def test_a_host_promises_to_take_changes_back_or_does_not() -> None:
    kinds = [
        engine.MutationType(name="flag.set", reversibility=mutation_pb2.REVERSIBILITY_REVERSIBLE),
        engine.MutationType(name="mail.send", reversibility=99),  # type: ignore[arg-type]  # a value of tomorrow
        engine.MutationType(name="role.grant"),
    ]
    said = engine.GetCapabilitiesResponse(
        mutation_types=kinds, rollback=True, undo_retention=Duration(seconds=90)
    )
    read = capabilities(said)
    assert read.rollback
    assert read.undo_retention_seconds == 90
    assert read.mutation_types == ("flag.set", "mail.send", "role.grant")
    assert read.reversibility == {"flag.set": Reversibility.REVERSIBLE}
    silent = capabilities(engine.GetCapabilitiesResponse())
    assert (silent.rollback, silent.undo_retention_seconds) == (False, None)
    odd = engine.GetCapabilitiesResponse(undo_retention=Duration(seconds=-5))
    assert capabilities(odd).undo_retention_seconds == 0
