"""Compensate: what was done is taken back, or put right, under the rules by which it was done."""

import asyncio
from collections.abc import AsyncIterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from governor.domain.compensation import CompensatedBy, CompensationKind, CompensationTrigger
from governor.domain.decision import Code
from governor.domain.digest import request_digest
from governor.domain.errors import (
    AlreadyCompensated,
    EtagMismatch,
    GovernorError,
    InvalidField,
    MissingRole,
    NotEligible,
    NotExecuted,
    NotFound,
    NotReversible,
    RequestIdReused,
    UndoExpired,
)
from governor.domain.policy import Effect, Rule
from governor.domain.request import (
    Intent,
    MutationRequest,
    Payload,
    PendingReason,
    Reversibility,
    Risk,
    StaleStrategy,
    Status,
)
from governor.domain.values import Micros, Reason, RequestId
from governor.usecases.commands import etag_of
from governor.usecases.commits import Commit
from governor.usecases.questions import Link, LinkKind, RequestQuery
from tests.support.builders import MICROS_PER_SECOND
from tests.support.governed import Governed, governed
from tests.support.invariants import check_everything
from tests.support.people import (
    ADA,
    ANN,
    AUDREY,
    BOB,
    EVE,
    FAYE,
    OTTO,
    RITA,
    RULES,
    SAM,
    TENANT,
    reviewed,
)
from tests.support.scripted_host import (
    COMPARING,
    EXACTLY_ONCE,
    UNDOING,
    Loss,
    ScriptedHost,
    undo_token_of,
)

ROLLBACK, FORWARD = CompensationKind.ROLLBACK, CompensationKind.FORWARD
ON = b'{"on":true}'
OFF = Payload(content_type="application/json", data=b'{"on":false}')
ROLLBACKS_ARE_ALLOWED = Rule(id="back", effect=Effect.ALLOW, compensations=("ROLLBACK",))
ROLLBACKS_TAKE_ONE = Rule(
    id="back-asks", effect=Effect.DEFER, compensations=("ROLLBACK",), steps=(reviewed(1),)
)
BACK_IS_FREE = (*RULES, ROLLBACKS_ARE_ALLOWED)


@pytest.fixture
async def sidecar(tmp_path: Path) -> AsyncIterator[Governed]:
    """Over a host that takes changes back; policy has rollbacks asked for."""
    async with governed(tmp_path, host=ScriptedHost(promises=UNDOING)) as running:
        running.policy.rules = (*RULES, ROLLBACKS_TAKE_ONE)
        yield running


async def executed(sidecar: Governed, **fields: Any) -> MutationRequest:
    """A request that was applied."""
    request = await sidecar.submit(**fields)
    await sidecar.quiet()
    request = await sidecar.now(request)
    assert request.status is Status.EXECUTED
    return request


async def taken_back(
    sidecar: Governed, request: MutationRequest, **options: Any
) -> MutationRequest:
    """The rollback, approved and as it then ended."""
    rollback = await sidecar.compensate(OTTO, request, **options)
    if rollback.status is Status.PENDING:
        await sidecar.approve(ANN, rollback)
    await sidecar.quiet()
    return await sidecar.now(rollback)


# ---------------------------------------------------------------- the way there


async def test_a_rollback_is_approved_executed_and_linked_both_ways(sidecar: Governed) -> None:
    before = await executed(sidecar, payload=OFF)
    original = await executed(sidecar)

    rollback = await sidecar.compensate(OTTO, original)
    assert rollback.status is Status.PENDING
    await sidecar.approve(ANN, rollback)
    await sidecar.quiet()

    rollback, original = await sidecar.now(rollback), await sidecar.now(original)
    own, theirs = await sidecar.execution_of(rollback), await sidecar.execution_of(original)
    assert (rollback.status, original.status) == (Status.EXECUTED, Status.EXECUTED)
    assert sidecar.host.values[original.slot] == OFF.data
    assert original.progress.compensated_by == CompensatedBy(
        request_id=rollback.id,
        execution_id=own.id,
        execution_audit_id=own.audit_id,
        kind=ROLLBACK,
        trigger=CompensationTrigger.OPERATOR,
        at=rollback.progress.updated_at,
    )
    assert (own.compensates, theirs.compensated_by) == (theirs.audit_id, own.audit_id)
    assert own.revision == theirs.revision == rollback.revision == original.revision
    assert (await sidecar.now(before)).progress.compensated_by is None
    await check_everything(sidecar)


async def test_what_is_asked_is_the_originals_with_nothing_for_an_argument(
    sidecar: Governed,
) -> None:
    original = await executed(sidecar, tags=("a",))
    execution = await sidecar.execution_of(original)

    reason = Reason(code="WRONG", message="it was", category="RISK", metadata={"ticket": "T-1"})
    rollback = await sidecar.compensate(OTTO, original, reason=reason, justification="at night")

    content, asked = rollback.content, rollback.content.compensation
    assert asked is not None
    assert (content.state, content.mutation_type) == (original.state, "flag.set")
    assert content.payload.data == b""
    assert (content.context.tenant, content.context.actor) == (TENANT, OTTO)
    assert content.intent == original.content.intent
    assert content.expected_version == "1"
    assert content.justification == "at night"
    assert (asked.request_id, asked.execution_id) == (original.id, execution.id)
    assert asked.undo_token == undo_token_of(execution.id)
    assert asked.reason == reason
    assert rollback.progress.digest == request_digest(content, "1")
    assert rollback.requester == OTTO


async def test_the_history_tells_kind_trigger_and_reason_on_both_sides(sidecar: Governed) -> None:
    original = await executed(sidecar)
    rollback = await taken_back(sidecar, original, trigger=CompensationTrigger.FAILED_EXECUTION)

    told = [
        (entry.decision.request_id, entry.decision)
        for entry in await sidecar.ledger()
        if entry.decision.reason is not None and entry.decision.reason.code == "WRONG"
    ]
    assert [(id, one.code) for id, one in told] == [
        (rollback.id, Code.SUBMITTED),
        (original.id, Code.COMPENSATION_REQUESTED),
        (rollback.id, Code.COMPENSATION_COMPLETED),
        (original.id, Code.COMPENSATED),
    ]
    for _, decision in told:
        assert decision.facts["kind"] == "ROLLBACK"
        assert decision.facts["trigger"] == "FAILED_EXECUTION"
    assert told[0][1].facts["compensates"] == told[2][1].facts["compensates"] == original.id
    assert told[1][1].facts["compensation"] == told[3][1].facts["compensation"] == rollback.id
    own, theirs = await sidecar.execution_of(rollback), await sidecar.execution_of(original)
    completed, compensated = told[2][1], told[3][1]
    assert (completed.execution_audit_id, compensated.execution_audit_id) == (
        own.audit_id,
        theirs.audit_id,
    )
    assert completed.facts["execution_audit_id"] == theirs.audit_id
    assert compensated.facts["execution_audit_id"] == own.audit_id
    assert (await sidecar.history(original))[-2:] == [
        "COMPENSATION requested",
        "LIFECYCLE compensated",
    ]


async def test_a_correction_has_a_payload_of_its_own_and_restores_nothing(
    sidecar: Governed,
) -> None:
    original = await executed(sidecar)

    correction = await sidecar.compensate(OTTO, original, FORWARD, payload=OFF)
    await sidecar.quiet()

    correction, original = await sidecar.now(correction), await sidecar.now(original)
    assert correction.status is Status.EXECUTED, "policy allows such changes, and has looked at it"
    assert [effect.payload for effect in sidecar.host.effects] == [ON, OFF.data]
    assert correction.content.compensation is not None
    assert correction.content.compensation.undo_token == b""
    by = original.progress.compensated_by
    assert by is not None
    assert (by.request_id, by.kind) == (correction.id, FORWARD)
    await check_everything(sidecar)


async def test_a_correction_may_be_of_another_type_and_for_another_version(
    sidecar: Governed,
) -> None:
    original = await executed(sidecar)
    await executed(sidecar, payload=OFF)

    stale = await sidecar.compensate(OTTO, original, FORWARD, payload=OFF)
    await sidecar.quiet()
    assert (await sidecar.now(stale)).status is Status.REJECTED
    correction = await sidecar.compensate(
        OTTO, original, FORWARD, payload=OFF, mutation_type="flag.mend", expected_version="2"
    )
    await sidecar.quiet()

    assert correction.content.mutation_type == "flag.mend"
    assert (await sidecar.now(correction)).status is Status.EXECUTED
    await check_everything(sidecar)


async def test_what_policy_allows_runs_at_once_in_the_commit_that_asks_for_it(
    sidecar: Governed,
) -> None:
    sidecar.policy.rules = BACK_IS_FREE
    original = await executed(sidecar)

    rollback = await sidecar.compensate(OTTO, original)

    assert rollback.status is Status.EXECUTING
    asked = await sidecar.now(original)
    assert asked.progress.compensation_id == rollback.id
    assert asked.revision == rollback.revision
    await sidecar.quiet()
    assert (await sidecar.now(rollback)).status is Status.EXECUTED
    await check_everything(sidecar)


# ---------------------------------------------------------------- policy and people


@pytest.mark.parametrize("rules", [RULES, (Rule(id="all", effect=Effect.ALLOW),)])
async def test_what_is_allowed_to_do_is_not_for_that_allowed_to_take_back(
    sidecar: Governed, rules: tuple[Rule, ...]
) -> None:
    original = await executed(sidecar)
    sidecar.policy.rules = rules

    rollback = await sidecar.compensate(OTTO, original)

    assert rollback.status is Status.REJECTED
    assert rollback.progress.status_reason is not None
    assert rollback.progress.status_reason.code == "NO_RULE_MATCHED"


async def test_a_rule_that_asks_for_approval_or_denies_speaks_of_rollbacks_as_well(
    sidecar: Governed,
) -> None:
    sidecar.policy.rules = RULES
    request = await sidecar.submit(risk=Risk.MEDIUM)
    await sidecar.approve(ANN, request)
    await sidecar.quiet()

    rollback = await sidecar.compensate(OTTO, request)
    assert rollback.waits_for(PendingReason.APPROVAL)
    await sidecar.cancel(OTTO, rollback)
    sidecar.policy.rules = (*BACK_IS_FREE, Rule(id="never", effect=Effect.DENY))
    denied = await sidecar.compensate(OTTO, request)
    assert denied.status is Status.REJECTED


async def test_who_asks_for_it_does_not_approve_it_and_who_asked_for_the_original_may(
    sidecar: Governed,
) -> None:
    sidecar.directory.put(OTTO, TENANT, ("operator", "approver"), ("reviewers",))
    sidecar.directory.put(RITA, TENANT, ("submitter", "approver"), ("reviewers",))
    original = await executed(sidecar)
    rollback = await sidecar.compensate(OTTO, original)

    await sidecar.changes_nothing(sidecar.vote(OTTO, rollback), NotEligible)
    assert (await sidecar.approve(RITA, rollback)).status is Status.APPROVED


@pytest.mark.parametrize(
    ("actor", "refusal"),
    [(SAM, MissingRole), (ANN, MissingRole), (AUDREY, MissingRole), (EVE, NotFound)],
)
async def test_who_may_not_operate_compensates_nothing_of_others(
    sidecar: Governed, actor: str, refusal: type[GovernorError]
) -> None:
    original = await executed(sidecar)
    await sidecar.changes_nothing(sidecar.compensate(actor, original), refusal)


@pytest.mark.parametrize("actor", [OTTO, ADA, RITA])
async def test_operators_admins_and_the_requester_may_ask(sidecar: Governed, actor: str) -> None:
    original = await executed(sidecar)
    assert (await sidecar.compensate(actor, original)).requester == actor


# ---------------------------------------------------------------- a state that has moved on


async def test_a_rollback_onto_a_state_that_moved_on_is_rejected(sidecar: Governed) -> None:
    original = await executed(sidecar)
    await executed(sidecar, payload=OFF)

    rollback = await taken_back(sidecar, original)

    assert rollback.status is Status.REJECTED
    assert rollback.progress.status_reason is not None
    assert rollback.progress.status_reason.code == "STALE"
    assert sidecar.host.values[original.slot] == OFF.data
    assert (await sidecar.now(original)).progress.compensated_by is None
    await check_everything(sidecar)


async def test_a_stale_rollback_is_approved_anew_on_what_is_there_now(sidecar: Governed) -> None:
    original = await executed(sidecar)
    await executed(sidecar, payload=OFF)

    rollback = await taken_back(
        sidecar, original, stale_strategy=StaleStrategy.REQUIRE_RENEWED_APPROVAL
    )
    assert rollback.waits_for(PendingReason.APPROVAL)
    assert rollback.progress.expected_version == "2"
    assert sidecar.host.values[original.slot] == OFF.data
    await sidecar.approve(BOB, rollback)
    await sidecar.quiet()

    assert (await sidecar.now(rollback)).status is Status.EXECUTED
    assert sidecar.host.values[original.slot] is None
    await check_everything(sidecar)


async def test_a_stale_rollback_is_looked_at_again_by_policy_and_host(sidecar: Governed) -> None:
    original = await executed(sidecar)
    await executed(sidecar, payload=OFF)
    again = StaleStrategy.REVALIDATE_ON_LATEST

    sidecar.host.violations = (Reason(code="NO"),)
    refused = await taken_back(sidecar, original, stale_strategy=again)
    assert refused.status is Status.FAILED
    sidecar.host.violations = ()
    rollback = await taken_back(sidecar, original, stale_strategy=again)

    assert rollback.status is Status.EXECUTED
    assert sidecar.host.values[original.slot] is None
    await check_everything(sidecar)


async def test_a_host_that_does_not_compare_is_asked_for_the_version_first(tmp_path: Path) -> None:
    promises = EXACTLY_ONCE.but(rollback=True)
    async with governed(tmp_path, host=ScriptedHost(promises=promises)) as sidecar:
        sidecar.policy.rules = BACK_IS_FREE
        original = await executed(sidecar)
        sidecar.host.touch(original.slot)
        stale = await taken_back(sidecar, original)
        assert stale.status is Status.REJECTED
        assert stale.progress.executions == 0


# ---------------------------------------------------------------- what is refused


async def test_what_was_never_applied_is_not_compensated(sidecar: Governed) -> None:
    waiting = await sidecar.submit(risk=Risk.HIGH)
    denied = await sidecar.submit(risk=Risk.CRITICAL, flag="b")
    sidecar.host.script.extend([Loss.ORDER] * 1000)
    doubtful = await sidecar.submit(flag="c")
    await sidecar.pass_time(600)

    for request in (waiting, denied, doubtful):
        for kind, payload in ((ROLLBACK, None), (FORWARD, OFF)):
            call = sidecar.compensate(OTTO, request, kind, payload=payload)
            await sidecar.changes_nothing(call, NotExecuted)


@pytest.mark.parametrize("reversibility", [Reversibility.IRREVERSIBLE, Reversibility.COMPENSABLE])
async def test_what_its_requester_called_irreversible_is_put_right_and_not_taken_back(
    sidecar: Governed, reversibility: Reversibility
) -> None:
    original = await executed(sidecar, intent=Intent(risk=Risk.LOW, reversibility=reversibility))

    refusal = await sidecar.changes_nothing(sidecar.compensate(OTTO, original), NotReversible)
    assert isinstance(refusal, NotReversible)
    assert refusal.facts["cause"] == "INTENT"
    correction = await sidecar.compensate(OTTO, original, FORWARD, payload=OFF)
    await sidecar.quiet()
    assert (await sidecar.now(correction)).status is Status.EXECUTED


@pytest.mark.parametrize(
    ("promises", "cause"),
    [
        (COMPARING, "HOST"),
        (UNDOING.but(reversibility={"flag.set": Reversibility.IRREVERSIBLE}), "TYPE"),
        (UNDOING.but(reversibility={"flag.set": Reversibility.COMPENSABLE}), "TYPE"),
    ],
)
async def test_what_the_host_says_of_taking_back_binds(
    sidecar: Governed, promises: Any, cause: str
) -> None:
    original = await executed(sidecar)
    sidecar.host.promises = promises
    await sidecar.host.capabilities()

    refusal = await sidecar.changes_nothing(sidecar.compensate(OTTO, original), NotReversible)
    assert isinstance(refusal, NotReversible)
    assert refusal.facts["cause"] == cause


async def test_an_outcome_that_a_person_declared_has_no_token(sidecar: Governed) -> None:
    sidecar.host.script.extend([Loss.ORDER] * 1000)
    original = await sidecar.submit()
    await sidecar.pass_time(600)
    sidecar.host.script.clear()
    await sidecar.resolve(OTTO, await sidecar.execution_of(original), "1")

    refusal = await sidecar.changes_nothing(sidecar.compensate(OTTO, original), NotReversible)
    assert isinstance(refusal, NotReversible)
    assert refusal.facts["cause"] == "OUTCOME"
    await sidecar.compensate(OTTO, original, FORWARD, payload=OFF)


async def test_a_token_that_has_run_out_is_refused_by_name(sidecar: Governed) -> None:
    sidecar.host.undo_expires_at = Micros(sidecar.clock.now() + 60 * MICROS_PER_SECOND)
    original = await executed(sidecar)
    await sidecar.pass_time(60)

    await sidecar.changes_nothing(sidecar.compensate(OTTO, original), UndoExpired)


async def test_a_rollback_expires_with_its_token(sidecar: Governed) -> None:
    until = Micros(sidecar.clock.now() + 60 * MICROS_PER_SECOND)
    sidecar.host.undo_expires_at = until
    original = await executed(sidecar)
    later = Micros(until + MICROS_PER_SECOND)
    sooner = Micros(until - MICROS_PER_SECOND)

    for asked, expected in ((None, until), (later, until), (sooner, sooner)):
        rollback = await sidecar.compensate(OTTO, original, expires_at=asked)
        assert rollback.expires_at == expected
        await sidecar.cancel(OTTO, rollback)
    correction = await sidecar.compensate(
        OTTO, original, FORWARD, payload=OFF, expires_at=later, stale_strategy="REJECT_STALE"
    )
    assert correction.expires_at == later


async def test_a_host_that_forgot_the_image_has_the_last_word(sidecar: Governed) -> None:
    original = await executed(sidecar)
    sidecar.host.forget_image((await sidecar.execution_of(original)).id)

    rollback = await taken_back(sidecar, original)

    assert rollback.status is Status.FAILED
    assert rollback.progress.status_reason is not None
    assert rollback.progress.status_reason.metadata["code"] == "UNDO_EXPIRED"
    assert (await sidecar.now(original)).progress.compensated_by is None


async def test_a_host_that_takes_nothing_back_any_more_is_sent_no_rollback(
    sidecar: Governed,
) -> None:
    original = await executed(sidecar)
    rollback = await sidecar.compensate(OTTO, original)
    sidecar.host.promises = COMPARING
    sent = len(sidecar.host.calls)
    await sidecar.host.capabilities()
    await sidecar.approve(ANN, rollback)
    await sidecar.quiet()

    rollback = await sidecar.now(rollback)
    assert rollback.status is Status.REJECTED
    assert rollback.progress.status_reason is not None
    assert rollback.progress.status_reason.code == "NOT_REVERSIBLE"
    assert len(sidecar.host.calls) == sent
    await check_everything(sidecar)


async def test_a_second_compensation_waits_for_the_end_of_the_first(sidecar: Governed) -> None:
    original = await executed(sidecar)
    first = await sidecar.compensate(OTTO, original)

    for kind, payload in ((ROLLBACK, None), (FORWARD, OFF)):
        call = sidecar.compensate(ADA, original, kind, payload=payload)
        refusal = await sidecar.changes_nothing(call, AlreadyCompensated)
        assert isinstance(refusal, AlreadyCompensated)
        assert refusal.facts == {"id": first.id, "status": "PENDING"}
    await sidecar.cancel(OTTO, first)
    second = await sidecar.compensate(ADA, original)
    assert (await sidecar.now(original)).progress.compensation_id == second.id
    await sidecar.approve(ANN, second)
    await sidecar.quiet()
    await sidecar.changes_nothing(sidecar.compensate(ADA, original), AlreadyCompensated)
    await check_everything(sidecar)


async def test_of_many_at_once_one_is_taken(sidecar: Governed) -> None:
    sidecar.policy.rules = BACK_IS_FREE
    original = await executed(sidecar)

    results = await asyncio.gather(
        *(sidecar.compensate(OTTO, original) for _ in range(5)), return_exceptions=True
    )
    await sidecar.quiet()

    refused = [result for result in results if isinstance(result, BaseException)]
    assert [type(refusal) for refusal in refused] == [AlreadyCompensated] * 4
    assert len(sidecar.host.effects) == 2
    await check_everything(sidecar)


async def test_the_same_call_again_gives_the_first_answer(sidecar: Governed) -> None:
    sidecar.policy.rules = BACK_IS_FREE
    original = await executed(sidecar)
    first = await sidecar.compensate(OTTO, original, key="once")
    await sidecar.quiet()
    before = sidecar.store.head

    assert await sidecar.compensate(OTTO, original, key="once") == first
    await sidecar.restart()
    sidecar.policy.rules = BACK_IS_FREE
    assert await sidecar.compensate(OTTO, original, key="once") == first
    assert sidecar.store.head == before
    call = sidecar.compensate(OTTO, original, key="once", justification="another")
    await sidecar.changes_nothing(call, RequestIdReused)


async def test_a_stale_etag_is_refused(sidecar: Governed) -> None:
    original = await executed(sidecar)
    await sidecar.cancel(OTTO, await sidecar.compensate(OTTO, original))

    call = sidecar.compensate(OTTO, original, etag=etag_of(original))
    await sidecar.changes_nothing(call, EtagMismatch)
    current = etag_of(await sidecar.now(original))
    await sidecar.compensate(OTTO, original, etag=current)


async def test_a_compensation_is_not_replaced_by_something_that_is_none(sidecar: Governed) -> None:
    sidecar.directory.put(OTTO, TENANT, ("operator", "submitter"))
    rollback = await sidecar.compensate(OTTO, await executed(sidecar))

    await sidecar.changes_nothing(sidecar.supersede(OTTO, rollback), InvalidField)


# ---------------------------------------------------------------- the same again, backwards


async def test_a_rollback_can_be_taken_back_and_that_too(sidecar: Governed) -> None:
    sidecar.policy.rules = BACK_IS_FREE
    original = await executed(sidecar)
    slot = original.slot

    first = await taken_back(sidecar, original)
    assert sidecar.host.values[slot] is None
    second = await taken_back(sidecar, first)
    assert sidecar.host.values[slot] == ON
    await sidecar.changes_nothing(sidecar.compensate(OTTO, original), AlreadyCompensated)
    third = await taken_back(sidecar, second)
    assert sidecar.host.values[slot] is None

    chain = [original, first, second, third]
    for done, by in pairwise(chain):
        compensated_by = (await sidecar.now(done)).progress.compensated_by
        assert compensated_by is not None
        assert compensated_by.request_id == by.id
    await check_everything(sidecar)


# ---------------------------------------------------------------- what comes in between


async def test_a_review_of_the_original_does_not_keep_the_outcome_from_being_recorded(
    sidecar: Governed,
) -> None:
    sidecar.policy.rules = RULES
    original = await sidecar.submit(FAYE, risk=Risk.MEDIUM, break_glass="it burns")
    await sidecar.quiet()
    rollback = await sidecar.compensate(OTTO, original)

    async def passed(_: Commit) -> None:
        """The vote, and the claim."""

    async def meanwhile(_: Commit) -> None:
        sidecar.store.interruptions.clear()
        await sidecar.review(BOB, original)

    sidecar.store.interruptions.extend([passed, passed, meanwhile])
    await sidecar.approve(ANN, rollback)
    await sidecar.quiet()

    original = await sidecar.now(original)
    assert (await sidecar.now(rollback)).status is Status.EXECUTED
    assert original.progress.compensated_by is not None
    assert original.progress.review is not None
    assert not original.progress.review.is_open
    assert (await sidecar.execution_of(rollback)).attempts == 1
    await check_everything(sidecar)


@pytest.mark.parametrize(
    "failpoint",
    [
        "execute.before_apply",
        "execute.after_apply",
        "execute.before_outcome",
        "store.batch.after_rows",
        "store.batch.before_head",
        "execute.after_outcome",
    ],
)
async def test_wherever_it_dies_the_links_are_whole_or_not_there(
    tmp_path: Path, failpoint: str
) -> None:
    async with governed(tmp_path, host=ScriptedHost(promises=UNDOING)) as sidecar:
        sidecar.policy.rules = BACK_IS_FREE
        original = await executed(sidecar)
        # Of the store's, the second passing is the outcome's: the first is the claim's.
        sidecar.die_at(failpoint, passing=2 if failpoint.startswith("store.") else 1)
        await sidecar.unless_it_dies(sidecar.compensate(OTTO, original))
        await sidecar.unless_it_dies(sidecar.quiet())
        assert sidecar.is_dead.is_set()
        await sidecar.restart()
        await sidecar.pass_time(60)

        compensation_id = (await sidecar.now(original)).progress.compensation_id
        assert compensation_id is not None
        rollback = await sidecar.store.request(compensation_id)
        assert rollback is not None
        assert rollback.status is Status.EXECUTED
        assert sidecar.host.values[original.slot] is None
        await check_everything(sidecar)


async def test_a_rollback_in_doubt_is_linked_when_a_person_finds_it_applied(
    sidecar: Governed,
) -> None:
    sidecar.policy.rules = BACK_IS_FREE
    original = await executed(sidecar)
    sidecar.host.script.extend([Loss.ORDER] * 1000)
    rollback = await sidecar.compensate(OTTO, original)
    await sidecar.pass_time(600)
    assert (await sidecar.now(rollback)).waits_for(PendingReason.AUDIT)
    await sidecar.changes_nothing(sidecar.compensate(OTTO, original), AlreadyCompensated)

    resolved = await sidecar.resolve(OTTO, await sidecar.execution_of(rollback), "2")

    assert resolved.request.id == rollback.id
    assert resolved.execution is not None
    assert resolved.execution.request_id == rollback.id
    by = (await sidecar.now(original)).progress.compensated_by
    assert by is not None
    assert by.request_id == rollback.id


async def test_a_rollback_in_doubt_that_did_nothing_frees_the_way(sidecar: Governed) -> None:
    sidecar.policy.rules = BACK_IS_FREE
    original = await executed(sidecar)
    sidecar.host.script.extend([Loss.ORDER] * 1000)
    rollback = await sidecar.compensate(OTTO, original)
    await sidecar.pass_time(600)
    sidecar.host.script.clear()

    await sidecar.resolve(OTTO, await sidecar.execution_of(rollback), None)

    assert (await sidecar.now(original)).progress.compensated_by is None
    assert (await taken_back(sidecar, original)).status is Status.EXECUTED
    await check_everything(sidecar)


async def test_a_rollback_that_was_applied_before_it_could_be_withdrawn_is_linked(
    sidecar: Governed,
) -> None:
    sidecar.policy.rules = BACK_IS_FREE
    original = await executed(sidecar)
    sidecar.host.answers.shut()
    rollback = await sidecar.compensate(OTTO, original)
    await sidecar.quiet()

    canceling = asyncio.ensure_future(sidecar.cancel(OTTO, rollback))
    await sidecar.quiet()
    sidecar.host.answers.open()
    await asyncio.gather(canceling, return_exceptions=True)
    await sidecar.quiet()

    assert (await sidecar.now(rollback)).status is Status.EXECUTED
    assert (await sidecar.now(original)).progress.compensated_by is not None
    await check_everything(sidecar)


async def test_an_ordinary_request_pays_nothing_for_it(sidecar: Governed) -> None:
    reads = []
    real = sidecar.store.request

    async def counted(id: RequestId) -> MutationRequest | None:
        reads.append(id)
        return await real(id)

    sidecar.store.request = counted
    await sidecar.submit()
    await sidecar.quiet()
    assert reads == []


# ---------------------------------------------------------------- what is found by the links


async def test_compensations_are_listed_by_what_they_compensate(sidecar: Governed) -> None:
    original = await executed(sidecar)
    first = await sidecar.compensate(OTTO, original)
    await sidecar.cancel(OTTO, first)
    second = await sidecar.compensate(OTTO, original)

    link = Link(kind=LinkKind.COMPENSATES, id=original.id)
    found = await sidecar.store.requests(RequestQuery(tenant=TENANT, link=link))
    assert [one.id for one in found] == [second.id, first.id]


async def test_the_trace_of_its_execution_goes_back_to_the_originals(sidecar: Governed) -> None:
    original = await executed(sidecar)
    execution = await sidecar.execution_of(original)

    rollback = await sidecar.compensate(OTTO, original)

    assert rollback.compensated_traceparents == tuple(
        text for text in (original.traceparent, execution.traceparent) if text
    )
    await sidecar.restart()
    assert (await sidecar.now(rollback)).compensated_traceparents == (
        rollback.compensated_traceparents
    )
