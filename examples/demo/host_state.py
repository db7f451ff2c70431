"""Looks into the host's own database: what is really there, whatever Governor says."""

import sqlite3
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from examples.hosts.flags.touch import touch

LOCK_WAIT_SECONDS = 5.0
FLAG = "flag"


@dataclass(frozen=True, slots=True, kw_only=True)
class Flag:
    """One flag as the host has it. Version "" is the version of a flag that does not exist."""

    version: str = ""
    enabled: bool = False
    rollout_percent: int = 0
    effects: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class HostState:
    """The flags of one tenant in the host's database file."""

    database: Path
    tenant: str

    def flag(self, id: str) -> Flag:
        """The flag, and how many effects the host has ever entered for it."""
        (effects,) = self._row(
            "SELECT count(*) FROM effect WHERE tenant = ? AND state = ?",
            (self.tenant, f"{FLAG}/{id}"),
        ) or (0,)
        row = self._row(
            "SELECT version.number, flag.enabled, flag.rollout_percent FROM flag JOIN version"
            " ON version.tenant = flag.tenant AND version.type = ? AND version.id = flag.id"
            " WHERE flag.tenant = ? AND flag.id = ?",
            (FLAG, self.tenant, id),
        )
        if row is None:
            return Flag(effects=effects)
        number, enabled, rollout_percent = row
        return Flag(
            version=str(number),
            enabled=bool(enabled),
            rollout_percent=rollout_percent,
            effects=effects,
        )

    def has_member(self, role: str, member: str) -> bool:
        """Whether somebody has been granted a role."""
        sql = "SELECT 1 FROM role_member WHERE tenant = ? AND role = ? AND member = ?"
        return self._row(sql, (self.tenant, role, member)) is not None

    def effects_of(self, execution_id: str) -> int:
        """How often an execution has taken effect."""
        row = self._row("SELECT count(*) FROM effect WHERE execution_id = ?", (execution_id,))
        return row[0] if row else 0

    def touch(self, id: str) -> str:
        """Move a flag to its next version behind everybody's back; answers that version."""
        return touch(self.database, tenant=self.tenant, state_type=FLAG, state_id=id, lock=None)

    def _row(self, sql: str, parameters: tuple[str, ...]) -> tuple[int, ...] | None:
        uri = f"{self.database.resolve().as_uri()}?mode=ro"
        with closing(sqlite3.connect(uri, uri=True, timeout=LOCK_WAIT_SECONDS)) as connection:
            row: tuple[int, ...] | None = connection.execute(sql, parameters).fetchone()
            return row
