"""PostgreSQL restarted, crashed, and throwing sessions out, under the load of a running sidecar."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import grpc
import pytest

from tests.crash.rounds import SETTINGS, World
from tests.crash.workload import Busy, Everyday
from tests.support.deployment import Deployment
from tests.support.postgres import Mode, OwnServer, own_postgres

RESTARTS = 2
THROWS = 12
PAUSE_SECONDS = 0.25


@pytest.fixture(scope="module")
def server() -> Iterator[OwnServer]:
    """One for this module: making it takes longer than a test."""
    with own_postgres() as made:
        yield made


@pytest.fixture
def world(server: OwnServer, tmp_path: Path) -> Iterator[World]:
    """A sidecar on an empty database of its own, a host, and callers of every kind."""
    settings = {**SETTINGS, "GOVERNOR_STORE_URL": server.new_database(tmp_path)}
    settings |= {"GOVERNOR_MIGRATE_AT_START": "always"}
    with ExitStack() as open_parts:
        world = World(Deployment(tmp_path, settings=settings), open_parts)
        world.start_host()
        world.start_sidecar().wait_until_it_listens()
        world.begin(Everyday(world.callers, "all"), Busy(world.callers, "busy", each=15))
        yield world


def is_clean(world: World) -> bool:
    """At the end, with nothing worse heard on the way than that the call was not answered."""
    verdict = world.judged()
    assert verdict.is_clean, verdict
    unanswered = {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED}
    heard = world.callers.silences
    assert {one.code for one in heard} <= unanswered, heard
    return verdict.expected > 0


@pytest.mark.parametrize("mode", ["fast", "immediate"])
def test_a_server_that_is_restarted_under_load_loses_nothing(
    server: OwnServer, world: World, mode: Mode
) -> None:
    """Batches are cut off in the middle, at COMMIT and in between; callers repeat themselves."""
    for _ in range(RESTARTS):
        server.restart(mode)
        world.workload.is_over_in(PAUSE_SECONDS)
    assert is_clean(world)


def test_sessions_that_are_thrown_out_again_and_again_lose_nothing(
    server: OwnServer, world: World
) -> None:
    thrown = 0
    for _ in range(THROWS):
        thrown += server.throw_everybody_out(world.deployment.store_url)
        if world.workload.is_over_in(PAUSE_SECONDS):
            break
    assert thrown > 0
    assert is_clean(world)
