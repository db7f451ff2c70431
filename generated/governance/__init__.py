"""Stubs compiled from protos/governance: never edited, made by `make generate`."""
