"""From a raw LDAP entry to an account or a group, with the addresses that are its own."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from ldapmilter.address import Address, parse_address, parse_addresses
from ldapmilter.directory.filters import Equal, Filter, Or, any_of, unescape_octets
from ldapmilter.directory.model import Entry

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ldapmilter.directory.model import Kind
    from ldapmilter.directory.raw_entry import RawEntry

ENTRY_ATTRIBUTES = (
    "objectClass",
    "cn",
    "displayName",
    "zimbraId",
    "zimbraCOSId",
    "zimbraIsExternalVirtualAccount",
    "zimbraMailDeliveryAddress",
    "zimbraMailAlias",
    "zimbraOldMailAddress",
    "zimbraMailCatchAllAddress",
    "zimbraMailForwardingAddress",
    "zimbraPrefMailForwardingAddress",
    "zimbraMemberOf",
    "zimbraGroupId",
    "zimbraIsACLGroup",
    "memberURL",
)

EVERYBODY = any_of("objectClass", ("zimbraAccount", "zimbraDistributionList", "zimbraGroup"))
"""Every account and every group that people know; the units inside dynamic groups are parts of those."""
_OWN_ADDRESSES = ("zimbramaildeliveryaddress", "zimbramailalias", "zimbraoldmailaddress")
GROUP_CLASSES = frozenset({"zimbradistributionlist", "zimbragroup", "zimbragroupdynamicunit"})


def read_entry(raw: RawEntry) -> Entry | None:
    """Return the account or group that an LDAP entry is, or ``None`` when it is neither.

    An account's addresses are its delivery addresses, aliases and old address; a group's are its
    ``zimbraMailAlias`` values, the primary among them.
    """
    classes = {name.lower() for name in raw.all("objectclass")}
    kind: Kind
    if "zimbraaccount" in classes:
        kind = "account"
    elif classes & GROUP_CLASSES:
        kind = "group"
    else:
        return None
    own = [address for name in _OWN_ADDRESSES for address in parse_addresses(raw.all(name))]
    primary = parse_addresses(raw.all("zimbramaildeliveryaddress")) if kind == "account" else own
    name = _choose_name(raw.dn, list(primary))
    if name is None:
        return None
    others = dict.fromkeys(address.key for address in own if address != name)
    return Entry(raw=raw, kind=kind, name=name, other_keys=tuple(others))


def _choose_name(dn: str, candidates: list[Address]) -> Address | None:
    """Prefer the address that the DN spells: LDAP values have no order, so "the first" may vary."""
    derived = name_from_dn(dn)
    if derived is not None and (not candidates or derived in candidates):
        return next((address for address in candidates if address == derived), derived)
    return min(candidates, key=lambda address: address.key, default=None)


def name_from_dn(dn: str) -> Address | None:
    """Return ``local@domain`` from ``uid=local,ou=people,dc=...`` (or ``cn=`` for groups)."""
    parts = [part.strip() for part in re.split(r"(?<!\\),", dn)]
    attribute, _, local = parts[0].partition("=")
    labels = [part[3:] for part in parts if part.lower().startswith("dc=")]
    if attribute.lower() not in {"uid", "cn"} or not labels:
        return None
    return parse_address(f"{unescape_rdn(local)}@{'.'.join(labels)}")


def unescape_rdn(value: str) -> str:
    r"""Undo the escapes of a DN's value (RFC 4514 section 2.4): ``\2B`` and ``\+``."""
    # Escaped specials become escaped octets first, so that one pass undoes both.
    return unescape_octets(re.sub(r"\\([^0-9A-Fa-f])", lambda match: f"\\{ord(match[1]):02x}", value))


def catch_all_keys(raw: RawEntry) -> list[str]:
    """Return the ``@domain`` keys for which an entry takes whatever nobody else does."""
    return [value.lower() for value in raw.all("zimbramailcatchalladdress")]


def entries_filter(keys: Iterable[str]) -> Or:
    """Return the filter that finds the entries of addresses, and of ``@domain`` catch-all keys.

    Only attributes that Zimbra's slapd indexes; no status filter, since a closed account is still
    under its archive duty.
    """
    parts: list[Filter] = []
    for key in keys:
        if key.startswith("@"):
            parts.append(Equal("zimbraMailCatchAllAddress", key))
        else:
            parts.extend(
                Equal(attribute, key)
                for attribute in ("zimbraMailDeliveryAddress", "zimbraMailAlias", "zimbraOldMailAddress")
            )
    return Or(tuple(parts))
