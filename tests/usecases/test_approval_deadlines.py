"""The time that a requirement has: when it has passed, votes are too late, and somebody is told."""

from governor.domain.approval import Requirement, Step, StepMode, Target
from governor.domain.decision import Code
from governor.domain.errors import NotEligible
from governor.domain.policy import Effect, Rule
from governor.domain.request import ExecutionMode, MutationRequest, PendingReason, Status
from governor.domain.values import Micros, TargetKind
from governor.usecases.app import Limits
from tests.support.governed import Governed
from tests.support.people import ANN, BOB, CLEO, OTTO, REVIEWERS

DAY_SECONDS = 86_400


def asks(sidecar: Governed, *steps: Step) -> None:
    sidecar.policy.rules = (Rule(id="ask", effect=Effect.DEFER, steps=steps),)


def soon(id: str, name: str = "", *, quorum: int = 1, seconds: int = 60) -> Requirement:
    """Reviewers, or one person, within a minute."""
    targets = (Target(kind=TargetKind.ACTOR, name=name),) if name else (REVIEWERS,)
    return Requirement(id=id, targets=targets, quorum=quorum, deadline_seconds=seconds)


def until(request: MutationRequest) -> list[Micros | None]:
    return [one.until for one in request.progress.pending if one.reason is PendingReason.APPROVAL]


def after(request: MutationRequest, seconds: float) -> Micros:
    return Micros(request.submitted_at + round(seconds * 1_000_000))


async def test_a_requirement_that_is_not_met_in_time_ends_the_request(sidecar: Governed) -> None:
    asks(sidecar, Step(name="review", requirements=(soon("two", quorum=2),)))
    request = await sidecar.submit()
    assert until(request) == [after(request, 60)]
    await sidecar.approve(ANN, request)
    await sidecar.pass_time(59.999_999)
    assert (await sidecar.now(request)).status is Status.PENDING

    await sidecar.pass_time(0.000_001)

    ended = await sidecar.now(request)
    assert ended.status is Status.EXPIRED
    assert ended.progress.status_reason is not None
    assert ended.progress.status_reason.code == "APPROVAL_EXPIRED"
    assert ended.progress.status_reason.metadata == {"requirement": "two", "step": "review"}
    assert (await sidecar.history(request))[-2:] == ["APPROVAL expired", "LIFECYCLE expired"]
    expired = [e.decision for e in await sidecar.ledger() if e.decision.code.text == "expired"]
    assert [one.facts["requirement"] for one in expired if one.code is Code.APPROVAL_EXPIRED] == [
        "two"
    ]


async def test_a_vote_at_the_deadline_is_too_late_even_if_nobody_has_noticed_yet(
    sidecar: Governed,
) -> None:
    asks(sidecar, Step(name="review", requirements=(soon("one"),)))
    request = await sidecar.submit()
    sidecar.clock.advance(60)

    await sidecar.changes_nothing(sidecar.vote(ANN, request), NotEligible)
    await sidecar.pass_time(0)
    assert (await sidecar.now(request)).status is Status.EXPIRED


async def test_what_was_due_while_nobody_looked_is_done_at_the_start(sidecar: Governed) -> None:
    asks(sidecar, Step(name="review", requirements=(soon("one"),)))
    request = await sidecar.submit()
    await sidecar.crash()
    sidecar.clock.advance(DAY_SECONDS)
    await sidecar.open()
    await sidecar.start()

    await sidecar.pass_time(0)
    assert (await sidecar.now(request)).status is Status.EXPIRED
    assert (await sidecar.history(request)).count("APPROVAL expired") == 1


async def test_an_alternative_drops_out_and_the_other_goes_on(sidecar: Governed) -> None:
    either = Step(
        name="either",
        requirements=(soon("ann", ANN), soon("bob", BOB, seconds=120)),
        mode=StepMode.ANY_OF,
    )
    asks(sidecar, either)
    first, second = await sidecar.submit(flag="first"), await sidecar.submit(flag="second")
    await sidecar.pass_time(60)

    left = await sidecar.now(first)
    assert left.status is Status.PENDING
    assert left.progress.approval is not None
    assert left.progress.approval.expired == ("ann",)
    assert until(left) == [after(first, 120)]
    assert (await sidecar.history(first))[-1] == "APPROVAL expired"
    await sidecar.changes_nothing(sidecar.vote(ANN, first), NotEligible)
    assert (await sidecar.approve(BOB, first)).status is Status.APPROVED

    await sidecar.pass_time(60)
    assert (await sidecar.now(second)).status is Status.EXPIRED


async def test_an_alternative_whose_time_is_up_is_decided_with_the_vote_that_finds_it_so(
    sidecar: Governed,
) -> None:
    either = Step(
        name="either", requirements=(soon("ann", ANN), soon("r", seconds=120)), mode=StepMode.ANY_OF
    )
    asks(sidecar, either)
    request = await sidecar.submit()
    sidecar.clock.advance(60)

    assert (await sidecar.approve(ANN, request)).status is Status.APPROVED
    assert (await sidecar.history(request))[4:7] == [
        "APPROVAL expired",
        "APPROVAL granted",
        "APPROVAL quorum_satisfied",
    ]


async def test_each_step_has_its_time_from_its_own_opening(sidecar: Governed) -> None:
    first = Step(name="first", requirements=(soon("ann", ANN),))
    second = Step(name="second", requirements=(soon("bob", BOB),))
    asks(sidecar, first, second)
    request = await sidecar.submit()
    await sidecar.pass_time(50)

    opened = await sidecar.approve(ANN, request)
    assert until(opened) == [after(request, 110)]
    requested = [
        entry.decision.facts
        for entry in await sidecar.ledger()
        if entry.decision.code is Code.APPROVAL_REQUESTED
    ]
    assert requested == [
        {"round": "1", "step": "first", "until": str(after(request, 60))},
        {"round": "1", "step": "second", "until": str(after(request, 110))},
    ]
    await sidecar.pass_time(59)
    assert (await sidecar.approve(BOB, request)).status is Status.APPROVED


async def test_what_is_met_in_time_waits_without_a_deadline_for_the_others(
    sidecar: Governed,
) -> None:
    both = (soon("ann", ANN), Requirement(id="r", targets=(REVIEWERS,)))
    asks(sidecar, Step(name="both", requirements=both))
    request = await sidecar.submit()

    assert until(await sidecar.approve(ANN, request)) == [None]
    await sidecar.pass_time(DAY_SECONDS)
    assert (await sidecar.approve(CLEO, request)).status is Status.APPROVED


async def test_a_vote_taken_back_after_the_deadline_leaves_too_little_and_ends_it(
    sidecar: Governed,
) -> None:
    both = (soon("ann", ANN), Requirement(id="r", targets=(REVIEWERS,)))
    asks(sidecar, Step(name="both", requirements=both))
    request = await sidecar.submit()
    await sidecar.approve(ANN, request)
    await sidecar.pass_time(3600)

    await sidecar.revoke(ANN, request)
    await sidecar.pass_time(0)
    assert (await sidecar.now(request)).status is Status.EXPIRED


async def test_a_step_that_opens_again_has_its_time_anew(sidecar: Governed) -> None:
    asks(sidecar, Step(name="review", requirements=(soon("one"),)))
    request = await sidecar.submit(execution_mode=ExecutionMode.ON_EXECUTE)
    await sidecar.approve(ANN, request)
    await sidecar.pass_time(3600)

    lost = await sidecar.revoke(ANN, request)
    assert until(lost) == [after(request, 3660)]
    await sidecar.approve(BOB, request)
    assert (await sidecar.execute(OTTO, request)).execution is not None


async def test_the_requests_own_end_comes_before_that_of_its_requirement(
    sidecar: Governed,
) -> None:
    assert Limits().request_lifetime_seconds < 30 * DAY_SECONDS
    asks(sidecar, Step(name="r", requirements=(soon("one", seconds=30 * DAY_SECONDS),)))
    request = await sidecar.submit()
    await sidecar.pass_time(31 * DAY_SECONDS)

    ended = await sidecar.now(request)
    assert ended.progress.status_reason is not None
    assert ended.progress.status_reason.code == "EXPIRED"
