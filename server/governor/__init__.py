"""Governor: a gRPC governance sidecar that decides on mutations before they run."""

__version__ = "0.1.0"
