"""Messages made around stored bytes are what protobuf would have made."""

from hypothesis import given
from hypothesis import strategies as st

from governance.v1 import decision_pb2
from governance.v1 import governance_service_pb2 as wire
from governor.domain.decision import Category
from governor.domain.values import Micros, RequestId, Revision
from governor.usecases.commits import StoredEntry
from governor.wire.splicing import listed, streamed, varint

entries = st.builds(
    lambda revision, text: StoredEntry(
        revision=Revision(revision),
        tenant="acme",
        request_id=RequestId("mr-1"),
        execution_id=None,
        category=Category.POLICY,
        code="denied",
        actor="ann",
        at=Micros(0),
        data=decision_pb2.Decision(revision=revision, code=text).SerializeToString(),
    ),
    st.integers(1, 2**63 - 1),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=20_000),
)


@given(entries)
def test_a_streamed_decision_is_the_stored_one(entry: StoredEntry) -> None:
    response = wire.StreamDecisionsResponse.FromString(streamed(entry.data))
    assert response.decision == decision_pb2.Decision.FromString(entry.data)
    assert streamed(entry.data).endswith(entry.data)


@given(st.lists(entries, max_size=4), st.sampled_from(["", "token"]))
def test_listed_decisions_are_the_stored_ones(found: list[StoredEntry], token: str) -> None:
    response = wire.ListDecisionsResponse.FromString(listed(found, token))
    stored = [decision_pb2.Decision.FromString(entry.data) for entry in found]
    assert list(response.decisions) == stored
    assert response.next_page_token == token


@given(st.integers(0, 2**63 - 1))
def test_a_varint_is_read_back(number: int) -> None:
    field = bytes([1 << 3]) + varint(number)
    assert decision_pb2.Decision.FromString(field).revision == number
