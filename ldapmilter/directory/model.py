"""What the directory hands to policy: entries, levels, resolutions, expansions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from msgspec import Struct

from ldapmilter.address import Address, plain_address

if TYPE_CHECKING:
    from ldapmilter.directory.backend.raw_entry import RawEntry

Kind = Literal["account", "group"]
Level = Literal["account", "group", "policy-group", "cos", "domain", "global"]
"""Where a value was found."""
Match = Literal["address", "alias-domain", "catch-all", "delimiter"]
"""How an address led to an entry. Only the first two make the address one of the entry's own."""


SendRight = Literal["own", "allowed", "any", "extension", "granted", "external", "unknown"]
"""By what an account may write as an address; ``unknown``: that could not be asked, which is no reason to say no."""


class Version:
    """An entry as it was read, to key what is worked out from it: a change makes another key."""

    __slots__ = ("raw",)

    def __init__(self, raw: RawEntry) -> None:
        """Key by an entry and all that was read of it."""
        self.raw = raw

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Version) and (self.raw is other.raw or self.raw == other.raw)

    def __hash__(self) -> int:
        return hash(self.raw)


class Entry:
    """What an address resolves to: an account (resources too) or a group (list or dynamic).

    Attributes:
        raw: the LDAP entry.
        kind: which of the two it is.
    """

    __slots__ = ("_name", "_other_keys", "kind", "raw")

    def __init__(self, *, raw: RawEntry, kind: Kind, name: Address, other_keys: tuple[str, ...] = ()) -> None:
        """Name an LDAP entry.

        Args:
            raw: the LDAP entry.
            kind: account or group.
            name: the primary address: Zimbra's account or list name.
            other_keys: keys of the addresses that are this entry's own beside its name.
        """
        self.raw = raw
        self.kind = kind
        # There are tens of thousands: the key is there anyway, and mostly says all there is to say.
        self._name = name.key if name.is_plain else name
        self._other_keys = other_keys

    @property
    def name(self) -> Address:
        """The primary address: Zimbra's account or list name."""
        return plain_address(self._name) if isinstance(self._name, str) else self._name

    @property
    def own_keys(self) -> tuple[str, ...]:
        """Keys of every address that is this entry's own, each once."""
        return (self._name if isinstance(self._name, str) else self._name.key, *self._other_keys)

    @property
    def addresses(self) -> frozenset[str]:
        """Keys of every address that is this entry's own."""
        return frozenset(self.own_keys)

    @property
    def dn(self) -> str:
        """The distinguished name as the directory spells it."""
        return self.raw.dn

    @property
    def display_name(self) -> str:
        """``displayName``, else ``cn``, else nothing."""
        return self.raw.first("displayname") or self.raw.first("cn") or ""

    @property
    def version(self) -> Version:
        """What to key values by that are worked out from this entry."""
        return Version(self.raw)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Entry) and self.raw.dn == other.raw.dn

    def __hash__(self) -> int:
        return hash(self.raw.dn)


class Holder(Struct, frozen=True, kw_only=True):
    """One level that may hold values: an entry on a chain of inheritance."""

    level: Level
    raw: RawEntry
    group_path: tuple[str, ...] = ()
    """For a policy group: the groups that lead from it to the member."""

    @property
    def dn(self) -> str:
        """The entry that holds the values."""
        return self.raw.dn

    def values(self, attribute: str) -> tuple[str, ...]:
        """Return the values of one attribute in a stable order (LDAP values have none)."""
        return tuple(sorted(self.raw.all(attribute.lower())))


Chain = tuple[Holder, ...]
"""Levels from the most specific (account, group) to the global config."""


class Resolution(Struct, frozen=True, kw_only=True):
    """What one address means here."""

    address: Address
    entries: tuple[Entry, ...] = ()
    """Nothing, one entry, or (hand-made data) more than one."""
    match: Match = "address"
    hosted_domain: str | None = None
    """The local domain whose policy covers the address (an alias domain's target), if hosted."""
    known: bool = True
    """``False`` when the directory could not be asked and the caller chose to go on."""
    unread: bool = False
    """Whether it is a value that holds something else than an address: the local part is the whole value."""

    @property
    def entry(self) -> Entry | None:
        """The entry when there is exactly one."""
        return self.entries[0] if len(self.entries) == 1 else None

    @property
    def identity_keys(self) -> frozenset[str]:
        """Keys under which this address is "the same" as another one.

        Equal after folding, or an alias of the same entry; never through a catch-all or a
        recipient delimiter: two archive mailboxes behind one catch-all stay two.
        """
        if self.match in {"address", "alias-domain"}:
            return frozenset((self.address.key, *[f"dn:{entry.raw.dn}" for entry in self.entries]))
        return frozenset((self.address.key,))


class Member(Struct, frozen=True, kw_only=True):
    """A member of a group, or the target of a forward."""

    resolution: Resolution
    path: tuple[str, ...]
    """Names of the groups (and forwarding accounts) from the expanded entry down."""
    by_forward: bool = False
    """Whether a user's own forward is on the path."""


class Expansion(Struct, frozen=True, kw_only=True):
    """The recipients that a group or an account's forwards lead to; nested groups are members too."""

    members: tuple[Member, ...] = ()
    truncated: str | None = None
    """Which group went past which bound, in words; ``None`` when all members are here."""
