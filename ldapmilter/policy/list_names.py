"""What author and list are called in the From of a post, and whether its envelope sender agrees with it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ldapmilter.address import Address
    from ldapmilter.directory.model import Entry
    from ldapmilter.mailbox.writing import Mailbox

_AT = "@\ufe6b\uff20"
"""The commercial at, small and fullwidth ones too: mail programs show them alike."""
# Text, not compiled here: few messages need it, and whoever starts a verb would wait for it.
_ADDRESS_IN_NAME = rf"(?<![^\s{_AT}<>()\[\],;:\"])([^\s{_AT}<>()\[\],;:\"]+)[{_AT}][^\s{_AT}<>()\[\],;:\"]+"
_WITHOUT_AT = str.maketrans(dict.fromkeys(_AT, " "))


def aligned(sender: Address, shown: Address) -> bool:
    """Whether an envelope sender agrees with a From (DMARC, RFC 7489 section 3.1.2, relaxed).

    Which domains are one organization's only the public suffix list knows: two labels in common pass for it.
    """
    return sender.domain.split(".")[-2:] == shown.domain.split(".")[-2:]


def shown(author: Mailbox) -> str:
    """Return what the author is called: without addresses, which would be taken for the one in brackets."""
    return _without_addresses(author.display_name) or author.address.local


def name_of(entry: Entry) -> str:
    """Return what a list is called, without addresses, too."""
    return _without_addresses(entry.display_name) or entry.name.local


def _without_addresses(name: str) -> str:
    return re.sub(_ADDRESS_IN_NAME, r"\1", name).translate(_WITHOUT_AT).strip()
