"""The processes of the demo: started, waited for, lost on purpose, and always cleaned up."""

import asyncio
import json
import os
import signal
import sys
from collections import deque
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

READY_LINE: Final = "listening"
READY_SECONDS_MAX: Final = 20.0
STOP_SECONDS_MAX: Final = 10.0
COMMAND_SECONDS_MAX: Final = 30.0
LINES_KEPT: Final = 200
LINE_BYTES_MAX: Final = 1024 * 1024
SPAN_EXPORT_DELAY_MILLIS: Final = 200

ROOT: Final = Path(__file__).resolve().parents[2]
POLICY: Final = ROOT / "examples" / "policy"
STORE: Final = "governor.db"
SIDECAR: Final = "governor"
HOST: Final = "flags-host"
GOVERNOR: Final = (sys.executable, "-m", "governor")
FLAGS_HOST: Final = (sys.executable, "-m", "examples.hosts.flags.server")


class ProcessFailed(Exception):
    """A process did not do what it was started for; its last lines say why."""


class Process:
    """A command that can be started more than once, and what it printed last."""

    def __init__(self, name: str, command: Sequence[str], environment: Mapping[str, str]) -> None:
        self.name = name
        self._command = command
        self._environment = environment
        self._child: asyncio.subprocess.Process | None = None
        self._reader: asyncio.Task[None] | None = None
        self._ready = asyncio.Event()
        self._lines: deque[str] = deque(maxlen=LINES_KEPT)

    async def start(self, *more_arguments: str) -> None:
        """Returns when the process says that it listens. Raises ProcessFailed."""
        self._ready.clear()
        self._child = await asyncio.create_subprocess_exec(
            *self._command,
            *more_arguments,
            env=self._environment,
            cwd=ROOT,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            limit=LINE_BYTES_MAX,
        )
        self._reader = asyncio.create_task(self._read(self._child))
        ready = asyncio.create_task(self._ready.wait())
        try:
            await asyncio.wait(
                (ready, self._reader),
                timeout=READY_SECONDS_MAX,
                return_when=asyncio.FIRST_COMPLETED,
            )
        finally:
            ready.cancel()
        if self._reader.done():
            raise ProcessFailed(f"{self.name} ended instead of listening")
        if not self._ready.is_set():
            raise ProcessFailed(f"{self.name} did not listen within {READY_SECONDS_MAX:g} s")

    async def died(self) -> int:
        """How it ended; to be called when it is about to end by itself."""
        try:
            return await asyncio.wait_for(self._ended(), STOP_SECONDS_MAX)
        except TimeoutError:
            raise ProcessFailed(f"{self.name} still runs, and was expected to die") from None

    async def stop(self) -> int:
        """Ask it to end, and end it if it does not. Returns how it ended."""
        child = self._child
        if child is None:
            return 0
        if child.returncode is None:
            child.terminate()
        try:
            return await asyncio.wait_for(self._ended(), STOP_SECONDS_MAX)
        except TimeoutError:
            child.kill()
            return await self._ended()

    async def kill(self) -> None:
        """End it as a power cut would, if it runs."""
        if self._child is not None and self._child.returncode is None:
            self._child.kill()
            await self._ended()

    def last_lines(self, count: int) -> list[str]:
        return list(self._lines)[-count:]

    async def _ended(self) -> int:
        if self._child is None or self._reader is None:
            return 0
        # Everything it printed first: a pipe that is full would keep it from ending.
        await asyncio.shield(self._reader)
        return await self._child.wait()

    async def _read(self, child: asyncio.subprocess.Process) -> None:
        if child.stdout is None:
            return
        async for line in child.stdout:
            text = line.decode(errors="replace").rstrip()
            self._lines.append(text)
            if READY_LINE in text:
                self._ready.set()


@asynccontextmanager
async def running(*processes: Process) -> AsyncIterator[None]:
    """Start them in this order, and stop them in the other, whatever happens inside."""
    started: list[Process] = []
    try:
        for process in processes:
            started.append(process)
            await process.start()
        yield
        for process in reversed(started):
            code = await process.stop()
            if code != 0:
                raise ProcessFailed(
                    f"{process.name} ended with exit code {code} when asked to stop"
                )
    finally:
        for process in started:
            await process.kill()


@dataclass(frozen=True, slots=True, kw_only=True)
class Finished:
    """How a command ended, and what it printed."""

    code: int
    lines: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Deployment:
    """The sidecar and its host, with everything they keep in one folder."""

    folder: Path
    host: Process
    sidecar: Process
    target: str
    host_database: Path

    @classmethod
    def in_folder(cls, folder: Path, collector_endpoint: str) -> Self:
        """Nothing runs yet; the configuration is written."""
        host_address = f"unix:{folder}/flags.sock"
        host_database = folder / "flags.db"
        settings = {
            "listen": f"unix:{folder}/governor.sock",
            "store_url": f"sqlite:///{folder / STORE}",
            "host_address": host_address,
            "policy_file": str(POLICY / "policy.toml"),
            "directory_file": str(POLICY / "directory.toml"),
            "log_format": "text",
            # So that the demo is quick to see that a host has come back.
            "backoff_seconds_max": 0.5,
        }
        config = folder / "governor.toml"
        # TOML writes strings and numbers as JSON does.
        config.write_text(
            "".join(f"{name} = {json.dumps(value)}\n" for name, value in settings.items())
        )
        return cls(
            folder=folder,
            host=Process(
                HOST,
                (*FLAGS_HOST, "--listen", host_address, "--database", str(host_database)),
                _environment(HOST, collector_endpoint),
            ),
            sidecar=Process(
                SIDECAR,
                (*GOVERNOR, "serve", "--config", str(config)),
                _environment(SIDECAR, collector_endpoint),
            ),
            target=str(settings["listen"]),
            host_database=host_database,
        )

    async def governor(self, *arguments: str) -> Finished:
        """Runs one command of `governor` in the folder, as an operator would."""
        child = await asyncio.create_subprocess_exec(
            *GOVERNOR,
            *arguments,
            env=_without_others_settings(),
            cwd=self.folder,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        try:
            output, _ = await asyncio.wait_for(child.communicate(), COMMAND_SECONDS_MAX)
        except BaseException:
            child.kill()
            raise
        return Finished(
            code=child.returncode or 0, lines=tuple(output.decode(errors="replace").splitlines())
        )


def killed(code: int) -> bool:
    """Whether that exit code is the one of a process that was killed."""
    return code == -signal.SIGKILL


def _environment(service_name: str, collector_endpoint: str) -> dict[str, str]:
    """This process's environment, with the tracing of the demo."""
    return _without_others_settings() | {
        "OTEL_SERVICE_NAME": service_name,
        "OTEL_EXPORTER_OTLP_ENDPOINT": collector_endpoint,
        "OTEL_METRICS_EXPORTER": "none",
        "OTEL_BSP_SCHEDULE_DELAY": str(SPAN_EXPORT_DELAY_MILLIS),
        # gRPC would ask a proxy for the way to loopback.
        "no_grpc_proxy": "127.0.0.1,localhost",
    }


def _without_others_settings() -> dict[str, str]:
    inherited = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("GOVERNOR_", "OTEL_"))
    }
    return inherited | {"PYTHONUNBUFFERED": "1"}
