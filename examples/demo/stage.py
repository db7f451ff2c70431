"""What the stories are played on: the people, the host's state, and what must come out."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import grpc.aio

from examples.demo.client import Client
from examples.demo.collector import Collector
from examples.demo.follower import Follower
from examples.demo.host_state import HostState
from examples.demo.narrator import Narrator
from examples.demo.processes import Deployment
from governance.v1.decision_pb2 import Decision
from governance.v1.mutation_pb2 import (
    RISK_LOW,
    STALE_STRATEGY_REJECT_STALE,
    Mutation,
    Payload,
    StaleStrategy,
    StateRef,
)
from governance.v1.request_pb2 import (
    REQUEST_STATUS_EXECUTED,
    MutationRequest,
    RequestStatus,
)

TENANT: Final = "acme"
WAIT_SECONDS: Final = 10.0
"""How long a submission may wait for its outcome; far more than it takes."""


class StoryFailed(Exception):
    """Something came out otherwise than it must."""


class Stage:
    """Everything a story needs. Stories share nothing but this, and each has flags of its own."""

    def __init__(
        self,
        *,
        channel: grpc.aio.Channel,
        deployment: Deployment,
        host_state: HostState,
        collector: Collector,
        follower: Follower,
        narrator: Narrator,
    ) -> None:
        self._channel = channel
        self.deployment = deployment
        self.host = deployment.host
        self.host_state = host_state
        self.collector = collector
        self.follower = follower
        self.say = narrator.say
        self.showcase_id = ""
        self.trails: dict[str, str] = {}
        """What the end of the demo shows the whole of, by the id of the request it began with."""

    def client(self, actor: str) -> Client:
        """Governor as this person calls it."""
        return Client(self._channel, actor=actor, tenant=TENANT)

    async def flag_at_version_1(self, id: str) -> None:
        """A flag to begin with, made by a change that policy allows."""
        made = await self.client("alice").submit(
            flag_set(id, rollout_percent=5), risk=RISK_LOW, wait_seconds=WAIT_SECONDS
        )
        expect_status(made, REQUEST_STATUS_EXECUTED)
        expect("the version of the flag to begin with", self.host_state.flag(id).version, "1")

    async def expect_history(self, request: MutationRequest, *codes: str) -> Sequence[Decision]:
        """The codes of all decisions about a request, in their order."""
        decisions = await self.client("ruth").decisions(request.id)
        expect(f"the decisions about {request.id}", [d.code for d in decisions], list(codes))
        return decisions


@dataclass(frozen=True, slots=True, kw_only=True)
class Versioned:
    """The version a change is made for, and what to do when the state has moved on."""

    expected_version: str
    strategy: "StaleStrategy.ValueType" = STALE_STRATEGY_REJECT_STALE


def flag_set(id: str, *, rollout_percent: int, versioned: Versioned | None = None) -> Mutation:
    """The flags host's `flag.set`: on, for a share of the users."""
    mutation = Mutation(
        type="flag.set",
        state=StateRef(type="flag", id=id),
        payload=Payload(
            content_type="application/json",
            data=b'{"enabled": true, "rollout_percent": %d}' % rollout_percent,
        ),
    )
    if versioned is not None:
        mutation.expected_version = versioned.expected_version
        mutation.stale_strategy = versioned.strategy
    return mutation


def role_grant(id: str, member: str) -> Mutation:
    """The same host's `role.grant`."""
    return Mutation(
        type="role.grant",
        state=StateRef(type="role", id=id),
        payload=Payload(
            content_type="application/json", data=json.dumps({"member": member}).encode()
        ),
    )


def expect(what: str, found: object, wanted: object) -> None:
    """Raises StoryFailed with both values."""
    if found != wanted:
        raise StoryFailed(f"{what}: wanted {wanted!r}, found {found!r}")


def expect_status(
    request: MutationRequest, wanted: "RequestStatus.ValueType", reason: str = ""
) -> None:
    """Where the request stands, and the machine-readable reason for it."""
    found, status = RequestStatus.Name(request.status), RequestStatus.Name(wanted)
    if request.status != wanted:
        why = request.status_reason
        raise StoryFailed(f"{request.id} is {found} ({why.code}: {why.message}), wanted {status}")
    expect(f"the reason why {request.id} is {found}", request.status_reason.code, reason)
