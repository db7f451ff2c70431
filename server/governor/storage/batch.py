"""One batch of commits as one transaction: what is read, decided, hashed and written, in order.

Both backends run `write_batch` on a synchronous connection inside a transaction that they have
opened and will end. It keeps nothing between calls: the head is read under the lock every time, so
that a transaction which failed, or one of another replica, leaves nothing to be undone in memory.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import assert_never

from sqlalchemy import Connection

from governor.domain.errors import GovernorError
from governor.domain.execution import Execution
from governor.domain.host_standing import HostStanding
from governor.domain.ledger import Frontier, leaf_hash
from governor.domain.request import MutationRequest
from governor.domain.values import RequestId, Revision, Value
from governor.storage import labels, queries, rows
from governor.storage.admission import Accepted, Admission, Facts, Lost, Replayed, admit
from governor.storage.dialect import BulkRow
from governor.storage.statements import Statements
from governor.usecases.commits import Batch, Commit, Committed, Head, StoredEntry
from governor.usecases.ports import EntryEncoder, Failpoints

_HEAD_ID = 1

Answer = Committed | GovernorError
"""What the caller of a commit gets: its values with their revisions, or the reason it lost."""


class Written(Value, frozen=True, kw_only=True):
    """What a transaction will have done once it is committed.

    `before` is the ledger's size that it started from; `leaves` are the hashes it appended.
    """

    answers: tuple[Answer, ...]
    batch: Batch
    before: Revision
    head: Head
    leaves: tuple[bytes, ...]


def write_batch(
    connection: Connection,
    commits: Sequence[Commit],
    *,
    statements: Statements,
    encode: EntryEncoder,
    failpoints: Failpoints,
) -> Written:
    """Decides and writes a batch. The caller's transaction makes it durable, or undoes it."""
    size, frontier, store_id = statements.lock_head(connection)
    facts, waiting = _read_facts(connection, commits, statements)
    admissions = admit(commits, facts)
    draft = _Draft(encode=encode, size=size, waiting=waiting)
    written = {
        position: draft.add(commit)
        for position, (commit, admission) in enumerate(zip(commits, admissions, strict=True))
        if isinstance(admission, Accepted)
    }
    if draft.leaves:
        tree = Frontier.from_bytes(frontier).extend(draft.leaves)
        head = Head(store_id=store_id, revision=Revision(tree.size), root=tree.root())
        draft.write(connection, statements, failpoints)
        failpoints("store.batch.before_head")
        statements.write_head.execute(
            connection, ((_HEAD_ID, tree.size, head.root, tree.to_bytes()),)
        )
    else:
        root = Frontier.from_bytes(frontier).root()
        head = Head(store_id=store_id, revision=Revision(size), root=root)
    return Written(
        answers=tuple(
            _answer(connection, admission, written, position)
            for position, admission in enumerate(admissions)
        ),
        batch=Batch(
            commits=tuple(written.values()),
            entries=tuple(draft.entries),
        ),
        before=size,
        head=head,
        leaves=tuple(draft.leaves),
    )


# ---------------------------------------------------------------- what is read


def _read_facts(
    connection: Connection, commits: Sequence[Commit], statements: Statements
) -> tuple[Facts, frozenset[RequestId]]:
    """What admission asks, and which of the requests wait for people."""
    requests = {request.id for commit in commits for request in commit.requests}
    requests.update(id for commit in commits for id, _ in commit.guards)
    executions = {execution.id for commit in commits for execution in commit.executions}
    slots = {execution.slot for commit in commits for execution in commit.executions}
    keys = {rows.key_digest(commit.key) for commit in commits if commit.key is not None}
    found = statements.request_revisions.select(connection, _column(requests))
    facts = Facts(
        requests={id: revision for id, revision, _ in found},
        executions=dict(statements.execution_revisions.select(connection, _column(executions))),
        busy={
            (tenant, state_type, state_id): id
            for tenant, state_type, state_id, id in statements.busy_states.select(
                connection, list(slots)
            )
        },
        standing=_standing_revision(connection, commits),
        fingerprints=dict(statements.keys.select(connection, _column(keys))),
    )
    return facts, frozenset(id for id, _, waits in found if waits)


def _standing_revision(connection: Connection, commits: Sequence[Commit]) -> Revision:
    """Asked for by the few batches that change it."""
    if all(commit.standing is None for commit in commits):
        return Revision(0)
    row = connection.execute(queries.host_standing()).one_or_none()
    return Revision(0) if row is None else row.revision


def _column(values: Iterable[object]) -> list[BulkRow]:
    return [(value,) for value in values]


# ---------------------------------------------------------------- what is written


@dataclass(slots=True, kw_only=True)
class _Draft:
    """The rows of the accepted commits, in the order in which they take their revisions."""

    encode: EntryEncoder
    size: int
    waiting: frozenset[RequestId]
    entries: list[StoredEntry] = field(default_factory=list)
    leaves: list[bytes] = field(default_factory=list)
    entry_rows: list[BulkRow] = field(default_factory=list)
    new_requests: list[BulkRow] = field(default_factory=list)
    changed_requests: list[BulkRow] = field(default_factory=list)
    tags: list[BulkRow] = field(default_factory=list)
    dependencies: list[BulkRow] = field(default_factory=list)
    labels: list[BulkRow] = field(default_factory=list)
    no_longer_waiting: list[BulkRow] = field(default_factory=list)
    waits: list[BulkRow] = field(default_factory=list)
    new_executions: list[BulkRow] = field(default_factory=list)
    changed_executions: list[BulkRow] = field(default_factory=list)
    new_standing: list[BulkRow] = field(default_factory=list)
    changed_standing: list[BulkRow] = field(default_factory=list)
    keys: list[BulkRow] = field(default_factory=list)

    def add(self, commit: Commit) -> Committed:
        """Gives the commit its revisions, and answers its values with them."""
        first = Revision(self.size + 1)
        self._append_entries(commit)
        last = Revision(self.size)
        progress: list[bytes] = []
        requests = tuple(
            self._put_request(request, first, last, progress) for request in commit.requests
        )
        executions = tuple(
            self._put_execution(execution, first, last) for execution in commit.executions
        )
        for execution in executions:
            if execution.applied is not None and execution.applied.side_effects:
                self._label_effects(requests, execution)
        if commit.key is not None:
            subject = (requests[0].id, progress[0]) if requests else None
            shown = executions[0] if executions else None
            self.keys.append(rows.new_key(commit.key, last, subject, shown))
        standing = self._put_standing(commit.standing, last) if commit.standing else None
        return Committed(requests=requests, executions=executions, revision=last, standing=standing)

    def _append_entries(self, commit: Commit) -> None:
        for decision in commit.decisions:
            self.size += 1
            revision = Revision(self.size)
            data = self.encode(decision, revision)
            leaf = leaf_hash(data)
            category, text = decision.code.category, decision.code.text
            actor = decision.actor.id
            self.leaves.append(leaf)
            self.entries.append(
                StoredEntry(
                    revision=revision,
                    tenant=decision.tenant,
                    request_id=decision.request_id,
                    execution_id=decision.execution_id,
                    category=category,
                    code=text,
                    actor=actor,
                    at=decision.at,
                    data=data,
                )
            )
            self.entry_rows.append(
                (
                    revision,
                    decision.tenant,
                    decision.request_id,
                    decision.execution_id,
                    category.value,
                    text,
                    actor,
                    decision.at,
                    data,
                    leaf,
                )
            )

    def _put_request(
        self, request: MutationRequest, first: Revision, last: Revision, progress: list[bytes]
    ) -> MutationRequest:
        encoded = rows.progress_bytes(request)
        progress.append(encoded)
        if request.revision:
            changed = request.but(revision=last)
            waits = labels.new_waits(changed)
            self.changed_requests.append(rows.changed_request(changed, encoded, waits=bool(waits)))
            if changed.id in self.waiting:
                self.no_longer_waiting.append((changed.id,))
            self.waits.extend(waits)
            if changed.is_batch:
                self.labels.extend(labels.left_behind_labels(changed))
            return changed
        new = request.but(submitted_revision=first, revision=last)
        waits = labels.new_waits(new)
        self.new_requests.append(rows.new_request(new, encoded, waits=bool(waits)))
        self.tags.extend(labels.new_tags(new))
        self.dependencies.extend(labels.new_dependencies(new))
        self.labels.extend(labels.new_labels(new))
        self.waits.extend(waits)
        return new

    def _label_effects(self, requests: Sequence[MutationRequest], execution: Execution) -> None:
        for request in requests:
            if request.id == execution.request_id:
                self.labels.extend(labels.effect_labels(request, execution))

    def _put_execution(self, execution: Execution, first: Revision, last: Revision) -> Execution:
        if execution.revision:
            changed = execution.but(revision=last)
            self.changed_executions.append(rows.changed_execution(changed))
            return changed
        new = execution.but(submitted_revision=first, revision=last)
        self.new_executions.append(rows.new_execution(new))
        return new

    def _put_standing(self, standing: HostStanding, last: Revision) -> HostStanding:
        changed = standing.but(revision=last)
        to_write = self.changed_standing if standing.revision else self.new_standing
        to_write.append(rows.host_standing(changed))
        return changed

    def write(self, connection: Connection, statements: Statements, failpoints: Failpoints) -> None:
        """Executions that end are written before those that begin: one may take over its state."""
        statements.insert_requests.execute(connection, self.new_requests)
        statements.update_requests.execute(connection, self.changed_requests)
        statements.insert_tags.execute(connection, self.tags)
        statements.insert_dependencies.execute(connection, self.dependencies)
        statements.insert_labels.execute(connection, self.labels)
        statements.delete_waits.execute(connection, self.no_longer_waiting)
        statements.insert_waits.execute(connection, self.waits)
        statements.update_executions.execute(connection, self.changed_executions)
        statements.insert_executions.execute(connection, self.new_executions)
        statements.insert_standing.execute(connection, self.new_standing)
        statements.update_standing.execute(connection, self.changed_standing)
        failpoints("store.batch.after_rows")
        statements.insert_entries.execute(connection, self.entry_rows)
        statements.insert_keys.execute(connection, self.keys)


# ---------------------------------------------------------------- what is answered


def _answer(
    connection: Connection,
    admission: Admission,
    written: Mapping[int, Committed],
    position: int,
) -> Answer:
    match admission:
        case Accepted():
            return written[position]
        case Lost(error=error):
            return error
        case Replayed(key=key, position=earlier):
            if earlier is not None:
                return _again(written[earlier])
            row = connection.execute(queries.earlier_answer_to(key)).one()
            return queries.earlier_answer(row)
        case _:
            assert_never(admission)


def _again(committed: Committed) -> Committed:
    """As a later replay will show it: the first of each."""
    return committed.but(
        requests=committed.requests[:1], executions=committed.executions[:1], replayed=True
    )
