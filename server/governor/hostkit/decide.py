"""What a mutation comes to inside the host's transaction: the author's function and its frame."""

import logging
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Final, NamedTuple, assert_never

from governance.v1 import errors_pb2, mutation_engine_pb2
from governor.hostkit import codec
from governor.hostkit.errors import HostBusy, reason_name
from governor.hostkit.journal import Decided, Image, Past
from governor.hostkit.model import (
    Applied,
    CompensationKind,
    Host,
    Order,
    Refused,
    TransactionT,
)
from governor.hostkit.undoing import NOT_REVERSIBLE, captured, image_for, token_of

MUTATION_NOT_SUPPORTED: Final = reason_name(errors_pb2.ERROR_REASON_MUTATION_NOT_SUPPORTED)
TOO_LARGE: Final = reason_name(errors_pb2.ERROR_REASON_TOO_LARGE)
WRONG_STATE_TYPE: Final = "WRONG_STATE_TYPE"
HOST_FAULT: Final = "HOST_FAULT"
# A larger answer might not fit through the caller's channel, and would stay in doubt for ever.
OUTCOME_BYTES_MAX: Final = 1024 * 1024

_log = logging.getLogger(__name__)


class _Decision(NamedTuple):
    """An outcome, and what it takes to take it back."""

    response: mutation_engine_pb2.ApplyMutationResponse
    image: Image | None = None


def decide(
    host: Host[TransactionT],
    order: Order,
    transaction: TransactionT,
    *,
    recall: Callable[[TransactionT, str], Past],
    now: int,
) -> Decided:
    """Apply the order, or find out why not.

    Every way out but `HostBusy` is an outcome, so that it is remembered: also a mutation type that
    this version of the host does not know and an exception of the author's. The caller takes them
    for "never applied", and a delayed duplicate must not prove it wrong after the host was mended.
    """
    try:
        decision = _decision(host, order, transaction, recall, now)
        outcome = decision.response.SerializeToString()
        if len(outcome) > OUTCOME_BYTES_MAX:
            raise ValueError(f"the outcome has {len(outcome)} bytes of {OUTCOME_BYTES_MAX} allowed")
    except HostBusy:
        raise
    except Exception:  # noqa: BLE001 - an author may raise anything; it is logged and refused
        _log.exception("execution %s failed in %s", order.execution_id, order.type)
        fault = _refused(HOST_FAULT, "the host failed and applied nothing; see its log")
        return Decided(outcome=fault.SerializeToString(), keeps_effect=False)
    return Decided(
        outcome=outcome,
        keeps_effect=decision.response.HasField("applied"),
        image=decision.image,
    )


def preview(
    host: Host[TransactionT],
    order: Order,
    transaction: TransactionT,
    *,
    recall: Callable[[TransactionT, str], Past],
    now: int,
) -> mutation_engine_pb2.ValidateMutationResponse:
    """Say what the order would come to now. The caller undoes what it did."""
    current_version = host.version(transaction, order.tenant, order.state)
    unversioned = replace(order, expected_version=None)
    decided = decide(host, unversioned, transaction, recall=recall, now=now)
    response = mutation_engine_pb2.ApplyMutationResponse.FromString(decided.outcome)
    return codec.opinion(response, current_version=current_version)


def _decision(
    host: Host[TransactionT],
    order: Order,
    transaction: TransactionT,
    recall: Callable[[TransactionT, str], Past],
    now: int,
) -> _Decision:
    mutation_type = host.mutations.get(order.type)
    if mutation_type is None:
        return _refusal(MUTATION_NOT_SUPPORTED, f"this host does not know {order.type}")
    if len(order.payload) > host.payload_bytes_max:
        return _refusal(TOO_LARGE, f"the payload may have {host.payload_bytes_max} bytes")
    if mutation_type.state_type not in (None, order.state.type):
        return _refusal(WRONG_STATE_TYPE, f"{order.type} changes a {mutation_type.state_type}")
    change = partial(mutation_type.apply, transaction, order)
    if order.compensation is not None and order.compensation.kind is CompensationKind.ROLLBACK:
        if mutation_type.undo is None:
            return _refusal(NOT_REVERSIBLE, f"{order.type} cannot be taken back")
        past = recall(transaction, order.compensation.execution_id)
        before = image_for(order, order.compensation, past, now=now)
        if isinstance(before, Refused):
            return _Decision(codec.refused(before))
        change = partial(mutation_type.undo.restore, transaction, order, before)
    previous_version = host.version(transaction, order.tenant, order.state)
    if order.expected_version not in (None, previous_version):
        return _Decision(codec.version_mismatch(current_version=previous_version))
    image = captured(host, mutation_type, order, transaction, now=now)
    answer = change()
    match answer:
        case Refused():
            return _Decision(codec.refused(answer))
        case Applied():
            response = codec.applied(
                answer,
                previous_version=previous_version,
                resulting_version=host.version(transaction, order.tenant, order.state),
                undo_token=b"" if image is None else token_of(order.execution_id),
                undo_expires_at=None if image is None else image.expires_at,
            )
            return _Decision(response, image)
        case _:
            assert_never(answer)


def _refusal(code: str, message: str) -> _Decision:
    return _Decision(_refused(code, message))


def _refused(code: str, message: str) -> mutation_engine_pb2.ApplyMutationResponse:
    return codec.refused(Refused(code=code, message=message))
