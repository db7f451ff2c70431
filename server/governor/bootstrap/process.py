"""The sidecar as a process: its loop, its signals, its logs."""

import asyncio
import gc
import importlib.util
import logging
import signal
from collections.abc import Callable, Mapping

from governor.bootstrap.refusals import refusals_told
from governor.bootstrap.sidecar import sidecar
from governor.bootstrap.started import Started
from governor.config.settings import Settings
from governor.storage import open as stores
from governor.telemetry.logs import configure_logging

log = logging.getLogger(__name__)

_COLLECTOR_THRESHOLDS = (50_000, 20, 50)


def run(
    settings: Settings,
    *,
    environment: Mapping[str, str],
    announce: Callable[[Started], None],
) -> None:
    """Runs the sidecar until SIGTERM or SIGINT; a second one cuts short what the first waits for.

    Raises CannotStart before it listens.
    """
    configure_logging(
        settings.log_level, None if settings.log_format == "auto" else settings.log_format
    )
    # Which says at every start that it found nothing to do.
    logging.getLogger("alembic").setLevel(logging.WARNING)
    with asyncio.Runner(loop_factory=_fastest_loop()) as runner:
        runner.run(_run(settings, environment, announce))


def migrate(settings: Settings) -> str:
    """Brings the store's schema up to date and answers its version. Raises CannotStart."""
    with refusals_told():
        return asyncio.run(stores.migrate(settings.store_url))


async def _run(
    settings: Settings, environment: Mapping[str, str], announce: Callable[[Started], None]
) -> None:
    stopping, hurry = asyncio.Event(), asyncio.Event()

    def stop() -> None:
        (hurry if stopping.is_set() else stopping).set()

    async with sidecar(settings, environment=environment, hurry=hurry) as started:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop)
        loop.add_signal_handler(signal.SIGHUP, _reload, started)
        announce(started)
        _spare_the_collector()
        await stopping.wait()


def _reload(started: Started) -> None:
    for name, file in (("policy", started.policy), ("directory", started.directory)):
        if file.reload():
            log.info("%s read again", name)


def _spare_the_collector() -> None:
    """Nothing that lives as long as the process is looked at again, and the rest more seldom.

    Nearly all garbage is freed by its reference count. Left as it is, the collector took a tenth of
    the processor under load (docs/benchmarks.md).
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(*_COLLECTOR_THRESHOLDS)


def _fastest_loop() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """uvloop's, where the extra of that name is installed."""
    if importlib.util.find_spec("uvloop") is None:
        return None
    make: Callable[[], asyncio.AbstractEventLoop] = importlib.import_module("uvloop").new_event_loop
    return make
