"""The checker itself: histories whose answer is known, and registers that lie or do not."""

import random
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from governor.domain.request import PendingReason, Status
from tests.simulation.linearizability import (
    NotLinearizable,
    Operation,
    Specification,
    check_linearizable,
)
from tests.simulation.model import REQUEST, Content, Did, No, Seen, Verb

# ---------------------------------------------------------------- a register


@dataclass(frozen=True)
class Write:
    value: int


@dataclass(frozen=True)
class Read:
    value: int


Access = Write | Read


def _access(state: int, did: Access) -> tuple[int, ...]:
    match did:
        case Write(value):
            return (value,)
        case Read(value):
            return (state,) if value == state else ()


REGISTER: Specification[int, Access] = Specification(initial=0, step=_access)


def write(value: int, called: int, answered: int | None) -> Operation[Access]:
    return Operation(Write(value), called, answered)


def read(value: int, called: int, answered: int) -> Operation[Access]:
    return Operation(Read(value), called, answered)


def explained(*operations: Operation[Access]) -> bool:
    try:
        check_linearizable(operations, REGISTER)
    except NotLinearizable:
        return False
    return True


def test_one_after_the_other_is_explained_by_itself() -> None:
    order = check_linearizable((write(1, 1, 2), read(1, 3, 4), write(2, 5, 6)), REGISTER)
    assert order == (Write(1), Read(1), Write(2))


def test_a_read_may_see_a_write_that_is_under_way_or_not_see_it() -> None:
    assert explained(write(1, 1, 6), read(0, 2, 3), read(1, 4, 5))
    assert explained(write(1, 1, 6), read(1, 2, 3), read(1, 4, 5))


def test_what_one_read_has_seen_no_later_one_may_miss() -> None:
    """The new value and then the old one, within one write: no moment of the write explains it."""
    assert not explained(write(1, 1, 6), read(1, 2, 3), read(0, 4, 5))


def test_what_was_written_before_a_read_began_must_be_seen() -> None:
    assert not explained(write(1, 1, 2), read(0, 3, 4))


def test_two_writers_at_once_are_seen_in_one_order_by_everybody() -> None:
    """Herlihy and Wing's example of two readers who disagree."""
    writes = (write(1, 1, 2), write(2, 1, 2))
    assert explained(*writes, read(1, 3, 4), read(1, 5, 6))
    assert not explained(*writes, read(1, 3, 4), read(2, 5, 6))


def test_a_call_without_an_answer_may_take_effect_late_or_never() -> None:
    lost = write(1, 1, None)
    assert explained(lost, read(0, 2, 3), read(0, 4, 5))
    assert explained(lost, read(0, 2, 3), read(1, 4, 5))
    assert not explained(lost, read(1, 2, 3), read(0, 4, 5))


def test_nothing_takes_effect_before_it_was_called() -> None:
    assert not explained(read(1, 1, 2), write(1, 3, 4))
    assert not explained(read(1, 1, 2), write(1, 3, None))


def test_what_the_system_does_by_itself_explains_what_nobody_did() -> None:
    """A register that may count up by itself, and never down."""
    counting: Specification[int, Access] = Specification(
        initial=0, step=_access, alone=lambda state: range(state + 1, 5)
    )
    assert check_linearizable((read(1, 1, 2), read(3, 3, 4)), counting) == (Read(1), Read(3))
    with pytest.raises(NotLinearizable):
        check_linearizable((read(1, 1, 2), read(0, 3, 4)), counting)


def test_a_refusal_tells_how_far_an_explanation_goes() -> None:
    with pytest.raises(NotLinearizable) as refusal:
        check_linearizable((write(1, 1, 2), read(0, 3, 4)), REGISTER)
    assert refusal.value.explained == (Write(1),)
    assert refusal.value.stuck == (Read(0),)


@given(st.randoms(use_true_random=False), st.integers(1, 14))
def test_whatever_a_real_register_answers_is_explained(chance: random.Random, length: int) -> None:
    """Each access takes effect at a moment of its own; its call and answer lie around it."""
    value = 0
    history: list[Operation[Access]] = []
    for moment in range(0, 10 * length, 10):
        did: Access = Write(moment + 1) if chance.random() < 0.5 else Read(value)
        value = did.value
        around = (moment - chance.randrange(40), moment + chance.randrange(1, 40))
        history.append(Operation(did, *around))
    chance.shuffle(history)
    assert explained(*history)


@given(st.randoms(use_true_random=False), st.integers(2, 10))
def test_a_register_that_lies_is_found_out(chance: random.Random, length: int) -> None:
    """One read answers what the register held before the last write, which had ended by then."""
    history = [write(number, 10 * number, 10 * number + 5) for number in range(1, length)]
    history.append(read(length - 2, 10 * length, 10 * length + 5))
    chance.shuffle(history)
    assert not explained(*history)


# ---------------------------------------------------------------- a request

PENDING = Content(Status.PENDING, frozenset({PendingReason.APPROVAL}))
APPROVED = Content(Status.APPROVED, voters=frozenset({"ann"}))


def submitted(place: int, begins: Content = PENDING) -> Operation[Did]:
    did = Did(verb=Verb.SUBMIT, actor="rita", key="s", begins=(begins,), answer=Seen(3, begins))
    return Operation(did, place, place + 1)


def voted(place: int, answer: Seen | No | None) -> Operation[Did]:
    did = Did(verb=Verb.APPROVE, actor="ann", key="v", quorum=1, answer=answer)
    return Operation(did, place, None if answer is None else place + 1)


def got(place: int, revision: int, content: Content) -> Operation[Did]:
    did = Did(verb=Verb.GET, actor="audrey", answer=Seen(revision, content))
    return Operation(did, place, place + 1)


def is_explained(*operations: Operation[Did]) -> bool:
    try:
        check_linearizable(operations, REQUEST)
    except NotLinearizable:
        return False
    return True


def test_a_vote_is_seen_by_everybody_who_looks_later() -> None:
    vote = voted(3, Seen(6, APPROVED))
    assert is_explained(submitted(1), vote, got(5, 6, APPROVED))
    assert not is_explained(submitted(1), vote, got(5, 3, PENDING))


def test_a_vote_without_an_answer_may_count_later() -> None:
    lost = voted(3, None)
    assert is_explained(submitted(1), lost, got(5, 3, PENDING), got(7, 6, APPROVED))
    assert is_explained(submitted(1), lost, got(5, 3, PENDING), got(7, 3, PENDING))


def test_a_call_that_is_repeated_takes_effect_once_and_is_answered_as_before() -> None:
    again = voted(5, Seen(6, APPROVED))
    assert is_explained(submitted(1), voted(3, Seen(6, APPROVED)), again)
    assert is_explained(submitted(1), voted(3, None), again)
    twice = voted(5, Seen(9, APPROVED))
    assert not is_explained(submitted(1), voted(3, Seen(6, APPROVED)), twice)


def test_nobody_is_refused_what_can_still_be_done_later() -> None:
    refused = voted(3, No("IllegalTransition"))
    assert not is_explained(submitted(1), refused, got(5, 3, PENDING))
    assert is_explained(submitted(1, Content(Status.REJECTED)), refused)


def test_an_approval_that_nobody_gave_is_not_explained() -> None:
    assert not is_explained(submitted(1), got(3, 6, APPROVED))


def test_what_has_ended_stays_as_it_is() -> None:
    executed = Content(Status.EXECUTED)
    begins = submitted(1, Content(Status.EXECUTING))
    assert is_explained(begins, got(3, 5, executed), got(5, 5, executed))
    assert not is_explained(begins, got(3, 5, executed), got(5, 8, Content(Status.APPROVED)))
    assert not is_explained(begins, got(3, 5, executed), got(5, 8, executed))


def test_another_revision_without_a_change_is_not_explained() -> None:
    assert not is_explained(submitted(1), got(3, 4, PENDING))
