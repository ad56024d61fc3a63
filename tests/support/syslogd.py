"""A syslog daemon that keeps what it is told, where the daemon under test looks for one.

There is one /dev/log on a machine and it is not ours. So the daemon gets a /dev of its own in a private
mount namespace (mount_namespaces(7)), in which /dev/log leads to a socket of the test's, as it leads
to the journal's under systemd.
"""

from __future__ import annotations

import socket
import subprocess
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from typing_extensions import Self

_OWN_DEV = """\
set -e
place=$1
shift
mkdir -p "$place/dev"
mount --rbind /dev "$place/dev"
mount -t tmpfs -o mode=755 tmpfs /dev
for device in null zero full random urandom tty; do
    touch "/dev/$device"
    mount --bind "$place/dev/$device" "/dev/$device"
done
mkdir -m 1777 /dev/shm
ln -s /proc/self/fd /dev/fd
ln -s "$place/log" /dev/log
exec "$@"
"""


def under_own_dev(place: Path) -> Sequence[str]:
    """Return a command that runs another with a /dev/log that leads to `place`/log."""
    return ["unshare", "--mount", "sh", "-c", _OWN_DEV, "sh", str(place)]


def can_have_own_dev() -> bool:
    """Tell whether this process may make a mount namespace."""
    try:
        return subprocess.run(["unshare", "--mount", "true"], check=False, capture_output=True).returncode == 0
    except OSError:
        return False


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
        self._thread.join(20)
        self._socket.close()
        self._socket = self._thread = None

    def lines(self, *words: str) -> list[str]:
        """Return the lines so far that hold all of `words`, as they came in."""
        return [line for line in tuple(self._lines) if all(word in line for word in words)]

    def _receive(self, listening: socket.socket) -> None:
        while octets := listening.recv(1 << 20):
            self._lines.append(octets.decode())
