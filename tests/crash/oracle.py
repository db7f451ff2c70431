"""What must be true after a round, however it went: host, ledger and receipts are compared.

The host's own effect ledger is the judge of what was done; the decisions are the judge of what was
said; the callers' receipts are the judge of what was promised.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Final

from governance.v1 import (
    decision_pb2,
    execution_pb2,
    governance_service_pb2,
    mutation_pb2,
    request_pb2,
)
from governor.domain.lifecycle import TRANSITIONS
from governor.domain.request import Status
from tests.crash.callers import Callers, Receipt
from tests.crash.subscriber import Subscriber
from tests.crash.workload import EXECUTED
from tests.support.deployment import TENANT

PAGE: Final = 1_000

SAID_OF: Final = {
    "Submit": "submitted",
    "Approve": "granted",
    "Cancel": "canceled",
    "ResolveExecution": "resolved",
}
"""The decision that a call's answer promises."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What was found: all of it empty but `expected` when all is well."""

    expected: int
    lost: tuple[str, ...] = ()
    doubled: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    faults: tuple[str, ...] = ()

    @property
    def is_clean(self) -> bool:
        return not (self.lost or self.doubled or self.missing or self.faults)


@dataclass
class Evidence:
    """Everything that can be known of a store and its host, gathered while a sidecar answers."""

    callers: Callers
    subscriber: Subscriber
    effects: Sequence[str]
    decisions: list[decision_pb2.Decision] = field(default_factory=list)
    requests: dict[str, request_pb2.MutationRequest] = field(default_factory=dict)
    executions: dict[str, execution_pb2.Execution] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)

    def gather(self, seconds_max: float) -> None:
        """Reads the whole ledger, each request with its executions, and repeats every call."""
        self.decisions = list(self._whole_ledger())
        for id in dict.fromkeys(decision.mutation_request_id for decision in self.decisions):
            message = governance_service_pb2.GetRequestRequest(
                id=id, min_revision=self.callers.revision
            )
            answer = self.callers.call("GetRequest", "ada", message)
            self.requests[id] = answer.request
            self.executions |= {one.id: one for one in answer.executions}
        for receipt in self.callers.receipts:
            self._repeat(receipt)
        self.subscriber.reach(self.decisions[-1].revision, seconds_max)

    def _whole_ledger(self) -> Iterator[decision_pb2.Decision]:
        token = ""
        while True:
            message = governance_service_pb2.ListDecisionsRequest(
                filter=governance_service_pb2.DecisionFilter(tenant=TENANT),
                page_size=PAGE,
                page_token=token,
                min_revision=self.callers.revision,
            )
            page = self.callers.call("ListDecisions", "ada", message)
            yield from page.decisions
            token = page.next_page_token
            if not token:
                return

    def _repeat(self, receipt: Receipt) -> None:
        """The same request_id gives the same answer, whatever happened since."""
        again = self.callers.call(receipt.rpc, receipt.actor, receipt.message)
        if (again.request.id, again.revision) != (receipt.id, receipt.revision):
            self.faults.append(f"{receipt.rpc} was answered otherwise when it was repeated")


def judge(evidence: Evidence) -> Verdict:
    """Compares what was promised, what was said and what was done."""
    seen = {one.id: one for one in evidence.callers.seen}
    done = effects_by_request(evidence)
    owed = [id for id in seen if owes_an_effect(evidence, id)]
    return Verdict(
        expected=len(owed),
        lost=tuple(f"{seen[id].name} ({id}) has no effect" for id in owed if not done[id]),
        doubled=(
            *(f"{id} has {count} effects" for id, count in done.items() if count > 1),
            *(
                f"the effect of {id} was made {count} times"
                for id, count in Counter(evidence.effects).items()
                if count > 1
            ),
        ),
        missing=tuple(missing_decisions(evidence)),
        faults=(
            *evidence.faults,
            *stray_effects(evidence),
            *strangers(evidence),
            *odd_ends(evidence),
            *odd_histories(evidence),
            *odd_executions(evidence),
        ),
    )


def effects_by_request(evidence: Evidence) -> Counter[str]:
    return Counter(
        evidence.executions[id].mutation_request_id
        for id in evidence.effects
        if id in evidence.executions
    )


def owes_an_effect(evidence: Evidence, id: str) -> bool:
    """It says that it is EXECUTED, or should be and no person has said that it is not applied."""
    request = evidence.requests.get(id)
    if request is None or request.status == EXECUTED:
        return True
    expected = next(one.expected for one in evidence.callers.seen if one.id == id)
    return expected == EXECUTED and not was_settled_by_hand(evidence, id)


def was_settled_by_hand(evidence: Evidence, id: str) -> bool:
    return any(
        one.resolved_by for one in evidence.executions.values() if one.mutation_request_id == id
    )


def stray_effects(evidence: Evidence) -> Iterator[str]:
    for id in evidence.effects:
        execution = evidence.executions.get(id)
        if execution is None:
            yield f"the host made an effect of {id}, which nobody ordered"
        elif evidence.requests[execution.mutation_request_id].status != EXECUTED:
            status = evidence.requests[execution.mutation_request_id].status
            yield f"{id} has an effect, but its request is {name_of(status)}"
        elif execution.status != execution_pb2.EXECUTION_STATUS_APPLIED:
            yield f"{id} has an effect, but is not APPLIED"


def missing_decisions(evidence: Evidence) -> Iterator[str]:
    """What was acknowledged or streamed, and does not stand in the ledger as it did then.

    The tenant's decisions are not all there are: that the whole has no gaps, `verify` says.
    """
    ledger = evidence.decisions
    by_revision = {decision.revision: decision for decision in ledger}
    if list(by_revision) != sorted(by_revision) or len(by_revision) != len(ledger):
        yield f"the ledger is out of order: {[decision.revision for decision in ledger]}"
    for receipt in evidence.callers.receipts:
        about = by_revision.get(receipt.revision)
        if about is None or about.mutation_request_id != receipt.id:
            yield f"revision {receipt.revision}, acknowledged for {receipt.rpc}, is not there"
        wanted = (receipt.id, SAID_OF[receipt.rpc])
        if wanted not in {(one.mutation_request_id, one.code) for one in ledger}:
            yield f"{receipt.rpc} of {receipt.id} was acknowledged and is not in the ledger"
    whole = [decision.SerializeToString(deterministic=True) for decision in ledger]
    if evidence.subscriber.entries != whole:
        yield "a subscriber saw something else than the ledger"


def odd_ends(evidence: Evidence) -> Iterator[str]:
    for one in evidence.callers.seen:
        request = evidence.requests.get(one.id)
        if request is None:
            yield f"{one.name} ({one.id}) is not in the store"
        elif request.status != one.expected and not was_settled_by_hand(evidence, one.id):
            yield f"{one.name} ended as {name_of(request.status)}: {request.status_reason.code}"


def strangers(evidence: Evidence) -> Iterator[str]:
    """A submission that is repeated stays one request: there are no others than were answered."""
    known = {one.id for one in evidence.callers.seen}
    batches = {one.batch.batch_id for one in evidence.requests.values() if one.HasField("batch")}
    yield from (
        f"{id} is nobody's request"
        for id in evidence.requests
        if id not in known and id not in batches
    )


def odd_histories(evidence: Evidence) -> Iterator[str]:
    """A request's decisions are a way through the transition table, to where it stands."""
    for id, request in evidence.requests.items():
        first = next(one.code for one in evidence.decisions if one.mutation_request_id == id)
        if first != "submitted":
            yield f"the history of {id} begins with {first}"
        path = [Status.CREATED]
        for decision in evidence.decisions:
            if decision.mutation_request_id == id and name_of(decision.status) != path[-1]:
                path.append(Status(name_of(decision.status)))
        if path[1:2] == [Status.EXECUTING]:
            path.insert(1, Status.APPROVED)  # approved and claimed in one commit
        for before, after in pairwise(path):
            if after not in TRANSITIONS[before].values():
                yield f"{id} went from {before} to {after}"
        if path[-1] != name_of(request.status):
            yield f"{id} stands at {name_of(request.status)}, its ledger at {path[-1]}"


def odd_executions(evidence: Evidence) -> Iterator[str]:
    """Every execution has ended, none was applied twice, and no state is held by two."""
    for id, execution in evidence.executions.items():
        codes = [one.code for one in evidence.decisions if one.execution_id == id]
        if codes.count("applied") > 1:
            yield f"{id} was applied {codes.count('applied')} times by its history: {codes}"
        if execution.status == execution_pb2.EXECUTION_STATUS_RUNNING:
            yield f"{id} still runs: {codes}"
    active = Counter(
        state_of(one.state)
        for one in evidence.executions.values()
        if one.status
        in (execution_pb2.EXECUTION_STATUS_RUNNING, execution_pb2.EXECUTION_STATUS_IN_DOUBT)
    )
    yield from (f"{state} is held {count} times" for state, count in active.items() if count > 1)


def state_of(state: mutation_pb2.StateRef) -> tuple[str, str]:
    return (state.type, state.id)


def name_of(status: "request_pb2.RequestStatus.ValueType") -> str:
    return request_pb2.RequestStatus.Name(status).removeprefix("REQUEST_STATUS_")
