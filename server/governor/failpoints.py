"""The named places where a crash test kills or pauses the sidecar, and how one is armed.

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
    "migrate.before_step": "The schema's version was read; no step of the migration was taken.",
    "migrate.after_step": "A step is in the transaction, which is not durable.",
    "migrate.before_commit": "Every step is in the transaction, which is not durable.",
    "migrate.after_commit": "The schema is up to date; the store is not open.",
    "store.batch.before_begin": "A batch of commits is taken; its transaction has not begun.",
    "store.batch.after_rows": "Requests and executions are written; no entry of the ledger is.",
    "store.batch.before_head": "The ledger's entries are written; its head is not.",
    "store.batch.before_commit": "Everything is in the transaction, which is not durable.",
    "store.batch.after_commit": "The transaction is durable; nobody was told.",
    "execute.before_claim": "The version is resolved; the claim is not committed.",
    "execute.before_apply": "The claim is durable; the host was not called by this attempt.",
    "execute.after_apply": "The host has answered, or failed to; nothing of it is recorded.",
    "execute.before_fence": "The host gave no outcome in time; the fence has not been asked for.",
    "execute.before_release": "The host will never apply it; that is not committed.",
    "execute.after_release": "The request may be executed anew; nothing followed from it yet.",
    "execute.before_doubt": "The host does not even answer the fence; that is not committed.",
    "execute.before_outcome": "The outcome is known; it is not committed.",
    "execute.after_outcome": "The outcome is durable; nothing followed from it yet.",
    "adopt.before_page": "What nobody sees to is about to be looked for.",
    "adopt.after_page": "Some of it is marked as ours to see to; nobody here was told.",
    "recover.before_reclaim": "An execution without an owner was found; it is not taken over.",
    "recover.after_reclaim": "It is taken over under a higher token; the host was not asked.",
    "revalidate.before_commit": "Policy and host have spoken again; that is not committed.",
    "revalidate.after_commit": "What they said is durable; nothing followed from it yet.",
    "dependency.before_commit": "A dependency has ended; what follows from it is not committed.",
    "dependency.after_commit": "What follows from it is durable.",
    "batch.before_claim": "A batch may be executed; that is not committed.",
    "batch.after_claim": "The batch is executed; none of its members was let go.",
    "batch.before_step": "A member of a batch has ended; what follows is not committed.",
    "batch.after_step": "What follows from it is durable.",
    "check.before_commit": "A check was answered; what follows from it is not committed.",
    "check.after_commit": "What follows from it is durable.",
    "timer.before_fire": "A request's time has come; what it brings is not committed.",
    "timer.after_fire": "What it brings is durable; nothing followed from it yet.",
    "stream.before_entry": "A subscriber is about to be sent an entry.",
    "stream.after_entry": "An entry was handed to the connection; the cursor has not moved.",
}
"""Every place there is, and what has and has not happened when it is passed."""


class FailpointsRefused(Exception):
    """The failpoints asked for are not permitted, not known or not readable."""


def from_environment(
    environment: Mapping[str, str], *, actions: Mapping[str, Callable[[], None]]
) -> Failpoints:
    """The failpoints that `environment` arms; usually none.

    Raises FailpointsRefused rather than run with half of what was asked for.
    """
    text = environment.get(VARIABLE, "")
    if not text:
        return no_failpoints
    if environment.get(PERMISSION_VARIABLE) != "1":
        raise FailpointsRefused(
            f"{VARIABLE} is set, which kills or pauses this process on purpose; "
            f"it takes {PERMISSION_VARIABLE}=1 as well"
        )
    armed = [_parse(item) for item in text.split(",")]
    kinds = {name: kind for name, kind, _ in armed}
    left = {name: passing for name, _, passing in armed}

    def pass_by(name: str) -> None:
        if name in left:
            left[name] -= 1
            if left[name] == 0:
                actions[kinds[name]]()

    return pass_by


def kill_this_process() -> None:
    """Ends the process as a power cut would: no handler runs, no buffer is flushed."""
    os.kill(os.getpid(), signal.SIGKILL)


def pause_this_process() -> None:
    """Every thread stands still until somebody sends SIGCONT; the world goes on meanwhile."""
    os.kill(os.getpid(), signal.SIGSTOP)


KINDS: Mapping[str, Callable[[], None]] = {"kill": kill_this_process, "stop": pause_this_process}
"""What can happen at a place."""


def _parse(item: str) -> tuple[str, str, int]:
    """Reads `name=kill` or `name=stop`, or `name=kill@3` for the third passing."""
    name, _, rest = item.strip().partition("=")
    kind, _, passing = rest.partition("@")
    if name not in NAMES:
        raise FailpointsRefused(f"{VARIABLE}: no failpoint {name!r}; there are: {', '.join(NAMES)}")
    if kind not in KINDS or not (passing or "1").isdecimal() or int(passing or "1") < 1:
        forms = " or ".join(f"name={kind}" for kind in KINDS)
        raise FailpointsRefused(f"{VARIABLE}: {item!r} is not {forms}, nor one with @3")
    return name, kind, int(passing or "1")
