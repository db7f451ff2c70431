"""StreamDecisions: every matching decision, in order, from any cursor, and a word at the end."""

import asyncio
import random
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from governor.domain.decision import Category
from governor.domain.errors import Draining, MissingRole, RevisionAhead, WrongStore
from governor.domain.request import Risk
from governor.domain.values import Revision
from governor.usecases.app import Limits
from governor.usecases.commands import CaughtUp, Heartbeat, Subscribe
from governor.usecases.commits import StoredEntry
from governor.usecases.questions import DecisionFilter
from governor.usecases.watch import stream_decisions
from tests.support.governed import Governed, caller, governed
from tests.support.people import ANN, AUDREY, BOB, EVE, OTHER_TENANT, RITA, TENANT

Message = StoredEntry | CaughtUp | Heartbeat
EVERYTHING = DecisionFilter(tenant=TENANT)


def subscribe(
    sidecar: Governed,
    after: int | None,
    filter: DecisionFilter = EVERYTHING,
    *,
    actor: str = AUDREY,
    store_id: str = "",
    heartbeat_seconds: float | None = None,
) -> AsyncIterator[Message]:
    command = Subscribe(
        filter=filter,
        after=None if after is None else Revision(after),
        store_id=store_id,
        heartbeat_seconds=heartbeat_seconds,
    )
    return stream_decisions(sidecar.app, caller(actor), command)


async def until_caught_up(messages: AsyncIterator[Message]) -> list[int]:
    """The revisions of the decisions before `caught_up`."""
    revisions: list[int] = []
    async for message in messages:
        if isinstance(message, CaughtUp):
            return revisions
        assert isinstance(message, StoredEntry)
        revisions.append(message.revision)
    raise AssertionError("the stream ended")


async def to_the_end(messages: AsyncIterator[Message]) -> list[int]:
    """The revisions of all decisions, of a stream that ends by Draining."""
    revisions: list[int] = []

    async def read() -> None:
        async for message in messages:
            if isinstance(message, StoredEntry):
                revisions.append(message.revision)  # noqa: PERF401 - what came is kept when it ends

    with pytest.raises(Draining):
        await read()
    return revisions


async def some_history(sidecar: Governed, requests: int = 4) -> int:
    """Answers the ledger's head."""
    for n in range(requests):
        request = await sidecar.submit(flag=f"flag-{n}", risk=Risk.HIGH)
        await sidecar.approve(ANN, request)
        await (sidecar.approve(BOB, request) if n % 2 else sidecar.cancel(RITA, request))
    await sidecar.quiet()
    return sidecar.store.head.revision


@pytest.mark.parametrize(
    "limits",
    [
        Limits(tail_entries_max=1),
        Limits(tail_entries_max=7),
        Limits(tail_bytes_max=500),
        Limits(tail_bytes_max=1),
        Limits(),
    ],
    ids=["one", "seven", "few bytes", "nothing", "everything"],
)
async def test_a_stream_resumes_from_any_cursor_without_gap_or_repetition(
    tmp_path: Path, limits: Limits
) -> None:
    """From the tail in memory or from the store behind it, also across a restart."""
    async with governed(tmp_path, limits=limits) as sidecar:
        head = await some_history(sidecar)
        for after in range(head + 1):
            assert await until_caught_up(subscribe(sidecar, after)) == list(
                range(after + 1, head + 1)
            )
        await sidecar.restart()
        assert await until_caught_up(subscribe(sidecar, 3)) == list(range(4, head + 1))


@pytest.mark.parametrize(
    "filter",
    [
        DecisionFilter(tenant=TENANT, categories=frozenset({Category.APPROVAL})),
        DecisionFilter(tenant=TENANT, codes=frozenset({"executed", "canceled"})),
        DecisionFilter(tenant=TENANT, actor=BOB),
        DecisionFilter(tenant=TENANT, request_ids=frozenset({"request-000002"})),
        DecisionFilter(tenant=TENANT, execution_id="execution-000001"),
        DecisionFilter(tenant=TENANT, actor="nobody"),
    ],
    ids=["category", "codes", "actor", "request", "execution", "nothing"],
)
@pytest.mark.parametrize("tail_entries_max", [3, 10_000])
async def test_a_filter_takes_exactly_what_matches(
    tmp_path: Path, tail_entries_max: int, filter: DecisionFilter
) -> None:
    limits = Limits(tail_entries_max=tail_entries_max)
    async with governed(tmp_path, limits=limits) as sidecar:
        head = await some_history(sidecar)
        everything = await sidecar.store.entries(after=Revision(0), limit=1000)
        for after in range(0, head + 1, 5):
            expected = [
                entry.revision
                for entry in everything
                if entry.revision > after and filter.matches(entry)
            ]
            assert await until_caught_up(subscribe(sidecar, after, filter)) == expected


async def test_a_tenant_sees_its_own_decisions_alone(sidecar: Governed) -> None:
    await sidecar.submit(EVE, tenant=OTHER_TENANT)
    ours = await sidecar.submit()
    await sidecar.quiet()

    seen = await until_caught_up(subscribe(sidecar, 0))

    assert seen == [
        entry.revision for entry in await sidecar.ledger() if entry.decision.request_id == ours.id
    ]
    stranger = subscribe(sidecar, 0, actor=EVE)
    await sidecar.changes_nothing(anext(aiter(stranger)), MissingRole)


async def test_more_than_a_page_behind_the_tail_is_caught_up_page_by_page(tmp_path: Path) -> None:
    """With a filter, a page of the store reaches further than a page of the ledger."""
    async with governed(tmp_path, limits=Limits(tail_entries_max=16)) as sidecar:
        await asyncio.gather(*(sidecar.submit(flag=f"flag-{n}") for n in range(200)))
        await sidecar.quiet()
        head = sidecar.store.head.revision
        assert head > 2 * 512

        assert await until_caught_up(subscribe(sidecar, 0)) == list(range(1, head + 1))
        executed = DecisionFilter(tenant=TENANT, codes=frozenset({"executed"}))
        assert len(await until_caught_up(subscribe(sidecar, 0, executed))) == 200


async def test_from_now_begins_after_what_there_is(sidecar: Governed) -> None:
    head = await some_history(sidecar)
    messages = subscribe(sidecar, None)
    assert await anext(messages) == CaughtUp(
        revision=Revision(head), store_id=sidecar.store.head.store_id
    )

    following = asyncio.ensure_future(anext(messages))
    await sidecar.submit(risk=Risk.HIGH)

    message = await following
    assert isinstance(message, StoredEntry)
    assert message.revision == head + 1


async def test_a_cursor_from_the_future_or_of_another_store_is_refused(sidecar: Governed) -> None:
    head = await some_history(sidecar)

    ahead = subscribe(sidecar, head + 1)
    await sidecar.changes_nothing(anext(ahead), RevisionAhead)
    elsewhere = subscribe(sidecar, 0, store_id="another")
    await sidecar.changes_nothing(anext(elsewhere), WrongStore)
    here = subscribe(sidecar, head, store_id=sidecar.store.head.store_id)
    assert isinstance(await anext(here), CaughtUp)


async def test_a_heartbeat_promises_that_every_later_decision_exceeds_it(
    sidecar: Governed,
) -> None:
    """Also where nothing matches the filter: the heartbeat moves on over what was passed by."""
    nothing = DecisionFilter(tenant=TENANT, actor="nobody")
    messages = subscribe(sidecar, 0, nothing, heartbeat_seconds=0.001)
    assert isinstance(await anext(messages), CaughtUp)
    assert await anext(messages) == Heartbeat(revision=Revision(0))

    head = await some_history(sidecar)

    beats = [await anext(messages) for _ in range(3)]
    assert beats[-1] == Heartbeat(revision=Revision(head))
    assert all(isinstance(beat, Heartbeat) for beat in beats)


async def test_a_closing_stream_ends_after_the_last_entry_there_was(sidecar: Governed) -> None:
    messages = subscribe(sidecar, 0)
    everything = asyncio.ensure_future(to_the_end(messages))
    head = await some_history(sidecar)

    sidecar.app.tail.close()

    assert await everything == list(range(1, head + 1))
    assert await to_the_end(subscribe(sidecar, 0)) == list(range(1, head + 1))


async def test_what_came_while_the_reader_was_slow_is_still_sent_before_the_end(
    sidecar: Governed,
) -> None:
    """The reader dawdles over a message; meanwhile more is decided and the server goes down."""
    messages = subscribe(sidecar, None)
    assert isinstance(await anext(messages), CaughtUp)
    before = sidecar.store.head.revision
    await sidecar.submit(risk=Risk.HIGH)
    first = await anext(messages)
    assert isinstance(first, StoredEntry)

    head = await some_history(sidecar)
    sidecar.app.tail.close()

    assert [first.revision, *await to_the_end(messages)] == list(range(before + 1, head + 1))


async def test_subscribers_cut_at_random_while_four_write_miss_nothing(tmp_path: Path) -> None:
    """Each cut resumes after the last revision that was seen."""
    chance = random.Random(0)
    async with governed(tmp_path, limits=Limits(tail_entries_max=32)) as sidecar:
        writing = asyncio.gather(
            *(some_writing(sidecar, f"writer-{number}") for number in range(4))
        )

        async def follow() -> list[int]:
            seen: list[int] = []
            while not (writing.done() and seen and seen[-1] == sidecar.store.head.revision):
                messages = subscribe(sidecar, seen[-1] if seen else 0, heartbeat_seconds=0.001)
                for _ in range(chance.randrange(1, 40)):
                    message = await anext(messages)
                    if isinstance(message, StoredEntry):
                        seen.append(message.revision)
            return seen

        followers = await asyncio.gather(*(follow() for _ in range(3)), writing)

        head = sidecar.store.head.revision
        for seen in followers[:3]:
            assert seen == list(range(1, head + 1))


async def some_writing(sidecar: Governed, name: str) -> None:
    for number in range(10):
        request = await sidecar.submit(flag=f"{name}-{number}", risk=Risk.MEDIUM)
        await sidecar.approve(ANN, request)
    await sidecar.quiet()
