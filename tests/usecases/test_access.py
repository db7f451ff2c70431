"""Who may do what: every RPC held against every role, in one's own tenant and in another's."""

from collections.abc import Awaitable, Callable, Mapping

import pytest

from governor.domain.approval import VoteKind
from governor.domain.compensation import CompensationKind
from governor.domain.errors import GovernorError, MissingRole, NotFound
from governor.domain.execution import Execution
from governor.domain.policy import Effect, Rule
from governor.domain.request import (
    ExecutionMode,
    Intent,
    MutationRequest,
    Payload,
    PendingReason,
    Risk,
)
from governor.domain.values import ExecutionId, Micros, RequestId, Revision
from governor.usecases.access import (
    ADMIN,
    APPROVER,
    AUDITOR,
    BREAK_GLASS,
    CHECKER,
    OPERATOR,
    ROLES,
    SUBMITTER,
)
from governor.usecases.commands import CaughtUp, Subscribe, WaitFor
from governor.usecases.query import (
    count_requests,
    get_execution,
    get_host,
    get_request,
    list_decisions,
    list_executions,
    list_requests,
)
from governor.usecases.questions import DecisionFilter, ExecutionQuery, RequestQuery
from governor.usecases.trace import trace_request
from governor.usecases.watch import stream_decisions, wait_request
from tests.support.domain_builders import CHECK
from tests.support.governed import Governed, caller, content
from tests.support.people import EVE, OTHER_TENANT, RITA, TENANT
from tests.support.scripted_host import Loss

ALL_ROLES = (SUBMITTER, APPROVER, OPERATOR, AUDITOR, ADMIN, CHECKER, BREAK_GLASS)
SOON = Micros(1_700_000_060_000_000)

# Written out a second time, by hand: what opens each RPC, and what opens it for one's own alone.
EVERYBODY = "submitter approver operator auditor admin checker"
ALLOWED: Mapping[str, str] = {
    "Submit": "submitter",
    "SubmitBatch": "submitter",
    "GetRequest": EVERYBODY,
    "ListRequests": EVERYBODY,
    "CountRequests": EVERYBODY,
    "Approve": "approver",
    "Reject": "approver",
    "RevokeVote": "approver",
    "ResolvePending": "operator admin checker",
    "ReviewBreakGlass": "approver auditor",
    "Cancel": "operator admin",
    "Supersede": "",
    "Execute": "operator admin",
    "ResolveExecution": "operator admin",
    "GetExecution": EVERYBODY,
    "ListExecutions": EVERYBODY,
    "WaitRequest": EVERYBODY,
    "ListDecisions": EVERYBODY,
    "StreamDecisions": EVERYBODY,
    "GetHost": EVERYBODY,
    "TrustHost": "operator admin",
    "Compensate": "operator admin",
    "TraceRequest": EVERYBODY,
}
OWN_ALONE = {"Cancel", "Supersede", "Execute", "Compensate"}


class Stage:
    """A request in each place that some RPC is about, all asked for by one actor."""

    def __init__(self, sidecar: Governed, asked_by: str = RITA) -> None:
        self.sidecar = sidecar
        self.asked_by = asked_by
        self.pending: MutationRequest
        self.gated: MutationRequest
        self.approved: MutationRequest
        self.doubtful: MutationRequest
        self.execution: Execution
        self.done: MutationRequest

    async def set_up(self) -> "Stage":
        submit, host = self.sidecar.submit, self.sidecar.host
        host.script.extend([Loss.ORDER] * 1000)
        self.doubtful = await submit(self.asked_by, flag="doubtful")
        await self.sidecar.pass_time(600)
        host.script.clear()
        self.doubtful = await self.sidecar.now(self.doubtful)
        assert self.doubtful.waits_for(PendingReason.AUDIT)
        self.execution = await self.sidecar.execution_of(self.doubtful)
        self.pending = await submit(self.asked_by, flag="pending", risk=Risk.MEDIUM)
        gates = Rule(id="gated", effect=Effect.DEFER, categories=("gated",), gates=(CHECK,))
        self.sidecar.policy.rules = (*self.sidecar.policy.rules, gates)
        self.gated = await submit(self.asked_by, flag="gated", intent=Intent(category="gated"))
        on_execute = ExecutionMode.ON_EXECUTE
        self.approved = await submit(self.asked_by, flag="approved", execution_mode=on_execute)
        self.done = await submit(self.asked_by, flag="done")
        await self.sidecar.quiet()
        return self


Call = Callable[[Stage, str], Awaitable[object]]


async def first_message(stage: Stage, actor: str) -> object:
    command = Subscribe(filter=DecisionFilter(tenant=TENANT), after=None)
    message = await anext(stream_decisions(stage.sidecar.app, caller(actor), command))
    assert isinstance(message, CaughtUp)
    return message


CALLS: Mapping[str, Call] = {
    "Submit": lambda s, actor: s.sidecar.submit(actor, flag="new", risk=Risk.HIGH),
    "SubmitBatch": lambda s, actor: s.sidecar.submit_batch(
        content(actor, flag="new", risk=Risk.HIGH), actor=actor
    ),
    "GetRequest": lambda s, actor: get_request(s.sidecar.app, caller(actor), s.pending.id, 0),
    "ListRequests": lambda s, actor: list_requests(
        s.sidecar.app, caller(actor), RequestQuery(tenant=TENANT), 0
    ),
    "CountRequests": lambda s, actor: count_requests(s.sidecar.app, caller(actor), TENANT, 0),
    "Approve": lambda s, actor: s.sidecar.vote(actor, s.pending),
    "Reject": lambda s, actor: s.sidecar.vote(actor, s.pending, VoteKind.REJECT),
    "RevokeVote": lambda s, actor: s.sidecar.revoke(actor, s.pending),
    "ResolvePending": lambda s, actor: s.sidecar.answer_gate(actor, s.gated, CHECK.name),
    "ReviewBreakGlass": lambda s, actor: s.sidecar.review(actor, s.pending),
    "Cancel": lambda s, actor: s.sidecar.cancel(actor, s.pending),
    "Supersede": lambda s, actor: s.sidecar.supersede(actor, s.pending, risk=Risk.HIGH),
    "Execute": lambda s, actor: s.sidecar.execute(actor, s.approved),
    "ResolveExecution": lambda s, actor: s.sidecar.resolve(actor, s.execution, None),
    "GetExecution": lambda s, actor: get_execution(s.sidecar.app, caller(actor), s.execution.id, 0),
    "ListExecutions": lambda s, actor: list_executions(
        s.sidecar.app, caller(actor), ExecutionQuery(tenant=TENANT), 0
    ),
    "WaitRequest": lambda s, actor: wait_request(
        s.sidecar.app, caller(actor), WaitFor(id=s.pending.id, timeout_seconds=0)
    ),
    "ListDecisions": lambda s, actor: list_decisions(
        s.sidecar.app, caller(actor), DecisionFilter(tenant=TENANT), Revision(0), 10, 0
    ),
    "StreamDecisions": first_message,
    "GetHost": lambda s, actor: get_host(s.sidecar.app, caller(actor), TENANT),
    "TrustHost": lambda s, actor: s.sidecar.trust(actor, ""),
    "Compensate": lambda s, actor: s.sidecar.compensate(
        actor,
        s.done,
        CompensationKind.FORWARD,
        payload=Payload(content_type="application/json", data=b"{}"),
    ),
    "TraceRequest": lambda s, actor: trace_request(
        s.sidecar.app, caller(actor), s.done.id, requests_max=9, min_revision=0
    ),
}
ABOUT_A_TENANT = {
    "Submit",
    "SubmitBatch",
    "ListRequests",
    "CountRequests",
    "ListExecutions",
    "ListDecisions",
    "StreamDecisions",
    "GetHost",
    "TrustHost",
}


def test_every_rpc_is_held_against_every_role() -> None:
    assert ALLOWED.keys() == CALLS.keys() == ROLES.keys()


@pytest.mark.parametrize("rpc", CALLS)
async def test_exactly_the_roles_of_the_table_open_it(sidecar: Governed, rpc: str) -> None:
    stage = await Stage(sidecar).set_up()
    allowed = ALLOWED[rpc].split()
    refused = [role for role in ALL_ROLES if role not in allowed]
    for role in refused:
        sidecar.directory.put(role, TENANT, [role], ["reviewers"])
        await sidecar.changes_nothing(CALLS[rpc](stage, role), MissingRole)
    sidecar.directory.put("nobody", TENANT, [], ["reviewers"])
    await sidecar.changes_nothing(CALLS[rpc](stage, "nobody"), MissingRole)

    for role in allowed:
        sidecar.directory.put(role, TENANT, [role], ["reviewers"])
        refusal: GovernorError | None = None
        try:
            await CALLS[rpc](stage, role)
        except GovernorError as refused_call:
            refusal = refused_call
        # The first of them has used it up; what matters is that no role was missing.
        assert not isinstance(refusal, MissingRole | NotFound)


@pytest.mark.parametrize("rpc", sorted(OWN_ALONE))
async def test_a_submitter_may_do_it_to_their_own_requests(sidecar: Governed, rpc: str) -> None:
    stage = await Stage(sidecar).set_up()
    sidecar.directory.put("sam", TENANT, [SUBMITTER])
    sidecar.directory.put("ritas-laptop", TENANT, [SUBMITTER], person=RITA)

    await sidecar.changes_nothing(CALLS[rpc](stage, "sam"), MissingRole)
    await CALLS[rpc](stage, "ritas-laptop")


@pytest.mark.parametrize("rpc", sorted(CALLS))
async def test_who_has_no_place_in_the_tenant_cannot_tell_what_there_is(
    sidecar: Governed, rpc: str
) -> None:
    """Eve holds every role, elsewhere. An id of ours is to her as an id that nobody has."""
    stage = await Stage(sidecar).set_up()
    refusal = MissingRole if rpc in ABOUT_A_TENANT else NotFound
    ours = await sidecar.changes_nothing(CALLS[rpc](stage, EVE), refusal)

    known = {
        stage.pending.id,
        stage.approved.id,
        stage.gated.id,
        stage.execution.id,
        stage.done.id,
    }
    stage.pending = stage.pending.but(id=RequestId("none"))
    stage.approved = stage.approved.but(id=RequestId("none"))
    stage.gated = stage.gated.but(id=RequestId("none"))
    stage.done = stage.done.but(id=RequestId("none"))
    stage.execution = stage.execution.but(id=ExecutionId("none"))
    nobodys = await sidecar.changes_nothing(CALLS[rpc](stage, EVE), refusal)
    told = str(ours)
    for id in known:
        told = told.replace(repr(str(id)), "'none'")
    assert told == str(nobodys)
    assert type(ours) is type(nobodys)


async def test_one_role_in_another_tenant_opens_nothing_here(sidecar: Governed) -> None:
    sidecar.directory.put("sam", OTHER_TENANT, ALL_ROLES, ["reviewers"])
    stage = await Stage(sidecar).set_up()

    for rpc in ("Approve", "Reject", "RevokeVote", "ResolveExecution", "Cancel", "Execute"):
        await sidecar.changes_nothing(CALLS[rpc](stage, "sam"), MissingRole)


async def test_a_role_that_was_taken_away_opens_nothing_any_more(sidecar: Governed) -> None:
    stage = await Stage(sidecar).set_up()
    await sidecar.vote("ann", stage.pending, key="once")
    sidecar.directory.put("ann", TENANT, [AUDITOR])

    await sidecar.changes_nothing(sidecar.vote("ann", stage.pending, key="once"), MissingRole)
