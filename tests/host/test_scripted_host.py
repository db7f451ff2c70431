"""The host in memory takes changes back as the host kit does, so that tests may rest on it."""

import pytest

from governor.domain.compensation import Compensation, CompensationKind, CompensationTrigger
from governor.domain.execution import Applied, ApplyAnswer, Busy, Refused, VersionMismatch
from governor.domain.request import Payload, Reversibility, StateRef
from governor.domain.values import ExecutionId, Micros, RequestId
from governor.usecases.ports import Order
from tests.support.builders import make_execution, make_request
from tests.support.scripted_host import COMPARING, UNDOING, ScriptedHost

REQUEST = make_request()
SLOT = REQUEST.slot


def ordered(
    payload: bytes,
    execution_id: str,
    *,
    compensation: Compensation | None = None,
    expected_version: str | None = None,
) -> Order:
    content = REQUEST.content.but(
        payload=Payload(content_type="text/plain", data=payload), compensation=compensation
    )
    request = REQUEST.but(content=content)
    execution = make_execution(request, expected_version=expected_version)
    return Order(request=request, execution=execution.but(id=ExecutionId(execution_id)))


def rollback_of(order: Order, answer: ApplyAnswer) -> Compensation:
    assert isinstance(answer, Applied)
    return Compensation(
        request_id=RequestId("mr-1"),
        execution_id=order.execution.id,
        kind=CompensationKind.ROLLBACK,
        trigger=CompensationTrigger.OPERATOR,
        undo_token=answer.undo_token,
    )


async def done(host: ScriptedHost, order: Order) -> ApplyAnswer:
    return await host.apply(order, traceparent="")


async def refusal(host: ScriptedHost, order: Order) -> str:
    opinion = await host.validate(order.request)
    answer = await done(host, order)
    assert isinstance(answer, Refused)
    assert opinion.violations == (answer.reason,)
    return answer.reason.code


async def test_it_restores_what_was_there_and_that_can_be_taken_back_again() -> None:
    host = ScriptedHost(promises=UNDOING, undo_expires_at=Micros(9))
    first = ordered(b"first", "ex-1")
    made = await done(host, first)
    assert isinstance(made, Applied)
    assert made.undo_expires_at == 9

    undo = ordered(b"", "ex-2", compensation=rollback_of(first, made), expected_version="1")
    undone = await done(host, undo)
    assert host.values == {SLOT: None}
    assert await done(host, undo) == undone, "replayed"

    redo = ordered(b"", "ex-3", compensation=rollback_of(undo, undone))
    await done(host, redo)
    assert host.values == {SLOT: b"first"}
    assert [effect.compensation for effect in host.effects] == [
        order.request.content.compensation for order in (first, undo, redo)
    ]


async def test_a_state_that_moved_on_is_left_alone() -> None:
    host = ScriptedHost(promises=UNDOING)
    first = ordered(b"first", "ex-1")
    made = await done(host, first)
    await done(host, ordered(b"second", "ex-2"))
    stale = ordered(b"", "ex-3", compensation=rollback_of(first, made), expected_version="1")
    assert await done(host, stale) == VersionMismatch(current_version="2")
    assert host.values == {SLOT: b"second"}


async def test_it_refuses_by_the_names_of_the_contract() -> None:
    host = ScriptedHost(promises=UNDOING)
    first = ordered(b"first", "ex-1")
    rollback = rollback_of(first, await done(host, first))
    unheard_of = rollback.but(execution_id=ExecutionId("ex-0"))
    wrong_token = rollback.but(undo_token=b"guessed")
    for number, compensation in enumerate((unheard_of, wrong_token)):
        order = ordered(b"", f"ex-1{number}", compensation=compensation)
        assert await refusal(host, order) == "UNKNOWN_EXECUTION"
    elsewhere = ordered(b"", "ex-12", compensation=rollback)
    content = elsewhere.request.content.but(state=StateRef(type="flag", id="other"))
    moved = elsewhere.but(request=elsewhere.request.but(content=content))
    assert await refusal(host, moved) == "UNKNOWN_EXECUTION"
    host.forget_image(first.execution.id)
    assert await refusal(host, ordered(b"", "ex-13", compensation=rollback)) == "UNDO_EXPIRED"


@pytest.mark.parametrize("said", [Reversibility.COMPENSABLE, Reversibility.IRREVERSIBLE])
async def test_a_type_that_it_cannot_take_back_gets_no_token(said: Reversibility) -> None:
    promises = UNDOING.but(reversibility={REQUEST.content.mutation_type: said})
    host = ScriptedHost(promises=promises)
    first = ordered(b"first", "ex-1")
    made = await done(host, first)
    assert isinstance(made, Applied)
    assert made.undo_token == b""
    undo = ordered(b"", "ex-2", compensation=rollback_of(first, made))
    assert await refusal(host, undo) == "NOT_REVERSIBLE"


async def test_without_the_promise_no_rollback_reaches_it_and_corrections_do() -> None:
    host = ScriptedHost(promises=COMPARING)
    first = ordered(b"first", "ex-1")
    made = await done(host, first)
    assert made == Applied(resulting_version="1", previous_version="")
    rollback = rollback_of(first, made)
    answer = await done(host, ordered(b"", "ex-2", compensation=rollback))
    assert isinstance(answer, Busy)
    assert answer.reason.code == "ROLLBACK_NOT_ANNOUNCED"
    assert len(host.calls) == 1
    forward = rollback.but(kind=CompensationKind.FORWARD)
    await done(host, ordered(b"corrected", "ex-3", compensation=forward))
    assert host.values == {SLOT: b"corrected"}
