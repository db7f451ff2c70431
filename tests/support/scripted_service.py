"""A GovernanceService that answers what it is told to, for what a real one cannot be made to do."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
from google.rpc import code_pb2, error_details_pb2, status_pb2
from grpc_status import rpc_status

from governance.v1 import governance_service_pb2

Answer = Callable[[Any, grpc.ServicerContext], Any]

SERVICE = governance_service_pb2.DESCRIPTOR.services_by_name["GovernanceService"]


@contextmanager
def scripted_service(folder: Path, **answers: Answer) -> Iterator[str]:
    """Serves the RPCs named by `answers` on a unix socket in `folder`; yields its address."""
    handlers = {name: _handler(name, answer) for name, answer in answers.items()}
    server = grpc.server(ThreadPoolExecutor(max_workers=4))
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler(SERVICE.full_name, handlers),)
    )
    address = f"unix:{folder}/scripted.sock"
    server.add_insecure_port(address)
    server.start()
    try:
        yield address
    finally:
        server.stop(None).wait()


def refuse(
    context: grpc.ServicerContext,
    code: grpc.StatusCode,
    reason: str,
    message: str,
    facts: dict[str, str] | None = None,
    *details: Any,
) -> None:
    """Ends a call the way Governor does: google.rpc.Status with ErrorInfo and more."""
    number = code_pb2.Code.Value(code.name)
    status = status_pb2.Status(code=number, message=message)
    info = error_details_pb2.ErrorInfo(reason=reason, domain="governor", metadata=facts or {})
    for detail in (info, *details):
        status.details.add().Pack(detail)
    context.abort_with_status(rpc_status.to_status(status))


def _handler(name: str, answer: Answer) -> "grpc.RpcMethodHandler[Any, Any]":
    method = SERVICE.methods_by_name[name]
    request: Any = getattr(governance_service_pb2, method.input_type.name)
    response: Any = getattr(governance_service_pb2, method.output_type.name)
    make = (
        grpc.unary_stream_rpc_method_handler
        if method.server_streaming
        else grpc.unary_unary_rpc_method_handler
    )
    handler: grpc.RpcMethodHandler[Any, Any] = make(
        answer,
        request_deserializer=request.FromString,
        response_serializer=response.SerializeToString,
    )
    return handler
