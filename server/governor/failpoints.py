"""The named places where a crash test stops the sidecar dead, and how one is armed.

The code passes each place by its name, through a function handed down from the composition root;
in production that function does nothing. Arming needs two environment variables, so that it does
not happen by accident.
"""

import os
import signal
from collections.abc import Callable, Mapping

from governor.usecases.ports import Failpoints, no_failpoints

VARIABLE = "GOVERNOR_FAILPOINTS"
PERMISSION_VARIABLE = "GOVERNOR_ALLOW_FAILPOINTS"

NAMES: Mapping[str, str] = {
    "store.batch.before_begin": "A batch of commits is taken; its transaction has not begun.",
    "store.batch.before_commit": "Everything is in the transaction, which is not durable.",
    "store.batch.after_commit": "The transaction is durable; nobody was told.",
    "execute.before_claim": "The version is resolved; the claim is not committed.",
    "execute.before_apply": "The claim is durable; the host was not called by this attempt.",
    "execute.after_apply": "The host has answered, or failed to; nothing of it is recorded.",
    "execute.before_fence": "The host gave no outcome in time; the fence has not been asked for.",
    "execute.before_outcome": "The outcome is known; it is not committed.",
    "execute.after_outcome": "The outcome is durable; nothing followed from it yet.",
    "recover.before_reclaim": "An execution without an owner was found; it is not taken over.",
    "recover.after_reclaim": "It is taken over under a higher token; the host was not asked.",
}
"""Every place there is, and what has and has not happened when it is passed."""


class FailpointsRefused(Exception):
    """The failpoints asked for are not permitted, not known or not readable."""


def from_environment(environment: Mapping[str, str], *, kill: Callable[[], None]) -> Failpoints:
    """The failpoints that `environment` arms; usually none.

    Raises FailpointsRefused rather than run with half of what was asked for.
    """
    text = environment.get(VARIABLE, "")
    if not text:
        return no_failpoints
    if environment.get(PERMISSION_VARIABLE) != "1":
        raise FailpointsRefused(
            f"{VARIABLE} is set, which kills this process on purpose; "
            f"it takes {PERMISSION_VARIABLE}=1 as well"
        )
    left = dict(_parse(item) for item in text.split(","))

    def pass_by(name: str) -> None:
        if name in left:
            left[name] -= 1
            if left[name] == 0:
                kill()

    return pass_by


def kill_this_process() -> None:
    """Ends the process as a power cut would: no handler runs, no buffer is flushed."""
    os.kill(os.getpid(), signal.SIGKILL)


def _parse(item: str) -> tuple[str, int]:
    """Reads `name=kill`, or `name=kill@3` for the third passing."""
    name, _, rest = item.strip().partition("=")
    action, _, passing = rest.partition("@")
    if name not in NAMES:
        raise FailpointsRefused(f"{VARIABLE}: no failpoint {name!r}; there are: {', '.join(NAMES)}")
    if action != "kill" or not (passing or "1").isdecimal() or int(passing or "1") < 1:
        raise FailpointsRefused(f"{VARIABLE}: {item!r} is neither name=kill nor name=kill@3")
    return name, int(passing or "1")
