"""The messages the benchmark sends: a submission of ordinary size, numbered by the generator."""

from google.protobuf.duration_pb2 import Duration

from governance.v1 import governance_service_pb2 as service
from governance.v1 import mutation_pb2, request_pb2

NUMBER = "#" * 12
"""Replaced by the generator with the call's number, so that every call is a new request on a state
of its own."""


def submit_template(*, on_execute: bool, wait: bool) -> bytes:
    """A serialised SubmitRequest with NUMBER in its request_id and state id."""
    mode = request_pb2.EXECUTION_MODE_AUTOMATIC
    if on_execute:
        mode = request_pb2.EXECUTION_MODE_ON_EXECUTE
    request = service.SubmitRequest(
        request_id=f"bench-{NUMBER}",
        context=mutation_pb2.RuntimeContext(
            tenant="bench", environment="production", service="checkout", region="eu-west-1"
        ),
        mutation=mutation_pb2.Mutation(
            type="flag.set",
            state=mutation_pb2.StateRef(type="flag", id=f"bench.{NUMBER}"),
            payload=mutation_pb2.Payload(
                content_type="application/json", data=b'{"enabled":true,"rollout_percent":50}'
            ),
            expected_version="",
            stale_strategy=mutation_pb2.STALE_STRATEGY_REJECT_STALE,
        ),
        intent=mutation_pb2.Intent(category="rollout", risk=mutation_pb2.RISK_LOW),
        justification="half of the traffic, as agreed in the release meeting",
        tags=["release-42"],
        execution_mode=mode,
        wait=Duration(seconds=20) if wait else None,
    )
    return request.SerializeToString()


def submitted_bytes() -> int:
    """About the size of the answer to such a submission, for the echo to answer with."""
    return 700
