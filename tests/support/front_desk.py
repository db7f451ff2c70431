"""A service with one request on its desk: it shows that, and notes what it is asked."""

from pathlib import Path
from typing import Any, TypeVar

import grpc
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp
from typer.testing import CliRunner, Result

from governance.v1 import governance_service_pb2 as service
from governance.v1 import mutation_engine_pb2, mutation_pb2, request_pb2
from governor.cli.main import app
from governor.cli.seen import digest_of, plan_digest_of
from tests.support.scripted_service import scripted_service

_Answer = TypeVar("_Answer")

ACTOR = "ben"
SINCE = Timestamp(seconds=1_900_000_000)
UNTIL = Timestamp(seconds=1_900_003_600)

REVIEWERS = request_pb2.Target(kind=request_pb2.TARGET_KIND_GROUP, name="reviewers")
CHECKERS = request_pb2.Target(kind=request_pb2.TARGET_KIND_ROLE, name="checker")
SAM = request_pb2.Target(kind=request_pb2.TARGET_KIND_ACTOR, name="sam")

_CHANGING = {
    "Approve": service.ApproveResponse,
    "Reject": service.RejectResponse,
    "RevokeVote": service.RevokeVoteResponse,
    "ResolvePending": service.ResolvePendingResponse,
    "ReviewBreakGlass": service.ReviewBreakGlassResponse,
    "Compensate": service.CompensateResponse,
}


class FrontDesk:
    """Answers every call about `request`; `asked` are the calls that came, by RPC."""

    def __init__(
        self,
        folder: Path,
        request: request_pb2.MutationRequest,
        *,
        preview: mutation_engine_pb2.ValidateMutationResponse | None = None,
    ) -> None:
        self.folder = folder
        self.request = request
        self.preview = preview
        self.counts = service.CountRequestsResponse()
        self.decisions = service.ListDecisionsResponse()
        self.trace = service.TraceRequestResponse(requests=[request])
        self.asked: dict[str, list[Any]] = {}

    @property
    def answers_given(self) -> list[Any]:
        """The calls that would have changed something."""
        return [call for rpc in _CHANGING for call in self.asked.get(rpc, [])]

    def run(self, *arguments: str, actor: str = ACTOR) -> Result:
        """A command against it, without a terminal."""
        with self.open() as address:
            environment = {
                "GOVERNOR_ADDRESS": address,
                "GOVERNOR_ACTOR": actor,
                "GOVERNOR_TENANT": "acme",
            }
            return CliRunner().invoke(app, arguments, env=environment)

    def open(self) -> Any:
        """The service, running; the context's value is its address."""
        answers: dict[str, Any] = {
            rpc: lambda call, _, rpc=rpc, answer=answer: self._note(
                rpc, call, answer(request=self.request)
            )
            for rpc, answer in _CHANGING.items()
        }
        return scripted_service(
            self.folder,
            GetRequest=self._show,
            ListRequests=self._list,
            ListDecisions=self._decisions,
            CountRequests=self._count,
            TraceRequest=lambda call, _: self._note("TraceRequest", call, self.trace),
            Submit=self._submit,
            **answers,
        )

    def _show(
        self, call: service.GetRequestRequest, _: grpc.ServicerContext
    ) -> service.GetRequestResponse:
        preview = self.preview if call.preview else None
        answer = service.GetRequestResponse(request=self.request, preview=preview)
        return self._note("GetRequest", call, answer)

    def _list(
        self, call: service.ListRequestsRequest, _: grpc.ServicerContext
    ) -> service.ListRequestsResponse:
        answer = service.ListRequestsResponse(requests=[self.request])
        return self._note("ListRequests", call, answer)

    def _decisions(
        self, call: service.ListDecisionsRequest, _: grpc.ServicerContext
    ) -> service.ListDecisionsResponse:
        return self._note("ListDecisions", call, self.decisions)

    def _count(
        self, call: service.CountRequestsRequest, _: grpc.ServicerContext
    ) -> service.CountRequestsResponse:
        return self._note("CountRequests", call, self.counts)

    def _submit(
        self, call: service.SubmitRequest, _: grpc.ServicerContext
    ) -> service.SubmitResponse:
        return self._note("Submit", call, service.SubmitResponse(request=self.request))

    def _note(self, rpc: str, call: Any, answer: _Answer) -> _Answer:
        self.asked.setdefault(rpc, []).append(call)
        return answer


def a_request(**mutation: Any) -> request_pb2.MutationRequest:
    """A request that waits for two reviewers, with digests that are what they say."""
    usual: dict[str, Any] = {
        "type": "flag.set",
        "state": mutation_pb2.StateRef(type="flag", id="checkout"),
        "payload": mutation_pb2.Payload(
            content_type="application/json", data=b'{"enabled":true}', size_bytes=16
        ),
        "expected_version": "7",
        "stale_strategy": mutation_pb2.STALE_STRATEGY_REJECT_STALE,
    }
    request = request_pb2.MutationRequest(
        id="mr-1",
        status=request_pb2.REQUEST_STATUS_PENDING,
        pending=[
            request_pb2.Pending(
                reason=request_pb2.PENDING_REASON_APPROVAL,
                since_time=SINCE,
                until_time=UNTIL,
                waits_for=[REVIEWERS],
            )
        ],
        context=mutation_pb2.RuntimeContext(tenant="acme", actor="ann"),
        mutation=mutation_pb2.Mutation(**(usual | mutation)),
        intent=mutation_pb2.Intent(risk=mutation_pb2.RISK_HIGH),
        justification="because",
        evidence=[mutation_pb2.Evidence(kind="ticket", uri="https://t/1")],
        execution_mode=request_pb2.EXECUTION_MODE_AUTOMATIC,
        on_dependency_failure=request_pb2.DEPENDENCY_FAILURE_REJECT,
        verdict=request_pb2.Verdict(
            effect=request_pb2.POLICY_EFFECT_DEFER, rules=["two-reviewers"]
        ),
        approval=request_pb2.Approval(
            steps=[a_step("review", a_requirement("reviewers", REVIEWERS, quorum=2))],
            round=1,
            open_requirements=["reviewers"],
        ),
    )
    return sealed(request)


def an_emergency() -> request_pb2.MutationRequest:
    """One that was executed past its approval, and owes its review."""
    request = a_request()
    request.status = request_pb2.REQUEST_STATUS_EXECUTED
    del request.pending[:]
    request.approval.break_glass.actor.id = "eve"
    request.approval.break_glass.actor.time.CopyFrom(SINCE)
    request.approval.break_glass.justification = "checkout is down"
    request.review.status = request_pb2.REVIEW_STATUS_OPEN
    request.review.due_time.CopyFrom(UNTIL)
    request.review.reviewers.append(REVIEWERS)
    return request


def sealed(request: request_pb2.MutationRequest) -> request_pb2.MutationRequest:
    """The request, with the digests of what it is now."""
    request.request_digest = digest_of(request)
    request.approval.plan_digest = plan_digest_of(request.approval)
    return request


def a_step(name: str, *requirements: request_pb2.Requirement) -> request_pb2.Step:
    """A step in which all requirements must be met."""
    return request_pb2.Step(name=name, mode=request_pb2.STEP_MODE_ALL_OF, requirements=requirements)


def a_requirement(
    id: str, *targets: request_pb2.Target, quorum: int = 1, **terms: Any
) -> request_pb2.Requirement:
    """A quorum out of the targets."""
    usual: dict[str, Any] = {"meaning": request_pb2.VOTE_KIND_APPROVE, "rejections": 1}
    return request_pb2.Requirement(id=id, targets=targets, quorum=quorum, **(usual | terms))


def a_vote(actor: str, **fields: Any) -> request_pb2.Vote:
    """A vote for it, by one of the reviewers."""
    usual: dict[str, Any] = {"kind": request_pb2.VOTE_KIND_APPROVE, "round": 1}
    return request_pb2.Vote(
        actor=mutation_pb2.Actor(id=actor, groups=["reviewers"], time=SINCE), **(usual | fields)
    )


def a_gate(
    name: str,
    reason: request_pb2.PendingReason.ValueType = request_pb2.PENDING_REASON_EXTERNAL_CHECK,
) -> request_pb2.Gate:
    """What the checkers answer within ten minutes."""
    return request_pb2.Gate(
        reason=reason, name=name, resolvers=[CHECKERS], timeout=Duration(seconds=600)
    )


def waiting(
    reason: request_pb2.PendingReason.ValueType, name: str = "", **fields: Any
) -> request_pb2.Pending:
    """One thing a request waits for."""
    return request_pb2.Pending(reason=reason, name=name, since_time=SINCE, **fields)
