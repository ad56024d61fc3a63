"""A directory whose background is run by hand, and whose searches take as long as a test says."""

from __future__ import annotations

import threading
from datetime import date
from typing import TYPE_CHECKING, Final

from msgspec.structs import replace

from ldapmilter import opening
from ldapmilter.directory import answering, large
from ldapmilter.directory import searches as loading
from ldapmilter.directory.cache.loads import Loads
from ldapmilter.directory.groups import GroupLimits
from ldapmilter.message import Envelope
from ldapmilter.opening import directory_over
from ldapmilter.policy.decide import decide
from tests.support.fake_store import FakeStore
from tests.unit.directory.hand import Clock, at_once
from tests.unit.directory.scene import LIMITS
from tests.unit.policy.world import read_config

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    import pytest

    from ldapmilter.directory.cache.entries import Limits
    from ldapmilter.directory.zimbra import MessageDirectory
    from ldapmilter.policy.model import Decision
    from tests.support.record import Record

DEADLINE: Final = 10.0
NO_TIME: Final = 1e-6
"""Seconds that a message waits for what is not there: no test is about time."""
PART: Final = 10
POLICY: Final = read_config({}).policy
LENIENT: Final = read_config({"policy": {"directory_failure": "accept"}}).policy


class Theatre:
    """A directory whose background is run by hand."""

    def __init__(self, found: Iterable[Record], limits: Limits = LIMITS, groups: int = 50_000) -> None:
        self.clock = Clock()
        self.takes = 0.0
        """Seconds that every search takes."""
        self.store = FakeStore(found)
        self.store.before = self._search
        self.jobs: list[Callable[[], None]] = []
        self.renewals = 0
        self.pauses: list[float] = []
        config = read_config({})
        wired = directory_over(
            self.store,
            replace(
                config,
                cache=limits,
                groups=GroupLimits(max_members=groups),
                ldap=replace(config.ldap, lookup_deadline=DEADLINE),
            ),
            self.clock,
            at_once,
            host_addresses=lambda found: frozenset(found),  # noqa: PLW0108 - typed as it is called
            background=lambda cache: Loads(cache, self.clock, spawn=self._spawn, pause=self._pause),
            jitter=lambda: 0.5,
        )
        assert wired.loads is not None
        self.cache, self.directory, self.loads = wired.cache, wired.directory, wired.loads
        self.stopped = False
        self.lenient = False
        """Whether mail goes on when the directory cannot be asked (``directory_failure = accept``)."""

    def _search(self) -> None:
        self.clock.now += self.takes

    def _spawn(self, work: Callable[[], None]) -> None:
        self.jobs.append(work)

    def _pause(self, seconds: float) -> bool:
        """Let time pass; end a thread that waits for its next turn to renew, unless there are turns left."""
        self.pauses.append(seconds)
        if seconds > 1:
            if not self.renewals:
                return True
            self.renewals -= 1
        self.clock.now += seconds
        return self.stopped

    def run(self) -> None:
        """Let what goes on in the background come to its end."""
        if len(self.jobs) == 1:
            self.jobs.pop()()
        threads = [threading.Thread(target=work, daemon=True) for work in self.jobs]
        self.jobs.clear()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
            assert not thread.is_alive(), "still reading"

    def view(self, *, lenient: bool = False) -> MessageDirectory:
        return self.directory.for_message(lenient=lenient, seconds=NO_TIME)

    def mail(self, *recipients: str, login: str | None = None) -> Decision:
        envelope = Envelope(login=login, client="192.0.2.1", sender=login or "joe@outside.test", recipients=recipients)
        policy = LENIENT if self.lenient else POLICY
        today = date(2026, 1, 1)
        view = self.directory.for_message(
            lenient=self.lenient, seconds=NO_TIME, whole=lambda again: decide(envelope, again, policy, today=today)
        )
        return decide(envelope, view, policy, today=today)


def make_small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Call thirty entries large, and read ten at a time."""
    monkeypatch.setattr(large, "LARGE", 30)
    monkeypatch.setattr(answering, "CHUNK", PART)
    monkeypatch.setattr(loading, "CHUNK", PART)
    monkeypatch.setattr(opening, "CHUNK", PART)
    monkeypatch.setattr("ldapmilter.directory.searching.PAGE_SIZE", PART)
    monkeypatch.setattr("ldapmilter.directory.backend.ldif.PAGE_SIZE", PART)
