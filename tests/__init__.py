import os

# As root a PostgreSQL server is controlled through a fork under another user. Calls that are under
# way at that moment must not be stopped and started for it. Read when gRPC is imported.
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")
