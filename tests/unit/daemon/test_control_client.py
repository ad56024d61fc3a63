"""Asking a daemon that lives, hangs, or is gone: what is said of it."""

from __future__ import annotations

import os
import socket
import threading
from typing import TYPE_CHECKING

import pytest

from ldapmilter.daemon import control_client
from ldapmilter.daemon.channel import encode
from ldapmilter.daemon.control_client import ask
from ldapmilter.errors import DaemonUnreachable
from tests.support.ports import HANG

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "control.sock")


@pytest.fixture
def listening(path: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    monkeypatch.setattr(control_client, "_HEARD_SECONDS", 0.2)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as found:
        found.bind(path)
        found.listen(1)
        yield found


def test_a_daemon_that_hangs_is_named(path: str, listening: socket.socket) -> None:
    assert listening
    with pytest.raises(DaemonUnreachable, match=f"process {os.getpid()} hangs or is very busy; restart it"):
        ask(path, {"verb": "status"})


def test_a_daemon_with_a_long_queue_is_said_to_hang(path: str, listening: socket.socket) -> None:
    waiting = [socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) for _ in range(8)]
    for one in waiting:
        one.settimeout(0)
        one.connect_ex(path)
    with pytest.raises(DaemonUnreachable, match="many others wait for an answer; does it hang"):
        ask(path, {"verb": "status"})
    for one in waiting:
        one.close()
    assert listening


def test_once_it_has_heard_it_may_take_its_time(
    path: str, listening: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(control_client, "_HEARD_SECONDS", 20.0)
    limits: list[float | None] = []
    set_limit = socket.socket.settimeout

    def noted(self: socket.socket, seconds: float | None) -> None:
        limits.append(seconds)
        set_limit(self, seconds)

    def serve() -> None:
        connection, _ = listening.accept()
        with connection:
            assert b'"acknowledge":true' in connection.recv(4096)
            connection.sendall(encode({"heard": 1}) + encode({"fine": True}))

    serving = threading.Thread(target=serve, daemon=True)
    serving.start()
    monkeypatch.setattr(socket.socket, "settimeout", noted)
    assert ask(path, {"verb": "status"}, takes=7.0) == {"fine": True}
    serving.join(HANG)
    assert limits == [20.0, 37.0]


def test_a_daemon_that_ends_meanwhile(path: str, listening: socket.socket, monkeypatch: pytest.MonkeyPatch) -> None:
    def serve() -> None:
        listening.accept()[0].close()

    serving = threading.Thread(target=serve, daemon=True)
    serving.start()
    monkeypatch.setattr(control_client, "peer_of", lambda _connected: (0, 0, 0))  # of a process that is gone
    with pytest.raises(DaemonUnreachable, match="has not answered; does it still run"):
        ask(path, {"verb": "status"})
    serving.join(HANG)
