"""A subscriber that is cut again and again ends with exactly the ledger."""

import random
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from governance.v1 import governance_service_pb2
from tests.support.deployment import TENANT, Client, Deployment

WRITERS = 4
SUBMISSIONS_EACH = 25
CUTS_MIN = 20


def test_a_subscriber_cut_at_random_while_four_writers_write_ends_with_exactly_the_ledger(
    tmp_path: Path,
) -> None:
    """Each time it resumes after the last revision it saw; nothing is missed, nothing reordered."""
    deployment = Deployment(tmp_path)
    chance = random.Random(20_261_122)
    with deployment.host(), deployment.sidecar(), deployment.client("ada") as subscriber:
        writers = [
            threading.Thread(target=write, args=(deployment, number)) for number in range(WRITERS)
        ]
        for writer in writers:
            writer.start()
        seen: list[bytes] = []
        cursor, cuts = 0, 0
        while cuts < CUTS_MIN or any(writer.is_alive() for writer in writers):
            cursor = read_some(subscriber, cursor, chance.randint(1, 40), seen)
            cuts += 1
        for writer in writers:
            writer.join()
        cursor = read_to_the_end(subscriber, cursor, seen)
        ledger = [
            decision.SerializeToString(deterministic=True)
            for decision in subscriber.decisions(include_host=True)
        ]

    assert seen == ledger
    assert len(ledger) == cursor
    assert len(ledger) > WRITERS * SUBMISSIONS_EACH


def write(deployment: Deployment, number: int) -> None:
    """Submits one request after another, each seen through to its end."""
    with deployment.client() as ann:
        for index in range(SUBMISSIONS_EACH):
            name = f"w{number}-{index}"
            ann.submit(name, flag=name, expected_version="", wait_seconds=20)


def read_some(subscriber: Client, cursor: int, count: int, seen: list[bytes]) -> int:
    """Reads up to `count` decisions after `cursor`, then cuts the stream without a word."""
    with following(subscriber, cursor) as stream:
        for message in stream:
            if message.HasField("decision"):
                seen.append(message.decision.SerializeToString(deterministic=True))
                cursor = message.decision.revision
                count -= 1
            if message.HasField("heartbeat"):
                assert message.heartbeat.revision >= cursor
                break
            if count <= 0:
                break
    return cursor


def read_to_the_end(subscriber: Client, cursor: int, seen: list[bytes]) -> int:
    """Reads until the stream says that it has caught up."""
    with following(subscriber, cursor) as stream:
        for message in stream:
            if message.HasField("caught_up"):
                assert message.caught_up.revision == cursor
                break
            seen.append(message.decision.SerializeToString(deterministic=True))
            cursor = message.decision.revision
    return cursor


@contextmanager
def following(
    subscriber: Client, cursor: int
) -> Iterator[Iterator[governance_service_pb2.StreamDecisionsResponse]]:
    """The stream after `cursor`, with heartbeats as often as can be had; cut at the end."""
    request = governance_service_pb2.StreamDecisionsRequest(
        after_revision=cursor,
        filter=governance_service_pb2.DecisionFilter(tenant=TENANT, include_host=True),
    )
    request.heartbeat_interval.FromMilliseconds(100)
    stream = subscriber.stub.StreamDecisions(
        request, timeout=60, metadata=(("governor-actor", subscriber.actor),)
    )
    try:
        yield stream
    finally:
        stream.cancel()
