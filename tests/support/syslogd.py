"""A syslog daemon that keeps what it is told, where the daemon under test looks for one.

There is one /dev/log on a machine and it is not ours. So the daemon looks for it elsewhere: what starts
it names the place first. A /dev of its own would need a mount namespace, which not every machine allows.
"""

from __future__ import annotations

import socket
import sys
import threading
from typing import TYPE_CHECKING

from tests.support.ports import HANG

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from typing_extensions import Self

_ELSEWHERE = """\
import runpy
import sys
from pathlib import Path

from ldapmilter.daemon import syslog

_, place, _python, _m, module, *arguments = sys.argv
syslog.PLACE = Path(place)
sys.argv[1:] = arguments
runpy.run_module(module, run_name="__main__", alter_sys=True)
"""


def with_log_at(place: Path) -> Sequence[str]:
    """Return a command that runs another, which is `python -m ...`, with `place`/log for /dev/log."""
    return [sys.executable, "-c", _ELSEWHERE, str(place / "log")]


class Syslogd:
    """What listens at `place`/log; it leaves its socket behind when it stops, as after a crash."""

    def __init__(self, place: Path) -> None:
        """Nothing listens yet."""
        self._path = place / "log"
        self._lines: list[str] = []
        self._socket: socket.socket | None = None
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        """Start."""
        self.start()
        return self

    def __exit__(self, *exception: object) -> None:
        """Stop."""
        self.stop()

    def start(self) -> None:
        """Listen, in the place of whoever did before."""
        self._path.unlink(missing_ok=True)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(self._path))
        self._path.chmod(0o666)
        self._thread = threading.Thread(target=self._receive, args=(self._socket,), daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Be gone; a no-op when that is so."""
        if self._socket is None or self._thread is None:
            return
        self._socket.shutdown(socket.SHUT_RDWR)
        self._thread.join(HANG)
        self._socket.close()
        self._socket = self._thread = None

    def lines(self, *words: str) -> list[str]:
        """Return the lines so far that hold all of `words`, as they came in."""
        return [line for line in tuple(self._lines) if all(word in line for word in words)]

    def _receive(self, listening: socket.socket) -> None:
        while octets := listening.recv(1 << 20):
            self._lines.append(octets.decode())
