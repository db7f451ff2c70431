"""A small client of Governor: one actor's view of the service, over one channel.

Copy it. What it adds to the generated stub is what every caller needs: an identity and the trace
context on each call, a deadline, a request_id that makes a call repeatable, and refusals as one
exception that can be read.
"""

import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import Final, TypeVar
from uuid import uuid4

import grpc
import grpc.aio
from google.protobuf.duration_pb2 import Duration
from google.rpc import error_details_pb2
from grpc_status import rpc_status
from opentelemetry import propagate, trace
from opentelemetry.trace import SpanKind, StatusCode

from governance.v1 import governance_service_pb2 as service
from governance.v1.decision_pb2 import Decision
from governance.v1.execution_pb2 import Execution
from governance.v1.governance_service_pb2_grpc import GovernanceServiceStub
from governance.v1.mutation_pb2 import (
    COMPENSATION_KIND_ROLLBACK,
    Intent,
    Mutation,
    Reason,
    Risk,
    RuntimeContext,
)
from governance.v1.request_pb2 import (
    BATCH_FAILURE_MODE_COMPENSATE,
    PENDING_REASON_EXTERNAL_CHECK,
    REQUEST_STATUS_CANCELED,
    REQUEST_STATUS_EXECUTED,
    REQUEST_STATUS_EXPIRED,
    REQUEST_STATUS_FAILED,
    REQUEST_STATUS_REJECTED,
    REQUEST_STATUS_SUPERSEDED,
    MutationRequest,
    RequestStatus,
)

SERVICE: Final = "governance.v1.GovernanceService"
CALL_SECONDS_MAX: Final = 10.0
WAIT_SECONDS_MAX: Final = 15.0
PAGE_DECISIONS: Final = 500

TERMINAL: Final = frozenset(
    {
        REQUEST_STATUS_EXECUTED,
        REQUEST_STATUS_REJECTED,
        REQUEST_STATUS_CANCELED,
        REQUEST_STATUS_EXPIRED,
        REQUEST_STATUS_SUPERSEDED,
        REQUEST_STATUS_FAILED,
    }
)

AskedT = TypeVar("AskedT")
AnswerT = TypeVar("AnswerT")


class Refused(Exception):
    """Governor's answer when it is no: the gRPC code, its stable reason, and the facts."""

    def __init__(
        self, code: grpc.StatusCode, *, reason: str, facts: Mapping[str, str], message: str
    ) -> None:
        super().__init__(f"{code.name}, {reason or 'no reason given'}: {message}")
        self.code = code
        self.reason = reason
        self.facts = facts


class Client:
    """Governor as `actor` sees it in `tenant`."""

    def __init__(self, channel: grpc.aio.Channel, *, actor: str, tenant: str) -> None:
        self.actor = actor
        self._tenant = tenant
        self._stub = GovernanceServiceStub(channel)
        self._tracer = trace.get_tracer(__name__)

    async def submit(
        self,
        mutation: Mutation,
        *,
        risk: "Risk.ValueType",
        why: str = "",
        request_id: str = "",
        lifetime_seconds: float | None = None,
        wait_seconds: float | None = None,
        emergency: str = "",
    ) -> MutationRequest:
        """Ask for a mutation. With `wait_seconds`, answers when it has ended or waits for others;
        with an `emergency`, which says why it cannot wait, goes past its approval.

        Repeat it with the same `request_id` whenever it is not known whether it arrived.
        """
        asked = self._submission(mutation, risk, why, lifetime_seconds)
        asked.request_id = request_id or new_request_id()
        if emergency:
            asked.break_glass.justification = emergency
        if wait_seconds is not None:
            asked.wait.CopyFrom(_duration(wait_seconds))
        return (await self._call("Submit", self._stub.Submit, asked)).request

    async def approve(
        self, seen: MutationRequest, comment: str = "", *, on_behalf_of: str = ""
    ) -> MutationRequest:
        """Vote for exactly what was `seen`: the digest in it is what is voted on."""
        asked = service.ApproveRequest(
            request_id=new_request_id(),
            id=seen.id,
            request_digest=seen.request_digest,
            plan_digest=seen.approval.plan_digest,
            comment=comment,
            on_behalf_of=on_behalf_of,
        )
        return (await self._call("Approve", self._stub.Approve, asked)).request

    async def reject(self, seen: MutationRequest, reason: Reason) -> MutationRequest:
        asked = service.RejectRequest(
            request_id=new_request_id(),
            id=seen.id,
            request_digest=seen.request_digest,
            plan_digest=seen.approval.plan_digest,
            reason=reason,
        )
        return (await self._call("Reject", self._stub.Reject, asked)).request

    async def revoke(self, seen: MutationRequest, reason: Reason) -> MutationRequest:
        """Take one's own vote back."""
        asked = service.RevokeVoteRequest(request_id=new_request_id(), id=seen.id, reason=reason)
        return (await self._call("RevokeVote", self._stub.RevokeVote, asked)).request

    async def pass_check(self, seen: MutationRequest, name: str, found: Reason) -> MutationRequest:
        """Answer a check about exactly what was `seen`: it does not stand in the way."""
        asked = service.ResolvePendingRequest(
            request_id=new_request_id(),
            id=seen.id,
            request_digest=seen.request_digest,
            reason=PENDING_REASON_EXTERNAL_CHECK,
            name=name,
            outcome=service.PENDING_OUTCOME_PASSED,
            finding=found,
        )
        return (await self._call("ResolvePending", self._stub.ResolvePending, asked)).request

    async def review_emergency(self, seen: MutationRequest, found: Reason) -> MutationRequest:
        """Give the review that it owes: it was justified."""
        asked = service.ReviewBreakGlassRequest(
            request_id=new_request_id(),
            id=seen.id,
            request_digest=seen.request_digest,
            justified=True,
            reason=found,
        )
        return (await self._call("ReviewBreakGlass", self._stub.ReviewBreakGlass, asked)).request

    async def waiting_for_me(self) -> list[str]:
        """The ids of the requests that one can act on now, newest first."""
        return await self._listed(service.ListRequestsRequest(waiting_for_me=True))

    async def reviews_owed(self) -> list[str]:
        """The ids of the emergencies that nobody has looked at, newest first."""
        return await self._listed(service.ListRequestsRequest(review_open=True))

    async def cancel(self, seen: MutationRequest, comment: str = "") -> MutationRequest:
        """Withdraw the request; the etag makes sure that it is still what was `seen`."""
        asked = service.CancelRequest(
            request_id=new_request_id(), id=seen.id, etag=seen.etag, comment=comment
        )
        return (await self._call("Cancel", self._stub.Cancel, asked)).request

    async def supersede(
        self, seen: MutationRequest, mutation: Mutation, *, risk: "Risk.ValueType", why: str = ""
    ) -> tuple[MutationRequest, MutationRequest]:
        """The request that takes the place of the one `seen`, and that one as it stands then."""
        asked = service.SupersedeRequest(
            request_id=new_request_id(),
            id=seen.id,
            replacement=self._submission(mutation, risk, why, None),
        )
        answer = await self._call("Supersede", self._stub.Supersede, asked)
        return answer.request, answer.superseded

    async def roll_back(self, seen: MutationRequest, reason: Reason) -> MutationRequest:
        """Ask for the host to restore what was there before: a request of its own."""
        asked = service.CompensateRequest(
            request_id=new_request_id(),
            id=seen.id,
            etag=seen.etag,
            kind=COMPENSATION_KIND_ROLLBACK,
            reason=reason,
        )
        return (await self._call("Compensate", self._stub.Compensate, asked)).request

    async def submit_batch(
        self, mutations: Sequence[Mutation], *, risk: "Risk.ValueType", why: str = ""
    ) -> service.SubmitBatchResponse:
        """Ask for several mutations as one: in their order, and put right if one of them fails."""
        asked = service.SubmitBatchRequest(
            request_id=new_request_id(),
            members=[self._submission(one, risk, why, None) for one in mutations],
            failure_mode=BATCH_FAILURE_MODE_COMPENSATE,
            justification=why,
        )
        return await self._call("SubmitBatch", self._stub.SubmitBatch, asked)

    async def left_behind(self) -> list[str]:
        """The ids of what was applied in batches that came to less, and was not put right."""
        return await self._listed(service.ListRequestsRequest(uncompensated=True))

    async def trace(self, id: str) -> service.TraceRequestResponse:
        """Everything that is linked to a request."""
        asked = service.TraceRequestRequest(id=id)
        return await self._call("TraceRequest", self._stub.TraceRequest, asked)

    async def get(self, id: str) -> tuple[MutationRequest, list[Execution]]:
        """The request with its executions, oldest first."""
        asked = service.GetRequestRequest(id=id)
        answer = await self._call("GetRequest", self._stub.GetRequest, asked)
        return answer.request, list(answer.executions)

    async def ended(self, id: str) -> MutationRequest:
        """The request, once it has ended."""
        request, _ = await self.get(id)
        return await self.until(request, lambda current: current.status in TERMINAL)

    async def until(
        self, seen: MutationRequest, enough: Callable[[MutationRequest], bool]
    ) -> MutationRequest:
        """The request as soon as it is `enough`, starting from how it was `seen`.

        Raises TimeoutError when that takes longer than WAIT_SECONDS_MAX.
        """
        give_up_at = time.monotonic() + WAIT_SECONDS_MAX
        while not enough(seen):
            left = give_up_at - time.monotonic()
            if left <= 0:
                status = RequestStatus.Name(seen.status)
                raise TimeoutError(f"{seen.id} is still {status} after {WAIT_SECONDS_MAX:g} s")
            asked = service.WaitRequestRequest(
                id=seen.id, after_revision=seen.revision, timeout=_duration(left)
            )
            answer = await self._call(
                "WaitRequest", self._stub.WaitRequest, asked, seconds=left + CALL_SECONDS_MAX
            )
            seen = answer.request
        return seen

    async def decisions(self, *request_ids: str) -> list[Decision]:
        """Every decision about these requests, or about all, oldest first."""
        found: list[Decision] = []
        page_token = ""
        while True:
            asked = service.ListDecisionsRequest(
                # The host's own are about no request: they come with the whole ledger alone.
                filter=service.DecisionFilter(
                    tenant=self._tenant,
                    mutation_request_ids=request_ids,
                    include_host=not request_ids,
                ),
                page_size=PAGE_DECISIONS,
                page_token=page_token,
            )
            page = await self._call("ListDecisions", self._stub.ListDecisions, asked)
            found.extend(page.decisions)
            page_token = page.next_page_token
            if not page_token:
                return found

    async def follow(
        self, *, after_revision: int, store_id: str = ""
    ) -> AsyncGenerator[service.StreamDecisionsResponse, None]:
        """Every decision after a revision, in order, and then those to come.

        Ends with an exception when the stream breaks: call again with the last revision seen.
        Closing the iterator hangs up. It makes no span, which would last as long as it listens.
        """
        asked = service.StreamDecisionsRequest(
            after_revision=after_revision,
            filter=service.DecisionFilter(tenant=self._tenant, include_host=True),
            store_id=store_id,
        )
        call = self._stub.StreamDecisions(asked, metadata=(("governor-actor", self.actor),))
        try:
            async for message in call:
                yield message
        finally:
            call.cancel()

    async def _listed(self, asked: service.ListRequestsRequest) -> list[str]:
        asked.tenant = self._tenant
        answer = await self._call("ListRequests", self._stub.ListRequests, asked)
        return [request.id for request in answer.requests]

    def _submission(
        self, mutation: Mutation, risk: "Risk.ValueType", why: str, lifetime_seconds: float | None
    ) -> service.SubmitRequest:
        asked = service.SubmitRequest(
            context=RuntimeContext(
                tenant=self._tenant, environment="demo", service="examples.demo"
            ),
            mutation=mutation,
            intent=Intent(category="rollout", risk=risk),
            justification=why,
        )
        if lifetime_seconds is not None:
            asked.expire_time.FromNanoseconds(time.time_ns() + round(lifetime_seconds * 1e9))
        return asked

    async def _call(
        self,
        rpc: str,
        method: grpc.aio.UnaryUnaryMultiCallable[AskedT, AnswerT],
        asked: AskedT,
        *,
        seconds: float = CALL_SECONDS_MAX,
    ) -> AnswerT:
        with self._client_span(rpc) as headers:
            metadata = (("governor-actor", self.actor), *headers.items())
            try:
                return await method(asked, timeout=seconds, metadata=metadata)
            except grpc.aio.AioRpcError as error:
                raise refused(error) from error

    @contextmanager
    def _client_span(self, rpc: str) -> Iterator[dict[str, str]]:
        """A span around one call, and the headers that carry its context to the server."""
        with self._tracer.start_as_current_span(
            f"{SERVICE}/{rpc}",
            kind=SpanKind.CLIENT,
            attributes={
                "rpc.system.name": "grpc",
                "rpc.method": f"{SERVICE}/{rpc}",
                "enduser.id": self.actor,
            },
            record_exception=False,
            set_status_on_exception=False,
        ) as span:
            headers: dict[str, str] = {}
            propagate.inject(headers)
            try:
                yield headers
            except Refused as refusal:
                span.set_attribute("rpc.response.status_code", refusal.code.name)
                span.set_attribute("error.type", refusal.code.name)
                span.set_status(StatusCode.ERROR)
                raise
            span.set_attribute("rpc.response.status_code", grpc.StatusCode.OK.name)


@asynccontextmanager
async def connected(target: str) -> AsyncIterator[grpc.aio.Channel]:
    """A channel to a sidecar on this machine, `host:port` or `unix:/path`."""
    # Over a unix socket gRPC would make the path the authority, which not every server accepts.
    options = (("grpc.default_authority", "localhost"), ("grpc.enable_http_proxy", 0))
    async with grpc.aio.insecure_channel(target, options=options) as channel:
        yield channel


def refused(error: grpc.aio.AioRpcError) -> Refused:
    """What the error says, in Governor's words where it has any."""
    status = rpc_status.from_call(error)  # type: ignore[arg-type]  # stub knows only sync calls
    info = error_details_pb2.ErrorInfo()
    for detail in status.details if status else ():
        if detail.Unpack(info):
            break
    return Refused(
        error.code(),
        reason=info.reason,
        facts=dict(info.metadata),
        message=error.details() or "",
    )


def new_request_id() -> str:
    return str(uuid4())


def _duration(seconds: float) -> Duration:
    duration = Duration()
    duration.FromNanoseconds(round(seconds * 1e9))
    return duration
