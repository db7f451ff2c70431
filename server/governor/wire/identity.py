"""Who calls, as far as the transport can tell: one authenticator per way of knowing.

An authenticator answers the actor's name. What that actor may do is the directory's and the use
cases' matter.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, Protocol, TypeAlias

import grpc.aio

from governor.domain.errors import Unauthenticated
from governor.domain.values import GOVERNOR
from governor.wire.limits import ACTOR_CHARACTERS_MAX

ACTOR_KEY: Final = "governor-actor"

Context: TypeAlias = grpc.aio.ServicerContext[Any, Any]
Metadata: TypeAlias = Sequence[tuple[str, str | bytes]]

_IS_ACTOR = re.compile(rf"[!-~]{{1,{ACTOR_CHARACTERS_MAX}}}", re.ASCII).fullmatch


class Authenticator(Protocol):
    """Names the caller, or raises Unauthenticated."""

    def authenticate(self, context: Context, metadata: Metadata) -> str: ...


class DevelopmentIdentity:
    """Believes the header `governor-actor`. For loopback and unix sockets alone: see listening."""

    def authenticate(self, context: Context, metadata: Metadata) -> str:
        names = [value for key, value in metadata if key == ACTOR_KEY]
        if len(names) != 1:
            raise Unauthenticated(f"the call must carry {ACTOR_KEY} once")
        return _checked(names[0])


class CertificateIdentity:
    """Takes the name out of the client's certificate, which the TLS handshake has verified."""

    def authenticate(self, context: Context, metadata: Metadata) -> str:
        peer: Mapping[str, Iterable[bytes]] = context.auth_context()
        for source in CERTIFICATE_NAMES:
            for name in peer.get(source, ()):
                return _checked(name.decode("utf-8", "replace"))
        raise Unauthenticated("the call comes without a client certificate that names somebody")


CERTIFICATE_NAMES: Final = ("peer_uri", "peer_dns", "x509_common_name")
"""Where a certificate's name is looked for, as gRPC calls it: the first URI among the subject's
alternative names, else the first DNS name there, else the common name."""


def _checked(name: str | bytes) -> str:
    if not isinstance(name, str) or not _IS_ACTOR(name):
        raise Unauthenticated(
            f"an actor's name is 1 to {ACTOR_CHARACTERS_MAX} visible ASCII characters"
        )
    if name == GOVERNOR.id:
        raise Unauthenticated(f"{GOVERNOR.id!r} is the sidecar's own name")
    return name
