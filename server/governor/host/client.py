"""The calls to the host: each with a deadline, each answer read by the table in answers.py."""

import asyncio
import logging
import re
import time
from collections.abc import Callable
from typing import Any, Final, TypeVar

import grpc
import grpc.aio
from google.protobuf.message import DecodeError, Message
from opentelemetry.context import Context

from governance.v1 import mutation_engine_pb2 as engine
from governor.clock import SystemClock
from governor.domain.errors import HostUnavailable
from governor.domain.execution import ApplyAnswer, Busy, Execution, InDoubt, LookupAnswer
from governor.domain.request import MutationRequest, StateRef
from governor.domain.values import Micros, Reason
from governor.host import answers, codec
from governor.host.answers import Failure, Reading
from governor.host.breaker import Breaker, CircuitOpen
from governor.host.connection import (
    MESSAGE_BYTES_MAX,
    HostTls,
    open_channel,
    was_cancelled_from_outside,
    watch,
)
from governor.telemetry.calls import Call, inside
from governor.telemetry.providers import OFF, Telemetry
from governor.telemetry.traceparent import TRACEPARENT, parse
from governor.usecases.ports import Capabilities, Circuit, Clock, HostCondition, Order, Validation

__all__ = ["HostClient", "HostTls"]

log = logging.getLogger(__name__)

SERVICE: Final = engine.DESCRIPTOR.services_by_name["MutationEngine"].full_name
OK: Final = grpc.StatusCode.OK.name
CANCELLED: Final = grpc.StatusCode.CANCELLED.name
UNAVAILABLE: Final = grpc.StatusCode.UNAVAILABLE.name
UNANSWERED: Final = frozenset({grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED})
"""What nobody signed with one of these counts against the host in the circuit breaker."""
FAILURES_MAX: Final = 5
PAUSE_SECONDS_INITIAL: Final = 1.0
PAUSE_SECONDS_MAX: Final = 30.0
MICROS: Final = 1_000_000
CIRCUIT_OPEN: Final = "HOST_CIRCUIT_OPEN"
UNREADABLE: Final = "UNREADABLE_ANSWER"
NO_ROLLBACK: Final = "ROLLBACK_NOT_ANNOUNCED"
CLIENT_FAULT: Final = "CLIENT_FAULT"
LINEAGE: Final = re.compile(r"[ -~]{0,256}")
"""As it can be named by whoever is to trust it."""

Answer = TypeVar("Answer")
Response = TypeVar("Response", bound=Message)


class HostClient:
    """The port Host. One connection, made when first needed and made again when it breaks."""

    def __init__(
        self,
        target: str,
        *,
        call_seconds_max: float,
        telemetry: Telemetry = OFF,
        tls: HostTls | None = None,
        message_bytes_max: int = MESSAGE_BYTES_MAX,
        failures_max: int = FAILURES_MAX,
        pause_seconds_initial: float = PAUSE_SECONDS_INITIAL,
        pause_seconds_max: float = PAUSE_SECONDS_MAX,
        clock: Clock | None = None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._seconds_max = call_seconds_max
        self._telemetry = telemetry
        self._clock = clock or SystemClock()
        self._breaker = Breaker(
            failures_max=failures_max,
            pause_seconds_initial=pause_seconds_initial,
            pause_seconds_max=pause_seconds_max,
            changed=self._circuit_changed,
            monotonic=monotonic,
        )
        self._reached_at: Micros | None = None
        self._channel = open_channel(target, tls, message_bytes_max)
        self._get_capabilities = self._method("GetCapabilities")
        self._get_state = self._method("GetState")
        self._validate = self._method("ValidateMutation")
        self._apply = self._method("ApplyMutation")
        self._lookup = self._method("LookupMutation")
        self._listeners: list[Callable[[Capabilities], None]] = []
        self._known: Capabilities | None = None
        self._is_current = False
        self._asking = asyncio.Lock()
        self._watching: asyncio.Task[None] | None = None
        self._refreshing: asyncio.Task[None] | None = None

    # --- What the host is -----------------------------------------------------------------------

    @property
    def known_capabilities(self) -> Capabilities | None:
        return self._known

    @property
    def condition(self) -> HostCondition:
        return HostCondition(circuit=self._breaker.circuit, reached_at=self._reached_at)

    def listen(self, listener: Callable[[Capabilities], None]) -> None:
        self._listeners.append(listener)

    async def capabilities(self) -> Capabilities:
        if self._known is not None and self._is_current and not self._asking.locked():
            return self._known
        if self._watching is None:
            self._watching = asyncio.create_task(watch(self._channel, self._connection_changed))
        async with self._asking:
            if self._known is None or not self._is_current:
                # Set first: a connection that breaks meanwhile takes it back.
                self._is_current = True
                try:
                    self._known = await self._ask_capabilities()
                except BaseException:
                    self._is_current = False
                    raise
                for listener in self._listeners:
                    listener(self._known)
            return self._known

    async def state_version(self, tenant: str, state: StateRef) -> str:
        request = engine.GetStateRequest(tenant=tenant)
        request.state.type, request.state.id = state.type, state.id
        response = await self._answered(self._get_state, request, engine.GetStateResponse)
        return response.version

    async def validate(self, request: MutationRequest) -> Validation:
        if not self._understands(request):
            return Validation(violations=(_NO_ROLLBACK,))
        message = codec.validate_request(request)
        try:
            response = await self._answered(
                self._validate, message, engine.ValidateMutationResponse
            )
        except _Failed as failed:
            if failed.failure.reading is Reading.REFUSED:
                return Validation(violations=(failed.failure.cause,))
            raise
        return codec.validation(response)

    # --- What the host does ---------------------------------------------------------------------

    async def apply(self, order: Order, *, traceparent: str) -> ApplyAnswer:
        if not self._understands(order.request):
            return Busy(reason=_NO_ROLLBACK)
        return await self._ordered(
            self._apply,
            lambda: codec.apply_request(order),
            order.execution,
            traceparent,
            read=answers.applied,
            read_failure=answers.apply_answer,
            unsent=_come_again,
        )

    async def lookup(self, execution: Execution, *, fence: bool, traceparent: str) -> LookupAnswer:
        return await self._ordered(
            self._lookup,
            lambda: codec.lookup_request(execution, fence=fence),
            execution,
            traceparent,
            read=lambda data: answers.looked_up(data, digest=execution.digest),
            read_failure=answers.lookup_answer,
            unsent=lambda shut: _doubt(CIRCUIT_OPEN, shut.message),
        )

    async def close(self) -> None:
        """Ends the connection; calls under way are in doubt."""
        for task in (self._watching, self._refreshing):
            if task is not None:
                task.cancel()
        await self._channel.close()

    # --- How calls are made ---------------------------------------------------------------------

    def _method(self, name: str) -> "_Method":
        # Bytes come back, because gRPC makes None of an answer that does not decode.
        call: Any = self._channel.unary_unary(f"/{SERVICE}/{name}")
        return _Method(name=f"{SERVICE}/{name}", call=call)

    async def _ordered(
        self,
        method: "_Method",
        build: Callable[[], Message],
        execution: Execution,
        traceparent: str,
        *,
        read: Callable[[bytes], Answer],
        read_failure: Callable[[Failure], Answer],
        unsent: Callable[[CircuitOpen], Answer],
    ) -> Answer | InDoubt:
        """For calls about an execution: whatever happens is an answer, at worst that of doubt."""
        span = self._observed(method, inside(parse(traceparent)))
        if span is not None:
            span.concerns(
                request_audit_id=execution.request_audit_id, execution_audit_id=execution.audit_id
            )
            traceparent = span.traceparent or traceparent
        code = CANCELLED
        try:
            data = await self._send(method, build(), traceparent)
            code = OK
            return read(data)
        except CircuitOpen as shut:
            code = UNAVAILABLE
            return unsent(shut)
        except _Failed as failed:
            code = failed.failure.code.name
            return read_failure(failed.failure)
        except DecodeError:
            return _doubt(UNREADABLE, "the answer is no message of the contract")
        except asyncio.CancelledError:
            if was_cancelled_from_outside():
                raise
            return _doubt(CANCELLED, "the connection was closed during the call")
        except Exception:
            log.exception(
                "a call to the host failed here",
                extra={"method": method.name, "execution_audit_id": execution.audit_id},
            )
            return _doubt(CLIENT_FAULT, "the call failed within the sidecar; see its log")
        finally:
            if span is not None:
                span.end(code)

    async def _answered(
        self, method: "_Method", message: Message, response: type[Response]
    ) -> Response:
        """For calls without effects: the answer. Raises HostUnavailable, as _Failed where told."""
        span = self._observed(method, None)
        code = CANCELLED
        try:
            data = await self._send(method, message, span.traceparent if span else "")
            code = OK
            return response.FromString(data)
        except CircuitOpen:
            code = UNAVAILABLE
            raise
        except _Failed as failed:
            code = failed.failure.code.name
            raise
        except DecodeError as error:
            raise HostUnavailable("the host's answer cannot be read", method=method.name) from error
        finally:
            if span is not None:
                span.end(code)

    async def _send(self, method: "_Method", message: Message, traceparent: str) -> bytes:
        metadata = ((TRACEPARENT, traceparent),) if traceparent else None
        is_probe, answered = self._breaker.admit(), None
        try:
            data: bytes = await method.call(
                message.SerializeToString(), timeout=self._seconds_max, metadata=metadata
            )
        except grpc.aio.AioRpcError as error:
            failure = answers.failure_of(error)
            answered = bool(failure.reason) or failure.code not in UNANSWERED
            if not failure.reason:
                # Whoever answers next may be another process, with other promises.
                self._is_current = False
                log.info(
                    "the host did not answer",
                    extra={
                        "method": method.name,
                        "code": failure.code.name,
                        "detail": failure.message,
                        TRACEPARENT: traceparent,
                    },
                )
            raise _Failed(failure, method.name) from error
        else:
            answered = True
            return data
        finally:
            if answered:
                self._reached_at = self._clock.now()
            self._breaker.ended(answered=answered, is_probe=is_probe)

    def _understands(self, request: MutationRequest) -> bool:
        """Whether the host reads all of an order.

        One that does not know of rollbacks takes them for the change itself, with no payload.
        """
        compensation = request.content.compensation
        if compensation is None or not compensation.is_rollback:
            return True
        return self._known is not None and self._known.rollback

    async def _ask_capabilities(self) -> Capabilities:
        request = engine.GetCapabilitiesRequest(contract_version=codec.CONTRACT_VERSION)
        response = await self._answered(
            self._get_capabilities, request, engine.GetCapabilitiesResponse
        )
        promised = codec.capabilities(response)
        if promised.contract_version != codec.CONTRACT_VERSION:
            raise HostUnavailable(
                f"the host speaks {promised.contract_version!r}, not {codec.CONTRACT_VERSION!r}",
                contract_version=promised.contract_version,
                expected=codec.CONTRACT_VERSION,
            )
        if not LINEAGE.fullmatch(promised.lineage_id):
            raise HostUnavailable("the host announces a lineage_id that is none")
        return promised

    def _connection_changed(self, is_connected: bool) -> None:
        """A new connection may lead to another host: its promises are read again at once."""
        if not is_connected:
            self._is_current = False
            return
        self._breaker.reconsider()
        if not self._is_current and (self._refreshing is None or self._refreshing.done()):
            self._refreshing = asyncio.get_running_loop().create_task(self._refresh())

    def _circuit_changed(self, circuit: Circuit) -> None:
        match circuit:
            case Circuit.OPEN:
                log.warning("the host does not answer, and is left alone for a while")
            case Circuit.CLOSED:
                log.info("the host answers again")
            case Circuit.PROBING:
                log.debug("the host is tried")
        if self._telemetry.instruments is not None:
            self._telemetry.instruments.circuit_changed(circuit)

    async def _refresh(self) -> None:
        try:
            await self.capabilities()
        except HostUnavailable as unavailable:
            log.warning("the host's capabilities cannot be read", extra=dict(unavailable.facts))

    def _observed(self, method: "_Method", parent: Context | None) -> Call | None:
        if not self._telemetry.is_on:
            return None
        return self._telemetry.client_call(method.name, parent)


class _Method:
    """One method of the host, ready to be called with bytes."""

    __slots__ = ("call", "name")

    def __init__(self, *, name: str, call: Any) -> None:
        self.name = name
        self.call = call


class _Failed(HostUnavailable):
    """An error status, before it is known what it means to whoever called."""

    def __init__(self, failure: Failure, method: str) -> None:
        super().__init__(f"the host answered {failure.code.name}", code=failure.code.name)
        self.failure = failure
        self.facts = {"code": failure.code.name, "method": method}
        if failure.reason:
            self.facts = {**self.facts, "reason": failure.reason}


_NO_ROLLBACK: Final = Reason(code=NO_ROLLBACK, message="the host does not take changes back")


def _come_again(shut: CircuitOpen) -> ApplyAnswer:
    """An order that was not sent was not carried out: there is nothing to look up."""
    reason = Reason(code=CIRCUIT_OPEN, message=shut.message)
    return Busy(reason=reason, retry_after_us=round(shut.retry_seconds * MICROS))


def _doubt(code: str, message: str) -> InDoubt:
    return InDoubt(reason=Reason(code=code, message=message))
