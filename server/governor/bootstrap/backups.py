"""Backing a store up and restoring it, with the decoder, the time and the names they need."""

import asyncio
from collections.abc import Callable
from pathlib import Path

from governor.bootstrap.refusals import refusals_told
from governor.clock import SystemClock, SystemIds
from governor.domain.ledger import Checkpoint
from governor.storage import backup
from governor.storage.backup import Progress
from governor.storage.findings import Finding
from governor.storage.restore import Restoration, Restored
from governor.storage.verify import Verified
from governor.wire.codec.decision import decode_entry, encode_entry


def back_up(
    url: str, target: Path, *, report: Callable[[Finding], None], progress: Progress
) -> Verified:
    """Makes a backup, unless faults are found in it, and answers what was found there.

    Raises CannotStart.
    """
    with refusals_told():
        return asyncio.run(
            backup.back_up(url, target, decode=decode_entry, report=report, progress=progress)
        )


def restore(
    url: str,
    source: Path | None,
    *,
    replace: bool,
    checkpoint: Checkpoint | None,
    report: Callable[[Finding], None],
    progress: Progress,
) -> Restored | Verified:
    """Restores a store from a backup, or as it stands there, unless faults are found in it.

    Raises CannotStart.
    """
    restoration = Restoration(
        store_id=SystemIds().store_id(),
        at=SystemClock().now(),
        encode=encode_entry,
        decode=decode_entry,
        report=report,
        progress=progress,
        checkpoint=checkpoint,
        replace=replace,
    )
    with refusals_told():
        if source is None:
            return asyncio.run(restoration.in_place(url))
        return asyncio.run(restoration.from_backup(source, url))
