"""The state has moved on since the request was made: three strategies, three ends."""

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
    RISK_MEDIUM,
    STALE_STRATEGY_REJECT_STALE,
    STALE_STRATEGY_REQUIRE_RENEWED_APPROVAL,
    STALE_STRATEGY_REVALIDATE_ON_LATEST,
    StaleStrategy,
)
from governance.v1.request_pb2 import (
    REQUEST_STATUS_EXECUTED,
    REQUEST_STATUS_PENDING,
    REQUEST_STATUS_REJECTED,
    MutationRequest,
)

ASKED = ("submitted", "deferred", "pending", "requested")
APPROVED = ("granted", "granted", "quorum_satisfied", "approved")


async def stale_and_rejected(stage: Stage) -> str:
    flag = "inbox.threads"
    request = await _approved_too_late(stage, flag, STALE_STRATEGY_REJECT_STALE)
    request = await stage.client("alice").ended(request.id)
    expect_status(request, REQUEST_STATUS_REJECTED, "STALE")
    stage.say("governor", f"REJECTED: {request.status_reason.message}")
    await stage.expect_history(
        request, *ASKED, *APPROVED, "claimed", "rejected_as_stale", "rejected"
    )
    there = stage.host_state.flag(flag)
    expect("what the host has", (there.version, there.rollout_percent, there.effects), ("2", 5, 1))
    return "stale, REJECT_STALE: REJECTED with STALE, and nothing was applied"


async def stale_and_approved_again(stage: Stage) -> str:
    flag = "profile.avatars"
    seen = await _approved_too_late(stage, flag, STALE_STRATEGY_REQUIRE_RENEWED_APPROVAL)
    bob, carol = stage.client("bob"), stage.client("carol")
    request = await bob.until(seen, lambda current: current.approval.round == 2)
    expect_status(request, REQUEST_STATUS_PENDING)
    expect("the version asked for now", request.mutation.expected_version, "2")
    expect(
        "the votes that became void", [vote.voided for vote in request.approval.votes], [True] * 2
    )
    stage.say("governor", "voids both votes and opens round 2, for version 2")
    try:
        await bob.approve(seen)
    except Refused as refusal:
        expect("the refusal of a vote on the old digest", refusal.reason, "DIGEST_MISMATCH")
        stage.say("bob", f"approves what he saw before: {refusal.reason}")
    else:
        raise StoryFailed("a vote on the old digest was taken")
    await bob.approve(request)
    await carol.approve(request)
    stage.say("bob, carol", "look again and approve")
    request = await bob.ended(request.id)
    expect_status(request, REQUEST_STATUS_EXECUTED)
    await stage.expect_history(
        request,
        *ASKED,
        *APPROVED,
        *("claimed", "renewed_approval_required", "voided", "pending", "requested"),
        *APPROVED,
        *("claimed", "validated", "applied", "executed"),
    )
    there = stage.host_state.flag(flag)
    expect("what the host has", (there.version, there.rollout_percent), ("3", 50))
    return "stale, REQUIRE_RENEWED_APPROVAL: EXECUTED after a second round of votes"


async def stale_and_revalidated(stage: Stage) -> str:
    flag = "editor.autosave"
    request = await _approved_too_late(stage, flag, STALE_STRATEGY_REVALIDATE_ON_LATEST)
    request = await stage.client("alice").ended(request.id)
    expect_status(request, REQUEST_STATUS_EXECUTED)
    stage.say("governor", "asks policy and the host's validation again, for version 2: both agree")
    await stage.expect_history(
        request,
        *ASKED,
        *APPROVED,
        *("claimed", "revalidation_required", "pending", "passed", "deferred", "approved"),
        *("claimed", "validated", "applied", "executed"),
    )
    there = stage.host_state.flag(flag)
    expect("what the host has", (there.version, there.rollout_percent), ("3", 50))
    expect("the rounds of votes", request.approval.round, 1)
    return "stale, REVALIDATE_ON_LATEST: EXECUTED, and the votes still stand"


async def _approved_too_late(
    stage: Stage, flag: str, strategy: "StaleStrategy.ValueType"
) -> MutationRequest:
    """A request for version 1, approved when the host is at version 2; as the last voter saw it."""
    await stage.flag_at_version_1(flag)
    request = await stage.client("alice").submit(
        flag_set(
            flag,
            rollout_percent=50,
            versioned=Versioned(expected_version="1", strategy=strategy),
        ),
        risk=RISK_MEDIUM,
        wait_seconds=WAIT_SECONDS,
    )
    expect_status(request, REQUEST_STATUS_PENDING)
    stage.say("alice", f"submits flag.set {flag}, made for version 1: PENDING")
    version = stage.host_state.touch(flag)
    expect("the version that the script left", version, "2")
    stage.say("host", "an old admin script changes the flag behind Governor's back: version 2")
    await stage.client("bob").approve(request)
    await stage.client("carol").approve(request)
    stage.say("bob, carol", "approve")
    return request
