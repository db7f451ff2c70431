"""What the sidecar tells tracing backends, metrics backends and logs about itself.

Everything here is off until an exporter is configured through the standard OTEL_* variables, and
costs nothing then. Audit ids never depend on it.
"""
