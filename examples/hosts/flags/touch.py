"""Changes the flags service's state behind Governor's back, as an old admin script might.

What was submitted for the version before is stale afterwards.
"""

import argparse
import sqlite3
import sys
from contextlib import closing
from pathlib import Path

LOCK_WAIT_SECONDS = 5.0


def touch(database: Path, *, tenant: str, state_type: str, state_id: str, lock: bool | None) -> str:
    """Give a state its next version, and lock or unlock it if it is a flag and `lock` is set."""
    # mode=rw: a mistyped name must not make an empty database.
    uri = f"{database.resolve().as_uri()}?mode=rw"
    connection = sqlite3.connect(uri, uri=True, timeout=LOCK_WAIT_SECONDS, isolation_level=None)
    with closing(connection):
        # The running host is the only one to move the log into the database file.
        connection.execute("PRAGMA wal_autocheckpoint = 0")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("BEGIN IMMEDIATE")
        row = connection.execute(
            "UPDATE version SET number = number + 1"
            " WHERE tenant = ? AND type = ? AND id = ? AND present RETURNING number",
            (tenant, state_type, state_id),
        ).fetchone()
        if row is None:
            raise LookupError(f"{tenant} has no {state_type}/{state_id}")
        if lock is not None and state_type == "flag":
            connection.execute(
                "UPDATE flag SET locked = ? WHERE tenant = ? AND id = ?", (lock, tenant, state_id)
            )
        connection.execute("COMMIT")
    return str(row[0])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--database", required=True, type=Path)
    parser.add_argument("--tenant", default="acme")
    parser.add_argument("--lock", action=argparse.BooleanOptionalAction, help="refuse every change")
    parser.add_argument("type", choices=["flag", "role", "notice"])
    parser.add_argument("id", help="for example checkout.dark-mode")
    arguments = parser.parse_args()
    try:
        version = touch(
            arguments.database,
            tenant=arguments.tenant,
            state_type=arguments.type,
            state_id=arguments.id,
            lock=arguments.lock,
        )
    except (LookupError, sqlite3.OperationalError) as error:
        print(f"touch: {error}", file=sys.stderr)
        return 1
    print(f"{arguments.type}/{arguments.id} is at version {version}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
