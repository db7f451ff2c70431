"""What goes wrong inside a host stays with the call it happened to, and is told truthfully."""

import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import grpc
import pytest

from governance.v1 import mutation_engine_pb2
from governor.hostkit import Failpoint, State, Transaction
from tests.hostkit.support import (
    COUNTERS,
    Caller,
    apply_request,
    database,
    effects,
    read_ledger,
    running,
    told,
)


@pytest.fixture
async def host(tmp_path: Path) -> AsyncIterator[Caller]:
    async with running(tmp_path) as caller:
        yield caller


@pytest.mark.parametrize(
    "mutation_type",
    ["counter.fail", "counter.commit", "counter.return_nothing", "counter.answer_hugely"],
)
async def test_an_authors_fault_is_a_final_refusal_without_effect(
    host: Caller, tmp_path: Path, mutation_type: str
) -> None:
    """Also an author's COMMIT, which would tear effect and outcome apart, is such a fault."""
    request = apply_request(mutation_type=mutation_type)

    first = await host.apply(request)

    assert first.refused.reason.code == "HOST_FAULT"
    assert "swordfish" not in str(first)
    assert (await host.apply(request)).replayed
    assert effects(tmp_path) == {}


async def test_a_busy_host_records_nothing_and_says_when_to_come_again(
    host: Caller, tmp_path: Path
) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await host.apply(apply_request(mutation_type="counter.be_busy"))

    error = told(caught.value)
    assert error.code == grpc.StatusCode.RESOURCE_EXHAUSTED
    assert error.reason == "HOST_BUSY"
    assert error.retry_after_seconds == 2.5
    assert not (await host.look_up()).not_seen.fenced
    # The same key may succeed later.
    assert (await host.apply(apply_request())).HasField("applied")
    assert effects(tmp_path) == {"execution-1": 1}


async def test_a_locked_database_is_busy_and_not_in_doubt(tmp_path: Path) -> None:
    async with running(tmp_path, lock_wait_seconds=0) as host:
        with closing(sqlite3.connect(database(tmp_path), isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await host.apply(apply_request())
            other.execute("ROLLBACK")

        error = told(caught.value)
        assert error.code == grpc.StatusCode.RESOURCE_EXHAUSTED
        assert error.reason == "HOST_BUSY"
        assert error.retry_after_seconds is not None
        assert (await host.apply(apply_request())).HasField("applied")


async def test_a_failed_commit_is_in_doubt(tmp_path: Path) -> None:
    def fail_once() -> None:
        if disk_errors:
            raise disk_errors.pop()

    disk_errors = [sqlite3.OperationalError("disk I/O error at /secret/path")]
    failpoints = {Failpoint.AFTER_EFFECT_BEFORE_COMMIT: fail_once}
    async with running(tmp_path, failpoints=failpoints) as host:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await host.apply(apply_request())

        error = told(caught.value)
        assert error.code == grpc.StatusCode.INTERNAL
        assert error.reason == ""
        assert "secret" not in error.text
        assert (await host.look_up()).HasField("not_seen")
        assert (await host.apply(apply_request())).HasField("applied")


async def test_a_lost_transaction_is_in_doubt_and_keeps_no_outcome(
    host: Caller, tmp_path: Path
) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await host.apply(apply_request(mutation_type="counter.lose_transaction"))

    assert told(caught.value).reason == ""
    ledger = read_ledger(database(tmp_path))
    assert ledger.effects == {}
    assert ledger.concluded == frozenset()
    assert (await host.apply(apply_request())).HasField("applied")


async def test_a_broken_deferred_constraint_is_in_doubt(host: Caller, tmp_path: Path) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await host.apply(apply_request(mutation_type="counter.break_constraint"))

    assert told(caught.value).reason == ""
    assert (await host.look_up(fence=True)).not_seen.fenced
    assert effects(tmp_path) == {}


@pytest.mark.parametrize(
    ("request_", "field"),
    [
        (apply_request(""), "execution_id"),
        (apply_request(token=0), "fencing_token"),
        (apply_request(token=2**63), "fencing_token"),
        (apply_request(digest=b"short"), "request_digest"),
        (apply_request(mutation_type=""), "mutation.type"),
        (apply_request(state_id=""), "mutation.state.id"),
        (apply_request(state_type="x" * 1025), "mutation.state.type"),
    ],
)
async def test_a_malformed_order_is_told_by_field(
    host: Caller, tmp_path: Path, request_: mutation_engine_pb2.ApplyMutationRequest, field: str
) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await host.apply(request_)

    error = told(caught.value)
    assert error.code == grpc.StatusCode.INVALID_ARGUMENT
    assert error.reason == "INVALID_FIELD"
    assert error.fields == (field,)
    assert read_ledger(database(tmp_path)).concluded == frozenset()


async def test_a_payload_over_the_limit_is_refused_with_the_limit(host: Caller) -> None:
    response = await host.apply(apply_request(payload=b"x" * 101))
    assert response.refused.reason.code == "TOO_LARGE"
    assert "100" in response.refused.reason.message


async def test_a_state_of_another_type_is_refused(host: Caller) -> None:
    response = await host.apply(apply_request(state_type="flag"))
    assert response.refused.reason.code == "WRONG_STATE_TYPE"


async def test_a_fault_in_a_read_is_told_without_its_text(tmp_path: Path) -> None:
    def fail(transaction: Transaction, tenant: str, state: State) -> str:
        raise StopIteration("swordfish")

    async with running(tmp_path, host=replace(COUNTERS, version=fail)) as host:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await host.version()
        assert told(caught.value).code == grpc.StatusCode.INTERNAL
        assert "swordfish" not in told(caught.value).text
        # And the host lives on.
        assert (await host.capabilities()).exactly_once
