"""One command's connection to the server: who calls, for which tenant, within which time."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, TypeVar

import grpc
import typer

from governance.v1 import governance_service_pb2_grpc
from governor.cli import options
from governor.cli.console import Output
from governor.clock import SystemIds
from governor.config.listener import parse_listener

ACTOR_HEADER = "governor-actor"
ANSWER_BYTES_MAX = 64 * 1024 * 1024

_Answer = TypeVar("_Answer")


@dataclass(frozen=True, slots=True, kw_only=True)
class Connection:
    """How to reach the server. Each field is an option of every command that calls it."""

    address: Annotated[
        str,
        typer.Option(
            envvar="GOVERNOR_ADDRESS", help="Where the server listens: host:port or unix:/path."
        ),
    ] = "127.0.0.1:50051"
    actor: Annotated[
        str,
        typer.Option(
            envvar="GOVERNOR_ACTOR", help="Who calls, where the server believes such a name."
        ),
    ] = ""
    tenant: Annotated[
        str, typer.Option(envvar="GOVERNOR_TENANT", help="Whose state it is about.")
    ] = ""
    tls_ca: Annotated[
        Path | None,
        typer.Option(
            envvar="GOVERNOR_TLS_CA", help="Who signs the server's certificate, PEM: turns TLS on."
        ),
    ] = None
    tls_certificate: Annotated[
        Path | None,
        typer.Option(envvar="GOVERNOR_TLS_CERTIFICATE", help="The caller's certificate, PEM."),
    ] = None
    tls_key: Annotated[
        Path | None,
        typer.Option(envvar="GOVERNOR_TLS_KEY", help="The private key of that certificate, PEM."),
    ] = None
    # Beside what the server itself is asked to wait: the time for the call to travel.
    timeout: Annotated[
        float,
        typer.Option(
            parser=options.seconds,
            metavar="TIME",
            help="How long to wait for an answer, beside --wait.",
            show_default="10s",
        ),
    ] = 10.0
    as_json: Annotated[
        bool, typer.Option("--json", help="Print protobuf JSON, one object per line.")
    ] = False


@dataclass(slots=True, kw_only=True)
class Session:
    """A connected command.

    `request_id` is the key of its last changing call, for the person who has to repeat it.
    """

    connection: Connection
    stub: governance_service_pb2_grpc.GovernanceServiceStub
    output: Output
    request_id: str = ""
    _ids: SystemIds = field(default_factory=SystemIds)

    def call(
        self, method: Callable[..., _Answer], request: Any, *, wait_seconds: float = 0.0
    ) -> _Answer:
        """One call with its deadline and its caller's name."""
        seconds = self.connection.timeout + wait_seconds
        return method(request, metadata=self.metadata, timeout=seconds)

    @property
    def metadata(self) -> tuple[tuple[str, str], ...]:
        """What every call carries."""
        actor = self.connection.actor
        return ((ACTOR_HEADER, actor),) if actor else ()

    def key(self, request_id: str | None) -> str:
        """The idempotency key of a changing call: the one given, or a fresh one."""
        self.request_id = request_id or self._ids.call_id()
        return self.request_id

    def tenant(self) -> str:
        """The tenant, for a command that needs one."""
        if not self.connection.tenant:
            raise typer.BadParameter("is needed here (or GOVERNOR_TENANT)", param_hint="--tenant")
        return self.connection.tenant


@contextmanager
def connected(connection: Connection, output: Output) -> Iterator[Session]:
    """A session, closed afterwards."""
    with _channel(connection) as channel:
        stub = governance_service_pb2_grpc.GovernanceServiceStub(channel)
        yield Session(connection=connection, stub=stub, output=output)


def _channel(connection: Connection) -> grpc.Channel:
    try:
        listener = parse_listener(connection.address)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--address") from None
    options = [("grpc.max_receive_message_length", ANSWER_BYTES_MAX)]
    if connection.tls_ca is None:
        if not listener.is_local:
            fact = f"{connection.address} is not on this machine: that takes --tls-ca"
            raise typer.BadParameter(fact, param_hint="--address")
        authority = [("grpc.default_authority", "localhost")] if listener.path else []
        return grpc.insecure_channel(listener.target, options=[*options, *authority])
    credentials = grpc.ssl_channel_credentials(
        root_certificates=_read(connection.tls_ca, "--tls-ca"),
        private_key=_read(connection.tls_key, "--tls-key"),
        certificate_chain=_read(connection.tls_certificate, "--tls-certificate"),
    )
    return grpc.secure_channel(listener.target, credentials, options=options)


def _read(path: Path | None, option: str) -> bytes | None:
    if path is None:
        return None
    try:
        return path.read_bytes()
    except OSError as error:
        raise typer.BadParameter(f"{path}: {error.strerror}", param_hint=option) from None
