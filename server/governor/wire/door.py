"""The door: it sends each call to its handler, or away before its message is read."""

from collections.abc import Callable
from typing import Any, TypeAlias

import grpc

from governor.domain.errors import GovernorError
from governor.telemetry.providers import Telemetry
from governor.wire.admission import Admission, Kind
from governor.wire.errors import refusal_of
from governor.wire.identity import Context
from governor.wire.observing import metadata_of, observed
from governor.wire.rpcs import SERVICE

Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"


class Door(grpc.GenericRpcHandler):
    """Asked by gRPC when the headers of a call are here and its message is not.

    A call that is taken for one with a stream of messages is read when it wants to be, and one that
    is refused never wants to: so the messages of a flood stay with the clients that sent them.
    """

    def __init__(self, admission: Admission, telemetry: Telemetry) -> None:
        self._admission = admission
        self._telemetry = telemetry
        self._handlers: dict[str, tuple[Kind, Handler]] = {}

    def lead_to(self, name: str, kind: Kind, handler: Handler) -> None:
        """Makes an RPC of the service known."""
        self._handlers[f"/{SERVICE}/{name}"] = (kind, handler)

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> "Handler | None":
        """See grpc.GenericRpcHandler. None: there is no such RPC."""
        method = handler_call_details.method
        found = self._handlers.get(method)
        if found is None:
            return None
        kind, handler = found
        error = self._admission.refusal(kind)
        if error is None:
            return handler
        behaviour = _turned_away(self._telemetry, method.removeprefix("/"), error)
        return grpc.stream_unary_rpc_method_handler(behaviour)


def _turned_away(
    telemetry: Telemetry, method: str, error: GovernorError
) -> Callable[[Any, Context], Any]:
    """The behaviour of a call that is refused, its message unread."""
    refusal = refusal_of(error)

    async def behaviour(_: Any, context: Context) -> None:
        if telemetry.is_on:
            observed(telemetry, method, metadata_of(context)).end(refusal.code.name)
        await context.abort(refusal.code, refusal.message, refusal.trailing_metadata)

    return behaviour
