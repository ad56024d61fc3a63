"""Part one of a journal report: who sent a message, and everybody who got it, a field a line.

The format is that of Exchange's envelope journal (MS-XJRNL section 2.1), which archives read.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from ldapmilter.address import envelope_address, parse_address
from ldapmilter.mailbox.reading import addresses_in, read_from, read_text
from ldapmilter.mailbox.writing import clean_display_name
from ldapmilter.plain import plain
from ldapmilter.relay.expansion import in_lower_case

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ldapmilter.relay.decided import Decided
    from ldapmilter.relay.expansion import Expanded
    from ldapmilter.relay.original import Original

MAX_SUBJECT_OCTETS = 900
NO_MESSAGE_ID = "Unknown Message-ID"
_TO, _CC, _BCC, _RECIPIENT = range(4)
_NAMES = ("To", "Cc", "Bcc", "Recipient")
_DIRECT, _EXPANDED, _FORWARDED = range(3)
_HOW = {"expanded": (_EXPANDED, "Expanded"), "forwarded": (_FORWARDED, "Forwarded")}


class _Named(NamedTuple):
    """One way in which an address is a recipient; the smallest of several counts."""

    redirected: bool
    field: int
    how: int
    place: int
    """Which recipient of the envelope led to it."""
    line: str


def envelope_lines(decided: Decided, expanded: Expanded, original: Original) -> Iterator[str]:
    """Yield the lines, without their ends."""
    yield f"Sender: {plain(decided.sender) or '<>'}"
    if (behalf := _on_behalf_of(decided, original)) is not None:
        yield f"On-Behalf-Of: {behalf}"
    yield f"Subject: {subject(original)}"
    yield f"Message-Id: {message_id(original)}"
    yield from _recipients(decided, expanded, original)


def subject(original: Original) -> str:
    """Return the subject as its readers see it, in one line; empty where there is none."""
    values = original.values("subject")
    text = clean_display_name(read_text(values[0])) if values else ""
    return text.encode()[:MAX_SUBJECT_OCTETS].decode(errors="ignore")


def message_id(original: Original) -> str:
    """Return the Message-ID as it is written, in one line."""
    for value in original.values("message-id"):
        if text := " ".join(value.split()):
            return plain(text)[:MAX_SUBJECT_OCTETS]
    return NO_MESSAGE_ID


def _on_behalf_of(decided: Decided, original: Original) -> str | None:
    """Return the first address of From that is not the sender's; ``None``: there is none, or it cannot be read."""
    header = read_from(original.values("from"))
    if header.unreadable:
        return None
    own = parse_address(decided.sender)
    return next((plain(one.address.text) for one in header.mailboxes if own is None or one.address != own), None)


def _recipients(decided: Decided, expanded: Expanded, original: Original) -> Iterator[str]:
    fields = _Fields(original) if decided.identified else None
    lead_on = {one.recipient: one for one in expanded.recipients}
    best: dict[str, _Named] = {}

    def name(key: str, named: _Named) -> None:
        if key not in best or named < best[key]:
            best[key] = named

    for place, recipient in enumerate(dict.fromkeys(decided.offered)):
        spelt = in_lower_case(plain(recipient))
        key = _key(recipient)
        one = lead_on.get(recipient)
        field = fields.of(key, *(one.also if one is not None else ())) if fields is not None else _RECIPIENT
        if one is None or one.stays:
            name(key, _Named(redirected=False, field=field, how=_DIRECT, place=place, line=spelt))
        if one is None:
            continue
        how, word = _HOW[one.how]
        for address in one.behind:
            own_key = _key(address)
            its_field = min(field, fields.of(own_key)) if fields is not None else _RECIPIENT
            line = f"{plain(address)}, {word}: {spelt}"
            name(own_key, _Named(redirected=True, field=its_field, how=how, place=place, line=line))
    for named in sorted(best.values(), key=lambda one: (one.field, one.place)):
        yield f"{_NAMES[named.field]}: {named.line}"


class _Fields:
    """Who stands in To and Cc."""

    def __init__(self, original: Original) -> None:
        self._to = {address.key for address in addresses_in(original.values("to"))}
        self._cc = {address.key for address in addresses_in(original.values("cc"))}

    def of(self, *keys: str) -> int:
        """Return the field that any of an address's keys stands in; who stands in none was in Bcc."""
        if not self._to.isdisjoint(keys):
            return _TO
        return _BCC if self._cc.isdisjoint(keys) else _CC


def _key(text: str) -> str:
    address = envelope_address(text)
    return address.key if address is not None else text.lower()
