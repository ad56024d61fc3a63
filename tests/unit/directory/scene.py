"""A whole directory over an embedded one: its clock, its outages and its data in the test's hands."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.structs import replace

from ldapmilter.directory.cache.entries import Limits
from ldapmilter.directory.groups import GroupLimits
from ldapmilter.opening import directory_over
from tests.support.fake_store import FakeStore
from tests.unit.directory.hand import Clock, at_once
from tests.unit.policy.world import read_config

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ldapmilter.directory.zimbra import MessageDirectory
    from tests.support.record import Record

LIMITS = Limits(ttl=100, negative_ttl=20, stale_ttl=1000, max_entries=10_000)


class Scene:
    """A directory, its cache, its clock and its store."""

    def __init__(self, records: Iterable[Record], limits: GroupLimits | None = None) -> None:
        self.clock = Clock()
        self.store = FakeStore(records)
        config = read_config({})
        config = replace(
            config,
            cache=LIMITS,
            groups=limits or GroupLimits(),
            ldap=replace(config.ldap, lookup_deadline=60),
        )
        wired = directory_over(
            self.store,
            config,
            self.clock,
            at_once,
            host_addresses=lambda names: frozenset(names),  # noqa: PLW0108 - typed as it is called
            jitter=lambda: 0.5,
        )
        self.cache, self.directory = wired.cache, wired.directory

    def view(self, *, lenient: bool = False, memory_only: bool = False) -> MessageDirectory:
        return self.directory.for_message(lenient=lenient, memory_only=memory_only)
