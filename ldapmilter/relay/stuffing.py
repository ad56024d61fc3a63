"""Octets of a message on the wire: the dot that a line may not begin with (RFC 5321, 4.5.2). Pure.

Both directions take the octets in pieces that are cut anywhere. Nothing else changes: lines may be of any length,
octets are any, and only CR LF ends a line.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_CRLF: Final = b"\r\n"
_END: Final = b"\r\n.\r\n"


class Unstuffer:
    """Takes what comes after DATA, up to the final dot."""

    def __init__(self) -> None:
        """Begin at the start of a message."""
        self._held = _CRLF  # the end of the line before the first: a dot may stand there, too
        self._virtual = len(_CRLF)

    def feed(self, octets: bytes) -> tuple[bytes, bytes | None]:
        """Take the next octets.

        Returns:
            octets of the message; and once the final dot has come, what followed it, else ``None``.
        """
        octets = self._held + octets
        end = octets.find(_END)
        if end >= 0:
            self._held = b""
            return self._plain(octets[: end + len(_CRLF)]), octets[end + len(_END) :]
        cut = self._sure(octets)
        self._held = octets[cut:]
        return self._plain(octets[:cut]), None

    @staticmethod
    def _sure(octets: bytes) -> int:
        """Return up to where the octets mean the same whatever follows: their end may be that of the message."""
        for length in range(min(len(_END) - 1, len(octets)), 0, -1):
            if octets.endswith(_END[:length]):
                return len(octets) - length
        return len(octets)

    def _plain(self, octets: bytes) -> bytes:
        octets = octets.replace(b"\r\n.", _CRLF)
        cut, self._virtual = min(self._virtual, len(octets)), max(0, self._virtual - len(octets))
        return octets[cut:]


def stuffed(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Yield a message as it goes out after DATA, with the final dot; a last line without an end gets one."""
    held = _CRLF  # it is only looked at: the line before the first ends there
    before = len(held)
    for chunk in filter(None, chunks):
        octets = (held + chunk).replace(b"\r\n.", b"\r\n..")
        held = _CRLF if octets.endswith(_CRLF) else b"\r" if octets.endswith(b"\r") else b""
        out = octets[before : len(octets) - len(held)]
        before = 0
        if out:
            yield out
    ended = held == _CRLF
    yield held[before:] + (b"" if ended else _CRLF) + b".\r\n"
