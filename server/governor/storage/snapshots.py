"""Requests and executions as last committed, in memory: what the hot path reads instead of SQL.

The writer's batches keep them true. They may still be behind another replica's writes; then a
commit made from them loses with Conflict, and what it relied on is forgotten here.
"""

from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Final, Generic, TypeVar

from governor.domain.execution import Execution
from governor.domain.request import MutationRequest
from governor.domain.values import ExecutionId, RequestId
from governor.usecases.commits import Batch, Commit, StoredEntry

_K = TypeVar("_K", bound=Hashable)
_V = TypeVar("_V")

# In memory, without payload and outcome; estimates.
_REQUEST_BYTES: Final = 4_096
_EXECUTION_BYTES: Final = 2_048


class Recent(Generic[_K, _V]):
    """The values used last, as many as fit into `bytes_max`.

    A value that is being read from the database while a newer one is committed must not be kept:
    `expecting` announces the reading, and every change withdraws the announcement.
    """

    def __init__(self, *, bytes_max: int, bytes_of: Callable[[_V], int]) -> None:
        self._bytes_max = bytes_max
        self._bytes_of = bytes_of
        self._bytes = 0
        self._values: OrderedDict[_K, _V] = OrderedDict()
        self._expected: set[_K] = set()

    def get(self, key: _K) -> _V | None:
        value = self._values.get(key)
        if value is not None:
            self._values.move_to_end(key)
        return value

    def put(self, key: _K, value: _V) -> None:
        """The value is the newest there is."""
        self.forget(key)
        self._values[key] = value
        self._bytes += self._bytes_of(value)
        while self._bytes > self._bytes_max:
            _, oldest = self._values.popitem(last=False)
            self._bytes -= self._bytes_of(oldest)

    def forget(self, key: _K) -> None:
        self._expected.discard(key)
        value = self._values.pop(key, None)
        if value is not None:
            self._bytes -= self._bytes_of(value)

    @contextmanager
    def expecting(self, keys: Sequence[_K]) -> Iterator[None]:
        """These are being read from the database until the context ends."""
        self._expected.update(keys)
        try:
            yield
        finally:
            self._expected.difference_update(keys)

    def read(self, values: Mapping[_K, _V]) -> None:
        """These were read; each is kept unless something newer has come by."""
        for key in self._expected.intersection(values):
            self.put(key, values[key])


class Snapshots:
    """What the writer's batches make true again after every transaction."""

    def __init__(self, *, bytes_max: int) -> None:
        half = bytes_max // 2
        self.requests: Recent[RequestId, MutationRequest] = Recent(
            bytes_max=half, bytes_of=_request_bytes
        )
        self.executions: Recent[ExecutionId, Execution] = Recent(
            bytes_max=half, bytes_of=_execution_bytes
        )

    def keep(self, batch: Batch) -> None:
        """Everything in the batch is durable."""
        for committed in batch.commits:
            for request in committed.requests:
                self._keep_request(request, is_new=_is_new(request, batch))
            for execution in committed.executions:
                self.executions.put(execution.id, execution)

    def forget_entries(self, entries: Iterable[StoredEntry]) -> None:
        """These entries were written without our knowing what else was."""
        for entry in entries:
            self.requests.forget(entry.request_id)
            if entry.execution_id is not None:
                self.executions.forget(entry.execution_id)

    def forget_commit(self, commit: Commit) -> None:
        """Whatever this commit relied on may be out of date."""
        for request in commit.requests:
            self.requests.forget(request.id)
        for id, _ in commit.guards:
            self.requests.forget(id)
        for execution in commit.executions:
            self.executions.forget(execution.id)

    def _keep_request(self, request: MutationRequest, *, is_new: bool) -> None:
        """A changed request may have come out of a list, its payload left empty. It takes the
        content that is known; where none is known, it will be read.
        """
        known = request if is_new else self.requests.get(request.id)
        if known is None:
            self.requests.forget(request.id)
        elif known.content is request.content:
            self.requests.put(request.id, request)
        else:
            self.requests.put(request.id, request.but(content=known.content))


def _is_new(request: MutationRequest, batch: Batch) -> bool:
    return request.submitted_revision >= batch.entries[0].revision


def _request_bytes(request: MutationRequest) -> int:
    return _REQUEST_BYTES + len(request.content.payload.data)


def _execution_bytes(execution: Execution) -> int:
    changes = execution.applied.changes if execution.applied else ()
    return _EXECUTION_BYTES + sum(
        len(change.before or "") + len(change.after or "") for change in changes
    )
