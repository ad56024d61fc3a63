"""Asking a daemon that lives, hangs, or is gone: what is said of it."""

from __future__ import annotations

import os
import socket
import threading
from typing import TYPE_CHECKING

import pytest

from ldapmilter.config import parse
from ldapmilter.daemon import control_client
from ldapmilter.daemon.channel import encode
from ldapmilter.daemon.control_client import ask
from ldapmilter.errors import DaemonUnreachable

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from ldapmilter.config import Config


@pytest.fixture
def config(tmp_path: Path) -> Config:
    text = f"[ldap]\nuri = ldap://127.0.0.1:9\n[control]\nsocket = {tmp_path}/control.sock\n"
    return parse(text, tmp_path / "config.ini")


@pytest.fixture
def listening(config: Config, monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    monkeypatch.setattr(control_client, "_HEARD_SECONDS", 0.2)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as found:
        found.bind(str(config.control))
        found.listen(1)
        yield found


def test_a_daemon_that_hangs_is_named(config: Config, listening: socket.socket) -> None:
    assert listening
    with pytest.raises(DaemonUnreachable, match=f"process {os.getpid()} hangs or is very busy; restart it"):
        ask(config, {"verb": "status"})


def test_a_daemon_with_a_long_queue_is_said_to_hang(config: Config, listening: socket.socket) -> None:
    waiting = [socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) for _ in range(8)]
    for one in waiting:
        one.settimeout(0)
        one.connect_ex(str(config.control))
    with pytest.raises(DaemonUnreachable, match="many others wait for an answer; does it hang"):
        ask(config, {"verb": "status"})
    for one in waiting:
        one.close()
    assert listening


def test_once_it_has_heard_it_may_take_its_time(
    config: Config, listening: socket.socket, monkeypatch: pytest.MonkeyPatch
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
    assert ask(config, {"verb": "status"}) == {"fine": True}
    serving.join(20)
    assert limits == [20.0, 30.0 + config.ldap.lookup_deadline]


def test_a_daemon_that_ends_meanwhile(
    config: Config, listening: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    def serve() -> None:
        listening.accept()[0].close()

    serving = threading.Thread(target=serve, daemon=True)
    serving.start()
    monkeypatch.setattr(control_client, "_CREDENTIALS", _Nobody())
    with pytest.raises(DaemonUnreachable, match="has not answered; does it still run"):
        ask(config, {"verb": "status"})
    serving.join(20)


class _Nobody:
    """The credentials of a process that is gone."""

    size = 12

    def unpack(self, _octets: bytes) -> tuple[int, int, int]:
        return 0, 0, 0
