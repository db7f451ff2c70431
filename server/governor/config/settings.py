"""The settings of one server as a whole, and what must hold between them."""

from typing import Self

from pydantic import model_validator

from governor.config.listener import Listener, parse_listener
from governor.config.sections import (
    Admitting,
    Checking,
    Deciding,
    Executing,
    Hosting,
    Listening,
    Operating,
    Requesting,
    Storing,
    Streaming,
)


class Settings(
    Listening,
    Admitting,
    Storing,
    Hosting,
    Deciding,
    Requesting,
    Checking,
    Executing,
    Streaming,
    Operating,
):
    """The effective settings of one server."""

    @property
    def listener(self) -> Listener:
        """Where to listen, taken apart."""
        return parse_listener(self.listen)

    @model_validator(mode="after")
    def _is_safe_to_listen(self) -> Self:
        exposed = f"{self.listen} can be reached from other machines"
        if self.tls_certificate_file is None and not self.listener.is_local:
            raise ValueError(
                f"listen: {exposed} and needs TLS: tls_certificate_file and tls_key_file"
            )
        if self.identity == "development" and not self.listener.is_local:
            raise ValueError(
                f"identity: development believes whatever name a caller gives, and {exposed}: "
                "take mtls, or listen on loopback or a unix socket"
            )
        if self.identity == "mtls" and self.tls_client_ca_file is None:
            raise ValueError("tls_client_ca_file: is required by identity mtls")
        return self

    @model_validator(mode="after")
    def _reaches_its_host_safely(self) -> Self:
        if self.host_address is None or parse_listener(self.host_address).is_local:
            return self
        if self.host_tls_ca_file is None:
            raise ValueError(
                f"host_address: {self.host_address} is not on this machine and needs TLS: "
                "host_tls_ca_file"
            )
        return self

    @model_validator(mode="after")
    def _pairs_are_whole(self) -> Self:
        for first, second in (
            ("tls_certificate_file", "tls_key_file"),
            ("host_tls_certificate_file", "host_tls_key_file"),
        ):
            if (getattr(self, first) is None) != (getattr(self, second) is None):
                raise ValueError(f"{first}: goes with {second}, set both or neither")
        for needing, needed in (
            ("tls_client_ca_file", "tls_certificate_file"),
            ("host_tls_certificate_file", "host_tls_ca_file"),
        ):
            if getattr(self, needing) is not None and getattr(self, needed) is None:
                raise ValueError(f"{needing}: needs {needed} as well")
        return self

    @model_validator(mode="after")
    def _bounds_are_in_order(self) -> Self:
        for lesser, greater in (
            ("request_lifetime_seconds", "request_lifetime_seconds_max"),
            ("break_glass_lifetime_seconds", "request_lifetime_seconds_max"),
            ("apply_seconds_max", "lease_seconds"),
            ("backoff_seconds_initial", "backoff_seconds_max"),
            ("check_pause_seconds_initial", "check_pause_seconds_max"),
            ("host_pause_seconds_initial", "host_pause_seconds_max"),
            ("payload_bytes_max", "message_bytes_max"),
            ("message_bytes_max", "bytes_in_flight_max"),
            ("payload_bytes_max", "host_message_bytes_max"),
        ):
            if getattr(self, lesser) > getattr(self, greater):
                raise ValueError(f"{lesser}: must not exceed {greater}")
        return self
