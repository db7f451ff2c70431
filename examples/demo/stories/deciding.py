"""Who decides: policy alone, people by quorum, or neither."""

from typing import Final

from examples.demo.client import Refused
from examples.demo.stage import (
    WAIT_SECONDS,
    Stage,
    StoryFailed,
    Versioned,
    expect,
    expect_status,
    flag_set,
)
from governance.v1.mutation_pb2 import (
    RISK_CRITICAL,
    RISK_HIGH,
    RISK_LOW,
    RISK_MEDIUM,
    Reason,
)
from governance.v1.request_pb2 import (
    REQUEST_STATUS_EXECUTED,
    REQUEST_STATUS_PENDING,
    REQUEST_STATUS_REJECTED,
)

REJECTION_CODE: Final = "LOAD_TEST_MISSING"


async def auto_approved(stage: Stage) -> str:
    flag = "checkout.dark-mode"
    stage.say("alice", f"submits flag.set {flag}, 5 % of the users, at low risk")
    request = await stage.client("alice").submit(
        flag_set(flag, rollout_percent=5, versioned=Versioned(expected_version="")),
        risk=RISK_LOW,
        why="start the rollout",
        wait_seconds=WAIT_SECONDS,
    )
    expect_status(request, REQUEST_STATUS_EXECUTED)
    stage.say(
        "governor", f"allows it by {', '.join(request.verdict.rules)} and executes it at once"
    )
    _, executions = await stage.client("alice").get(request.id)
    for change in executions[0].applied.changes:
        stage.say("host", f"{change.path}: {change.before or 'nothing'} -> {change.after}")
    await stage.expect_history(
        request,
        *("submitted", "allowed", "approved", "claimed", "validated", "applied", "executed"),
    )
    there = stage.host_state.flag(flag)
    expect("what the host has", (there.version, there.rollout_percent, there.effects), ("1", 5, 1))
    return "auto-approved: EXECUTED in one call, and the flag is at version 1"


async def approved_by_a_quorum(stage: Stage) -> str:
    flag = "checkout.new-cart"
    alice, bob, carol = (stage.client(actor) for actor in ("alice", "bob", "carol"))
    await stage.flag_at_version_1(flag)
    request = await alice.submit(
        flag_set(flag, rollout_percent=50, versioned=Versioned(expected_version="1")),
        risk=RISK_MEDIUM,
        why="the test with 5 % went well",
        wait_seconds=WAIT_SECONDS,
    )
    expect_status(request, REQUEST_STATUS_PENDING)
    stage.say("alice", f"submits flag.set {flag} at medium risk: PENDING, two reviewers are asked")
    try:
        await stage.client("alice-bot").approve(request)
    except Refused as refusal:
        expect("the refusal of alice-bot", refusal.reason, "NOT_ELIGIBLE")
        stage.say("alice-bot", f"approves: {refusal.reason}, the same person as the requester")
    else:
        raise StoryFailed("alice approved her own request through her bot")
    request = await bob.approve(request, "looks right")
    expect_status(request, REQUEST_STATUS_PENDING)
    stage.say("bob", "approves: 1 of 2, still PENDING")
    await carol.approve(request, "checked")
    stage.say("carol", "approves: 2 of 2")
    request = await alice.ended(request.id)
    expect_status(request, REQUEST_STATUS_EXECUTED)
    voters = [vote.actor.id for vote in request.approval.votes]
    expect("the votes that counted", voters, ["bob", "carol"])
    await stage.expect_history(
        request,
        *("submitted", "deferred", "pending", "requested"),
        *("granted", "granted", "quorum_satisfied", "approved"),
        *("claimed", "validated", "applied", "executed"),
    )
    there = stage.host_state.flag(flag)
    expect("what the host has", (there.version, there.rollout_percent), ("2", 50))
    # It went through everything there is: the demo ends with its timeline and its trace.
    stage.showcase_id = request.id
    return "quorum: EXECUTED after two approvals, none of them the requester's"


async def denied_by_policy(stage: Stage) -> str:
    flag = "payments.provider"
    request = await stage.client("alice").submit(
        flag_set(flag, rollout_percent=100), risk=RISK_CRITICAL, wait_seconds=WAIT_SECONDS
    )
    expect_status(request, REQUEST_STATUS_REJECTED, "POLICY_DENIED")
    stage.say("alice", f"submits flag.set {flag} at critical risk")
    stage.say("governor", f"denies it by {', '.join(request.verdict.rules)}:")
    stage.say("", request.status_reason.message)
    await stage.expect_history(request, "submitted", "denied", "rejected")
    expect("effects in the host", stage.host_state.flag(flag).effects, 0)
    return "policy denial: REJECTED with POLICY_DENIED, and the host was never asked"


async def rejected_with_a_reason(stage: Stage) -> str:
    flag = "search.ranking"
    request = await stage.client("alice").submit(
        flag_set(flag, rollout_percent=80), risk=RISK_HIGH, wait_seconds=WAIT_SECONDS
    )
    stage.say("alice", f"submits flag.set {flag} at high risk: PENDING")
    reason = Reason(
        code=REJECTION_CODE,
        message="80 % was never tested under load",
        metadata={"tested_percent": "20"},
    )
    request = await stage.client("dave").reject(request, reason)
    expect_status(request, REQUEST_STATUS_REJECTED, "APPROVER_REJECTED")
    facts = request.status_reason.metadata
    expect("who rejected", (facts["approver"], facts["code"]), ("dave", reason.code))
    stage.say("dave", f"rejects: {reason.code}, {reason.message!r}, tested_percent=20")
    try:
        await stage.client("bob").approve(request)
    except Refused as refusal:
        expect("the refusal of a late vote", refusal.reason, "ILLEGAL_TRANSITION")
        stage.say("bob", f"approves too late: {refusal.reason}, one rejection is enough")
    else:
        raise StoryFailed("a late vote revived a rejected request")
    decisions = await stage.expect_history(
        request, "submitted", "deferred", "pending", "requested", "rejected", "rejected"
    )
    expect("the reason as dave gave it", decisions[-2].reason, reason)
    expect("effects in the host", stage.host_state.flag(flag).effects, 0)
    return "rejection: REJECTED, and programs can read why and by whom"
