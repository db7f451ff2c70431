"""The same call twice is one call; another call under the same key is refused."""

import asyncio

import pytest

from governor.domain.errors import RequestIdReused
from governor.domain.request import Status
from governor.storage.store import SqlStore
from governor.usecases.commits import Batch, Committed
from tests.support.backends import Turnstile
from tests.support.builders import (
    change,
    make_execution,
    make_key,
    make_request,
    moved,
    submission,
)


async def test_a_key_that_was_never_used_has_no_answer(store: SqlStore) -> None:
    """Neither before nor after others were used."""
    assert await store.replay(make_key()) is None
    await store.commit(submission(key=make_key("other")))
    assert await store.replay(make_key()) is None


async def test_a_repeated_call_is_answered_as_before_and_writes_nothing(store: SqlStore) -> None:
    """The retry has made up a new request under new ids; it gets the first one's answer."""
    first = await store.commit(submission(make_request("first"), key=make_key()))
    head = store.head
    again = await store.commit(submission(make_request("second"), key=make_key()))
    assert again == first.but(replayed=True)
    assert await store.replay(make_key()) == again
    assert await store.request(make_request("second").id) is None
    assert store.head == head


async def test_a_replay_shows_what_the_first_answer_showed_whatever_happened_since(
    store: SqlStore,
) -> None:
    """Claimed under a key, then executed; the repeated claim is answered with the claim."""
    request = (await store.commit(submission())).requests[0]
    claim = change(
        moved(request, Status.EXECUTING), make_execution(request), key=make_key(rpc="Execute")
    )
    claimed = await store.commit(claim)
    over = claimed.executions[0].but(current_version="8")
    await store.commit(change(moved(claimed.requests[0], Status.EXECUTED), over))

    replayed = await store.commit(claim)
    assert replayed == claimed.but(replayed=True)
    assert replayed.requests[0].status is Status.EXECUTING
    assert replayed.executions[0].current_version is None


async def test_a_replay_holds_the_first_of_each(store: SqlStore, turnstile: Turnstile) -> None:
    """Supersede writes two requests; the first is the one that the call was about. In the same
    batch and later, the answer is the same.
    """
    old = (await store.commit(submission(make_request("old")))).requests[0]
    commit = submission(make_request("new"), key=make_key(rpc="Supersede"))
    commit = commit.but(requests=(*commit.requests, moved(old, Status.SUPERSEDED)))
    first, second = await turnstile.together(store, commit, commit)
    assert isinstance(first, Committed)
    assert isinstance(second, Committed)
    assert [request.id for request in first.requests] == ["new", "old"]
    assert second == first.but(requests=first.requests[:1], replayed=True)
    assert await store.commit(commit) == second


async def test_another_content_under_the_same_key_is_refused(store: SqlStore) -> None:
    """A caller that counts its calls has started over at one."""
    await store.commit(submission(key=make_key(content="on")))
    other = make_key(content="off")
    with pytest.raises(RequestIdReused) as refused:
        await store.commit(submission(make_request("other"), key=other))
    assert refused.value.facts == {"request_id": other.request_id}
    with pytest.raises(RequestIdReused):
        await store.replay(other)
    assert await store.request(make_request("other").id) is None


@pytest.mark.parametrize("part", ["tenant", "actor", "rpc", "request_id"])
async def test_a_key_is_the_whole_of_its_parts(store: SqlStore, part: str) -> None:
    """Two actors may both call their first call "1"."""
    await store.commit(submission(make_request("first"), key=make_key()))
    other = make_key().but(**{part: "other"})
    second = await store.commit(submission(make_request("second"), key=other))
    assert not second.replayed


async def test_no_two_keys_are_taken_for_one_another(store: SqlStore) -> None:
    """Where one part ends and the next begins is part of the key."""
    await store.commit(submission(make_request("first"), key=make_key(actor="ab", rpc="c")))
    second = await store.commit(
        submission(make_request("second"), key=make_key(actor="a", rpc="bc"))
    )
    assert not second.replayed


async def test_of_two_calls_with_one_key_in_one_batch_the_second_replays_the_first(
    store: SqlStore, turnstile: Turnstile
) -> None:
    """The client retried while the first attempt was still queued; a third one is another call."""
    seen: list[Batch] = []
    store.listen(seen.append)
    first, second, third = await turnstile.together(
        store,
        submission(make_request("first"), key=make_key()),
        submission(make_request("second"), key=make_key()),
        submission(make_request("third"), key=make_key(content="other")),
    )
    assert isinstance(first, Committed)
    assert second == first.but(replayed=True)
    assert isinstance(third, RequestIdReused)
    assert [commit.requests[0].id for commit in seen[-1].commits] == ["first"]


async def test_many_callers_with_one_key_make_one_request(store: SqlStore) -> None:
    """Fifty retries arrive at once, over several batches."""
    answers = await asyncio.gather(
        *(
            store.commit(submission(make_request(f"attempt-{number}"), key=make_key()))
            for number in range(50)
        )
    )
    assert len({answer.requests[0].id for answer in answers}) == 1
    assert sum(not answer.replayed for answer in answers) == 1
    assert store.head.revision == 3


async def test_a_call_that_lost_has_not_used_its_key(store: SqlStore) -> None:
    """It conflicted; its caller looks again and calls with the same key."""
    read = (await store.commit(submission(make_request("read")))).requests[0]
    now = (await store.commit(change(read))).requests[0]
    with pytest.raises(Exception, match="has changed"):
        await store.commit(change(moved(read, Status.CANCELED), key=make_key()))
    answer = await store.commit(change(moved(now, Status.CANCELED), key=make_key()))
    assert not answer.replayed


async def test_a_key_without_a_request_replays_its_revision(store: SqlStore) -> None:
    """A commit may append decisions and nothing else."""
    said = submission().but(requests=(), key=make_key())
    first = await store.commit(said)
    assert await store.commit(said) == first.but(replayed=True)
