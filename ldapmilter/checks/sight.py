"""The directory as the checks read it: searches, and whether "nothing there" may be believed.

A check that finds an attribute unset has found nothing as long as it might be hidden. The milter's
identity needs fewer attributes for mail than the checks would like to see, so this is asked each time.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ldapmilter.directory.ldap_connection import ServerFailed
from ldapmilter.directory.store import Deadline

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from ldapmilter.directory.filters import Filter
    from ldapmilter.directory.one_server import OneServer
    from ldapmilter.directory.raw_entry import RawEntry
    from ldapmilter.directory.store import Scope, Store

# RFC 4511 appendix A: false, true, no such attribute, inappropriate matching, a value of another syntax.
_LOOKED_AT = frozenset({5, 6, 16, 18, 21})


@dataclass(frozen=True, slots=True, kw_only=True)
class Sight:
    """A directory to look around in."""

    store: Store
    server: OneServer | None
    """Where "hidden" can be told from "unset"; ``None``: an export, which hides nothing."""
    base: str
    """Where accounts, lists and domains are; empty: everywhere."""
    seconds: float
    """That one search, or one page, may take."""

    def search(self, base: str, scope: Scope, wanted: Filter, attributes: Sequence[str]) -> list[RawEntry]:
        """Return the entries that match.

        Raises:
            DirectoryUnavailable: no answer.
        """
        return self.store.search(base, scope, wanted, attributes, self._deadline())

    def pages(self, base: str, wanted: Filter, attributes: Sequence[str]) -> Iterator[RawEntry]:
        """Yield the entries below a base that match, in bounded memory.

        Raises:
            DirectoryUnavailable: the answer broke off.
        """
        for page in self.store.pages(base, "sub", wanted, attributes, self._deadline()):
            yield from page

    def hidden(self, dn: str, attributes: Iterable[str]) -> tuple[str, ...]:
        """Return which attributes of an entry may not be read, or are unknown to the server."""
        if self.server is None:
            return ()
        try:
            return tuple(name for name in attributes if self.server.compare(dn, name, "TRUE") not in _LOOKED_AT)
        except ServerFailed:
            return tuple(attributes)

    def _deadline(self) -> Deadline:
        return Deadline.after(self.seconds, time.monotonic)
