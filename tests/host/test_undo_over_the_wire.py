"""Sidecar's client and host kit agree on what it takes to take a change back."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from examples.hosts.flags.server import FLAGS, SCHEMA, UNDO_RETENTION_SECONDS
from governor.domain.compensation import Compensation, CompensationKind, CompensationTrigger
from governor.domain.execution import Applied, Change, NotSeen, Refused, VersionMismatch
from governor.domain.request import Payload, Reversibility, StateRef
from governor.domain.values import ExecutionId
from governor.host import HostClient
from governor.hostkit import served, sqlite_journal
from governor.usecases.ports import Order
from tests.support.builders import make_execution, make_request

NOW_SECONDS = 1_000.0
REQUEST = make_request()
FLAG = StateRef(type="flag", id="checkout")
ON = b'{"enabled": true, "rollout_percent": 25}'


@pytest.fixture
async def client(tmp_path: Path) -> AsyncIterator[HostClient]:
    async with (
        sqlite_journal(tmp_path / "flags.sqlite", schema=SCHEMA) as journal,
        served(
            *(FLAGS, journal), listen=f"unix:{tmp_path}/socket", clock=lambda: NOW_SECONDS
        ) as target,
    ):
        client = HostClient(target, call_seconds_max=5.0)
        await client.capabilities()
        yield client
        await client.close()


def ordered(
    execution_id: str,
    data: bytes = ON,
    *,
    expected_version: str | None = None,
    compensation: Compensation | None = None,
    mutation_type: str = "flag.set",
) -> Order:
    content = REQUEST.content.but(
        mutation_type=mutation_type,
        state=FLAG,
        payload=Payload(content_type="application/json", data=data),
        compensation=compensation,
    )
    request = REQUEST.but(
        content=content,
        progress=REQUEST.progress.but(
            digest=execution_id.encode().ljust(32), expected_version=expected_version
        ),
    )
    execution = make_execution(request, execution_id, expected_version=expected_version)
    return Order(request=request, execution=execution)


async def applied(client: HostClient, order: Order) -> Applied:
    answer = await client.apply(order, traceparent="")
    assert isinstance(answer, Applied), answer
    return answer


def rollback_of(order: Order, applied: Applied) -> Compensation:
    return Compensation(
        request_id=order.request.id,
        execution_id=order.execution.id,
        kind=CompensationKind.ROLLBACK,
        trigger=CompensationTrigger.OPERATOR,
        undo_token=applied.undo_token,
    )


async def test_the_host_says_what_it_takes_back_and_for_how_long(client: HostClient) -> None:
    said = await client.capabilities()
    assert said.rollback
    assert said.undo_retention_seconds == UNDO_RETENTION_SECONDS
    assert said.reversibility["flag.delete"] is Reversibility.REVERSIBLE
    assert said.reversibility["notice.send"] is Reversibility.COMPENSABLE


async def test_a_rollback_is_previewed_applied_looked_up_and_taken_back(client: HostClient) -> None:
    made = ordered("ex-1")
    outcome = await applied(client, made)
    assert outcome.undo_expires_at == (NOW_SECONDS + UNDO_RETENTION_SECONDS) * 1_000_000

    undo = ordered("ex-2", b"", expected_version="1", compensation=rollback_of(made, outcome))
    gone = (
        Change(path="flag/checkout/enabled", before="true"),
        Change(path="flag/checkout/rollout_percent", before="25"),
    )
    assert (await client.validate(undo.request)).preview == gone
    undone = await applied(client, undo)
    assert (undone.changes, undone.resulting_version) == (gone, "")
    assert await client.lookup(undo.execution, fence=False, traceparent="") == undone

    redo = ordered("ex-3", b"", expected_version="", compensation=rollback_of(undo, undone))
    redone = await applied(client, redo)
    assert [change.after for change in redone.changes] == ["true", "25"]


async def test_a_rollback_that_is_stale_spent_or_foreign_is_answered_by_name(
    client: HostClient,
) -> None:
    made = ordered("ex-1")
    rollback = rollback_of(made, await applied(client, made))
    await applied(client, ordered("ex-2", ON.replace(b"25", b"50")))

    stale = ordered("ex-3", b"", expected_version="1", compensation=rollback)
    assert await client.apply(stale, traceparent="") == VersionMismatch(current_version="2")

    unknown = rollback.but(execution_id=ExecutionId("ex-0"))
    refused = await client.apply(ordered("ex-4", b"", compensation=unknown), traceparent="")
    assert isinstance(refused, Refused)
    assert refused.reason.code == "UNKNOWN_EXECUTION"
    opinion = await client.validate(ordered("ex-5", b"", compensation=unknown).request)
    assert [violation.code for violation in opinion.violations] == ["UNKNOWN_EXECUTION"]

    fenced = ordered("ex-6", b"", compensation=rollback)
    answer = await client.lookup(fenced.execution, fence=True, traceparent="")
    assert answer == NotSeen(fenced=True)
    malformed = ordered("ex-7", b"{}", compensation=rollback)
    told = await client.apply(malformed, traceparent="")
    assert isinstance(told, Refused)
    assert told.reason.code == "INVALID_FIELD"
