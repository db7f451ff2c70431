"""Runs the steps on the connection that governor.storage.migrate has opened, and inside its
transaction: a step that fails takes all of them back, on both databases.
"""

from alembic import context

from governor.storage import tables
from governor.storage.migrate import VERSION_TABLE

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=tables.metadata,
    version_table=VERSION_TABLE,
    transactional_ddl=True,
    on_version_apply=context.config.attributes["after_step"],
)
with context.begin_transaction():
    context.run_migrations()
