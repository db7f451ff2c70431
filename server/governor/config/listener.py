"""Addresses: a TCP host and port or a unix socket, and whether they stay on this machine."""

from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path

PORT_MAX = 65_535
UNIX_PATH_BYTES_MAX = 103
"""The longest path that every platform can bind to; macOS ends at 104 with the closing NUL."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Listener:
    """Where a server listens: `path` for a unix socket, else `host` and `port`."""

    host: str = ""
    port: int = 0
    path: Path | None = None

    @property
    def is_local(self) -> bool:
        """Whether only processes of this machine can reach it. A name other than localhost cannot
        be trusted to mean this machine.
        """
        if self.path is not None or self.host == "localhost":
            return True
        try:
            return ip_address(self.host).is_loopback
        except ValueError:
            return False

    @property
    def target(self) -> str:
        """As gRPC writes it."""
        if self.path is not None:
            return f"unix:{self.path}"
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def parse_listener(text: str) -> Listener:
    """Reads `unix:/path`, `host:port` or `[ipv6]:port`. Raises ValueError."""
    if text.startswith("unix:"):
        path = text.removeprefix("unix:").removeprefix("//")
        if not path or len(path.encode()) > UNIX_PATH_BYTES_MAX:
            raise ValueError(f"a unix socket's path takes 1 to {UNIX_PATH_BYTES_MAX} bytes")
        return Listener(path=Path(path))
    host, colon, port = text.rpartition(":")
    bare = host.removeprefix("[").removesuffix("]")
    if not colon or not bare or "/" in host or (":" in bare and bare == host):
        raise ValueError(f"must be unix:/path or host:port, not {text!r}")
    if not port.isascii() or not port.isdecimal() or int(port) > PORT_MAX:
        raise ValueError(f"the port must be 0 to {PORT_MAX}, not {port!r}")
    return Listener(host=bare, port=int(port))
