"""WaitRequest and StreamDecisions: following what happens."""

import asyncio
from collections.abc import AsyncIterator, Sequence

from governor.domain.errors import Draining, WrongStore
from governor.domain.request import MutationRequest
from governor.domain.values import Revision
from governor.usecases.access import authorise, authorised_request
from governor.usecases.app import App
from governor.usecases.commands import (
    Caller,
    CaughtUp,
    Heartbeat,
    Subscribe,
    Waited,
    WaitFor,
)
from governor.usecases.commits import StoredEntry
from governor.usecases.query import reach
from governor.usecases.waiting import wait_until

PAGE_ENTRIES = 512
"""How many entries a stream takes at a time; also how long it goes without looking up."""


async def wait_request(app: App, caller: Caller, command: WaitFor) -> Waited:
    """Raises NotFound, MissingRole, Overloaded."""
    request, _ = await authorised_request(app, caller, command.id, "WaitRequest")
    after = command.after_revision

    def enough(current: MutationRequest) -> bool:
        return current.is_terminal if after is None else current.revision > after

    longest = app.limits.wait_seconds_max
    seconds = longest if command.timeout_seconds is None else command.timeout_seconds
    request, in_time = await wait_until(app, request, enough, timeout_seconds=min(seconds, longest))
    return Waited(request=request, timed_out=not in_time)


async def stream_decisions(
    app: App, caller: Caller, command: Subscribe
) -> AsyncIterator[StoredEntry | CaughtUp | Heartbeat]:
    """Every matching decision after the cursor, in order, then those to come.

    Raises MissingRole, WrongStore, RevisionAhead at the start, and Draining at the end, after the
    last entry there was. What a heartbeat promises holds under every filter: the cursor moves over
    entries that do not match, too.
    """
    authorise(app, caller, command.filter.tenant, "StreamDecisions")
    head = app.store.head
    if command.store_id and command.store_id != head.store_id:
        raise WrongStore(store_id=command.store_id, expected=head.store_id)
    if command.after is not None:
        await reach(app, command.after)

    cursor = head.revision if command.after is None else command.after
    seconds = command.heartbeat_seconds or app.limits.heartbeat_seconds
    caught_up = False
    while True:
        goal = app.tail.head
        while cursor < goal:
            entries = await _page(app, command, cursor)
            for entry in entries:
                if command.filter.matches(entry):
                    app.failpoints("stream.before_entry")
                    yield entry
                    app.failpoints("stream.after_entry")
            cursor = _moved(entries, cursor, goal)
        if not caught_up:
            caught_up = True
            yield CaughtUp(revision=cursor, store_id=head.store_id)
        elif app.tail.is_closed and cursor >= app.tail.head:
            raise Draining("the server is going down")
        elif not await _grew(app, cursor, seconds):
            yield Heartbeat(revision=cursor)


async def _page(app: App, command: Subscribe, cursor: Revision) -> Sequence[StoredEntry]:
    entries = app.tail.after(cursor, PAGE_ENTRIES)
    if entries is not None:
        return entries
    return await app.store.entries(after=cursor, limit=PAGE_ENTRIES, filter=command.filter)


def _moved(entries: Sequence[StoredEntry], cursor: Revision, goal: Revision) -> Revision:
    """The cursor after a page: a short one has shown everything up to `goal`."""
    last = entries[-1].revision if entries else cursor
    return last if len(entries) == PAGE_ENTRIES else Revision(max(goal, last))


async def _grew(app: App, cursor: Revision, seconds: float) -> bool:
    """Whether the ledger grew within that time."""
    try:
        async with asyncio.timeout(seconds):
            await app.tail.grown_beyond(cursor)
    except TimeoutError:
        return False
    return True
