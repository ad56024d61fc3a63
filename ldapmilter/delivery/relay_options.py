"""Readers of the options of ``[relay]``: each raises ``ValueError`` with a phrase that completes "allowed is ..."."""

from __future__ import annotations

from pathlib import Path

from ldapmilter.address import fold_domain, parse_address, strip_brackets
from ldapmilter.mailbox.reading import read_from
from ldapmilter.mailbox.writing import header_value


def domain(value: str) -> str:
    """Return a domain in lower-case ACE."""
    found = fold_domain(value) if value else None
    if found is None or "." not in found or found.startswith("["):
        msg = "a domain of the relay's own that no mail is for, such as copies.invalid"
        raise ValueError(msg)
    return found


def file(value: str) -> Path:
    """Return the name of a file or directory."""
    if not value:
        msg = "the name of a file"
        raise ValueError(msg)
    return Path(value)


def envelope_sender(value: str) -> str:
    """Return an address without brackets; empty is the null sender."""
    address = parse_address(value)
    if strip_brackets(value) and (address is None or not address.is_readable):
        msg = "<> or an address such as journal@example.com"
        raise ValueError(msg)
    return address.text if address is not None else ""


def report_from(value: str) -> str:
    """Return one mailbox as it is written into a header field: ASCII; or nothing."""
    if not value:
        return ""
    found = read_from([value])
    if found.unreadable or len(found.mailboxes) != 1 or not found.mailboxes[0].address.is_readable:
        msg = "one mailbox such as Journal <journal@example.com>, or nothing"
        raise ValueError(msg)
    return header_value(found.mailboxes[0].display_name, found.mailboxes[0].address)
