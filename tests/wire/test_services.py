"""Every RPC, called over the wire and answered by the real use cases."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc.aio
import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message

from governance.v1 import decision_pb2, execution_pb2, host_pb2, mutation_pb2, request_pb2
from governance.v1 import governance_service_pb2 as wire
from governor.domain.policy import Effect, Rule
from governor.domain.values import Micros, Revision
from governor.usecases.access import APPROVER
from governor.usecases.app import App
from governor.wire import reading
from governor.wire.identity import ACTOR_KEY
from governor.wire.rpcs import CALLS, STREAMS
from tests.support.domain_builders import CHECK, LOOK
from tests.support.people import (
    ANN,
    AUDREY,
    BOB,
    FAYE,
    OTTO,
    RITA,
    TENANT,
    PlainDirectory,
    PlainPolicy,
)
from tests.support.scripted_host import AT_MOST_ONCE, COMPARING, UNDOING, Loss, ScriptedHost
from tests.wire.application import application
from tests.wire.serving import Served, Told, serving, told


class Governor:
    """A client of the whole sidecar."""

    def __init__(self, served: Served, app: App, host: ScriptedHost) -> None:
        self.served = served
        self.app = app
        self.host = host
        self._submitted = 0

    async def call(self, rpc: str, request: Message, actor: str = RITA) -> Any:
        return await self.served.call(rpc, request, metadata=((ACTOR_KEY, actor),))

    async def refused(self, rpc: str, request: Message, actor: str = RITA) -> Told:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await self.call(rpc, request, actor)
        return told(caught.value)

    async def submit(
        self, risk: mutation_pb2.Risk.ValueType = mutation_pb2.RISK_LOW, **fields: Any
    ) -> Any:
        """A submission on a state of its own; low risk is allowed, medium takes one approval."""
        self._submitted += 1
        state = f"state-{self._submitted}"
        response = await self.call("Submit", submission(state, risk=risk, **fields))
        return response.request


def submission(state: str, **fields: Any) -> wire.SubmitRequest:
    intent = mutation_pb2.Intent(category="rollout", risk=fields.pop("risk", mutation_pb2.RISK_LOW))
    return wire.SubmitRequest(
        request_id=fields.pop("request_id", f"submit-{state}"),
        context=fields.pop("context", mutation_pb2.RuntimeContext(tenant=TENANT)),
        mutation=mutation_pb2.Mutation(
            type="flag.set",
            state=mutation_pb2.StateRef(type="flag", id=state),
            payload=mutation_pb2.Payload(content_type="text/plain", data=b"on"),
        ),
        intent=intent,
        **fields,
    )


@asynccontextmanager
async def governor(folder: Path, host: ScriptedHost | None = None) -> AsyncIterator[Governor]:
    scripted = host or ScriptedHost()
    async with (
        application(folder, scripted) as app,
        serving(folder, app=app, calls=CALLS, streams=STREAMS) as served,
    ):
        yield Governor(served, app, scripted)


SHORTLY = Duration(seconds=5)


async def test_a_submission_that_policy_allows_is_carried_out(tmp_path: Path) -> None:
    async with governor(tmp_path) as sidecar:
        request = await sidecar.submit(wait=SHORTLY, tags=["b", "a"])
        read = await sidecar.call("GetRequest", wire.GetRequestRequest(id=request.id))
        execution = await sidecar.call(
            "GetExecution", wire.GetExecutionRequest(execution_id=request.execution_id)
        )
    assert request.status == request_pb2.REQUEST_STATUS_EXECUTED
    assert request.context.actor == RITA
    assert list(request.tags) == ["a", "b"]
    assert request.etag.startswith(f"r{request.revision}-")
    assert read.request == request
    assert list(read.executions) == [execution.execution]
    assert execution.execution.status == execution_pb2.EXECUTION_STATUS_APPLIED
    assert [effect.payload for effect in sidecar.host.effects] == [b"on"]


async def test_what_would_happen_is_told_and_nothing_written(tmp_path: Path) -> None:
    async with governor(tmp_path) as sidecar:
        response = await sidecar.call("Submit", submission("a", validate_only=True))
        assert sidecar.app.store.head.revision == 0
    assert response.revision == 0
    assert (response.request.id, response.request.etag) == ("", "")
    assert response.request.status == request_pb2.REQUEST_STATUS_APPROVED
    assert response.HasField("preview")


async def test_an_approval_is_bound_to_what_was_seen(tmp_path: Path) -> None:
    async with governor(tmp_path) as sidecar:
        waiting = await sidecar.submit(mutation_pb2.RISK_MEDIUM)
        approve = wire.ApproveRequest(
            request_id="vote-1",
            id=waiting.id,
            etag=waiting.etag,
            request_digest=waiting.request_digest,
            plan_digest=waiting.approval.plan_digest,
            comment="fine",
        )
        approved = (await sidecar.call("Approve", approve, ANN)).request
    (vote,) = approved.approval.votes
    assert waiting.status == request_pb2.REQUEST_STATUS_PENDING
    assert list(waiting.approval.open_requirements) == ["review-1"]
    assert vote.actor.id == ANN
    assert list(vote.actor.groups) == ["reviewers"]
    assert (vote.reason.code, vote.reason.message) == ("APPROVED", "fine")


async def test_a_rejection_names_its_reason(tmp_path: Path) -> None:
    async with governor(tmp_path) as sidecar:
        waiting = await sidecar.submit(mutation_pb2.RISK_MEDIUM)
        reject = wire.RejectRequest(
            request_id="vote-1",
            id=waiting.id,
            request_digest=waiting.request_digest,
            plan_digest=waiting.approval.plan_digest,
            reason=mutation_pb2.Reason(code="TOO_RISKY", message="no", metadata={"k": "v"}),
        )
        response = await sidecar.call("Reject", reject, ANN)
    assert response.request.status == request_pb2.REQUEST_STATUS_REJECTED
    assert response.request.status_reason.metadata["code"] == "TOO_RISKY"
    assert response.request.approval.votes[0].reason == reject.reason
    assert response.revision == response.request.revision


async def test_a_vote_is_taken_back_and_given_again(tmp_path: Path) -> None:
    async with governor(tmp_path) as sidecar:
        waiting = await sidecar.submit(mutation_pb2.RISK_HIGH)
        approve = wire.ApproveRequest(
            request_id="vote-1",
            id=waiting.id,
            request_digest=waiting.request_digest,
            plan_digest=waiting.approval.plan_digest,
            meaning=request_pb2.VOTE_KIND_APPROVE,
        )
        await sidecar.call("Approve", approve, ANN)
        revoke = wire.RevokeVoteRequest(
            request_id="back-1",
            id=waiting.id,
            reason=mutation_pb2.Reason(code="MISREAD", category="SLIP"),
        )
        response = await sidecar.call("RevokeVote", revoke, ANN)
        nothing = await sidecar.refused("RevokeVote", revoke, BOB)
        approve.request_id = "vote-2"
        again = (await sidecar.call("Approve", approve, ANN)).request
        approve.plan_digest = b"\x00" * 32
        other_plan = await sidecar.refused("Approve", approve, BOB)
    (vote,) = response.request.approval.votes
    assert vote.voided
    assert vote.HasField("revoke_time")
    assert not vote.void_reason
    assert response.revision == response.request.revision
    assert nothing.info.reason == "NO_VOTE"
    assert [one.voided for one in again.approval.votes] == [True, False]
    assert other_plan.info.reason == "PLAN_MISMATCH"


async def test_a_vote_in_anothers_place_shows_both(tmp_path: Path) -> None:
    async with governor(tmp_path) as sidecar:
        directory = sidecar.app.directory
        assert isinstance(directory, PlainDirectory)
        directory.put("dan", TENANT, [APPROVER])
        now = sidecar.app.clock.now()
        directory.delegate(ANN, "dan", starts=now, ends=Micros(now + 1_000_000_000))
        waiting = await sidecar.submit(mutation_pb2.RISK_HIGH)
        approve = wire.ApproveRequest(
            request_id="vote-1",
            id=waiting.id,
            request_digest=waiting.request_digest,
            plan_digest=waiting.approval.plan_digest,
            on_behalf_of=ANN,
        )
        (vote,) = (await sidecar.call("Approve", approve, "dan")).request.approval.votes
        refused = await sidecar.refused("Approve", approve, BOB)
    assert (vote.actor.id, vote.on_behalf_of) == ("dan", ANN)
    assert vote.plan_digest == waiting.approval.plan_digest
    assert refused.info.reason == "NOT_ELIGIBLE"


@pytest.mark.parametrize("passed", [True, False])
async def test_what_policy_put_in_the_way_is_answered(tmp_path: Path, *, passed: bool) -> None:
    async with governor(tmp_path) as sidecar:
        assert isinstance(sidecar.app.policy, PlainPolicy)
        sidecar.app.policy.rules = (Rule(id="gated", effect=Effect.DEFER, gates=(CHECK, LOOK)),)
        waiting = await sidecar.submit()
        resolve = wire.ResolvePendingRequest(
            request_id="r-1",
            id=waiting.id,
            request_digest=waiting.request_digest,
            reason=request_pb2.PENDING_REASON_EXTERNAL_CHECK,
            name=CHECK.name,
            outcome=wire.PENDING_OUTCOME_PASSED if passed else wire.PENDING_OUTCOME_FAILED,
            finding=mutation_pb2.Reason(code="SEEN", message="by hand"),
        )
        response = await sidecar.call("ResolvePending", resolve, OTTO)
        again = resolve.__class__()
        again.CopyFrom(resolve)
        again.request_id = "r-2"
        refused = await sidecar.refused("ResolvePending", again, OTTO)
    assert [gate.name for gate in waiting.verdict.gates] == [CHECK.name, LOOK.name]
    assert response.revision == response.request.revision
    if passed:
        assert [pending.name for pending in response.request.pending] == [LOOK.name]
        assert refused.info.reason == "NOT_WAITING"
        assert dict(refused.info.metadata) == {"reason": "EXTERNAL_CHECK", "name": CHECK.name}
    else:
        assert response.request.status == request_pb2.REQUEST_STATUS_REJECTED
        assert response.request.status_reason.metadata["code"] == "SEEN"
        assert refused.info.reason == "ILLEGAL_TRANSITION"


async def test_an_emergency_goes_past_its_approval_and_is_reviewed_by_another(
    tmp_path: Path,
) -> None:
    emergency = {
        "risk": mutation_pb2.RISK_MEDIUM,
        "wait": SHORTLY,
        "break_glass": wire.BreakGlassUse(justification="it burns"),
    }
    async with governor(tmp_path) as sidecar:
        refused = await sidecar.refused("Submit", submission("a", **emergency), RITA)
        executed = (await sidecar.call("Submit", submission("b", **emergency), FAYE)).request
        review = wire.ReviewBreakGlassRequest(
            request_id="review-1",
            id=executed.id,
            etag=executed.etag,
            request_digest=executed.request_digest,
            justified=True,
            reason=mutation_pb2.Reason(code="REAL", category="OUTAGE", metadata={"ticket": "T-1"}),
        )
        response = await sidecar.call("ReviewBreakGlass", review, ANN)
        again = await sidecar.call("ReviewBreakGlass", review, ANN)
        review.request_id = "review-2"
        review.ClearField("etag")
        second = await sidecar.refused("ReviewBreakGlass", review, BOB)
        read = (await sidecar.call("GetRequest", wire.GetRequestRequest(id=executed.id))).request
        decided = wire.DecisionFilter(
            tenant=TENANT, categories=[decision_pb2.DECISION_CATEGORY_BREAK_GLASS]
        )
        decisions = await sidecar.call("ListDecisions", wire.ListDecisionsRequest(filter=decided))
    assert (refused.info.reason, refused.info.metadata["needs"]) == ("MISSING_ROLE", "break_glass")
    assert executed.status == request_pb2.REQUEST_STATUS_EXECUTED
    assert executed.approval.break_glass.actor.id == FAYE
    assert executed.approval.break_glass.justification == "it burns"
    assert executed.review.status == request_pb2.REVIEW_STATUS_OPEN
    assert [target.name for target in executed.review.reviewers] == ["reviewers"]
    assert response.request == again.request == read
    assert response.revision == read.revision > executed.revision
    assert read.status == executed.status
    assert read.review.status == request_pb2.REVIEW_STATUS_JUSTIFIED
    assert (read.review.reviewer.id, read.review.reason) == (ANN, review.reason)
    assert (second.info.reason, second.info.metadata["status"]) == ("NO_REVIEW_OPEN", "JUSTIFIED")
    assert [row.code for row in decisions.decisions] == ["used", "reviewed"]
    assert decisions.decisions[0].reason.message == "it burns"
    assert decisions.decisions[1].facts["justified"] == "true"


async def test_a_replacement_breaks_no_glass(tmp_path: Path) -> None:
    async with governor(tmp_path) as sidecar:
        waiting = await sidecar.submit(mutation_pb2.RISK_MEDIUM)
        replacement = submission("state-1")
        replacement.ClearField("request_id")
        replacement.break_glass.justification = "now"
        supersede = wire.SupersedeRequest(request_id="s-1", id=waiting.id, replacement=replacement)
        refusal = await sidecar.refused("Supersede", supersede)
    assert refusal.fields == ["replacement.break_glass"]


async def test_a_request_is_withdrawn(tmp_path: Path) -> None:
    async with governor(tmp_path) as sidecar:
        waiting = await sidecar.submit(mutation_pb2.RISK_MEDIUM)
        cancel = wire.CancelRequest(request_id="c-1", id=waiting.id, comment="never mind")
        response = await sidecar.call("Cancel", cancel)
    assert response.request.status == request_pb2.REQUEST_STATUS_CANCELED
    assert response.request.status_reason.message == "never mind"


async def test_a_request_is_replaced(tmp_path: Path) -> None:
    async with governor(tmp_path) as sidecar:
        waiting = await sidecar.submit(mutation_pb2.RISK_MEDIUM)
        replacement = submission("state-1", risk=mutation_pb2.RISK_MEDIUM, justification="better")
        replacement.ClearField("request_id")
        supersede = wire.SupersedeRequest(request_id="s-1", id=waiting.id, replacement=replacement)
        response = await sidecar.call("Supersede", supersede)
    assert response.superseded.status == request_pb2.REQUEST_STATUS_SUPERSEDED
    assert response.superseded.superseded_by == response.request.id
    assert response.request.supersedes == waiting.id
    assert response.request.justification == "better"


async def test_an_execution_is_started_on_demand(tmp_path: Path) -> None:
    async with governor(tmp_path) as sidecar:
        approved = await sidecar.submit(execution_mode=request_pb2.EXECUTION_MODE_ON_EXECUTE)
        execute = wire.ExecuteRequest(request_id="e-1", id=approved.id, wait=SHORTLY)
        response = await sidecar.call("Execute", execute)
    assert approved.status == request_pb2.REQUEST_STATUS_APPROVED
    assert response.request.status == request_pb2.REQUEST_STATUS_EXECUTED
    assert response.execution.started_by == RITA
    assert response.execution.status == execution_pb2.EXECUTION_STATUS_APPLIED


@pytest.mark.parametrize(
    ("found", "status"),
    [
        (
            {"outcome": wire.OUTCOME_CLAIM_APPLIED, "resulting_version": "1"},
            request_pb2.REQUEST_STATUS_EXECUTED,
        ),
        ({"outcome": wire.OUTCOME_CLAIM_NOT_APPLIED}, request_pb2.REQUEST_STATUS_FAILED),
    ],
    ids=["applied", "not applied"],
)
async def test_an_execution_in_doubt_is_resolved_by_a_person(
    tmp_path: Path, found: dict[str, Any], status: int
) -> None:
    host = ScriptedHost(promises=AT_MOST_ONCE)
    host.script.append(Loss.ANSWER)
    async with governor(tmp_path, host) as sidecar:
        doubtful = await sidecar.submit(wait=SHORTLY)
        resolve = wire.ResolveExecutionRequest(
            request_id="r-1",
            execution_id=doubtful.execution_id,
            reason=mutation_pb2.Reason(code="LOOKED"),
            **found,
        )
        response = await sidecar.call("ResolveExecution", resolve, OTTO)
    assert [pending.reason for pending in doubtful.pending] == [request_pb2.PENDING_REASON_AUDIT]
    assert response.request.status == status
    assert response.execution.resolved_by == OTTO


async def test_nobody_submits_in_anothers_name(tmp_path: Path) -> None:
    async with governor(tmp_path) as sidecar:
        request = submission("a")
        request.context.actor = ANN
        assert (await sidecar.refused("Submit", request)).fields == ["context.actor"]
        request.context.actor = RITA
        await sidecar.call("Submit", request)
        replacement = submission("a")
        replacement.context.actor = ANN
        replacement.ClearField("request_id")
        supersede = wire.SupersedeRequest(request_id="s-1", id="mr-1", replacement=replacement)
        refusal = await sidecar.refused("Supersede", supersede)
        assert refusal.fields == ["replacement.context.actor"]


async def test_waiting_ends_with_the_request_or_with_the_time(tmp_path: Path) -> None:
    async with governor(tmp_path) as sidecar:
        waiting = await sidecar.submit(mutation_pb2.RISK_MEDIUM)
        wait = wire.WaitRequestRequest(id=waiting.id, timeout=Duration(nanos=1_000_000))
        assert (await sidecar.call("WaitRequest", wait)).timed_out
        wait.after_revision = waiting.revision - 1
        changed = await sidecar.call("WaitRequest", wait)
        assert not changed.timed_out
        assert changed.request == waiting


# --- Lists --------------------------------------------------------------------------------------


async def pages(sidecar: Governor, rpc: str, request: Any) -> list[Any]:
    """All pages, by the tokens."""
    found = [await sidecar.call(rpc, request, AUDREY)]
    while found[-1].next_page_token:
        request.page_token = found[-1].next_page_token
        found.append(await sidecar.call(rpc, request, AUDREY))
    return found


async def test_requests_are_listed_newest_first_page_by_page(tmp_path: Path) -> None:
    async with governor(tmp_path) as sidecar:
        ids = [(await sidecar.submit(mutation_pb2.RISK_MEDIUM)).id for _ in range(5)]
        found = await pages(
            sidecar, "ListRequests", wire.ListRequestsRequest(tenant=TENANT, page_size=2)
        )
        exact = await pages(
            sidecar, "ListRequests", wire.ListRequestsRequest(tenant=TENANT, page_size=5)
        )
    assert [len(page.requests) for page in found] == [2, 2, 1]
    assert len(exact) == 1, "no empty page follows a full one"
    rows = [row for page in found for row in page.requests]
    assert [row.id for row in rows] == ids[::-1]
    payload = rows[0].mutation.payload
    assert (payload.data, payload.size_bytes, len(payload.sha256)) == (b"", 2, 32)


async def test_filters_reach_the_store(tmp_path: Path) -> None:
    async with governor(tmp_path) as sidecar:
        low = await sidecar.submit(wait=SHORTLY, tags=["a"])
        medium = await sidecar.submit(
            mutation_pb2.RISK_MEDIUM,
            tags=["b"],
            metadata={"ticket": "2"},
            context=mutation_pb2.RuntimeContext(tenant=TENANT, correlation_id="c-2"),
        )

        async def ids(**filters: Any) -> list[str]:
            request = wire.ListRequestsRequest(tenant=TENANT, **filters)
            return [row.id for row in (await sidecar.call("ListRequests", request)).requests]

        assert await ids(statuses=[request_pb2.REQUEST_STATUS_PENDING]) == [medium.id]
        assert await ids(pending_reasons=[request_pb2.PENDING_REASON_APPROVAL]) == [medium.id]
        assert await ids(tag="a") == [low.id]
        assert await ids(state=mutation_pb2.StateRef(type="flag", id="state-2")) == [medium.id]
        assert await ids(state=mutation_pb2.StateRef(type="flag")) == [medium.id, low.id]
        assert await ids(category="rollout", actor=RITA) == [medium.id, low.id]
        assert await ids(actor=ANN) == []
        assert await ids(submitted_from=low.submit_time) == [medium.id, low.id]
        assert await ids(submitted_until=low.submit_time) == []
        assert await ids(tags_any=["a", "c"]) == [low.id]
        assert await ids(tags_all=["a", "b"]) == []
        assert await ids(metadata={"ticket": "2"}) == [medium.id]
        assert await ids(metadata={"ticket": "3"}) == []
        assert await ids(risks=[mutation_pb2.RISK_LOW]) == [low.id]
        assert await ids(blast_radii=[mutation_pb2.BLAST_RADIUS_GLOBAL]) == []
        assert await ids(side_effect_type="mail") == []
        assert await ids(side_effect_severity=execution_pb2.SEVERITY_INFO) == []
        link = wire.Link(kind=wire.LINK_KIND_CORRELATION, id="c-2")
        assert await ids(link=link) == [medium.id]
        assert await ids(review_open=True) == []


async def test_a_person_lists_what_waits_for_them(tmp_path: Path) -> None:
    """Page by page, until they have voted; what waits for others is not among it."""
    async with governor(tmp_path) as sidecar:
        made = [await sidecar.submit(mutation_pb2.RISK_MEDIUM) for _ in range(3)]
        await sidecar.submit(wait=SHORTLY)

        async def waiting(actor: str) -> list[str]:
            request = wire.ListRequestsRequest(tenant=TENANT, waiting_for_me=True, page_size=1)
            found: list[str] = []
            while True:
                page = await sidecar.call("ListRequests", request, actor)
                found.extend(row.id for row in page.requests)
                if not page.next_page_token:
                    return found
                request.page_token = page.next_page_token

        assert await waiting(ANN) == [request.id for request in reversed(made)]
        assert await waiting(RITA) == []
        assert await waiting(OTTO) == []


async def test_counts_say_how_many_requests_stand_where(tmp_path: Path) -> None:
    async with governor(tmp_path) as sidecar:
        for _ in range(2):
            await sidecar.submit(mutation_pb2.RISK_MEDIUM)
        await sidecar.submit(wait=SHORTLY)
        counts = await sidecar.call("CountRequests", wire.CountRequestsRequest(tenant=TENANT))
    assert {one.status: one.count for one in counts.statuses} == {
        request_pb2.REQUEST_STATUS_PENDING: 2,
        request_pb2.REQUEST_STATUS_EXECUTED: 1,
    }
    assert {one.reason: one.count for one in counts.pending} == {
        request_pb2.PENDING_REASON_APPROVAL: 2
    }
    assert (counts.reviews_open, counts.reviews_overdue) == (0, 0)


async def test_a_preview_is_sent_to_those_who_ask_while_the_host_answers(tmp_path: Path) -> None:
    async with governor(tmp_path) as sidecar:
        request = await sidecar.submit(mutation_pb2.RISK_MEDIUM)
        plain = await sidecar.call("GetRequest", wire.GetRequestRequest(id=request.id))
        asked = wire.GetRequestRequest(id=request.id, preview=True)
        seen = await sidecar.call("GetRequest", asked)
        sidecar.host.is_reachable = False
        unseen = await sidecar.call("GetRequest", asked)
    assert not plain.HasField("preview")
    assert seen.HasField("preview")
    assert not unseen.HasField("preview")
    assert unseen.request.id == request.id


async def test_executions_are_listed_page_by_page(tmp_path: Path) -> None:
    async with governor(tmp_path) as sidecar:
        done = [await sidecar.submit(wait=SHORTLY) for _ in range(3)]
        found = await pages(
            sidecar, "ListExecutions", wire.ListExecutionsRequest(tenant=TENANT, page_size=2)
        )
        of_one = await sidecar.call(
            "ListExecutions",
            wire.ListExecutionsRequest(
                tenant=TENANT,
                mutation_request_id=done[0].id,
                statuses=[execution_pb2.EXECUTION_STATUS_APPLIED],
            ),
        )
    ids = [row.id for page in found for row in page.executions]
    assert ids == [request.execution_id for request in done[::-1]]
    assert [row.id for row in of_one.executions] == [done[0].execution_id]


async def test_a_page_ends_before_clients_would_refuse_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many rows were asked for, and never without any."""
    monkeypatch.setattr(reading, "PAGE_BYTES_MAX", 1)
    async with governor(tmp_path) as sidecar:
        for _ in range(3):
            await sidecar.submit(wait=SHORTLY)
        for rpc, request, rows in (
            ("ListRequests", wire.ListRequestsRequest(tenant=TENANT), "requests"),
            ("ListExecutions", wire.ListExecutionsRequest(tenant=TENANT), "executions"),
            (
                "ListDecisions",
                wire.ListDecisionsRequest(filter=wire.DecisionFilter(tenant=TENANT)),
                "decisions",
            ),
        ):
            found = await pages(sidecar, rpc, request)
            assert {len(getattr(page, rows)) for page in found} == {1}, rpc


async def test_a_token_of_another_list_is_refused(tmp_path: Path) -> None:
    async with governor(tmp_path) as sidecar:
        for _ in range(2):
            await sidecar.submit(mutation_pb2.RISK_MEDIUM)
        page = await sidecar.call(
            "ListRequests", wire.ListRequestsRequest(tenant=TENANT, page_size=1)
        )
        other = wire.ListRequestsRequest(
            tenant=TENANT, tag="a", page_size=1, page_token=page.next_page_token
        )
        assert (await sidecar.refused("ListRequests", other)).info.reason == "BAD_PAGE_TOKEN"


# --- Decisions ----------------------------------------------------------------------------------


async def test_decisions_are_listed_in_either_direction_and_within_a_time(tmp_path: Path) -> None:
    """A token of the one direction is none of the other."""
    of_tenant = wire.DecisionFilter(tenant=TENANT)
    async with governor(tmp_path) as sidecar:
        request = await sidecar.submit(mutation_pb2.RISK_MEDIUM)
        asked = wire.ListDecisionsRequest(filter=of_tenant, page_size=2)
        oldest = [
            row for page in await pages(sidecar, "ListDecisions", asked) for row in page.decisions
        ]
        asked = wire.ListDecisionsRequest(filter=of_tenant, page_size=2, newest_first=True)
        newest = [
            row for page in await pages(sidecar, "ListDecisions", asked) for row in page.decisions
        ]
        asked = wire.ListDecisionsRequest(filter=of_tenant, page_size=2)
        page = await sidecar.call("ListDecisions", asked, AUDREY)
        other = wire.ListDecisionsRequest(
            filter=of_tenant, newest_first=True, page_token=page.next_page_token
        )
        refusal = await sidecar.refused("ListDecisions", other, AUDREY)
        before = wire.DecisionFilter(tenant=TENANT, until_time=request.submit_time)
        since = wire.DecisionFilter(tenant=TENANT, from_time=request.submit_time)
        earlier, later = [
            (await sidecar.call("ListDecisions", wire.ListDecisionsRequest(filter=span))).decisions
            for span in (before, since)
        ]
    assert oldest == newest[::-1]
    assert refusal.info.reason == "BAD_PAGE_TOKEN"
    assert list(earlier) == []
    assert list(later) == oldest


@pytest.mark.parametrize("field", ["from_time", "until_time"])
async def test_a_stream_has_no_times(tmp_path: Path, field: str) -> None:
    """It begins at a revision, and has no end."""
    filter = wire.DecisionFilter(tenant=TENANT)
    getattr(filter, field).FromSeconds(1)
    async with governor(tmp_path) as sidecar:
        stream: Any = sidecar.served.stub.StreamDecisions(
            wire.StreamDecisionsRequest(filter=filter), metadata=((ACTOR_KEY, AUDREY),), timeout=10
        )
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await stream.read()
    assert told(refused.value).fields == [f"filter.{field}"]


async def test_decisions_travel_as_the_bytes_that_are_stored(tmp_path: Path) -> None:
    """Listed and streamed alike: a verifier hashes exactly these."""
    of_tenant = wire.DecisionFilter(tenant=TENANT)
    async with governor(tmp_path) as sidecar:
        await sidecar.submit(wait=SHORTLY)
        stored = await sidecar.app.store.entries(after=Revision(0), limit=100)
        found = await pages(
            sidecar, "ListDecisions", wire.ListDecisionsRequest(filter=of_tenant, page_size=2)
        )
        stream: Any = sidecar.served.stub.StreamDecisions(
            wire.StreamDecisionsRequest(after_revision=0, filter=of_tenant),
            metadata=((ACTOR_KEY, AUDREY),),
            timeout=10,
        )
        streamed = [await stream.read() for _ in stored]
        caught_up = (await stream.read()).caught_up
        stream.cancel()
    listed = [row for page in found for row in page.decisions]
    data = [entry.data for entry in stored]
    assert [row.SerializeToString(deterministic=True) for row in listed] == data
    assert [row.decision.SerializeToString(deterministic=True) for row in streamed] == data
    assert caught_up.revision == stored[-1].revision
    assert caught_up.store_id == sidecar.app.store.head.store_id
    assert [row.revision for row in listed] == list(range(1, len(stored) + 1))


async def test_a_stream_goes_on_where_it_was_left_and_says_where_it_stands(tmp_path: Path) -> None:
    async with governor(tmp_path) as sidecar:
        await sidecar.submit(mutation_pb2.RISK_MEDIUM)
        head = sidecar.app.store.head
        asked = wire.StreamDecisionsRequest(
            after_revision=head.revision,
            store_id=head.store_id,
            filter=wire.DecisionFilter(tenant=TENANT, codes=["submitted"]),
            heartbeat_interval=Duration(nanos=100_000_000),
        )
        stream: Any = sidecar.served.stub.StreamDecisions(
            asked, metadata=((ACTOR_KEY, AUDREY),), timeout=10
        )
        assert (await stream.read()).caught_up.revision == head.revision
        assert (await stream.read()).heartbeat.revision == head.revision
        later = await sidecar.submit(mutation_pb2.RISK_MEDIUM)
        while not (message := await stream.read()).HasField("decision"):
            pass
        stream.cancel()
    assert message.decision.mutation_request_id == later.id
    assert message.decision.revision == head.revision + 1


# --- Compensations ------------------------------------------------------------------------------


async def test_a_rollback_goes_the_whole_way_and_is_traced_from_either_end(tmp_path: Path) -> None:
    async with governor(tmp_path, ScriptedHost(promises=UNDOING)) as it:
        original = await it.submit(wait=SHORTLY)
        ask = wire.CompensateRequest(
            request_id="back-1",
            id=original.id,
            kind=mutation_pb2.COMPENSATION_KIND_ROLLBACK,
            reason=mutation_pb2.Reason(code="WRONG", message="it was"),
        )
        denied = await it.call("Compensate", ask, OTTO)
        policy = it.app.policy
        assert isinstance(policy, PlainPolicy)
        policy.rules = (Rule(id="all", effect=Effect.ALLOW, compensations=("ROLLBACK",)),)
        ask.request_id = "back-2"
        back = (await it.call("Compensate", ask, OTTO)).request
        ended = (
            await it.call("WaitRequest", wire.WaitRequestRequest(id=back.id, timeout=SHORTLY))
        ).request
        seen = await it.call("GetRequest", wire.GetRequestRequest(id=original.id))
        own = (await it.call("GetRequest", wire.GetRequestRequest(id=back.id))).executions
        trace = await it.call("TraceRequest", wire.TraceRequestRequest(id=back.id))
        link = wire.Link(kind=wire.LINK_KIND_COMPENSATES, id=original.id)
        listed = await it.call("ListRequests", wire.ListRequestsRequest(tenant=TENANT, link=link))
        ask.request_id = "back-3"
        refusal = await it.refused("Compensate", ask, OTTO)
        stranger = await it.refused("Compensate", ask, ANN)
    assert denied.request.status == request_pb2.REQUEST_STATUS_REJECTED
    assert ended.status == request_pb2.REQUEST_STATUS_EXECUTED
    assert ended.compensation.kind == mutation_pb2.COMPENSATION_KIND_ROLLBACK
    assert ended.compensation.reason.code == "WRONG"
    assert seen.request.status == request_pb2.REQUEST_STATUS_EXECUTED
    assert seen.request.compensation_id == back.id
    by = seen.request.compensated_by
    assert (by.mutation_request_id, by.execution_id) == (back.id, own[0].id)
    assert seen.executions[0].compensated_by_execution_audit_id == own[0].execution_audit_id
    assert own[0].compensates_execution_audit_id == seen.executions[0].execution_audit_id
    assert [one.id for one in trace.requests] == [back.id, original.id, denied.request.id]
    assert {(one.from_id, one.to_id) for one in trace.links} == {
        (back.id, original.id),
        (denied.request.id, original.id),
    }
    assert not trace.truncated
    assert [one.id for one in listed.requests] == [back.id, denied.request.id]
    assert (refusal.info.reason, refusal.info.metadata["id"]) == ("ALREADY_COMPENSATED", back.id)
    assert stranger.info.reason == "MISSING_ROLE"


# --- The host -----------------------------------------------------------------------------------


async def test_the_host_is_shown_with_its_promises_and_who_trusts_it(tmp_path: Path) -> None:
    async with governor(tmp_path, ScriptedHost(promises=COMPARING.but(lineage_id="one"))) as it:
        await it.submit(wait=SHORTLY)
        host = (await it.call("GetHost", wire.GetHostRequest(tenant=TENANT), AUDREY)).host
    assert host.exactly_once
    assert host.compare_and_apply
    assert (host.lineage_id, host.trusted_lineage_id) == ("one", "one")
    assert host.circuit == host_pb2.CIRCUIT_STATE_CLOSED
    assert not host.HasField("hold")
    assert host.revision > 0


async def test_a_held_host_is_trusted_by_an_operator_over_the_wire(tmp_path: Path) -> None:
    async with governor(tmp_path, ScriptedHost(promises=COMPARING.but(lineage_id="one"))) as it:
        await it.submit(wait=SHORTLY)
        it.host.promises = COMPARING.but(lineage_id="two")
        await it.app.host.capabilities()
        trust = wire.TrustHostRequest(
            request_id="trust-1",
            tenant=TENANT,
            lineage_id="two",
            reason=mutation_pb2.Reason(code="RESTORED_ON_PURPOSE"),
        )
        waiting = await it.submit()
        execute = wire.ExecuteRequest(request_id="execute-1", id=waiting.id)
        refusal = await it.refused("Execute", execute, OTTO)
        held = (await it.call("GetHost", wire.GetHostRequest(tenant=TENANT))).host
        missing = await it.refused("TrustHost", trust)
        trusted = await it.call("TrustHost", trust, OTTO)
        again = await it.call("TrustHost", trust, OTTO)
        asked = wire.WaitRequestRequest(id=waiting.id, timeout=SHORTLY)
        ended = (await it.call("WaitRequest", asked)).request
    assert (refusal.info.reason, refusal.info.metadata["hold"]) == ("HOST_HELD", "LINEAGE_CHANGED")
    assert held.hold.code == host_pb2.HOLD_CODE_LINEAGE_CHANGED
    assert held.hold.facts["found_lineage_id"] == "two"
    assert missing.info.reason == "MISSING_ROLE"
    assert (again.lineage_id, again.revision) == (trusted.lineage_id, trusted.revision)
    assert trusted.lineage_id == "two"
    assert ended.status == request_pb2.REQUEST_STATUS_EXECUTED


async def test_decisions_about_the_host_are_sent_to_those_who_ask(tmp_path: Path) -> None:
    async with governor(tmp_path, ScriptedHost(promises=COMPARING.but(lineage_id="one"))) as it:
        await it.submit(wait=SHORTLY)
        found = {}
        for include_host in (False, True):
            filter = wire.DecisionFilter(tenant=TENANT, include_host=include_host)
            asked = wire.ListDecisionsRequest(filter=filter)
            found[include_host] = (await it.call("ListDecisions", asked)).decisions
            stream: Any = it.served.stub.StreamDecisions(
                wire.StreamDecisionsRequest(after_revision=0, filter=filter),
                metadata=((ACTOR_KEY, AUDREY),),
                timeout=10,
            )
            streamed = [(await stream.read()).decision for _ in found[include_host]]
            assert (await stream.read()).HasField("caught_up")
            stream.cancel()
            assert streamed == list(found[include_host])
    of_the_host = [row for row in found[True] if row not in found[False]]
    assert [(row.code, row.tenant, row.mutation_request_id) for row in of_the_host] == [
        ("trusted", "", "")
    ]
    assert of_the_host[0].status == request_pb2.REQUEST_STATUS_UNSPECIFIED
    assert not of_the_host[0].HasField("state")


async def test_a_batch_goes_over_the_wire_and_is_found_by_its_members(tmp_path: Path) -> None:
    async with governor(tmp_path) as sidecar:
        members = [submission(f"batched-{number}") for number in range(3)]
        for member in members:
            member.ClearField("request_id")
        request = wire.SubmitBatchRequest(
            request_id="batch",
            members=members,
            ordering=request_pb2.BATCH_ORDERING_INDEPENDENT,
            failure_mode=request_pb2.BATCH_FAILURE_MODE_CONTINUE,
            justification="together",
        )
        answer = await sidecar.call("SubmitBatch", request)
        waited = await sidecar.call(
            "WaitRequest", wire.WaitRequestRequest(id=answer.batch.id, timeout=Duration(seconds=10))
        )

        spec = waited.request.batch_spec
        assert waited.request.status == request_pb2.REQUEST_STATUS_EXECUTED
        assert waited.request.mutation.type == "governor.batch"
        assert spec.ordering == request_pb2.BATCH_ORDERING_INDEPENDENT
        assert list(spec.member_ids) == [member.id for member in answer.members]
        assert sorted(spec.applied_ids) == sorted(spec.member_ids)
        found = await sidecar.call(
            "ListRequests", wire.ListRequestsRequest(tenant=TENANT, batch_id=answer.batch.id)
        )
        assert sorted(one.batch.position for one in found.requests) == [0, 1, 2]
        again = await sidecar.call("SubmitBatch", request)
        assert again.batch.id == answer.batch.id


@pytest.mark.parametrize(
    ("field", "value"),
    [("request_id", "own"), ("validate_only", True), ("execution_mode", 1)],
)
async def test_a_member_takes_nothing_that_its_batch_says(
    tmp_path: Path, field: str, value: object
) -> None:
    async with governor(tmp_path) as sidecar:
        member = submission("m")
        member.ClearField("request_id")
        setattr(member, field, value)
        request = wire.SubmitBatchRequest(request_id="batch", members=[member])
        refusal = await sidecar.refused("SubmitBatch", request)
        assert refusal.fields == [f"members[0].{field}"]


async def test_governors_own_types_are_nobody_elses(tmp_path: Path) -> None:
    async with governor(tmp_path) as sidecar:
        taken = submission("own")
        taken.mutation.type = "governor.batch"
        refusal = await sidecar.refused("Submit", taken)
        assert refusal.fields == ["mutation.type"]
