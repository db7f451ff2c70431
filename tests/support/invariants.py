"""What must hold of the whole, whatever has happened: design invariants 1 to 6, 8 and 10, from the
store and the host alone.
"""

from collections import Counter
from collections.abc import Iterable
from itertools import pairwise

from governor.domain.batches import BATCH_TYPE
from governor.domain.counting import steps_filled
from governor.domain.decision import Category, Code, Decision
from governor.domain.digest import plan_digest, request_digest
from governor.domain.execution import Execution, ExecutionStatus
from governor.domain.ledger import leaf_hash, root_over
from governor.domain.lifecycle import TRANSITIONS
from governor.domain.request import (
    TERMINAL,
    ExecutionMode,
    MutationRequest,
    PendingReason,
    Status,
)
from governor.domain.resolution import CLEAN
from governor.domain.values import RequestId, Revision
from governor.usecases.commits import Entry, Head
from governor.usecases.ports import Store
from governor.usecases.questions import ExecutionQuery, RequestQuery
from tests.support.builders import decode_entry
from tests.support.governed import Governed
from tests.support.people import OTHER_TENANT, TENANT
from tests.support.scripted_host import Effect

_EVERYTHING = 100_000
_MAY_HAVE_AN_EFFECT = {
    ExecutionStatus.APPLIED,
    ExecutionStatus.RUNNING,
    ExecutionStatus.IN_DOUBT,
}


async def check_everything(sidecar: Governed) -> None:
    """Raises AssertionError. The application must be quiet."""
    await check_store(sidecar.store, sidecar.host.effects)


async def check_store(store: Store, effects: list[Effect]) -> None:
    """What a store tells, and what its host has really done. Raises AssertionError."""
    stored = await store.entries(after=Revision(0), limit=_EVERYTHING)
    check_ledger(store.head, [entry.data for entry in stored])
    about: dict[RequestId, list[Entry]] = {}
    for entry in (decode_entry(one.data) for one in stored):
        if entry.decision.code.category is Category.HOST:
            continue
        about.setdefault(entry.decision.request_id, []).append(entry)
    requests = [
        request
        for tenant in (TENANT, OTHER_TENANT)
        for listed in await store.requests(RequestQuery(tenant=tenant, limit=_EVERYTHING))
        if (request := await store.request(listed.id))
    ]
    executions = [one for request in requests for one in await store.executions_of(request.id)]
    assert about.keys() == {request.id for request in requests}, "a request without a ledger"
    for request in requests:
        check_history(request, about[request.id])
        check_votes(request)
        check_executions(request, [one for one in executions if one.request_id == request.id])
    check_exclusion(executions)
    check_compensations(requests, executions)
    check_effects(effects, requests, executions)


async def check_nothing_is_stuck(store: Store, *, executions_per_request_max: int) -> None:
    """Whoever still waits, waits for a person, or for what a person holds up. Everything must have
    worked for long enough.
    """
    requests = await store.requests(RequestQuery(tenant=TENANT, limit=_EVERYTHING))
    doubtful = ExecutionQuery(
        tenant=TENANT, statuses=(ExecutionStatus.IN_DOUBT,), limit=_EVERYTHING
    )
    held = {execution.slot for execution in await store.executions(doubtful)}
    by_id = {request.id: request for request in requests}

    def is_open(id: RequestId) -> bool:
        """Whether it, or what has taken its place, has not ended."""
        while (replacement := by_id[id].progress.superseded_by) is not None:
            id = replacement
        return not by_id[id].is_terminal

    for request in requests:
        assert request.status is not Status.EXECUTING, request.id
        assert not request.waits_for(PendingReason.REVALIDATION), request.id
        assert not request.waits_for(PendingReason.SCHEDULE), request.id
        if request.waits_for(PendingReason.DEPENDENCY):
            assert any(map(is_open, request.content.depends_on)), request.id
        if (
            request.status is Status.APPROVED
            and request.content.execution_mode is ExecutionMode.AUTOMATIC
            and request.progress.executions < executions_per_request_max
        ):
            assert request.slot in held, f"{request.id} has lost its turn"


def check_ledger(head: Head, entries: list[bytes]) -> None:
    """Gap-free, complete up to the head, and the head's root is over exactly these bytes."""
    assert len(entries) == head.revision, "the ledger has gaps"
    assert root_over(map(leaf_hash, entries)) == head.root, "the root is over other bytes"


def check_history(request: MutationRequest, entries: list[Entry]) -> None:
    """A legal path through the transition table that ends where the request stands; nothing is
    claimed that was not approved, nothing applied that was not resolved.
    """
    decisions = [entry.decision for entry in entries]
    path = [Status.CREATED]
    for decision in decisions:
        assert decision.status is not None, "a decision about a request says where it stands"
        if decision.status is not path[-1]:
            path.append(decision.status)
    if decisions[-1].status is Status.EXECUTING and path[1] is Status.EXECUTING:
        path.insert(1, Status.APPROVED)
    for before, after in pairwise(path):
        assert after in _next_to(before), f"{request.id} went from {before} to {after}: {path}"
    assert path[-1] is request.status, f"{request.id} stands elsewhere than its ledger says"
    assert request.revision >= entries[-1].revision
    for decision in decisions:
        assert decision.request_audit_id == request.audit_id
    _check_order(request, decisions)


def _next_to(status: Status) -> set[Status]:
    targets = set(TRANSITIONS[status].values())
    if status is Status.CREATED:
        # Approved and claimed in one commit, whose decisions all show where it led.
        targets.add(Status.EXECUTING)
    return targets


def _check_order(request: MutationRequest, decisions: list[Decision]) -> None:
    approved = claimed = resolved = False
    for number, decision in enumerate(decisions):
        match decision.code:
            case Code.APPROVED:
                approved = True
            case Code.CLAIMED:
                assert approved, f"{request.id} was claimed and not approved"
                claimed = True
            case Code.VERSION_VALIDATED | Code.VERSION_UNVERSIONED:
                resolved = True
            case Code.APPLIED:
                assert claimed, f"{request.id} was applied and not claimed"
                assert resolved, f"{request.id} was applied and its version not resolved"
            case _:
                pass
        if decision.status in TERMINAL:
            rest = {later.status for later in decisions[number:]}
            assert rest == {decision.status}, f"{request.id} went on after its end"
    assert decisions[0].code is Code.SUBMITTED
    if request.is_terminal:
        # Its review and its compensation are what may still come.
        later = (Category.BREAK_GLASS, Category.COMPENSATION)
        ends = [one for one in decisions if one.code.category not in later]
        assert ends[-1].code.category is Category.LIFECYCLE
    _check_review(request, decisions)


def _check_review(request: MutationRequest, decisions: list[Decision]) -> None:
    """Who went past an approval owes a review, and nobody else; the requester never gave it."""
    told = [one for one in decisions if one.code.category is Category.BREAK_GLASS]
    review = request.progress.review
    assert bool(told) is (review is not None), f"{request.id}: a review out of nothing"
    if review is None:
        return
    assert [one.code for one in told[:1]] == [Code.BREAK_GLASS_USED]
    assert review.is_open is (told[-1].code is not Code.BREAK_GLASS_REVIEWED)
    assert review.is_awaited is (told[-1].code is Code.BREAK_GLASS_USED)
    if review.reviewer is not None:
        assert review.reviewer.person != request.requester, "somebody reviewed themselves"


def check_votes(request: MutationRequest) -> None:
    """Nobody counts for their own request, and nobody twice; all votes that count saw this digest
    and this plan; and what was approved by people is what the votes fill.
    """
    approval = request.progress.approval
    if approval is None:
        return
    votes = approval.current_votes()
    voters = [(vote.step, person) for vote in votes for person in vote.persons]
    assert request.requester not in {person for _, person in voters}, "the requester voted"
    assert len(voters) == len(set(voters)), "somebody counted twice"
    digests = {vote.digest for vote in votes}
    assert digests <= {request.progress.digest}, "a vote for another content counts"
    plans = {vote.plan_digest for vote in votes}
    assert plans <= {plan_digest(approval.plan, approval.round)}, "a vote under another plan counts"
    assert steps_filled(approval) == approval.open_step, "another step is open than the votes say"
    if request.status in (Status.APPROVED, Status.EXECUTING, Status.EXECUTED):
        skipped = approval.break_glass is not None
        assert approval.is_satisfied or skipped, "what was not approved went on"


def check_executions(request: MutationRequest, executions: list[Execution]) -> None:
    """Request and executions tell the same story."""
    assert request.progress.executions == len(executions)
    active = [one for one in executions if one.is_active]
    for execution in executions:
        assert execution.request_audit_id == request.audit_id
        if execution.status is ExecutionStatus.APPLIED:
            assert execution.resolution in CLEAN or execution.resolved_by
    match request.status:
        case Status.EXECUTING:
            expected = [ExecutionStatus.RUNNING]
        case Status.PENDING if request.waits_for(PendingReason.AUDIT):
            expected = [ExecutionStatus.IN_DOUBT]
        case _:
            expected = []
    assert [one.status for one in active] == expected, f"{request.id}: {active}"
    if active:
        assert active[0].id == request.progress.execution_id
        assert active[0].digest == request.progress.digest
    applied = [one for one in executions if one.status is ExecutionStatus.APPLIED]
    assert len(applied) == (request.status is Status.EXECUTED)


def check_exclusion(executions: Iterable[Execution]) -> None:
    """At most one active execution per state."""
    held = Counter(one.slot for one in executions if one.is_active)
    assert all(count == 1 for count in held.values()), "two executions on one state"


def check_compensations(requests: list[MutationRequest], executions: list[Execution]) -> None:
    """Nothing is made good twice, and both ends of what was made good say so."""
    by_id = {one.id: one for one in requests}
    chains = {one.id: one for one in executions}
    applied: dict[RequestId, MutationRequest] = {}
    open_ones: dict[RequestId, MutationRequest] = {}
    for request in requests:
        asked = request.content.compensation
        if asked is None:
            continue
        if not request.is_terminal:
            assert asked.request_id not in open_ones, f"{asked.request_id} has two at once"
            open_ones[asked.request_id] = request
        elif request.status is Status.EXECUTED:
            assert asked.request_id not in applied, f"{asked.request_id} was made good twice"
            applied[asked.request_id] = request
    assert not open_ones.keys() & applied.keys(), "made good, and to be made good once more"
    for id, request in open_ones.items():
        assert by_id[id].progress.compensation_id == request.id
    for original in requests:
        by, compensation = original.progress.compensated_by, applied.get(original.id)
        assert (by.request_id if by else None) == (compensation.id if compensation else None)
        if by is None or compensation is None or compensation.progress.execution_id is None:
            continue
        assert original.status is Status.EXECUTED
        assert original.progress.compensation_id == by.request_id
        own, asked = chains[compensation.progress.execution_id], compensation.content.compensation
        assert asked is not None
        theirs = chains[asked.execution_id]
        assert (by.execution_id, by.execution_audit_id) == (own.id, own.audit_id)
        assert (own.compensates, theirs.compensated_by) == (theirs.audit_id, own.audit_id)
    links = Counter(one.compensated_by for one in executions if one.compensated_by)
    assert links.total() == len(applied), "an execution says what its request does not"


def check_effects(
    effects: list[Effect], requests: list[MutationRequest], executions: list[Execution]
) -> None:
    """At most one per execution and per request, and exactly what was approved."""
    by_execution = {one.id: one for one in executions}
    by_request = {one.id: one for one in requests}
    for seen in (Counter(e.execution_id for e in effects), Counter(e.request_id for e in effects)):
        assert all(count == 1 for count in seen.values()), "an effect was made twice"
    for effect in effects:
        execution, request = by_execution[effect.execution_id], by_request[effect.request_id]
        if not execution.resolved_by:
            assert execution.status in _MAY_HAVE_AN_EFFECT, f"{execution.status} with an effect"
        assert effect.payload == request.content.payload.data
        assert effect.digest == execution.digest
    applied = {
        one.id
        for one in executions
        if one.applied and not one.resolved_by and one.state.type != BATCH_TYPE
    }
    assert applied <= {effect.execution_id for effect in effects}, "applied without an effect"
    for request in requests:
        content = request.content
        if request.progress.expected_version == content.expected_version:
            assert request.progress.digest == request_digest(content, content.expected_version)
