"""The command line: one program for operators, approvers and auditors."""

from governor.cli.main import main

__all__ = ["main"]
