"""The floor: a bare grpc.aio server that answers every call with the same bytes.

Run as `python -m tests.bench.echo TARGET BYTES`; prints a line when it listens.
"""

import asyncio
import sys

import grpc.aio

PATH = "/bench.Echo/Call"


async def serve(target: str, answer_bytes: int) -> None:
    """Serves until it is killed."""
    answer = b"x" * answer_bytes

    async def call(_: bytes, __: grpc.aio.ServicerContext[bytes, bytes]) -> bytes:
        return answer

    handler: grpc.RpcMethodHandler[bytes, bytes] = grpc.unary_unary_rpc_method_handler(call)
    server = grpc.aio.server()
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler("bench.Echo", {"Call": handler}),)
    )
    server.add_insecure_port(target)
    await server.start()
    sys.stdout.write("listening\n")
    sys.stdout.flush()
    await server.wait_for_termination()


if __name__ == "__main__":
    asyncio.run(serve(sys.argv[1], int(sys.argv[2])))
