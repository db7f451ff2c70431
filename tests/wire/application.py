"""The whole application over a real store, a plain directory and policy, and a host in memory."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from governor.storage.open import open_store
from governor.usecases.app import App
from governor.usecases.batches import Batches
from governor.usecases.execution_manager import ExecutionManager
from governor.usecases.host_standing import Standing
from governor.usecases.tail import Tail
from governor.usecases.waiting import Waiters
from governor.wire.codec.decision import encode_entry
from tests.support.builders import ManualClock, SequentialIds
from tests.support.people import PlainDirectory, PlainPolicy
from tests.support.recording import RecordingTracing
from tests.support.scripted_host import ScriptedHost


@asynccontextmanager
async def application(folder: Path, host: ScriptedHost | None = None) -> AsyncIterator[App]:
    """Opens the store, starts the execution manager, and closes both."""
    store = await open_store(f"sqlite:///{folder}/governor.db", encode=encode_entry, migrate=True)
    app = App(
        store=store,
        host=host or ScriptedHost(),
        policy=PlainPolicy(),
        directory=PlainDirectory(),
        clock=ManualClock(),
        ids=SequentialIds(),
        tracing=RecordingTracing(),
        executions=ExecutionManager(),
        standing=Standing(),
        waiters=Waiters(waiters_max=100),
        tail=Tail(head=store.head.revision, entries_max=1000),
    )
    store.listen(app.tail.publish)
    store.listen(app.waiters.publish)
    app.standing.attach(app)
    app.executions.attach(app)
    Batches().attach(app)
    await app.standing.start()
    await app.host.capabilities()
    try:
        yield app
    finally:
        await app.executions.drain(1)
        await app.standing.stop()
        await store.close()
