"""The channel to the host: how it is made, and word of every time it breaks."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import grpc
import grpc.aio

MESSAGE_BYTES_MAX: Final = 8 * 1_048_576
KEEPALIVE_MILLISECONDS: Final = 30_000
KEEPALIVE_TIMEOUT_MILLISECONDS: Final = 10_000
RECONNECT_MILLISECONDS: Final = 100
RECONNECT_MILLISECONDS_MAX: Final = 2_000


@dataclass(frozen=True, slots=True, kw_only=True)
class HostTls:
    """PEM contents for the connection to the host; with a certificate the host knows who calls."""

    ca: bytes
    certificate: bytes | None = None
    key: bytes | None = None


def open_channel(target: str, tls: HostTls | None, message_bytes_max: int) -> grpc.aio.Channel:
    """A channel that connects when it is first used, and again when it breaks."""
    options: list[tuple[str, str | int]] = [
        ("grpc.max_receive_message_length", message_bytes_max),
        ("grpc.max_send_message_length", message_bytes_max),
        # Whether an order may be sent again is decided by its answer, never by the transport.
        ("grpc.enable_retries", 0),
        ("grpc.initial_reconnect_backoff_ms", RECONNECT_MILLISECONDS),
        ("grpc.max_reconnect_backoff_ms", RECONNECT_MILLISECONDS_MAX),
        ("grpc.keepalive_time_ms", KEEPALIVE_MILLISECONDS),
        ("grpc.keepalive_timeout_ms", KEEPALIVE_TIMEOUT_MILLISECONDS),
    ]
    if target.startswith("unix:"):
        # A path is no authority, and servers in Rust refuse what is none.
        options.append(("grpc.default_authority", "localhost"))
    if tls is None:
        return grpc.aio.insecure_channel(target, options)
    credentials = grpc.ssl_channel_credentials(tls.ca, tls.key, tls.certificate)
    return grpc.aio.secure_channel(target, credentials, options)


async def watch(channel: grpc.aio.Channel, changed: Callable[[bool], None]) -> None:
    """Says whether there is a connection, each time that changes, until the channel is closed.

    A connection that is lost is made again at once, and not by the next order, which then waits.
    """
    state = channel.get_state()
    while state is not grpc.ChannelConnectivity.SHUTDOWN:
        await channel.wait_for_state_change(state)
        if state is grpc.ChannelConnectivity.READY:
            changed(False)  # however soon there is another one: it may lead to another process
        state = channel.get_state(try_to_connect=True)
        if state is grpc.ChannelConnectivity.READY:
            changed(True)


def was_cancelled_from_outside() -> bool:
    """Whether the running task itself is to stop, rather than a call that it awaits."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
