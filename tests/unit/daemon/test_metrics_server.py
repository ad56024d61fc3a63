"""The metrics port against peers that are no Prometheus."""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING, Any

import pytest

from ldapmilter.daemon import metrics_server
from ldapmilter.daemon.listener import CannotListen
from ldapmilter.daemon.metrics_server import MetricsServer
from tests.support.ports import HANG, LOOPBACK, free_port

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

PAGE = b"metric 1\n"
GET = b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n"


def served(talk: Callable[[int], Awaitable[Any]]) -> Any:
    """Let a coroutine talk to a metrics port."""

    async def work() -> Any:
        server, port = MetricsServer(lambda: PAGE), free_port()
        await server.serve(LOOPBACK, port)
        try:
            return await asyncio.wait_for(talk(port), HANG)
        finally:
            server.close()

    return asyncio.run(work())


async def said(port: int, octets: bytes) -> bytes:
    """Send something; return all that comes back until the end, which may be a reset."""
    reader, writer = await asyncio.open_connection(LOOPBACK, port)
    writer.write(octets)
    try:
        return await reader.read()
    except ConnectionResetError:
        return b""
    finally:
        writer.close()


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (GET, b"200"),
        (b"GET /metrics?x=1 HTTP/1.0\r\n\r\n", b"200"),
        (b"GET / HTTP/1.1\r\n\r\n", b"404"),
        (b"GET /metrics/../etc/passwd HTTP/1.1\r\n\r\n", b"404"),
        (b"POST /metrics HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc", b"405"),
        (b"\x16\x03\x01\x02\x00\x01\r\n\r\n", b"405"),
        (b"\r\n\r\n", b"405"),
    ],
)
def test_what_is_asked_for_is_what_is_answered(request_: bytes, status: bytes) -> None:
    answer: bytes = served(lambda port: said(port, request_))
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.split(b" ")[:2] == [b"HTTP/1.1", status]
    assert f"Content-Length: {len(body)}".encode() in head
    assert b"Connection: close" in head
    assert (body == PAGE) == (status == b"200")


def test_head_gets_the_head_alone() -> None:
    answer: bytes = served(lambda port: said(port, GET.replace(b"GET", b"HEAD")))
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert f"Content-Length: {len(PAGE)}".encode() in answer
    assert answer.endswith(b"\r\n\r\n")


def test_a_header_without_end_is_refused() -> None:
    async def talk(port: int) -> bytes:
        reader, writer = await asyncio.open_connection(LOOPBACK, port)
        writer.write(b"GET /metrics HTTP/1.1\r\nX: " + b"x" * (metrics_server._MAX_HEADER + 1))
        line = await reader.readline()
        writer.close()
        return line

    assert served(talk).startswith(b"HTTP/1.1 431 ")


def test_others_are_served_beside_a_slow_peer_which_is_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    async def talk(port: int) -> bytes:
        _, slow = await asyncio.open_connection(LOOPBACK, port)
        slow.write(b"GET /metr")
        quick = await said(port, GET)
        slow.close()
        return quick

    monkeypatch.setattr(metrics_server, "_SECONDS", HANG)
    assert served(talk).endswith(PAGE)
    monkeypatch.setattr(metrics_server, "_SECONDS", 0.05)
    assert served(lambda port: said(port, b"GET /metr")) == b""


def test_many_peers_at_a_time_are_refused_and_leave_no_trace(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics_server, "_CLIENTS", 3)

    async def talk(port: int) -> tuple[bytes, bytes]:
        waiting = [await asyncio.open_connection(LOOPBACK, port) for _ in range(3)]
        refused = await said(port, GET)
        for reader, writer in waiting:
            writer.write(GET)
            assert (await reader.read()).endswith(PAGE)
            writer.close()
        return refused, await said(port, GET)

    refused, later = served(talk)
    assert refused.startswith(b"HTTP/1.1 503 ") or not refused  # closed with its request unread: a reset may be first
    assert later.endswith(PAGE)


def test_a_peer_that_resets_hurts_nobody(caplog: pytest.LogCaptureFixture) -> None:
    async def talk(port: int) -> bytes:
        for _ in range(5):
            with socket.create_connection((LOOPBACK, port)) as peer:
                peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
                peer.sendall(GET)
        return await said(port, GET)

    assert served(talk).endswith(PAGE)
    assert caplog.text == ""


def test_a_port_that_is_taken() -> None:
    with socket.create_server((LOOPBACK, 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(CannotListen, match=rf"\[metrics\] listen = {LOOPBACK}:{port}"):
            asyncio.run(MetricsServer(lambda: PAGE).serve(LOOPBACK, port))
