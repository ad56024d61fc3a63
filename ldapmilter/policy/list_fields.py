"""The header fields of a post to a list (RFC 2919, RFC 2369), each change with its reason."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from urllib.parse import quote, unquote

from ldapmilter.address import parse_address
from ldapmilter.mailbox.reading import is_blank
from ldapmilter.mailbox.writing import MAX_VALUE_OCTETS, fold, in_brackets, readable_value
from ldapmilter.message import has_raw_octets
from ldapmilter.policy import list_answers
from ldapmilter.policy.effect import HeaderChange
from ldapmilter.policy.left_behind import as_it_was
from ldapmilter.policy.list_subject import tagged

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ldapmilter.directory.model import Entry
    from ldapmilter.mailbox.writing import Mailbox
    from ldapmilter.message import Headers
    from ldapmilter.policy.effect import FromChange, Mode, Reason
    from ldapmilter.policy.list_values import MailingList

ORIGINAL = "X-Original-From"
"""Keeps the From that a list replaced; Postfix can route such posts by it."""
_SIGNATURE = "DKIM-Signature"
_ORIGINAL_SIGNATURE = "X-Original-DKIM-Signature"
_UNSUBSCRIBE, _ONE_CLICK = "List-Unsubscribe", "List-Unsubscribe-Post"
_LIST_NAMES: tuple[str, ...] = (
    "List-Id",
    "List-Post",
    "List-Help",
    _UNSUBSCRIBE,
    _ONE_CLICK,
    "List-Subscribe",
    "List-Owner",
    "List-Archive",
)
"""RFC 2919, RFC 2369, RFC 8058."""
_SIGNED = frozenset({"from", "subject", "reply-to", "cc", *map(str.lower, _LIST_NAMES)})
"""What signatures cover in practice, of the fields that change here."""
FIELDS = frozenset(
    map(
        str.lower,
        (*_LIST_NAMES, "Subject", "Precedence", ORIGINAL, _SIGNATURE, _ORIGINAL_SIGNATURE),
    )
).union(list_answers.FIELDS)
_NOT_OF_AN_ID = re.compile(r"[^A-Za-z0-9!#$%&'*+/=?^_`{|}~.-]+")
_ID = re.compile(r"<([^<>]*)>[^<>]*\Z")
_MAILTO = re.compile(r"mailto:([^<>?\s]+)", re.IGNORECASE)
_SAFE_IN_URI = "@!$'*+-./=^_`{|}~"
_MOST_LIST_FIELD = 2000


def identifier(entry: Entry) -> str:
    """Return the list identifier (RFC 2919 section 2): local part and domain."""
    local = _NOT_OF_AN_ID.sub("-", entry.name.local).strip(".") or "list"
    return f"{local}.{entry.name.domain}"


def carries(entry: Entry, headers: Headers) -> bool:
    """Whether a message has been through this list: its List-Id, or List-Post, is there."""
    for value in headers.values("list-id"):
        text = value[:_MOST_LIST_FIELD].strip()
        found = _ID.search(text)
        if (found[1] if found else text).strip().lower() == identifier(entry).lower():
            return True
    for value in headers.values("list-post"):
        for target in _MAILTO.findall(value[:_MOST_LIST_FIELD]):
            address = parse_address(unquote(target))
            if address is not None and address.key in entry.own_keys:
                return True
    return False


def list_headers(posts: MailingList, headers: Headers, mode: Mode) -> list[HeaderChange]:
    """Return the fields that say of which list a post is, and those of other lists that go."""
    wanted: dict[str, tuple[str, Reason]] = {}
    on = posts.headers if posts.headers is not None and posts.headers.value else None
    if on is not None:
        address = posts.entry.name.text
        wanted["List-Id"] = (in_brackets(posts.entry.display_name, identifier(posts.entry)), on.reason)
        wanted["List-Post"] = (f"<mailto:{quote(address, safe=_SAFE_IN_URI)}>", on.reason)
    for one in posts.fields:
        wanted[one.value.name] = (one.value.value, one.reason)
    changes = [
        HeaderChange(name=name, value=value, reasons=(reason,), mode=mode)
        for name, (value, reason) in wanted.items()
        if headers.values(name.lower()) != (value,)
    ]
    if on is not None:
        if all(map(is_blank, headers.values("precedence"))):
            changes.append(HeaderChange(name="Precedence", value="list", reasons=(on.reason,), mode=mode))
        gone, why = _LIST_NAMES, on.reason
    elif _UNSUBSCRIBE in wanted:  # RFC 8058: the other list's button would be pressed at this one's address
        gone, why = (_ONE_CLICK,), wanted[_UNSUBSCRIBE][1]
    else:
        return changes
    changes.extend(
        HeaderChange(name=name, value=None, reasons=(why,), mode=mode)
        for name in gone
        if name not in wanted and headers.values(name.lower())
    )
    return changes


def subject(headers: Headers, tag: str, reason: Reason, mode: Mode) -> list[HeaderChange]:
    """Return one Subject with the tag, where it is not there; of several, the first that says anything."""
    present = headers.values("subject")
    came = next((value for value in present if value.strip()), "")
    value = tagged(came, tag)
    if value is None and len(present) > 1:
        value = came.strip().replace("\r\n", "\n")
    if value is None or len(value.encode()) > MAX_VALUE_OCTETS:
        return []
    return [HeaderChange(name="Subject", value=value, reasons=(reason,), mode=mode, verbatim=True)]


def original(headers: Headers, froms: Sequence[str], author: Mailbox | None, by: FromChange) -> list[HeaderChange]:
    """Return what keeps the From that a list replaced; without one, who stands in for it."""
    value = as_it_was(froms) or (readable_value(author.address.text) if author is not None else "")
    return _one(ORIGINAL, value or None, headers, by.reasons, by.mode)


def _one(name: str, value: str | None, headers: Headers, reasons: tuple[Reason, ...], mode: Mode) -> list[HeaderChange]:
    present = headers.values(name.lower())
    if present == ((value,) if value is not None else ()):
        return []
    return [HeaderChange(name=name, value=value, reasons=reasons, mode=mode)]


def signatures(headers: Headers, change: FromChange | None, changes: Sequence[HeaderChange]) -> list[HeaderChange]:
    """Return what renames the signatures of a message whose signed fields change: none of them verifies any more."""
    by = next((one for one in (change, *changes) if one is not None and one.name.lower() in _SIGNED), None)
    present = headers.values(_SIGNATURE.lower())
    if by is None or not present:
        return []
    return [
        HeaderChange(name=_SIGNATURE, value=None, reasons=by.reasons, mode=by.mode),
        *(
            HeaderChange(
                name=_ORIGINAL_SIGNATURE, value=value, reasons=by.reasons, mode=by.mode, verbatim=True, beside=True
            )
            for value in _writable(present)
        ),
    ]


def _writable(values: Sequence[str]) -> Iterator[str]:
    for value in values:
        raw = has_raw_octets(value)
        written = fold(_ORIGINAL_SIGNATURE, readable_value(value)) if raw else value.replace("\r\n", "\n")
        if len(written.encode()) <= MAX_VALUE_OCTETS:
            yield written
