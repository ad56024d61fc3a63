"""How zmprov prints an entry: a header line, then `attribute: value` in order of names."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tests.support.zmprov.store import Entry, Values

# Filled in by slapd when a dynamic group is read, and no attribute of Zimbra's entry.
_VIRTUAL = frozenset({"member"})


def print_attributes(values: Mapping[str, Sequence[str]], wanted: Sequence[str]) -> None:
    """Print the values of the attributes named, or of all; a value with line breaks spans lines."""
    names = {name.lower() for name in wanted}
    for name in sorted(values):
        if name.lower() in _VIRTUAL or (names and name.lower() not in names):
            continue
        for value in values[name]:
            print(f"{name}: {value}")


def print_entry(entry: Entry, wanted: Sequence[str], inherited: Values | None = None) -> None:
    """Print an account, COS, domain or server; `inherited` fills what the entry lacks."""
    own = {name.lower() for name in entry.values}
    more = {name: values for name, values in (inherited or {}).items() if name.lower() not in own}
    print(f"# name {entry.name}")
    print_attributes({**entry.values, **more}, wanted)
    print()


def print_group(entry: Entry, members: Sequence[str], wanted: Sequence[str]) -> None:
    """Print a list with its members; the header is not that of other entries."""
    print(f"# distributionList {entry.name} memberCount={len(members)}")
    print_attributes(entry.values, wanted)
    print()
    print("members")
    for member in members:
        print(member)
