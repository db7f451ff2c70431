"""Everything that runs in one sidecar: set going in order, and taken down in the other."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial

from governor import failpoints
from governor.bootstrap.closing import beside_the_loop, close_in_time
from governor.bootstrap.measuring import health_of, measure
from governor.bootstrap.parts import bounds_of, host_of, migrates, promises_of, server_of
from governor.bootstrap.refusals import refusals_told
from governor.bootstrap.started import Started
from governor.check_client import CheckClient
from governor.clock import SystemClock, SystemIds
from governor.config.settings import Settings
from governor.directory_file import FileDirectory
from governor.policy_file import FilePolicy
from governor.storage import open as stores
from governor.storage.store import SqlStore, StoreLimits
from governor.telemetry import providers
from governor.telemetry.providers import Telemetry
from governor.usecases.adoption import Adoption
from governor.usecases.app import App, Limits
from governor.usecases.batches import Batches
from governor.usecases.checks import Checking
from governor.usecases.dependencies import Dependencies
from governor.usecases.execution_manager import ExecutionManager
from governor.usecases.host_standing import Standing
from governor.usecases.ports import no_failpoints
from governor.usecases.tail import Tail
from governor.usecases.timers import Timers
from governor.usecases.waiting import Waiters
from governor.wire.codec.decision import encode_entry
from governor.wire.server import GovernorServer


@asynccontextmanager
async def sidecar(
    settings: Settings, *, environment: Mapping[str, str], hurry: asyncio.Event | None = None
) -> AsyncIterator[Started]:
    """A running sidecar. Raises CannotStart; whatever had been opened by then is closed again.

    It goes down in the order that loses nothing: calls and streams end, executions finish or are
    left for recovery, the timers stop, then host, store and telemetry close. Once `hurry` is set,
    nothing is waited for that the next start can take up.
    """
    async with AsyncExitStack() as open_parts:
        with refusals_told():
            started = await _start(settings, environment, hurry or asyncio.Event(), open_parts)
        yield started


async def _start(
    settings: Settings,
    environment: Mapping[str, str],
    hurry: asyncio.Event,
    open_parts: AsyncExitStack,
) -> Started:
    armed = failpoints.from_environment(environment, actions=failpoints.KINDS)
    policy, directory = FilePolicy(settings.policy_file), FileDirectory(settings.directory_file)
    telemetry = providers.from_environment()
    # What it has not exported by then is lost: it waits for a collector that is away.
    export = partial(beside_the_loop, telemetry.shutdown)
    open_parts.push_async_callback(close_in_time, "telemetry", export)
    store = await stores.open_store(
        settings.store_url,
        encode=encode_entry,
        failpoints=armed,
        limits=bounds_of(StoreLimits, settings),
        migrate=migrates(settings),
    )
    open_parts.push_async_callback(close_in_time, "store", store.close)
    host = host_of(settings, telemetry)
    open_parts.push_async_callback(close_in_time, "host", host.close)
    checks = CheckClient(
        policy.check_service,
        telemetry=telemetry,
        message_bytes_max=settings.host_message_bytes_max,
    )
    open_parts.push_async_callback(close_in_time, "checks", checks.close)
    ids = SystemIds()
    limits = bounds_of(Limits, settings)
    app = App(
        store=store,
        host=host,
        policy=policy,
        directory=directory,
        clock=SystemClock(),
        ids=ids,
        tracing=telemetry.tracing,
        executions=ExecutionManager(),
        standing=Standing(),
        waiters=Waiters(waiters_max=limits.waiters_max),
        tail=Tail(
            head=store.head.revision,
            entries_max=limits.tail_entries_max,
            bytes_max=limits.tail_bytes_max,
        ),
        checks=checks,
        limits=limits,
        failpoints=armed,
    )
    server = server_of(settings, app, telemetry, ids)
    go_down = partial(_go_down, app, server, settings.drain_seconds_max, hurry)
    await _begin(app, store, server, telemetry, go_down, open_parts)
    return Started(
        settings=settings,
        address=server.address,
        store=store,
        policy=policy,
        directory=directory,
        host_promises=await promises_of(host),
        hold=app.standing.current.hold,
        is_armed=armed is not no_failpoints,
    )


async def _begin(
    app: App,
    store: SqlStore,
    server: GovernorServer,
    telemetry: Telemetry,
    go_down: Callable[[], Awaitable[None]],
    open_parts: AsyncExitStack,
) -> None:
    """Sets everything going: first what the former process left, then new calls."""
    dependencies, checking, timers, adoption = Dependencies(), Checking(), Timers(), Adoption()
    batches = Batches()
    app.store.listen(app.tail.publish)
    app.store.listen(app.waiters.publish)
    if telemetry.instruments is not None:
        measuring = asyncio.create_task(measure(store, telemetry.instruments))
        open_parts.callback(measuring.cancel)
        telemetry.instruments.observe_host(lambda: health_of(app))
    app.standing.attach(app)
    app.executions.attach(app)
    dependencies.attach(app)
    batches.attach(app)
    checking.attach(app)
    timers.attach(app)
    adoption.attach(
        app, app.executions.take_up, dependencies.take_up, batches.take_up, checking.take_up
    )
    open_parts.push_async_callback(app.standing.stop)
    open_parts.push_async_callback(timers.stop)
    open_parts.push_async_callback(checking.stop)
    open_parts.push_async_callback(dependencies.stop)
    open_parts.push_async_callback(batches.stop)
    open_parts.push_async_callback(app.executions.drain, 0.0)
    open_parts.push_async_callback(adoption.stop)
    # Whoever finds the address taken must not have touched what the other one executes.
    server.bind()
    await app.standing.start()
    await adoption.start()
    timers.start()
    await server.start()
    open_parts.push_async_callback(go_down)


async def _go_down(app: App, server: GovernorServer, seconds: float, hurry: asyncio.Event) -> None:
    """Both at once, so that the time allowed is the time it takes; less of it in a hurry."""

    async def drain(seconds: float) -> None:
        await server.drain(seconds, app.executions.drain(seconds))

    draining = asyncio.create_task(drain(seconds))
    hurried = asyncio.create_task(hurry.wait())
    await asyncio.wait((draining, hurried), return_when=asyncio.FIRST_COMPLETED)
    hurried.cancel()
    if not draining.done():
        await drain(0.0)
        draining.cancel()
        await asyncio.wait((draining,))
    elif (failure := draining.exception()) is not None:
        raise failure
