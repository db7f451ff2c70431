"""The flags example as a process of its own, to be killed and started again."""

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

from governance.v1 import mutation_engine_pb2, mutation_pb2
from tests.hostkit.support import DIGEST, TENANT, TIMEOUT_SECONDS, Caller, connected

FOLDER: Final = Path(__file__).parents[2] / "examples" / "hosts" / "flags"


class FlagsHost:
    """A running process and a caller that is connected to it."""

    def __init__(self, process: asyncio.subprocess.Process, caller: Caller) -> None:
        self.process = process
        self.caller = caller

    async def exited(self) -> int:
        return await asyncio.wait_for(self.process.wait(), TIMEOUT_SECONDS)


@asynccontextmanager
async def flags_host(folder: Path, *arguments: str) -> AsyncIterator[FlagsHost]:
    process = await start_script(
        "server.py",
        *("--listen", f"unix:{folder}/socket", "--database", str(flags_database(folder))),
        *arguments,
    )
    try:
        assert process.stdout is not None
        line = await asyncio.wait_for(process.stdout.readline(), TIMEOUT_SECONDS)
        target = line.decode().strip().removeprefix("listening on ")
        async with connected(target) as caller:
            yield FlagsHost(process, caller)
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def start_script(name: str, *arguments: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        *(sys.executable, str(FOLDER / name), *arguments),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )


async def run_script(name: str, *arguments: str) -> tuple[int | None, str, str]:
    process = await start_script(name, *arguments)
    output, errors = await asyncio.wait_for(process.communicate(), TIMEOUT_SECONDS)
    return process.returncode, output.decode(), errors.decode()


def flags_database(folder: Path) -> Path:
    return folder / "flags.sqlite"


def flags_order(
    execution_id: str,
    mutation_type: str = "flag.set",
    state: str = "flag/checkout.dark-mode",
    payload: object = None,
    *,
    raw_payload: bytes | None = None,
    content_type: str = "application/json",
    token: int = 1,
    expected_version: str | None = None,
    approvers: Sequence[str] = (),
) -> mutation_engine_pb2.ApplyMutationRequest:
    state_type, _, state_id = state.partition("/")
    if payload is None:
        payload = {"enabled": True, "rollout_percent": 25}
    return mutation_engine_pb2.ApplyMutationRequest(
        execution_id=execution_id,
        fencing_token=token,
        request_digest=DIGEST,
        context=mutation_pb2.RuntimeContext(tenant=TENANT, actor="ada"),
        mutation=mutation_pb2.Mutation(
            type=mutation_type,
            state=mutation_pb2.StateRef(type=state_type, id=state_id),
            payload=mutation_pb2.Payload(
                content_type=content_type,
                data=json.dumps(payload).encode() if raw_payload is None else raw_payload,
            ),
            expected_version=expected_version,
        ),
        approvers=approvers,
    )
