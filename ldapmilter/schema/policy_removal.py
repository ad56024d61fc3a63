"""All policy off the directory: our attributes and our class off every entry that carries the class.

A site that has registered us puts the class on every new account, so those that carry it are not only the
entries that policy was written to.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ldapmilter.directory.backend.names import POLICY_CLASS
from ldapmilter.errors import LdapmilterError
from ldapmilter.schema.change import Change, Part
from ldapmilter.schema.definition import own_attributes
from ldapmilter.schema.verify import CARRIES_CLASS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ldapmilter.directory.backend.raw_entry import RawEntry
    from ldapmilter.directory.ldap.connection import Connection

_BATCH = 500
"""Entries that are read at a time: the answer is held in memory."""


def changes(root: Connection) -> Iterator[Change]:
    """Yield what takes policy off each entry, while there are any: each is to be carried out before the next.

    Raises:
        LdapmilterError: an entry carries the class although a change has taken it off.
        Refused, DirectoryUnavailable: the server does not tell who carries it.
    """
    done: set[str] = set()
    while batch := root.search("", "sub", CARRIES_CLASS, ("objectClass", *own_attributes()), most=_BATCH):
        for entry in batch:
            if entry.dn in done:
                message = f"{root.uri}: {entry.dn} carries {POLICY_CLASS} again, or still; who writes it there?"
                raise LdapmilterError(message)
            done.add(entry.dn)
            yield _change(entry)


def every_change(root: Connection) -> list[Change]:
    """Return all of them, to be shown.

    Raises:
        Refused, DirectoryUnavailable: the server does not tell who carries it.
    """
    return [_change(entry) for entry in root.search("", "sub", CARRIES_CLASS, ("objectClass", *own_attributes()))]


def _change(entry: RawEntry) -> Change:
    spelled = {name.lower(): name for name in own_attributes()}
    found = [name for name in entry.attributes if name.partition(";")[0] in spelled]
    names = [spelled.get(name, name) for name in found]
    title = f"Take {', '.join(names)} and the class away." if names else "Take the class away."
    parts = [Part("delete", name, ()) for name in names]
    return Change(title=title, dn=entry.dn, parts=(*parts, Part("delete", "objectClass", (POLICY_CLASS,))))
