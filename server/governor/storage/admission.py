"""Which commits of a batch are accepted: a pure decision on what was read from the store.

The commits are taken in order, and each sees what the accepted ones before it will have done. A
loser is told why and leaves no trace; the others do not notice it.
"""

from collections.abc import Mapping, Sequence
from typing import Final

from governor.domain.errors import Conflict, GovernorError, RequestIdReused, StateBusy
from governor.domain.request import Slot
from governor.domain.values import ExecutionId, RequestId, Revision, Value
from governor.storage.rows import KeyDigest, key_digest
from governor.usecases.commits import Commit, IdempotencyKey


class Facts(Value, frozen=True, kw_only=True):
    """What the store held, of everything that the batch names, when it was locked."""

    requests: Mapping[RequestId, Revision] = {}
    executions: Mapping[ExecutionId, Revision] = {}
    busy: Mapping[Slot, ExecutionId] = {}
    standing: Revision = Revision(0)
    fingerprints: Mapping[KeyDigest, bytes] = {}


class Accepted(Value, frozen=True, kw_only=True):
    """Will be written."""


class Replayed(Value, frozen=True, kw_only=True):
    """Was done before: by the commit at `position` in this batch, or, if None, in the store."""

    key: IdempotencyKey
    position: int | None = None


class Lost(Value, frozen=True, kw_only=True):
    """Is left out."""

    error: GovernorError


Admission = Accepted | Replayed | Lost

ACCEPTED: Final = Accepted()
_ABSENT: Final = Revision(0)
# What a row written by this batch stands at. Nobody can have read it yet, so nobody expects it.
_WRITTEN_NOW: Final = Revision(-1)


def admit(commits: Sequence[Commit], facts: Facts) -> tuple[Admission, ...]:
    """One answer per commit, in order."""
    ground = _Ground(facts)
    return tuple(ground.take(position, commit) for position, commit in enumerate(commits))


class _Ground:
    """The facts as they will stand after the commits accepted so far."""

    def __init__(self, facts: Facts) -> None:
        self._requests = dict(facts.requests)
        self._executions = dict(facts.executions)
        self._busy = dict(facts.busy)
        self._standing = facts.standing
        self._fingerprints = dict(facts.fingerprints)
        self._positions: dict[KeyDigest, int] = {}

    def take(self, position: int, commit: Commit) -> Admission:
        key = commit.key
        if key is not None:
            digest = key_digest(key)
            known = self._fingerprints.get(digest)
            if known is not None:
                return self._used_before(key, digest, known)
        error = self._stale(commit) or self._occupied(commit)
        if error is not None:
            return Lost(error=error)
        self._accept(position, commit)
        return ACCEPTED

    def _used_before(self, key: IdempotencyKey, digest: KeyDigest, known: bytes) -> Admission:
        if known != key.fingerprint:
            return Lost(error=RequestIdReused(key.request_id))
        return Replayed(key=key, position=self._positions.get(digest))

    def _stale(self, commit: Commit) -> Conflict | None:
        for request in commit.requests:
            found = self._requests.get(request.id, _ABSENT)
            if found != request.revision:
                return _conflict("request", request.id, request.revision, found)
        for execution in commit.executions:
            found = self._executions.get(execution.id, _ABSENT)
            if found != execution.revision:
                return _conflict("execution", execution.id, execution.revision, found)
        standing = commit.standing
        if standing is not None and standing.revision != self._standing:
            return _conflict("standing", "host", standing.revision, self._standing)
        for id, revision in commit.guards:
            found = self._requests.get(id, _ABSENT)
            if found != revision:
                return _conflict("request", id, revision, found)
        return None

    def _occupied(self, commit: Commit) -> StateBusy | None:
        """A state that the commit itself sets free is free for it."""
        taken: dict[Slot, ExecutionId | None] = dict.fromkeys(self._freed(commit))
        for execution in commit.executions:
            if execution.is_active:
                slot = execution.slot
                holder = taken[slot] if slot in taken else self._busy.get(slot)
                if holder is not None and holder != execution.id:
                    return _busy(slot, holder)
                taken[slot] = execution.id
        return None

    def _freed(self, commit: Commit) -> list[Slot]:
        return [
            execution.slot
            for execution in commit.executions
            if not execution.is_active and self._busy.get(execution.slot) == execution.id
        ]

    def _accept(self, position: int, commit: Commit) -> None:
        for request in commit.requests:
            self._requests[request.id] = _WRITTEN_NOW
        for slot in self._freed(commit):
            del self._busy[slot]
        for execution in commit.executions:
            self._executions[execution.id] = _WRITTEN_NOW
            if execution.is_active:
                self._busy[execution.slot] = execution.id
        if commit.standing is not None:
            self._standing = _WRITTEN_NOW
        if commit.key is not None:
            digest = key_digest(commit.key)
            self._fingerprints[digest] = commit.key.fingerprint
            self._positions[digest] = position


def _conflict(kind: str, id: str, expected: Revision, found: Revision) -> Conflict:
    if expected == _ABSENT:
        return Conflict(f"the {kind} {id!r} exists already", kind=kind, id=id)
    if found == _ABSENT:
        return Conflict(f"there is no {kind} {id!r} to change", kind=kind, id=id)
    return Conflict(
        f"the {kind} {id!r} has changed since revision {expected}",
        kind=kind,
        id=id,
        expected_revision=str(expected),
    )


def _busy(slot: Slot, holder: ExecutionId) -> StateBusy:
    _, state_type, state_id = slot
    return StateBusy(
        f"the execution {holder!r} is active on {state_type} {state_id!r}",
        state_type=state_type,
        state_id=state_id,
        execution_id=holder,
    )
