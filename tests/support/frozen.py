"""A way between client and server that can be frozen: it holds both ends and says nothing."""

import selectors
import socket
import threading
from pathlib import Path
from typing import Self

CHUNK_BYTES = 65_536


class Freezer:
    """Listens at `here` and passes on to `there`, until it is frozen.

    What is frozen stays connected: whoever is at an end hears neither an answer nor an error, as
    behind a router that drops what it is given.
    """

    def __init__(self, there: Path, here: Path) -> None:
        self._there = there
        self._selector = selectors.DefaultSelector()
        self._sockets: list[socket.socket] = []
        self._listener = self._own(socket.socket(socket.AF_UNIX))
        self._listener.bind(str(here))
        self._listener.listen()
        self._selector.register(self._listener, selectors.EVENT_READ, None)
        self._wake, waking = socket.socketpair()
        self._own(self._wake)
        self._selector.register(self._own(waking), selectors.EVENT_READ, None)
        self._frozen = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self.freeze()
        self._selector.close()
        for each in self._sockets:
            each.close()

    def freeze(self) -> None:
        """From now on nothing passes."""
        self._frozen.set()
        self._wake.send(b"\0")
        self._thread.join()

    def _own(self, made: socket.socket) -> socket.socket:
        self._sockets.append(made)
        return made

    def _run(self) -> None:
        while True:
            for key, _ in self._selector.select():
                if self._frozen.is_set():
                    return
                if key.fileobj is self._listener:
                    self._connect()
                else:
                    self._pass_on(key)

    def _connect(self) -> None:
        near = self._own(self._listener.accept()[0])
        far = self._own(socket.socket(socket.AF_UNIX))
        far.connect(str(self._there))
        self._selector.register(near, selectors.EVENT_READ, far)
        self._selector.register(far, selectors.EVENT_READ, near)

    def _pass_on(self, key: selectors.SelectorKey) -> None:
        source = key.fileobj
        assert isinstance(source, socket.socket)
        try:
            data = source.recv(CHUNK_BYTES)
            if data:
                key.data.sendall(data)
                return
            key.data.shutdown(socket.SHUT_WR)
        except OSError:
            pass  # one end has gone, and the other sees it by itself
        self._selector.unregister(source)
