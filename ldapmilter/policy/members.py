"""Who is behind groups and forwards, and what their chains request: pure functions of a directory.

They take as long as a group is large, and read all that they need themselves.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from ldapmilter.address import parse_address
from ldapmilter.policy.copy_requests import requested_copies
from ldapmilter.policy.matching import Party, group_keys
from ldapmilter.policy.parties import subjects_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ldapmilter.directory.interface import Directory, KeyT
    from ldapmilter.directory.model import Entry
    from ldapmilter.policy.copy_requests import CopyRequests
    from ldapmilter.policy.settings import DatedPolicy


class GroupKeys(NamedTuple):
    """Who is in the group of a ``group:`` condition."""

    keys: frozenset[str]
    """Address keys and ``dn:`` keys, of the group itself too."""
    truncated: tuple[str, ...]
    """Which group went past which bound, in words."""


def requests_behind(
    entries: Mapping[KeyT, Entry], directory: Directory, dated: DatedPolicy
) -> dict[KeyT, CopyRequests]:
    """Return what the chains of those behind each entry request."""
    expansions = directory.expand(entries.values())
    parties = {
        key: [(member.resolution, member.path) for member in expansions[entry.dn].members]
        for key, entry in entries.items()
    }
    members = {entry for group in parties.values() for resolution, _ in group for entry in resolution.entries}
    chains = directory.chains(members) if members else {}
    subjects = {key: list(subjects_of("received", group, chains, directory)) for key, group in parties.items()}
    return requested_copies(subjects, dated.policy.copy_classes, dated.today, directory)


def keys_of_group(operand: str, directory: Directory) -> GroupKeys:
    """Return who is in the group that an address names."""
    address = parse_address(operand)
    if address is None:
        return GroupKeys(frozenset(), ())
    own = directory.resolve([address])[address.key]
    expansions = directory.expand([entry for entry in own.entries if entry.kind == "group"])
    members = [
        member.resolution for expansion in expansions.values() for member in expansion.members if not member.by_forward
    ]
    return GroupKeys(group_keys(own, members), tuple(e.truncated for e in expansions.values() if e.truncated))


def index_of_members(group: Entry, directory: Directory) -> Party:
    """Return what rules can match a group's members by."""
    party = Party()
    for member in directory.expand([group])[group.dn].members:
        if not member.by_forward:
            party.add(member.resolution, member.path)
    return party
