"""How the demo ends: one request's timeline, its joined traces, and a ledger that verifies."""

import asyncio
import re
from collections.abc import Sequence
from typing import Final

from examples.demo.collector import Span
from examples.demo.narrator import Narrator
from examples.demo.processes import STORE
from examples.demo.stage import TENANT, Stage, expect
from examples.demo.stories.auditing import TAMPERED, tampered, verified, verify_arguments
from examples.demo.timeline import timeline
from examples.demo.trace_tree import join, missing, tree

ID: Final = re.compile(r"\b(mr|ex)-[0-9a-f]{29}([0-9a-f]{3})\b")
ID_WIDTH: Final = 35
SHORT_ID_WIDTH: Final = 8


async def show_timeline(stage: Stage, narrator: Narrator) -> None:
    narrator.heading("The timeline of the request with two approvers")
    narrator.show(timeline(await stage.client("ruth").decisions(stage.showcase_id)))


async def show_trails(stage: Stage, narrator: Narrator) -> None:
    """Everything that came of some requests, as an auditor asks for it. Raises StoryFailed."""
    caller = ("--tenant", TENANT, "--actor", "ruth", "--address", stage.deployment.target)
    for id, title in stage.trails.items():
        narrator.heading(title)
        asked = ("requests", "show", id, "--tree")
        finished = await stage.deployment.governor(*asked, *caller)
        narrator.command("governor", asked, map(_with_short_ids, finished.lines), cut=True)
        expect("the exit code of governor requests show", finished.code, 0)


def _with_short_ids(line: str) -> str:
    """Ids by their ends, which tell them apart here, so that the decisions fit on the line."""
    heading = line.replace("REQUEST".ljust(ID_WIDTH), "REQUEST".ljust(SHORT_ID_WIDTH))
    return ID.sub(r"\1-..\2", heading)


async def show_trace(stage: Stage, narrator: Narrator) -> None:
    """The tree of its spans, as they came in from three processes. Raises StoryFailed."""
    narrator.heading("Its traces, out of the spans of three processes")
    request, executions = await stage.client("ruth").get(stage.showcase_id)
    execution, approvals = executions[0], len(request.approval.votes)

    def complete(spans: Sequence[Span]) -> bool:
        return not missing(spans, execution, approvals)

    spans = await stage.collector.until(complete)
    joined = join(spans, execution)
    if joined is not None:
        narrator.show(tree(joined))
    expect("what the spans lack", missing(spans, execution, approvals), [])


async def show_verification(stage: Stage, narrator: Narrator) -> None:
    """The store is what it says; a copy with one word changed is not. Raises StoryFailed."""
    narrator.heading("The ledger, against the checkpoint that ruth kept")
    genuine, forged = await asyncio.gather(verified(stage), tampered(stage))
    narrator.command("governor", verify_arguments(STORE), genuine.lines)
    narrator.heading("A copy of it, in which one word was changed on the disk")
    narrator.command("governor", verify_arguments(TAMPERED), forged.lines)
