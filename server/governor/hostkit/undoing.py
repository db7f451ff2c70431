"""Taking changes back: the image before a change, its token, and whether it is still good."""

import logging
from typing import Final

from governance.v1 import mutation_engine_pb2
from governor.hostkit.journal import Image, Past
from governor.hostkit.model import (
    Compensation,
    Host,
    MutationType,
    Order,
    Refused,
    TransactionT,
)

NOT_REVERSIBLE: Final = "NOT_REVERSIBLE"
UNDO_EXPIRED: Final = "UNDO_EXPIRED"
UNKNOWN_EXECUTION: Final = "UNKNOWN_EXECUTION"
IMAGE_BYTES_MAX: Final = 1024 * 1024
MICROS_PER_SECOND: Final = 1_000_000

_log = logging.getLogger(__name__)


def token_of(execution_id: str) -> bytes:
    """Return the token of an execution's image: its key, for the image itself stays here."""
    return execution_id.encode()


def captured(
    host: Host[TransactionT],
    mutation_type: MutationType[TransactionT],
    order: Order,
    transaction: TransactionT,
    *,
    now: int,
) -> Image | None:
    """Take the image of the state that is about to change, if that can be undone at all."""
    if mutation_type.undo is None:
        return None
    before = mutation_type.undo.capture(transaction, order.tenant, order.state)
    if before is None:
        return None
    if len(before) > IMAGE_BYTES_MAX:
        _log.warning(
            "execution %s cannot be undone: its image has %d bytes of %d",
            *(order.execution_id, len(before), IMAGE_BYTES_MAX),
        )
        return None
    retention = host.undo_retention_seconds
    return Image(
        tenant=order.tenant,
        mutation_type=order.type,
        state=order.state,
        before=before,
        taken_at=now,
        expires_at=None if retention is None else now + retention * MICROS_PER_SECOND,
    )


def image_for(order: Order, compensation: Compensation, past: Past, *, now: int) -> bytes | Refused:
    """Return what a rollback is to restore, or why it cannot be."""
    execution_id = compensation.execution_id
    if past.conclusion is None:
        return _unknown(f"no execution {execution_id} was applied here")
    outcome = mutation_engine_pb2.ApplyMutationResponse.FromString(past.conclusion.outcome)
    if not outcome.HasField("applied"):
        return _unknown(f"execution {execution_id} was not applied")
    if not outcome.applied.undo_token:
        return Refused(
            code=NOT_REVERSIBLE, message=f"nothing was kept to take execution {execution_id} back"
        )
    if outcome.applied.undo_token != compensation.undo_token:
        return _unknown(f"the undo token is not that of execution {execution_id}")
    image = past.image
    if image is None or (image.expires_at is not None and now >= image.expires_at):
        return Refused(
            code=UNDO_EXPIRED,
            message=f"what execution {execution_id} has changed is no longer kept",
        )
    if (image.tenant, image.mutation_type, image.state) != (order.tenant, order.type, order.state):
        return _unknown(f"execution {execution_id} changed another state, or was of another type")
    return image.before


def _unknown(message: str) -> Refused:
    return Refused(code=UNKNOWN_EXECUTION, message=message)
