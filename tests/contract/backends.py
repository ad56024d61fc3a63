"""The back ends that keep the contract, each opened the way the product opens it: from a config.ini."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ldapmilter.config import load
from ldapmilter.directory.backend.store import Deadline
from ldapmilter.opening import OpenDirectory, open_directory

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from ldapmilter.directory.backend.filters import Filter
    from ldapmilter.directory.backend.raw_entry import RawEntry
    from ldapmilter.directory.backend.store import Scope, Store
    from tests.support.slapd import Slapd

LIMIT = 60.0
"""Seconds that anything may take here: no test is about time."""
LASTING = "[cache]\nttl = 86000\nnegative_ttl = 86000\n"
"""For tests that count searches: none comes again because the machine is slow."""


@dataclass(frozen=True)
class BackEnd:
    """One way to the same data."""

    name: str
    ldap_section: str
    """Lines of ``[ldap]``."""
    folder: Path
    """Where its configuration is written to."""
    clock: Callable[[], float]
    server: Slapd | None = None
    """The server behind it, if there is one."""

    @contextmanager
    def opened(self, more: str = "") -> Iterator[OpenDirectory]:
        """Open it with an empty cache and further sections of configuration."""
        self.folder.mkdir(exist_ok=True)
        file = self.folder / "config.ini"
        file.write_text(
            f"[ldap]\n{self.ldap_section}connect_timeout = {LIMIT}\nlookup_deadline = {LIMIT}\n{more}", encoding="utf-8"
        )
        opened = open_directory(load(file))
        try:
            yield opened
        finally:
            opened.close()

    def log_position(self) -> int:
        """Return how many searches the server has logged; 0 where there is none."""
        return self.server.searches(self.server.bind_dn) if self.server is not None else 0


@dataclass(frozen=True)
class Searcher:
    """A store, asked with a generous deadline."""

    store: Store
    clock: Callable[[], float]

    def raws(self, search_filter: Filter, *attributes: str, base: str = "", scope: Scope = "sub") -> list[RawEntry]:
        return self.store.search(
            base, scope, search_filter, attributes or ("uid", "cn"), Deadline.after(LIMIT, self.clock)
        )

    def dns(self, search_filter: Filter, *, base: str = "", scope: Scope = "sub") -> Sequence[str]:
        """Return the DNs that match, lower case and sorted: a directory has no order."""
        return sorted(raw.dn.lower() for raw in self.raws(search_filter, base=base, scope=scope))
