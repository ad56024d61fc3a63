"""The other end of sd_notify(3): the datagram socket that systemd gives a service in `$NOTIFY_SOCKET`."""

from __future__ import annotations

import socket
import time
from typing import TYPE_CHECKING

from tests.support.ports import HANG

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from typing_extensions import Self

Notice = dict[str, str]
"""One datagram: its assignments by name."""


class ServiceManager:
    """Listens to what a service says of itself.

    Attributes:
        heard: everything so far, in order.
    """

    def __init__(self, path: Path) -> None:
        """Bind the socket; `environment` is what the service needs to find it."""
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(path))
        self.environment = {"NOTIFY_SOCKET": str(path)}
        self.heard: list[Notice] = []

    def __enter__(self) -> Self:
        """Return the socket's owner."""
        return self

    def __exit__(self, *exception: object) -> None:
        """Close the socket."""
        self._socket.close()

    def wait_for(self, what: Callable[[Notice], bool], timeout: float = HANG) -> Notice:
        """Return the next notice of a kind; those before it are heard too.

        Raises:
            TimeoutError: it did not come.
        """
        deadline = time.monotonic() + timeout
        while (left := deadline - time.monotonic()) > 0:
            notice = self._receive(left)
            if notice is not None and what(notice):
                return notice
        message = f"no such notice within {timeout:g} s; heard {self.heard[-5:]}"
        raise TimeoutError(message)

    def is_silent(self, what: Callable[[Notice], bool], seconds: float) -> bool:
        """Tell whether no notice of a kind comes in so many seconds."""
        try:
            self.wait_for(what, seconds)
        except TimeoutError:
            return True
        return False

    def pending(self) -> list[Notice]:
        """Return what has come in since the last look, without waiting."""
        found = []
        while (notice := self._receive(0)) is not None:
            found.append(notice)
        return found

    def _receive(self, seconds: float) -> Notice | None:
        self._socket.settimeout(seconds)
        try:
            octets = self._socket.recv(65536)
        except (TimeoutError, BlockingIOError):
            return None
        notice = dict(line.split("=", 1) for line in octets.decode().splitlines())
        self.heard.append(notice)
        return notice
