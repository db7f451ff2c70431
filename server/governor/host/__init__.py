"""The outbound MutationEngine client: the only way to the service that owns the state."""

from governor.host.client import HostClient
from governor.host.connection import HostTls

__all__ = ["HostClient", "HostTls"]
