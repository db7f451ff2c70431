"""What every use case works with: the ports, the limits, and the parts that live in memory."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from governor.usecases.ports import (
    Checks,
    Clock,
    Directory,
    Failpoints,
    Host,
    Ids,
    NobodyToAsk,
    Policy,
    Store,
    Tracing,
    no_failpoints,
)
from governor.usecases.tail import TAIL_BYTES_MAX

if TYPE_CHECKING:
    from governor.usecases.execution_manager import ExecutionManager
    from governor.usecases.host_standing import Standing
    from governor.usecases.tail import Tail
    from governor.usecases.waiting import Waiters


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Every bound of the use cases; the configuration reference documents each."""

    request_lifetime_seconds: float = 7 * 86_400.0
    request_lifetime_seconds_max: float = 90 * 86_400.0
    break_glass_lifetime_seconds: float = 3_600.0
    break_glass_review_seconds: float = 3 * 86_400.0
    wait_seconds_max: float = 30.0
    lease_seconds: float = 30.0
    apply_seconds_max: float = 10.0
    in_doubt_seconds_max: float = 300.0
    backoff_seconds_initial: float = 0.1
    backoff_seconds_max: float = 5.0
    executions_running_max: int = 64
    executions_per_request_max: int = 10
    conflict_retries_max: int = 8
    waiters_max: int = 10_000
    tail_entries_max: int = 16_384
    tail_bytes_max: int = TAIL_BYTES_MAX
    heartbeat_seconds: float = 10.0
    stream_blocked_seconds_max: float = 30.0
    timer_poll_seconds_max: float = 1.0
    timer_page: int = 200
    timer_retry_seconds: float = 5.0
    checks_running_max: int = 16
    check_pause_seconds_initial: float = 0.5
    check_pause_seconds_max: float = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class App:
    """The composed application. Built once, at the composition root."""

    store: Store
    host: Host
    policy: Policy
    directory: Directory
    clock: Clock
    ids: Ids
    tracing: Tracing
    executions: "ExecutionManager"
    standing: "Standing"
    waiters: "Waiters"
    tail: "Tail"
    checks: Checks = field(default_factory=NobodyToAsk)
    limits: Limits = field(default_factory=Limits)
    failpoints: Failpoints = no_failpoints
