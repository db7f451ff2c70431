"""What a refused or failed call looks like to a person, and how the command then ends."""

from typing import cast

import grpc
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from governor.cli.console import Output
from governor.cli.exits import ExitCode
from governor.cli.texts import safe

# Nothing is known to have happened; the same call may be sent again.
_NO_ANSWER = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)


def explain(error: grpc.RpcError, output: Output, *, address: str, request_id: str) -> ExitCode:
    """Prints the reason, its words and its facts, and answers the exit code."""
    # Every error that a call raises is the call as well.
    status = rpc_status.from_call(cast(grpc.Call, error))
    info, violations = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest()
    retry = error_details_pb2.RetryInfo()
    for detail in status.details if status else ():
        for known in (info, violations, retry):
            if detail.Is(known.DESCRIPTOR):
                detail.Unpack(known)
    no_answer = error.code() in _NO_ANSWER
    verb = "unavailable" if no_answer else "refused"
    reason = f"{info.reason or error.code().name}: {error.details() or 'no words'}"
    output.note(f"{verb}: {safe(reason)}")
    for name in sorted(info.metadata):
        output.note(f"  {safe(name)}: {safe(info.metadata[name])}")
    for violation in violations.field_violations:
        output.note(f"  {safe(violation.field)}: {safe(violation.description)}")
    if retry.HasField("retry_delay"):
        output.note(f"  try again in {retry.retry_delay.ToMilliseconds()} ms")
    if no_answer:
        output.note(f"  asked: {safe(address)}")
        if request_id:
            output.note(f"  safe to repeat with: --request-id {request_id}")
    return ExitCode.UNAVAILABLE if no_answer else ExitCode.REFUSED
