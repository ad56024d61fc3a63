"""The header fields of one message that were asked for, in bounded memory whatever the message holds.

No mail program writes a hundred fields of one name, and nothing keeps a client from sending a million.
The first ones are kept and the last one (which counts for X-Authenticated-User); what stood between
them is counted, and one unreadable field takes its place: enforcement then takes it for an address
that is not the user's.
"""

from __future__ import annotations

from ldapmilter.message import Headers

MAX_KEPT = 1000
"""Fields of one message that are kept as they are."""
MAX_KEPT_CHARACTERS = 8_000_000
"""What they may hold together; by default Postfix passes 102,400 octets of a field (header_size_limit)."""


class HeaderFields:
    """Fields by name in lower case, values as text with ``surrogateescape``."""

    __slots__ = ("_characters", "_kept", "_last", "_places", "counts", "wanted")

    def __init__(self, wanted: frozenset[str] = frozenset()) -> None:
        """Expect a message's header.

        Args:
            wanted: names of the fields to keep, in lower case; nothing is kept of others.
        """
        self.wanted = wanted
        self.counts: dict[str, int] = {}
        """How many fields of each wanted name there were."""
        self._kept: list[tuple[str, str]] = []
        self._characters = 0
        self._places: dict[str, int] = {}
        """Of each name with fields left out: how many of it had been kept by then."""
        self._last: dict[str, str] = {}
        """Of each such name: the value of its last field."""

    def take(self, name: str, value: bytes) -> None:
        """Keep a field, if its name (lower case) is wanted and there is room."""
        if name not in self.wanted:
            return
        count = self.counts[name] = self.counts.get(name, 0) + 1
        text = value.decode("utf-8", "surrogateescape")
        fits = len(self._kept) < MAX_KEPT and self._characters + len(text) <= MAX_KEPT_CHARACTERS
        if name not in self._places and fits:
            self._kept.append((name, text))
            self._characters += len(text)
        else:
            self._places.setdefault(name, count - 1)
            self._last[name] = text

    def values(self, name: str) -> tuple[str, ...]:
        """Return the values of the fields of a name, in order."""
        return tuple(value for field, value in self.all() if field == name)

    def headers(self) -> Headers:
        """Return what policy reads."""
        cut = frozenset(name for name, kept in self._places.items() if self.counts[name] - kept > 1)
        return Headers(fields=tuple(self.all()), cut=cut)

    def all(self) -> list[tuple[str, str]]:
        """Return names and values in order."""
        found = list(self._kept)
        for name, kept in self._places.items():
            left_out = self.counts[name] - kept - 1
            if left_out:
                found.append((name, f"({left_out} more fields, which were not kept)"))
            found.append((name, self._last[name]))
        return found


NO_FIELDS = HeaderFields()
"""Of a message whose header is not read: it keeps nothing, so all such messages share it."""
