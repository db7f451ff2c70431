"""approve on a terminal: the question is put to the person, and only yes is a yes."""

import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from governor.cli.exits import ExitCode
from tests.support.front_desk import ACTOR, FrontDesk, a_request

CTRL_D = b"\x04"
SECONDS_MAX = 30
QUESTION = b"Approve exactly this? [y/N]: "


class Typist:
    """Somebody at a terminal, in which one command runs."""

    def __init__(self, address: str, *arguments: str) -> None:
        self._screen, theirs = pty.openpty()
        self.shown = b""
        self._process = subprocess.Popen(
            [sys.executable, "-m", "governor", *arguments],
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            close_fds=True,
            env={
                **os.environ,
                "GOVERNOR_ADDRESS": address,
                "GOVERNOR_ACTOR": ACTOR,
                "TERM": "dumb",
                "COLUMNS": "200",
            },
        )
        os.close(theirs)

    def reads_until(self, words: bytes) -> None:
        """Returns once the words stand on the screen."""
        while words not in self.shown:
            piece = self._read()
            assert piece, self.shown.decode(errors="replace")
            self.shown += piece

    def types(self, keys: bytes) -> None:
        os.write(self._screen, keys)

    def ended(self) -> int:
        """The exit code, once everything has been read."""
        while piece := self._read():
            self.shown += piece
        os.close(self._screen)
        return self._process.wait(timeout=SECONDS_MAX)

    def _read(self) -> bytes:
        try:
            return os.read(self._screen, 65_536)
        except OSError:
            # Linux answers EIO where the other side of a terminal has hung up.
            return b""


@pytest.mark.parametrize(
    ("keys", "code", "votes"),
    [(b"y\r", ExitCode.OK, 1), (b"n\r", ExitCode.REFUSED, 0), (b"\r", ExitCode.REFUSED, 0)],
)
def test_the_vote_is_sent_when_the_person_says_yes_and_not_before(
    tmp_path: Path, keys: bytes, code: ExitCode, votes: int
) -> None:
    desk = FrontDesk(tmp_path, a_request())
    with desk.open() as address:
        typist = Typist(address, "approve", "mr-1")
        typist.reads_until(QUESTION)
        assert desk.answers_given == []
        assert desk.request.request_digest.hex().encode() in typist.shown
        typist.types(keys)
        assert typist.ended() == code, typist.shown.decode()
    assert len(desk.answers_given) == votes


def test_a_person_who_leaves_without_an_answer_has_not_voted(tmp_path: Path) -> None:
    desk = FrontDesk(tmp_path, a_request())
    with desk.open() as address:
        typist = Typist(address, "approve", "mr-1")
        typist.reads_until(QUESTION)
        typist.types(CTRL_D)
        assert typist.ended() != ExitCode.OK
    assert desk.answers_given == []
