"""Exclusive use of a database file or a socket path, for as long as the process lives."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class AlreadyInUse(Exception):
    """Another process holds the lock."""

    def __init__(self, path: Path) -> None:
        super().__init__(f"{path} is in use by another process")
        self.path = path


@contextmanager
def exclusive(path: Path) -> Iterator[None]:
    """Hold `<path>.lock`. The kernel lets go of it when the process dies, however it dies."""
    descriptor = os.open(f"{path}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise AlreadyInUse(path) from error
        # The file stays: a lock that is taken on a removed file excludes nobody.
        yield
    finally:
        os.close(descriptor)
