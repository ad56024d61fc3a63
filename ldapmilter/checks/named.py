"""What the policy values of a directory name, gathered to be looked up many at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct, field

from ldapmilter.address import fold_domain
from ldapmilter.directory.entries import read_entry
from ldapmilter.policy.rules import CopyRule, MailboxTemplate, SenderRule

if TYPE_CHECKING:
    from ldapmilter.address import Address
    from ldapmilter.checks.purposes import HolderKind, Value
    from ldapmilter.directory.backend.raw_entry import RawEntry
    from ldapmilter.policy.when import When

_PLACES = 3
"""Places that a finding names; of further ones it says how many there are."""


class Uses(Struct):
    """Where one thing is named: the first few places, and how many there are."""

    places: list[str] = field(default_factory=list)
    count: int = 0
    last: str = ""
    relayed: bool = False
    """Whether copies go there by way of the copy relay."""

    def add(self, place: str, *, relayed: bool = False) -> None:
        """Note a place; one value that serves several purposes is one place."""
        self.relayed |= relayed
        if place == self.last:
            return
        self.last = place
        self.count += 1
        if len(self.places) < _PLACES:
            self.places.append(place)

    def __str__(self) -> str:
        more = self.count - len(self.places)
        return "; ".join(self.places) + (f"; and {more} more" if more else "")


class Named(Struct):
    """What the values of the directory name, to be looked up."""

    holders: int = 0
    values: int = 0
    targets: dict[str, tuple[Address, Uses]] = field(default_factory=dict)
    """Copy addresses by key."""
    parties: dict[tuple[str, str], Uses] = field(default_factory=dict)
    """What ``WHEN`` names: ``("group", key)`` and ``("address", key)``."""
    templates: dict[str, tuple[CopyRule, Uses, set[str]]] = field(default_factory=dict)
    """Copy addresses with placeholders on entries that give them to many accounts, with those entries' DNs."""
    from_templates: dict[tuple[str, str | None], tuple[MailboxTemplate, Uses]] = field(default_factory=dict)
    """From mailboxes, by their address part and the domain that all their senders are in, where there is one."""
    policy_groups: list[RawEntry] = field(default_factory=list)
    group_rules: list[tuple[str, SenderRule, str]] = field(default_factory=list)
    """From rules of policy groups: the group's DN, the rule, and where it stands, in words."""

    def add(self, entry: RawEntry, kind: HolderKind, value: Value, place: str, *, relayed: bool = False) -> None:
        """Gather what a value leads to; ``relayed``: its copies go by way of the copy relay."""
        if isinstance(value, CopyRule):
            self._add_when(value.when, place)
            if value.personal and kind != "account":
                _, uses, holders = self.templates.setdefault(value.template, (value, Uses(), set()))
                uses.add(place, relayed=relayed)
                holders.add(entry.dn)
                return
            account = read_entry(entry) if value.personal else None
            target = value.address_for(account.name if account is not None else None)
            self.targets.setdefault(target.key, (target, Uses()))[1].add(place, relayed=relayed)
        elif isinstance(value, SenderRule):
            self._add_when(value.when, place)
            key = (value.mailbox.address, _domain_of_senders(entry, kind))
            self.from_templates.setdefault(key, (value.mailbox, Uses()))[1].add(place)
            if kind == "policy-group":
                self.group_rules.append((entry.dn, value, place))
        elif isinstance(value, MailboxTemplate):
            self.from_templates.setdefault((value.address, None), (value, Uses()))[1].add(place)

    def _add_when(self, when: When | None, place: str) -> None:
        if when is not None and when.kind in {"group", "address"}:
            self.parties.setdefault((when.kind, when.operand), Uses()).add(place)


def _domain_of_senders(entry: RawEntry, kind: HolderKind) -> str | None:
    """Return the domain of everybody whom a sender's rule on an entry is for; ``None``: of any domain."""
    if kind == "domain":
        return fold_domain(entry.first("zimbradomainname") or "")
    account = read_entry(entry) if kind == "account" else None
    return account.name.domain if account is not None else None
