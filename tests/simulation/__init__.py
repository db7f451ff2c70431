"""Deterministic simulation: whole lives of Governor in virtual time, each decided by its seed."""
