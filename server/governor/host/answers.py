"""How an error status of the host is read: the table that decides what is known.

An error counts as an answer only where the host signed it with an ErrorInfo of our domain. Anything
else may come from a proxy, a crash or a lost connection, and says nothing about what was applied.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Final

import grpc
import grpc.aio
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2, status_pb2

from governance.v1 import errors_pb2, mutation_engine_pb2
from governor.domain.execution import (
    ApplyAnswer,
    Busy,
    Fenced,
    InDoubt,
    LookupAnswer,
    NotSeen,
    Refused,
)
from governor.domain.values import Reason
from governor.host import codec

DOMAIN: Final = "governor"
UNNAMED: Final = "UNSPECIFIED"
NO_OUTCOME: Final = "NO_OUTCOME"
STATUS_KEY: Final = "grpc-status-details-bin"
TEXT_CHARACTERS_MAX: Final = 1024
RETRY_SECONDS_MAX: Final = 3600
MICROS_PER_SECOND: Final = 1_000_000
NANOS_PER_MICRO: Final = 1_000
_REASON_PREFIX: Final = "ERROR_REASON_"


def _name(reason: errors_pb2.ErrorReason.ValueType) -> str:
    return errors_pb2.ErrorReason.Name(reason).removeprefix(_REASON_PREFIX)


FENCED: Final = _name(errors_pb2.ERROR_REASON_FENCED)
DIGEST_MISMATCH: Final = _name(errors_pb2.ERROR_REASON_EXECUTION_DIGEST_MISMATCH)


class Reading(Enum):
    """What an error status tells of the call it answers."""

    REFUSED = "known: nothing was applied, and the same call will not succeed"
    BUSY = "known: nothing was applied, and the same call may succeed later"
    FENCED = "somebody else carries the execution on; write nothing"
    IN_DOUBT = "nothing is known"


READINGS: Final[Mapping[grpc.StatusCode, Reading]] = {
    grpc.StatusCode.INVALID_ARGUMENT: Reading.REFUSED,
    grpc.StatusCode.PERMISSION_DENIED: Reading.REFUSED,
    grpc.StatusCode.FAILED_PRECONDITION: Reading.REFUSED,
    grpc.StatusCode.ABORTED: Reading.BUSY,
    grpc.StatusCode.RESOURCE_EXHAUSTED: Reading.BUSY,
}
"""With our domain. A code without a row, like every code without our domain, is IN_DOUBT."""

EXCEPTIONS: Final[Mapping[tuple[grpc.StatusCode, str], Reading]] = {
    (grpc.StatusCode.FAILED_PRECONDITION, FENCED): Reading.FENCED,
    # Something was applied under this execution id, and it is not what was approved: no outcome
    # that Governor could record would be true.
    (grpc.StatusCode.FAILED_PRECONDITION, DIGEST_MISMATCH): Reading.IN_DOUBT,
}
"""With our domain and this reason, before the rows above."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """An error status, taken apart. `reason` is empty without an ErrorInfo of our domain."""

    code: grpc.StatusCode
    message: str
    reason: str = ""
    facts: Mapping[str, str]
    retry_after_us: int | None = None

    @property
    def reading(self) -> Reading:
        """What it tells."""
        if not self.reason:
            return Reading.IN_DOUBT
        by_code = READINGS.get(self.code, Reading.IN_DOUBT)
        return EXCEPTIONS.get((self.code, self.reason), by_code)

    @property
    def cause(self) -> Reason:
        """As it is recorded: the host's own reason, or the bare status code.

        Words that the host did not sign may be a stack trace; they belong into the log alone.
        """
        if not self.reason:
            message = f"the host answered {self.code.name}"
            return Reason(code=self.code.name, message=message)
        return Reason(
            code=self.reason,
            message=self.message[:TEXT_CHARACTERS_MAX],
            metadata={**self.facts, "status": self.code.name},
        )


def applied(data: bytes) -> ApplyAnswer:
    """What an answer says of an order. Raises DecodeError."""
    response = mutation_engine_pb2.ApplyMutationResponse.FromString(data)
    return codec.outcome(response) or _silent()


def looked_up(data: bytes, *, digest: bytes) -> LookupAnswer:
    """What an answer says of an execution that ordered `digest`. Raises DecodeError."""
    response = mutation_engine_pb2.LookupMutationResponse.FromString(data)
    match response.WhichOneof("result"):
        case "not_seen":
            return NotSeen(fenced=response.not_seen.fenced)
        case "outcome" if response.request_digest != digest:
            return InDoubt(
                reason=Reason(
                    code=DIGEST_MISMATCH,
                    message="the host has an outcome of another digest under this execution id",
                    metadata={"expected": digest.hex(), "got": response.request_digest.hex()},
                )
            )
        case "outcome":
            return codec.outcome(response.outcome) or _silent()
        case _:
            return _silent()


def _silent() -> InDoubt:
    return InDoubt(reason=Reason(code=NO_OUTCOME, message="the host's answer says no outcome"))


def failure_of(error: grpc.aio.AioRpcError) -> Failure:
    """Takes an error of gRPC apart. Details that cannot be read count as none."""
    for key, value in error.trailing_metadata() or ():
        if key == STATUS_KEY and isinstance(value, bytes):
            return _detailed(error, value)
    return Failure(code=error.code(), message=error.details() or "", facts={})


def apply_answer(failure: Failure) -> ApplyAnswer:
    """What an error says of an order."""
    if failure.reading is Reading.REFUSED:
        return Refused(reason=failure.cause)
    return _unrefused(failure)


def lookup_answer(failure: Failure) -> LookupAnswer:
    """What an error says of an execution that was looked up.

    A refused look-up was not answered: it says nothing about the order.
    """
    if failure.reading is Reading.REFUSED:
        return InDoubt(reason=failure.cause)
    return _unrefused(failure)


def _unrefused(failure: Failure) -> Busy | Fenced | InDoubt:
    match failure.reading:
        case Reading.BUSY:
            return Busy(reason=failure.cause, retry_after_us=failure.retry_after_us)
        case Reading.FENCED:
            return Fenced()
        case Reading.REFUSED | Reading.IN_DOUBT:
            return InDoubt(reason=failure.cause)


def _detailed(error: grpc.aio.AioRpcError, details: bytes) -> Failure:
    info, retry = error_details_pb2.ErrorInfo(), error_details_pb2.RetryInfo()
    reason, facts, retry_after_us = "", {}, None
    try:
        for detail in status_pb2.Status.FromString(details).details:
            if detail.Unpack(info) and info.domain == DOMAIN:
                reason = info.reason or UNNAMED
                facts = {
                    key: info.metadata[key][:TEXT_CHARACTERS_MAX] for key in sorted(info.metadata)
                }
            elif detail.Unpack(retry):
                retry_after_us = _retry_after_us(retry)
    except DecodeError:
        return Failure(code=error.code(), message=error.details() or "", facts={})
    return Failure(
        code=error.code(),
        message=error.details() or "",
        reason=reason,
        facts=facts,
        retry_after_us=retry_after_us,
    )


def _retry_after_us(retry: error_details_pb2.RetryInfo) -> int:
    delay = retry.retry_delay
    seconds = min(max(delay.seconds, 0), RETRY_SECONDS_MAX)
    return int(seconds * MICROS_PER_SECOND + max(delay.nanos, 0) // NANOS_PER_MICRO)
