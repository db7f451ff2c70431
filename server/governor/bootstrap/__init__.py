"""The composition root: the one place that knows every part of the house."""

from governor.bootstrap.process import migrate, run
from governor.bootstrap.refusals import CannotStart
from governor.bootstrap.started import Started
from governor.bootstrap.verification import verify

__all__ = ["CannotStart", "Started", "migrate", "run", "verify"]
