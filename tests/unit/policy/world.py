"""A directory in memory and a configuration as text: what policy tests decide over.

The product's own code from the search operation up; only the clock, the name service and the moments
at which the directory fails belong to the test.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence  # noqa: TC003 - hypothesis reads the annotations of a message
from datetime import date
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Final

from msgspec import Struct

from ldapmilter import config as config_file
from ldapmilter.message import Envelope, Headers
from ldapmilter.opening import directory_over
from ldapmilter.policy.basis import Basis
from ldapmilter.policy.decide import decide, decide_whole
from ldapmilter.policy.why_not import why_not
from tests.support.fake_store import FakeStore
from tests.unit.directory.hand import Clock, at_once

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from ldapmilter.config import Config
    from ldapmilter.policy.model import Decision
    from ldapmilter.policy.not_applied import NotApplied
    from tests.support.record import Record

    Options = Mapping[str, Mapping[str, str]]
    """Option values by section of ``config.ini``."""

ANN: Final = "ann@example.com"
BOB: Final = "bob@example.com"
JOE: Final = "joe@client.example.net"
MAILBOX_SERVER: Final = "192.0.2.25"
OUTSIDER: Final = "198.51.100.9"
TODAY: Final = date(2026, 6, 15)


class Message(Struct, frozen=True):
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
        self.store = FakeStore(records)
        wired = directory_over(
            self.store,
            self.config,
            self.clock,
            at_once,
            host_addresses=lambda names: frozenset({MAILBOX_SERVER}) if names else frozenset(),
            jitter=lambda: 0.5,
        )
        self.cache, self.directory = wired.cache, wired.directory

    def replace(self, records: Iterable[Record]) -> None:
        """Let the directory hold other entries; what is cached stays."""
        self.store.fill(records)

    def goes_down(self, fails: Callable[[str], bool] = lambda _search_filter: True) -> None:
        """Let the directory fail for some searches, all by default."""
        self.store.fails = fails

    def decide(self, message: Message | None = None) -> Decision:
        """Decide as the daemon does: at DATA, and again with the header fields that were asked for."""
        message, basis = message or Message(), Basis()
        first = self._decide(message, None, basis)
        if message.headers is None or not first.headers_needed:
            return first
        wanted = [(name.lower(), value) for name, value in message.headers]
        headers = Headers(fields=tuple(field for field in wanted if field[0] in first.headers_needed))
        final = self._decide(message, headers, basis)
        # The session counts the fields that it is told of at DATA; From it counts anyway.
        assert final.changed_fields <= first.headers_needed | first.changed_fields | {"from"}
        return final

    def at_data(self, message: Message) -> Decision:
        """Decide before the header is known."""
        return self._decide(message, None, Basis())

    def explain(self, message: Message | None = None) -> tuple[Decision, tuple[NotApplied, ...]]:
        """Decide as ``explain`` does; return the decision, and what does not happen."""
        message = message or Message()
        fields = tuple((name.lower(), value) for name, value in message.headers or ())
        policy, basis = self.config.policy, Basis()
        directory = self.directory.for_message(lenient=policy.directory_failure == "accept")
        decision = decide_whole(
            message.envelope, Headers(fields=fields), directory, policy, today=message.today, basis=basis
        )
        return decision, why_not(decision, basis, policy, message.today)

    def _decide(self, message: Message, headers: Headers | None, basis: Basis) -> Decision:
        policy = self.config.policy
        directory = self.directory.for_message(lenient=policy.directory_failure == "accept")
        return decide(message.envelope, directory, policy, today=message.today, headers=headers, basis=basis)


def read_config(options: Options) -> Config:
    """Return the configuration that ``config.ini`` with these options gives."""
    whole = {**options, "ldap": {"uri": "ldif:directory.ldif", **options.get("ldap", {})}}
    lines: list[str] = []
    for section, values in whole.items():
        lines += [f"[{section}]", *(f"{name} = {value}" for name, value in values.items())]
    return _load("\n".join(lines))


@lru_cache
def _load(text: str) -> Config:
    with tempfile.TemporaryDirectory() as directory:
        file = Path(directory) / "config.ini"
        file.write_text(text, encoding="utf-8")
        return config_file.load(file)


def addresses(decision: Decision) -> list[str]:
    """Return the addresses of a decision's copies, folded for comparison."""
    return [copy.address.key for copy in decision.copies]


def warnings_about(decision: Decision, *words: str) -> list[str]:
    """Return the warnings that hold every word."""
    texts = [notice.text for notice in decision.warnings]
    return [text for text in texts if all(word in text for word in words)]
