"""What a mutation comes to inside the host's transaction: the author's function and its frame."""

import logging
from dataclasses import replace
from typing import Final, assert_never

from governance.v1 import errors_pb2, mutation_engine_pb2
from governor.hostkit import codec
from governor.hostkit.errors import HostBusy, reason_name
from governor.hostkit.journal import Decided
from governor.hostkit.model import Applied, Host, Order, Refused, TransactionT

MUTATION_NOT_SUPPORTED: Final = reason_name(errors_pb2.ERROR_REASON_MUTATION_NOT_SUPPORTED)
TOO_LARGE: Final = reason_name(errors_pb2.ERROR_REASON_TOO_LARGE)
WRONG_STATE_TYPE: Final = "WRONG_STATE_TYPE"
HOST_FAULT: Final = "HOST_FAULT"
# A larger answer might not fit through the caller's channel, and would stay in doubt for ever.
OUTCOME_BYTES_MAX: Final = 1024 * 1024

_log = logging.getLogger(__name__)


def decide(host: Host[TransactionT], order: Order, transaction: TransactionT) -> Decided:
    """Apply the order, or find out why not.

    Every way out but `HostBusy` is an outcome, so that it is remembered: also a mutation type that
    this version of the host does not know and an exception of the author's. The caller takes them
    for "never applied", and a delayed duplicate must not prove it wrong after the host was mended.
    """
    try:
        response = _outcome(host, order, transaction)
        outcome = response.SerializeToString()
        if len(outcome) > OUTCOME_BYTES_MAX:
            raise ValueError(f"the outcome has {len(outcome)} bytes of {OUTCOME_BYTES_MAX} allowed")
    except HostBusy:
        raise
    except Exception:  # noqa: BLE001 - an author may raise anything; it is logged and refused
        _log.exception("execution %s failed in %s", order.execution_id, order.type)
        fault = _refused(HOST_FAULT, "the host failed and applied nothing; see its log")
        return Decided(outcome=fault.SerializeToString(), keeps_effect=False)
    return Decided(outcome=outcome, keeps_effect=response.HasField("applied"))


def preview(
    host: Host[TransactionT], order: Order, transaction: TransactionT
) -> mutation_engine_pb2.ValidateMutationResponse:
    """Say what the order would come to now. The caller undoes what it did."""
    current_version = host.version(transaction, order.tenant, order.state)
    decided = decide(host, replace(order, expected_version=None), transaction)
    response = mutation_engine_pb2.ApplyMutationResponse.FromString(decided.outcome)
    return codec.opinion(response, current_version=current_version)


def _outcome(
    host: Host[TransactionT], order: Order, transaction: TransactionT
) -> mutation_engine_pb2.ApplyMutationResponse:
    mutation_type = host.mutations.get(order.type)
    if mutation_type is None:
        return _refused(MUTATION_NOT_SUPPORTED, f"this host does not know {order.type}")
    if len(order.payload) > host.payload_bytes_max:
        return _refused(TOO_LARGE, f"the payload may have {host.payload_bytes_max} bytes")
    if mutation_type.state_type not in (None, order.state.type):
        return _refused(WRONG_STATE_TYPE, f"{order.type} changes a {mutation_type.state_type}")
    before = host.version(transaction, order.tenant, order.state)
    if order.expected_version not in (None, before):
        return codec.version_mismatch(current_version=before)
    answer = mutation_type.apply(transaction, order)
    match answer:
        case Refused():
            return codec.refused(answer)
        case Applied():
            after = host.version(transaction, order.tenant, order.state)
            return codec.applied(answer, previous_version=before, resulting_version=after)
        case _:
            assert_never(answer)


def _refused(code: str, message: str) -> mutation_engine_pb2.ApplyMutationResponse:
    return codec.refused(Refused(code=code, message=message))
