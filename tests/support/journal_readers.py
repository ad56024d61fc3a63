"""Three readers of journal reports that share no code with what writes them, nor with each other.

* :func:`by_email`: Python's ``email``;
* :func:`strictly`: the published grammar (MS-XJRNL section 2.1, RFC 2046 section 5.1.1), octet by octet;
* :func:`archived_recipients`: whom an open-source archive (Mailpiler) would find a message by.
"""

from __future__ import annotations

import email
import email.policy
import re
from dataclasses import dataclass
from typing import Final

HEADER_ORDER: Final = (
    "From",
    "To",
    "Subject",
    "Date",
    "Message-ID",
    "X-MS-Journal-Report",
    "Auto-Submitted",
    "X-Ldapmilter-Queue-Id",
    "X-Ldapmilter-Class",
    "X-Ldapmilter-Ref",
    "X-Ldapmilter-Decided",
    "X-Ldapmilter-Expanded",
    "X-Ldapmilter-Seal",
    "MIME-Version",
    "Content-Type",
    "Content-Transfer-Encoding",
)
_ATOM = r"[^\x00-\x20\x7f()<>\[\]:;@\\,\"]+"
_ADDRESS = rf"(?:{_ATOM}|\"(?:[^\"\\\x00-\x1f]|\\[^\x00-\x1f])*\")@(?:[^\x00-\x20\x7f()<>@\\,\"]+)"
_RECIPIENT = re.compile(
    rf"(?P<field>To|Cc|Bcc|Recipient): (?P<who>{_ADDRESS})(?:, (?P<how>Expanded|Forwarded): (?P<by>{_ADDRESS}))?"
)
_SENDER = re.compile(rf"Sender: ({_ADDRESS}|<>)")
_BEHALF = re.compile(rf"On-Behalf-Of: ({_ADDRESS})")
_FIELD_ORDER = ("To", "Cc", "Bcc", "Recipient")
_MAX_LINE = 998


@dataclass(frozen=True, kw_only=True)
class Envelope:
    """What a report says of its message."""

    headers: dict[str, str]
    sender: str
    on_behalf_of: str | None
    subject: str
    message_id: str
    recipients: tuple[str, ...]
    """Lines, in order: ``To: ann@example.com, Expanded: all@example.com``."""


@dataclass(frozen=True, kw_only=True)
class Journal(Envelope):
    """A report as read."""

    original: bytes


def by_email(octets: bytes) -> Envelope:
    """Read a report as Python does, but for the header of the message in it: that may be one that Python fails at."""
    return _by_email(octets)[0]


def original_by_email(octets: bytes) -> bytes:
    """Return the message in a report as Python writes what it has read."""
    inner = _by_email(octets)[1].get_payload(0)
    assert isinstance(inner, email.message.EmailMessage)
    return inner.as_bytes(policy=email.policy.SMTP.clone(refold_source="none"))


def _by_email(octets: bytes) -> tuple[Envelope, email.message.MIMEPart]:
    message = email.message_from_bytes(octets, policy=email.policy.default)
    assert message.get_content_type() == "multipart/mixed"
    envelope, wrapped = message.iter_parts()
    assert envelope.get_content_type() == "text/plain"
    assert wrapped.get_content_type() == "message/rfc822"
    fields = [line.split(": ", 1) for line in envelope.get_content().splitlines()]
    single = {name: value for name, value in fields if name not in _FIELD_ORDER}
    read = Envelope(
        headers={name: str(value) for name, value in message.items()},
        sender=single["Sender"],
        on_behalf_of=single.get("On-Behalf-Of"),
        subject=single["Subject"],
        message_id=single["Message-Id"],
        recipients=tuple(f"{name}: {value}" for name, value in fields if name in _FIELD_ORDER),
    )
    return read, wrapped


def strictly(octets: bytes) -> Journal:
    """Read a report by the letter; anything else than the grammar allows fails."""
    header, body = _once(octets, b"\r\n\r\n")
    headers = _header(header)
    assert list(headers) == [name for name in HEADER_ORDER if name in headers], list(headers)
    boundary = re.fullmatch(r'multipart/mixed; boundary="([A-Za-z0-9-]{1,70})"', headers["Content-Type"])
    assert boundary is not None
    mark = f"--{boundary[1]}".encode()
    assert octets.count(boundary[1].encode()) == 4
    assert body.startswith(mark + b"\r\n")
    first, rest = _once(body[len(mark) + 2 :], b"\r\n" + mark + b"\r\n")
    second, end = _once(rest, b"\r\n" + mark + b"--\r\n")
    assert not end
    envelope_header, envelope = _once(first, b"\r\n\r\n")
    eight_bit = not envelope.isascii()
    assert _header(envelope_header) == {
        "Content-Type": "text/plain; charset=utf-8",
        "Content-Transfer-Encoding": "8bit" if eight_bit else "7bit",
    }
    original_header, original = _once(second, b"\r\n\r\n")
    assert _header(original_header) == {
        "Content-Type": "message/rfc822",
        "Content-Transfer-Encoding": "7bit" if original.isascii() else "8bit",
    }
    assert headers.get("Content-Transfer-Encoding", "7bit") == ("7bit" if octets.isascii() else "8bit")
    return _envelope(envelope, headers, original)


def _envelope(octets: bytes, headers: dict[str, str], original: bytes) -> Journal:
    text = octets.decode("utf-8")
    assert text.endswith("\r\n")
    assert "\n" not in text.replace("\r\n", "")
    assert "\r" not in text.replace("\r\n", "")
    lines = text.split("\r\n")[:-1]
    assert all(len(line.encode()) <= _MAX_LINE for line in lines)
    sender = _SENDER.fullmatch(lines.pop(0))
    assert sender is not None
    behalf = _BEHALF.fullmatch(lines[0])
    if behalf is not None:
        lines.pop(0)
    subject, message_id = lines.pop(0), lines.pop(0)
    assert subject.startswith("Subject: ")
    assert message_id.startswith("Message-Id: ")
    found = [_RECIPIENT.fullmatch(line) for line in lines]
    assert all(found), lines
    fields = [match["field"] for match in found if match is not None]
    assert fields == sorted(fields, key=_FIELD_ORDER.index)
    return Journal(
        headers=headers,
        sender=sender[1],
        on_behalf_of=behalf[1] if behalf is not None else None,
        subject=subject.removeprefix("Subject: "),
        message_id=message_id.removeprefix("Message-Id: "),
        recipients=tuple(lines),
        original=original,
    )


def _once(octets: bytes, mark: bytes) -> tuple[bytes, bytes]:
    before, found, after = octets.partition(mark)
    assert found, (mark, octets[:200])
    return before, after


def _header(octets: bytes) -> dict[str, str]:
    found: dict[str, str] = {}
    assert octets.isascii()
    for line in re.split(r"\r\n(?![ \t])", octets.decode("ascii")):
        assert all(len(part) <= _MAX_LINE for part in line.split("\r\n"))
        field = re.fullmatch(r"([!-9;-~]+): ?((?:.|\r\n[ \t])*)", line)
        assert field is not None, line
        assert field[1] not in found
        found[field[1]] = field[2].replace("\r\n", "")
    return found


def archived_recipients(octets: bytes) -> list[str]:
    """Return whom an archive that reads line by line finds a message by, in order.

    Its rules: the field X-MS-Journal-Report makes it forget whom To named until then; from there on every line is
    a header's, in the body too, until Content-Type names message/rfc822; of To and Recipient lines it cuts off what
    follows ``Expanded:``; a line is cut into words at all but letters, digits and ``@ . - _ ' & +``, in lower case;
    the header of the message inside is read as well. What is no address is left out here.
    """
    found: dict[str, None] = {}
    field, place, journal = "", "header", False
    for line in octets.decode("utf-8", "replace").split("\r\n"):
        if not line:
            if place == "inside" or (place == "header" and not journal):
                break
            place = {"header": "journal", "before": "inside"}.get(place, place)
            continue
        text = line
        if line[0] not in " \t" and ":" in line:
            name, _, text = line.partition(":")
            field = name.lower()
        if place == "header" and field == "x-ms-journal-report":
            found.clear()
            journal = True
        if place == "journal" and field == "content-type" and "message/rfc822" in text.lower():
            place = "before"
        if place != "before" and field in ("to", "cc", "bcc", "recipient"):
            if place == "journal" and field in ("to", "recipient"):
                text = text.partition("Expanded:")[0]
            words = re.split(r"[^\w@.\-'&+]+", text.lower())
            found.update((word, None) for word in words if re.fullmatch(r"[^@]+@[^@]+", word))
    return list(found)
