"""Every RPC of GovernanceService in one table; the server registers what stands here."""

from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from google.protobuf.message import Message

from governance.v1 import governance_service_pb2 as wire
from governor.usecases.app import App
from governor.usecases.commands import Caller
from governor.wire import changing, reading
from governor.wire.reading import Frame, Item

SERVICE: Final = wire.DESCRIPTOR.services_by_name["GovernanceService"].full_name

Handle: TypeAlias = Callable[[App, Caller, Any], Awaitable[Message | bytes]]
"""Answers a message, or one that is serialised already."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Unary:
    """An RPC with one answer. One that `waits` is told to go elsewhere when the server drains."""

    name: str
    request: type[Message]
    handle: Handle
    waits: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Streaming:
    """An RPC with many answers."""

    name: str
    request: type[Message]
    follow: Callable[[App, Caller, Any], AsyncGenerator[Item, None]]
    frame: Callable[[Item], Frame]


CALLS: Final[Sequence[Unary]] = (
    Unary(name="Submit", request=wire.SubmitRequest, handle=changing.submit_mutation),
    Unary(name="SubmitBatch", request=wire.SubmitBatchRequest, handle=changing.submit_batch_of),
    Unary(name="GetRequest", request=wire.GetRequestRequest, handle=reading.get_request),
    Unary(name="ListRequests", request=wire.ListRequestsRequest, handle=reading.list_requests),
    Unary(name="CountRequests", request=wire.CountRequestsRequest, handle=reading.count_requests),
    Unary(name="Approve", request=wire.ApproveRequest, handle=changing.approve),
    Unary(name="Reject", request=wire.RejectRequest, handle=changing.reject),
    Unary(name="RevokeVote", request=wire.RevokeVoteRequest, handle=changing.revoke),
    Unary(
        name="ResolvePending",
        request=wire.ResolvePendingRequest,
        handle=changing.resolve_pending_reason,
    ),
    Unary(
        name="ReviewBreakGlass",
        request=wire.ReviewBreakGlassRequest,
        handle=changing.review_break_glass,
    ),
    Unary(name="Cancel", request=wire.CancelRequest, handle=changing.cancel_request),
    Unary(name="Supersede", request=wire.SupersedeRequest, handle=changing.supersede_request),
    Unary(name="Execute", request=wire.ExecuteRequest, handle=changing.execute_request),
    Unary(
        name="ResolveExecution",
        request=wire.ResolveExecutionRequest,
        handle=changing.resolve_execution,
    ),
    Unary(name="Compensate", request=wire.CompensateRequest, handle=changing.compensate_request),
    Unary(name="TraceRequest", request=wire.TraceRequestRequest, handle=reading.trace_request),
    Unary(name="GetExecution", request=wire.GetExecutionRequest, handle=reading.get_execution),
    Unary(
        name="ListExecutions", request=wire.ListExecutionsRequest, handle=reading.list_executions
    ),
    Unary(
        name="WaitRequest", request=wire.WaitRequestRequest, handle=reading.wait_request, waits=True
    ),
    Unary(name="ListDecisions", request=wire.ListDecisionsRequest, handle=reading.list_decisions),
    Unary(name="GetHost", request=wire.GetHostRequest, handle=reading.get_host),
    Unary(name="TrustHost", request=wire.TrustHostRequest, handle=changing.trust_host),
)

STREAMS: Final[Sequence[Streaming]] = (
    Streaming(
        name="StreamDecisions",
        request=wire.StreamDecisionsRequest,
        follow=reading.stream_decisions,
        frame=reading.frame,
    ),
)
