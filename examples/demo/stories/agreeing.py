"""How several people agree, each in their place; and how one goes past them, and answers for it."""

from typing import Final

from examples.demo.client import Client, Refused
from examples.demo.stage import (
    WAIT_SECONDS,
    Stage,
    StoryFailed,
    expect,
    expect_status,
    flag_set,
    role_grant,
)
from governance.v1.mutation_pb2 import RISK_HIGH, Reason
from governance.v1.request_pb2 import (
    PENDING_REASON_APPROVAL,
    PENDING_REASON_EXTERNAL_CHECK,
    REQUEST_STATUS_EXECUTED,
    REQUEST_STATUS_PENDING,
    REVIEW_STATUS_JUSTIFIED,
    REVIEW_STATUS_OPEN,
    MutationRequest,
    PendingReason,
)

CHECK: Final = "screening"


async def owner_security_and_a_check(stage: Stage) -> str:
    """A delegate votes for the owner, security votes twice, and a service has a word as well."""
    role, member = "billing-admin", "grace"
    alice, erin, sam, bot = map(stage.client, ("alice", "erin", "sam", "screener"))
    request = await alice.submit(
        role_grant(role, member),
        risk=RISK_HIGH,
        why=f"{member} joins the billing team",
        wait_seconds=WAIT_SECONDS,
    )
    expect_waits(request, PENDING_REASON_APPROVAL, PENDING_REASON_EXTERNAL_CHECK)
    stage.say("alice", f"asks for role.grant {role} to {member}: PENDING for two reasons at once,")
    stage.say("", f"the consent of the role's owner, then security's; and the check {CHECK!r}")
    await expect_asked(request, {bot: True, sam: False, erin: True})
    stage.say("sam", "finds nothing to do yet: security comes after the owner")
    stage.say("erin", "finds it among what waits for her: carol, the owner, is away, and has")
    stage.say("", "delegated to her")

    request = await erin.approve(request, "she would", on_behalf_of="carol")
    vote = request.approval.votes[0]
    expect("whose vote it is", (vote.actor.id, vote.on_behalf_of), ("erin", "carol"))
    stage.say("erin", "approves in carol's place")
    await expect_asked(request, {bot: True, sam: True, erin: False})

    request = await sam.approve(request)
    expect_waits(request, PENDING_REASON_EXTERNAL_CHECK)
    stage.say("sam", "approves for security: only the check is missing now")
    request = await sam.revoke(request, Reason(code="WHICH_GRACE", message="there are two"))
    expect_waits(request, PENDING_REASON_APPROVAL, PENDING_REASON_EXTERNAL_CHECK)
    stage.say("sam", "takes his vote back: WHICH_GRACE, 'there are two'")

    request = await bot.pass_check(request, CHECK, Reason(code="CLEAN", message="no findings"))
    expect_waits(request, PENDING_REASON_APPROVAL)
    stage.say(bot.actor, f"answers {CHECK!r}: CLEAN; and still nobody grants anything")
    expect("whether the host has done it", stage.host_state.has_member(role, member), False)

    request = await sam.approve(request, "the right one")
    stage.say("sam", "has asked alice, and approves again")
    request = await alice.ended(request.id)
    expect_status(request, REQUEST_STATUS_EXECUTED)
    struck = [vote.HasField("revoke_time") for vote in request.approval.votes]
    expect("which votes were taken back", struck, [False, True, False])
    await stage.expect_history(
        request,
        *("submitted", "deferred", "pending", "requested"),
        *("granted", "quorum_satisfied", "requested"),
        *("granted", "quorum_satisfied", "pending"),
        *("revoked", "pending", "requested"),
        *("passed", "pending"),
        *("granted", "quorum_satisfied", "approved"),
        *("unversioned", "claimed", "applied", "executed"),
    )
    expect("whether the host has done it", stage.host_state.has_member(role, member), True)
    return "owner, security and a check: EXECUTED, when all three said yes at the same time"


async def the_glass_is_broken(stage: Stage) -> str:
    flag = "checkout.kill-switch"
    eve, bob = stage.client("eve"), stage.client("bob")
    request = await eve.submit(
        flag_set(flag, rollout_percent=100),
        risk=RISK_HIGH,
        emergency="checkout fails for everybody",
        wait_seconds=WAIT_SECONDS,
    )
    expect_status(request, REQUEST_STATUS_EXECUTED)
    expect("the review that is owed", request.review.status, REVIEW_STATUS_OPEN)
    expect("votes that were asked for", len(request.approval.votes), 0)
    stage.say("eve", f"submits flag.set {flag} at high risk and breaks the glass: EXECUTED")
    stage.say("", "at once, past the two reviewers that policy asks for; a review is owed")
    expect("what is owed", await bob.reviews_owed(), [request.id])
    found = Reason(code="INCIDENT_CONFIRMED", message="see INC-7")
    try:
        await eve.review_emergency(request, found)
    except Refused as refusal:
        expect("the refusal of eve's review", refusal.reason, "NOT_ELIGIBLE")
        stage.say("eve", f"reviews it herself, a reviewer as well: {refusal.reason}")
    else:
        raise StoryFailed("eve reviewed her own emergency")
    request = await bob.review_emergency(request, found)
    expect("the review that was given", request.review.status, REVIEW_STATUS_JUSTIFIED)
    expect("what is owed", await bob.reviews_owed(), [])
    stage.say("bob", f"reviews it: justified, {found.code}")
    await stage.expect_history(
        request,
        *("submitted", "deferred", "used", "approved"),
        *("unversioned", "claimed", "applied", "executed", "reviewed"),
    )
    expect("effects in the host", stage.host_state.flag(flag).effects, 1)
    return "break-glass: EXECUTED without a vote, and somebody else has answered for it"


def expect_waits(request: MutationRequest, *reasons: "PendingReason.ValueType") -> None:
    """Everything a request waits for, in whatever order."""
    expect_status(request, REQUEST_STATUS_PENDING)
    found = sorted(PendingReason.Name(pending.reason) for pending in request.pending)
    wanted = sorted(PendingReason.Name(reason) for reason in reasons)
    expect(f"what {request.id} waits for", found, wanted)


async def expect_asked(request: MutationRequest, wanted: dict[Client, bool]) -> None:
    """Who finds it among what they can act on."""
    for client, is_asked in wanted.items():
        found = request.id in await client.waiting_for_me()
        expect(f"whether {client.actor} is asked about {request.id}", found, is_asked)
