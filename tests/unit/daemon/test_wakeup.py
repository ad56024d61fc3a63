"""A connection that wakes a thread up says nothing, and never waits."""

from __future__ import annotations

import select
import socket
from typing import TYPE_CHECKING

import pytest

from ldapmilter.config import MilterSettings
from ldapmilter.daemon.listener import listen
from ldapmilter.daemon.wakeup import wake_up_threads
from ldapmilter.socket_address import parse_socket
from tests.support.ports import HANG, free_port

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("kind", ["unix", "inet", "everywhere", "inet6"])
def test_as_many_connections_as_asked_for_that_end_at_once(kind: str, tmp_path: Path) -> None:
    port = free_port()
    places = {
        "unix": f"unix:{tmp_path}/s",
        "inet": f"inet:127.0.0.1:{port}",
        "everywhere": f"inet:*:{port}",
        "inet6": f"inet:[::1]:{port}",
    }
    settings = MilterSettings(socket=parse_socket(places[kind]), socket_mode=0o600, socket_group="", workers=1)
    listener = listen(settings)
    wake_up_threads(listener, 3)
    for _ in range(3):
        assert select.select([listener.socket], [], [], HANG)[0]
        connection, _ = listener.socket.accept()
        with connection:
            connection.settimeout(HANG)
            assert connection.recv(1) == b""
    with pytest.raises(BlockingIOError):
        listener.socket.accept()
    listener.close()


def test_nobody_there_and_no_room_are_no_matter(tmp_path: Path) -> None:
    path = tmp_path / "s"
    settings = MilterSettings(socket=parse_socket(f"unix:{path}"), socket_mode=0o600, socket_group="", workers=1)
    listener = listen(settings)
    listener.socket.listen(1)
    wake_up_threads(listener, 20)
    path.unlink()
    wake_up_threads(listener, 1)
    with socket.socket(socket.AF_UNIX) as probe, pytest.raises(OSError, match="No such file"):
        probe.connect(str(path))
    listener.close()
