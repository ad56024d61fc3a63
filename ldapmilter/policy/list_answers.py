"""Where answers to a post go: Reply-To, and Cc where the author joins it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ldapmilter.errors import InvalidValue
from ldapmilter.mailbox.reading import is_blank, read_from
from ldapmilter.mailbox.writing import MAX_DISPLAY_NAME, MAX_VALUE_OCTETS, fold, header_value
from ldapmilter.message import has_raw_octets
from ldapmilter.policy.effect import HeaderChange

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ldapmilter.address import Address
    from ldapmilter.mailbox.writing import Mailbox
    from ldapmilter.message import Headers
    from ldapmilter.policy.effect import Mode, Reason

FIELDS = frozenset({"to", "cc", "reply-to"})
"""The header fields that are read or changed here."""
_TOO_LONG = "Cc is too long for the author to join it"


def to_author(headers: Headers, author: Mailbox | None, reasons: tuple[Reason, ...], mode: Mode) -> list[HeaderChange]:
    """Return one Reply-To: what the message has, of several all that can be read, else the author.

    Raises:
        InvalidValue: the author's address cannot stand in a field.
    """
    if author is None:
        return []
    present = headers.values("reply-to")
    telling = [value for value in present if not is_blank(value)]
    if telling and len(present) == 1:
        return []
    joined = _joined(telling)
    value, verbatim = joined if joined is not None else _as_written(author, headers)
    return [HeaderChange(name="Reply-To", value=value, reasons=reasons, mode=mode, verbatim=verbatim)]


def _joined(values: Sequence[str]) -> tuple[str, bool] | None:
    """Return several fields in one, and whether it has to be written as it is; ``None``: no address can be read."""
    each: dict[str, Mailbox] = {}
    for value in values:
        for mailbox in read_from([value]).mailboxes:
            each.setdefault(mailbox.address.key, mailbox)
    kept: list[str] = []
    left = MAX_VALUE_OCTETS
    for written in map(_written, each.values()):
        if has_raw_octets(written):
            continue
        left -= len(fold("Reply-To", written) if written.isascii() else written.encode()) + len(",\n ")
        if left < 0:
            break
        kept.append(written)
    if not kept:
        return None
    if all(map(str.isascii, kept)):
        return ", ".join(kept), False
    return ",\n ".join(fold("Reply-To", one) if one.isascii() else one for one in kept), True


def _written(mailbox: Mailbox) -> str:
    try:
        return header_value(mailbox.display_name, mailbox.address)
    except InvalidValue:  # an address that is not ASCII (RFC 6532)
        return mailbox.address.text


def to_list(
    headers: Headers, address: Address, author: Mailbox | None, reasons: tuple[Reason, ...], mode: Mode
) -> list[HeaderChange]:
    """Return a Reply-To that leads to the list, and a Cc with the author, unless To or Cc has them.

    Raises:
        InvalidValue: an address cannot stand in a field, or Cc cannot be written again.
    """
    value = header_value("", address)
    changes: list[HeaderChange] = []
    if headers.values("reply-to") != (value,):
        changes.append(HeaderChange(name="Reply-To", value=value, reasons=reasons, mode=mode))
    if author is not None and author.address.key not in _named(headers):
        changes.append(HeaderChange(name="Cc", value=_cc(headers, author), reasons=reasons, mode=mode, verbatim=True))
    return changes


def _cc(headers: Headers, author: Mailbox) -> str:
    """Return the Cc with the author in front: a quote or a group that does not end would swallow what follows."""
    if "cc" in headers.cut:
        raise InvalidValue("there are too many Cc fields for the author to join them")
    if sum(map(len, headers.values("cc"))) > MAX_VALUE_OCTETS:
        raise InvalidValue(_TOO_LONG)
    own, verbatim = _as_written(author, headers)
    own = own if verbatim else fold("Cc", own)
    present = list(_without_ends(headers.values("cc")))
    if any(has_raw_octets(value) for value in present):
        raise InvalidValue("Cc holds octets that are no UTF-8, and the author has to join it")
    value = ",\n ".join([own, *present])
    if len(value.encode()) > MAX_VALUE_OCTETS:
        raise InvalidValue(_TOO_LONG)
    return value


def _without_ends(values: Sequence[str]) -> Iterator[str]:
    for value in values:
        if not is_blank(value):
            yield value.strip(" \t\r\n,").replace("\r\n", "\n")


def _as_written(author: Mailbox, headers: Headers) -> tuple[str, bool]:
    """Return the author as a field can hold them, and whether that is the one From as it came.

    Raises:
        InvalidValue: an address that is not ASCII, in a From that cannot be written again.
    """
    try:
        return header_value(author.display_name, author.address), False
    except InvalidValue:
        froms = [value for value in headers.values("from") if not is_blank(value)]
        read = read_from(froms)
        if read.mailboxes != (author,) or read.unreadable:
            raise
        if len(froms) != 1 or has_raw_octets(froms[0]) or len(froms[0]) > MAX_DISPLAY_NAME:
            raise
        return froms[0].replace("\r\n", "\n"), True


def _named(headers: Headers) -> set[str]:
    return {mailbox.address.key for name in ("to", "cc") for mailbox in read_from(headers.values(name)).mailboxes}
