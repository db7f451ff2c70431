"""The only inbound home of gRPC: rules, codec, services, errors, and the server they run in."""
