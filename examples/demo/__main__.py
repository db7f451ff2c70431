"""Plays the whole governed loop: a real sidecar, a real host, real calls, and every end checked.

`make demo`, or `python -m examples.demo`. Exits with 0 when everything came out as it must, and
otherwise with 1, the reason, and the last lines of the processes.
"""

import asyncio
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final

from examples.demo import finale
from examples.demo.client import Client, connected
from examples.demo.collector import collecting
from examples.demo.follower import following
from examples.demo.host_state import HostState
from examples.demo.narrator import Narrator
from examples.demo.processes import Deployment, running
from examples.demo.stage import TENANT, Stage
from examples.demo.stories import (
    agreeing,
    auditing,
    deciding,
    ending,
    staleness,
    surviving,
    undoing,
)
from examples.demo.tracing import exporting

Story = Callable[[Stage], Awaitable[str]]

STORIES: Final[tuple[tuple[str, Story], ...]] = (
    ("Policy allows it", deciding.auto_approved),
    ("Two approvers of a quorum", deciding.approved_by_a_quorum),
    ("Policy denies it", deciding.denied_by_policy),
    ("A person rejects it", deciding.rejected_with_a_reason),
    ("Owner, security and a check", agreeing.owner_security_and_a_check),
    ("The glass is broken", agreeing.the_glass_is_broken),
    ("The state has moved on: reject", staleness.stale_and_rejected),
    ("The state has moved on: approve again", staleness.stale_and_approved_again),
    ("The state has moved on: revalidate", staleness.stale_and_revalidated),
    ("An auditor keeps a checkpoint", auditing.checkpoint_kept),
    ("An operator takes a change back", undoing.rolled_back_with_approval),
    ("A rollback comes too late", undoing.stale_rollback_refused),
    ("A batch of five is put right in reverse", undoing.batch_put_right_in_reverse),
    ("Cancel", ending.canceled),
    ("Supersede", ending.superseded),
    ("Expiry", ending.expired),
    ("The same request_id twice", ending.submitted_twice),
    ("The host is killed before its commit", surviving.host_killed_before_its_commit),
    ("The host is killed after its commit", surviving.host_killed_after_its_commit),
    ("A stream is cut and resumed", surviving.stream_cut_and_resumed),
)

LINES_SHOWN: Final = 30
EXIT_FAILED: Final = 1
EXIT_INTERRUPTED: Final = 130


async def play(narrator: Narrator, folder: Path) -> int:
    """Everything between the first process and the last. Answers the exit code."""
    begun_at = time.monotonic()
    async with collecting() as collector:
        deployment = Deployment.in_folder(folder, collector.endpoint)
        try:
            async with (
                running(deployment.host, deployment.sidecar),
                exporting(collector.endpoint),
                connected(deployment.target) as channel,
                following(Client(channel, actor="ruth", tenant=TENANT)) as follower,
            ):
                narrator.opens(
                    "Governor: the governed loop, end to end",
                    "One sidecar, one flags host, one collector of spans; every call is real.",
                )
                stage = Stage(
                    channel=channel,
                    deployment=deployment,
                    host_state=HostState(database=deployment.host_database, tenant=TENANT),
                    collector=collector,
                    follower=follower,
                    narrator=narrator,
                )
                for number, (title, story) in enumerate(STORIES, start=1):
                    narrator.story(number, title)
                    narrator.closes(await story(stage))
                await finale.show_timeline(stage, narrator)
                await finale.show_trace(stage, narrator)
                await finale.show_trails(stage, narrator)
                await finale.show_verification(stage, narrator)
        except Exception as failure:  # noqa: BLE001 - whatever it was, it is shown with the logs
            narrator.fails(failure)
            narrator.tail("the demo", "".join(traceback.format_exception(failure)).splitlines())
            for process in (deployment.sidecar, deployment.host):
                narrator.tail(process.name, process.last_lines(LINES_SHOWN))
            return EXIT_FAILED
    seconds = time.monotonic() - begun_at
    narrator.ends(f"{len(STORIES)} stories, all as they must be, in {seconds:.0f} s.")
    return 0


async def main() -> int:
    playing = asyncio.current_task()
    if playing is not None:
        # As Ctrl-C does: nothing may be left running.
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, playing.cancel)
    # Sockets live in it, and their paths must be short.
    with tempfile.TemporaryDirectory(prefix="governor-demo-") as folder:
        return await play(Narrator(), Path(folder))


if __name__ == "__main__":
    try:
        sys.exit(asyncio.run(main()))
    except (KeyboardInterrupt, asyncio.CancelledError):
        sys.exit(EXIT_INTERRUPTED)
