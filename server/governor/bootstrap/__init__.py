"""The composition root: the one place that knows every part of the house."""

from governor.bootstrap.backups import back_up, restore
from governor.bootstrap.process import migrate, run
from governor.bootstrap.refusals import CannotStart
from governor.bootstrap.started import Started
from governor.bootstrap.verification import verify
from governor.storage.restore import Restored

__all__ = ["CannotStart", "Restored", "Started", "back_up", "migrate", "restore", "run", "verify"]
