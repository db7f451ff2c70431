"""Trusting nobody's word: a checkpoint kept outside, and what `governor verify` makes of it."""

import sqlite3
from contextlib import closing
from typing import Final

from examples.demo.processes import STORE, Finished
from examples.demo.stage import Stage, expect
from examples.demo.stories.deciding import REJECTION_CODE

CHECKPOINT: Final = "checkpoint.txt"
TAMPERED: Final = "tampered.db"
VERIFICATION_FAILED: Final = 4
FAULTS: Final = frozenset({"ENTRY_CHANGED", "HISTORY_REWRITTEN"})
TAMPERING: Final = (REJECTION_CODE.encode(), b"LOAD_TEST_PRESENT")


async def checkpoint_kept(stage: Stage) -> str:
    finished = await stage.deployment.governor(
        *("verify", "--store", f"sqlite:///{STORE}", "--write-checkpoint", CHECKPOINT)
    )
    expect("the exit code of governor verify", (finished.code, finished.lines), (0, finished.lines))
    _, size, root = (stage.deployment.folder / CHECKPOINT).read_text().splitlines()
    stage.say("ruth", f"keeps the size {size} and the root {root}")
    return "checkpoint: three lines, kept where the operator cannot write"


def verify_arguments(store: str) -> tuple[str, ...]:
    """The command that holds a store against the checkpoint."""
    return ("verify", "--store", f"sqlite:///{store}", "--checkpoint", CHECKPOINT)


async def verified(stage: Stage) -> Finished:
    """The real store, read while the sidecar runs."""
    finished = await stage.deployment.governor(*verify_arguments(STORE))
    expect("governor verify", (finished.code, finished.lines[:1]), (0, ("verified",)))
    return finished


async def tampered(stage: Stage) -> Finished:
    """A copy of the store, in which somebody with access to the disk changed one word."""
    folder = stage.deployment.folder
    with (
        closing(sqlite3.connect(f"file:{folder / STORE}?mode=ro", uri=True)) as source,
        closing(sqlite3.connect(folder / TAMPERED)) as copy,
    ):
        source.backup(copy)
    file = folder / TAMPERED
    before = file.read_bytes()
    expect("whether there is a word to change", TAMPERING[0] in before, True)
    file.write_bytes(before.replace(*TAMPERING))
    finished = await stage.deployment.governor(*verify_arguments(TAMPERED))
    expect("the exit code of governor verify", finished.code, VERIFICATION_FAILED)
    faults = {line.partition(":")[0] for line in finished.lines}
    expect("faults that were not found", FAULTS - faults, set())
    return finished
