"""The MutationEngine service: admits calls, runs the author's functions, answers."""

import logging
from collections.abc import Awaitable, Callable
from functools import wraps
from typing import Any, Final, Generic, TypeVar

from google.protobuf.message import Message

from governance.v1 import mutation_engine_pb2 as engine_pb2
from governance.v1 import mutation_engine_pb2_grpc
from governor.hostkit import codec
from governor.hostkit.decide import MUTATION_NOT_SUPPORTED, decide, preview
from governor.hostkit.draining import CallsUnderWay
from governor.hostkit.errors import HostFault, HostKitError, MutationNotSupported, status
from governor.hostkit.journal import Journal
from governor.hostkit.model import Host, TransactionT
from governor.hostkit.tracing import ServicerContext, Tracing
from governor.hostkit.undoing import MICROS_PER_SECOND

SERVICE: Final = engine_pb2.DESCRIPTOR.services_by_name["MutationEngine"].full_name

_log = logging.getLogger(__name__)
RequestT = TypeVar("RequestT", bound=Message)
ResponseT = TypeVar("ResponseT", bound=Message)


def rpc(
    handle: Callable[["Engine[Any]", RequestT], Awaitable[ResponseT]],
) -> Callable[["Engine[Any]", RequestT, ServicerContext], Awaitable[ResponseT]]:
    """Make an RPC of a method that returns or raises: add its span, tell errors as statuses."""
    method = f"{SERVICE}/{handle.__name__}"

    @wraps(handle)
    async def answer(
        engine: "Engine[Any]", request: RequestT, context: ServicerContext
    ) -> ResponseT:
        with engine.tracing.call(method, request, context) as span:
            try:
                with engine.under_way:
                    response = await handle(engine, request)
                span.answered(response)
                return response
            except HostKitError as error:
                code, message, details = status(error)
            except Exception:  # noqa: BLE001 - its text must not reach the caller
                _log.exception("%s failed", method)
                code, message, details = status(HostFault("the host failed; see its log"))
            span.failed(code)
        # Outside of the span, which would otherwise see the abort as an exception of its own.
        return await context.abort(code, message, details)

    return answer


class Engine(mutation_engine_pb2_grpc.MutationEngineServicer, Generic[TransactionT]):
    """Serves one host from one journal."""

    def __init__(
        self,
        host: Host[TransactionT],
        journal: Journal[TransactionT],
        tracing: Tracing,
        clock: Callable[[], float],
    ) -> None:
        self._host = host
        self._clock = clock
        self._journal = journal
        self.tracing = tracing
        self.under_way = CallsUnderWay()

    @rpc
    async def GetCapabilities(
        self, request: engine_pb2.GetCapabilitiesRequest
    ) -> engine_pb2.GetCapabilitiesResponse:
        return codec.capabilities(self._host, lineage_id=self._journal.lineage_id)

    @rpc
    async def GetState(self, request: engine_pb2.GetStateRequest) -> engine_pb2.GetStateResponse:
        tenant, state = codec.tenant(request.tenant), codec.state(request.state, field="state")
        version = await self._journal.observe(
            lambda transaction: self._host.version(transaction, tenant, state)
        )
        return engine_pb2.GetStateResponse(version=version, exists=version != "")

    @rpc
    async def ValidateMutation(
        self, request: engine_pb2.ValidateMutationRequest
    ) -> engine_pb2.ValidateMutationResponse:
        proposal = codec.proposal(request)
        return await self._journal.observe(
            lambda transaction: preview(
                self._host, proposal, transaction, recall=self._journal.recall, now=self._now()
            )
        )

    @rpc
    async def ApplyMutation(
        self, request: engine_pb2.ApplyMutationRequest
    ) -> engine_pb2.ApplyMutationResponse:
        claim, order = codec.claim(request), codec.order(request)
        settled = await self._journal.settle(
            claim,
            lambda transaction: decide(
                self._host, order, transaction, recall=self._journal.recall, now=self._now()
            ),
        )
        response = codec.outcome(settled.outcome, replayed=settled.replayed)
        if response.refused.reason.code == MUTATION_NOT_SUPPORTED:
            # Remembered like any outcome, so that it stays true, but told as the contract wants it.
            raise MutationNotSupported(response.refused.reason.message)
        return response

    @rpc
    async def LookupMutation(
        self, request: engine_pb2.LookupMutationRequest
    ) -> engine_pb2.LookupMutationResponse:
        return codec.finding(await self._journal.inquire(codec.inquiry(request)))

    def _now(self) -> int:
        return round(self._clock() * MICROS_PER_SECOND)
