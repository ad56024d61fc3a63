"""Which addresses an account may write as: its own, those Zimbra allows it, those it is granted.

Zimbra keeps a grant on the entry whose address is used (``zimbraACE``), not on the user, or on what that entry
inherits from (:mod:`.grants`): so for an address that is not the account's own, the entry that it names is looked at.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Final

from ldapmilter.address import Address, parse_addresses
from ldapmilter.directory.grants import Grants

if TYPE_CHECKING:
    from collections.abc import Collection

    from ldapmilter.directory.addresses import Addresses
    from ldapmilter.directory.backend.raw_entry import RawEntry
    from ldapmilter.directory.expansions import Expansions
    from ldapmilter.directory.inheritance import Inheritance
    from ldapmilter.directory.model import Entry, Resolution, SendRight
    from ldapmilter.directory.site import Site
    from ldapmilter.directory.view import View

_MOST_ENTRIES: Final = 256
"""Entries whose values are parsed once for many messages: one may have tens of thousands."""


def own_among(keys: Collection[str], account: Entry, site: Site) -> dict[str, SendRight]:
    """Return those address keys that an account may write as by itself, and by what.

    Delivery address, aliases, old address, each in the alias domains of its domain too, the canonical
    address (also the old From of ``canonical_maps``) and ``zimbraAllowFromAddress``.
    """
    own = account.own_keys
    among: dict[str, SendRight] = {key: "own" for key in keys if key in own or _in_domain_behind(key, site) in own}
    if len(among) < len(keys):
        among.update((key, "allowed") for key in allowed_addresses(account.raw) & {*keys} if key not in among)
    return among


def _in_domain_behind(key: str, site: Site) -> str | None:
    """Return an address of an alias domain as its target has it."""
    local, _, name = key.rpartition("@")
    domain = site.domains.get(name)
    return f"{local}@{domain.target}" if domain is not None and domain.target is not None else None


@lru_cache(maxsize=_MOST_ENTRIES)
def allowed_addresses(account: RawEntry) -> frozenset[str]:
    """Return the keys of what an account may write as that are not its own addresses."""
    named = [*account.all("zimbramailcanonicaladdress"), *account.all("zimbraallowfromaddress")]
    return frozenset(address.key for address in parse_addresses(named))


def may_use_any(account: RawEntry, cos: RawEntry | None) -> bool:
    """Whether ``zimbraAllowAnyFromAddress`` is TRUE: the account's, or unset the COS's."""
    if account.first("zimbraallowanyfromaddress") is not None:
        return account.is_true("zimbraallowanyfromaddress")
    return cos is not None and cos.is_true("zimbraallowanyfromaddress")


def offered_addresses(entry: Entry) -> frozenset[str]:
    """Return the keys that a granting entry lets others write as: those it lists, else its main address."""
    return _listed_addresses(entry.raw) or frozenset({entry.name.key})


@lru_cache(maxsize=_MOST_ENTRIES)
def _listed_addresses(raw: RawEntry) -> frozenset[str]:
    listed = parse_addresses(raw.all("zimbraprefallowaddressfordelegatedsender"))
    return frozenset(address.key for address in listed)


def canonical_address(account: Entry) -> Address:
    """Return the address that an account writes as by default: its canonical one, else its name."""
    canonical = (
        address for address in parse_addresses(account.raw.all("zimbramailcanonicaladdress")) if address.is_readable
    )
    return next(canonical, account.name)


class SenderRights:
    """What accounts may write as, to one message."""

    def __init__(self, view: View, addresses: Addresses, expansions: Expansions, inheritance: Inheritance) -> None:
        """Look grants up through a message's view."""
        self._view = view
        self._addresses = addresses
        self._expansions = expansions
        self._inheritance = inheritance

    def may_send_as(self, account: Entry, addresses: Collection[Address]) -> dict[str, SendRight]:
        """Return the keys of those addresses that an account may use, and by what; see :meth:`Directory.may_send_as`.

        What costs searches is asked last, and only for what is not the account's otherwise.
        """
        cos = next(
            (holder.raw for holder in self._inheritance.chains([account])[account.dn] if holder.level == "cos"), None
        )
        keys = {address.key: None for address in addresses}.keys()  # in their order
        if may_use_any(account.raw, cos):
            return dict.fromkeys(keys, "any")
        site = self._view.site
        allowed = own_among(keys, account, site)
        others = [address for address in addresses if address.key not in allowed]
        if not others:
            return allowed
        resolved = self._addresses.resolve_own(others)
        grants = Grants(self._view, self._expansions, account)
        for address in others:
            resolution = resolved[address.key]
            if self._is_extended(address, resolution, account):
                allowed[address.key] = "extension"
            elif resolution.match != "delimiter" and any(
                address.key in offered_addresses(entry) and grants.let_write_as(entry) for entry in resolution.entries
            ):
                allowed[address.key] = "granted"
            elif not resolution.known:  # and noted as such
                allowed[address.key] = "unknown"
        if keys <= allowed.keys():
            return allowed
        return {**allowed, **self._external(account, keys - allowed.keys())}

    def _is_extended(self, address: Address, resolution: Resolution, account: Entry) -> bool:
        """Whether an address is the account's own with an extension, which delivery cuts off (``recipient_delimiter``).

        Whoever has the whole address gets the mail to it, and the address is theirs.
        """
        site = self._view.site
        plain = site.without_extension(address) if address.domain in site.domains else None
        if plain is None or (resolution.entries and resolution.match != "delimiter"):
            return False
        return bool(own_among([plain.key], account, site))

    def _external(self, account: Entry, keys: Collection[str]) -> dict[str, SendRight]:
        """Return those addresses that an external account of the user's has; none of a hosted domain or host.

        It is asked for before any address is called another account's, whatever its domain: a server that hides what
        rights are made of does not answer this question.
        """
        sources = self._view.reader.external_addresses(account.dn, self._view.trace)
        if sources is None:  # and noted as such
            return dict.fromkeys(keys, "unknown")
        outside = (key for key in sorted(sources & {*keys}) if not self._view.site.is_here(key.rpartition("@")[2]))
        return dict.fromkeys(outside, "external")
