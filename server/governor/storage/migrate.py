"""Brings a store's schema up to date, and refuses the schema of another age."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, text

from governor.storage.errors import MigrationFailed, SchemaNewer, SchemaOlder
from governor.usecases.ports import Failpoints, no_failpoints

logger = logging.getLogger(__name__)

VERSION_TABLE: Final = "governor_schema"
"""Not alembic's own name for it: a database may hold other programs' tables as well."""

PACKAGED: Final = Path(__file__).with_name("migrations") / "versions"

_LOCK: Final = 0x676F7665726E6F72  # "governor", as PostgreSQL's advisory locks want it: a number


def upgrade(
    connection: Connection,
    versions: Sequence[Path] = (PACKAGED,),
    failpoints: Failpoints = no_failpoints,
) -> str:
    """Takes every step that is missing, in one transaction; answers the version reached.

    Raises SchemaNewer, and MigrationFailed when the schema is as it was because a step failed.
    """
    scripts = _scripts(versions)
    config = _config(versions)
    config.attributes["connection"] = connection
    config.attributes["after_step"] = lambda **_: failpoints("migrate.after_step")
    with connection.begin():
        if connection.dialect.name == "postgresql":
            # Two migrations at once would both find the same steps missing.
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})
        _refuse_newer(_found(connection), scripts)
        failpoints("migrate.before_step")
        try:
            command.upgrade(config, "head")
        except Exception as error:
            logger.exception("a migration failed")
            raise MigrationFailed(_newest(scripts)) from error
        failpoints("migrate.before_commit")
    failpoints("migrate.after_commit")
    return _newest(scripts)


def check(connection: Connection, versions: Sequence[Path] = (PACKAGED,)) -> None:
    """Raises SchemaNewer or SchemaOlder unless the schema is the one this program was made for."""
    scripts = _scripts(versions)
    with connection.begin():
        found = _found(connection)
    _refuse_newer(found, scripts)
    if found != _newest(scripts):
        raise SchemaOlder(found, _newest(scripts))


def _refuse_newer(found: str | None, scripts: ScriptDirectory) -> None:
    known = {script.revision for script in scripts.walk_revisions()}
    if found is not None and found not in known:
        raise SchemaNewer(found, _newest(scripts))


def _found(connection: Connection) -> str | None:
    options = {"version_table": VERSION_TABLE}
    return MigrationContext.configure(connection, opts=options).get_current_revision()


def newest() -> str:
    """The schema that this program is written for."""
    return _newest(_scripts((PACKAGED,)))


def _newest(scripts: ScriptDirectory) -> str:
    (newest,) = scripts.get_heads()
    return newest


def _scripts(versions: Sequence[Path]) -> ScriptDirectory:
    return ScriptDirectory.from_config(_config(versions))


def _config(versions: Sequence[Path]) -> Config:
    config = Config()
    config.set_main_option("script_location", _escaped(PACKAGED.parent))
    config.set_main_option("path_separator", "newline")
    config.set_main_option("version_locations", "\n".join(map(_escaped, versions)))
    return config


def _escaped(path: Path) -> str:
    """The configuration parser reads a percent sign as the start of a reference."""
    return str(path).replace("%", "%%")
