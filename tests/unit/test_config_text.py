"""config.ini as text: what can be asked of it while it has mistakes."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from ldapmilter.config_text import DEFAULT_CONTROL, control_socket, digest, read, read_anyhow, unix_path
from ldapmilter.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("text", "socket"),
    [
        ("", DEFAULT_CONTROL),
        ("[control]\nsocket = /a/b ; here\n", "/a/b"),
        ("[Control ]\nSocket: /a\n", "/a"),
        ("[control]\nsocket =\n", ""),
        # What cannot be a configuration all the same tells its socket.
        ("socket = /x\n[control]\nsocket = /a\n", "/a"),
        ("[ldap\n[control]\nsocket = /a\n[milter]\nsocket\n", "/a"),
        ("[ldap]\nuri ldap://x\n[control]\nsocket = /a\n", "/a"),
        ("[policy]\nmode = aply\n[control]\nsocket = /a\n", "/a"),
        ("[ldpa]\n[control]\nsocket = /a\n[control]\n[ldpa]\n", "/a"),
        ("[control]\nsocket = /a\nsocket = /b\n", "/b"),
        ("[control]\nsokcet = /a\n", DEFAULT_CONTROL),
        ("nothing of the kind\n", DEFAULT_CONTROL),
    ],
)
def test_the_control_socket_whatever_else_is_wrong(text: str, socket: str) -> None:
    assert control_socket(text) == socket


@pytest.mark.parametrize("value", ["run/x", "unix:x", "/", "/a/", "inet:127.0.0.1:1", "/" + "a" * 107])
def test_no_path_of_a_socket(value: str) -> None:
    with pytest.raises(ValueError, match="the absolute path of a unix socket"):
        unix_path(value)


@pytest.mark.parametrize(
    ("value", "path"), [("/a", "/a"), ("unix:/a", "/a"), ("", ""), ("/" + "a" * 106, "/" + "a" * 106)]
)
def test_a_path_of_a_socket(value: str, path: str) -> None:
    assert unix_path(value) == path


def test_only_a_regular_file_is_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    for name in ("fifo", "."):
        with pytest.raises(ConfigError, match=r"is not a regular file|it is a directory"):
            read(tmp_path / name)


@pytest.mark.parametrize("bad", [b"caf\xe9", b"\0", b"\xff\xfe"])
def test_the_control_socket_of_what_is_no_text(tmp_path: Path, bad: bytes) -> None:
    file = tmp_path / "config.ini"
    file.write_bytes(b"\xef\xbb\xbf[control]\r\nsocket = /a\r\n[ldap]\r\n# " + bad + b"\r\n")
    text, problem = read_anyhow(file)
    assert control_socket(text) == "/a"
    assert problem is not None
    assert problem.startswith(f"{file}: line 4: octet ")
    assert digest(text) != digest("")
    with pytest.raises(ConfigError, match="line 4: octet "):
        read(file)


def test_a_digest_tells_texts_apart() -> None:
    assert digest("a") == digest("a") != digest("b")
