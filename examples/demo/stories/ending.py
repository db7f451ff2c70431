"""How a request ends without being executed, and how one is not executed twice."""

from examples.demo.client import Refused, new_request_id
from examples.demo.stage import (
    WAIT_SECONDS,
    Stage,
    StoryFailed,
    expect,
    expect_status,
    flag_set,
)
from governance.v1.mutation_pb2 import (
    RISK_HIGH,
    RISK_LOW,
    RISK_MEDIUM,
)
from governance.v1.request_pb2 import (
    REQUEST_STATUS_CANCELED,
    REQUEST_STATUS_EXECUTED,
    REQUEST_STATUS_EXPIRED,
    REQUEST_STATUS_PENDING,
    REQUEST_STATUS_SUPERSEDED,
)

LIFETIME_SECONDS = 2.0
ASKED = ("submitted", "deferred", "pending", "requested")


async def canceled(stage: Stage) -> str:
    flag = "feed.autoplay"
    alice = stage.client("alice")
    request = await alice.submit(
        flag_set(flag, rollout_percent=50), risk=RISK_MEDIUM, wait_seconds=WAIT_SECONDS
    )
    request = await stage.client("bob").approve(request)
    stage.say("alice", f"submits flag.set {flag}: PENDING; bob approves, 1 of 2")
    request = await alice.cancel(request, "found a fault in it")
    expect_status(request, REQUEST_STATUS_CANCELED, "CANCELED")
    stage.say("alice", f"cancels: {request.status_reason.message!r}")
    await stage.expect_history(request, *ASKED, "granted", "canceled")
    expect("effects in the host", stage.host_state.flag(flag).effects, 0)
    return "cancel: CANCELED, and nothing was applied"


async def superseded(stage: Stage) -> str:
    flag = "maps.offline"
    alice, bob, carol = (stage.client(actor) for actor in ("alice", "bob", "carol"))
    first = await alice.submit(
        flag_set(flag, rollout_percent=90), risk=RISK_HIGH, wait_seconds=WAIT_SECONDS
    )
    first = await bob.approve(first)
    stage.say("alice", f"submits flag.set {flag} for 90 %: PENDING; bob approves, 1 of 2")
    second, first = await alice.supersede(
        first, flag_set(flag, rollout_percent=10), risk=RISK_MEDIUM, why="10 % will do"
    )
    expect_status(first, REQUEST_STATUS_SUPERSEDED, "SUPERSEDED")
    expect_status(second, REQUEST_STATUS_PENDING)
    expect("the successor", (first.superseded_by, second.supersedes), (second.id, first.id))
    expect("votes that came along", len(second.approval.votes), 0)
    stage.say("alice", "replaces it by one for 10 %, which starts without bob's vote")
    await bob.approve(second)
    await carol.approve(second)
    stage.say("bob, carol", "approve the new one")
    second = await alice.ended(second.id)
    expect_status(second, REQUEST_STATUS_EXECUTED)
    await stage.expect_history(first, *ASKED, "granted", "superseded")
    there = stage.host_state.flag(flag)
    expect("what the host has", (there.rollout_percent, there.effects), (10, 1))
    return "supersede: the old one SUPERSEDED, the new one EXECUTED by votes of its own"


async def expired(stage: Stage) -> str:
    flag = "chat.reactions"
    request = await stage.client("alice").submit(
        flag_set(flag, rollout_percent=50),
        risk=RISK_MEDIUM,
        lifetime_seconds=LIFETIME_SECONDS,
        wait_seconds=WAIT_SECONDS,
    )
    expect_status(request, REQUEST_STATUS_PENDING)
    stage.say(
        "alice", f"submits flag.set {flag}, to expire in {LIFETIME_SECONDS:g} s; nobody votes"
    )
    request = await stage.client("alice").ended(request.id)
    expect_status(request, REQUEST_STATUS_EXPIRED, "EXPIRED")
    stage.say("governor", f"EXPIRED: {request.status_reason.message}")
    try:
        await stage.client("bob").approve(request)
    except Refused as refusal:
        expect("the refusal of a late vote", refusal.reason, "ILLEGAL_TRANSITION")
        stage.say("bob", f"approves too late: {refusal.reason}")
    else:
        raise StoryFailed("a late vote revived an expired request")
    await stage.expect_history(request, *ASKED, "expired")
    expect("effects in the host", stage.host_state.flag(flag).effects, 0)
    return "expiry: EXPIRED on time, and nothing was applied"


async def submitted_twice(stage: Stage) -> str:
    flag = "login.passkeys"
    alice, key = stage.client("alice"), new_request_id()
    first = await alice.submit(
        flag_set(flag, rollout_percent=5),
        risk=RISK_LOW,
        request_id=key,
        wait_seconds=WAIT_SECONDS,
    )
    expect_status(first, REQUEST_STATUS_EXECUTED)
    again = await alice.submit(
        flag_set(flag, rollout_percent=5),
        risk=RISK_LOW,
        request_id=key,
        wait_seconds=WAIT_SECONDS,
    )
    expect("the request that the second call is about", again.id, first.id)
    stage.say("alice", f"submits flag.set {flag} twice under one request_id: the same request")
    try:
        await alice.submit(flag_set(flag, rollout_percent=100), risk=RISK_LOW, request_id=key)
    except Refused as refusal:
        expect("the refusal of other content", refusal.reason, "REQUEST_ID_REUSED")
        stage.say("alice", f"submits other content under it: {refusal.reason}")
    else:
        raise StoryFailed("a request_id was taken twice with different content")
    there = stage.host_state.flag(flag)
    expect("what the host has", (there.rollout_percent, there.effects), (5, 1))
    return "same request_id: one request, one effect, and other content is refused"
