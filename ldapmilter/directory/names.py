"""Whether the directory has a COS or a domain of a name, asked past the cache: for somebody who has typed one."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from ldapmilter.address import fold_domain
from ldapmilter.directory.backend.filters import Equal
from ldapmilter.directory.backend.names import COS_BASE
from ldapmilter.errors import DirectoryUnavailable
from ldapmilter.folding import fold_value
from ldapmilter.similar import similar

if TYPE_CHECKING:
    from ldapmilter.directory.backend.store import Deadline, Store


class UnknownName(NamedTuple):
    """A name that the directory does not have."""

    kind: str
    """``COS`` or ``domain``."""
    name: str
    near: str | None
    """The one that was probably meant."""


def unknown_cos(store: Store, name: str, deadline: Deadline) -> UnknownName | None:
    """Return that there is no COS of this name (``cn``) or zimbraId; ``None``: there is one.

    Raises:
        DirectoryUnavailable: the directory does not say.
    """
    every = store.search(COS_BASE, "sub", Equal("objectClass", "zimbraCOS"), ("cn", "zimbraId"), deadline)
    names = {fold_value(text) for raw in every for text in raw.all("cn")}
    ids = {fold_value(text) for raw in every for text in raw.all("zimbraid")}
    return _unknown("COS", name, fold_value(name), names, ids)


def unknown_domain(store: Store, search_base: str, name: str, deadline: Deadline) -> UnknownName | None:
    """Return that there is no domain, alias domain or other, of this name; ``None``: there is one.

    Raises:
        DirectoryUnavailable: the directory does not say.
    """
    every = store.search(search_base, "sub", Equal("objectClass", "zimbraDomain"), ("zimbraDomainName",), deadline)
    names = {fold_domain(fold_value(text)) or fold_value(text) for raw in every for text in raw.all("zimbradomainname")}
    wanted = fold_value(name)
    return _unknown("domain", name, fold_domain(wanted) or wanted, names)


def _unknown(
    kind: str, name: str, wanted: str, names: set[str], others: set[str] | frozenset[str] = frozenset()
) -> UnknownName | None:
    if not names:  # every Zimbra has one
        message = f"no {kind} can be seen: the bind identity may not read them"
        raise DirectoryUnavailable(message)
    return None if wanted in names | others else UnknownName(kind, name, similar(wanted, names))
