"""A directory in memory and a configuration as text: what policy tests decide over.

The product's own code from the search operation up; only the clock, the name service and the moments
at which the directory fails belong to the test.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from datetime import date
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Final

from ldapmilter import config as config_file
from ldapmilter.directory import filters, ldif
from ldapmilter.directory.cache import Cache
from ldapmilter.directory.reader import Reader, same_answer
from ldapmilter.directory.zimbra import ZimbraDirectory
from ldapmilter.errors import DirectoryUnavailable
from ldapmilter.message import Envelope, Headers
from ldapmilter.policy.decide import decide
from tests.support.record import to_ldif

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from ldapmilter.config import Config
    from ldapmilter.directory.filters import Filter
    from ldapmilter.directory.raw_entry import RawEntry
    from ldapmilter.directory.store import Deadline, Scope
    from ldapmilter.policy.model import Decision
    from tests.support.record import Record

    Options = Mapping[str, Mapping[str, str]]
    """Option values by section of ``config.ini``."""

ANN: Final = "ann@example.com"
BOB: Final = "bob@example.com"
JOE: Final = "joe@client.example.net"
MAILBOX_SERVER: Final = "192.0.2.25"
OUTSIDER: Final = "198.51.100.9"
TODAY: Final = date(2026, 6, 15)


class Clock:
    """Seconds that pass when a test says so."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class FailingStore:
    """An LDIF directory that does not answer some searches."""

    def __init__(self, entries: Iterable[RawEntry]) -> None:
        self.inner = ldif.LdifStore(entries)
        self.fails: Callable[[str], bool] = lambda _search_filter: False
        """Whether a search fails, by its filter as text."""

    def search(
        self,
        base: str,
        scope: Scope,
        search_filter: Filter,
        attributes: Sequence[str],
        deadline: Deadline,
        *,
        next_server_first: bool = False,  # noqa: ARG002 - there is one server
    ) -> list[RawEntry]:
        if self.fails(filters.render(search_filter)):
            msg = "the directory is down"
            raise DirectoryUnavailable(msg)
        return self.inner.search(base, scope, search_filter, attributes, deadline)

    def pages(
        self, base: str, scope: Scope, search_filter: Filter, attributes: Sequence[str], deadline: Deadline
    ) -> Iterator[list[RawEntry]]:
        if self.fails(filters.render(search_filter)):
            msg = "the directory is down"
            raise DirectoryUnavailable(msg)
        return self.inner.pages(base, scope, search_filter, attributes, deadline)

    def statistics(self) -> dict[str, dict[str, float]]:
        return {}

    def states(self) -> dict[str, dict[str, float]]:
        return {}

    def problems(self) -> list[str]:
        return self.inner.problems()

    def close(self) -> None:
        self.inner.close()


@dataclass(frozen=True)
class Message:
    """One message as a test describes it."""

    to: Sequence[str] = (JOE,)
    login: str | None = ANN
    sender: str | None = None
    """Envelope sender; ``None``: the login, or nobody."""
    client: str | None = OUTSIDER
    headers: Sequence[tuple[str, str]] | None = None
    today: date = TODAY
    submitted_locally: bool = False

    @property
    def envelope(self) -> Envelope:
        return Envelope(
            login=self.login,
            client=self.client,
            sender=(self.login or "") if self.sender is None else self.sender,
            recipients=tuple(self.to),
            submitted_locally=self.submitted_locally,
        )


class World:
    """A directory, a configuration, and the decisions that follow from both."""

    def __init__(self, records: Iterable[Record], options: Options | None = None) -> None:
        self.config = read_config(options or {})
        self.clock = Clock()
        self.store = FailingStore(raw_entries(records))
        cache = self.cache = Cache(self.config.cache, self.clock, _at_once, jitter=lambda: 0.5, same=same_answer)
        reader = Reader(
            self.store,
            cache,
            policy_attributes=self.config.policy.attributes(),
            search_base="",
            host_addresses=lambda names: frozenset({MAILBOX_SERVER}) if names else frozenset(),
        )
        self.directory = ZimbraDirectory(reader, self.config.groups, lookup_deadline=10, clock=self.clock)

    def replace(self, records: Iterable[Record]) -> None:
        """Let the directory hold other entries; what is cached stays."""
        self.store.inner = ldif.LdifStore(raw_entries(records))

    def goes_down(self, fails: Callable[[str], bool] = lambda _search_filter: True) -> None:
        """Let the directory fail for some searches, all by default."""
        self.store.fails = fails

    def decide(self, message: Message | None = None) -> Decision:
        """Decide as the daemon does: at DATA, and again with the header fields that were asked for."""
        message = message or Message()
        first = self.at_data(message)
        if message.headers is None or not first.headers_needed:
            return first
        wanted = [(name.lower(), value) for name, value in message.headers]
        headers = Headers(fields=tuple(field for field in wanted if field[0] in first.headers_needed))
        return self._decide(message, headers)

    def at_data(self, message: Message) -> Decision:
        """Decide before the header is known."""
        return self._decide(message, None)

    def _decide(self, message: Message, headers: Headers | None) -> Decision:
        policy = self.config.policy
        directory = self.directory.for_message(lenient=policy.directory_failure == "accept")
        return decide(message.envelope, directory, policy, today=message.today, headers=headers)


def raw_entries(records: Iterable[Record]) -> list[RawEntry]:
    """Return records as a back end hands them out."""
    return ldif.parse(to_ldif(records))


def read_config(options: Options) -> Config:
    """Return the configuration that ``config.ini`` with these options gives."""
    lines = ["[ldap]", "uri = ldif:directory.ldif"]
    for section, values in options.items():
        lines += [f"[{section}]", *(f"{name} = {value}" for name, value in values.items())]
    return _load("\n".join(lines))


@lru_cache
def _load(text: str) -> Config:
    with tempfile.TemporaryDirectory() as directory:
        file = Path(directory) / "config.ini"
        file.write_text(text, encoding="utf-8")
        return config_file.load(file)


def _at_once(work: Callable[[], None]) -> None:
    work()


def addresses(decision: Decision) -> list[str]:
    """Return the addresses of a decision's copies, folded for comparison."""
    return [copy.address.key for copy in decision.copies]


def warnings_about(decision: Decision, *words: str) -> list[str]:
    """Return the warnings that hold every word."""
    texts = [notice.text for notice in decision.warnings]
    return [text for text in texts if all(word in text for word in words)]
