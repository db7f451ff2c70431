"""Domain value <-> row: which columns hold what, and how the JSON in them is read back."""

from collections.abc import Sequence
from hashlib import sha256
from typing import Any, Final, NewType

import msgspec
from sqlalchemy import Column, Row

from governor.domain.decision import Category
from governor.domain.execution import Execution
from governor.domain.gating import calls_waiting
from governor.domain.host_standing import UNMET, HostStanding
from governor.domain.request import (
    BlastRadius,
    Content,
    ExecutionMode,
    MutationRequest,
    PendingReason,
    Progress,
    Risk,
    Status,
)
from governor.domain.values import AuditId, Micros, RequestId, Revision, Value
from governor.storage import tables
from governor.usecases.commits import IdempotencyKey, StoredEntry

PENDING_BITS: Final = {
    PendingReason.APPROVAL: 1,
    PendingReason.SCHEDULE: 2,
    PendingReason.DEPENDENCY: 4,
    PendingReason.REVALIDATION: 8,
    PendingReason.AUDIT: 16,
    PendingReason.EXTERNAL_CHECK: 32,
    PendingReason.QUOTA: 64,
    PendingReason.MANUAL_REVIEW: 128,
    PendingReason.BATCH: 256,
}
"""What stands in `pending_mask`. A bit, once given, is never given to another reason."""

_NEEDS_SOMEBODY: Final = (
    PENDING_BITS[PendingReason.REVALIDATION] | PENDING_BITS[PendingReason.DEPENDENCY]
)
_CHECK: Final = PENDING_BITS[PendingReason.EXTERNAL_CHECK]


class _Fixed(Value, frozen=True, kw_only=True):
    """What of a request neither changes nor is content."""

    audit_id: AuditId
    requester: str
    expires_at: Micros
    supersedes: RequestId | None = None
    traceparent: str = ""
    compensated_traceparents: tuple[str, ...] = ()


_encode: Final = msgspec.json.Encoder().encode
_decode_fixed: Final = msgspec.json.Decoder(_Fixed).decode
_decode_content: Final = msgspec.json.Decoder(Content).decode
_decode_progress: Final = msgspec.json.Decoder(Progress).decode
_decode_execution: Final = msgspec.json.Decoder(Execution).decode
_decode_standing: Final = msgspec.json.Decoder(HostStanding).decode

# ---------------------------------------------------------------- requests

_r = tables.requests.c
NEW_REQUEST: Final[Sequence[Column[Any]]] = (
    _r.id,
    _r.tenant,
    _r.status,
    _r.pending_mask,
    _r.state_type,
    _r.state_id,
    _r.actor,
    _r.requester,
    _r.category,
    _r.risk,
    _r.blast_radius,
    _r.submitted_at,
    _r.submitted_revision,
    _r.due_at,
    _r.review_due_at,
    _r.waits,
    _r.unfinished,
    _r.revision,
    _r.fixed,
    _r.content,
    _r.payload,
    _r.progress,
)
CHANGED_REQUEST: Final[Sequence[Column[Any]]] = (
    _r.id,
    _r.status,
    _r.pending_mask,
    _r.due_at,
    _r.review_due_at,
    _r.waits,
    _r.unfinished,
    _r.revision,
    _r.progress,
)
LISTED_REQUEST: Final[Sequence[Column[Any]]] = (
    _r.id,
    _r.submitted_at,
    _r.submitted_revision,
    _r.revision,
    _r.fixed,
    _r.content,
    _r.progress,
)
WHOLE_REQUEST: Final[Sequence[Column[Any]]] = (*LISTED_REQUEST, _r.payload)


def new_request(request: MutationRequest, progress: bytes, *, waits: bool) -> tuple[object, ...]:
    """The row of a request that was not there. `progress` is `progress_bytes` of it, and `waits`
    says whether it has `new_waits`.
    """
    content = request.content
    intent, payload = content.intent, content.payload
    fixed = _Fixed(
        audit_id=request.audit_id,
        requester=request.requester,
        expires_at=request.expires_at,
        supersedes=request.supersedes,
        traceparent=request.traceparent,
        compensated_traceparents=request.compensated_traceparents,
    )
    mask = pending_mask(request)
    return (
        request.id,
        content.context.tenant,
        request.progress.status.value,
        mask,
        content.state.type,
        content.state.id,
        content.context.actor,
        request.requester,
        intent.category or None,
        intent.risk.value if intent.risk is not Risk.UNSPECIFIED else None,
        intent.blast_radius.value if intent.blast_radius is not BlastRadius.UNSPECIFIED else None,
        request.submitted_at,
        request.submitted_revision,
        request.due_at,
        review_due_at(request),
        waits,
        is_unfinished(request, mask),
        request.revision,
        _encode(fixed),
        _encode(content.but(payload=payload.but(data=b""))),
        payload.data,
        progress,
    )


def changed_request(
    request: MutationRequest, progress: bytes, *, waits: bool
) -> tuple[object, ...]:
    """What changes in the row of a request that is there."""
    mask = pending_mask(request)
    return (
        request.id,
        request.progress.status.value,
        mask,
        request.due_at,
        review_due_at(request),
        waits,
        is_unfinished(request, mask),
        request.revision,
        progress,
    )


def review_due_at(request: MutationRequest) -> Micros | None:
    """When the review is due that is still owed, be it overdue or not; None where none is."""
    review = request.progress.review
    return review.due_at if review is not None and review.is_open else None


def progress_bytes(request: MutationRequest) -> bytes:
    """Everything about a request that changes."""
    return _encode(request.progress)


def listed_request(row: Row[Any]) -> MutationRequest:
    """The request of a row of LISTED_REQUEST, its payload's data left empty."""
    return _request(row, _decode_content(row.content), _decode_progress(row.progress))


def whole_request(row: Row[Any]) -> MutationRequest:
    """The request of a row of WHOLE_REQUEST."""
    return _request(row, _whole_content(row), _decode_progress(row.progress))


def earlier_request(row: Row[Any], progress: bytes, revision: Revision) -> MutationRequest:
    """The request of a row of WHOLE_REQUEST as it stood at an earlier revision."""
    return _request(row, _whole_content(row), _decode_progress(progress)).but(revision=revision)


def _whole_content(row: Row[Any]) -> Content:
    content = _decode_content(row.content)
    return content.but(payload=content.payload.but(data=row.payload))


def _request(row: Row[Any], content: Content, progress: Progress) -> MutationRequest:
    fixed = _decode_fixed(row.fixed)
    return MutationRequest(
        id=row.id,
        audit_id=fixed.audit_id,
        content=content,
        requester=fixed.requester,
        submitted_at=row.submitted_at,
        expires_at=fixed.expires_at,
        supersedes=fixed.supersedes,
        traceparent=fixed.traceparent,
        compensated_traceparents=fixed.compensated_traceparents,
        progress=progress,
        submitted_revision=row.submitted_revision,
        revision=row.revision,
    )


def pending_mask(request: MutationRequest) -> int:
    """The pending reasons as bits."""
    mask = 0
    for pending in request.progress.pending:
        mask |= PENDING_BITS[pending.reason]
    return mask


def reasons_in(mask: int) -> tuple[PendingReason, ...]:
    """The reasons that the bits stand for."""
    return tuple(reason for reason, bit in PENDING_BITS.items() if mask & bit)


def is_unfinished(request: MutationRequest, mask: int) -> bool:
    """Whether somebody must see to it after a restart, beside the timers."""
    match request.progress.status:
        case Status.EXECUTING:
            return True
        case Status.APPROVED:
            return request.content.execution_mode is ExecutionMode.AUTOMATIC
        case Status.PENDING:
            return bool(mask & _NEEDS_SOMEBODY) or (
                bool(mask & _CHECK) and bool(calls_waiting(request))
            )
        case _:
            return False


# ---------------------------------------------------------------- executions

_e = tables.executions.c
NEW_EXECUTION: Final[Sequence[Column[Any]]] = (
    _e.id,
    _e.tenant,
    _e.request_id,
    _e.status,
    _e.active,
    _e.state_type,
    _e.state_id,
    _e.submitted_revision,
    _e.revision,
    _e.body,
)
CHANGED_EXECUTION: Final[Sequence[Column[Any]]] = (
    _e.id,
    _e.status,
    _e.active,
    _e.revision,
    _e.body,
)


def new_execution(execution: Execution) -> tuple[object, ...]:
    """The row of an execution that was not there."""
    return (
        execution.id,
        execution.tenant,
        execution.request_id,
        execution.status.value,
        execution.is_active,
        execution.state.type,
        execution.state.id,
        execution.submitted_revision,
        execution.revision,
        _encode(execution),
    )


def changed_execution(execution: Execution) -> tuple[object, ...]:
    """What changes in the row of an execution that is there."""
    return (
        execution.id,
        execution.status.value,
        execution.is_active,
        execution.revision,
        _encode(execution),
    )


def execution_of(body: bytes) -> Execution:
    """The execution in a `body`."""
    return _decode_execution(body)


# ---------------------------------------------------------------- the host

_h = tables.host_standing.c
HOST_STANDING: Final[Sequence[Column[Any]]] = (_h.id, _h.revision, _h.body)

_THE_HOST: Final = 1


def host_standing(standing: HostStanding) -> tuple[object, ...]:
    """The one row of HOST_STANDING."""
    return (_THE_HOST, standing.revision, _encode(standing))


def host_standing_of(row: Row[Any] | None) -> HostStanding:
    """The standing in the row, if there is one yet."""
    return _decode_standing(row.body) if row is not None else UNMET


# ---------------------------------------------------------------- ledger and keys

_l = tables.ledger.c
NEW_ENTRY: Final[Sequence[Column[Any]]] = (
    _l.revision,
    _l.tenant,
    _l.request_id,
    _l.execution_id,
    _l.category,
    _l.code,
    _l.actor,
    _l.at,
    _l.entry,
    _l.leaf_hash,
)
LISTED_ENTRY: Final[Sequence[Column[Any]]] = (
    _l.revision,
    _l.tenant,
    _l.request_id,
    _l.execution_id,
    _l.category,
    _l.code,
    _l.actor,
    _l.at,
    _l.entry,
)


def stored_entry(row: Row[Any]) -> StoredEntry:
    """The entry of a row of LISTED_ENTRY."""
    return StoredEntry(
        revision=row.revision,
        tenant=row.tenant,
        request_id=row.request_id,
        execution_id=row.execution_id,
        category=Category(row.category),
        code=row.code,
        actor=row.actor,
        at=row.at,
        data=row.entry,
    )


_k = tables.idempotency.c
NEW_KEY: Final[Sequence[Column[Any]]] = (
    _k.digest,
    _k.tenant,
    _k.actor,
    _k.rpc,
    _k.request_id,
    _k.fingerprint,
    _k.revision,
    _k.subject_id,
    _k.progress,
    _k.execution,
)

KeyDigest = NewType("KeyDigest", bytes)
"""What an idempotency key is looked up by."""

_KEY_DIGEST_BYTES: Final = 16


def key_digest(key: IdempotencyKey) -> KeyDigest:
    """Different for different keys: JSON tells where each part ends."""
    parts = _encode((key.tenant, key.actor, key.rpc, key.request_id))
    return KeyDigest(sha256(parts).digest()[:_KEY_DIGEST_BYTES])


def new_key(
    key: IdempotencyKey,
    revision: Revision,
    subject: tuple[RequestId, bytes] | None,
    execution: Execution | None,
) -> tuple[object, ...]:
    """The row of a key first used by a commit; `subject` is its request's id and progress."""
    return (
        key_digest(key),
        key.tenant,
        key.actor,
        key.rpc,
        key.request_id,
        key.fingerprint,
        revision,
        subject[0] if subject else None,
        subject[1] if subject else None,
        _encode(execution) if execution else None,
    )
