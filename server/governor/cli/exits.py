"""How every command ends: the exit codes, and what has become true with each."""

from enum import IntEnum
from typing import NoReturn

import typer

from governance.v1 import request_pb2


class ExitCode(IntEnum):
    """What a script may rely on."""

    OK = 0
    REFUSED = 1
    USAGE = 2
    UNAVAILABLE = 3
    VERIFICATION_FAILED = 4
    PENDING = 5
    CANNOT_START = 6
    INTERRUPTED = 130


MEANINGS = {
    ExitCode.OK: "It was done, or what was asked for was printed.",
    ExitCode.REFUSED: "Governor said no, or the request ended without being executed. "
    "The reason is printed.",
    ExitCode.USAGE: "The command line cannot be understood; nothing was sent.",
    ExitCode.UNAVAILABLE: "Nobody answered in time. A command that changes something prints the "
    "--request-id with which it is safe to repeat.",
    ExitCode.VERIFICATION_FAILED: "What was read contradicts itself: the ledger does not verify, "
    "or a request is not what its digest says.",
    ExitCode.PENDING: "The time given by --wait passed, or the request waits for somebody.",
    ExitCode.CANNOT_START: "`serve`, `migrate`, `verify`, `backup` or `restore` cannot use its "
    "configuration, address, store or files.",
    ExitCode.INTERRUPTED: "Ended by Ctrl-C.",
}


def leave(code: ExitCode) -> NoReturn:
    """Ends the command."""
    raise typer.Exit(code)


def exit_code_of(request: request_pb2.MutationRequest, *, waited: bool) -> ExitCode:
    """How a command ends that asked for a mutation and, if `waited`, wanted to see it through."""
    match request.status:
        case request_pb2.REQUEST_STATUS_EXECUTED:
            return ExitCode.OK
        case (
            request_pb2.REQUEST_STATUS_PENDING
            | request_pb2.REQUEST_STATUS_APPROVED
            | request_pb2.REQUEST_STATUS_EXECUTING
        ):
            return ExitCode.PENDING if waited else ExitCode.OK
        case _:
            return ExitCode.REFUSED
