"""How every refusal is told to a caller: one table from error class to gRPC code and reason.

What is not in the table is a fault of the server: the caller gets an incident id, the log gets the
rest.
"""

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

import grpc
from google.protobuf import any_pb2
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2

from governance.v1 import errors_pb2
from governor.domain import errors
from governor.domain.errors import GovernorError
from governor.wire.checking import Violation
from governor.wire.limits import STATUS_BYTES_MAX, VIOLATIONS_TOLD_MAX

log = logging.getLogger(__name__)

DOMAIN: Final = "governor"
STATUS_KEY: Final = "grpc-status-details-bin"
_REASON_PREFIX: Final = "ERROR_REASON_"
_MESSAGE_CHARACTERS_MAX: Final = 256
_FACT_CHARACTERS_MAX: Final = 256

Reason: TypeAlias = errors_pb2.ErrorReason.ValueType


class InvalidFields(GovernorError):
    """Fields break their rules of shape."""

    def __init__(self, violations: Sequence[Violation]) -> None:
        first = violations[0]
        more = f" (and {len(violations) - 1} more)" if len(violations) > 1 else ""
        super().__init__(f"{first.field}: {first.fact}{more}", violations=str(len(violations)))
        self.violations = violations


class TooLarge(GovernorError):
    """The message is larger than the server takes."""

    def __init__(self, size_bytes: int, limit_bytes: int) -> None:
        super().__init__(
            f"the message has {size_bytes} bytes, the server takes {limit_bytes}",
            limit_bytes=str(limit_bytes),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Public:
    """How an error is told. `retry_seconds` is what RetryInfo advises; None sends none.

    `precondition` is the fact that names what did not hold; None sends no PreconditionFailure.
    """

    code: grpc.StatusCode
    reason: Reason
    retry_seconds: float | None = None
    precondition: str | None = None


PUBLIC: Final[Mapping[type[GovernorError], Public]] = {
    InvalidFields: Public(
        code=grpc.StatusCode.INVALID_ARGUMENT, reason=errors_pb2.ERROR_REASON_INVALID_FIELD
    ),
    errors.InvalidField: Public(
        code=grpc.StatusCode.INVALID_ARGUMENT, reason=errors_pb2.ERROR_REASON_INVALID_FIELD
    ),
    TooLarge: Public(
        code=grpc.StatusCode.INVALID_ARGUMENT, reason=errors_pb2.ERROR_REASON_TOO_LARGE
    ),
    errors.BadPageToken: Public(
        code=grpc.StatusCode.INVALID_ARGUMENT, reason=errors_pb2.ERROR_REASON_BAD_PAGE_TOKEN
    ),
    errors.Unauthenticated: Public(
        code=grpc.StatusCode.UNAUTHENTICATED, reason=errors_pb2.ERROR_REASON_UNAUTHENTICATED
    ),
    errors.MissingRole: Public(
        code=grpc.StatusCode.PERMISSION_DENIED, reason=errors_pb2.ERROR_REASON_MISSING_ROLE
    ),
    errors.NotEligible: Public(
        code=grpc.StatusCode.PERMISSION_DENIED, reason=errors_pb2.ERROR_REASON_NOT_ELIGIBLE
    ),
    errors.NotFound: Public(
        code=grpc.StatusCode.NOT_FOUND, reason=errors_pb2.ERROR_REASON_NOT_FOUND
    ),
    errors.IllegalTransition: Public(
        code=grpc.StatusCode.FAILED_PRECONDITION,
        reason=errors_pb2.ERROR_REASON_ILLEGAL_TRANSITION,
        precondition="status",
    ),
    errors.DigestMismatch: Public(
        code=grpc.StatusCode.FAILED_PRECONDITION,
        reason=errors_pb2.ERROR_REASON_DIGEST_MISMATCH,
        precondition="expected",
    ),
    errors.UnsatisfiableApproval: Public(
        code=grpc.StatusCode.FAILED_PRECONDITION,
        reason=errors_pb2.ERROR_REASON_UNSATISFIABLE_APPROVAL,
        precondition="step",
    ),
    errors.BatchGoverns: Public(
        code=grpc.StatusCode.FAILED_PRECONDITION,
        reason=errors_pb2.ERROR_REASON_BATCH_GOVERNS,
        precondition="batch",
    ),
    errors.DependencyFailed: Public(
        code=grpc.StatusCode.FAILED_PRECONDITION,
        reason=errors_pb2.ERROR_REASON_DEPENDENCY_FAILED,
        precondition="id",
    ),
    errors.DependencyCycle: Public(
        code=grpc.StatusCode.FAILED_PRECONDITION,
        reason=errors_pb2.ERROR_REASON_DEPENDENCY_CYCLE,
        precondition="id",
    ),
    errors.PlanMismatch: Public(
        code=grpc.StatusCode.FAILED_PRECONDITION,
        reason=errors_pb2.ERROR_REASON_PLAN_MISMATCH,
        precondition="expected",
    ),
    errors.NoVote: Public(
        code=grpc.StatusCode.FAILED_PRECONDITION,
        reason=errors_pb2.ERROR_REASON_NO_VOTE,
        precondition="actor",
    ),
    errors.NotWaiting: Public(
        code=grpc.StatusCode.FAILED_PRECONDITION,
        reason=errors_pb2.ERROR_REASON_NOT_WAITING,
        precondition="name",
    ),
    errors.ReviewOverdue: Public(
        code=grpc.StatusCode.FAILED_PRECONDITION,
        reason=errors_pb2.ERROR_REASON_REVIEW_OVERDUE,
        precondition="id",
    ),
    errors.NoReviewOpen: Public(
        code=grpc.StatusCode.FAILED_PRECONDITION,
        reason=errors_pb2.ERROR_REASON_NO_REVIEW_OPEN,
        precondition="status",
    ),
    errors.NotInDoubt: Public(
        code=grpc.StatusCode.FAILED_PRECONDITION,
        reason=errors_pb2.ERROR_REASON_NOT_IN_DOUBT,
        precondition="status",
    ),
    errors.NotExecuted: Public(
        code=grpc.StatusCode.FAILED_PRECONDITION,
        reason=errors_pb2.ERROR_REASON_NOT_EXECUTED,
        precondition="status",
    ),
    errors.NotReversible: Public(
        code=grpc.StatusCode.FAILED_PRECONDITION,
        reason=errors_pb2.ERROR_REASON_NOT_REVERSIBLE,
        precondition="cause",
    ),
    errors.AlreadyCompensated: Public(
        code=grpc.StatusCode.FAILED_PRECONDITION,
        reason=errors_pb2.ERROR_REASON_ALREADY_COMPENSATED,
        precondition="id",
    ),
    errors.UndoExpired: Public(
        code=grpc.StatusCode.FAILED_PRECONDITION,
        reason=errors_pb2.ERROR_REASON_UNDO_EXPIRED,
        precondition="expired",
    ),
    errors.HostHeld: Public(
        code=grpc.StatusCode.FAILED_PRECONDITION,
        reason=errors_pb2.ERROR_REASON_HOST_HELD,
        precondition="hold",
    ),
    errors.HostNotHeld: Public(
        code=grpc.StatusCode.FAILED_PRECONDITION,
        reason=errors_pb2.ERROR_REASON_HOST_NOT_HELD,
        precondition="lineage_id",
    ),
    errors.LineageMismatch: Public(
        code=grpc.StatusCode.FAILED_PRECONDITION,
        reason=errors_pb2.ERROR_REASON_LINEAGE_MISMATCH,
        precondition="announced",
    ),
    errors.RequestIdReused: Public(
        code=grpc.StatusCode.ALREADY_EXISTS, reason=errors_pb2.ERROR_REASON_REQUEST_ID_REUSED
    ),
    errors.EtagMismatch: Public(
        code=grpc.StatusCode.ABORTED, reason=errors_pb2.ERROR_REASON_ETAG_MISMATCH
    ),
    errors.Conflict: Public(
        code=grpc.StatusCode.ABORTED, reason=errors_pb2.ERROR_REASON_CONFLICT, retry_seconds=0.1
    ),
    errors.StateBusy: Public(
        code=grpc.StatusCode.FAILED_PRECONDITION,
        reason=errors_pb2.ERROR_REASON_STATE_BUSY,
        retry_seconds=1.0,
    ),
    errors.RevisionAhead: Public(
        code=grpc.StatusCode.OUT_OF_RANGE, reason=errors_pb2.ERROR_REASON_REVISION_AHEAD
    ),
    errors.WrongStore: Public(
        code=grpc.StatusCode.OUT_OF_RANGE, reason=errors_pb2.ERROR_REASON_WRONG_STORE
    ),
    errors.SlowConsumer: Public(
        code=grpc.StatusCode.RESOURCE_EXHAUSTED,
        reason=errors_pb2.ERROR_REASON_SLOW_CONSUMER,
        retry_seconds=0.0,
    ),
    errors.Overloaded: Public(
        code=grpc.StatusCode.RESOURCE_EXHAUSTED,
        reason=errors_pb2.ERROR_REASON_OVERLOADED,
        retry_seconds=1.0,
    ),
    errors.Draining: Public(
        code=grpc.StatusCode.UNAVAILABLE,
        reason=errors_pb2.ERROR_REASON_DRAINING,
        retry_seconds=1.0,
    ),
    errors.StoreUnavailable: Public(
        code=grpc.StatusCode.UNAVAILABLE,
        reason=errors_pb2.ERROR_REASON_STORE_UNAVAILABLE,
        retry_seconds=1.0,
    ),
    errors.HostUnavailable: Public(
        code=grpc.StatusCode.UNAVAILABLE,
        reason=errors_pb2.ERROR_REASON_HOST_UNAVAILABLE,
        retry_seconds=1.0,
    ),
    errors.DirectoryUnavailable: Public(
        code=grpc.StatusCode.UNAVAILABLE,
        reason=errors_pb2.ERROR_REASON_DIRECTORY_UNAVAILABLE,
        retry_seconds=1.0,
    ),
}

INTERNAL: Final = Public(code=grpc.StatusCode.INTERNAL, reason=errors_pb2.ERROR_REASON_INTERNAL)

FROM_HOSTS: Final[frozenset[Reason]] = frozenset(
    {
        errors_pb2.ERROR_REASON_FENCED,
        errors_pb2.ERROR_REASON_EXECUTION_DIGEST_MISMATCH,
        errors_pb2.ERROR_REASON_MUTATION_NOT_SUPPORTED,
        errors_pb2.ERROR_REASON_HOST_BUSY,
    }
)
"""The reasons that only a host gives."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """What is sent in place of an answer."""

    code: grpc.StatusCode
    reason: str
    message: str
    details: bytes

    @property
    def trailing_metadata(self) -> tuple[tuple[str, bytes], ...]:
        """The google.rpc.Status in the place where clients look for it."""
        return ((STATUS_KEY, self.details),)


class Refused(Exception):
    """Ends a call with a refusal."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.reason)
        self.refusal = refusal


def refusal_of(error: GovernorError) -> Refusal:
    """How a known error is told. An error of a class without a row raises LookupError."""
    public = public_of(type(error))
    facts = {key: _cut(fact, _FACT_CHARACTERS_MAX) for key, fact in error.facts.items()}
    return _refusal(public, error.message, facts, _details(public, error))


def fault_refusal(error: BaseException, method: str, incident_id: Callable[[], str]) -> Refusal:
    """How a fault is told, which is not at all; it is logged under the id that the caller gets."""
    incident = incident_id()
    log.error(
        "a call failed",
        exc_info=error,
        extra={"incident": incident, "method": method},
    )
    return _refusal(INTERNAL, f"internal error; incident {incident}", {"incident": incident}, ())


def public_of(kind: type[GovernorError]) -> Public:
    """The row of an error class: its own, or that of the nearest class above it."""
    for ancestor in kind.__mro__:
        if (public := PUBLIC.get(ancestor)) is not None:
            return public
    raise LookupError(f"{kind.__name__} has no row in the table of errors")


def reason_name(reason: Reason) -> str:
    """As ErrorInfo has it."""
    return errors_pb2.ErrorReason.Name(reason).removeprefix(_REASON_PREFIX)


def _details(public: Public, error: GovernorError) -> Iterable[Message]:
    if isinstance(error, InvalidFields):
        yield _bad_request(error.violations)
    elif isinstance(error, errors.InvalidField):
        yield _bad_request((Violation(error.field, error.fact),))
    if public.precondition is not None:
        yield error_details_pb2.PreconditionFailure(
            violations=[
                {
                    "type": reason_name(public.reason),
                    "subject": _cut(error.facts.get(public.precondition, ""), _FACT_CHARACTERS_MAX),
                    "description": _cut(error.message, _MESSAGE_CHARACTERS_MAX),
                }
            ]
        )
    if public.retry_seconds is not None:
        retry = error_details_pb2.RetryInfo()
        retry.retry_delay.FromMilliseconds(round(public.retry_seconds * 1000))
        yield retry


def _bad_request(violations: Iterable[Violation]) -> error_details_pb2.BadRequest:
    """As many violations as fit: what follows is told once these are mended."""
    told = error_details_pb2.BadRequest()
    for violation in violations:
        row = told.field_violations.add(
            field=_cut(violation.field, _FACT_CHARACTERS_MAX),
            description=_cut(violation.fact, _FACT_CHARACTERS_MAX),
        )
        too_long = told.ByteSize() > STATUS_BYTES_MAX - 4 * _MESSAGE_CHARACTERS_MAX
        if too_long or len(told.field_violations) > VIOLATIONS_TOLD_MAX:
            told.field_violations.remove(row)
            break
    return told


def _refusal(
    public: Public, message: str, facts: Mapping[str, str], details: Iterable[Message]
) -> Refusal:
    reason = reason_name(public.reason)
    told = _cut(message, _MESSAGE_CHARACTERS_MAX)
    info = error_details_pb2.ErrorInfo(domain=DOMAIN, reason=reason, metadata=facts)
    code: int = public.code.value[0]
    status = status_pb2.Status(
        code=code, message=told, details=[_packed(detail) for detail in (info, *details)]
    )
    return Refusal(
        code=public.code, reason=reason, message=told, details=status.SerializeToString()
    )


def _packed(detail: Message) -> any_pb2.Any:
    packed = any_pb2.Any()
    packed.Pack(detail)
    return packed


def _cut(text: str, characters_max: int) -> str:
    return text if len(text) <= characters_max else text[: characters_max - 1] + "…"
