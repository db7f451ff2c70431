"""What a network may do to an order on its way to the host: late, twice, unanswered, never."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from google.protobuf.duration_pb2 import Duration

from governance.v1 import governance_service_pb2, request_pb2
from tests.support.deployment import Client, Deployment, codes
from tests.support.fault_proxy import FaultProxy, Link, Portal, Way, proxied

AN_APPLY = b"rollout_percent"
"""What the payload says: an Apply carries it, a Lookup does not."""

APPLY_SECONDS_MAX = 0.6


@contextmanager
def behind_a_proxy(
    folder: Path, **settings: str
) -> Iterator[tuple[Deployment, FaultProxy, Portal]]:
    """A host, and a deployment whose sidecar reaches it through a proxy alone."""
    deployment = Deployment(folder)
    with (
        deployment.host(),
        proxied(f"unix:{folder}/flags.sock") as (proxy, portal),
    ):
        deployment.settings |= {
            "GOVERNOR_HOST_ADDRESS": proxy.address,
            "GOVERNOR_LEASE_SECONDS": "1",
            "GOVERNOR_APPLY_SECONDS_MAX": str(APPLY_SECONDS_MAX),
            **settings,
        }
        yield deployment, proxy, portal
    verified = deployment.verify()
    assert verified.returncode == 0, verified.stdout + verified.stderr


def test_a_delayed_apply_that_arrives_after_the_fence_is_refused_and_has_no_effect(
    tmp_path: Path,
) -> None:
    """Both orders of an execution are held up. The sidecar runs out of patience, has the host fence
    it, and the request is executed anew; then the first execution's orders come through.
    """
    with (
        behind_a_proxy(tmp_path, GOVERNOR_IN_DOUBT_SECONDS_MAX="0.01") as (deployment, proxy, on),
        deployment.sidecar(),
        deployment.client() as ann,
    ):
        orders = proxy.trap(Way.TO_SERVER, AN_APPLY, times=2)
        submitted = ann.submit("first", expected_version="")
        held = []
        for _ in range(2):
            link = on(orders.sprung())
            on(link.abandon_client())
            held.append(link)
        request = ann.ended(submitted.id)
        before = deployment.effects()
        for link in held:
            on(link.to_server.release())
            on(link.to_client.saw(b"is fenced"))
        first, second = ann.executions(request.id)
        history = codes(ann.decisions())

    assert request.status == request_pb2.REQUEST_STATUS_EXECUTED
    assert before == [second.id]
    assert deployment.effects() == before, "the delayed order was carried out"
    assert first.id != second.id
    assert history.count("EXECUTION applied") == 1
    assert history.count("EXECUTION claimed") == 3, "claimed, taken over to fence it, claimed anew"


def test_a_delayed_apply_of_a_dead_sidecar_is_refused_for_its_lower_token(tmp_path: Path) -> None:
    """Its successor took the execution over, and what it ordered is in effect."""
    with behind_a_proxy(tmp_path) as (deployment, proxy, on):
        order = proxy.trap(Way.TO_SERVER, AN_APPLY)
        with deployment.sidecar() as doomed, deployment.client() as ann:
            submitted = ann.submit("first", expected_version="")
            link = on(order.sprung())
            doomed.kill()
        with deployment.sidecar(), deployment.client() as ann:
            request = ann.ended(submitted.id)
            (execution,) = ann.executions(request.id)
            on(link.to_server.release())
            on(link.to_client.saw(b"is fenced"))
            later = ann.executions(request.id)

    assert request.status == request_pb2.REQUEST_STATUS_EXECUTED
    assert execution.fencing_token == 2
    assert deployment.effects() == [execution.id]
    assert later == [execution]


def test_an_apply_that_arrives_twice_has_one_effect(tmp_path: Path) -> None:
    """All that the sidecar ever said to the host is said again, on another connection."""
    with (
        behind_a_proxy(tmp_path) as (deployment, proxy, on),
        deployment.sidecar(),
        deployment.client() as ann,
    ):
        request = ann.ended(ann.submit("first", expected_version="").id)
        (execution,) = ann.executions(request.id)
        (link,) = [link for link in proxy.links if AN_APPLY in link.to_server.seen]
        again = on(proxy.replay(link))
        on(again.to_client.until(lambda: answers(again) == calls(link)))
    assert request.status == request_pb2.REQUEST_STATUS_EXECUTED
    assert deployment.effects() == [execution.id]


def test_an_answer_that_is_lost_is_looked_up(tmp_path: Path) -> None:
    """The host has applied it; the connection breaks when its answer is on the way."""
    with (
        behind_a_proxy(tmp_path) as (deployment, proxy, on),
        deployment.sidecar(),
        deployment.client() as ann,
    ):
        order = proxy.trap(Way.TO_SERVER, AN_APPLY, holds=Way.TO_CLIENT)
        submitted = ann.submit("first", expected_version="")
        link = on(order.sprung())
        on(link.to_client.until(lambda: answers(link) == calls(link)))
        assert len(deployment.effects()) == 1
        on(link.reset())
        request = ann.ended(submitted.id)
        (execution,) = ann.executions(request.id)
    assert request.status == request_pb2.REQUEST_STATUS_EXECUTED
    assert deployment.effects() == [execution.id]


def test_an_order_that_vanishes_is_given_again(tmp_path: Path) -> None:
    """The connection stands and swallows everything, until the next one is made."""
    with (
        behind_a_proxy(tmp_path) as (deployment, proxy, on),
        deployment.sidecar(),
        deployment.client() as ann,
    ):
        order = proxy.trap(Way.TO_SERVER, AN_APPLY)
        submitted = ann.submit("first", expected_version="")
        link = on(order.sprung())
        on(link.to_server.drop())
        assert still_runs(ann, submitted.id, seconds=2 * APPLY_SECONDS_MAX)
        assert deployment.effects() == []
        on(link.reset())
        request = ann.ended(submitted.id)
        (execution,) = ann.executions(request.id)
    assert request.status == request_pb2.REQUEST_STATUS_EXECUTED
    assert deployment.effects() == [execution.id]


def test_an_order_that_is_late_by_more_than_the_lease_has_one_effect(tmp_path: Path) -> None:
    """Nobody is told anything meanwhile; then all of it arrives: the order, that it was given up,
    and the look-ups that followed.
    """
    with (
        behind_a_proxy(tmp_path) as (deployment, proxy, on),
        deployment.sidecar(),
        deployment.client() as ann,
    ):
        order = proxy.trap(Way.TO_SERVER, AN_APPLY)
        submitted = ann.submit("first", expected_version="")
        link = on(order.sprung())
        assert still_runs(ann, submitted.id, seconds=1.5)
        assert deployment.effects() == []
        on(link.to_server.release())
        request = ann.ended(submitted.id)
        (execution,) = ann.executions(request.id)
    assert request.status == request_pb2.REQUEST_STATUS_EXECUTED
    assert deployment.effects() == [execution.id]


def still_runs(client: Client, id: str, *, seconds: float) -> bool:
    """Whether the request has not ended by then."""
    timeout = Duration()
    timeout.FromMilliseconds(round(seconds * 1000))
    answer = client.call(
        "WaitRequest", governance_service_pb2.WaitRequestRequest(id=id, timeout=timeout)
    )
    return bool(answer.timed_out)


# ---------------------------------------------------------------- HTTP/2, as far as needed

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
FRAME_HEADER_BYTES = 9
DATA, HEADERS = 0, 1


def calls(link: Link) -> int:
    """How many calls the client has made."""
    return frames(link.to_server.seen[len(PREFACE) :], HEADERS)


def answers(link: Link) -> int:
    """How many of them the server has answered with a message."""
    return frames(link.to_client.seen, DATA)


def frames(said: bytearray, kind: int) -> int:
    """How many whole frames of a kind there are."""
    at = found = 0
    while at + FRAME_HEADER_BYTES <= len(said):
        at_end = at + FRAME_HEADER_BYTES + int.from_bytes(said[at : at + 3])
        found += said[at + 3] == kind and at_end <= len(said)
        at = at_end
    return found
