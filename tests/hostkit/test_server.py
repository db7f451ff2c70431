"""The server around the promises: capabilities, validation, health, and where it listens."""

import asyncio
import os
import signal
import sqlite3
import stat
import threading
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from governance.v1 import execution_pb2, mutation_pb2
from governor.hostkit import (
    AlreadyInUse,
    CannotListen,
    Failpoint,
    Reversibility,
    Severity,
    begin_new_lineage,
    serve,
    served,
    sqlite_journal,
)
from governor.hostkit.engine import SERVICE
from tests.hostkit.support import (
    COUNTERS,
    SCHEMA,
    Caller,
    apply_request,
    connected,
    database,
    effects,
    running,
    told,
)


@pytest.fixture
async def host(tmp_path: Path) -> AsyncIterator[Caller]:
    async with running(tmp_path) as caller:
        yield caller


async def test_a_host_announces_all_five_promises_and_its_mutation_types(host: Caller) -> None:
    capabilities = await host.capabilities()

    assert capabilities.contract_version == "governance.v1"
    assert capabilities.exactly_once
    assert capabilities.compare_and_apply
    assert not capabilities.HasField("dedupe_retention")
    assert {kind.name for kind in capabilities.mutation_types} == set(COUNTERS.mutations)
    assert capabilities.payload_bytes_max == COUNTERS.payload_bytes_max
    assert capabilities.host_name == "counters"
    assert len(capabilities.lineage_id) == 32


async def test_the_kits_words_have_the_contracts_meaning() -> None:
    assert {f"SEVERITY_{severity.name}" for severity in Severity} == (
        set(execution_pb2.Severity.keys()) - {"SEVERITY_UNSPECIFIED"}
    )
    assert {f"REVERSIBILITY_{reversibility.name}" for reversibility in Reversibility} == (
        set(mutation_pb2.Reversibility.keys())
    )


async def test_a_restored_backup_begins_a_new_lineage(tmp_path: Path) -> None:
    async with running(tmp_path) as host:
        before = (await host.capabilities()).lineage_id
    begin_new_lineage(database(tmp_path))
    async with running(tmp_path) as host:
        assert (await host.capabilities()).lineage_id != before


async def test_the_version_of_a_state_follows_its_changes(host: Caller) -> None:
    missing = await host.version()
    assert (missing.exists, missing.version) == (False, "")

    await host.apply(apply_request())

    present = await host.version()
    assert (present.exists, present.version) == (True, "1")


async def test_validation_previews_the_change_and_undoes_it(host: Caller, tmp_path: Path) -> None:
    await host.apply(apply_request())

    opinion = await host.validate(apply_request("", expected_version="long ago"))

    assert not opinion.violations
    assert [(change.before, change.after) for change in opinion.preview] == [("1", "2")]
    assert opinion.current_version == "1"
    assert (await host.validate(apply_request())).plan_digest == opinion.plan_digest
    assert effects(tmp_path) == {"execution-1": 1}


async def test_a_plan_digest_changes_with_the_plan(host: Caller) -> None:
    before = (await host.validate(apply_request())).plan_digest
    await host.apply(apply_request())
    assert (await host.validate(apply_request())).plan_digest != before


@pytest.mark.parametrize(
    ("mutation_type", "code"),
    [
        ("counter.refuse", "NOT_TODAY"),
        ("counter.fail", "HOST_FAULT"),
        ("counter.unheard_of", "MUTATION_NOT_SUPPORTED"),
    ],
)
async def test_validation_objects_with_what_apply_would_refuse(
    host: Caller, tmp_path: Path, mutation_type: str, code: str
) -> None:
    opinion = await host.validate(apply_request(mutation_type=mutation_type))
    assert [violation.code for violation in opinion.violations] == [code]
    assert effects(tmp_path) == {}


async def test_health_is_serving_for_the_server_and_the_service(host: Caller) -> None:
    stub = health_pb2_grpc.HealthStub(host.channel)
    for service in ("", SERVICE):
        answer = await stub.Check(  # type: ignore[attr-defined] # the stub package leaves it out
            health_pb2.HealthCheckRequest(service=service), timeout=5
        )
        assert answer.status == health_pb2.HealthCheckResponse.SERVING


async def test_a_free_tcp_port_is_taken_and_announced(tmp_path: Path) -> None:
    async with (
        sqlite_journal(database(tmp_path), schema=SCHEMA) as journal,
        served(COUNTERS, journal, listen="127.0.0.1:0") as target,
        connected(target) as host,
    ):
        assert (await host.apply(apply_request())).HasField("applied")
        with pytest.raises(CannotListen):
            async with served(COUNTERS, journal, listen=target):
                pass


async def test_a_socket_has_one_server_and_one_user(tmp_path: Path) -> None:
    listen = f"unix:{tmp_path}/socket"
    async with sqlite_journal(database(tmp_path), schema=SCHEMA) as journal:
        async with served(COUNTERS, journal, listen=listen):
            assert stat.S_IMODE((tmp_path / "socket").stat().st_mode) == 0o600
            with pytest.raises(AlreadyInUse):
                async with served(COUNTERS, journal, listen=listen):
                    pass
        async with served(COUNTERS, journal, listen=listen):
            pass


async def test_a_database_has_one_host(tmp_path: Path) -> None:
    async with sqlite_journal(database(tmp_path)):
        with pytest.raises(AlreadyInUse):
            async with sqlite_journal(database(tmp_path)):
                pass


async def test_a_newer_journal_is_left_alone(tmp_path: Path) -> None:
    async with sqlite_journal(database(tmp_path)) as journal:
        await journal.observe(
            lambda transaction: transaction.execute("SELECT 1 FROM governor_journal").fetchone()
        )
    with closing(sqlite3.connect(database(tmp_path), isolation_level=None)) as connection:
        connection.execute("UPDATE governor_journal SET schema_version = 2")
    with pytest.raises(ValueError, match="newer kit"):
        async with sqlite_journal(database(tmp_path)):
            pass


@pytest.mark.parametrize("listen", ["0.0.0.0:0", "[::]:0", "192.0.2.1:7000", "7000", "here:there"])
async def test_a_listener_that_is_open_to_the_network_needs_credentials(
    tmp_path: Path, listen: str
) -> None:
    async with sqlite_journal(database(tmp_path)) as journal:
        with pytest.raises(CannotListen):
            async with served(COUNTERS, journal, listen=listen):
                pass


async def health_stops_serving(host: Caller) -> None:
    watch = health_pb2_grpc.HealthStub(host.channel).Watch  # type: ignore[attr-defined] # as above
    async for answer in watch(health_pb2.HealthCheckRequest(service=SERVICE), timeout=5):
        if answer.status == health_pb2.HealthCheckResponse.NOT_SERVING:
            return


async def test_a_termination_signal_lets_calls_finish(tmp_path: Path) -> None:
    """The signal comes while an order is being applied, which ends only once others are refused."""

    def terminate_and_wait() -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        refusing.wait()

    refusing = threading.Event()
    announced: asyncio.Queue[str] = asyncio.Queue()
    failpoints = {Failpoint.BEFORE_APPLY: terminate_and_wait}
    async with sqlite_journal(database(tmp_path), schema=SCHEMA, failpoints=failpoints) as journal:
        serving = asyncio.create_task(
            serve(
                COUNTERS,
                journal,
                listen=f"unix:{tmp_path}/socket",
                announce=announced.put_nowait,
            )
        )
        async with connected(await announced.get()) as host:
            applying = asyncio.create_task(host.apply(apply_request()))
            await health_stops_serving(host)
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await host.apply(apply_request("execution-2"))
            assert told(caught.value).reason == "HOST_BUSY"
            assert not applying.done()
            refusing.set()
            assert (await applying).HasField("applied")
            await serving
    assert effects(tmp_path) == {"execution-1": 1}
