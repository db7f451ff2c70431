"""Several sidecars on one PostgreSQL: killed, paused, replaced in turn, and left without hints."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import grpc
import pytest

from tests.crash.replicas import Replicas, kill_in_turn, replicas
from tests.crash.rounds import LEASE_SECONDS, stands_still
from tests.crash.workload import Busy, Everyday
from tests.support.fault_proxy import proxied
from tests.support.postgres import PostgresServer, postgres_server

__all__ = ["postgres_server"]  # a fixture: found here by its name

REPLICAS_MAX = 4
KILLS_EACH = 2
LISTEN = b'LISTEN "governor_ledger"'
NOTHING = b"SELECT 1".ljust(len(LISTEN))

PLACES_OF_ZOMBIES = (
    "execute.before_apply",
    "execute.after_apply",
    "execute.before_outcome",
    "store.batch.before_begin",
    "store.batch.before_commit",
    "store.batch.after_commit",
    "timer.before_fire",
)


@contextmanager
def judged(server: PostgresServer, folder: Path, how_many: int) -> Iterator[Replicas]:
    """Replicas on a fresh database; at the end the oracle must find nothing."""
    with server.lent(folder) as database, replicas(database, folder, how_many) as them:
        yield them
        is_clean(them)


def is_clean(them: Replicas) -> None:
    verdict = them.world.judged()
    assert verdict.is_clean, verdict
    assert verdict.expected > 0


@pytest.mark.parametrize("how_many", range(1, REPLICAS_MAX + 1))
def test_replicas_that_are_killed_again_and_again_lose_nothing(
    postgres_server: PostgresServer, tmp_path: Path, how_many: int
) -> None:
    """With others to take over, and with none."""
    with postgres_server.lent(tmp_path) as database:
        killing = kill_in_turn(database, tmp_path, how_many, kills_each=KILLS_EACH)
    assert killing.verdict.is_clean, killing.verdict
    assert killing.verdict.expected > 0
    assert killing.kills == how_many * KILLS_EACH


@pytest.mark.parametrize("place", PLACES_OF_ZOMBIES)
def test_a_replica_that_was_paused_past_its_lease_does_no_harm_when_it_comes_back(
    postgres_server: PostgresServer, tmp_path: Path, place: str
) -> None:
    """The other one takes over and ends everything while it stands still; then it goes on, with all
    that it believes.
    """
    with judged(postgres_server, tmp_path, 2) as them:
        zombie = them.start("replica-0", f"{place}=stop")
        zombie.wait_until_it_listens()
        world = them.world
        world.begin(Everyday(world.callers, "all"), Busy(world.callers, "busy", each=4))
        them.start("replica-1")
        assert zombie.wait_until_it_stands_still()
        stands_still(zombie, LEASE_SECONDS)
        world.workload.finish(world.seconds_max)
        zombie.go_on()
        # It answers, so it has come back; and it goes down in order, so it has said its last word.
        world.callers.ask(0)
        assert zombie.stop() == 0


def test_a_rolling_restart_is_not_noticed_but_by_calls_that_are_made_again(
    postgres_server: PostgresServer, tmp_path: Path
) -> None:
    """Each goes down by SIGTERM and is replaced, while the others go on."""
    with judged(postgres_server, tmp_path, 3) as them:
        them.start_all()
        world = them.world
        world.begin(Everyday(world.callers, "all"), Busy(world.callers, "busy", each=15))
        for name in them.names:
            assert them.running[name].stop() == 0
            them.start(name).wait_until_it_listens()
        world.workload.finish(world.seconds_max)
        heard = world.callers.silences
        # CANCELLED is gRPC's own, for a call that it had taken in as its server stopped.
        goodbyes = {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED}
        assert {one.code for one in heard} <= goodbyes, heard


def test_replicas_behind_a_pooler_that_forgets_who_listens_follow_by_looking(
    postgres_server: PostgresServer, tmp_path: Path
) -> None:
    """LISTEN is answered and means nothing, as where sessions are lent out by the transaction. The
    subscriber is at one replica, and all that is written is written at the others too.
    """
    with (
        proxied(postgres_server.socket) as (proxy, _),
        postgres_server.lent(tmp_path) as direct,
    ):
        proxy.rewrite(LISTEN, NOTHING)
        url = postgres_server.url_through(proxy.address, direct)
        with replicas(url, tmp_path, 2) as them:
            them.start_all()
            world = them.world
            world.begin(Everyday(world.callers, "all"), Busy(world.callers, "busy", each=6))
            is_clean(them)
        assert proxy.rewritten >= len(them.names)
