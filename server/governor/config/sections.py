"""Every setting of the server: its name, default, bound and meaning, in the chapters of the page.

A name ends in its unit, `_seconds` or `_bytes`, and `_max` or `_initial` after it.
"""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from governor.config.listener import parse_listener
from governor.usecases.app import Limits

ENVIRONMENT_PREFIX = "GOVERNOR_"

_LIMITS = Limits()


def _address(text: str) -> str:
    parse_listener(text)
    return text


Address = Annotated[str, AfterValidator(_address)]
Seconds = Annotated[float, Field(gt=0, le=366 * 86_400, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=1, le=10_000_000)]
# gRPC counts message bytes in 31 bits, and the server lets it take a multiple of these.
MessageBytes = Annotated[int, Field(ge=1, le=256 * 1_048_576)]
MemoryBytes = Annotated[int, Field(ge=1_048_576, le=2**40)]


class Section(BaseSettings):
    """Settings that belong together."""

    model_config = SettingsConfigDict(
        env_prefix=ENVIRONMENT_PREFIX,
        env_ignore_empty=True,
        extra="forbid",
        frozen=True,
    )


class Listening(Section):
    """Where callers reach the server, and who they are."""

    listen: Address = Field(
        default="127.0.0.1:50051",
        description="Where to listen: `host:port`, `[ipv6]:port` or `unix:/path`. Port 0 takes a "
        "free one. Beyond loopback and unix sockets TLS is required.",
    )
    tls_certificate_file: Path | None = Field(
        default=None, description="The server's certificate chain, PEM. Turns TLS on."
    )
    tls_key_file: Path | None = Field(
        default=None, description="The private key of that certificate, PEM."
    )
    tls_client_ca_file: Path | None = Field(
        default=None,
        description="Who may sign client certificates, PEM. Turns mutual TLS on: a caller without "
        "such a certificate is not let in.",
    )
    identity: Literal["development", "mtls"] = Field(
        default="development",
        description="How callers are known. `development` believes the header `governor-actor`, "
        "and is refused beyond loopback and unix sockets; `mtls` takes the name in the client's "
        "certificate.",
    )
    reflection: bool = Field(
        default=False, description="Whether the contract can be read from the server by reflection."
    )


class Admitting(Section):
    """How much the server takes on at once."""

    payload_bytes_max: MessageBytes = Field(
        default=1_048_576, description="The largest payload of a mutation."
    )
    message_bytes_max: MessageBytes = Field(
        default=2_097_152,
        description="The largest request message; it must leave room around the payload.",
    )
    calls_running_max: Count = Field(
        default=2_000,
        description="How many calls are worked on at once, beside streams and WaitRequest.",
    )
    streams_open_max: Count = Field(default=1_000, description="How many streams are open at once.")
    bytes_in_flight_max: MemoryBytes = Field(
        default=128 * 1_048_576,
        description="How many bytes the requests of all calls and streams under way come to. Each "
        "takes about four times that in memory.",
    )
    connections_max: Count = Field(
        default=4_096,
        description="How many connections are open at once. One more is closed as it is made.",
    )
    connection_calls_max: Count = Field(
        default=1_000,
        description="How many calls and streams one connection carries at once. The client keeps "
        "further ones back; one that comes too early is answered UNAVAILABLE.",
    )
    keepalive_seconds: Seconds = Field(
        default=60.0,
        description="After how long without traffic the server asks whether a client is there.",
    )
    keepalive_timeout_seconds: Seconds = Field(
        default=20.0, description="How long it waits for that answer."
    )


class Storing(Section):
    """Where everything durable lies."""

    store_url: str = Field(
        default="sqlite:///governor.db",
        min_length=1,
        description="The database: `sqlite:///relative.db`, `sqlite:////absolute.db` or "
        "`postgresql://user@host/name`. A password in it is never shown.",
    )
    migrate_at_start: Literal["embedded", "always", "never"] = Field(
        default="embedded",
        description="When `serve` brings the schema up to date by itself: `embedded` for SQLite "
        "alone. Otherwise `governor migrate` does it.",
    )
    commits_waiting_max: Count = Field(
        default=4_096,
        description="How many commits may wait for the disk before calls are refused.",
    )
    commits_waiting_bytes_max: MemoryBytes = Field(
        default=256 * 1_048_576,
        description="How many bytes of payload they come to, also after their callers have left.",
    )
    commits_per_transaction_max: Count = Field(
        default=512, description="How many of them become durable together at most."
    )
    snapshot_bytes_max: MemoryBytes = Field(
        default=64 * 1_048_576,
        description="How much memory the cache of requests and executions takes, as an estimate.",
    )
    ledger_poll_seconds_max: Seconds = Field(
        default=0.5,
        description="The longest that a replica on PostgreSQL goes without looking for what others "
        "have written. It looks sooner when they notify it.",
    )
    readers_max: Count = Field(
        default=4,
        description="How many connections read from SQLite. PostgreSQL takes `pool_size` from its "
        "URL.",
    )
    wal_bytes_alarm: int = Field(
        default=256 * 1_048_576,
        ge=64 * 1_048_576,
        le=2**40,
        description="From which size of SQLite's write-ahead log on the server warns of it. One of "
        "64 MiB is kept for use again; what is larger is held by a reader that does not end.",
    )


class Hosting(Section):
    """The service that owns the state."""

    host_address: Address | None = Field(
        default=None,
        description="Where the host's MutationEngine listens, as in `listen`. `serve` needs it.",
    )
    host_tls_ca_file: Path | None = Field(
        default=None,
        description="Who signs the host's certificate, PEM. Turns TLS on towards the host.",
    )
    host_tls_certificate_file: Path | None = Field(
        default=None, description="The sidecar's own certificate towards the host, PEM."
    )
    host_tls_key_file: Path | None = Field(
        default=None, description="The private key of that certificate, PEM."
    )
    host_message_bytes_max: MessageBytes = Field(
        default=8_388_608,
        description="The largest message to or from the host, or a service that answers checks.",
    )
    host_failures_max: Count = Field(
        default=5,
        description="After how many calls in a row without an answer the host is left alone.",
    )
    host_pause_seconds_initial: Seconds = Field(
        default=1.0,
        description="For how long at first; then one call tries, and each failure doubles it.",
    )
    host_pause_seconds_max: Seconds = Field(default=30.0, description="The longest such pause.")


class Deciding(Section):
    """Who may do what."""

    policy_file: Path | None = Field(
        default=None,
        description="The rules, TOML. Without it every mutation is denied. Read again on SIGHUP.",
    )
    directory_file: Path | None = Field(
        default=None,
        description="The actors with their roles and groups, TOML. Without it nobody may call "
        "anything. Read again on SIGHUP.",
    )


class Requesting(Section):
    """How long requests live and callers wait."""

    request_lifetime_seconds: Seconds = Field(
        default=_LIMITS.request_lifetime_seconds,
        description="When a request expires whose submission names no expire_time.",
    )
    request_lifetime_seconds_max: Seconds = Field(
        default=_LIMITS.request_lifetime_seconds_max,
        description="The farthest expire_time that a submission may name.",
    )
    break_glass_lifetime_seconds: Seconds = Field(
        default=_LIMITS.break_glass_lifetime_seconds,
        description="When a submission that breaks the glass expires, and the farthest expire_time "
        "that it may name.",
    )
    break_glass_review_seconds: Seconds = Field(
        default=_LIMITS.break_glass_review_seconds,
        description="How long others have to review it. Later than that, who broke the glass "
        "cannot do so again until it is reviewed.",
    )
    wait_seconds_max: Seconds = Field(
        default=_LIMITS.wait_seconds_max,
        description="The longest that WaitRequest, Submit and Execute wait before they answer.",
    )
    waiters_max: Count = Field(
        default=_LIMITS.waiters_max, description="How many calls may wait for a request at once."
    )
    conflict_retries_max: Count = Field(
        default=_LIMITS.conflict_retries_max,
        description="How often a call starts over because somebody else changed the request first.",
    )
    timer_poll_seconds_max: Seconds = Field(
        default=_LIMITS.timer_poll_seconds_max,
        description="The longest that expiry and schedules go without looking at the store.",
    )
    timer_page: Count = Field(
        default=_LIMITS.timer_page, description="How many due requests the timer takes at a time."
    )
    timer_retry_seconds: Seconds = Field(
        default=_LIMITS.timer_retry_seconds,
        description="How long a due request that failed to move is left alone.",
    )


class Checking(Section):
    """How the services are called that answer checks; policy says where each of them is."""

    checks_running_max: Count = Field(
        default=_LIMITS.checks_running_max, description="How many checks are asked for at once."
    )
    check_pause_seconds_initial: Seconds = Field(
        default=_LIMITS.check_pause_seconds_initial,
        description="The first pause before a service that gave no answer is asked again; the "
        "pauses grow at random from there, until the check's own time is up.",
    )
    check_pause_seconds_max: Seconds = Field(
        default=_LIMITS.check_pause_seconds_max, description="The longest such pause."
    )


class Executing(Section):
    """How approved requests are carried out in the host."""

    executions_running_max: Count = Field(
        default=_LIMITS.executions_running_max,
        description="How many executions run at once, over all states.",
    )
    executions_per_request_max: Count = Field(
        default=_LIMITS.executions_per_request_max,
        description="How many executions one request may start before it needs a person.",
    )
    lease_seconds: Seconds = Field(
        default=_LIMITS.lease_seconds,
        description="How long an execution belongs to its process without renewal. On PostgreSQL "
        "others take over within this time what a replica that died has left.",
    )
    apply_seconds_max: Seconds = Field(
        default=_LIMITS.apply_seconds_max,
        description="The deadline of one call to the host. Must lie within the lease.",
    )
    in_doubt_seconds_max: Seconds = Field(
        default=_LIMITS.in_doubt_seconds_max,
        description="How long an unknown outcome is looked up before a person must say.",
    )
    backoff_seconds_initial: Seconds = Field(
        default=_LIMITS.backoff_seconds_initial,
        description="The first pause before the host is asked again; it doubles from there.",
    )
    backoff_seconds_max: Seconds = Field(
        default=_LIMITS.backoff_seconds_max, description="The longest such pause."
    )


class Streaming(Section):
    """How decisions reach subscribers."""

    tail_entries_max: Count = Field(
        default=_LIMITS.tail_entries_max,
        description="How many of the newest decisions are kept in memory for all streams together.",
    )
    tail_bytes_max: MemoryBytes = Field(
        default=_LIMITS.tail_bytes_max,
        description="How many bytes of them at most; older ones are read from the store.",
    )
    heartbeat_seconds: Seconds = Field(
        default=_LIMITS.heartbeat_seconds,
        description="How often a stream says where it stands, unless a subscriber asks otherwise.",
    )
    stream_blocked_seconds_max: Seconds = Field(
        default=_LIMITS.stream_blocked_seconds_max,
        description="How long a subscriber may block its stream before it is told SLOW_CONSUMER.",
    )


class Operating(Section):
    """How the process behaves. Tracing and metrics follow the standard OTEL_* variables."""

    log_level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="The least severe log record that is written."
    )
    log_format: Literal["auto", "json", "text"] = Field(
        default="auto",
        description="`json` writes one object per line, `text` a line for people; `auto` is text "
        "on a terminal and json elsewhere. Logs go to stderr.",
    )
    drain_seconds_max: Seconds = Field(
        default=20.0,
        description="How long a shutdown waits for running calls and executions; what is left then "
        "is settled at the next start.",
    )


SECTIONS: tuple[type[Section], ...] = (
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
)
