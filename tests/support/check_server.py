"""A service that answers the check `scan` of the deployment's policy, in a thread of the test."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import grpc

from governance.v1 import governance_check_pb2, governance_check_pb2_grpc, mutation_pb2


class _Scan(governance_check_pb2_grpc.GovernanceCheckServicer):
    """Passes everything."""

    def Check(
        self, request: governance_check_pb2.CheckRequest, context: grpc.ServicerContext
    ) -> governance_check_pb2.CheckResponse:
        return governance_check_pb2.CheckResponse(
            outcome=governance_check_pb2.CHECK_OUTCOME_PASSED,
            reason=mutation_pb2.Reason(code="CLEAN", message=f"{request.name}: nothing found"),
        )


@contextmanager
def check_server(folder: Path) -> Iterator[None]:
    """It listens, and stops at the end."""
    with ThreadPoolExecutor(2) as pool:
        server = grpc.server(pool)
        governance_check_pb2_grpc.add_GovernanceCheckServicer_to_server(_Scan(), server)
        server.add_insecure_port(f"unix:{folder}/check.sock")
        server.start()
        try:
            yield
        finally:
            server.stop(0).wait()
