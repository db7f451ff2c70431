"""Every reason not to start, told as one."""

from collections.abc import Iterator
from contextlib import contextmanager

from governor.domain.errors import StoreUnavailable
from governor.failpoints import FailpointsRefused
from governor.storage.errors import StoreRefused
from governor.strict_toml import FileRefused
from governor.telemetry.providers import UnknownExporter
from governor.wire.listening import ListenRefused

_REFUSALS = (
    FailpointsRefused,
    FileRefused,
    ListenRefused,
    StoreRefused,
    StoreUnavailable,
    UnknownExporter,
)


class CannotStart(Exception):
    """The sidecar cannot run with these settings here; the message says why."""


@contextmanager
def refusals_told() -> Iterator[None]:
    """Raises CannotStart for each of them."""
    try:
        yield
    except _REFUSALS as refusal:
        raise CannotStart(str(refusal)) from refusal
