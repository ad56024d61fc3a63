"""The control socket: who may ask, and what becomes of requests that are none."""

from __future__ import annotations

import asyncio
import os
import pwd
import socket
import struct
from typing import TYPE_CHECKING, Any

import pytest

from ldapmilter.daemon import control
from ldapmilter.daemon.channel import MAX_REQUEST, Message, RequestRefused, decode, encode
from ldapmilter.daemon.control import ControlServer
from ldapmilter.daemon.listener import listen_unix
from tests.support.ports import HANG

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

NOBODY = pwd.getpwnam("nobody")


class Peer:
    """A connection whose other end is a process of some user."""

    def __init__(self, uid: int, gid: int) -> None:
        self.octets = struct.pack("3i", 4711, uid, gid)

    def getsockopt(self, *_arguments: int) -> bytes:
        return self.octets


def check(uid: int, gid: int) -> None:
    control._check_peer(Peer(uid, gid))  # type: ignore[arg-type]


@pytest.fixture
def daemons_group(monkeypatch: pytest.MonkeyPatch) -> int:
    """Let the daemon run as user and group 4242, which no account has."""
    monkeypatch.setattr(os, "geteuid", lambda: 4242)
    monkeypatch.setattr(os, "getegid", lambda: 4242)
    return 4242


def test_root_the_daemons_user_and_its_group_may_ask(daemons_group: int) -> None:
    check(0, 0)
    check(daemons_group, NOBODY.pw_gid)
    check(NOBODY.pw_uid, daemons_group)


def test_a_member_by_the_group_file_may_ask(daemons_group: int, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, int]] = []

    def groups(user: str, group: int) -> list[int]:
        asked.append((user, group))
        return [group, daemons_group]

    monkeypatch.setattr(os, "getgrouplist", groups)
    check(NOBODY.pw_uid, NOBODY.pw_gid)
    assert asked == [("nobody", NOBODY.pw_gid)]


def test_anybody_else_may_not_and_is_told_who_may(daemons_group: int) -> None:
    with pytest.raises(RequestRefused, match=f"user nobody may not ask.*group {daemons_group}"):
        check(NOBODY.pw_uid, NOBODY.pw_gid)


def test_a_user_without_a_name_may_not(daemons_group: int) -> None:
    with pytest.raises(RequestRefused, match="user 54321 may not ask"):
        check(54321, 54321)
    assert daemons_group


@pytest.mark.parametrize("claimed", [True, False, "x"])
@pytest.mark.parametrize(("uid", "reads"), [(0, True), (4242, True), (NOBODY.pw_uid, False)])
def test_who_may_read_the_audit_is_told_by_the_kernel_and_not_by_the_request(
    daemons_group: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, uid: int, reads: bool, claimed: object
) -> None:
    peer = Peer(uid, daemons_group)
    check_peer = control._check_peer
    monkeypatch.setattr(control, "_check_peer", lambda _: check_peer(peer))  # type: ignore[arg-type]
    request: Message = {"verb": "trace", "reads_audit": claimed}
    answer = served(tmp_path, lambda path: said(path, encode(request)), lambda asked: asked)
    assert answer == {"verb": "trace", "reads_audit": reads}


# -- requests -------------------------------------------------------------------------------


def echo(request: Message) -> Message:
    """Return what a client has said of itself."""
    return {name: value for name, value in request.items() if name != "reads_audit"}


def served(folder: Path, talk: Callable[[Path], Awaitable[Any]], answer: Callable[[Message], Message]) -> Any:
    """Let a coroutine talk to a control socket that answers so."""

    async def work() -> Any:
        async def answering(request: Message) -> Message:
            return answer(request)

        path = folder / "control.sock"
        server = ControlServer(answering, listen_unix(path, 0o660))
        await server.serve()
        try:
            return await asyncio.wait_for(talk(path), HANG)
        finally:
            server.close()

    return asyncio.run(work())


async def said(path: Path, octets: bytes, *, to_the_end: bool = False) -> Message:
    reader, writer = await asyncio.open_unix_connection(str(path))
    writer.write(octets)
    if to_the_end:
        writer.write_eof()
    line = await reader.readline()
    writer.close()
    return decode(line)


def test_whoever_wants_to_know_is_told_at_once_that_the_request_was_heard(tmp_path: Path) -> None:
    async def talk(path: Path) -> list[Message]:
        reader, writer = await asyncio.open_unix_connection(str(path))
        writer.write(encode({"verb": "status", "acknowledge": True}))
        lines = [decode(await reader.readline()) for _ in range(2)]
        writer.close()
        return lines

    assert served(tmp_path, talk, echo) == [{"heard": os.getpid()}, {"verb": "status"}]


@pytest.mark.parametrize("octets", [b"\n", b"garbage\n", b"GET / HTTP/1.1\r\n\r\n", b"[1,2]\n", b"\xff\0\xff\n"])
def test_garbage_gets_an_error(tmp_path: Path, octets: bytes) -> None:
    answer = served(tmp_path, lambda path: said(path, octets), echo)
    assert "JSON" in answer["error"]


def test_a_request_that_ends_early_gets_an_error(tmp_path: Path) -> None:
    answer = served(tmp_path, lambda path: said(path, b'{"verb', to_the_end=True), echo)
    assert "JSON" in answer["error"]


def test_a_request_as_large_as_allowed_is_answered_and_a_larger_one_refused(tmp_path: Path) -> None:
    frame = len(encode({"verb": ""}))
    fits = encode({"verb": "x" * (MAX_REQUEST - frame)})
    assert len(fits) == MAX_REQUEST
    answer = served(tmp_path, lambda path: said(path, fits), lambda request: {"length": len(request["verb"])})
    assert answer == {"length": MAX_REQUEST - frame}
    too_large = encode({"verb": "x" * (MAX_REQUEST + 1)})
    answer = served(tmp_path, lambda path: said(path, too_large), echo)
    assert str(MAX_REQUEST) in answer["error"]


def test_others_are_served_beside_a_slow_client_which_is_sent_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def talk(path: Path) -> Message:
        _, slow = await asyncio.open_unix_connection(str(path))
        slow.write(b'{"verb":')
        quick = await said(path, b'{"verb":"status"}\n')
        slow.close()
        return quick

    monkeypatch.setattr(control, "_READ_SECONDS", HANG)
    assert served(tmp_path, talk, echo) == {"verb": "status"}
    monkeypatch.setattr(control, "_READ_SECONDS", 0.05)
    slow = served(tmp_path, lambda path: said(path, b'{"verb":'), echo)
    assert "no whole request within 0.05 s" in slow["error"]


def test_too_many_at_a_time_are_refused_and_leave_no_trace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(control, "_CLIENTS", 3)

    async def talk(path: Path) -> tuple[Message, Message]:
        waiting = [await asyncio.open_unix_connection(str(path)) for _ in range(3)]
        refused = await said(path, b'{"verb":"status"}\n')
        for reader, writer in waiting:
            writer.write(b"{}\n")
            await reader.readline()
            writer.close()
        await asyncio.sleep(0)
        return refused, await said(path, b'{"verb":"status"}\n')

    refused, later = served(tmp_path, talk, echo)
    assert "more than 3 requests" in refused["error"]
    assert later == {"verb": "status"}


def test_a_client_that_does_not_read_gives_its_place_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(control, "_WRITE_SECONDS", 0.2)
    monkeypatch.setattr(control, "_CLIENTS", 1)

    async def talk(path: Path) -> Message:
        deaf = socket.socket(socket.AF_UNIX)
        deaf.connect(str(path))
        deaf.sendall(b'{"verb":"all"}\n')
        answer: Message = {"error": "not asked yet"}
        while "error" in answer:
            await asyncio.sleep(0.05)
            answer = await said(path, b'{"verb":"status"}\n')
        deaf.close()
        return answer

    answer = served(tmp_path, talk, lambda request: {"text": "x" * (20_000_000 if request["verb"] == "all" else 1)})
    assert answer == {"text": "x"}


def test_an_unexpected_error_is_an_answer_too(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    def fails(_request: Message) -> Message:
        text = "broken inside"
        raise ValueError(text)

    answer = served(tmp_path, lambda path: said(path, b"{}\n"), fails)
    assert answer == {"error": "unexpected ValueError: broken inside"}
    assert "broken inside" in caplog.text
