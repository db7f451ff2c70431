"""What the metrics say of a store that is written to."""

import asyncio
from pathlib import Path

from governor.bootstrap.measuring import measure
from governor.storage.open import open_store
from tests.support.builders import encode_entry, submission
from tests.telemetry.recorded import recorded


async def test_a_store_that_is_written_to_shows_its_batches_and_its_log(tmp_path: Path) -> None:
    told = recorded()
    store = await open_store(f"sqlite:///{tmp_path}/store.db", encode=encode_entry, migrate=True)
    measuring = asyncio.create_task(measure(store, told.instruments))
    await asyncio.sleep(0)
    await store.commit(submission())
    assert told.points("governor.store.batch.commits")[0].sum == 1
    log = tmp_path / "store.db-wal"
    assert told.points("governor.store.wal.size")[0].value == log.stat().st_size > 0
    assert told.points("governor.store.failures") == []
    measuring.cancel()
    await asyncio.gather(measuring, return_exceptions=True)
    await store.close()
