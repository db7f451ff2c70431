"""What was done is taken back under the same rules; and not, once others have built on it."""

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
from governance.v1.mutation_pb2 import RISK_LOW, RISK_MEDIUM, Reason
from governance.v1.request_pb2 import (
    REQUEST_STATUS_CANCELED,
    REQUEST_STATUS_EXECUTED,
    REQUEST_STATUS_FAILED,
    REQUEST_STATUS_PENDING,
    REQUEST_STATUS_REJECTED,
    MutationRequest,
)

ASKED: Final = ("submitted", "deferred", "pending", "requested")
APPROVED: Final = ("granted", "quorum_satisfied", "approved")
WRONG: Final = Reason(code="CHECKOUT_SLOWER", message="p99 has doubled since")


async def rolled_back_with_approval(stage: Stage) -> str:
    flag = "cart.suggestions"
    await stage.flag_at_version_1(flag)
    original = await _rolled_out(stage, flag, 80)
    olga, bob = stage.client("olga"), stage.client("bob")
    rollback = await olga.roll_back(original, WRONG)
    expect_status(rollback, REQUEST_STATUS_PENDING)
    stage.say("olga", f"an operator, asks for its rollback, {WRONG.code}: PENDING. What is free")
    stage.say("", "to do at low risk is not free to take back")
    try:
        await olga.roll_back(await _now(stage, original), WRONG)
    except Refused as refusal:
        expect("the refusal of a second one", refusal.reason, "ALREADY_COMPENSATED")
        stage.say("olga", f"asks once more: {refusal.reason}")
    else:
        raise StoryFailed("two rollbacks of one change were taken")
    await bob.approve(rollback)
    stage.say("bob", "approves")
    rollback = await olga.ended(rollback.id)
    expect_status(rollback, REQUEST_STATUS_EXECUTED)
    there = stage.host_state.flag(flag)
    expect("what the host has", (there.version, there.rollout_percent), ("3", 5))
    stage.say("host", "restores what was there before: 5 %, as version 3")
    original = await _now(stage, original)
    expect_status(original, REQUEST_STATUS_EXECUTED)
    expect("what has compensated it", original.compensated_by.mutation_request_id, rollback.id)
    await stage.expect_history(
        rollback,
        *ASKED,
        *APPROVED,
        *("claimed", "validated", "applied", "executed", "completed"),
    )
    await stage.expect_history(
        original,
        *("submitted", "allowed", "approved", "unversioned", "claimed", "applied", "executed"),
        *("requested", "compensated"),
    )
    found = await stage.client("ruth").trace(original.id)
    expect("what came of it", [one.id for one in found.requests], [original.id, rollback.id])
    stage.say("ruth", "traces the change: it was executed, and compensated by that rollback")
    stage.trails[original.id] = "A change and its rollback"
    return "rollback: EXECUTED after an approval, and both ends say so"


async def stale_rollback_refused(stage: Stage) -> str:
    flag = "search.synonyms"
    await stage.flag_at_version_1(flag)
    original = await _rolled_out(stage, flag, 80)
    await _rolled_out(stage, flag, 90)
    stage.say("alice", "builds on it: 90 %, version 3")
    rollback = await stage.client("olga").roll_back(original, WRONG)
    await stage.client("bob").approve(rollback)
    stage.say("olga, bob", "ask for the first one's rollback, and approve")
    rollback = await stage.client("olga").ended(rollback.id)
    expect_status(rollback, REQUEST_STATUS_REJECTED, "STALE")
    stage.say("governor", f"REJECTED: {rollback.status_reason.message}")
    there = stage.host_state.flag(flag)
    expect("what the host has", (there.version, there.rollout_percent), ("3", 90))
    original = await _now(stage, original)
    expect("whether it was compensated", original.HasField("compensated_by"), False)
    stage.trails[original.id] = "A change whose rollback came too late"
    return "rollback of what others have built on: REJECTED with STALE, and nothing was applied"


async def batch_put_right_in_reverse(stage: Stage) -> str:
    flags = [f"launch.part-{number}" for number in (1, 2, 3, 5)]
    for flag in flags:
        await stage.flag_at_version_1(flag)
    bob, carol = stage.client("bob"), stage.client("carol")
    mutations = [flag_set(flag, rollout_percent=100) for flag in flags]
    # The fourth of five was made for a version that there never was.
    late = Versioned(expected_version="7")
    mutations.insert(3, flag_set("launch.part-4", rollout_percent=100, versioned=late))
    answer = await stage.client("alice").submit_batch(mutations, risk=RISK_MEDIUM, why="launch")
    batch = answer.batch
    expect_status(batch, REQUEST_STATUS_PENDING)
    stage.say("alice", "submits five changes as one batch, all or none: PENDING")
    await bob.approve(batch)
    await carol.approve(batch)
    stage.say("bob, carol", "approve it, once: its digest covers the five in their order")
    batch = await bob.ended(batch.id)
    expect_status(batch, REQUEST_STATUS_FAILED, "BATCH_COMPENSATED")
    members = [(await bob.get(member.id))[0] for member in answer.members]
    expect_status(members[3], REQUEST_STATUS_REJECTED, "STALE")
    expect_status(members[4], REQUEST_STATUS_CANCELED, "BATCH_STOPPED")
    stage.say("governor", "executes three, finds the fourth STALE, and cancels the fifth")
    applied, undone = list(batch.batch_spec.applied_ids), list(batch.batch_spec.compensated_ids)
    expect("what was applied", applied, [member.id for member in members[:3]])
    expect("what was put right, in which order", undone, applied[::-1])
    for flag in flags[:3]:
        there = stage.host_state.flag(flag)
        expect(f"what the host has of {flag}", (there.version, there.rollout_percent), ("3", 5))
    stage.say(
        "governor", "takes the three back, the last one first; the host has them at 5 % again"
    )
    expect("what is left behind", await stage.client("ruth").left_behind(), [])
    found = await stage.client("ruth").trace(batch.id)
    expect("how many requests came of it", len(found.requests), 1 + 5 + 3)
    stage.trails[batch.id] = "A batch that was put right in reverse"
    return "batch of five: FAILED with BATCH_COMPENSATED, and the host is as it was"


async def _rolled_out(stage: Stage, flag: str, percent: int) -> MutationRequest:
    made = await stage.client("alice").submit(
        flag_set(flag, rollout_percent=percent), risk=RISK_LOW, wait_seconds=WAIT_SECONDS
    )
    expect_status(made, REQUEST_STATUS_EXECUTED)
    stage.say("alice", f"submits flag.set {flag} to {percent} %: EXECUTED")
    return made


async def _now(stage: Stage, request: MutationRequest) -> MutationRequest:
    seen, _ = await stage.client("ruth").get(request.id)
    return seen
