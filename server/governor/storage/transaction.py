"""Runs batches as transactions, and knows what it means when a step of one fails.

Before COMMIT nothing has happened: a value that cannot be written is found by writing the commits
one by one. At COMMIT nobody knows what has happened: every caller is told that the store did not
answer, and the next transaction finds out by reading the head.
"""

import logging
from collections.abc import Iterator, Sequence
from typing import Final

from sqlalchemy import Connection, select

from governor.domain.errors import GovernorError, StoreUnavailable
from governor.domain.values import Revision, Value
from governor.storage import queries, rows, tables
from governor.storage.batch import Answer, Written, write_batch
from governor.storage.causes import cause_of
from governor.storage.dialect import Dialect
from governor.storage.entry_pages import entries
from governor.storage.statements import Statements
from governor.usecases.commits import Batch, Commit, Head
from governor.usecases.ports import EntryEncoder, Failpoints

logger = logging.getLogger(__name__)

_MISSED_PAGE: Final = 1_024
_MISSED_AT_ONCE_MAX: Final = 16 * _MISSED_PAGE
"""How many entries of others are caught up with before anything else has its turn."""


class CommitUnknown(Exception):
    """COMMIT did not answer: `written` is durable, or it never was."""

    def __init__(self, written: Written) -> None:
        super().__init__("COMMIT did not answer")
        self.written = written


class WentBack(Exception):
    """The head is behind what was published, or another store's: this is not the database it was.

    A standby took over before it had caught up, or the file was replaced. To write on would give
    revisions out a second time.
    """


class _Unwritable(Exception):
    """A value in one of the commits cannot be written."""


class Settlement(Value, frozen=True, kw_only=True):
    """What became of a batch: an answer per commit, and what is to be published, in ledger order.

    `batches` starts with what became durable without being published: our own transactions whose
    COMMIT did not answer, and another replica's. Of the latter only the entries are known.
    """

    answers: tuple[Answer, ...]
    batches: tuple[Batch, ...]
    head: Head


class Transactions:
    """Writes batches on the connections it is given. One thread or task at a time."""

    def __init__(
        self,
        *,
        dialect: Dialect,
        encode: EntryEncoder,
        failpoints: Failpoints,
        head: Head,
        owner: str = "",
    ) -> None:
        self._dialect = dialect
        self._statements = Statements(dialect, owner)
        self._encode = encode
        self._failpoints = failpoints
        self._published = head
        self._told = head.revision  # ahead of it while much is caught up with
        self._known = head.revision  # that there is this much at least
        self._unanswered: list[Written] = []

    @property
    def is_behind(self) -> bool:
        """Whether more was seen to be durable than was published."""
        return self._told < self._known

    def settle(self, connection: Connection, commits: Sequence[Commit]) -> Settlement:
        """One transaction for all of them. Raises what the database raised, or CommitUnknown."""
        try:
            return self._published_by(connection, self._transact(connection, commits))
        except _Unwritable as error:
            if len(commits) == 1:
                return self._left_out(error.__cause__)
        return self._one_by_one(connection, commits)

    def landed(self, connection: Connection, written: Written) -> Settlement | None:
        """What became of a batch whose COMMIT did not answer; None if it was never durable.

        The lock on the head waits for the old transaction to end, one way or the other.
        """
        with connection.begin():
            self._statements.lock_head(connection)
            durable = _is_durable(connection, written)
        return self._published_by(connection, written) if durable else None

    def catch_up(self, connection: Connection) -> Settlement | None:
        """What became durable without being published, a bounded stretch of it; None if nothing.

        The lock on the head is not needed to read: what the head counts was committed with it.
        """
        with connection.begin():
            row = connection.execute(queries.head()).one()
        head = Head(store_id=row.store_id, revision=Revision(row.size), root=row.root)
        self._check_continues(head.revision, head.store_id)
        self._known = head.revision
        until = Revision(min(head.revision, self._told + _MISSED_AT_ONCE_MAX))
        batches = tuple(self._missed(connection, until=until))
        if not batches:
            return None
        self._told = batches[-1].entries[-1].revision
        if not self.is_behind:
            self._published = head
            self._unanswered = [w for w in self._unanswered if w.before >= head.revision]
        return Settlement(answers=(), batches=batches, head=self._published)

    def _transact(self, connection: Connection, commits: Sequence[Commit]) -> Written:
        self._failpoints("store.batch.before_begin")
        transaction = connection.begin()
        try:
            written = write_batch(
                connection,
                commits,
                statements=self._statements,
                encode=self._encode,
                failpoints=self._failpoints,
            )
            self._check_continues(written.before, written.head.store_id)
        except WentBack:
            transaction.rollback()
            raise
        except Exception as error:
            transaction.rollback()
            if self._dialect.blames_content(error):
                raise _Unwritable from error
            raise
        if not written.leaves:
            transaction.rollback()
            return written
        try:
            self._failpoints("store.batch.before_commit")
            transaction.commit()
            self._failpoints("store.batch.after_commit")
        except Exception as error:
            if transaction.is_active:
                transaction.rollback()
            raise self._unknown(written) from error
        return written

    def _check_continues(self, size: Revision, store_id: str) -> None:
        if size < self._told or store_id != self._published.store_id:
            raise WentBack

    def _unknown(self, written: Written) -> CommitUnknown:
        """Remembers what may be durable. Where it begins, none that began there or later is."""
        self._unanswered = [
            earlier for earlier in self._unanswered if earlier.head.revision <= written.before
        ]
        self._unanswered.append(written)
        return CommitUnknown(written)

    def _published_by(self, connection: Connection, written: Written) -> Settlement:
        try:
            missed = tuple(self._missed(connection, until=written.before))
        except Exception as error:
            raise self._unknown(written) from error  # it is durable, but not in its place yet
        self._published = written.head
        self._told = self._known = written.head.revision
        self._unanswered.clear()
        own = (written.batch,) if written.leaves else ()
        return Settlement(answers=written.answers, batches=(*missed, *own), head=written.head)

    def _missed(self, connection: Connection, *, until: Revision) -> Iterator[Batch]:
        after = self._told
        while after < until:
            with connection.begin():
                batch = self._next_missed(connection, after, until)
            after = batch.entries[-1].revision
            yield batch

    def _next_missed(self, connection: Connection, after: Revision, until: Revision) -> Batch:
        for written in self._unanswered:
            if written.before == after and _is_durable(connection, written):
                return written.batch
            if after < written.before < until:
                until = written.before
        page = entries(after=after, until=until, limit=_MISSED_PAGE, filter=None)
        return Batch(commits=(), entries=tuple(map(rows.stored_entry, connection.execute(page))))

    def _one_by_one(self, connection: Connection, commits: Sequence[Commit]) -> Settlement:
        answers: list[Answer] = []
        batches: list[Batch] = []
        for commit in commits:
            try:
                settled = self.settle(connection, (commit,))
            except Exception as error:  # noqa: BLE001 - its caller is told, the others go on
                connection.invalidate()  # who knows what is left open on it
                settled = self._left_out(error)
            answers.extend(settled.answers)
            batches.extend(settled.batches)
        return Settlement(answers=tuple(answers), batches=tuple(batches), head=self._published)

    def _left_out(self, error: BaseException | None) -> Settlement:
        if isinstance(error, GovernorError):
            answer: Answer = error
        else:
            log_failure("a commit cannot be written", error)
            answer = unavailable(error)
        return Settlement(answers=(answer,), batches=(), head=self._published)


def _is_durable(connection: Connection, written: Written) -> bool:
    """Whether the ledger holds exactly what the batch would have appended."""
    ours = tables.ledger.c.revision.between(written.before + 1, written.head.revision)
    found = connection.scalars(
        select(tables.ledger.c.leaf_hash).where(ours).order_by(tables.ledger.c.revision)
    )
    return tuple(found) == written.leaves


def unavailable(cause: BaseException | None) -> StoreUnavailable:
    """What a caller hears of a failure: the name of its cause, if it has one, and never its text.

    The rest hangs on it for the log.
    """
    known = cause_of(cause)
    if known is None:
        error = StoreUnavailable("the store does not answer")
    else:
        error = StoreUnavailable(known.fact, cause=known.name)
    error.__cause__ = cause
    return error


def log_failure(what: str, error: BaseException | None) -> None:
    """For the operator: what failed, with the driver's words, and what can be done about it."""
    known = cause_of(error)
    if known is None:
        logger.error("%s", what, exc_info=error)
        return
    extra = {"cause": known.name}
    logger.error("%s: %s: %s", what, known.fact, known.remedy, exc_info=error, extra=extra)
