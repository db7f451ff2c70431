"""Claims about a request as a value: its slot, what it waits for, and when it is due."""

import pytest

from governor.domain.request import TERMINAL, Pending, PendingReason, Progress, Status
from governor.domain.values import Micros
from tests.support.domain_builders import (
    LIFETIME_US,
    SCHEDULE,
    STAGES,
    T0,
    content,
    later,
    new_request,
)

EXPIRY = Micros(T0 + LIFETIME_US)


@pytest.mark.parametrize(
    ("stage", "due_at"),
    [
        ("asked", EXPIRY),
        ("scheduled", SCHEDULE.until),
        ("asked and scheduled", SCHEDULE.until),
        ("dependent", EXPIRY),
        ("revalidating", EXPIRY),
        ("approved", EXPIRY),
        ("free again", EXPIRY),
        ("created", None),
        ("executing", None),
        ("in audit", None),
        ("executed", None),
        ("failed", None),
        ("rejected", None),
        ("canceled", None),
        ("superseded", None),
        ("expired", None),
        ("audited", None),
    ],
)
def test_a_timer_looks_at_what_can_still_come_due_and_at_nothing_else(
    stage: str, due_at: Micros | None
) -> None:
    assert STAGES[stage]().request.due_at == due_at


def test_the_earliest_moment_is_the_one_that_is_due() -> None:
    request = STAGES["scheduled"]().request
    late = SCHEDULE.but(until=Micros(EXPIRY + 1))
    early = SCHEDULE.but(until=later(1))
    assert request.but(progress=request.progress.but(pending=(late,))).due_at == EXPIRY
    assert request.but(progress=request.progress.but(pending=(late, early))).due_at == later(1)


@pytest.mark.parametrize("status", Status)
def test_terminal_is_what_the_list_says(status: Status) -> None:
    request = new_request().but(progress=Progress(status=status))
    assert request.is_terminal is (status in TERMINAL)
    assert (request.is_terminal or request.due_at is None) is (
        status not in (Status.PENDING, Status.APPROVED)
    )


@pytest.mark.parametrize("reason", PendingReason)
def test_a_request_waits_for_exactly_its_pending_reasons(reason: PendingReason) -> None:
    request = new_request().but(progress=Progress(pending=(Pending(reason=reason, since=T0),)))
    assert [other for other in PendingReason if request.waits_for(other)] == [reason]


def test_the_slot_is_the_state_within_its_tenant() -> None:
    assert new_request().slot == ("acme", "flag", "checkout")
    other = content()
    elsewhere = new_request(context=other.context.but(tenant="umbrella"))
    assert elsewhere.slot != new_request().slot
    assert (elsewhere.tenant, elsewhere.state) == ("umbrella", other.state)


def test_values_refuse_to_be_changed() -> None:
    request = new_request()
    for value, field in (
        (request, "requester"),
        (request.progress, "status"),
        (request.content, "payload"),
        (STAGES["executing"]().running, "fencing_token"),
    ):
        with pytest.raises(AttributeError, match="immutable"):
            setattr(value, field, None)


def test_two_values_never_share_a_default() -> None:
    one, other = content(), content()
    one.metadata["mine"] = "1"
    assert other.metadata == {}
    assert content().metadata == {}


def test_a_copy_differs_in_what_was_said_and_in_nothing_else() -> None:
    request = new_request()
    assert request.but() == request
    moved = request.but(requester="other")
    assert moved.requester == "other"
    assert moved.but(requester=request.requester) == request
    with pytest.raises(TypeError):
        request.but(unknown=1)


def test_a_consented_request_keeps_its_votes_in_order() -> None:
    approval = STAGES["consented"]().request.progress.approval
    assert approval is not None
    assert [vote.voter.person for vote in approval.votes] == ["ann", "bob"]
