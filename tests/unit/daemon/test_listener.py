"""The listening socket.

libmilter keeps its socket for the life of a process, so each test binds in a process of its own.
"""

from __future__ import annotations

import grp
import json
import os
import signal
import socket
import stat
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from msgspec import structs

from ldapmilter.config import MilterSettings
from ldapmilter.daemon.listener import CannotListen, listen, listen_unix
from ldapmilter.socket_address import parse_socket
from tests.support.ports import HANG, free_port

if TYPE_CHECKING:
    from collections.abc import Iterator

_BIND = r"""
import json, os, socket, stat, sys
from ldapmilter.config import MilterSettings
from ldapmilter.daemon import listener
from ldapmilter.socket_address import parse_socket

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
    told["found"] = [bound.has_its_name()]
    try:
        listener.listen(settings)
    except listener.CannotListen as error:
        told["again"] = str(error)
    os.unlink(path)
    told["found"].append(bound.has_its_name())
    again = listener.listen(settings)
    told["found"] += [bound.has_its_name(), again.has_its_name()]
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
        timeout=HANG,
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


def test_another_group(path: Path) -> None:
    """Root may give the socket to any group, others to those that they are in."""
    others = {grp.getgrnam("daemon").gr_gid} if os.geteuid() == 0 else {*os.getgroups()} - {os.getgid()}
    group = grp.getgrgid(min(others or {os.getgid()}))
    assert bind(f"unix:{path}", group=group.gr_name)["group"] == group.gr_gid


def test_a_group_that_we_may_not_give_it_to(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "chown", refuse)
    with pytest.raises(CannotListen, match=r"Operation not permitted; \[milter\] socket_group has to be a group that"):
        listen_unix(path, 0o600, 1)
    assert list(path.parent.iterdir()) == []


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


def test_what_a_killed_process_left_is_removed(path: Path) -> None:
    """It was killed between binding and renaming; nobody else's names are touched."""
    ended = subprocess.Popen(["true"])
    ended.wait(timeout=HANG)
    left = path.with_name(f".s.{ended.pid}")
    kept = [path.with_name(name) for name in (f".s.{os.getpid()}", f".t.{ended.pid}", f".s.{ended.pid}.old", ".s.x")]
    for name in (left, *kept):
        with socket.socket(socket.AF_UNIX) as bound:
            bound.bind(str(name))
    a_file = path.with_name(f".s.0{ended.pid}")
    a_file.touch()
    assert bind(f"unix:{path}")["names"] == sorted(["s", a_file.name, *(name.name for name in kept)])


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


def test_a_name_that_is_removed_can_be_bound_anew(path: Path) -> None:
    told = bind(f"unix:{path}", then="again")
    assert "another process is listening there (pid " in told["again"]  # it is itself, and lives
    assert told["found"] == [True, False, False, True]
    assert told["connect"] == 0
    assert told["left"] is True  # closing the one of before removes nothing of the new one's
    assert told["names"] == ["s"]


_ORPHAN = r"""
import os, socket, sys, time
listening = socket.socket(socket.AF_UNIX)
listening.bind(sys.argv[1])
listening.listen(8)
if os.fork():
    os._exit(0)
os.write(1, b"%d" % os.getpid())
os.close(1)
time.sleep(600)
"""


def test_a_socket_that_only_orphans_have_gives_way(path: Path) -> None:
    """A worker that hangs, and whose parent was killed, would keep its successors out."""
    done = subprocess.run([sys.executable, "-c", _ORPHAN, str(path)], check=True, stdout=subprocess.PIPE, timeout=60)
    orphan = int(done.stdout)
    try:
        with socket.socket(socket.AF_UNIX) as probe:
            probe.connect(str(path))  # it can be connected to
        assert bind(f"unix:{path}")["names"] == ["s"]
    finally:
        os.kill(orphan, signal.SIGKILL)


@pytest.mark.parametrize("mode", ["0600", "0666"])
def test_mode_and_group_can_be_changed(path: Path, mode: str) -> None:
    settings = MilterSettings(socket=parse_socket(f"unix:{path}"), socket_mode=0o660, socket_group="", workers=1)
    bound = listen(settings)
    bound.permit(structs.replace(settings, socket_mode=int(mode, 8)))
    assert stat.S_IMODE(path.stat().st_mode) == int(mode, 8)
    with pytest.raises(CannotListen, match="nosuchgroup"):
        bound.permit(structs.replace(settings, socket_group="nosuchgroup"))
    path.unlink()
    path.touch(mode=0o644)
    bound.permit(structs.replace(settings, socket_mode=0o600))  # somebody else's now
    assert stat.S_IMODE(path.stat().st_mode) == 0o644
    bound.close()


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


def test_a_port_that_is_taken_names_the_command_that_says_by_whom() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        address = parse_socket(f"inet:127.0.0.1:{port}")
        settings = MilterSettings(socket=address, socket_mode=0o660, socket_group="", workers=1)
        with pytest.raises(CannotListen, match=f"Address already in use; ss -ltnp 'sport = :{port}' says who"):
            listen(settings)
