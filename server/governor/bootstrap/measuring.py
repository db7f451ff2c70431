"""What the metrics are told about the store."""

import asyncio
import logging

from governor.domain.errors import Overloaded, StoreUnavailable
from governor.storage.store import SqlStore
from governor.telemetry.instruments import HostHealth, Instruments, StoreVitals
from governor.usecases.app import App

log = logging.getLogger(__name__)

PENDING_COUNTED_SECONDS = 15.0
"""How old the number of pending requests may be; the exporters ask about four times as seldom."""


def health_of(app: App) -> HostHealth:
    """How the host stands at the moment."""
    hold = app.standing.current.hold
    return HostHealth(circuit=app.host.condition.circuit, hold=hold.code if hold else None)


async def measure(store: SqlStore, instruments: Instruments) -> None:
    """Lets the instruments see every batch, and counts what is pending until it is cancelled."""
    store.listen(instruments.published)
    store.observe(lambda commits, seconds: instruments.committed(commits=commits, seconds=seconds))
    instruments.observe_store(lambda: _vitals_of(store))
    while True:
        try:
            instruments.pending_counted(await store.pending_counts())
        except (StoreUnavailable, Overloaded) as error:
            log.warning("the pending requests could not be counted", exc_info=error)
        await asyncio.sleep(PENDING_COUNTED_SECONDS)


def _vitals_of(store: SqlStore) -> StoreVitals:
    vitals = store.vitals
    return StoreVitals(failures=vitals.failures, wal_bytes=vitals.wal_bytes)
