"""Whether the directory has a COS, a domain or an address, asked past the cache: for names that a user has typed."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from ldapmilter.address import fold_domain, stored_address
from ldapmilter.directory.backend.filters import Equal
from ldapmilter.directory.backend.names import COS_BASE
from ldapmilter.directory.flush import concerns, every_spelling, keys_of
from ldapmilter.errors import DirectoryUnavailable
from ldapmilter.folding import fold_value
from ldapmilter.similar import similar

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ldapmilter.directory.backend.store import Deadline, Store
    from ldapmilter.directory.flush import CurrentEntries
    from ldapmilter.directory.site import Site


class UnknownName(NamedTuple):
    """A name that the directory does not have."""

    kind: str
    """``COS``, ``domain`` or ``address``."""
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


def unknown_addresses(addresses: Iterable[str], present: CurrentEntries) -> list[UnknownName]:
    """Return which of the addresses no entry has, and no list names as a member.

    Args:
        addresses: as typed.
        present: what the directory says of them now.
    """
    return [
        UnknownName("address", text, _in_a_similar_domain(text, present.site))
        for text in addresses
        if not _is_in(present, text)
    ]


def _is_in(present: CurrentEntries, text: str) -> bool:
    address = stored_address(text)
    keys = every_spelling([address], present.site) if address is not None else set()
    return any(not keys.isdisjoint(keys_of(raw, present.site)) or concerns(raw, keys) for raw in present.raws)


def _in_a_similar_domain(text: str, site: Site) -> str | None:
    """Return the address in the hosted domain that was probably meant, if its own is none."""
    local, _, domain = text.rpartition("@")
    folded = fold_domain(domain)
    near = similar(domain, site.domains) if folded is not None and folded not in site.domains else None
    return f"{local}@{near}" if near is not None else None


def _unknown(
    kind: str, name: str, wanted: str, names: set[str], others: set[str] | frozenset[str] = frozenset()
) -> UnknownName | None:
    if not names:  # every Zimbra has one
        message = f"no {kind} can be seen: the bind identity may not read them"
        raise DirectoryUnavailable(message)
    return None if wanted in names | others else UnknownName(kind, name, similar(wanted, names))
