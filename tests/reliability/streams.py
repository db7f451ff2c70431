"""Subscribers that are cut again and again, by themselves and by the power: what they end with."""

import random
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc

from governance.v1 import governance_service_pb2 as service
from tests.reliability.section import Row, Section
from tests.support.deployment import CALL_SECONDS_MAX, TENANT, Client, Deployment

SUBSCRIBERS = 4
WRITERS = 4
CUTS_EACH = 250
KILLS = 10
KEEP_READING_MAX = 40
"""How many decisions a subscriber reads at most before it hangs up."""


@dataclass
class Subscriber:
    """Reads on from the last revision it saw, whoever ended the stream before."""

    seen: list[int] = field(default_factory=list)
    cuts: int = 0

    @property
    def cursor(self) -> int:
        return self.seen[-1] if self.seen else 0

    def read(self, client: Client, count: int) -> None:
        """Up to so many decisions, then hangs up; a heartbeat says that there are no more."""
        with suppress(grpc.RpcError), _following(client, self.cursor) as messages:
            for message in messages:
                if message.HasField("decision"):
                    self.seen.append(message.decision.revision)
                    count -= 1
                if message.HasField("heartbeat") or not count:
                    break
        self.cuts += 1

    def read_to_the_end(self, client: Client) -> None:
        """Everything there is."""
        with _following(client, self.cursor) as messages:
            for message in messages:
                if message.HasField("caught_up"):
                    return
                self.seen.append(message.decision.revision)


ROWS = {"the subscriber": 0, "the subscriber, and SIGKILL of the sidecar": KILLS}


def _run(home: Path, seed: int) -> Sequence[Row]:
    rows = []
    for number, (name, kills) in enumerate(ROWS.items()):
        folder = home / str(number)
        folder.mkdir()
        subscribers, ledger, is_verified = cut(folder, kills=kills, seed=seed)
        rows.append((name, *_figures(subscribers, ledger), "yes" if is_verified else "NO"))
    return rows


def cut(home: Path, *, kills: int, seed: int) -> tuple[list[Subscriber], list[int], bool]:
    """The subscribers at their end, the ledger's revisions, and whether the store is verified."""
    deployment = Deployment(home)
    subscribers = [Subscriber() for _ in range(SUBSCRIBERS)]
    is_over = threading.Event()
    with deployment.host(), deployment.client("ada") as ada:
        threads = [
            threading.Thread(target=_write, args=(deployment, number, is_over))
            for number in range(WRITERS)
        ]
        threads += [
            threading.Thread(target=_follow, args=(deployment, subscriber, seed + number))
            for number, subscriber in enumerate(subscribers)
        ]
        for thread in threads:
            thread.start()
        for number in range(kills):
            with deployment.sidecar() as doomed:
                while min(subscriber.cuts for subscriber in subscribers) * kills < (
                    CUTS_EACH * number
                ):
                    ada.call("ListRequests", service.ListRequestsRequest(tenant=TENANT))
                doomed.kill()
        with deployment.sidecar():
            for thread in threads[WRITERS:]:
                thread.join()
            is_over.set()
            for thread in threads[:WRITERS]:
                thread.join()
            for subscriber in subscribers:
                subscriber.read_to_the_end(ada)
            ledger = [decision.revision for decision in ada.decisions()]
    return subscribers, ledger, deployment.verify().returncode == 0


def _figures(subscribers: Sequence[Subscriber], ledger: Sequence[int]) -> tuple[str, ...]:
    missing = sum(len(set(ledger) - set(one.seen)) for one in subscribers)
    repeated = sum(len(one.seen) - len(set(one.seen)) for one in subscribers)
    disordered = sum(
        later <= earlier
        for one in subscribers
        for earlier, later in zip(one.seen, one.seen[1:], strict=False)
    )
    cuts = sum(one.cuts for one in subscribers)
    counted = (cuts, len(ledger), missing, repeated, disordered)
    return tuple(f"{number:,}" for number in counted)


def _write(deployment: Deployment, number: int, is_over: threading.Event) -> None:
    """One change after another; a call whose answer is lost is repeated under its name."""
    with deployment.client() as ann:
        index = 0
        while not is_over.is_set():
            name = f"w{number}-{index}"
            with suppress(grpc.RpcError):
                ann.submit(name, flag=name, wait_seconds=10)
                index += 1


def _follow(deployment: Deployment, subscriber: Subscriber, seed: int) -> None:
    chance = random.Random(seed)
    with deployment.client("ada") as ada:
        while subscriber.cuts < CUTS_EACH:
            subscriber.read(ada, chance.randint(1, KEEP_READING_MAX))


@contextmanager
def _following(client: Client, cursor: int) -> Iterator[Iterator[service.StreamDecisionsResponse]]:
    request = service.StreamDecisionsRequest(after_revision=cursor)
    request.filter.tenant = TENANT
    request.heartbeat_interval.FromMilliseconds(500)
    stream: Any = client.stub.StreamDecisions(
        request,
        timeout=CALL_SECONDS_MAX,
        metadata=(("governor-actor", client.actor),),
        wait_for_ready=True,
    )
    try:
        yield stream
    finally:
        stream.cancel()


SECTION = Section(
    name="streams",
    title="Streams that are cut",
    claim=f"{SUBSCRIBERS} subscribers follow the ledger while {WRITERS} callers write, hang up "
    f"after a random number of decisions, at least {CUTS_EACH} times each, and resume after the "
    "last revision they saw. In the second row the sidecar is killed (SIGKILL) and started again "
    f"{KILLS} times as well. In the end each must have seen exactly the ledger, which `governor "
    "verify` accepts.",
    columns=(
        "cut by",
        "cuts",
        "decisions in the ledger",
        "missing",
        "repeated",
        "out of order",
        "verified",
    ),
    keys=tuple(ROWS),
    zeros=("missing", "repeated", "out of order"),
    run=_run,
)
