"""From a raw LDAP entry to an account or a group, with the addresses that are its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ldapmilter.address import Address, stored_address
from ldapmilter.directory.backend.dn import parts, take_apart, unescaped
from ldapmilter.directory.backend.filters import Equal, Filter, Or, any_of
from ldapmilter.directory.model import Entry
from ldapmilter.errors import DirectoryUnavailable
from ldapmilter.folding import fold_ascii, fold_value

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from ldapmilter.directory.backend.raw_entry import RawEntry
    from ldapmilter.directory.model import Kind

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
    "zimbraPrefMailLocalDeliveryDisabled",
    "zimbraMemberOf",
    "zimbraGroupId",
    "zimbraIsACLGroup",
    "memberURL",
)

EVERYBODY = any_of("objectClass", ("zimbraAccount", "zimbraDistributionList", "zimbraGroup"))
"""Every account and every group that people know; the units inside dynamic groups are parts of those."""
SYSTEM_ACCOUNT = "zimbraIsSystemResource"
"""TRUE on the accounts that Zimbra made for itself (``zmsetup``, ``zmgsautil``): spam, ham, quarantine, galsync."""
ADDRESS_ATTRIBUTES = ("zimbramaildeliveryaddress", "zimbramailalias", "zimbraoldmailaddress")
"""What holds addresses that are an entry's own."""
GROUP_CLASS_NAMES = ("zimbraDistributionList", "zimbraGroup", "zimbraGroupDynamicUnit")
GROUP_CLASSES = frozenset(map(str.lower, GROUP_CLASS_NAMES))


def id_of(raw: RawEntry) -> str:
    """Return the zimbraId of an entry as it is compared; empty: it shows none."""
    return fold_value(raw.first("zimbraid") or "")


def kind_of_entry(raw: RawEntry) -> Kind | None:
    """Return whether an LDAP entry is an account or a group; ``None``: neither."""
    classes = raw.classes
    if "zimbraaccount" in classes:
        return "account"
    return "group" if classes & GROUP_CLASSES else None


def read_entry(raw: RawEntry) -> Entry | None:
    """Return the account or group that an LDAP entry is, or ``None`` when it is neither, or has no name.

    An account's addresses are its delivery addresses, aliases and old address; a group's are its
    ``zimbraMailAlias`` values, the primary among them. Values with options (RFC 4512 section 2.5)
    count: searches, and so delivery, find the entry by them.
    """
    kind = kind_of_entry(raw)
    if kind is None:
        return None
    texts = (text for name in ADDRESS_ATTRIBUTES for text in raw.all_subtypes(name))
    own = {text: address for text in texts if (address := stored_address(text)) is not None}
    primary = raw.all("zimbramaildeliveryaddress") if kind == "account" else own
    name = _choose_name(raw.dn, {text: own[text] for text in primary if text in own})
    if name is None:
        return None
    others = dict.fromkeys(address.key for address in own.values() if address != name)
    return Entry(raw=raw, kind=kind, name=name, other_keys=tuple(others))


def _choose_name(dn: str, candidates: Mapping[str, Address]) -> Address | None:
    """Prefer the address that the DN spells: LDAP values have no order, so "the first" may vary."""
    spelt = spelt_by_dn(dn)
    if spelt in candidates:
        return candidates[spelt]
    derived = stored_address(spelt)
    if derived is not None and (not candidates or derived in candidates.values()):
        return next((address for address in candidates.values() if address == derived), derived)
    return min(candidates.values(), key=lambda address: address.key, default=None)


def spelt_by_dn(dn: str) -> str:
    """Return ``local@domain`` from ``uid=local,ou=people,dc=...`` (or ``cn=`` for groups); empty: it spells none."""
    name = take_apart(dn)
    labels = [part[3:] for part in parts(name.parent) if part.lower().startswith("dc=")]
    if name.attribute.lower() not in {"uid", "cn"} or not labels:
        return ""
    return f"{unescaped(name.value)}@{'.'.join(labels)}"


def catch_all_keys(raw: RawEntry) -> list[str]:
    """Return the ``@domain`` keys of which an entry is the catch-all."""
    return [fold_value(value) for value in raw.all_subtypes("zimbramailcatchalladdress")]


def found_by(raw: RawEntry) -> Iterator[str]:
    """Yield the keys by which :func:`entries_filter` finds an entry, compared as the server compares them."""
    for name in ADDRESS_ATTRIBUTES:
        yield from map(fold_ascii, raw.all_subtypes(name))
    yield from catch_all_keys(raw)


def entries_filter(keys: Iterable[str]) -> Or:
    """Return the filter that finds the entries of addresses, and of ``@domain`` catch-all keys.

    Only attributes that Zimbra's slapd indexes; no status filter, since a closed account is still
    under its archive duty.
    """
    choices: list[Filter] = []
    for key in keys:
        if key.startswith("@"):
            choices.append(Equal("zimbraMailCatchAllAddress", key))
        else:
            choices.extend(
                Equal(attribute, key)
                for attribute in ("zimbraMailDeliveryAddress", "zimbraMailAlias", "zimbraOldMailAddress")
            )
    return Or(tuple(choices))


def must_fit(raw: RawEntry, asked: object) -> None:
    """Refuse an entry that fits nothing that was asked for: whom the server means by it cannot be known.

    To pass over it would be to say that the address does not exist.

    Raises:
        DirectoryUnavailable: it fits nothing.
    """
    if not asked:
        message = f"the directory answers with {raw.dn}, but shows nothing of it that was asked for"
        raise DirectoryUnavailable(message)
