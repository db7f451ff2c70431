"""Every error of the kit, and the one table that turns it into a gRPC status.

A status with an ErrorInfo of our domain says "known, not applied". So the errors that leave that
open have no row in the table and go out bare.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import grpc
from google.protobuf import any_pb2
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2

from governance.v1 import errors_pb2

DOMAIN: Final = "governor"
# Where gRPC carries a google.rpc.Status.
STATUS_DETAILS_KEY: Final = "grpc-status-details-bin"
TrailingMetadata = tuple[tuple[str, bytes], ...]
_REASON_PREFIX: Final = "ERROR_REASON_"


class HostKitError(Exception):
    """A call that cannot be answered with a message. Nothing of it was kept, unless said so."""

    def facts(self) -> Mapping[str, str]:
        return {}


class Fenced(HostKitError):
    """A higher fencing token was seen, or the execution was made impossible."""

    def __init__(self, *, execution_id: str, fencing_token: int) -> None:
        super().__init__(f"execution {execution_id} is fenced at token {fencing_token}")
        self.execution_id = execution_id
        self.fencing_token = fencing_token

    def facts(self) -> Mapping[str, str]:
        return {"execution_id": self.execution_id, "fencing_token": str(self.fencing_token)}


class ExecutionDigestMismatch(HostKitError):
    """The execution id was used before, with another digest."""

    def __init__(self, *, execution_id: str) -> None:
        super().__init__(f"execution {execution_id} was decided with another request_digest")
        self.execution_id = execution_id

    def facts(self) -> Mapping[str, str]:
        return {"execution_id": self.execution_id}


class MutationNotSupported(HostKitError):
    """The host does not make this kind of change."""


class InvalidField(HostKitError):
    """A field of the call breaks a rule."""

    def __init__(self, *, field: str, rule: str) -> None:
        super().__init__(f"{field} {rule}")
        self.field = field
        self.rule = rule


class HostBusy(HostKitError):
    """Not now: nothing was applied, and the same call may succeed later. Authors may raise it."""

    def __init__(self, message: str, *, retry_after_seconds: float = 1.0) -> None:
        super().__init__(message)
        self.retry_after_seconds = retry_after_seconds


class InDoubt(HostKitError):
    """The commit failed: only a lookup tells whether the call was applied."""


class HostFault(HostKitError):
    """The host's own code failed; its log has the details."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Public:
    """How an error is told to the caller."""

    code: grpc.StatusCode
    reason: errors_pb2.ErrorReason.ValueType


PUBLIC: Final[Mapping[type[HostKitError], Public]] = {
    Fenced: Public(
        code=grpc.StatusCode.FAILED_PRECONDITION,
        reason=errors_pb2.ERROR_REASON_FENCED,
    ),
    ExecutionDigestMismatch: Public(
        code=grpc.StatusCode.FAILED_PRECONDITION,
        reason=errors_pb2.ERROR_REASON_EXECUTION_DIGEST_MISMATCH,
    ),
    MutationNotSupported: Public(
        code=grpc.StatusCode.INVALID_ARGUMENT,
        reason=errors_pb2.ERROR_REASON_MUTATION_NOT_SUPPORTED,
    ),
    InvalidField: Public(
        code=grpc.StatusCode.INVALID_ARGUMENT,
        reason=errors_pb2.ERROR_REASON_INVALID_FIELD,
    ),
    HostBusy: Public(
        code=grpc.StatusCode.RESOURCE_EXHAUSTED,
        reason=errors_pb2.ERROR_REASON_HOST_BUSY,
    ),
}


def reason_name(reason: errors_pb2.ErrorReason.ValueType) -> str:
    return errors_pb2.ErrorReason.Name(reason).removeprefix(_REASON_PREFIX)


def status(error: HostKitError) -> tuple[grpc.StatusCode, str, TrailingMetadata]:
    """Return what `context.abort` takes."""
    public = PUBLIC.get(type(error))
    if public is None:
        return grpc.StatusCode.INTERNAL, str(error), ()
    details: list[any_pb2.Any] = [
        _packed(
            error_details_pb2.ErrorInfo(
                domain=DOMAIN, reason=reason_name(public.reason), metadata=error.facts()
            )
        )
    ]
    if isinstance(error, InvalidField):
        details.append(
            _packed(
                error_details_pb2.BadRequest(
                    field_violations=[{"field": error.field, "description": error.rule}]
                )
            )
        )
    if isinstance(error, HostBusy):
        retry = error_details_pb2.RetryInfo()
        retry.retry_delay.FromNanoseconds(int(error.retry_after_seconds * 1e9))
        details.append(_packed(retry))
    code: int = public.code.value[0]
    whole = status_pb2.Status(code=code, message=str(error), details=details)
    return public.code, str(error), ((STATUS_DETAILS_KEY, whole.SerializeToString()),)


def _packed(detail: Message) -> any_pb2.Any:
    packed = any_pb2.Any()
    packed.Pack(detail)
    return packed
