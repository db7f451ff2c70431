"""Why a store is not opened: each refusal names the fact and what can be done about it."""

import sqlite3

from governor.domain.errors import GovernorError


class StoreRefused(GovernorError):
    """The store cannot be used as it is; nothing in it was changed."""


class UnknownStore(StoreRefused):
    """The URL names no kind of store there is."""

    def __init__(self, scheme: str) -> None:
        super().__init__(
            f"no store is called {scheme!r}: use sqlite:///FILE or postgresql://...", scheme=scheme
        )


class NotDurable(StoreRefused):
    """The URL names a database that lives in memory."""

    def __init__(self) -> None:
        super().__init__("a store in memory forgets what it acknowledged: name a file")


class NoSuchStore(StoreRefused):
    """There is no database there."""

    def __init__(self, place: str) -> None:
        super().__init__(f"there is no store at {place}", place=place)


class FileRefused(StoreRefused):
    """The operating system does not let us use the file."""

    def __init__(self, path: str, error: OSError) -> None:
        cause = error.strerror or type(error).__name__
        super().__init__(f"{path} cannot be used: {cause}", path=path, cause=cause)


class StoreInUse(StoreRefused):
    """Another process holds the database file."""

    def __init__(self, path: str, holder: str) -> None:
        super().__init__(f"{path} is in use by {holder}", path=path, holder=holder)


class PragmaRefused(StoreRefused):
    """The database file does not take a setting that durability rests on."""

    def __init__(self, name: str, *, wanted: str, got: str) -> None:
        super().__init__(
            f"the database file does not take {name}={wanted}: it stays {got}",
            pragma=name,
            wanted=wanted,
            got=got,
        )


class SchemaNewer(StoreRefused):
    """A later Governor has migrated the store."""

    def __init__(self, found: str, newest: str) -> None:
        super().__init__(
            f"the store has schema {found}, which is newer than {newest}, the newest that this "
            "Governor knows: run the Governor that migrated it, or a later one",
            found=found,
            newest=newest,
        )


class MigrationFailed(StoreRefused):
    """A step of a migration failed; the schema is as it was before the first."""

    def __init__(self, newest: str) -> None:
        super().__init__(
            f"the migration to schema {newest} failed, and nothing was changed: the log has the "
            "cause",
            newest=newest,
        )


class SchemaOlder(StoreRefused):
    """The store has not been migrated to the schema of this Governor."""

    def __init__(self, found: str | None, newest: str) -> None:
        super().__init__(
            f"the store has schema {found or 'none'}, and {newest} is needed: run governor migrate",
            found=found or "",
            newest=newest,
        )


class Occupied(StoreRefused):
    """Something is where a backup or a restored store is to be put."""

    def __init__(self, path: str, remedy: str = "") -> None:
        super().__init__(f"{path} is there already, and is not overwritten{remedy}", path=path)


class CopyFailed(StoreRefused):
    """The pages of a store could not all be read, or the copy of them not written."""

    def __init__(self, folder: str, error: sqlite3.Error) -> None:
        # SQLite's name for the result; what the sentence would be depends on the side that failed.
        cause = getattr(error, "sqlite_errorname", None) or type(error).__name__
        super().__init__(
            f"the store was not copied to {folder}: {cause}: look at the disk there, and at the "
            "store with governor verify",
            folder=folder,
            cause=cause,
        )


class BackedUpElsewhere(StoreRefused):
    """A database server is backed up by its own tools."""

    def __init__(self) -> None:
        super().__init__(
            "a PostgreSQL store is backed up by PostgreSQL's own tools, such as pg_dump; keep a "
            "checkpoint beside it: governor verify --write-checkpoint"
        )


class RestoredElsewhere(StoreRefused):
    """A database server is restored by its own tools; what we add is the new id."""

    def __init__(self) -> None:
        super().__init__(
            "a PostgreSQL store is put back by PostgreSQL's own tools, such as pg_restore; then "
            "governor restore without a backup verifies it and gives it a new id"
        )


class WrittenMeanwhile(StoreRefused):
    """The store is not what was verified: somebody writes to it."""

    def __init__(self, store_id: str) -> None:
        super().__init__(
            "the store was written to while it was verified: stop every Governor on it",
            store_id=store_id,
        )
