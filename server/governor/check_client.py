"""The calls to the services that answer checks: GovernanceCheck, one channel for each address."""

import asyncio
import logging
from collections.abc import Callable
from typing import Any, Final

import grpc
import grpc.aio
from google.protobuf.message import DecodeError

from governance.v1 import governance_check_pb2
from governor.domain.request import MutationRequest
from governor.domain.values import Reason
from governor.host.connection import (
    MESSAGE_BYTES_MAX,
    HostTls,
    open_channel,
    was_cancelled_from_outside,
)
from governor.policy_gates import CheckService
from governor.telemetry.calls import inside
from governor.telemetry.providers import OFF, Telemetry
from governor.telemetry.traceparent import TRACEPARENT, parse
from governor.usecases.ports import CheckAnswer, CheckOutcome
from governor.wire.codec import values
from governor.wire.codec.request import put_request

log = logging.getLogger(__name__)

SERVICE: Final = governance_check_pb2.DESCRIPTOR.services_by_name["GovernanceCheck"].full_name
METHOD: Final = f"{SERVICE}/Check"
CODE_CHARACTERS_MAX: Final = 128
WORDS_CHARACTERS_MAX: Final = 4_096
FACTS_MAX: Final = 32
CHANNELS_MAX: Final = 256
"""More services than one policy can name: of those that earlier policies named, some are closed."""

_OUTCOMES: Final = {
    governance_check_pb2.CHECK_OUTCOME_PASSED: CheckOutcome.PASSED,
    governance_check_pb2.CHECK_OUTCOME_FAILED: CheckOutcome.FAILED,
    governance_check_pb2.CHECK_OUTCOME_LATER: CheckOutcome.LATER,
}
_NONE: Final = CheckAnswer(outcome=CheckOutcome.NONE)


class CheckClient:
    """The port Checks. `find` says where a check is answered by now, None where by nobody.

    A connection is made when it is first needed, and again when it breaks.
    """

    def __init__(
        self,
        find: Callable[[str], CheckService | None],
        *,
        telemetry: Telemetry = OFF,
        message_bytes_max: int = MESSAGE_BYTES_MAX,
    ) -> None:
        self._find = find
        self._message_bytes_max = message_bytes_max
        self._telemetry = telemetry
        self._channels: dict[tuple[str, bytes | None], grpc.aio.Channel] = {}

    async def ask(self, name: str, request: MutationRequest) -> CheckAnswer:
        service = self._find(name)
        if service is None:
            return CheckAnswer(outcome=CheckOutcome.NOBODY)
        span = None
        if self._telemetry.is_on:
            span = self._telemetry.client_call(METHOD, inside(parse(request.traceparent)))
            span.concerns(request_audit_id=request.audit_id)
        code = grpc.StatusCode.CANCELLED.name
        try:
            traceparent = span.traceparent if span is not None else request.traceparent
            data = await self._call(service, _asked(name, request), traceparent)
            code = grpc.StatusCode.OK.name
            return _read(name, data)
        except grpc.aio.AioRpcError as error:
            code = error.code().name
            log.info("a check gave no answer", extra={"check": name, "code": code})
            return _NONE
        except asyncio.CancelledError:
            if was_cancelled_from_outside():
                raise
            return _NONE  # the connection was closed during the call
        finally:
            if span is not None:
                span.end(code)

    async def close(self) -> None:
        """Ends the connections; calls under way have no answer."""
        channels = list(self._channels.values())
        self._channels.clear()
        for channel in channels:
            await channel.close()

    async def _call(
        self, service: CheckService, message: governance_check_pb2.CheckRequest, traceparent: str
    ) -> bytes:
        # Bytes come back, because gRPC makes None of an answer that does not decode.
        call: Any = (await self._channel(service)).unary_unary(f"/{METHOD}")
        data: bytes = await call(
            message.SerializeToString(),
            timeout=service.call_seconds_max,
            metadata=((TRACEPARENT, traceparent),) if traceparent else None,
        )
        return data

    async def _channel(self, service: CheckService) -> grpc.aio.Channel:
        key = (service.target, service.tls_ca)
        if key not in self._channels:
            if len(self._channels) >= CHANNELS_MAX:
                oldest = next(iter(self._channels))
                await self._channels.pop(oldest).close()
            tls = HostTls(ca=service.tls_ca) if service.tls_ca is not None else None
            self._channels[key] = open_channel(service.target, tls, self._message_bytes_max)
        return self._channels[key]


def _asked(name: str, request: MutationRequest) -> governance_check_pb2.CheckRequest:
    message = governance_check_pb2.CheckRequest(name=name)
    put_request(message.request, request)
    return message


def _read(name: str, data: bytes) -> CheckAnswer:
    """What was answered; whatever is no answer of the contract is none."""
    try:
        response = governance_check_pb2.CheckResponse.FromString(data)
    except DecodeError:
        log.warning("a check's answer cannot be read", extra={"check": name})
        return _NONE
    outcome = _OUTCOMES.get(response.outcome)
    if outcome is None or (outcome is CheckOutcome.FAILED and not response.reason.code):
        log.warning("a check's answer says nothing", extra={"check": name})
        return _NONE
    return CheckAnswer(outcome=outcome, reason=_cut(values.reason(response.reason)))


def _cut(reason: Reason) -> Reason:
    """As much of the words as the ledger takes of anybody's."""
    facts = list(reason.metadata.items())[:FACTS_MAX]
    return Reason(
        code=reason.code[:CODE_CHARACTERS_MAX],
        message=reason.message[:WORDS_CHARACTERS_MAX],
        category=reason.category[:CODE_CHARACTERS_MAX],
        metadata={key[:CODE_CHARACTERS_MAX]: value[:WORDS_CHARACTERS_MAX] for key, value in facts},
    )
