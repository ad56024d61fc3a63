"""Questions to one message's view of the directory, and answers in a form to compare."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ldapmilter.address import Address, parse_address

if TYPE_CHECKING:
    from ldapmilter.directory.interface import Directory
    from ldapmilter.directory.model import Entry, Expansion, Resolution


def address(text: str) -> Address:
    """Return a text as an address.

    Raises:
        ValueError: it is none.
    """
    found = parse_address(text)
    if found is None:
        raise ValueError(text)
    return found


def resolved(view: Directory, text: str) -> Resolution:
    return view.resolve([address(text)])[address(text).key]


def entry(view: Directory, text: str) -> Entry:
    """Return the one entry behind an address."""
    found = resolved(view, text).entry
    assert found is not None, text
    return found


def names(resolution: Resolution | None) -> list[str]:
    """Return the primary addresses of the entries found, sorted; nothing for nobody."""
    return sorted(found.name.key for found in resolution.entries) if resolution is not None else []


def levels(view: Directory, text: str) -> list[tuple[str, str]]:
    """Return level and DN of everything on an entry's chain, in order, but for the entry itself."""
    one = entry(view, text)
    own, *above = view.chains([one])[one.dn]
    assert own.dn == one.dn
    return [(str(own.level), ""), *((str(holder.level), holder.dn.lower()) for holder in above)]


def expansion(view: Directory, text: str) -> Expansion:
    one = entry(view, text)
    return view.expand([one])[one.dn]


def who(found: Expansion) -> dict[str, tuple[str, ...]]:
    """Return the addresses behind a group, as its members are called there, with their paths."""
    return {member.resolution.address.key: member.path for member in found.members}
