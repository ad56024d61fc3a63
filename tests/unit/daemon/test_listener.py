"""The listening socket.

libmilter keeps its socket for the life of a process, so each test binds in a process of its own.
"""

from __future__ import annotations

import json
import os
import socket
import stat
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.ports import free_port

if TYPE_CHECKING:
    from collections.abc import Iterator

_BIND = r"""
import json, os, socket, stat, sys
from ldapmilter.config import MilterSettings
from ldapmilter.daemon import listener
from ldapmilter.milter.socket_address import parse_socket

address, mode, group, then = sys.argv[1:5]
os.umask(0)
settings = MilterSettings(socket=parse_socket(address), socket_mode=int(mode, 8), socket_group=group, workers=1)
try:
    bound = listener.listen(settings)
except listener.CannotListen as error:
    print(json.dumps({"refused": str(error)}))
    sys.exit(0)
told = {"blocking": os.get_blocking(bound.fileno()), "umask": os.umask(0)}
if not address.startswith("unix:"):
    told["nodelay"] = bound.socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
    told["name"] = list(bound.socket.getsockname())
else:
    path = address[len("unix:"):]
    status = os.stat(path)
    told["mode"] = stat.S_IMODE(status.st_mode)
    told["group"] = status.st_gid
    told["names"] = sorted(os.listdir(os.path.dirname(path)))
if then == "replaced":
    os.rename(path, path + ".old")
    other = socket.socket(socket.AF_UNIX)
    other.bind(path)
    bound.close()
    told["left"] = os.path.exists(path)
elif then == "remove":
    bound.close()
    bound.close()
    told["left"] = os.path.exists(path)
elif then == "again":
    again = listener.listen(settings, replacing=bound)
    with socket.socket(socket.AF_UNIX) as probe:
        told["connect"] = probe.connect_ex(path)
    bound.close()
    told["left"] = os.path.exists(path)
    told["names"] = sorted(os.listdir(os.path.dirname(path)))
print(json.dumps(told), flush=True)
os._exit(0)
"""


def bind(address: str, *, mode: str = "0660", group: str = "", then: str = "") -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-c", _BIND, address, mode, group, then],
        check=False,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert done.returncode == 0, done.stderr
    told: dict[str, Any] = json.loads(done.stdout)
    return told


@pytest.fixture
def path() -> Iterator[Path]:
    """Return a path for a socket in an empty directory; the kernel allows few characters."""
    with tempfile.TemporaryDirectory(prefix="listen-") as folder:
        yield Path(folder) / "s"


@pytest.mark.parametrize("mode", ["0600", "0660", "0666"])
def test_mode_and_group_are_there_from_the_first_moment(path: Path, mode: str) -> None:
    told = bind(f"unix:{path}", mode=mode)
    assert told["mode"] == int(mode, 8)
    assert told["group"] == os.getgid()
    assert told["names"] == ["s"]  # no temporary name is left behind
    assert told["blocking"] is False
    assert told["umask"] == 0  # as it was


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives a file to any group")
def test_another_group(path: Path) -> None:
    assert bind(f"unix:{path}", group="daemon")["group"] == 1


def test_a_group_that_does_not_exist(path: Path) -> None:
    refused = bind(f"unix:{path}", group="nosuchgroup")["refused"]
    assert "nosuchgroup" in refused
    assert "socket_group" in refused
    assert list(path.parent.iterdir()) == []


def test_a_stale_socket_gives_way(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    assert stat.S_ISSOCK(path.stat().st_mode)
    assert bind(f"unix:{path}")["names"] == ["s"]


def test_a_living_socket_does_not(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(path))
        other.listen(1)
        inode = path.stat().st_ino
        refused = bind(f"unix:{path}")["refused"]
        assert str(path) in refused
        assert path.stat().st_ino == inode


def test_a_busy_socket_does_not_either(path: Path) -> None:
    """Its backlog is full: it lives all the same."""
    with (
        socket.socket(socket.AF_UNIX) as other,
        socket.socket(socket.AF_UNIX) as first,
        socket.socket(socket.AF_UNIX) as second,
    ):
        other.bind(str(path))
        other.listen(0)
        for waiting in (first, second):
            waiting.settimeout(0)
            waiting.connect_ex(str(path))
        assert "refused" in bind(f"unix:{path}")


@pytest.mark.parametrize("kind", ["file", "directory", "link", "dangling link", "fifo"])
def test_what_is_no_socket_stays(path: Path, kind: str) -> None:
    target = path.parent / "target"
    if kind == "file":
        path.write_text("precious", encoding="ascii")
    elif kind == "directory":
        path.mkdir()
    elif kind == "fifo":
        os.mkfifo(path)
    else:
        if kind == "link":
            target.write_text("precious", encoding="ascii")
        path.symlink_to(target)
    before = path.lstat()
    refused = bind(f"unix:{path}")["refused"]
    assert str(path) in refused
    assert path.lstat().st_ino == before.st_ino
    assert path.lstat().st_mode == before.st_mode


def test_a_missing_directory(path: Path) -> None:
    refused = bind(f"unix:{path}/missing/s")["refused"]
    assert f"{path}/missing" in refused


def test_the_path_is_removed_once_and_only_if_it_is_ours(path: Path) -> None:
    assert bind(f"unix:{path}", then="remove")["left"] is False
    assert bind(f"unix:{path}", then="replaced")["left"] is True


def test_taking_over_from_itself_leaves_no_moment_without_a_socket(path: Path) -> None:
    told = bind(f"unix:{path}", then="again")
    assert told["connect"] == 0
    assert told["left"] is True  # closing the one of before removes nothing of the new one's
    assert told["names"] == ["s"]


def test_tcp_without_the_stall() -> None:
    port = free_port()
    told = bind(f"inet:127.0.0.1:{port}")
    assert told["nodelay"] == 1
    assert told["name"] == ["127.0.0.1", port]
    assert told["blocking"] is False


def test_a_tcp_port_in_the_order_of_libmilter() -> None:
    port = free_port()
    assert bind(f"inet:{port}@127.0.0.1")["name"] == ["127.0.0.1", port]


def test_a_tcp_port_that_is_taken() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        refused = bind(f"inet:127.0.0.1:{port}")["refused"]
    assert f"127.0.0.1:{port}" in refused


@pytest.mark.parametrize("host", ["192.0.2.1", "no-such-host.invalid"])
def test_an_address_that_is_not_this_machines(host: str) -> None:
    assert host in bind(f"inet:{host}:{free_port()}")["refused"]


def test_a_port_is_free_again_at_once() -> None:
    port = free_port()
    for _ in range(2):
        assert bind(f"inet:127.0.0.1:{port}")["name"] == ["127.0.0.1", port]
        with socket.socket() as probe:
            probe.connect_ex(("127.0.0.1", port))
