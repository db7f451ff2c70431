"""Where the server can be reached: the socket, who else might hold it, and TLS on it."""

import fcntl
import os
import socket
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import grpc
import grpc.aio

from governor.config.listener import Listener

OWNER_ONLY_UMASK: Final = 0o177
LOCK_MODE: Final = 0o600
PROBE_SECONDS_MAX: Final = 1.0


class ListenRefused(Exception):
    """The server cannot, or must not, listen there."""

    def __init__(self, address: str, cause: str) -> None:
        super().__init__(f"cannot listen on {address}: {cause}")
        self.address = address
        self.cause = cause


@dataclass(frozen=True, slots=True, kw_only=True)
class TlsFiles:
    """The PEM contents that TLS needs; with `client_ca` every client must show a certificate."""

    certificate: bytes
    key: bytes
    client_ca: bytes | None = None

    def credentials(self) -> grpc.ServerCredentials:
        """As gRPC takes them."""
        return grpc.ssl_server_credentials(
            [(self.key, self.certificate)],
            root_certificates=self.client_ca,
            require_client_auth=self.client_ca is not None,
        )


def check_exposure(listener: Listener, tls: TlsFiles | None, *, believes_headers: bool) -> None:
    """Raises ListenRefused where anybody could read the calls, or claim to be somebody."""
    if listener.is_local:
        return
    if tls is None:
        raise ListenRefused(listener.target, "it can be reached from elsewhere and needs TLS")
    if believes_headers:
        raise ListenRefused(
            listener.target,
            "it can be reached from elsewhere, where headers prove nobody's identity",
        )


def bind(server: grpc.aio.Server, listener: Listener, tls: TlsFiles | None) -> str:
    """Takes the address for `server` and answers it as clients write it. Raises ListenRefused.

    gRPC would share a TCP port with whoever asked for sharing, too (hence its option so_reuseport,
    which the server turns off), and would take a unix socket away from whoever listens on it.
    """
    if listener.path is not None:
        _refuse_living_socket(listener.path)
    former_umask = os.umask(OWNER_ONLY_UMASK)
    try:
        if tls is None:
            port = server.add_insecure_port(listener.target)
        else:
            port = server.add_secure_port(listener.target, tls.credentials())
    except RuntimeError as error:
        raise ListenRefused(listener.target, "it is taken, or not this machine's") from error
    finally:
        os.umask(former_umask)
    if listener.path is not None:
        return listener.target
    return Listener(host=listener.host, port=port).target


@contextmanager
def reserved(listener: Listener) -> Iterator[None]:
    """Holds a unix socket's name for this process, as long as it lasts. Raises ListenRefused.

    The lock is on a file beside the socket, which stays: removing it would let two in.
    """
    if listener.path is None:
        yield
        return
    lock = listener.path.with_name(listener.path.name + ".lock")
    try:
        descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, LOCK_MODE)
    except OSError as error:
        raise ListenRefused(listener.target, f"{lock}: {error.strerror}") from error
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ListenRefused(listener.target, "another server listens there") from error
        yield
    finally:
        os.close(descriptor)


def _refuse_living_socket(path: Path) -> None:
    """A socket file that nobody answers on was left by a crash and may be replaced."""
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise ListenRefused(f"unix:{path}", "there is a file that is no socket")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(PROBE_SECONDS_MAX)
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            return
        except OSError as error:
            raise ListenRefused(f"unix:{path}", f"its socket: {error.strerror}") from error
    raise ListenRefused(f"unix:{path}", "somebody listens there")
