"""What goes through the wire comes out as it went in, and equal values have equal bytes."""

from enum import Enum
from hashlib import sha256
from typing import Any

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from hypothesis import given
from hypothesis import strategies as st

from governance.v1 import (
    decision_pb2,
    execution_pb2,
    mutation_engine_pb2,
    mutation_pb2,
    request_pb2,
)
from governance.v1 import governance_service_pb2 as wire
from governor.domain.approval import Approval, Plan, Requirement, Step, Target, Vote, VoteKind
from governor.domain.break_glass import Review
from governor.domain.compensation import (
    CompensatedBy,
    Compensation,
    CompensationKind,
    CompensationTrigger,
)
from governor.domain.decision import Code, Decision
from governor.domain.execution import Applied, ExecutionStatus
from governor.domain.policy import Effect, Verdict
from governor.domain.request import (
    BatchDecisionMode,
    BatchFailureMode,
    BatchOrdering,
    BatchProgress,
    BatchSpec,
    Content,
    DependencyFailure,
    ExecutionMode,
    Membership,
    MutationRequest,
    Pending,
    PendingReason,
    StaleStrategy,
    Status,
)
from governor.domain.resolution import Resolution
from governor.domain.values import (
    AuditId,
    ExecutionId,
    Identity,
    Micros,
    Reason,
    RequestId,
    Revision,
    TargetKind,
)
from governor.host import codec as host_codec
from governor.usecases.ports import Validation
from governor.wire.codec import enums, submission, values
from governor.wire.codec.decision import MalformedEntry, decode_entry, encode_entry
from governor.wire.codec.execution import put_execution, put_validation
from governor.wire.codec.request import put_request
from tests.support.builders import make_execution, make_request
from tests.wire import values as made

# --- Enumerations -------------------------------------------------------------------------------

WITHOUT_A_WIRE_FORM = {Status.CREATED}


@pytest.mark.parametrize("table", enums.TABLES, ids=lambda table: table.outer.name)
def test_every_enumeration_is_whole_in_both_directions(table: enums.EnumTable[Any, Any]) -> None:
    """Each domain value has a number of its own, and each number but zero a domain value."""
    inner: type[Enum] = type(next(iter(table.to_wire)))
    assert set(table.to_wire) == set(inner) - WITHOUT_A_WIRE_FORM
    numbers = list(table.to_wire.values())
    assert len(set(numbers)) == len(numbers)
    declared = {value.number for value in table.outer.values}
    assert set(numbers) | {0} == declared
    for domain, number in table.to_wire.items():
        assert table.to_domain[number] is domain
        assert table.outer.values_by_number[number].name.endswith(domain.name)


def test_zero_means_something_only_where_the_contract_says_what() -> None:
    meaning = {
        table.outer.name: table.to_domain[0] for table in enums.TABLES if 0 in table.to_domain
    }
    unspecified = {name: value for name, value in meaning.items() if value.name == "UNSPECIFIED"}
    assert set(unspecified) == {"Risk", "Reversibility", "BlastRadius", "Severity"}
    assert meaning["StaleStrategy"] is StaleStrategy.REJECT_STALE
    assert meaning["ExecutionMode"] is ExecutionMode.AUTOMATIC
    assert meaning["DependencyFailure"] is DependencyFailure.REJECT
    assert meaning["CompensationTrigger"] is CompensationTrigger.OPERATOR
    assert meaning["BatchOrdering"] is BatchOrdering.SEQUENTIAL
    assert meaning["BatchFailureMode"] is BatchFailureMode.STOP
    assert meaning["BatchDecisionMode"] is BatchDecisionMode.BATCH
    assert len(meaning) == 11


def test_every_decision_code_has_a_pair_of_its_own() -> None:
    assert set(enums.CODE) == set(Code)
    assert {enums.CODE_OF[pair] for pair in enums.CODE.values()} == set(Code)


# --- Moments and spans --------------------------------------------------------------------------


@given(made.moments)
def test_a_moment_survives(at: int) -> None:
    stamp = Timestamp()
    values.put_moment(stamp, Micros(at))
    assert 0 <= stamp.nanos < 1_000_000_000
    assert values.moment(stamp) == at


@given(made.moments, st.integers(0, 999))
def test_what_is_finer_than_a_microsecond_is_cut_off(at: int, nanos: int) -> None:
    stamp = Timestamp()
    values.put_moment(stamp, Micros(at))
    stamp.nanos += nanos
    assert values.moment(stamp) == at


# --- Ledger entries -----------------------------------------------------------------------------


@given(made.decisions, made.revisions)
def test_an_entry_is_read_as_it_was_written(decision: Decision, revision: int) -> None:
    entry = decode_entry(encode_entry(decision, Revision(revision)))
    assert entry.decision == decision
    assert entry.revision == revision


@given(made.decisions, made.revisions)
def test_equal_decisions_have_equal_bytes(decision: Decision, revision: int) -> None:
    reordered = decision.but(facts=dict(reversed(decision.facts.items())))
    first = encode_entry(decision, Revision(revision))
    assert encode_entry(reordered, Revision(revision)) == first
    again = decision_pb2.Decision.FromString(first).SerializeToString(deterministic=True)
    assert again == first


def test_an_actors_roles_and_groups_are_sorted() -> None:
    who = Identity(
        id="ann", person="ann", roles=frozenset("zyxab"), groups=frozenset({"ops", "eng"})
    )
    request = make_request()
    decision = Decision(
        code=Code.SUBMITTED,
        actor=who,
        at=Micros(1),
        tenant="acme",
        request_id=request.id,
        request_audit_id=request.audit_id,
        status=Status.PENDING,
        digest=b"",
        state=request.state,
        mutation_type="flag.set",
    )
    told = decision_pb2.Decision.FromString(encode_entry(decision, Revision(1))).actor
    assert list(told.roles) == sorted("zyxab")
    assert list(told.groups) == ["eng", "ops"]
    assert values.moment(told.time) == 1


@pytest.mark.parametrize("data", [b"\xff", b"\x08\x01"], ids=["no message", "no category"])
def test_other_bytes_are_no_entry(data: bytes) -> None:
    with pytest.raises(MalformedEntry):
        decode_entry(data)


# --- Requests -----------------------------------------------------------------------------------


def submitted(content: Content) -> wire.SubmitRequest:
    """The submission that asks for this content."""
    context, intent = content.context, content.intent
    request = wire.SubmitRequest(
        context={
            "tenant": context.tenant,
            "environment": context.environment,
            "service": context.service,
            "region": context.region,
            "correlation_id": context.correlation_id,
            "causation_id": context.causation_id,
        },  # type: ignore[arg-type]  # a message from a dict, which the stubs do not know
        mutation={
            "type": content.mutation_type,
            "state": {"type": content.state.type, "id": content.state.id},
            "payload": {
                "content_type": content.payload.content_type,
                "data": content.payload.data,
            },
            "expected_version": content.expected_version,
            "stale_strategy": enums.STALE_STRATEGY.to_wire[content.stale_strategy],
        },  # type: ignore[arg-type]  # a message from a dict, which the stubs do not know
        intent={
            "category": intent.category,
            "risk": enums.RISK.to_wire[intent.risk],
            "reversibility": enums.REVERSIBILITY.to_wire[intent.reversibility],
            "blast_radius": enums.BLAST_RADIUS.to_wire[intent.blast_radius],
        },  # type: ignore[arg-type]  # a message from a dict, which the stubs do not know
        justification=content.justification,
        metadata=content.metadata,
        tags=content.tags,
        depends_on=content.depends_on,
        execution_mode=enums.EXECUTION_MODE.to_wire[content.execution_mode],
    )
    for item in content.evidence:
        request.evidence.add(
            kind=item.kind, uri=item.uri, sha256=item.sha256, description=item.description
        )
    if content.execute_after is not None:
        values.put_moment(request.execute_after, content.execute_after)
    return request


@given(made.contents)
def test_what_is_asked_is_read_as_it_was_meant(content: Content) -> None:
    assert submission.content(submitted(content), content.context.actor) == content


@given(made.contents)
def test_what_was_asked_is_shown_again(content: Content) -> None:
    asked, shown = submitted(content), request_pb2.MutationRequest()
    put_request(shown, request_with(content))
    asked.context.actor = content.context.actor
    asked.mutation.payload.size_bytes = len(content.payload.data)
    asked.mutation.payload.sha256 = sha256(content.payload.data).digest()
    for field in ("context", "mutation", "intent", "justification", "evidence", "metadata", "tags"):
        assert getattr(shown, field) == getattr(asked, field), field
    assert shown.execute_after == asked.execute_after
    assert shown.HasField("execute_after") == asked.HasField("execute_after")
    assert list(shown.depends_on) == list(asked.depends_on)
    assert shown.execution_mode == asked.execution_mode


def request_with(content: Content) -> MutationRequest:
    request = make_request()
    return request.but(
        content=content, progress=request.progress.but(expected_version=content.expected_version)
    )


def test_a_request_that_says_nothing_of_its_nature_gets_the_contracts_defaults() -> None:
    content = submission.content(wire.SubmitRequest(), "ann")
    assert content.expected_version is None
    assert content.stale_strategy is StaleStrategy.REJECT_STALE
    assert content.execution_mode is ExecutionMode.AUTOMATIC
    assert content.execute_after is None


def test_the_empty_version_is_one_and_differs_from_none() -> None:
    request = wire.SubmitRequest()
    request.mutation.expected_version = ""
    assert submission.content(request, "ann").expected_version == ""


def test_the_actor_is_the_caller_whatever_the_request_says() -> None:
    request = wire.SubmitRequest()
    request.context.actor = "somebody else"
    assert submission.content(request, "ann").context.actor == "ann"


ROLLBACK = Compensation(
    request_id=RequestId("mr-9"),
    execution_id=ExecutionId("ex-9"),
    kind=CompensationKind.ROLLBACK,
    trigger=CompensationTrigger.BATCH_FAILURE,
    reason=Reason(code="MEMBER_FAILED", message="mr-8 failed"),
    undo_token=b"\x00token",
)


def full_request() -> MutationRequest:
    """One with everything set that a request can have."""
    step = Step(
        name="review",
        requirements=(
            Requirement(
                id="two", targets=(Target(kind=TargetKind.GROUP, name="reviewers"),), quorum=2
            ),
        ),
    )
    ann = Identity(id="ann", person="ann", roles=frozenset({"approver"}))
    votes = tuple(
        Vote(
            voter=ann,
            kind=VoteKind.APPROVE,
            digest=b"d" * 32,
            round=round_number,
            step=0,
            at=Micros(5),
            reason=Reason(code="APPROVED", message="fine"),
        )
        for round_number in (1, 2)
    )
    request = make_request(expected_version="1", execute_after=Micros(9))
    content = request.content.but(
        compensation=ROLLBACK,
        batch=Membership(batch_id=RequestId("mr-20"), position=3),
        batch_spec=BatchSpec(
            ordering=BatchOrdering.INDEPENDENT,
            failure_mode=BatchFailureMode.COMPENSATE,
            decision_mode=BatchDecisionMode.PER_MEMBER,
            member_ids=(RequestId("mr-21"), RequestId("mr-22")),
        ),
    )
    progress = request.progress.but(
        status=Status.PENDING,
        pending=(
            Pending(reason=PendingReason.APPROVAL, since=Micros(3)),
            Pending(
                reason=PendingReason.SCHEDULE, since=Micros(3), until=Micros(9), detail="at nine"
            ),
        ),
        expected_version="2",
        verdict=Verdict(
            effect=Effect.DEFER, rules=("r1",), plan=Plan(steps=(step,)), policy_sha256=b"p" * 32
        ),
        approval=Approval(plan=Plan(steps=(step,)), round=2, votes=votes),
        status_reason=Reason(code="WHY", message="so", metadata={"k": "v"}),
        superseded_by=RequestId("mr-2"),
        execution_id=ExecutionId("ex-1"),
        updated_at=Micros(7),
        execute_before=Micros(11),
        review=Review(reviewers=step.requirements[0].targets, due_at=Micros(12)),
        compensation_id=RequestId("mr-11"),
        compensated_by=CompensatedBy(
            request_id=RequestId("mr-11"),
            execution_id=ExecutionId("ex-11"),
            execution_audit_id=AuditId("au-11"),
            kind=CompensationKind.FORWARD,
            trigger=CompensationTrigger.OPERATOR,
            at=Micros(13),
        ),
    )
    return request.but(
        content=content,
        progress=progress,
        supersedes=RequestId("mr-0"),
        traceparent="tp",
        revision=Revision(12),
        submitted_revision=Revision(4),
    )


def test_every_field_of_a_request_is_shown() -> None:
    """A field of the contract that nobody sets would be missing here."""
    shown = request_pb2.MutationRequest()
    put_request(shown, full_request())
    always_unset = {"intent", "justification", "evidence", "metadata", "tags", "depends_on"}
    named = {descriptor.name for descriptor, _ in shown.ListFields()} | always_unset
    assert named == {field.name for field in shown.DESCRIPTOR.fields}
    assert shown.etag == "r12-7"
    assert shown.mutation.expected_version == "2", "the one that will be demanded"
    assert [vote.voided for vote in shown.approval.votes] == [True, False]
    assert list(shown.approval.open_requirements) == ["two"]
    assert [pending.HasField("until_time") for pending in shown.pending] == [False, True]


def test_a_batch_is_shown_with_how_far_it_has_come() -> None:
    request = full_request()
    progress = BatchProgress(
        applied=(RequestId("mr-21"),),
        failed=(RequestId("mr-22"),),
        stopped=Reason(code="MEMBER_FAILED"),
        undone=(RequestId("mr-21"),),
    )
    shown = request_pb2.MutationRequest()
    put_request(shown, request.but(progress=request.progress.but(batch=progress)))
    assert shown.batch == request_pb2.BatchMembership(batch_id="mr-20", position=3)
    assert shown.batch_spec == request_pb2.BatchSpec(
        ordering=request_pb2.BATCH_ORDERING_INDEPENDENT,
        failure_mode=request_pb2.BATCH_FAILURE_MODE_COMPENSATE,
        decision_mode=request_pb2.BATCH_DECISION_MODE_PER_MEMBER,
        member_ids=["mr-21", "mr-22"],
        applied_ids=["mr-21"],
        failed_ids=["mr-22"],
        stopping=True,
        compensated_ids=["mr-21"],
    )


def test_a_compensation_is_shown_as_it_was_asked_and_absence_as_absence() -> None:
    shown = request_pb2.MutationRequest()
    put_request(shown, full_request())
    assert shown.compensation == mutation_pb2.Compensation(
        mutation_request_id="mr-9",
        execution_id="ex-9",
        kind=mutation_pb2.COMPENSATION_KIND_ROLLBACK,
        trigger=mutation_pb2.COMPENSATION_TRIGGER_BATCH_FAILURE,
        undo_token=b"\x00token",
        reason=mutation_pb2.Reason(code="MEMBER_FAILED", message="mr-8 failed"),
    )
    assert shown.compensated_by == request_pb2.CompensatedBy(
        mutation_request_id="mr-11",
        execution_id="ex-11",
        execution_audit_id="au-11",
        kind=mutation_pb2.COMPENSATION_KIND_FORWARD,
        trigger=mutation_pb2.COMPENSATION_TRIGGER_OPERATOR,
        time=Timestamp(nanos=13_000),
    )
    assert submission.compensation(shown.compensation) == ROLLBACK
    plain = request_pb2.MutationRequest()
    put_request(plain, make_request())
    assert not plain.HasField("compensation")


def test_a_list_leaves_the_payloads_bytes_out() -> None:
    shown = request_pb2.MutationRequest()
    request = request_with(
        make_request().content.but(payload=made.measured("text/plain", b"12345"))
    )
    left_out = request.content.payload.but(data=b"")
    for stored in (request, request.but(content=request.content.but(payload=left_out))):
        put_request(shown, stored, with_data=False)
        assert shown.mutation.payload.data == b""
        assert shown.mutation.payload.size_bytes == 5
        assert shown.mutation.payload.sha256 == sha256(b"12345").digest()


def test_a_request_that_was_never_written_has_no_etag() -> None:
    shown = request_pb2.MutationRequest()
    put_request(shown, make_request())
    assert (shown.etag, shown.revision) == ("", 0)


# --- Executions ---------------------------------------------------------------------------------


@given(made.outcomes)
def test_what_the_host_applied_is_shown_as_it_said(applied: Applied) -> None:
    shown = execution_pb2.Execution()
    put_execution(shown, make_execution(make_request()).but(applied=applied))
    said = mutation_engine_pb2.ApplyMutationResponse(applied=shown.applied)
    assert host_codec.outcome(said) == applied


def test_every_field_of_an_execution_is_shown() -> None:
    execution = make_execution(
        make_request(),
        status=ExecutionStatus.APPLIED,
        attempts=2,
        expected_version="1",
        resolution=Resolution.VALIDATED,
        current_version="1",
        applied=Applied(resulting_version="2"),
        error=Reason(code="E"),
        resolved_by="otto",
        traceparent="tp",
        compensates=AuditId("audit-before"),
        compensated_by=AuditId("audit-after"),
        revision=Revision(9),
    )
    finished = Micros(execution.started_at + 1_500_000)
    shown = execution_pb2.Execution()
    put_execution(shown, execution.but(finished_at=finished))
    named = {descriptor.name for descriptor, _ in shown.ListFields()}
    assert named == {field.name for field in shown.DESCRIPTOR.fields}
    assert shown.duration.ToMilliseconds() == 1500


def test_a_clock_set_back_makes_no_negative_duration() -> None:
    execution = make_execution(make_request())
    shown = execution_pb2.Execution()
    put_execution(shown, execution.but(finished_at=Micros(execution.started_at - 1)))
    assert shown.HasField("duration")
    assert shown.duration.ToMicroseconds() == 0


def test_a_running_execution_has_neither_end_nor_outcome() -> None:
    shown = execution_pb2.Execution()
    put_execution(shown, make_execution(make_request()))
    absent = ("finish_time", "duration", "applied", "error", "expected_version", "current_version")
    assert [field for field in absent if shown.HasField(field)] == []  # type: ignore[arg-type]  # the stubs want literals


@given(st.builds(Validation, preview=st.lists(made.changes, max_size=3).map(tuple)))
def test_an_opinion_of_the_host_is_shown_as_it_said(validation: Validation) -> None:
    shown = mutation_engine_pb2.ValidateMutationResponse()
    put_validation(shown, validation)
    assert host_codec.validation(shown) == validation


def test_the_audit_ids_are_shown() -> None:
    request = make_request()
    shown = execution_pb2.Execution()
    put_execution(shown, make_execution(request).but(audit_id=AuditId("au-7")))
    assert shown.execution_audit_id == "au-7"
    assert shown.request_audit_id == request.audit_id
