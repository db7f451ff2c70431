"""The host's standing as a restoration leaves it: held, and the ledger says so."""

from sqlalchemy import Connection

from governor.domain.host_standing import store_restored
from governor.domain.values import Micros
from governor.storage import queries, rows
from governor.storage.batch import Written, write_batch
from governor.storage.dialect import Dialect
from governor.storage.statements import Statements
from governor.usecases.commits import Commit
from governor.usecases.ports import EntryEncoder, no_failpoints


def hold_after_restore(
    connection: Connection, *, now: Micros, dialect: Dialect, encode: EntryEncoder
) -> Written:
    """Holds the host because the store went back in time.

    Runs in the caller's transaction, on a store that nobody else has opened; committing it makes
    standing and ledger entry durable together.
    """
    found = connection.execute(queries.host_standing()).one_or_none()
    stance = store_restored(rows.host_standing_of(found), now=now)
    commit = Commit(decisions=(stance.decision,), standing=stance.standing)
    return write_batch(
        connection,
        (commit,),
        statements=Statements(dialect, owner=""),
        encode=encode,
        failpoints=no_failpoints,
    )
