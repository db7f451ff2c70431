"""What is refused over the wire names its cause, leaks nothing, and leaves the store as it was."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from governance.v1 import governance_service_pb2 as service
from governance.v1 import mutation_pb2, request_pb2
from tests.support.deployment import TENANT, Client, Deployment, submission

Spoiler = Callable[[service.SubmitRequest], object]

DRIVER_WORDS = ("sqlite", "sqlalchemy", "asyncpg", "traceback", "select ", "insert ")


@pytest.fixture(scope="module")
def deployment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    """One sidecar and one host for all refusals: they must not change anything anyway."""
    made = Deployment(tmp_path_factory.mktemp("refusals"))
    with made.host(), made.sidecar():
        yield made


def refused(call: Callable[[], Any]) -> tuple[grpc.StatusCode, error_details_pb2.ErrorInfo, Any]:
    """The code, the ErrorInfo and the BadRequest (or None) of a call that must fail."""
    with pytest.raises(grpc.RpcError) as caught:
        call()
    status = rpc_status.from_call(caught.value)  # type: ignore[arg-type]  # it is a Call as well
    assert status is not None, f"no details: {caught.value}"
    info, bad_request = error_details_pb2.ErrorInfo(), None
    for detail in status.details:
        if detail.Is(error_details_pb2.ErrorInfo.DESCRIPTOR):
            detail.Unpack(info)
        if detail.Is(error_details_pb2.BadRequest.DESCRIPTOR):
            bad_request = error_details_pb2.BadRequest()
            detail.Unpack(bad_request)
    text = str(status).lower()
    assert not any(word in text for word in DRIVER_WORDS), text
    assert info.domain == "governor"
    return caught.value.code(), info, bad_request


def head(client: Client) -> int:
    """The ledger's end: anything that was written moved it."""
    return len(client.decisions())


def invalid_submissions() -> Iterator[tuple[str, Spoiler]]:
    """A field path, and how to break the rule behind it."""
    yield "request_id", lambda r: r.ClearField("request_id")
    yield "request_id", lambda r: setattr(r, "request_id", "x" * 1000)
    yield "request_id", lambda r: setattr(r, "request_id", "line\nbreak")
    yield "context.tenant", lambda r: r.context.ClearField("tenant")
    yield "mutation.type", lambda r: r.mutation.ClearField("type")
    yield "mutation.state.id", lambda r: r.mutation.state.ClearField("id")
    yield "mutation.payload.content_type", lambda r: r.mutation.payload.ClearField("content_type")
    yield "mutation.payload.data", lambda r: setattr(r.mutation.payload, "data", b"x" * 1_100_000)
    yield "justification", lambda r: setattr(r, "justification", "bell\x07")
    yield "justification", lambda r: setattr(r, "justification", "x" * 100_000)
    yield "expire_time", lambda r: r.expire_time.FromSeconds(1)
    yield "execute_after", lambda r: r.execute_after.FromSeconds(253_402_300_799)
    yield "intent.risk", lambda r: setattr(r.intent, "risk", 99)
    yield "evidence[0].uri", lambda r: r.evidence.add(kind="ticket")
    yield "evidence[0].sha256", lambda r: r.evidence.add(kind="t", uri="u", sha256=b"short")
    yield "wait", lambda r: setattr(r.wait, "seconds", -1)
    yield "tags", lambda r: r.tags.extend(f"tag-{n}" for n in range(1000))
    yield "depends_on", lambda r: r.depends_on.extend(f"mr-{n}" for n in range(1000))


@pytest.mark.parametrize(("path", "spoil"), list(invalid_submissions()))
def test_a_broken_field_is_named_and_nothing_is_written(
    deployment: Deployment, path: str, spoil: Spoiler
) -> None:
    """INVALID_ARGUMENT, with the path of the field in BadRequest."""
    request = submission("bad", flag="bad")
    spoil(request)
    with deployment.client() as ann:
        before = head(ann)
        code, info, bad_request = refused(lambda: ann.call("Submit", request))
        assert head(ann) == before
    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert info.reason == "INVALID_FIELD"
    assert path in [violation.field for violation in bad_request.field_violations]


def test_an_unknown_id_is_not_found(deployment: Deployment) -> None:
    with deployment.client() as ann:
        code, info, _ = refused(
            lambda: ann.call("GetRequest", service.GetRequestRequest(id="mr-0"))
        )
    assert (code, info.reason) == (grpc.StatusCode.NOT_FOUND, "NOT_FOUND")


def test_an_unknown_dependency_is_not_found_and_nothing_is_written(deployment: Deployment) -> None:
    with deployment.client() as ann:
        before = head(ann)
        code, info, _ = refused(lambda: ann.submit("dep", flag="dep", depends_on=["mr-0"]))
        assert head(ann) == before
    assert (code, info.reason) == (grpc.StatusCode.NOT_FOUND, "NOT_FOUND")


def test_a_caller_without_an_identity_is_let_into_nothing_but_health(
    deployment: Deployment,
) -> None:
    with deployment.client() as ann:
        nobody = Client(ann.stub, "")
        code, info, _ = refused(lambda: nobody.submit("anonymous"))
    assert (code, info.reason) == (grpc.StatusCode.UNAUTHENTICATED, "UNAUTHENTICATED")


def test_a_role_that_is_missing_is_named(deployment: Deployment) -> None:
    with deployment.client("ada") as auditor:
        code, info, _ = refused(lambda: auditor.submit("by-an-auditor"))
    assert (code, info.reason) == (grpc.StatusCode.PERMISSION_DENIED, "MISSING_ROLE")
    assert info.metadata["needs"] == "submitter"


def test_a_request_id_with_other_content_is_refused_and_nothing_is_written(
    deployment: Deployment,
) -> None:
    with deployment.client() as ann:
        first = ann.submit("reused", flag="reused", wait_seconds=10)
        before = head(ann)
        assert ann.submit("reused", flag="reused").id == first.id
        code, info, _ = refused(lambda: ann.submit("reused", flag="another"))
        assert head(ann) == before
    assert (code, info.reason) == (grpc.StatusCode.ALREADY_EXISTS, "REQUEST_ID_REUSED")


def test_an_illegal_transition_names_status_and_trigger(deployment: Deployment) -> None:
    with deployment.client() as ann:
        done = ann.submit("to-cancel", flag="to-cancel", wait_seconds=10)
        before = head(ann)
        cancel = service.CancelRequest(request_id="late", id=done.id)
        code, info, _ = refused(lambda: ann.call("Cancel", cancel))
        assert head(ann) == before
    assert code is grpc.StatusCode.FAILED_PRECONDITION
    assert info.reason == "ILLEGAL_TRANSITION"
    assert dict(info.metadata) == {"status": "EXECUTED", "trigger": "CANCELED"}


def test_a_stale_etag_is_aborted(deployment: Deployment) -> None:
    with deployment.client() as ann, deployment.client("ben") as ben:
        waiting = ann.submit("etag", flag="etag", risk=mutation_pb2.RISK_MEDIUM)
        ben.approve("etag-1", waiting)
        cancel = service.CancelRequest(request_id="etag-2", id=waiting.id, etag=waiting.etag)
        code, info, _ = refused(lambda: ann.call("Cancel", cancel))
    assert (code, info.reason) == (grpc.StatusCode.ABORTED, "ETAG_MISMATCH")


def test_a_vote_on_another_digest_is_refused(deployment: Deployment) -> None:
    with deployment.client() as ann, deployment.client("ben") as ben:
        waiting = ann.submit("digest", flag="digest", risk=mutation_pb2.RISK_MEDIUM)
        before = head(ann)
        vote = service.ApproveRequest(
            request_id="digest-1",
            id=waiting.id,
            request_digest=b"\0" * 32,
            plan_digest=waiting.approval.plan_digest,
        )
        code, info, _ = refused(lambda: ben.call("Approve", vote))
        assert head(ann) == before
    assert (code, info.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "DIGEST_MISMATCH")


def test_a_person_outside_the_plan_may_not_vote(deployment: Deployment) -> None:
    with deployment.client() as ann, deployment.client("ben") as ben:
        waiting = ann.submit("twice", flag="twice", risk=mutation_pb2.RISK_MEDIUM)
        ben.approve("twice-1", waiting)
        code, info, _ = refused(lambda: ben.approve("twice-2", waiting))
    assert (code, info.reason) == (grpc.StatusCode.PERMISSION_DENIED, "NOT_ELIGIBLE")


def test_a_page_token_for_other_filters_is_refused(deployment: Deployment) -> None:
    with deployment.client() as ann:
        for number in range(2):
            ann.submit(f"page-{number}", flag=f"page-{number}", wait_seconds=10)
        page = ann.call("ListRequests", service.ListRequestsRequest(tenant=TENANT, page_size=1))
        other = service.ListRequestsRequest(
            tenant=TENANT,
            statuses=[request_pb2.REQUEST_STATUS_EXECUTED],
            page_size=1,
            page_token=page.next_page_token,
        )
        code, info, _ = refused(lambda: ann.call("ListRequests", other))
    assert (code, info.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "BAD_PAGE_TOKEN")


def test_a_revision_from_the_future_and_one_of_another_store_are_refused_by_name(
    deployment: Deployment,
) -> None:
    with deployment.client() as ann:
        for request, reason in (
            (service.StreamDecisionsRequest(after_revision=10**9), "REVISION_AHEAD"),
            (service.StreamDecisionsRequest(after_revision=0, store_id="other"), "WRONG_STORE"),
        ):
            request.filter.tenant = TENANT
            stream = ann.stub.StreamDecisions(
                request, timeout=10, metadata=(("governor-actor", "ann"),)
            )
            code, info, _ = refused(partial(next, stream))
            assert (code, info.reason) == (grpc.StatusCode.OUT_OF_RANGE, reason)
