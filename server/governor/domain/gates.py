"""What policy puts in the way beside approval: checks, quotas, reviews and maintenance windows."""

from governor.domain.approval import Target
from governor.domain.values import Value

DEPENDENCY_REVIEW = "dependency"
"""The name of the MANUAL_REVIEW of a request whose dependencies were not all executed."""


class Gate(Value, frozen=True, kw_only=True):
    """One named thing that must be answered, by somebody or by time.

    `reason` is EXTERNAL_CHECK, QUOTA or MANUAL_REVIEW, as in PendingReason. Without an answer a
    quota opens after `timeout_seconds` and the others fail. Governor asks for a check that is
    `called`; the rest is answered by ResolvePending, by one of the `resolvers` if any are named.
    """

    reason: str
    name: str
    resolvers: tuple[Target, ...] = ()
    timeout_seconds: int | None = None
    called: bool = False
    detail: str = ""


class Window(Value, frozen=True, kw_only=True):
    """A recurring span of time: `opens` are five cron fields, read in `timezone` (IANA)."""

    name: str
    opens: str
    lasts_seconds: int
    timezone: str = "UTC"
