"""What a changed From leaves behind in other header fields: the author, and the From as it was."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ldapmilter.errors import InvalidValue
from ldapmilter.mailbox.reading import MAX_LENGTH, is_blank, read_from, read_text
from ldapmilter.mailbox.writing import MAX_VALUE_OCTETS, header_value, readable_value
from ldapmilter.policy.effect import HeaderChange

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ldapmilter.mailbox.writing import Mailbox
    from ldapmilter.message import Headers
    from ldapmilter.policy.effect import FromChange
    from ldapmilter.policy.from_rewrite import Author
    from ldapmilter.policy.settings import FromPolicy


def fields_of_original(policy: FromPolicy) -> frozenset[str]:
    """Return the fields that keeping the old From reads or changes."""
    name = policy.original_from_header
    return frozenset({"from", name.lower()} if name else ())


def fields_of_author(policy: FromPolicy) -> frozenset[str]:
    """Return the fields that naming the author reads or changes."""
    wanted = {"reply-to": policy.reply_to, "sender": policy.sender}
    return frozenset(name for name, setting in wanted.items() if setting == "author")


def author_changes(author: Author, by: FromChange, headers: Headers, policy: FromPolicy) -> list[HeaderChange]:
    """Return the fields that name the author of a message whose From a rule or a wish has put.

    Args:
        author: who wrote.
        by: the From.
        headers: the message's fields of :func:`fields_of_author`.
        policy: the ``[from]`` section.

    Raises:
        InvalidValue: the author's address cannot stand in a header field.
    """
    changes: list[HeaderChange] = []
    if not fields_of_author(policy):
        return changes
    own = header_value(author.display_name, author.address)
    if policy.reply_to == "author" and (value := reply_to_left(headers.values("reply-to"), own)) is not None:
        changes.append(_change("Reply-To", value, by))
    if policy.sender == "author":
        (shown,) = read_from([by.value]).mailboxes
        if shown.address.key != author.address.key:
            changes.append(_change("Sender", own, by))
        elif headers.values("sender"):
            # RFC 5322 section 3.6.2: no Sender that is the same as From; any other names another person.
            changes.append(_change("Sender", None, by))
    return changes


def reply_to_left(present: Sequence[str], own: str) -> str | None:
    """Return the Reply-To to leave, where that is not what there is: one field, the author's where none says anything.

    Several that cannot be read, or are too long for one, stay: nothing of them is lost.
    """
    telling = [value for value in present if not is_blank(value)]
    if not telling:
        return own
    if len(present) == 1:
        return None
    read = read_from(telling)
    each: dict[str, Mailbox] = {}
    for mailbox in read.mailboxes:
        each.setdefault(mailbox.address.key, mailbox)
    try:
        values = [header_value(mailbox.display_name, mailbox.address) for mailbox in each.values()]
    except InvalidValue:  # an address that is not ASCII
        return None
    joined = ", ".join(values)
    return None if read.unreadable or len(joined) > MAX_VALUE_OCTETS else joined


def original_changes(by: FromChange, headers: Headers, policy: FromPolicy) -> list[HeaderChange]:
    """Return what keeps the From that a message came with.

    Args:
        by: the From that it leaves with.
        headers: the message's fields of :func:`fields_of_original`.
        policy: the ``[from]`` section.
    """
    name = policy.original_from_header
    if not name:
        return []
    value = as_it_was(headers.values("from")) or None
    # Whatever came under that name was not written by us, so it goes in any case.
    return [_change(name, value, by)] if value or headers.values(name.lower()) else []


def as_it_was(froms: Sequence[str]) -> str:
    """Return what From fields said, in one value; up to the length of a From that is read, empty where nothing is."""
    kept: list[str] = []
    left = MAX_LENGTH
    for value in froms:
        part = value[:left]
        left -= len(part)
        if part and not is_blank(part):
            kept.append(read_text(part))
    return readable_value(", ".join(kept))


def _change(name: str, value: str | None, by: FromChange) -> HeaderChange:
    return HeaderChange(name=name, value=value, reasons=by.reasons, mode=by.mode)
