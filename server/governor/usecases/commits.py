"""Commits as values, and what they become: the units in which everything is written."""

from governor.domain.decision import Category, Decision
from governor.domain.execution import Execution
from governor.domain.host_standing import HostStanding
from governor.domain.request import (
    MutationRequest,
)
from governor.domain.values import (
    ExecutionId,
    Micros,
    RequestId,
    Revision,
    Value,
)


class IdempotencyKey(Value, frozen=True, kw_only=True):
    """What makes a mutating call repeatable. `fingerprint` tells its content from another's."""

    tenant: str
    actor: str
    rpc: str
    request_id: str
    fingerprint: bytes


class Commit(Value, frozen=True, kw_only=True):
    """One unit of work: all of it becomes durable, or none of it.

    A request, execution or standing whose `revision` is 0 is new and must not exist; any other must
    still stand at that revision, and so must each of the `guards`. An active execution needs its
    state free of any other one. Every commit appends at least one decision; everything it writes
    takes the revision of its last decision.
    """

    decisions: tuple[Decision, ...]
    requests: tuple[MutationRequest, ...] = ()
    executions: tuple[Execution, ...] = ()
    standing: HostStanding | None = None
    guards: tuple[tuple[RequestId, Revision], ...] = ()
    key: IdempotencyKey | None = None


class Committed(Value, frozen=True, kw_only=True):
    """What a commit became: its values with their revisions. `replayed`: an earlier call did it.

    When replayed, `requests` and `executions` hold the first of each as in the earlier answer.
    """

    requests: tuple[MutationRequest, ...]
    executions: tuple[Execution, ...]
    revision: Revision
    standing: HostStanding | None = None
    replayed: bool = False


class Entry(Value, frozen=True, kw_only=True):
    """A decision in the ledger: `data` are the bytes that are hashed, stored and streamed."""

    revision: Revision
    decision: Decision
    data: bytes


class StoredEntry(Value, frozen=True, kw_only=True):
    """What of an entry a filter looks at, beside its bytes."""

    revision: Revision
    tenant: str
    request_id: RequestId
    execution_id: ExecutionId | None
    category: Category
    code: str
    actor: str
    at: Micros
    data: bytes


class Batch(Value, frozen=True, kw_only=True):
    """Everything one transaction made durable, in ledger order.

    Of what another process made durable only the entries are known, and `commits` is empty.
    """

    commits: tuple[Committed, ...]
    entries: tuple[StoredEntry, ...]


class Head(Value, frozen=True, kw_only=True):
    """The end of the ledger. `root` is the RFC 6962 root over the first `revision` entries."""

    store_id: str
    revision: Revision
    root: bytes
