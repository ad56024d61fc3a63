"""What the cache holds about an address: to find out why a change does not act yet."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ldapmilter.address import parse_address
from ldapmilter.directory.flush import entries_in, every_spelling, site_in
from ldapmilter.directory.keys import Key, kind_of, name_of

if TYPE_CHECKING:
    from ldapmilter.directory.cache.held import Held


def held(cache: Held, text: str, now: float) -> list[dict[str, Any]]:
    """Return the answers that concern an address, in whatever spelling, for JSON.

    Args:
        cache: the cache.
        text: an address.
        now: the cache's own clock.

    Returns:
        for each answer ``kind``, ``key``, ``dns`` (of the entries; none: known to be absent), ``age``
        and ``fresh_for`` in seconds (negative: past its time to live, kept for an outage).
    """
    address = parse_address(text)
    if address is None:
        return []
    keys = every_spelling([address], site_in(cache))
    found = []
    for key, slot in cache.items():
        if not isinstance(key, (Key, str)):
            continue
        entries = entries_in(slot.value)
        if name_of(key) in keys or any(not keys.isdisjoint(entry.addresses) for entry in entries):
            found.append(
                {
                    "kind": kind_of(key),
                    "key": name_of(key),
                    "dns": [entry.dn for entry in entries],
                    "age": round(now - slot.loaded_at, 1),
                    "fresh_for": round(slot.fresh_until - now, 1),
                }
            )
    return sorted(found, key=lambda answer: (str(answer["kind"]), str(answer["key"])))
