"""The host as an answer to callers."""

from governance.v1 import host_pb2
from governor.domain.host_standing import Hold
from governor.usecases.commands import HostSeen
from governor.wire.codec import values
from governor.wire.codec.enums import CIRCUIT, HOLD_CODE


def put_host(target: host_pb2.Host, seen: HostSeen) -> None:
    """Sets `target` to the host as it is known."""
    if (capabilities := seen.capabilities) is not None:
        target.name = capabilities.host_name
        target.contract_version = capabilities.contract_version
        target.exactly_once = capabilities.exactly_once
        target.compare_and_apply = capabilities.compare_and_apply
        target.lineage_id = capabilities.lineage_id
    target.trusted_lineage_id = seen.standing.lineage_id
    if seen.standing.hold is not None:
        _put_hold(target.hold, seen.standing.hold)
    target.circuit = CIRCUIT.to_wire[seen.condition.circuit]
    if seen.condition.reached_at is not None:
        values.put_moment(target.reached_time, seen.condition.reached_at)
    target.revision = seen.standing.revision


def _put_hold(target: host_pb2.HostHold, hold: Hold) -> None:
    target.code = HOLD_CODE.to_wire[hold.code]
    values.put_moment(target.since_time, hold.since)
    target.detail = hold.detail
    target.facts.update(hold.facts)
