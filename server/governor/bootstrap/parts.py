"""Single parts of the sidecar, made out of the settings."""

import asyncio
from pathlib import Path
from typing import TypeVar

from governor.bootstrap.refusals import CannotStart
from governor.clock import SystemIds
from governor.config.listener import parse_listener
from governor.config.settings import Settings
from governor.domain.errors import HostUnavailable
from governor.host.client import HostClient, HostTls
from governor.storage import open as stores
from governor.storage.store import StoreLimits
from governor.telemetry.providers import Telemetry
from governor.usecases.app import App, Limits
from governor.usecases.ports import Host
from governor.wire.identity import Authenticator, CertificateIdentity, DevelopmentIdentity
from governor.wire.limits import WireLimits
from governor.wire.listening import TlsFiles
from governor.wire.server import GovernorServer

HOST_PROBE_SECONDS_MAX = 1.0

_Bounds = TypeVar("_Bounds", StoreLimits, WireLimits, Limits)


def server_of(settings: Settings, app: App, telemetry: Telemetry, ids: SystemIds) -> GovernorServer:
    authenticator: Authenticator
    match settings.identity:
        case "development":
            authenticator = DevelopmentIdentity()
        case "mtls":
            authenticator = CertificateIdentity()
    return GovernorServer(
        app,
        listener=settings.listener,
        authenticator=authenticator,
        incident_id=ids.incident_id,
        telemetry=telemetry,
        bounds=bounds_of(WireLimits, settings),
        tls=_server_tls(settings),
        reflection=settings.reflection,
    )


def _server_tls(settings: Settings) -> TlsFiles | None:
    if settings.tls_certificate_file is None or settings.tls_key_file is None:
        return None
    return TlsFiles(
        certificate=_read(settings.tls_certificate_file),
        key=_read(settings.tls_key_file),
        client_ca=_read(settings.tls_client_ca_file) if settings.tls_client_ca_file else None,
    )


def host_of(settings: Settings, telemetry: Telemetry) -> HostClient:
    """The client of the service that owns the state; nothing is connected yet."""
    if settings.host_address is None:
        raise CannotStart("host_address: is not set; it names the service that owns the state")
    return HostClient(
        parse_listener(settings.host_address).target,
        call_seconds_max=settings.apply_seconds_max,
        telemetry=telemetry,
        tls=_host_tls(settings),
        message_bytes_max=settings.host_message_bytes_max,
        failures_max=settings.host_failures_max,
        pause_seconds_initial=settings.host_pause_seconds_initial,
        pause_seconds_max=settings.host_pause_seconds_max,
    )


async def promises_of(host: Host) -> str:
    """What the host announces, if it answers at once; it may well come up later."""
    try:
        async with asyncio.timeout(HOST_PROBE_SECONDS_MAX):
            capabilities = await host.capabilities()
    except (HostUnavailable, TimeoutError):
        return ""
    once = "exactly once" if capabilities.exactly_once else "at most once, without retry"
    return f"{capabilities.host_name or 'a host without a name'}, {once}"


def _host_tls(settings: Settings) -> HostTls | None:
    if settings.host_tls_ca_file is None:
        return None
    certificate, key = settings.host_tls_certificate_file, settings.host_tls_key_file
    return HostTls(
        ca=_read(settings.host_tls_ca_file),
        certificate=_read(certificate) if certificate else None,
        key=_read(key) if key else None,
    )


def bounds_of(kind: type[_Bounds], settings: Settings) -> _Bounds:
    """The bounds of one part of the house, which the settings call by the same names."""
    return kind(**{name: getattr(settings, name) for name in kind.__dataclass_fields__})


def migrates(settings: Settings) -> bool:
    match settings.migrate_at_start:
        case "embedded":
            return stores.is_sqlite(stores.parse(settings.store_url))
        case "always":
            return True
        case "never":
            return False


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise CannotStart(f"{path}: {error.strerror}") from error
