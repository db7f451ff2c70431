"""watch takes a broken stream up where it was, gives up where that cannot help, and says where."""

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import grpc
import pytest
from typer.testing import CliRunner, Result

from governance.v1 import decision_pb2
from governance.v1 import governance_service_pb2 as service
from governor.cli import decisions
from governor.cli.exits import ExitCode
from governor.cli.main import app
from tests.support.scripted_service import refuse, scripted_service

Part = Callable[[grpc.ServicerContext], Iterator[service.StreamDecisionsResponse]]


def decision(revision: int) -> service.StreamDecisionsResponse:
    entry = decision_pb2.Decision(revision=revision, code="submitted")
    return service.StreamDecisionsResponse(decision=entry)


def caught_up(revision: int) -> service.StreamDecisionsResponse:
    return service.StreamDecisionsResponse(
        caught_up=service.CaughtUp(revision=revision, store_id="st-1")
    )


def heartbeat(revision: int) -> service.StreamDecisionsResponse:
    return service.StreamDecisionsResponse(heartbeat=service.Heartbeat(revision=revision))


class Streams:
    """A server whose n-th stream plays the n-th part; it remembers how each was asked for."""

    def __init__(self, *parts: Sequence[service.StreamDecisionsResponse | grpc.StatusCode]) -> None:
        self._parts = iter(parts)
        self.asked: list[service.StreamDecisionsRequest] = []

    def answer(
        self, request: service.StreamDecisionsRequest, context: grpc.ServicerContext
    ) -> Iterator[service.StreamDecisionsResponse]:
        self.asked.append(request)
        for item in next(self._parts):
            if isinstance(item, service.StreamDecisionsResponse):
                yield item
            else:
                refuse(context, item, "X", "the stream ends")


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The pauses that were made, none of which took time."""
    made: list[float] = []
    monkeypatch.setattr(decisions, "pause", made.append)
    return made


def watch(folder: Path, streams: Streams, *arguments: str) -> Result:
    with scripted_service(folder, StreamDecisions=streams.answer) as address:
        environment = {"GOVERNOR_ADDRESS": address, "GOVERNOR_TENANT": "acme"}
        return CliRunner().invoke(app, ("watch", "--json", *arguments), env=environment)


def revisions(result: Result) -> list[int]:
    return [int(json.loads(line)["revision"]) for line in result.stdout.splitlines()]


def test_a_broken_stream_goes_on_after_the_last_revision_seen(
    tmp_path: Path, pauses: list[float]
) -> None:
    """Broken by the server's drain, by slowness, after a heartbeat and without any word."""
    streams = Streams(
        [decision(1), decision(2), grpc.StatusCode.UNAVAILABLE],
        [decision(3), heartbeat(7), grpc.StatusCode.RESOURCE_EXHAUSTED],
        [],
        [decision(8), caught_up(9)],
    )
    result = watch(tmp_path, streams, "--after", "0", "--until-caught-up")
    assert result.exit_code == ExitCode.OK, result.output
    assert revisions(result) == [1, 2, 3, 8]
    assert [request.after_revision for request in streams.asked] == [0, 2, 7, 7]
    assert len(pauses) == 3
    assert result.stderr.splitlines()[-1] == "to go on: --after 9 --store-id st-1"


def test_pauses_grow_to_a_bound_and_start_over_with_every_message(
    tmp_path: Path, pauses: list[float]
) -> None:
    down = [grpc.StatusCode.UNAVAILABLE]
    streams = Streams([decision(1), *down], *[down] * 7, [decision(2), *down], [caught_up(2)])
    watch(tmp_path, streams, "--after", "0", "--until-caught-up")
    assert pauses == [0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 10.0, 10.0, 0.2]


def test_the_store_is_named_when_a_stream_is_taken_up_again(
    tmp_path: Path, pauses: list[float]
) -> None:
    streams = Streams([caught_up(4), grpc.StatusCode.UNAVAILABLE], [grpc.StatusCode.OUT_OF_RANGE])
    result = watch(tmp_path, streams)
    assert [request.store_id for request in streams.asked] == ["", "st-1"]
    assert not streams.asked[0].HasField("after_revision")
    assert streams.asked[1].after_revision == 4
    assert result.exit_code == ExitCode.REFUSED


@pytest.mark.parametrize(
    ("code", "exit_code"),
    [
        (grpc.StatusCode.PERMISSION_DENIED, ExitCode.REFUSED),
        (grpc.StatusCode.UNAVAILABLE, ExitCode.UNAVAILABLE),
    ],
)
def test_a_stream_that_never_opened_is_not_tried_again(
    tmp_path: Path, pauses: list[float], code: grpc.StatusCode, exit_code: ExitCode
) -> None:
    result = watch(tmp_path, Streams([code]))
    assert result.exit_code == exit_code
    assert pauses == []


def test_after_too_many_breaks_in_a_row_it_gives_up_and_says_where_to_go_on(
    tmp_path: Path, pauses: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decisions, "RECONNECTS_MAX", 3)
    down: list[Any] = [grpc.StatusCode.UNAVAILABLE]
    result = watch(tmp_path, Streams([decision(5), *down], *[down] * 3), "--after", "0")
    assert result.exit_code == ExitCode.UNAVAILABLE
    assert len(pauses) == 3
    assert "to go on: --after 5" in result.stderr


def test_the_filters_are_sent(tmp_path: Path, pauses: list[float]) -> None:
    streams = Streams([caught_up(1)])
    options = (
        "--request mr-1 --request mr-2 --category version-resolution --code validated --by ann"
    )
    watch(tmp_path, streams, *options.split(), "--execution", "ex-1", "--until-caught-up")
    assert streams.asked[0].filter == service.DecisionFilter(
        tenant="acme",
        mutation_request_ids=["mr-1", "mr-2"],
        categories=[decision_pb2.DECISION_CATEGORY_VERSION_RESOLUTION],
        codes=["validated"],
        actor="ann",
        execution_id="ex-1",
    )
