"""The law of one execution: promises 2, 3 and 4 as functions from a record to the next one."""

from dataclasses import replace

from governor.hostkit.errors import ExecutionDigestMismatch, Fenced
from governor.hostkit.journal import Claim, Conclusion, Inquiry, Record


def admit(record: Record | None, claim: Claim) -> Record:
    """Return the record that a claim leaves behind; without a conclusion, it is decided now.

    Every answer that ends an execution is an outcome, also `refused` and `version_mismatch`: the
    caller closes the execution on it, so a delayed duplicate of the call must find it again and not
    a state that happens to suit it by then.
    """
    if record is None:
        return Record(execution_id=claim.execution_id, fencing_token=claim.fencing_token)
    _require_highest(record, claim.fencing_token)
    if record.fenced:
        # A tombstone outranks every token: it was the ground for calling the request not applied.
        raise Fenced(execution_id=claim.execution_id, fencing_token=record.fencing_token)
    concluded = record.conclusion
    if concluded is not None and concluded.request_digest != claim.request_digest:
        raise ExecutionDigestMismatch(execution_id=claim.execution_id)
    return replace(record, fencing_token=claim.fencing_token)


def conclude(claim: Claim, outcome: bytes) -> Record:
    """Return the record of an admitted claim once it has come to an outcome."""
    return Record(
        execution_id=claim.execution_id,
        fencing_token=claim.fencing_token,
        conclusion=Conclusion(request_digest=claim.request_digest, outcome=outcome),
    )


def inquire(record: Record | None, inquiry: Inquiry) -> Record:
    """Return the record that an inquiry leaves behind, which also is its answer."""
    if record is None:
        record = Record(execution_id=inquiry.execution_id, fencing_token=inquiry.fencing_token)
    _require_highest(record, inquiry.fencing_token)
    return replace(
        record,
        fencing_token=inquiry.fencing_token,
        fenced=record.fenced or (inquiry.fence and record.conclusion is None),
    )


def _require_highest(record: Record, fencing_token: int) -> None:
    if fencing_token < record.fencing_token:
        raise Fenced(execution_id=record.execution_id, fencing_token=record.fencing_token)
