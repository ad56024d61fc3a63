"""Which addresses an account may write as: its own, those Zimbra allows it, those it is granted.

Zimbra keeps a grant on the entry whose address is used (``zimbraACE``), not on the user: so for an
address that is not the account's own, the entry that it names is looked at.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ldapmilter.address import Address, make_address, parse_addresses
from ldapmilter.errors import DirectoryUnavailable

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from ldapmilter.directory.addresses import Addresses
    from ldapmilter.directory.expansions import Expansions
    from ldapmilter.directory.inheritance import Inheritance
    from ldapmilter.directory.model import Entry
    from ldapmilter.directory.raw_entry import RawEntry
    from ldapmilter.directory.site import Site
    from ldapmilter.directory.view import View

RIGHTS_ATTRIBUTES = (
    "zimbraMailCanonicalAddress",
    "zimbraAllowFromAddress",
    "zimbraAllowAnyFromAddress",
    "zimbraACE",
    "zimbraPrefAllowAddressForDelegatedSender",
)
COS_RIGHTS_ATTRIBUTES = ("zimbraAllowAnyFromAddress",)

_RIGHTS = {
    "account": frozenset({"sendas", "sendonbehalfof"}),
    "group": frozenset({"sendasdistlist", "sendonbehalfofdistlist"}),
}
_DENY, _SUBDOMAINS_ONLY = "-", "*"
_MODIFIERS = "-+*^"


@dataclass(frozen=True, slots=True)
class Grant:
    """One send right on an entry (``zimbraACE``)."""

    grantee: str
    """zimbraId of a user, group or domain, in lower case; a constant for everybody."""
    kind: str
    """``usr``, ``grp``, ``dom``, ``all``, ``pub``, ..."""
    right: str
    denied: bool


def grants(entry: Entry) -> Iterator[Grant]:
    """Yield the send rights on an entry: ``<grantee> <kind> [modifier]<right>``, split from the right."""
    for text in entry.raw.all("zimbraace"):
        parts = text.strip().rsplit(" ", 2)
        if len(parts) != 3:  # noqa: PLR2004 - grantee, kind, right
            continue
        grantee, kind, right = parts
        modifiers = right[: len(right) - len(right.lstrip(_MODIFIERS))]
        name = right[len(modifiers) :].lower()
        # A right on subdomains only says nothing about the entry that it stands on.
        if name in _RIGHTS[entry.kind] and _SUBDOMAINS_ONLY not in modifiers:
            yield Grant(grantee.lower(), kind.lower(), name, _DENY in modifiers)


def own_addresses(account: Entry, site: Site) -> frozenset[str]:
    """Return the keys of what an account may write as by itself.

    Delivery address, aliases, old address, each in the alias domains of its domain too, the canonical
    address (also the old From of ``canonical_maps``) and ``zimbraAllowFromAddress``.
    """
    raw = account.raw
    named = [*raw.all("zimbramailcanonicaladdress"), *raw.all("zimbraallowfromaddress")]
    keys = {*account.addresses, *(address.key for address in parse_addresses(named))}
    aliases = [(domain.name, domain.target) for domain in site.domains.values() if domain.target is not None]
    for key in account.addresses:
        local, _, domain = key.rpartition("@")
        keys.update(make_address(local, alias).key for alias, target in aliases if target == domain)
    return frozenset(keys)


def may_use_any(account: RawEntry, cos: RawEntry | None) -> bool:
    """Whether ``zimbraAllowAnyFromAddress`` is TRUE: the account's, or unset the COS's."""
    if account.first("zimbraallowanyfromaddress") is not None:
        return account.is_true("zimbraallowanyfromaddress")
    return cos is not None and cos.is_true("zimbraallowanyfromaddress")


def offered_addresses(entry: Entry) -> frozenset[str]:
    """Return the keys that a granting entry lets others write as: those it lists, else its main address."""
    listed = frozenset(
        address.key for address in parse_addresses(entry.raw.all("zimbraprefallowaddressfordelegatedsender"))
    )
    return listed or frozenset({entry.name.key})


def canonical_address(account: Entry) -> Address:
    """Return the address that an account writes as by default: its canonical one, else its name."""
    canonical = (
        address for address in parse_addresses(account.raw.all("zimbramailcanonicaladdress")) if address.is_ascii
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

    def may_send_as(self, account: Entry, addresses: Collection[Address]) -> frozenset[str]:
        """Return the keys of those addresses that an account may use in From; see :meth:`Directory.may_send_as`."""
        cos = next(
            (holder.raw for holder in self._inheritance.chains([account])[account.dn] if holder.level == "cos"), None
        )
        keys = frozenset(address.key for address in addresses)
        if may_use_any(account.raw, cos):
            return keys
        allowed = keys & own_addresses(account, self._view.site)
        others = [address for address in addresses if address.key not in allowed]
        if not others:
            return allowed
        resolved = self._addresses.resolve_own(others)
        granted = {
            address.key
            for address in others
            for entry in resolved[address.key].entries
            if address.key in offered_addresses(entry) and self._is_granted(account, entry)
        }
        # What could not be asked (and is noted as such) is no reason to say no.
        unknown = {address.key for address in others if not resolved[address.key].known}
        return allowed | granted | unknown

    def _is_granted(self, account: Entry, target: Entry) -> bool:
        """Whether an entry lets an account write as it; a deny to the account itself beats every grant."""
        own_id = (account.raw.first("zimbraid") or "").lower()
        domain = self._view.site.domains.get(account.name.domain)
        domain_id = (domain.raw.first("zimbraid") or "").lower() if domain is not None else ""
        given = list(grants(target))
        if any(grant.denied and grant.kind == "usr" and grant.grantee == own_id for grant in given):
            return False
        positive = [grant for grant in given if not grant.denied]
        direct = {("usr", own_id), ("dom", domain_id)}
        if any((grant.kind, grant.grantee) in direct or grant.kind in {"all", "pub"} for grant in positive):
            return True
        group_ids = {grant.grantee for grant in positive if grant.kind == "grp"}
        if not group_ids:
            return False
        answered = self._view.reader.by_id(group_ids, self._view.trace)
        expansions = self._expansions.expand([entry for entry in answered.values() if entry is not None]).values()
        members = (member for expansion in expansions for member in expansion.members if not member.by_forward)
        if any(member.resolution.entry == account for member in members):
            return True
        truncated = [expansion.truncated for expansion in expansions if expansion.truncated]
        if truncated and not self._view.trace.lenient:
            raise DirectoryUnavailable(truncated[0])
        self._view.trace.failures.extend(truncated)
        return bool(truncated) or len(answered) < len(group_ids)
