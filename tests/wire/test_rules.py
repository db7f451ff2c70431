"""The shape rules: every row bites, at its own path alone, and both compilations agree."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp
from hypothesis import given
from hypothesis import strategies as st

from governance.v1 import decision_pb2, execution_pb2, mutation_pb2, request_pb2
from governance.v1 import governance_service_pb2 as wire
from governor.wire import limits
from governor.wire.checking import collector, predicate, validator
from governor.wire.contract_page import shape_rules_page
from governor.wire.limits import WireLimits
from governor.wire.rpcs import CALLS, STREAMS, Streaming, Unary
from governor.wire.rules import request_rules
from governor.wire.shapes import Scalar
from governor.wire.table import Entries, Field, Items, Rules, Unread, Unset
from governor.wire.undecodable import NOT_THE_MESSAGE, diagnose

BOUNDS = WireLimits(payload_bytes_max=100)
RULES = request_rules(BOUNDS)
RPCS: tuple[Unary | Streaming, ...] = (*CALLS, *STREAMS)
DIGEST = b"d" * limits.DIGEST_BYTES
STATE = mutation_pb2.StateRef(type="flag", id="checkout.dark-mode")
REASON = mutation_pb2.Reason(
    code="TOO_RISKY", message="no\nreally", metadata={"k": "v"}, category="RISK"
)


def moment(seconds: int) -> Timestamp:
    return Timestamp(seconds=seconds, nanos=1)


def submission() -> wire.SubmitRequest:
    """Everything set that can be set."""
    return wire.SubmitRequest(
        request_id="call-1",
        context=mutation_pb2.RuntimeContext(
            tenant="acme",
            environment="production",
            service="checkout",
            region="eu-west-1",
            actor="spiffe://acme/ann",
            correlation_id="c-1",
            causation_id="e:1",
        ),
        mutation=mutation_pb2.Mutation(
            type="flag.set",
            state=STATE,
            payload=mutation_pb2.Payload(
                content_type="application/json; charset=utf-8", data=b"{}", size_bytes=7
            ),
            expected_version="v 7",
            stale_strategy=mutation_pb2.STALE_STRATEGY_REJECT_STALE,
        ),
        intent=mutation_pb2.Intent(
            category="rollout",
            risk=mutation_pb2.RISK_LOW,
            reversibility=mutation_pb2.REVERSIBILITY_REVERSIBLE,
            blast_radius=mutation_pb2.BLAST_RADIUS_SINGLE,
        ),
        justification="weil's nötig ist\n\tund 必要 👍🏽",
        evidence=[
            mutation_pb2.Evidence(
                kind="ticket", uri="https://t/1", sha256=DIGEST, description="one line"
            )
        ],
        metadata={"k": "v"},
        tags=["a", "b"],
        expire_time=moment(2),
        execute_after=moment(1),
        depends_on=["mr-1"],
        execution_mode=request_pb2.EXECUTION_MODE_ON_EXECUTE,
        validate_only=True,
        wait=Duration(seconds=1),
        on_dependency_failure=request_pb2.DEPENDENCY_FAILURE_REVIEW,
        break_glass=wire.BreakGlassUse(justification="everything is down"),
    )


def replacement() -> wire.SubmitRequest:
    request = submission()
    for field in ("request_id", "validate_only", "wait", "break_glass"):
        request.ClearField(field)
    return request


def member() -> wire.SubmitRequest:
    request = replacement()
    for field in ("expire_time", "execution_mode"):
        request.ClearField(field)
    return request


def decision_filter(**times: Any) -> wire.DecisionFilter:
    return wire.DecisionFilter(
        tenant="acme",
        mutation_request_ids=["mr-1"],
        categories=[decision_pb2.DECISION_CATEGORY_POLICY],
        codes=["denied"],
        actor="ann",
        execution_id="ex-1",
        include_host=True,
        **times,
    )


def good_requests() -> dict[str, Message]:
    """A well-formed request of every RPC, with everything set."""
    seen: dict[str, Any] = {"request_id": "call-1", "id": "mr-1", "etag": "r7"}
    page: dict[str, Any] = {"page_size": 10, "page_token": "abc_-=", "min_revision": 3}
    return {
        "Submit": submission(),
        "SubmitBatch": wire.SubmitBatchRequest(
            request_id="call-1",
            members=[member()],
            ordering=request_pb2.BATCH_ORDERING_INDEPENDENT,
            failure_mode=request_pb2.BATCH_FAILURE_MODE_COMPENSATE,
            decision_mode=request_pb2.BATCH_DECISION_MODE_PER_MEMBER,
            expire_time=moment(2),
            justification="together",
        ),
        "GetRequest": wire.GetRequestRequest(id="mr-1", min_revision=3, preview=True),
        "ListRequests": wire.ListRequestsRequest(
            tenant="acme",
            statuses=[request_pb2.REQUEST_STATUS_PENDING],
            pending_reasons=[request_pb2.PENDING_REASON_APPROVAL],
            state=STATE,
            actor="ann",
            category="rollout",
            tag="a",
            submitted_from=moment(1),
            submitted_until=moment(2),
            tags_any=["a", "b"],
            tags_all=["a"],
            metadata={"k": "v"},
            risks=[mutation_pb2.RISK_HIGH],
            blast_radii=[mutation_pb2.BLAST_RADIUS_GLOBAL],
            side_effect_type="cache.flushed",
            side_effect_severity=execution_pb2.SEVERITY_WARNING,
            link=wire.Link(kind=wire.LINK_KIND_DEPENDS_ON, id="mr-1"),
            waiting_for_me=True,
            review_open=True,
            batch_id="mr-1",
            uncompensated=True,
            **page,
        ),
        "CountRequests": wire.CountRequestsRequest(tenant="acme", min_revision=3),
        "Approve": wire.ApproveRequest(
            **seen,
            request_digest=DIGEST,
            comment="fine",
            plan_digest=DIGEST,
            meaning=request_pb2.VOTE_KIND_REVIEW,
            on_behalf_of="ann",
        ),
        "Reject": wire.RejectRequest(
            **seen, request_digest=DIGEST, reason=REASON, plan_digest=DIGEST, on_behalf_of="ann"
        ),
        "RevokeVote": wire.RevokeVoteRequest(**seen, reason=REASON),
        "ResolvePending": wire.ResolvePendingRequest(
            **seen,
            request_digest=DIGEST,
            reason=request_pb2.PENDING_REASON_QUOTA,
            name="deploys",
            outcome=wire.PENDING_OUTCOME_PASSED,
            finding=REASON,
        ),
        "ReviewBreakGlass": wire.ReviewBreakGlassRequest(
            **seen, request_digest=DIGEST, justified=True, reason=REASON
        ),
        "Cancel": wire.CancelRequest(**seen, comment="never mind"),
        "Supersede": wire.SupersedeRequest(**seen, replacement=replacement()),
        "Execute": wire.ExecuteRequest(**seen, wait=Duration(seconds=1)),
        "ResolveExecution": wire.ResolveExecutionRequest(
            request_id="call-1",
            execution_id="ex-1",
            outcome=wire.OUTCOME_CLAIM_APPLIED,
            resulting_version="8",
            reason=REASON,
            etag="r7",
        ),
        "Compensate": wire.CompensateRequest(
            **seen,
            kind=mutation_pb2.COMPENSATION_KIND_FORWARD,
            trigger=mutation_pb2.COMPENSATION_TRIGGER_FAILED_EXECUTION,
            reason=REASON,
            justification="it was wrong",
            stale_strategy=mutation_pb2.STALE_STRATEGY_REVALIDATE_ON_LATEST,
            expire_time=moment(2),
            execution_mode=request_pb2.EXECUTION_MODE_ON_EXECUTE,
            payload=mutation_pb2.Payload(content_type="application/json", data=b"{}", size_bytes=7),
            mutation_type="flag.set",
            expected_version="v 7",
        ),
        "TraceRequest": wire.TraceRequestRequest(id="mr-1", requests_max=10, min_revision=3),
        "GetExecution": wire.GetExecutionRequest(execution_id="ex-1", min_revision=3),
        "ListExecutions": wire.ListExecutionsRequest(
            tenant="acme",
            mutation_request_id="mr-1",
            statuses=[execution_pb2.EXECUTION_STATUS_RUNNING],
            state=STATE,
            **page,
        ),
        "WaitRequest": wire.WaitRequestRequest(
            id="mr-1", after_revision=3, timeout=Duration(seconds=1)
        ),
        "ListDecisions": wire.ListDecisionsRequest(
            filter=decision_filter(from_time=moment(1), until_time=moment(2)),
            newest_first=True,
            **page,
        ),
        "StreamDecisions": wire.StreamDecisionsRequest(
            after_revision=0,
            filter=decision_filter(),
            heartbeat_interval=Duration(seconds=1),
            store_id="store-1",
        ),
        "GetHost": wire.GetHostRequest(tenant="acme"),
        "TrustHost": wire.TrustHostRequest(
            request_id="call-1", tenant="acme", lineage_id="lineage 2", reason=REASON
        ),
    }


@dataclass(frozen=True)
class Place:
    """One row of the rules, in the request of one RPC."""

    rpc: str
    path: str
    steps: tuple[str, ...]
    row: Field

    def holder(self, request: Any) -> Any:
        """The message that the row's field is in."""
        for step in self.steps:
            inner = getattr(request, step)
            request = inner[0] if hasattr(inner, "add") else inner
        return request


def places() -> Iterator[Place]:
    for rpc, rules in RULES.items():
        yield from _places(rpc, rules, "", ())


def _places(rpc: str, rules: Rules, path: str, steps: tuple[str, ...]) -> Iterator[Place]:
    for row in rules.fields:
        yield Place(rpc, path + row.name, steps, row)
        match row.shape:
            case Rules() as inner:
                yield from _places(rpc, inner, f"{path}{row.name}.", (*steps, row.name))
            case Items(of=Rules() as inner):
                yield from _places(rpc, inner, f"{path}{row.name}[0].", (*steps, row.name))
            case _:
                """A row without rows inside."""


def ids(place: Place) -> str:
    return f"{place.rpc}-{place.path}"


def told(rpc: str, request: Any) -> list[str]:
    return [violation.field for violation in validator(RULES[rpc])(request)]


# --- The table as a whole -----------------------------------------------------------------------


def test_every_rpc_has_rules_and_every_rule_an_rpc() -> None:
    assert set(RULES) == {rpc.name for rpc in RPCS}
    service = wire.DESCRIPTOR.services_by_name["GovernanceService"]
    assert set(RULES) == {method.name for method in service.methods}
    for rpc in RPCS:
        assert RULES[rpc.name].message.full_name == rpc.request.DESCRIPTOR.full_name


@pytest.mark.parametrize("rpc", sorted(RULES))
def test_a_request_with_everything_set_is_well_formed(rpc: str) -> None:
    request = good_requests()[rpc]
    assert told(rpc, request) == []
    unset = {place.path for place in places() if isinstance(place.row.shape, Unset)}
    for place in places():
        if place.rpc == rpc and place.path not in unset and place.row.name != "sha256":
            assert is_set(place, request), f"{place.path} is not tried below"


def is_set(place: Place, request: Message) -> bool:
    holder = place.holder(request)
    if holder.DESCRIPTOR.fields_by_name[place.row.name].has_presence:
        return bool(holder.HasField(place.row.name))
    return bool(getattr(holder, place.row.name))


@pytest.mark.parametrize("rpc", sorted(RULES))
def test_an_empty_request_lacks_what_is_required(rpc: str) -> None:
    required = {row.name for row in RULES[rpc].fields if row.required}
    assert set(told(rpc, type(good_requests()[rpc])())) == required
    assert required, "every call names at least what it is about"


def test_a_message_with_a_field_that_has_no_row_cannot_be_ruled() -> None:
    with pytest.raises(ValueError, match="min_revision"):
        Rules(
            message=wire.GetRequestRequest.DESCRIPTOR,
            fields=(Field(name="id", shape=Unread(words="")),),
        )


# --- Every row ----------------------------------------------------------------------------------


@pytest.mark.parametrize("place", [p for p in places() if p.row.required], ids=ids)
def test_what_is_required_is_missed_by_its_path(place: Place) -> None:
    request = good_requests()[place.rpc]
    place.holder(request).ClearField(place.row.name)
    assert told(place.rpc, request) == [place.path]


@pytest.mark.parametrize("place", [p for p in places() if not p.row.required], ids=ids)
def test_what_is_not_required_may_be_left_out(place: Place) -> None:
    request = good_requests()[place.rpc]
    place.holder(request).ClearField(place.row.name)
    # A version belongs to the outcome APPLIED, a payload to FORWARD: rules between fields.
    assert told(place.rpc, request) in ([], ["resulting_version"], ["payload"])


TOO_LONG = "x" * 20_000
BAD_TEXTS = ("bell\x07", "\x00", "right\u202eleft", "para\u2029graph", TOO_LONG)


def bad_values(descriptor: FieldDescriptor) -> list[Any]:
    """What no rule for a field of this type lets pass."""
    message = descriptor.message_type.name if descriptor.message_type else ""
    match descriptor.type:
        case FieldDescriptor.TYPE_STRING:
            return list(BAD_TEXTS)
        case FieldDescriptor.TYPE_BYTES:
            return [b"x" * 101]
        case FieldDescriptor.TYPE_ENUM:
            return [99, -1]
        case FieldDescriptor.TYPE_UINT32:
            return [2**32 - 1]
        case FieldDescriptor.TYPE_UINT64:
            return [2**63]
        case FieldDescriptor.TYPE_MESSAGE if message == "Timestamp":
            return [
                Timestamp(seconds=-1),
                Timestamp(seconds=limits.MOMENT_SECONDS_MAX + 1),
                Timestamp(seconds=1, nanos=-1),
                Timestamp(seconds=1, nanos=1_000_000_000),
            ]
        case FieldDescriptor.TYPE_MESSAGE if message == "Duration":
            return [
                Duration(seconds=-1),
                Duration(nanos=-1),
                Duration(seconds=2**62),
                Duration(nanos=2_000_000_000),
            ]
    raise AssertionError(f"nothing bad is known for {descriptor.full_name}")


@pytest.mark.parametrize("place", [p for p in places() if isinstance(p.row.shape, Scalar)], ids=ids)
def test_a_bad_value_is_told_by_its_path_alone(place: Place) -> None:
    holder = place.holder(good_requests()[place.rpc])
    for bad in bad_values(holder.DESCRIPTOR.fields_by_name[place.row.name]):
        request = good_requests()[place.rpc]
        holder = place.holder(request)
        if isinstance(bad, Message):
            getattr(holder, place.row.name).CopyFrom(bad)
        else:
            setattr(holder, place.row.name, bad)
        assert told(place.rpc, request) == [place.path], bad


@pytest.mark.parametrize(
    "place",
    [p for p in places() if isinstance(p.row.shape, Items) and isinstance(p.row.shape.of, Scalar)],
    ids=ids,
)
def test_a_bad_item_is_told_by_its_index(place: Place) -> None:
    descriptor = place.holder(good_requests()[place.rpc]).DESCRIPTOR
    for bad in bad_values(descriptor.fields_by_name[place.row.name]):
        request = good_requests()[place.rpc]
        items = getattr(place.holder(request), place.row.name)
        before = len(items)
        items.append(bad)
        assert told(place.rpc, request) == [f"{place.path}[{before}]"]


@pytest.mark.parametrize("place", [p for p in places() if isinstance(p.row.shape, Items)], ids=ids)
def test_a_list_that_is_too_long_is_told_with_its_limit(place: Place) -> None:
    shape = place.row.shape
    assert isinstance(shape, Items)
    request = good_requests()[place.rpc]
    items = getattr(place.holder(request), place.row.name)
    while len(items) <= shape.count_max:
        items.append(f"x{len(items)}" if isinstance(items[0], str) else items[0])
    (violation,) = validator(RULES[place.rpc])(request)
    assert violation.field == place.path
    assert str(shape.count_max) in violation.fact


@pytest.mark.parametrize(
    "place",
    [p for p in places() if isinstance(p.row.shape, Items) and p.row.shape.unique],
    ids=ids,
)
def test_what_must_differ_is_told_where_it_is_repeated(place: Place) -> None:
    request = good_requests()[place.rpc]
    items = getattr(place.holder(request), place.row.name)
    items.append(items[0])
    assert told(place.rpc, request) == [f"{place.path}[{len(items) - 1}]"]


@pytest.mark.parametrize(
    "place", [p for p in places() if isinstance(p.row.shape, Entries)], ids=ids
)
def test_a_bad_entry_is_told_by_its_key(place: Place) -> None:
    for key, value, told_key in (
        ("k", "bell\x07", '"k"'),
        ("bad key\x07", "v", r'"bad key\u0007"'),
        ("", "v", '""'),
        (TOO_LONG, "v", '"' + "x" * 64 + r"\u2026" + '"'),
    ):
        request = good_requests()[place.rpc]
        getattr(place.holder(request), place.row.name)[key] = value
        assert told(place.rpc, request) == [f"{place.path}[{told_key}]"]
    request = good_requests()[place.rpc]
    entries = getattr(place.holder(request), place.row.name)
    for number in range(limits.METADATA_ENTRIES_MAX + 1):
        entries[f"k{number}"] = "v"
    assert told(place.rpc, request) == [place.path]


@pytest.mark.parametrize("place", [p for p in places() if isinstance(p.row.shape, Unset)], ids=ids)
def test_what_must_be_unset_is_told_when_it_is_set(place: Place) -> None:
    request = good_requests()[place.rpc]
    holder = place.holder(request)
    times = decision_filter(from_time=moment(1), until_time=moment(2))
    whole = times if isinstance(holder, wire.DecisionFilter) else submission()
    source = getattr(whole, place.row.name)
    if isinstance(source, Message):
        getattr(holder, place.row.name).CopyFrom(source)
    else:
        setattr(holder, place.row.name, source)
    assert told(place.rpc, request) == [place.path]


@pytest.mark.parametrize(
    ("field", "bad"),
    [
        ("request_id", "-starts-with-a-dash"),
        ("request_id", "with space"),
        ("request_id", "umläut"),
        ("request_id", "trailing\n"),
        ("context.tenant", "a/b"),
        ("mutation.payload.content_type", "json"),
        ("mutation.payload.content_type", "application/json\n"),
        ("mutation.payload.content_type", "text/plain;"),
        ("mutation.expected_version", "ä"),
        ("evidence[0].uri", "no-scheme"),
        ("evidence[0].uri", "https://with space"),
        ("evidence[0].description", "two\nlines"),
    ],
)
def test_texts_that_look_almost_right_are_refused(field: str, bad: str) -> None:
    request = submission()
    holder: Any = request
    *steps, name = field.split(".")
    for step in steps:
        holder = holder.evidence[0] if step == "evidence[0]" else getattr(holder, step)
    setattr(holder, name, bad)
    assert told("Submit", request) == [field]


def test_the_longest_id_passes_and_one_character_more_does_not() -> None:
    longest = wire.GetRequestRequest(id="x" * limits.ID_CHARACTERS_MAX)
    assert told("GetRequest", longest) == []
    longest.id += "x"
    assert told("GetRequest", longest) == ["id"]


def test_a_heartbeat_is_neither_too_fast_nor_too_slow() -> None:
    request = wire.StreamDecisionsRequest(filter=decision_filter())
    for seconds, nanos, path in (
        (0, 99_999_999, ["heartbeat_interval"]),
        (0, 100_000_000, []),
        (300, 0, []),
        (300, 1, ["heartbeat_interval"]),
    ):
        request.heartbeat_interval.CopyFrom(Duration(seconds=seconds, nanos=nanos))
        assert told("StreamDecisions", request) == path


# --- Rules between fields -----------------------------------------------------------------------


@pytest.mark.parametrize("rpc", ["Submit", "Supersede"])
def test_a_request_must_not_expire_before_it_may_execute(rpc: str) -> None:
    request: Any = good_requests()[rpc]
    holder, prefix = (request, "") if rpc == "Submit" else (request.replacement, "replacement.")
    holder.execute_after.CopyFrom(holder.expire_time)
    assert told(rpc, request) == [f"{prefix}execute_after"]


def test_a_time_range_must_not_be_empty() -> None:
    request: Any = good_requests()["ListRequests"]
    request.submitted_until.CopyFrom(request.submitted_from)
    assert told("ListRequests", request) == ["submitted_until"]


@pytest.mark.parametrize(
    ("outcome", "version", "path"),
    [
        (wire.OUTCOME_CLAIM_APPLIED, "8", []),
        (wire.OUTCOME_CLAIM_APPLIED, "", ["resulting_version"]),
        (wire.OUTCOME_CLAIM_NOT_APPLIED, "", []),
        (wire.OUTCOME_CLAIM_NOT_APPLIED, "8", ["resulting_version"]),
        (wire.OUTCOME_CLAIM_UNSPECIFIED, "8", ["outcome"]),
    ],
)
def test_a_version_belongs_to_what_was_applied(
    outcome: wire.OutcomeClaim.ValueType, version: str, path: list[str]
) -> None:
    request: Any = good_requests()["ResolveExecution"]
    request.outcome, request.resulting_version = outcome, version
    assert told("ResolveExecution", request) == path


# --- All at once --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, ["payload", "mutation_type", "expected_version"]),
        ({"payload": None}, ["mutation_type", "expected_version"]),
        ({"payload": None, "mutation_type": None, "expected_version": None}, []),
    ],
)
def test_a_rollback_takes_nothing_of_what_a_correction_has(
    changes: dict[str, None], expected: list[str]
) -> None:
    request: Any = good_requests()["Compensate"]
    request.kind = mutation_pb2.COMPENSATION_KIND_ROLLBACK
    for name in changes:
        request.ClearField(name)
    assert told("Compensate", request) == expected


def test_nobody_but_a_batch_compensates_for_a_batch() -> None:
    request: Any = good_requests()["Compensate"]
    request.trigger = mutation_pb2.COMPENSATION_TRIGGER_BATCH_FAILURE
    assert told("Compensate", request) == ["trigger"]


def test_every_violation_is_told_at_once() -> None:
    request = submission()
    request.request_id = ""
    request.context.tenant = "a b"
    request.mutation.state.ClearField("id")
    request.evidence.add(kind="ticket")
    request.metadata["k"] = "\x07"
    request.tags.append("a b")
    assert told("Submit", request) == [
        "request_id",
        "context.tenant",
        "mutation.state.id",
        "evidence[1].uri",
        'metadata["k"]',
        "tags[2]",
    ]


@given(st.sampled_from(sorted(RULES)), st.data())
def test_the_quick_answer_and_the_long_one_agree(rpc: str, data: st.DataObject) -> None:
    """The predicate and the collector are compiled apart from each other."""
    request = good_requests()[rpc]
    leaves = [place for place in places() if place.rpc == rpc]
    for place in data.draw(st.lists(st.sampled_from(leaves), max_size=3)):
        holder = place.holder(request)
        if data.draw(st.booleans()):
            holder.ClearField(place.row.name)
        elif isinstance(place.row.shape, Scalar):
            descriptor = holder.DESCRIPTOR.fields_by_name[place.row.name]
            bad = data.draw(st.sampled_from(bad_values(descriptor)))
            if isinstance(bad, Message):
                getattr(holder, place.row.name).CopyFrom(bad)
            else:
                setattr(holder, place.row.name, bad)
        if not all(is_reachable(other, request) for other in leaves):
            break
    found: list[Any] = []
    collector(RULES[rpc])(request, "", found)
    assert bool(predicate(RULES[rpc])(request)) is not bool(found)


def is_reachable(place: Place, request: Any) -> bool:
    """Whether the lists on the way to a place still have an item."""
    for step in place.steps:
        inner = getattr(request, step)
        if hasattr(inner, "add"):
            if not inner:
                return False
            inner = inner[0]
        request = inner
    return True


# --- Bytes that do not decode -------------------------------------------------------------------


def test_a_lone_surrogate_is_told_by_its_path_wherever_it_stands() -> None:
    request = submission()
    request.context.tenant = "TTT"
    request.evidence[0].uri = "UUU"
    request.metadata["k"] = "VVV"
    request.tags[1] = "WWW"
    data = request.SerializeToString()
    for marked in (b"TTT", b"UUU", b"VVV", b"WWW"):
        data = data.replace(marked, b"\xed\xa0\x80")
    found = [violation.field for violation in diagnose(wire.SubmitRequest.DESCRIPTOR, data)]
    assert found == ["context.tenant", "evidence[0].uri", "metadata[0].value", "tags[1]"]


@given(st.binary(max_size=200))
def test_any_bytes_get_a_diagnosis(data: bytes) -> None:
    found = diagnose(wire.SubmitRequest.DESCRIPTOR, data)
    assert found
    assert all(violation.field and violation.fact for violation in found)


def test_garbage_is_told_as_such() -> None:
    (violation,) = diagnose(wire.SubmitRequest.DESCRIPTOR, b"\xff")
    assert violation.fact == NOT_THE_MESSAGE


# --- The page -----------------------------------------------------------------------------------


def test_the_page_names_every_row_of_every_message() -> None:
    page = shape_rules_page()
    for place in places():
        assert f"| `{place.row.name}` |" in page
    for rpc in RULES:
        assert f"### {rpc}\n" in page
    assert "at most 1048576 bytes" in page


def test_the_page_tells_the_bounds_it_is_given() -> None:
    assert "at most 100 bytes" in shape_rules_page(BOUNDS)
