"""What can be wrong with a store, and the pure checks that find it."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from enum import Enum
from typing import Any, Final

from sqlalchemy import Row

from governor.domain.break_glass import ReviewStatus
from governor.domain.decision import Category, Code
from governor.domain.digest import request_digest
from governor.domain.executing import outcome_digest
from governor.domain.execution import Execution, ExecutionStatus
from governor.domain.host_standing import HostStanding, standing_told
from governor.domain.ledger import EMPTY, Checkpoint, leaf_hash
from governor.domain.request import MutationRequest
from governor.domain.values import ExecutionId, RequestId, Revision, Value
from governor.storage import labels, rows
from governor.usecases.commits import Entry, Head

EntryDecoder = Callable[[bytes], Entry]
"""Reads the bytes of a ledger entry, which the store never looks into; raises ValueError."""


class Fault(Enum):
    """Each fault in a sentence."""

    STORE_UNREADABLE = "a part of the store cannot be read"
    FILE_DAMAGED = "the database file contradicts itself"
    ENTRY_MISSING = "the ledger has a gap"
    ENTRY_CHANGED = "the entry's bytes are not those that were hashed"
    ENTRY_UNREADABLE = "the entry's bytes are no entry"
    ENTRY_MISFILED = "the entry is filed under something else than its bytes say"
    ENTRY_SUBJECT = "the entry is about no request, or about one, where its category says otherwise"
    HEAD_SIZE = "the head counts another number of entries"
    HEAD_ROOT = "the head's root is not the root over the entries"
    HEAD_FRONTIER = "the head's frontier is not that of the entries"
    CHECKPOINT_OF_ANOTHER_STORE = "the checkpoint was taken from another store"
    FORMER_STORE_SIZE = "the ledger has not reached the size at which the store was restored"
    TAIL_REMOVED = "the ledger is shorter than it was at the checkpoint"
    HISTORY_REWRITTEN = "the entries up to the checkpoint are not those it was taken over"
    REQUEST_MISSING = "the ledger tells of a request that is not there"
    REQUEST_UNRECORDED = "the ledger does not tell of the request"
    REQUEST_BEGINNING = "the ledger's first word of the request is not that it was submitted"
    REQUEST_UNREADABLE = "the request's row cannot be read"
    REQUEST_MISFILED = "the request is filed under something else than it says"
    REQUEST_CONTENT = "the request's content is not what was submitted"
    REQUEST_DIGEST = "the request's digest is not that of its last decision"
    REQUEST_STATUS = "the request's status is not that of its last decision"
    REQUEST_REVIEW = "the review that the request owes is not what its decisions say"
    REQUEST_COMPENSATION = "what was to compensate the request, or has, is not what decisions say"
    REQUEST_REVISION = "the request's revisions do not enclose its decisions"
    REQUEST_UNLISTED = "the request is not found by something that it says"
    REQUEST_LISTED = "requests are found by something that they do not say"
    EXECUTION_MISSING = "the ledger tells of an execution that is not there"
    EXECUTION_UNRECORDED = "the ledger does not tell of the execution"
    EXECUTION_UNREADABLE = "the execution's row cannot be read"
    EXECUTION_MISFILED = "the execution is filed under something else than it says"
    EXECUTION_STATUS = "the execution's status is not what its last decision says"
    EXECUTION_OUTCOME = "the execution's outcome is not the one that was recorded"
    HOST_MISSING = "the ledger tells of the host, whose standing is not there"
    HOST_UNRECORDED = "the ledger does not tell of the host's standing"
    HOST_UNREADABLE = "the host's standing cannot be read"
    HOST_STANDING = "the host's standing is not what its last decision says"


class Finding(Value, frozen=True, kw_only=True):
    """One fault, and where it is."""

    fault: Fault
    revision: Revision | None = None
    request_id: RequestId | None = None
    execution_id: ExecutionId | None = None
    detail: str = ""


# ---------------------------------------------------------------- the ledger


class FormerStore(Value, frozen=True, kw_only=True):
    """What the store was before it was restored, and how far its ledger reached then."""

    store_id: str
    size: int


class LedgerCheck:
    """Walks the ledger once, in order, and keeps what its tree comes to."""

    def __init__(self, decode: EntryDecoder, checkpoint: Checkpoint | None) -> None:
        self._decode = decode
        self._checkpoint = checkpoint
        self._root_at_checkpoint = EMPTY.root() if checkpoint and not checkpoint.size else None
        self._last = Revision(0)
        self.tree = EMPTY

    def entries(self, page: Sequence[Row[Any]]) -> Iterator[Finding]:
        """The next rows of the ledger."""
        for row in page:
            if row.revision != self._last + 1:
                missing = row.revision - self._last - 1
                yield Finding(
                    fault=Fault.ENTRY_MISSING,
                    revision=Revision(self._last + 1),
                    detail=f"{missing} entries" if missing > 0 else f"{row.revision} comes instead",
                )
            self._last = row.revision
            yield from self._entry(row)
        self._grow([leaf_hash(row.entry) for row in page])

    def _entry(self, row: Row[Any]) -> Iterator[Finding]:
        if leaf_hash(row.entry) != row.leaf_hash:
            yield Finding(fault=Fault.ENTRY_CHANGED, revision=row.revision)
        try:
            entry = self._decode(row.entry)
        except ValueError:
            yield Finding(fault=Fault.ENTRY_UNREADABLE, revision=row.revision)
            return
        for name, said in _columns(entry).items():
            if said != getattr(row, name):
                yield Finding(fault=Fault.ENTRY_MISFILED, revision=row.revision, detail=name)
        if not _has_its_subject(entry):
            yield Finding(fault=Fault.ENTRY_SUBJECT, revision=row.revision)

    def _grow(self, leaves: Sequence[bytes]) -> None:
        checkpoint = self._checkpoint
        if checkpoint and self.tree.size < checkpoint.size <= self.tree.size + len(leaves):
            until = checkpoint.size - self.tree.size
            self._root_at_checkpoint = self.tree.extend(leaves[:until]).root()
        self.tree = self.tree.extend(leaves)

    def end(self, head: Head, frontier: bytes, former: Sequence[FormerStore]) -> Iterator[Finding]:
        """The head, what the store was before, and the checkpoint if there is one."""
        if head.revision != self.tree.size:
            detail = f"{head.revision} instead of {self.tree.size}"
            yield Finding(fault=Fault.HEAD_SIZE, detail=detail)
        if head.root != self.tree.root():
            yield Finding(fault=Fault.HEAD_ROOT)
        if frontier != self.tree.to_bytes():
            yield Finding(fault=Fault.HEAD_FRONTIER)
        for earlier in former:
            if earlier.size > self.tree.size:
                detail = f"{self.tree.size} instead of at least {earlier.size} entries"
                yield Finding(fault=Fault.FORMER_STORE_SIZE, detail=detail)
        if self._checkpoint is not None:
            reaches = {earlier.store_id: earlier.size for earlier in former}
            yield from self._against(self._checkpoint, reaches | {head.store_id: self.tree.size})

    def _against(self, checkpoint: Checkpoint, reaches: Mapping[str, int]) -> Iterator[Finding]:
        """`reaches` says how much of this ledger was written under each id of the store.

        What the store had written after the backup from which it was restored is as gone as if it
        had been cut off; only that nobody hides it.
        """
        reach = reaches.get(checkpoint.origin)
        if reach is None:
            yield Finding(fault=Fault.CHECKPOINT_OF_ANOTHER_STORE, detail=checkpoint.origin)
        elif checkpoint.size > min(reach, self.tree.size):
            detail = f"{min(reach, self.tree.size)} instead of at least {checkpoint.size} entries"
            yield Finding(fault=Fault.TAIL_REMOVED, detail=detail)
        elif checkpoint.root != self._root_at_checkpoint:
            yield Finding(fault=Fault.HISTORY_REWRITTEN, detail=f"{checkpoint.size} entries")


def _columns(entry: Entry) -> dict[str, object]:
    decision = entry.decision
    return {
        "revision": entry.revision,
        "tenant": decision.tenant,
        "request_id": decision.request_id,
        "execution_id": decision.execution_id,
        "category": decision.code.category.value,
        "code": decision.code.text,
        "actor": decision.actor.id,
        "at": decision.at,
    }


def _has_its_subject(entry: Entry) -> bool:
    """Whether it is about a request of a tenant, unless it is about the host they all share."""
    decision = entry.decision
    subject = (decision.tenant, decision.request_id, decision.status)
    if decision.code.category is Category.HOST:
        return subject == ("", "", None)
    return all(subject)


# ---------------------------------------------------------------- the host


def check_standing(row: Row[Any] | None, last: Entry | None) -> Iterator[Finding]:
    """The row of HOST_STANDING, if there is one, against the last entry about the host."""
    if row is None:
        if last is not None:
            yield Finding(fault=Fault.HOST_MISSING, revision=last.revision)
        return
    if last is None:
        yield Finding(fault=Fault.HOST_UNRECORDED)
        return
    try:
        standing = rows.host_standing_of(row)
    except ValueError:
        yield Finding(fault=Fault.HOST_UNREADABLE)
        return
    if row.revision != standing.revision or standing != _standing_told(last):
        yield Finding(fault=Fault.HOST_STANDING, revision=last.revision)


def _standing_told(last: Entry) -> HostStanding | None:
    try:
        return standing_told(last.decision, last.revision)
    except (KeyError, ValueError):
        return None


# ---------------------------------------------------------------- requests


def check_request(row: Row[Any], told: Sequence[Entry]) -> Iterator[Finding]:
    """A row of NEW_REQUEST against the first and the last entry about it."""
    id = row.id
    try:
        request = rows.whole_request(row)
        waits = bool(labels.new_waits(request))
        filed = rows.new_request(request, row.progress, waits=waits)[:-_REQUEST_VALUES]
    except ValueError:
        yield Finding(fault=Fault.REQUEST_UNREADABLE, request_id=id)
        return
    for column, said in zip(rows.NEW_REQUEST, filed, strict=False):
        if said != getattr(row, column.name):
            yield Finding(fault=Fault.REQUEST_MISFILED, request_id=id, detail=column.name)
    if not told:
        yield Finding(fault=Fault.REQUEST_UNRECORDED, request_id=id)
        return
    first, last = told[0], told[-1]
    content = request.content
    if first.decision.code is not Code.SUBMITTED:
        yield Finding(
            fault=Fault.REQUEST_BEGINNING,
            request_id=id,
            revision=first.revision,
            detail=first.decision.code.text,
        )
    if request_digest(content, content.expected_version) != first.decision.digest:
        yield Finding(fault=Fault.REQUEST_CONTENT, request_id=id, revision=first.revision)
    if request.progress.digest != last.decision.digest:
        yield Finding(fault=Fault.REQUEST_DIGEST, request_id=id, revision=last.revision)
    if request.status is not last.decision.status:
        yield Finding(
            fault=Fault.REQUEST_STATUS,
            request_id=id,
            revision=last.revision,
            detail=f"{request.status} instead of {last.decision.status}",
        )
    yield from _check_review(request, told)
    yield from _check_compensation(request, told)
    if request.submitted_revision > first.revision or request.revision < last.revision:
        yield Finding(fault=Fault.REQUEST_REVISION, request_id=id)


def _check_review(request: MutationRequest, told: Sequence[Entry]) -> Iterator[Finding]:
    """Nobody is spared a review, or given one, that the ledger does not tell of."""
    telling = [entry for entry in told if entry.decision.code.category is Category.BREAK_GLASS]
    review = request.progress.review
    said = _review_told(telling[-1]) if telling else None
    if (review.status if review is not None else None) is not said:
        yield Finding(
            fault=Fault.REQUEST_REVIEW,
            request_id=request.id,
            revision=telling[-1].revision if telling else None,
        )


def _check_compensation(request: MutationRequest, told: Sequence[Entry]) -> Iterator[Finding]:
    """Nobody is told that a change was made good, or may be, where the ledger does not say so."""
    progress = request.progress
    by = progress.compensated_by
    for code, said in (
        (Code.COMPENSATION_REQUESTED, progress.compensation_id),
        (Code.COMPENSATED, by.request_id if by is not None else None),
    ):
        telling = [entry for entry in told if entry.decision.code is code]
        if said != (telling[-1].decision.facts.get("compensation") if telling else None):
            yield Finding(
                fault=Fault.REQUEST_COMPENSATION,
                request_id=request.id,
                revision=telling[-1].revision if telling else None,
            )


def _review_told(entry: Entry) -> ReviewStatus:
    """Where a review stood after a decision about it."""
    decision = entry.decision
    if decision.code is Code.BREAK_GLASS_USED:
        return ReviewStatus.OPEN
    if decision.code is Code.BREAK_GLASS_REVIEW_OVERDUE:
        return ReviewStatus.OVERDUE
    justified = decision.facts.get("justified") == "true"
    return ReviewStatus.JUSTIFIED if justified else ReviewStatus.UNJUSTIFIED


_REQUEST_VALUES: Final = 4  # the columns that hold the values themselves come last

# ---------------------------------------------------------------- executions


def check_execution(row: Row[Any], told: Sequence[Entry]) -> Iterator[Finding]:
    """A row of NEW_EXECUTION against all entries about it, oldest first."""
    id = row.id
    try:
        execution = rows.execution_of(row.body)
    except ValueError:
        yield Finding(fault=Fault.EXECUTION_UNREADABLE, execution_id=id)
        return
    for column, said in zip(rows.NEW_EXECUTION, rows.new_execution(execution)[:-1], strict=False):
        if said != getattr(row, column.name):
            yield Finding(fault=Fault.EXECUTION_MISFILED, execution_id=id, detail=column.name)
    telling = [entry for entry in told if _status_told(entry) is not None]
    if not telling:
        yield Finding(fault=Fault.EXECUTION_UNRECORDED, execution_id=id)
        return
    last = telling[-1]
    if execution.status is not _status_told(last):
        yield Finding(
            fault=Fault.EXECUTION_STATUS,
            execution_id=id,
            revision=last.revision,
            detail=f"{execution.status} instead of {_status_told(last)}",
        )
    elif _outcome(execution) != last.decision.facts.get("outcome_sha256"):
        yield Finding(fault=Fault.EXECUTION_OUTCOME, execution_id=id, revision=last.revision)


def _outcome(execution: Execution) -> str | None:
    return outcome_digest(execution.applied) if execution.applied else None


_STATUS_TOLD: Final = {
    Code.CLAIMED: ExecutionStatus.RUNNING,
    Code.APPLIED: ExecutionStatus.APPLIED,
    Code.REFUSED: ExecutionStatus.REFUSED,
    Code.IN_DOUBT: ExecutionStatus.IN_DOUBT,
    Code.VERSION_REJECTED_AS_STALE: ExecutionStatus.STALE,
    Code.VERSION_RENEWED_APPROVAL_REQUIRED: ExecutionStatus.STALE,
    Code.VERSION_REVALIDATION_REQUIRED: ExecutionStatus.STALE,
}
_RESOLVED: Final = {
    "applied": ExecutionStatus.APPLIED,
    "not_applied": ExecutionStatus.NOT_APPLIED,
}


def _status_told(entry: Entry) -> ExecutionStatus | None:
    """Where an execution stood after a decision; None where the decision does not move it."""
    decision = entry.decision
    if decision.code is Code.RESOLVED:
        return _RESOLVED.get(decision.facts.get("outcome", ""))
    return _STATUS_TOLD.get(decision.code)
