"""Who each recipient of an envelope leads to: the members of lists, the targets of forwards.

It is found out when the relay first sees a copy, and stored with it: a report that goes out days later
says who the members were then.
"""

from __future__ import annotations

import string
from typing import TYPE_CHECKING, Any, Literal

from msgspec import Struct

from ldapmilter.address import envelope_address
from ldapmilter.directory.groups import has_members
from ldapmilter.errors import DirectoryUnavailable

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from ldapmilter.directory.interface import Directory
    from ldapmilter.directory.model import Entry, Expansion, Member, Resolution

How = Literal["expanded", "forwarded"]
_NO_LOCAL_DELIVERY = "zimbraprefmaillocaldeliverydisabled"
_LOWER = str.maketrans(string.ascii_uppercase, string.ascii_lowercase)


def in_lower_case(address: str) -> str:
    """Return an address as a report spells it: only ASCII letters have one lower case for all readers."""
    return address.translate(_LOWER)


class LeadsOn(Struct, frozen=True, kw_only=True):
    """One recipient of an envelope that others are behind."""

    recipient: str
    """As the envelope has it."""
    how: How
    """By a list, or by an account that forwards."""
    stays: bool
    """Whether the recipient gets the message itself: an account that keeps it, a list without anybody in it."""
    behind: tuple[str, ...]
    """Who else gets it, in lower case, each spelt as the list or the forward has it."""
    also: tuple[str, ...] = ()
    """Keys of further addresses of the same entry: a header may name it by one of them."""


class Expanded(Struct, frozen=True, kw_only=True):
    """Who the recipients of one envelope lead to; a recipient that is not named leads to nobody else."""

    time: str
    """When it was found out: ISO 8601, UTC."""
    incomplete: bool
    """Whether somebody may be behind a recipient who is not named here."""
    recipients: tuple[LeadsOn, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON holds it: it is stored with the copy."""
        return {
            "time": self.time,
            "incomplete": self.incomplete,
            "recipients": [
                {
                    "recipient": one.recipient,
                    "how": one.how,
                    "stays": one.stays,
                    "behind": list(one.behind),
                    "also": list(one.also),
                }
                for one in self.recipients
            ],
        }

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> Expanded:
        """Return what :meth:`as_json` made."""
        return cls(
            time=stored["time"],
            incomplete=stored["incomplete"],
            recipients=tuple(
                LeadsOn(
                    recipient=one["recipient"],
                    how=one["how"],
                    stays=one["stays"],
                    behind=tuple(one["behind"]),
                    also=tuple(one["also"]),
                )
                for one in stored["recipients"]
            ),
        )


def expand(offered: Sequence[str], directory: Directory, time: str) -> Expanded:
    """Return who the recipients of an envelope lead to.

    Args:
        offered: the recipients as the envelope has them, without brackets.
        directory: strict: what cannot be asked is raised.
        time: now, as it is stored.

    Raises:
        DirectoryUnavailable: somebody could not be looked up, or a group is still being read.
    """
    walk = _Walk(directory)
    return Expanded(time=time, recipients=tuple(walk.all(list(dict.fromkeys(offered)))), incomplete=walk.incomplete)


def expand_as_known(offered: Sequence[str], directory: Directory, time: str) -> Expanded:
    """Return as much of it as the directory can be asked for; what it cannot makes it incomplete.

    ``directory`` is strict as well: each recipient is asked about on its own, and none costs another.
    """
    found: list[LeadsOn] = []
    incomplete = False
    for recipient in dict.fromkeys(offered):
        try:
            walk = _Walk(directory)
            found += walk.all([recipient])
            incomplete |= walk.incomplete
        except DirectoryUnavailable:
            incomplete = True
    return Expanded(time=time, recipients=tuple(found), incomplete=incomplete)


class _Walk:
    """One pass; it notes whether anything stayed unknown."""

    def __init__(self, directory: Directory) -> None:
        self._directory = directory
        self.incomplete = False

    def all(self, offered: Collection[str]) -> list[LeadsOn]:
        addresses = {text: address for text in offered if (address := envelope_address(text)) is not None}
        resolved = self._directory.resolve(addresses.values()) if addresses else {}
        found: dict[str, list[Entry]] = {}
        for text, address in addresses.items():
            resolution = resolved[address.key]
            self.incomplete |= not resolution.known
            if entries := [entry for entry in resolution.entries if has_members(entry)]:
                found[text] = entries
        roots = {entry.dn: entry for some in found.values() for entry in some}
        expansions = self._directory.expand(roots.values()) if roots else {}
        return [
            self._leads_on(text, some, resolved[addresses[text].key], [expansions[entry.dn] for entry in some])
            for text, some in found.items()
        ]

    def _leads_on(
        self, recipient: str, entries: list[Entry], resolution: Resolution, expansions: list[Expansion]
    ) -> LeadsOn:
        self.incomplete |= any(expansion.truncated for expansion in expansions)
        members = [member for expansion in expansions for member in expansion.members]
        behind = dict.fromkeys(map(in_lower_case, self._names(members)))
        accounts = [entry for entry in resolution.entries if entry.kind == "account"]
        keeps = any(entry not in entries or _keeps(entry) for entry in accounts)
        return LeadsOn(
            recipient=recipient,
            how="expanded" if any(entry.kind == "group" for entry in entries) else "forwarded",
            stays=keeps or not behind,
            behind=tuple(behind),
            also=tuple(
                dict.fromkeys(key for entry in entries for key in entry.own_keys if key != resolution.address.key)
            ),
        )

    def _names(self, members: list[Member]) -> list[str]:
        """Return who of the members gets the message: no group that has members, nor who only forwards it."""
        led_through = {name for member in members for name in member.path[1:]}
        nested = {entry.dn: entry for member in members for entry in _groups(member)}
        unseen = [entry for entry in nested.values() if entry.name.text not in led_through]
        empty: set[str] = set()
        for dn, expansion in (self._directory.expand(unseen) if unseen else {}).items():
            self.incomplete |= expansion.truncated is not None
            if not expansion.members:
                empty.add(dn)
        names = []
        for member in members:
            resolution = member.resolution
            if resolution.unread or not resolution.known:  # mail goes on to nobody knows whom
                self.incomplete = True
                continue
            groups = _groups(member)
            if groups and not all(entry.dn in empty for entry in groups):
                continue
            if resolution.entries and all(not _keeps(entry) for entry in resolution.entries):
                continue
            names.append(resolution.address.text)
        return names


def _groups(member: Member) -> list[Entry]:
    return [entry for entry in member.resolution.entries if entry.kind == "group"]


def _keeps(entry: Entry) -> bool:
    """Whether mail to an entry stays there, forwards or not (``zimbraPrefMailLocalDeliveryDisabled``)."""
    if entry.kind != "account" or not has_members(entry):
        return True
    return not entry.raw.is_true(_NO_LOCAL_DELIVERY)
