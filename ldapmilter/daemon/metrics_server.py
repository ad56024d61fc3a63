"""A web server for one page: the metrics (RFC 9112, as much of it as a scrape needs)."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from typing import TYPE_CHECKING

from ldapmilter.daemon.listener import CannotListen

if TYPE_CHECKING:
    from collections.abc import Callable

_CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
"""The text format of Prometheus."""
_SECONDS = 5.0
_MAX_HEADER = 16_384
_CLIENTS = 16


class MetricsServer:
    """Serves a page that is made anew for each request."""

    def __init__(self, page: Callable[[], bytes]) -> None:
        """Serve what a function returns."""
        self._page = page
        self._clients = 0
        self._server: asyncio.Server | None = None

    async def serve(self, host: str, port: int) -> None:
        """Bind and begin to accept.

        Raises:
            CannotListen: the port is taken, or the address is not here.
        """
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        try:
            self._server = await asyncio.start_server(
                self._client, host, port, family=family, limit=_MAX_HEADER, reuse_address=True
            )
        except OSError as error:
            message = f"[metrics] listen = {host}:{port}: {error.strerror or error}"
            raise CannotListen(message) from error

    def close(self) -> None:
        """Accept no more."""
        if self._server is not None:
            self._server.close()

    async def _client(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._clients += 1
        try:
            with contextlib.suppress(OSError, asyncio.TimeoutError, asyncio.IncompleteReadError):
                writer.write(await asyncio.wait_for(self._response(reader), _SECONDS))
                await asyncio.wait_for(writer.drain(), _SECONDS)
        finally:
            self._clients -= 1
            writer.close()

    async def _response(self, reader: asyncio.StreamReader) -> bytes:
        if self._clients > _CLIENTS:
            return _http("503 Service Unavailable", b"too many at a time\n")
        try:
            header = await reader.readuntil(b"\r\n\r\n")
        except asyncio.LimitOverrunError:
            return _http("431 Request Header Fields Too Large", b"too long\n")
        method, _, rest = header.partition(b" ")
        path = rest.partition(b" ")[0].partition(b"?")[0]
        if method not in {b"GET", b"HEAD"}:
            return _http("405 Method Not Allowed", b"only GET\n")
        if path != b"/metrics":
            return _http("404 Not Found", b"there is /metrics\n")
        response = _http("200 OK", self._page())
        return response if method == b"GET" else response[: response.index(b"\r\n\r\n") + 4]


def _http(status: str, body: bytes) -> bytes:
    head = f"HTTP/1.1 {status}\r\nContent-Type: {_CONTENT_TYPE}\r\nContent-Length: {len(body)}\r\nConnection: close"
    return f"{head}\r\n\r\n".encode("ascii") + body
