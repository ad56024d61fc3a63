"""A journal report: an envelope journal as Exchange writes it, around the message as it is.

It is made anew for every attempt, from what is stored with the copy: a repeat differs in the seal, if at all.
"""

from __future__ import annotations

from datetime import datetime
from email.utils import format_datetime
from typing import TYPE_CHECKING

from msgspec import Struct

from ldapmilter.mailbox.writing import fold, readable_value
from ldapmilter.plain import plain
from ldapmilter.relay.envelope_lines import envelope_lines, subject
from ldapmilter.relay.original import occurs

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ldapmilter.relay.decided import Decided
    from ldapmilter.relay.expansion import Expanded
    from ldapmilter.relay.original import Original

_CRLF = b"\r\n"


class JournalReport(Struct, frozen=True, kw_only=True):
    """A report, without dot-stuffing; of the message in it no octet is held."""

    head: bytes
    """Header, part one, and the header of part two."""
    original: Original
    tail: bytes
    """The end of part two, after the last CRLF of the message."""
    size: int
    """Octets of the whole."""
    eight_bit: bool
    """Whether any octet of the whole is not ASCII: it needs 8BITMIME."""

    def chunks(self) -> Iterator[bytes]:
        """Yield its octets in pieces; as often as it is asked for."""
        yield self.head
        yield from self.original.chunks()
        yield self.tail


class ReportSettings(Struct, frozen=True, kw_only=True):
    """What reports take from the configuration."""

    report_from: str
    """From of every report: an address, or a mailbox as a header holds it."""
    domain: str
    """The relay's domain: the right side of every Message-ID."""


def build(
    decided: Decided, expanded: Expanded, original: Original, settings: ReportSettings, seal: str | None = None
) -> JournalReport:
    """Return the report of one copy.

    Args:
        decided: what the audit says of the copy.
        expanded: who the recipients lead to.
        original: the message, ending with CRLF; it is gone through here, for the boundary, and whenever the report is.
        settings: of the configuration.
        seal: the latest seal of the audit, ``NUMBER:HASH``; ``None``: there is none.
    """
    envelope = "".join(f"{line}\r\n" for line in envelope_lines(decided, expanded, original)).encode(
        "utf-8", "backslashreplace"
    )
    boundary = _boundary(decided.token, original, envelope)
    eight_bit = original.eight_bit or not envelope.isascii() or not decided.target.isascii()
    fields = [
        ("From", settings.report_from),
        ("To", decided.target),
        ("Subject", readable_value(subject(original))),
        ("Date", format_datetime(datetime.fromisoformat(decided.time.replace("Z", "+00:00")))),
        ("Message-ID", f"<{decided.token}@{settings.domain}>"),
        ("X-MS-Journal-Report", ""),
        ("Auto-Submitted", "auto-generated"),
        ("X-Ldapmilter-Queue-Id", readable_value(decided.queue_id)),
        ("X-Ldapmilter-Class", readable_value(" ".join(decided.classes))),
        ("X-Ldapmilter-Ref", readable_value(" ".join(decided.refs))),
        ("X-Ldapmilter-Decided", decided.time),
        ("X-Ldapmilter-Expanded", f"{expanded.time} incomplete" if expanded.incomplete else expanded.time),
        ("X-Ldapmilter-Seal", seal or ""),
        ("MIME-Version", "1.0"),
        ("Content-Type", f'multipart/mixed; boundary="{boundary}"'),
    ]
    fields = [(name, value) for name, value in fields if value or name in _EVEN_IF_EMPTY]
    if eight_bit:
        fields.append(("Content-Transfer-Encoding", "8bit"))
    delimiter = f"--{boundary}\r\n".encode("ascii")
    head = b"".join(
        (
            *(_field(name, value) for name, value in fields),
            _CRLF,
            delimiter,
            _part("text/plain; charset=utf-8", eight_bit=not envelope.isascii()),
            envelope,
            _CRLF,
            delimiter,
            _part("message/rfc822", eight_bit=original.eight_bit),
        )
    )
    tail = f"\r\n--{boundary}--\r\n".encode("ascii")
    return JournalReport(
        head=head, original=original, tail=tail, size=len(head) + original.size + len(tail), eight_bit=eight_bit
    )


_EVEN_IF_EMPTY = frozenset({"Subject", "X-MS-Journal-Report"})


def _boundary(token: str, original: Original, envelope: bytes) -> str:
    """Return a boundary that stands neither in the message nor in part one; the same for the same message."""
    number = 0
    while True:
        boundary = f"journal-{token}-{number}"
        octets = boundary.encode("ascii")
        if octets not in envelope and not occurs(octets, original.chunks()):
            return boundary
        number += 1


def _field(name: str, value: str) -> bytes:
    if not value.isascii():  # an address (RFC 6532): there is no other way to write it
        return f"{name}: {plain(value)}".encode("utf-8", "backslashreplace") + _CRLF
    folded = fold(name, value).replace("\n", "\r\n")
    return f"{name}: {folded}".rstrip(" ").encode("ascii") + _CRLF


def _part(content_type: str, *, eight_bit: bool) -> bytes:
    encoding = "8bit" if eight_bit else "7bit"
    return f"Content-Type: {content_type}\r\nContent-Transfer-Encoding: {encoding}\r\n\r\n".encode("ascii")
