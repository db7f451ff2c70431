"""These tests start processes while they call: gRPC must not try to follow every fork."""

import os

# Read when gRPC is first used. Its handlers stop and restart the threads of calls under way.
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")
